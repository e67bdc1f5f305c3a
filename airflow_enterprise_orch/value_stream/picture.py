"""The picture of a stream: what the executive view shows of its template, as plain JSON that travels with the DAG.

The compiler hangs it as a text on the first task (``doc_json``), so Airflow serializes it with the DAG and keeps it for
each version: an API server needs no template files. The same template gives the same text, byte by byte. A task that
starts reads it over as one text and does nothing with it.

What it holds; what is empty is left out, except in ``steps``' ``id``, ``title``, ``kind``, ``stack`` and ``after``::

    {"version": 1, "digest": hash of the template, "id", "title", "description", "removed": day (see served_on.py),
     "business": {"domain", "owner", "criticality", "key": text or null, "duplicates"},
     "defaults": {param of the key: value},        what the key is made of when a run says nothing
     "params": {name: {"title", "type"}},
     "timezone", "dates": see business_date.py, "due": see due.py, "schedule": see schedule.planned,
     "groups": [{"id", "title", "group"}],
     "stacks": [{"id", "title"}],                  in the order of the steps
     "steps": [{"id", "title", "kind", "stack", "group", "after": [ids], "due",
                "kind": step type ("mainframe.job"), airflow, branch, decision, approval, choice, wait, wait_for,
                fail or stream,
                "type": title of the step type, "system", "connection", "resource": {"pool", "slots"}, "time_limit",
                "retry": true, "restart": "never" or "ask", "for_each": param,
                "outputs": {name: type}, its own ones; of a decision all
                "tasks": {task id: kind of paths.TaskKind}, its helpers'
                "undo": {"kind", "system", "stack", "connection"},
                branch: "match", "rules": [{"when", "then"}], "otherwise": [ids]
                decision: "hit", "inputs", "rows", "otherwise", "outputs"
                choice: "options": [{"id", "title", "then"}]; approval and choice: "subject", "within", "assignees"
                wait and wait_for: "until" in words; wait_for: "waits_on": the other stream's id;
                airflow: "operator"; stream: "runs": the other stream's id}],
     "edges": [[from, to, "after" or "choice"]],
     "tasks": {task id: kind}}                     those that belong to no step: admit, end
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.restricted_jinja import inspect, texts
from airflow_enterprise_orch.value_stream import steps
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.paths import Paths, TaskKind
from airflow_enterprise_orch.value_stream.schedule import dates_of, planned
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

PICTURE_VERSION = 1

PEOPLE, LOGIC, AIRFLOW, STREAMS = "People", "Decisions", "Airflow", "Value streams"
"""The stacks of what no connected system does."""

_KINDS: tuple[tuple[type[Any], str, str], ...] = (
    (steps.AirflowStep, "airflow", AIRFLOW),
    (steps.BranchStep, "branch", LOGIC),
    (steps.DecisionStep, "decision", LOGIC),
    (steps.ApprovalStep, "approval", PEOPLE),
    (steps.ChoiceStep, "choice", PEOPLE),
    (WaitStep, "wait", LOGIC),
    (WaitForStep, "wait_for", STREAMS),
    (steps.FailStep, "fail", LOGIC),
    (steps.SubStreamStep, "stream", STREAMS),
)


def picture_text(stream: ValueStream, paths: Paths) -> str:
    """Return the picture as its text: the same for the same template."""
    return as_text(picture(stream, paths))


def as_text(picture: Mapping[str, Any]) -> str:
    """Return a picture as its text."""
    return json.dumps(picture, sort_keys=True, separators=(",", ":"))


def picture(stream: ValueStream, paths: Paths) -> dict[str, Any]:
    """Return the picture of a stream; see above."""
    business, zone = stream.business, stream.schedule.timezone if stream.schedule is not None else "UTC"
    helpers: dict[str, dict[str, str]] = {name: {} for name in stream.steps}
    for task in paths.tasks:
        if task.step and task.kind is not TaskKind.STEP:
            helpers[task.step][task.task_id] = task.kind.value
    shown = [_step(stream, step, helpers[step.id]) for step in stream.ordered()]
    stacks = {_slug(one["stack"]): one["stack"] for one in shown}
    for one in (*shown, *(one["undo"] for one in shown if "undo" in one)):
        one["stack"] = _slug(one["stack"])
    return {
        "version": PICTURE_VERSION,
        "digest": stream.digest(),
        "id": stream.id,
        "title": stream.title,
        **_told(
            description=stream.description,
            params={name: _told(title=one.title, type=one.type) for name, one in sorted(stream.params.items())},
            defaults=_defaults(stream),
            due=stream.due.to_plan(zone) if stream.due is not None else None,
            schedule=planned(stream.schedule, stream.calendars) if stream.schedule is not None else None,
            groups=[
                {"id": name, "title": one.title or name, **_told(group=one.group)}
                for name, one in sorted(stream.groups.items())
            ],
            tasks={task.task_id: task.kind.value for task in paths.tasks if not task.step},
        ),
        "business": {
            "domain": business.domain,
            "owner": business.owner,
            "criticality": business.criticality,
            "key": business.key,
            "duplicates": business.duplicates,
        },
        "timezone": zone,
        "dates": dates_of(stream.schedule, stream.calendars),
        "stacks": [{"id": name, "title": title} for name, title in stacks.items()],
        "steps": shown,
        "edges": [list(edge) for edge in _edges(stream)],
    }


def _edges(stream: ValueStream) -> Iterator[tuple[str, str, str]]:
    for step in stream.ordered():
        for before in step.after:
            yield before, step.id, "after"
        for target in step.targets:
            yield step.id, target, "choice"


def _step(stream: ValueStream, step: steps.Step, helpers: Mapping[str, str]) -> dict[str, Any]:
    zone = stream.schedule.timezone if stream.schedule is not None else "UTC"
    return {
        "id": step.id,
        "title": step.title or step.id,
        "after": list(stream.upstream[step.id]),
        **_kind(step),
        **_told(
            group=step.group,
            due=step.due.to_plan(zone) if step.due is not None else None,
            restart=step.restart,
            tasks=helpers,
            undo=_work(step.compensation) if step.compensation is not None else None,
        ),
    }


def _kind(step: steps.Step) -> dict[str, Any]:
    """Return what only steps of its kind have."""
    if isinstance(step, steps.DelegatedStep):
        return _work(step) | _told(
            retry=bool(step.retry),
            resource=step.resource and {"pool": step.resource.pool, "slots": step.resource.slots},
            for_each=step.for_each and step.for_each.item.removeprefix("params."),
            outputs=_outputs(step.outputs),
        )
    kind, stack = next((kind, stack) for of, kind, stack in _KINDS if isinstance(step, of))
    return {"kind": kind, "stack": stack, **_own(step)}


def _work(step: steps.DelegatedStep) -> dict[str, Any]:
    system, kind = step_type(step.step)
    limit = step.time_limit and step.time_limit.total_seconds()
    return {
        "kind": step.step,
        "stack": system.stack,
        **_told(type=kind.title, system=system.name, connection=step.connection, time_limit=limit),
    }


def _own(step: steps.Step) -> dict[str, Any]:
    if isinstance(step, steps.AirflowStep):
        return {"operator": step.operator, **_told(retry=bool(step.retry), outputs=_outputs(step.outputs))}
    if isinstance(step, steps.BranchStep):
        rules = [{"when": rule.when, "then": list(rule.then)} for rule in step.rules]
        window = step.override_within and step.override_within.total_seconds()
        ways = {"match": step.match, "rules": rules, "otherwise": list(step.otherwise)}
        return {**ways, **_told(override_within=window)}
    if isinstance(step, steps.DecisionStep):
        rows = [row.model_dump(mode="json") for row in step.rows]
        table = {"hit": step.hit, "inputs": dict(step.inputs), "outputs": dict(step.outputs), "rows": rows}
        return {**table, **_told(otherwise=step.otherwise)}
    if isinstance(step, steps.ApprovalStep | steps.ChoiceStep):
        within = step.within.total_seconds() if step.within is not None else None
        asked = {"subject": step.subject, **_told(within=within, assignees=list(step.assignees))}
        if isinstance(step, steps.ChoiceStep):
            asked["options"] = [{"id": name, **one.model_dump(mode="json")} for name, one in step.options.items()]
        return asked
    if isinstance(step, WaitStep):
        return {"until": step.words()}
    if isinstance(step, WaitForStep):
        return {"until": step.words(), "waits_on": step.stream}
    return {"runs": step.run, **_told(outputs=_outputs(step.outputs))} if isinstance(step, steps.SubStreamStep) else {}


def _outputs(outputs: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of a step's own outputs, which whoever completes it must give."""
    return {name: output.type for name, output in sorted(outputs.items())}


def _defaults(stream: ValueStream) -> dict[str, Any]:
    """Return the defaults of the params that the business key, or the business date, is made of."""
    paths = [reference.path for _, text in texts(stream.business.key or "") for reference in inspect(text)[0]]
    named = {path[1] for path in paths if path[0] == "params" and len(path) > 1} | {"business_date"}
    given = {name: stream.params[name].default for name in sorted(named) if name in stream.params}
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value is not None
    }


def _told(**values: Any) -> dict[str, Any]:
    """Return what is not empty."""
    return {name: value for name, value in values.items() if value}


@cache
def _slug(stack: str) -> str:
    """Return the id of a stack."""
    return re.sub(r"[^a-z0-9]+", "_", stack.lower()).strip("_")
