"""A checked model -> the plan of its DAG -> the DAG.

The same template gives the same serialized DAG in every process, because each difference would be a new DAG version:
everything is in a fixed order, nothing depends on the time, and nothing is kept whose text holds a memory address. What
Airflow does not serialize (most arguments of an operator) would not make a new version when it changes; the template's
hash, in the DAG's documentation, does. It is the hash of what the template says, not of its text: a comment, another
layout or a default that is written out makes no new version.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.expressions import compile_expression
from airflow_enterprise_orch.restricted_jinja import inspect, texts
from airflow_enterprise_orch.undoing import UNDO_TITLE
from airflow_enterprise_orch.value_stream import steps, steps_waiting
from airflow_enterprise_orch.value_stream.branch import OTHERWISE
from airflow_enterprise_orch.value_stream.compile_head import documentation, param_arguments
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.model_types import format_duration
from airflow_enterprise_orch.value_stream.paths import Paths, Task, TaskKind
from airflow_enterprise_orch.value_stream.picture import picture_text
from airflow_enterprise_orch.value_stream.plan import EMPTY, GroupPlan, StreamPlan, TaskPlan
from airflow_enterprise_orch.value_stream.schedule import dates_of, planned
from airflow_enterprise_orch.value_stream.watch_plan import plan_watch

if TYPE_CHECKING:
    from airflow.sdk import DAG

PICTURE = "doc_json"
"""The argument of the first task that carries the stream's picture."""
TAG = "value-stream"
MAX_TAG = 100

ADMIT_STEP = "airflow_enterprise_orch.value_stream.admission:AdmitStep"
AIRFLOW_STEP = "airflow_enterprise_orch.value_stream.airflow_step:AirflowStep"
APPROVAL_STEP = "airflow_enterprise_orch.value_stream.approval:ApprovalStep"
STREAM_STEP = "airflow_enterprise_orch.value_stream.substream:StreamStep"
DECISION_STEP = "airflow_enterprise_orch.value_stream.decision:DecisionStep"
BRANCH_STEP = "airflow_enterprise_orch.value_stream.branch:BranchStep"
CHOICE_STEP = "airflow_enterprise_orch.value_stream.choice:ChoiceStep"
WAIT_STEP = "airflow_enterprise_orch.value_stream.wait_until:WaitStep"
WAIT_FOR_STEP = "airflow_enterprise_orch.value_stream.wait_for:WaitForStep"
ARRIVE_STEP = "airflow_enterprise_orch.value_stream.file_arrival:ArriveStep"
ANNOUNCE_STEP = "airflow_enterprise_orch.value_stream.announcing:AnnounceStep"
FOR_EACH = "airflow_enterprise_orch.value_stream.for_each:"
EACH_STEP = "airflow_enterprise_orch.delegation.operator:DelegateOperator"
FAIL_STEP = "airflow_enterprise_orch.value_stream.fail:FailStep"

UNPROTECTED = "Not protected from running twice: a worker that dies, a retry or a clear runs it again."

OWN_RETRIES = 3
OWN_RETRY_DELAY = 15.0
"""Admission, branches and approvals may be run again as often as Airflow's own infrastructure fails them: they change
nothing outside, and what is wrong with a template or an answer fails them for good."""


def compile_stream(stream: ValueStream, *, source_hash: str = "", source: str = "") -> DAG:
    """Turn a stream into its DAG; see :func:`plan_stream`."""
    return plan_stream(stream, source_hash=source_hash, source=source).build()


def plan_stream(stream: ValueStream, *, source_hash: str = "", source: str = "") -> StreamPlan:
    """Turn a stream into the plan of its DAG.

    :param source_hash: stands in the documentation for the stream's digest, where a test wants a fixed one.
    :param source: the template's file, for its documentation.
    """
    dag = {
        "dag_id": stream.id,
        "dag_display_name": stream.title,
        "description": " ".join(stream.description.split())[:500] if stream.description else stream.title,
        "doc_md": documentation(stream, source_hash or stream.digest(), source),
        "max_active_runs": stream.limits.instances,
        "max_active_tasks": stream.limits.steps,
        "tags": sorted({TAG, stream.business.domain[:MAX_TAG], *stream.tags}),
        # Airflow's own rule adds up what comes later, so that beginning a new run goes before finishing an old one.
        "default_args": {
            "owner": stream.business.owner,
            "priority_weight": stream.weight(),
            "weight_rule": "absolute",
        },
    }
    paths = Paths(stream)
    # The first ones first: a person is told to clear from there on.
    undone = tuple(one.id for one in stream.ordered() if one.compensation is not None)
    tasks = [_guarded(stream, task, _task(stream, paths, task), undone) for task in paths.tasks]
    # The first one is never mapped, and Airflow serializes this of any operator.
    drawn = {**tasks[0].arguments, PICTURE: picture_text(stream, paths)}
    tasks[0] = replace(tasks[0], arguments=drawn)
    return StreamPlan(
        dag,
        {name: param_arguments(param) for name, param in stream.params.items()},
        planned(stream.schedule, stream.calendars) if stream.schedule is not None else None,
        tuple(_grouped(stream, task, made) for made, task in zip(tasks, paths.tasks, strict=True)),
        stream.seen,
        tuple(_groups(stream)),
        plan_watch(stream),
    )


def _groups(stream: ValueStream) -> Iterator[GroupPlan]:
    """Yield the groups, each after the one that it stands in."""
    waiting = dict(stream.groups)
    while waiting:
        name = next(name for name, group in waiting.items() if group.group not in waiting)
        group = waiting.pop(name)
        yield GroupPlan(name, group.title or name, group.group or "")


def _grouped(stream: ValueStream, task: Task, plan: TaskPlan) -> TaskPlan:
    """Put a task into its group; what stands before a step stands where it does."""
    group = stream.steps[task.step].group if task.step else None
    return replace(plan, group=group) if group else plan


def _task(stream: ValueStream, paths: Paths, task: Task) -> TaskPlan:
    rule: dict[str, Any] = {"trigger_rule": task.rule}
    if task.kind is TaskKind.ADMIT:
        business = stream.business
        admission: dict[str, Any] = {"business_key": business.key or "", "duplicates": business.duplicates}
        visible = _visible(stream, [])
        if "dates" in visible:
            admission["stream"] = {"dates": visible["dates"]}
        return _own(task, ADMIT_STEP, {**admission, "task_display_name": "Admission", **rule})
    if task.kind is TaskKind.ARRIVE and stream.schedule is not None and stream.schedule.file_arrival is not None:
        fills = {"fills": dict(stream.schedule.file_arrival.params), "task_display_name": "Arrival"}
        return _own(task, ARRIVE_STEP, {**fills, **rule})
    if task.kind is TaskKind.ANNOUNCE:
        return _own(task, ANNOUNCE_STEP, {**_announced(stream), **rule})
    if task.kind in (TaskKind.ITEMS, TaskKind.EACH):
        return _each(stream, task, rule)
    if task.kind is TaskKind.UNDO:
        return _undo(stream, task, rule)
    if task.kind is not TaskKind.STEP:
        # An empty operator is done by the scheduler alone.
        title = {"task_display_name": _helper_title(stream, task)}
        return TaskPlan(task.task_id, EMPTY, {**title, **rule}, upstream=tuple(task.upstream))
    step = stream.steps[task.step]
    common = {"task_display_name": step.title or step.id, **rule, **_settings(stream, step)}
    if isinstance(step, steps.BranchStep):
        return _own(task, BRANCH_STEP, {**_branch(stream, paths, step), **common})
    if isinstance(step, steps.AirflowStep):
        delay = step.retry[0].delay or steps.FIRST_DELAY if step.retry else None
        seconds = delay.total_seconds() if delay is not None else None
        arguments = {**_airflow(stream, step), **common}
        return TaskPlan(task.task_id, AIRFLOW_STEP, arguments, retry_delay=seconds, upstream=tuple(task.upstream))
    if isinstance(step, steps.DecisionStep):
        return _own(task, DECISION_STEP, {**_decision(stream, step), **common})
    if isinstance(step, steps.ApprovalStep):
        return _own(task, APPROVAL_STEP, {**_approval(stream, step), **common})
    if isinstance(step, steps.ChoiceStep):
        return _own(task, CHOICE_STEP, {**_choice(stream, paths, step), **common})
    if isinstance(step, steps_waiting.WaitStep):
        waits = {**step.arguments(), "stream": _visible(stream, step.at), "doc_md": f"Waits {step.words()}."}
        return _own(task, WAIT_STEP, {**waits, **common})
    if isinstance(step, steps_waiting.WaitForStep):
        return _own(task, WAIT_FOR_STEP, {**_wait_for(stream, step), **common})
    if isinstance(step, steps.FailStep):
        says = {"message": step.message, "stream": _visible(stream, step.message)}
        return _own(task, FAIL_STEP, {**says, "doc_md": "Ends its path as failed.", **common})
    if isinstance(step, steps.SubStreamStep):
        arguments = {**_sub_stream(stream, step), **common}
        return TaskPlan(task.task_id, STREAM_STEP, arguments, upstream=tuple(task.upstream))
    if step.for_each is not None:
        title = {"task_display_name": step.title or step.id, **rule}
        done = _own(task, f"{FOR_EACH}DoneStep", {"items": task.upstream[1], "each": task.upstream[0], **title})
        return replace(done, publishes=step.publishes)
    arguments = {**step.operator_arguments(), "stream": _visible(stream, step.work), **common}
    return TaskPlan(
        task.task_id,
        step.step_type.operator,
        arguments,
        delegated=True,
        upstream=tuple(task.upstream),
        publishes=step.publishes,
    )


def _each(stream: ValueStream, task: Task, rule: Mapping[str, Any]) -> TaskPlan:
    """Return the task that reads the list of a step, or the one that does its work for each item."""
    step = stream.steps[task.step]
    if not isinstance(step, steps.DelegatedStep) or step.for_each is None:
        raise AssertionError(f"step {step.id!r} has no list")
    title = step.title or step.id
    if task.kind is TaskKind.ITEMS:
        name = step.for_each.item.removeprefix("params.")
        told = {"param": name, "most": step.for_each.max, "step": step.id, "task_display_name": f"items of: {title}"}
        return _own(task, f"{FOR_EACH}ItemsStep", {**told, **rule})
    arguments = {
        **step.operator_arguments(),
        "stream": _visible(stream, step.work),
        "task_display_name": f"{title}, each",
        "max_active_tis_per_dagrun": step.for_each.at_once,
        **rule,
        **_settings(stream, step),
    }
    return TaskPlan(task.task_id, EACH_STEP, arguments, upstream=tuple(task.upstream), each=task.upstream[0])


def _airflow(stream: ValueStream, step: steps.AirflowStep) -> dict[str, Any]:
    """Return the arguments of the task that runs an operator of Airflow's providers.

    It is tried again only where the template says so, whatever the deployment's default is: nothing keeps the operator
    from doing its work twice.
    """
    told: dict[str, Any] = {"retries": 0}
    for rule in step.retry:
        told["retries"] = rule.times
        if rule.backoff is not None and rule.backoff > 1:
            told["retry_exponential_backoff"] = rule.backoff
        if rule.max_delay is not None:
            told["max_retry_delay"] = rule.max_delay.total_seconds()
    return {
        "operator": step.operator,
        "arguments": dict(step.arguments),
        "outputs": {name: output.model_dump(mode="json", exclude_none=True) for name, output in step.outputs.items()},
        "time_limit": step.time_limit and step.time_limit.total_seconds(),
        "stream": _visible(stream, step.arguments),
        "doc_md": f"Runs `{step.operator}`. {UNPROTECTED}",
        **told,
    }


def _undo(stream: ValueStream, task: Task, rule: Mapping[str, Any]) -> TaskPlan:
    step = stream.steps[task.step]
    work = step.compensation
    if work is None:
        raise AssertionError(f"nothing undoes {step.id!r}")
    arguments = {
        **work.operator_arguments(),
        "stream": _visible(stream, work.work),
        "task_display_name": f"{UNDO_TITLE}{step.title or step.id}",
        **rule,
        # It is as urgent as what it undoes; the resource is its own, for it may be the work of another system.
        **({"priority_weight": stream.weight(step)} if step.priority is not None else {}),
        **_settings(stream, work),
    }
    operator, upstream = work.step_type.operator, tuple(task.upstream)
    return TaskPlan(task.task_id, operator, arguments, delegated=True, upstream=upstream, undoes=step.id)


def _guarded(stream: ValueStream, task: Task, plan: TaskPlan, undone: tuple[str, ...]) -> TaskPlan:
    """Let a step look whether what was done before it is undone; of one with a list each item, to be cleared alone.

    :param undone: the steps that something can undo, in order.
    """
    if not undone or task.kind not in (TaskKind.STEP, TaskKind.ITEMS, TaskKind.EACH):
        return plan
    before = stream.ancestors(task.step)
    guards = tuple(step for step in undone if step in before)
    return replace(plan, guards=guards) if guards else plan


def _settings(stream: ValueStream, step: steps.Step) -> dict[str, Any]:
    """Return what Airflow's scheduler is told of a step."""
    told: dict[str, Any] = {}
    if step.priority is not None:
        told["priority_weight"] = stream.weight(step)
    if isinstance(step, (steps.DelegatedStep, steps.AirflowStep)):
        if step.resource is not None:
            told |= {"pool": step.resource.pool, "pool_slots": step.resource.slots}
        if step.at_once is not None:
            told["max_active_tis_per_dag"] = step.at_once
    return told


def _own(task: Task, operator: str, arguments: Mapping[str, Any]) -> TaskPlan:
    return TaskPlan(
        task.task_id,
        operator,
        {"retries": OWN_RETRIES, **arguments},
        retry_delay=OWN_RETRY_DELAY,
        upstream=tuple(task.upstream),
    )


def _branch(stream: ValueStream, paths: Paths, step: steps.BranchStep) -> dict[str, Any]:
    declared = condition_variables(stream, step.id)
    read = {name for rule in step.rules for name in compile_expression(rule.when, declared).references}
    lines = [f"{number}. when `{rule.when}`: {_named(rule.then)}" for number, rule in enumerate(step.rules, start=1)]
    match = {"match": step.match} if step.match != "first" else {}
    window = step.override_within
    return {
        **match,
        **({} if window is None else {"override_within": window.total_seconds()}),
        "rules": [{"when": rule.when, "then": list(rule.then)} for rule in step.rules],
        "otherwise": list(step.otherwise),
        "variables": {name: declared[name] for name in sorted(read)},
        "routes": {target: task for target, task in paths.routes(step.id).items() if target != task},
        **_always(paths, step),
        "doc_md": "\n".join(
            [
                *(["All rules that hold are taken.", ""] if match else []),
                *lines,
                f"{len(lines) + 1}. {OTHERWISE}: {_named(step.otherwise)}",
                *([] if window is None else ["", f"People may override it for {format_duration(window)}."]),
            ]
        ),
    }


def _always(paths: Paths, step: steps.Step) -> dict[str, Any]:
    helpers = paths.helpers(step.id)
    return {"always": list(helpers)} if helpers else {}


def _decision(stream: ValueStream, step: steps.DecisionStep) -> dict[str, Any]:
    declared = condition_variables(stream, step.id)
    lines = [f"Hit policy: {step.hit}.", "", f"| | {' | '.join([*step.inputs, *step.outputs])} |"]
    lines.append("|---" * (1 + len(step.inputs) + len(step.outputs)) + "|")
    for number, row in enumerate(step.rows, start=1):
        told = [_cell(row.when.get(name, "-")) for name in step.inputs] + [
            _cell(row.then[name]) for name in step.outputs
        ]
        lines.append(f"| {number} | {' | '.join(told)} |")
    if step.otherwise is not None:
        told = ["-"] * len(step.inputs) + [_cell(step.otherwise[name]) for name in step.outputs]
        lines.append(f"| otherwise | {' | '.join(told)} |")
    return {
        "hit": step.hit,
        "inputs": dict(step.inputs),
        "kinds": {name: declared[reads] for name, reads in step.inputs.items()},
        "rows": [row.model_dump(mode="json") for row in step.rows],
        "otherwise": step.otherwise,
        "leaves": dict(step.outputs),
        "doc_md": "\n".join(lines),
    }


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _approval(stream: ValueStream, step: steps.ApprovalStep) -> dict[str, Any]:
    return {
        "subject": step.subject,
        "body": step.body,
        "assignees": list(step.assignees),
        "within": step.within.total_seconds() if step.within is not None else None,
        "on_timeout": step.on_timeout,
        "on_reject": step.on_reject,
        "stream": _visible(stream, [step.subject, step.body]),
        "doc_md": _waits(step),
    }


def _sub_stream(stream: ValueStream, step: steps.SubStreamStep) -> dict[str, Any]:
    return {
        "run": step.run,
        "given": dict(step.params),
        "outputs": {name: value.model_dump(mode="json") for name, value in step.outputs.items()} or None,
        "retry": [rule.arguments() for rule in step.retry] or None,
        "time_limit": step.time_limit and step.time_limit.total_seconds(),
        "stream": _visible(stream, step.params),
        "doc_md": f"Runs the value stream `{step.run}` and waits for it.",
    }


def _announced(stream: ValueStream) -> dict[str, Any]:
    """Return the arguments of the task that tells of the instance."""
    business = stream.business
    told: dict[str, Any] = {"tells": list(business.announce), "task_display_name": "Announcement"}
    if "business_date" in business.announce:
        told["dates"] = dates_of(stream.schedule, stream.calendars)
    if "business_key" in business.announce:
        told |= {"business_key": business.key or "", "stream": _visible(stream, [])}
    return told


def _wait_for(stream: ValueStream, step: steps_waiting.WaitForStep) -> dict[str, Any]:
    by = {"stream": _visible(stream, step.key)} if step.key is not None else {}
    dates = {} if step.key is not None else {"dates": dates_of(stream.schedule, stream.calendars)}
    return {**step.arguments(), **by, **dates, "doc_md": f"Waits {step.words()}."}


def _choice(stream: ValueStream, paths: Paths, step: steps.ChoiceStep) -> dict[str, Any]:
    lines = [f"- {option.title} (`{name}`): {_named(option.then)}" for name, option in step.options.items()]
    return {
        "subject": step.subject,
        "body": step.body,
        # A list, because the order of the answers counts.
        "options": [{"id": name, **option.model_dump(mode="json")} for name, option in step.options.items()],
        "assignees": list(step.assignees),
        "within": step.within.total_seconds() if step.within is not None else None,
        "on_timeout": step.on_timeout,
        "routes": {target: task for target, task in paths.routes(step.id).items() if target != task},
        **_always(paths, step),
        "stream": _visible(stream, [step.subject, step.body]),
        "doc_md": "\n".join([_waits(step), "", *lines]),
    }


def _visible(stream: ValueStream, texts_of: Any) -> dict[str, Any]:
    """Return what a step's texts may see; of the steps before it only those that they name, to read no more."""
    names = [reference.path for _, text in texts(texts_of) for reference in inspect(text)[0]]
    read = {path[1] for path in names if path[0] == "steps" and len(path) > 1}
    business = stream.business
    # The business key is rendered for every step.
    key = [reference.path for reference in inspect(business.key)[0]] if business.key else []
    dated = any(path[0] == "business_date" for path in (*names, *key))
    return {
        **({"dates": dates_of(stream.schedule, stream.calendars)} if dated else {}),
        "params": True,
        "steps": sorted(read),
        "business": {"domain": business.domain, "owner": business.owner, "criticality": business.criticality},
        "business_key": business.key,
    }


def _helper_title(stream: ValueStream, task: Task) -> str:
    if task.kind is TaskKind.END:
        return "end of the instance"
    title = stream.steps[task.step].title or task.step
    return {
        TaskKind.FAILURE: f"something failed after: {title}",
        TaskKind.SETTLED: f"all over after: {title}",
        TaskKind.CHOICE: f"go to: {title}",
        TaskKind.MEETING: f"paths meet before: {title}",
        TaskKind.OVER: f"all else over before: {title}",
        TaskKind.HOLD: f"hold the paths before: {title}",
    }[task.kind]


def _waits(step: steps.ApprovalStep | steps.ChoiceStep) -> str:
    within = "for as long as it takes"
    if step.within is not None:
        within = f"within {format_duration(step.within)}, else: {step.on_timeout}"
    who = ", ".join(step.assignees) or "everyone who may act on the stream"
    rejected = f" On rejection: {step.on_reject}." if isinstance(step, steps.ApprovalStep) else ""
    return f"Waits {within}. Answered by {who}.{rejected}"


def _named(steps: Iterable[str]) -> str:
    return ", ".join(steps) or "the path ends here"
