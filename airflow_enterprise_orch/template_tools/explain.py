"""A template told in the terminal: the steps in order, each with its system, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_enterprise_orch.template_tools.shape import PEOPLE, Shape, lane, ways
from airflow_enterprise_orch.template_tools.words import (
    alert_words,
    counted,
    due_words,
    harmless,
    in_words,
    retry_words,
)
from airflow_enterprise_orch.value_stream.model import Param, ValueStream
from airflow_enterprise_orch.value_stream.model_types import format_duration
from airflow_enterprise_orch.value_stream.problems import listed
from airflow_enterprise_orch.value_stream.schedule import Schedule, recurrence
from airflow_enterprise_orch.value_stream.schedule_words import in_words as schedule_in_words
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    ChoiceStep,
    DecisionStep,
    DelegatedStep,
    FailStep,
    Step,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

_FORK, _LAST, _DOWN, _BLANK = "├─ ", "└─ ", "│  ", "   "
_ASCII = str.maketrans({"├": "|", "└": "`", "│": "|", "─": "-", "→": ">"})
_DUPLICATES = {
    "reject": "a second live one with the same key fails at once",
    "queue": "a second live one with the same key waits for the first",
    "allow": "several with the same key may be live",
}


def explain(stream: ValueStream) -> str:
    """Return a stream as a tree for people."""
    shape = Shape(stream)
    lines = [f"{stream.title} ({stream.id})", *(f"  {line}" for line in _head(stream)), ""]
    if stream.params:
        width = max(map(len, stream.params))
        lines += ["Started with", *(f"  {name:{width}}  {_param(param)}" for name, param in stream.params.items()), ""]
    lines += [f"{counted(len(stream.steps), 'step')} on {listed(shape.lanes)}"]
    lines += _Tree(shape).lines()
    # A business key or a pattern may have several lines.
    return harmless("\n".join(line.replace("\n", " ") for line in lines)) + "\n"


def to_ascii(text: str) -> str:
    """Return a tree for a terminal that cannot draw lines."""
    return text.translate(_ASCII)


def explain_json(stream: ValueStream) -> dict[str, Any]:
    """Return the same for tools."""
    shape = Shape(stream)
    data = stream.model_dump(mode="json", by_alias=True)
    steps = []
    for name in shape.order:
        step = stream.steps[name]
        join = shape.joins.get(name)
        told: dict[str, Any] = {
            "id": name,
            "title": step.title or name,
            "system": lane(step),
            "after": list(stream.upstream[name]),
            "chosen_by": shape.home[name] or None,
            "says": list(_says(shape, step)),
            "definition": data["steps"][name],
        }
        if step.targets:
            told["ways"] = [
                {"label": way.label, "when": way.when, "words": way.words(stream), "then": list(way.then)}
                for way in ways(step)
            ]
        if join is not None:
            told["join"] = {"any_of": list(join.any_of), "all_of": list(join.all_of)}
        told["used_by"] = {
            value: list(users) for (other, value), users in sorted(shape.used_by.items()) if other == name
        }
        steps.append(told)
    return {**{key: value for key, value in data.items() if key != "steps"}, "steps": steps}


def _head(stream: ValueStream) -> Iterator[str]:
    business = stream.business
    yield f"{business.domain}; owner {business.owner}; criticality {business.criticality}"
    if stream.schedule is not None:
        yield f"starts by itself: {_scheduled(stream.schedule, stream)}"
    else:
        yield "started by people, the API or assets"
    if business.key is not None:
        yield f"an instance is known by {business.key}; {_DUPLICATES[business.duplicates]}"
    if business.announce:
        told = listed([name.replace("_", " ") for name in business.announce])
        yield f"its instances tell their {told}, so that other streams can wait for them"
    if stream.due is not None:
        yield f"due {due_words(stream.due.model_dump(mode='json'))}"
    for rule in stream.alerts:
        yield f"tells of {alert_words(rule.model_dump(mode='json', exclude_none=True))}"
    if stream.priority is not None:
        yield f"priority {stream.priority}"
    limits = stream.limits
    yield f"at most {counted(limits.instances, 'instance')} at a time, {counted(limits.steps, 'step')} of one at a time"


def _scheduled(schedule: Schedule, stream: ValueStream) -> str:
    found = recurrence(schedule, stream.calendars)
    if found is not None:
        return schedule_in_words(found)
    if schedule.file_arrival is not None:
        return schedule.file_arrival.words()
    return f"after an event of {listed(schedule.assets or (), 'or' if schedule.match == 'any' else 'and')}"


def _param(param: Param) -> str:
    kind = f"list of {param.items}" if param.items is not None else param.type
    said: list[str] = [param.title, kind] if param.title else [kind]
    if param.min_items is not None or param.max_items is not None:
        said.append(f"{param.min_items or 0} to {param.max_items or 'any number of'} items")
    if param.choices is not None:
        said.append(f"one of {', '.join(map(str, param.choices))}")
    if param.pattern is not None:
        said.append(f"must match {param.pattern}")
    if param.minimum is not None:
        said.append(f"at least {param.minimum}")
    if param.maximum is not None:
        said.append(f"at most {param.maximum}")
    said.append("must be given" if param.required else f"otherwise {_value(param.default)}")
    return "; ".join(said)


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, str) else str(value)


class _Tree:
    """Draws the steps; what a branch alone leads to stands below the branch."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.stream = shape.stream

    def lines(self) -> list[str]:
        return self._steps([name for name in self.shape.order if not self.shape.home[name]], "")

    def _steps(self, names: list[str], indent: str) -> list[str]:
        lines: list[str] = []
        for index, name in enumerate(names):
            step, last = self.stream.steps[name], index == len(names) - 1
            before = names[index - 1] if index else self.shape.home[name]
            lines.append(f"{indent}{_LAST if last else _FORK}{name}{f': {step.title}' if step.title else ''}")
            deeper = indent + (_BLANK if last else _DOWN)
            below = bool(step.targets)
            lines += [f"{deeper}{_DOWN if below else _BLANK} {line}" for line in self._says(step, before)]
            lines += self._ways(step, deeper)
        return lines

    def _says(self, step: Step, before: str) -> Iterator[str]:
        upstream = self.stream.upstream[step.id]
        join = self.shape.joins.get(step.id)
        if join is not None:
            if join.any_of:
                rest = f", and {listed(join.all_of)} over" if join.all_of else ""
                paths = [
                    f"{name} (if it chooses this)" if self._chooses(name, step.id) else name for name in join.any_of
                ]
                those = f"those of {listed(paths)} that run" if len(paths) > 1 else paths[0]
                yield f"paths meet: goes on after {those}{rest}"
            else:
                yield f"waits for {listed(join.all_of)}"
        elif upstream and upstream not in ((before,), (self.shape.home[step.id],)):
            yield f"after {upstream[0]}"
        elif not upstream and before:
            yield "begins at once"
        yield from _says(self.shape, step)

    def _ways(self, step: Step, indent: str) -> list[str]:
        lines: list[str] = []
        told: set[str] = set()
        every = ways(step)
        below = [name for name in self.shape.order if self.shape.home[name] == step.id]
        for index, way in enumerate(every):
            last = index == len(every) - 1
            words = way.words(self.stream)
            condition = f"{way.label}{'.' if way.when else ''} if {words}" if words else way.label
            lines.append(
                f"{indent}{_LAST if last else _FORK}{condition} → {', '.join(way.then) or 'the path ends here'}"
            )
            own = [name for name in below if name not in told and self._leads_to(way.then, name)]
            told.update(own)
            lines += self._steps(own, indent + (_BLANK if last else _DOWN))
        return lines

    def _chooses(self, name: str, target: str) -> bool:
        return target in self.stream.steps[name].targets

    def _leads_to(self, targets: tuple[str, ...], name: str) -> bool:
        return name in targets or bool(self.stream.ancestors(name) & set(targets))


def _says(shape: Shape, step: Step) -> Iterator[str]:
    """Yield what a step does, one line each."""
    if isinstance(step, DelegatedStep):
        yield f"{lane(step)}: {step.step}, connection {step.connection}"
        if step.for_each is not None:
            at_once = f", {step.for_each.at_once} at a time" if step.for_each.at_once else ""
            yield f"for each item of {step.for_each.item}, at most {step.for_each.max}{at_once}"
        if step.outcome is not None:
            warning = f", with a warning when {in_words(step.outcome.warning)}" if step.outcome.warning else ""
            yield f"a success when {in_words(step.outcome.success)}{warning}"
    elif isinstance(step, AirflowStep):
        yield f"{lane(step)}: operator {step.operator}"
        yield "not protected from running twice: a worker that dies, a retry or a clear runs it again"
    if isinstance(step, (DelegatedStep, AirflowStep)):
        for rule in step.retry:
            first, longest = (format_duration(wait) if wait else "" for wait in (rule.delay, rule.max_delay))
            yield retry_words(rule.on, rule.times, first, rule.backoff or 1, longest)
        if step.time_limit is not None:
            ends = "cancelled" if isinstance(step, DelegatedStep) else "fails"
            yield f"{ends} after {format_duration(step.time_limit)}"
        if step.compensation is not None:
            undo = step.compensation
            yield f"undone when a step after it fails: {undo.step}, connection {undo.connection}"
        if isinstance(step, DelegatedStep) and step.publishes:
            yield f"its success is an event of {listed(step.publishes)}"
        if step.resource is not None:
            until = "its job has ended" if isinstance(step, DelegatedStep) else "it is over"
            yield f"holds {counted(step.resource.slots, 'slot')} of pool {step.resource.pool} until {until}"
        if step.at_once is not None:
            yield f"at work in at most {counted(step.at_once, 'instance')} at a time"
    elif isinstance(step, BranchStep):
        if step.match == "all":
            yield "all rules that hold are taken"
        if step.override_within is not None:
            yield f"people may override it for {format_duration(step.override_within)}, then it goes on"
    elif isinstance(step, ApprovalStep):
        who = listed(step.assignees, "or") or "everyone who may act on the stream"
        yield f"{PEOPLE}: {who} may answer: {step.subject}"
        yield _time_out(step)
        yield "a rejection fails the stream" if step.on_reject == "fail" else "a rejection skips the steps that follow"
    elif isinstance(step, SubStreamStep):
        yield from _runs(step)
    elif isinstance(step, ChoiceStep):
        who = listed(step.assignees, "or") or "everyone who may act on the stream"
        yield f"{PEOPLE}: {who} may choose: {step.subject}"
        yield _time_out(step)
    elif isinstance(step, DecisionStep):
        many = counted(len(step.rows), "row")
        count = "the first that fits counts" if step.hit == "first" else "only one can fit"
        table = f"the table {step.table}, {many}," if step.table else f"a table of {many}"
        yield f"{table} over {listed(list(step.inputs.values()))}; {count}"
    elif isinstance(step, (WaitStep, WaitForStep)):
        yield f"waits {step.words()}"
    elif isinstance(step, FailStep):
        yield f"ends the path as failed: {step.message}"
    if step.due is not None:
        yield f"due {due_words(step.due.model_dump(mode='json'))}"
    if step.priority is not None:
        yield f"priority {step.priority}"
    facts = [*step.outputs] if isinstance(step, (DelegatedStep, AirflowStep, DecisionStep, SubStreamStep)) else []
    used = {value: users for (name, value), users in shape.used_by.items() if name == step.id}
    for value in dict.fromkeys([*facts, *used]):
        readers = ["what undoes it" if user == step.id else user for user in used.get(value, ())]
        users = f"used by {listed(readers)}" if readers else "used by no step"
        yield f"leaves {value}: {users}"


def _runs(step: SubStreamStep) -> Iterator[str]:
    given = listed([f"{name} {_value(value)}" for name, value in step.params.items()])
    yield f"runs value stream {step.run} and waits for it" + (f"; started with {given}" if given else "")
    for rule in step.retry:
        yield retry_words(rule.on, rule.times, format_duration(rule.delay) if rule.delay is not None else "")
    if step.time_limit is not None:
        yield f"fails after {format_duration(step.time_limit)}, and the instance goes on"


def _time_out(step: ApprovalStep | ChoiceStep) -> str:
    if step.within is None:
        return "waits for as long as it takes"
    known = {"fail": "the step fails", "approve": "it is approved", "reject": "it is rejected"}
    approval = isinstance(step, ApprovalStep) or step.on_timeout == "fail"
    then = known[step.on_timeout] if approval else f"{step.on_timeout} is chosen"
    return f"waits {format_duration(step.within)}; without an answer {then}"
