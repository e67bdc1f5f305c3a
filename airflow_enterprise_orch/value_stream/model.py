"""What a value-stream template means, once it has been read and checked.

The classes here are the template's vocabulary: each field is a key in the YAML, and its description is what editors and
the reference show. Steps of a system are described by that system's own model, which the registry finds.
Everything is frozen; a :class:`ValueStream` in hand has passed every check.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from airflow_enterprise_orch.delegation.system import StepType, step_type

ID_PATTERN = r"^[a-z][a-z0-9_]*$"

ParamType = Literal["string", "integer", "number", "boolean"]
Criticality = Literal["low", "normal", "high", "critical"]
Duplicates = Literal["reject", "queue", "allow"]
RetryKind = Literal["failed", "abended", "cancelled", "lost", "timed_out"]

CEL_TYPES: Mapping[str, str] = {"string": "string", "integer": "int", "number": "double", "boolean": "bool"}
"""The CEL type of each type that a param or an output can have."""

APPROVAL_FACTS: Mapping[str, str] = {"outcome": "string", "by": "string"}
"""What an approval leaves for later steps: ``outcome`` (``approved`` or ``rejected``), and ``by`` whom or what."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_DURATION_SCHEMA = {"type": "string", "pattern": "^([0-9]{1,9}[smhd])+$", "examples": ["90s", "15m", "1h30m", "1d"]}


def parse_duration(value: object) -> timedelta:
    """Read ``90s``, ``15m``, ``2h``, ``1d`` or ``1h30m``; positive; :raises PydanticCustomError: otherwise."""
    if isinstance(value, timedelta):
        return value
    parts = _DURATION.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise PydanticCustomError("duration", "is no duration")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= 366 * 86400:
        raise PydanticCustomError("duration", "is no duration")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a duration the way a template does: ``1h30m``."""
    seconds, text = int(value.total_seconds()), ""
    for unit in ("d", "h", "m", "s"):
        number, seconds = divmod(seconds, _UNITS[unit])
        text += f"{number}{unit}" if number else ""
    return text


def _scalar(value: object) -> object:
    if isinstance(value, (str, int, float, bool)):
        return value
    raise PydanticCustomError("scalar", "is no single value")


def _number(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("float_type", "is no number")


# One validator instead of a union: a union would report one mistake once per member.
ParamValue = Annotated[
    str | int | float | bool, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
Identifier = Annotated[str, Field(pattern=ID_PATTERN, max_length=100)]
Line = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\r\n]*$")]
Text = Annotated[str, Field(min_length=1)]
Connection = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.\-]+$",
        max_length=200,
        description="The Airflow connection of the system that does the work; logins live there, never in a template.",
    ),
]
StepIds = Annotated[tuple[Identifier, ...], Field(strict=False)]


class Part(BaseModel):
    """The base of all parts of a template: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)


class Param(Part):
    """One value that a run is started with. A param without a default must be given."""

    type: ParamType = Field(description="The type of the value.")
    title: Line | None = Field(None, description="The label in the form that starts a run.")
    description: Text | None = Field(None, description="The explanation in the form that starts a run.")
    default: ParamValue | None = Field(None, description="The value when none is given; without it one must be given.")
    choices: Annotated[tuple[ParamValue, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The only values allowed."
    )
    pattern: Text | None = Field(None, description="A regular expression that a string must match.")
    minimum: Number | None = Field(None, description="The smallest number allowed.")
    maximum: Number | None = Field(None, description="The largest number allowed.")

    @property
    def required(self) -> bool:
        """True when a run cannot start without a value for it."""
        return self.default is None

    @property
    def cel_type(self) -> str:
        """Its type in conditions."""
        return CEL_TYPES[self.type]


class Business(Part):
    """What the stream is to the business."""

    domain: Line = Field(description="The part of the business, as its people call it: Customer onboarding.")
    owner: Line = Field(description="The team that answers for the stream.")
    criticality: Criticality = Field("normal", description="How much it hurts when the stream is late.")
    key: Text | None = Field(
        None,
        description="The business key of a run, written with its params: {{ params.order_id }}. "
        "Without it the run's id is the key.",
    )
    duplicates: Duplicates = Field(
        "allow",
        description="What happens to a run whose key another live run has: reject fails it at once, "
        "queue lets it wait for the other, allow runs both.",
    )


class Schedule(Part):
    """When runs start by themselves. Without a schedule people, the API or assets start them."""

    cron: Line = Field(description="Five cron fields: 30 6 * * *.")
    timezone: Line = Field("UTC", description="An IANA time zone: Europe/Berlin.")


class Limits(Part):
    """How much of the stream may be live at once. Airflow's own default would be 16 of each."""

    instances: int = Field(1000, ge=1, le=100_000, description="Runs that may be live at the same time.")
    steps: int = Field(100, ge=1, le=100_000, description="Steps of one run that may be active at the same time.")


class Outcome(Part):
    """What counts as success: conditions over the job's facts, such as ``rc <= 4``."""

    success: Text = Field(description="A condition over rc and code; true makes the ended job a success.")
    warning: Text | None = Field(None, description="A condition; true marks the success as one with a warning.")


class Output(Part):
    """One value taken from a job's log for later steps."""

    source: Line = Field(description="Where it stands.")
    match: Text = Field(description="A regular expression with one group; the group of the first match is the value.")
    type: ParamType = Field("string", description="The type of the value.")

    @property
    def cel_type(self) -> str:
        """Its type in conditions."""
        return CEL_TYPES[self.type]


@cache
def output_model(key: str) -> type[Output]:
    """Return the model of an output as a template writes it: every system has its own word for the source."""
    source = Field(alias=key, description="Where the value stands in the job's output.", min_length=1, max_length=250)
    return create_model("Output", __base__=Output, source=(str, source))


class RetryRule(Part):
    """When a failed job is run again: a new job, only after the old one is provably closed."""

    on: Annotated[tuple[RetryKind, ...], Field(strict=False, min_length=1)] = Field(
        description="The kinds of failure it is for. A refused login and a rejected job are never retried."
    )
    times: int = Field(1, ge=1, le=100, description="How many more attempts.")
    delay: Duration | None = Field(None, description="How long to wait before each.")


class BaseStep(Part):
    """What every step has."""

    id: Identifier = Field(description="The step's name in the template.")
    title: Line | None = Field(None, description="The step's name for people.")
    after: StepIds = Field((), description="The steps that come before it.")

    @property
    def facts(self) -> Mapping[str, str]:
        """What later steps can read of it: name to CEL type."""
        return {}


class DelegatedStep(BaseStep):
    """A step that a connected system does."""

    step: str = Field(description="The step type: mainframe.job.")
    connection: Connection
    work: dict[str, JsonValue] = Field(description="The fields of the step type, checked by its model.")
    outcome: Outcome | None = Field(None, description="What counts as success; without it rc 0 does.")
    outputs: dict[Identifier, Output] = Field(default_factory=dict, description="Values for later steps.")
    retry: Annotated[tuple[RetryRule, ...], Field(strict=False)] = Field(
        (), description="When it is run again; without it never."
    )
    time_limit: Duration | None = Field(
        None, description="After this the job is cancelled, and the step fails once the cancel is proven."
    )

    @property
    def step_type(self) -> StepType:
        """Its type in the registry."""
        return step_type(self.step)[1]

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts of its type and its own outputs: name to CEL type."""
        return {**self.step_type.facts, **{name: output.cel_type for name, output in self.outputs.items()}}

    def operator_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``DelegateOperator`` that stand for this step; plain JSON."""
        key = self.step_type.output_key
        outputs = {
            name: {key: output.source, **output.model_dump(mode="json", exclude={"source"}, exclude_none=True)}
            for name, output in self.outputs.items()
        }
        retry: list[dict[str, Any]] = []
        for rule in self.retry:
            delay = {} if rule.delay is None else {"delay": rule.delay.total_seconds()}
            retry.append({"on": list(rule.on), "times": rule.times, **delay})
        return {
            "step": self.step,
            "connection": self.connection,
            "work": dict(self.work),
            "outcome": self.outcome and self.outcome.model_dump(mode="json", exclude_none=True),
            "outputs": outputs or None,
            "retry": retry or None,
            "time_limit": self.time_limit and self.time_limit.total_seconds(),
        }


class BranchRule(Part):
    """One way out of a branch: taken when its condition is the first that holds."""

    when: Text = Field(description="A condition (CEL) over params and earlier steps.")
    then: StepIds = Field(description="The steps that run next; none means that the stream ends here.")


class BranchStep(BaseStep):
    """A step that chooses which steps come next."""

    rules: Annotated[tuple[BranchRule, ...], Field(strict=False, min_length=1)]
    otherwise: StepIds = Field(description="The steps that run when no condition holds; none ends the stream there.")

    @property
    def targets(self) -> tuple[str, ...]:
        """Every step that it can choose, each once, in the order written."""
        return tuple(dict.fromkeys([name for rule in self.rules for name in rule.then] + list(self.otherwise)))


class ApprovalStep(BaseStep):
    """A step that waits for a person to approve or reject."""

    subject: Line = Field(description="The question, in one line; may use params and earlier steps.")
    body: Text | None = Field(None, description="What the person should know (Markdown).")
    assignees: Annotated[tuple[Line, ...], Field(strict=False)] = Field(
        (), description="The Airflow users who may answer; without it everyone who may act on the stream."
    )
    within: Duration | None = Field(None, description="How long it waits; without it for as long as it takes.")
    on_timeout: Literal["fail", "approve", "reject"] = Field(
        "fail", description="What happens when nobody answered in time."
    )
    on_reject: Literal["fail", "skip"] = Field(
        "fail", description="A rejection fails the stream, or skips the steps that follow."
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """What later steps can read of it: name to CEL type."""
        return APPROVAL_FACTS


class DecisionRow(Part):
    """One row of a decision table: fits when every input that it names is as it says."""

    when: dict[Identifier, JsonValue] = Field(
        default_factory=dict,
        description="Input to what it must be: a value, a list of values, a comparison (> 100) or an interval "
        "([1..10)). An input that is not named may be anything.",
    )
    then: dict[Identifier, ParamValue] = Field(description="The value of each output.")


class DecisionStep(BaseStep):
    """A step that reads values off a table."""

    hit: Literal["first", "unique"] = Field(
        "first", description="first: the first row that fits counts. unique: no two rows may ever fit at once."
    )
    inputs: dict[Identifier, Line] = Field(
        min_length=1, description="What the rows ask about: name to params.<param> or steps.<step>.<value>."
    )
    outputs: dict[Identifier, ParamType] = Field(
        min_length=1, description="The values that later steps can read: name to type."
    )
    rows: Annotated[tuple[DecisionRow, ...], Field(strict=False, min_length=1)] = Field(
        description="The rows; a last entry 'otherwise' counts when none fits."
    )
    otherwise: dict[Identifier, ParamValue] | None = Field(None, description="The outputs when no row fits.")

    @property
    def facts(self) -> Mapping[str, str]:
        """Its outputs: name to CEL type."""
        return {name: CEL_TYPES[kind] for name, kind in self.outputs.items()}


Step = DelegatedStep | BranchStep | ApprovalStep | DecisionStep


class Header(Part):
    """All of a template but its steps."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    id: Identifier = Field(
        alias="value_stream", description="The stream's id, which is also its DAG's: order_to_certificate."
    )
    title: Line = Field(description="The stream's name for people.")
    description: Text | None = Field(None, description="What it does and for whom (Markdown).")
    business: Business = Field(description="What the stream is to the business.")
    params: dict[Identifier, Param] = Field(default_factory=dict, description="What a run is started with.")
    schedule: Schedule | None = Field(None, description="When runs start by themselves.")
    limits: Limits = Field(
        default_factory=lambda: Limits.model_validate({}), description="How much may be live at once."
    )
    tags: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(strict=False)] = Field(
        (), description="Words to find the stream by."
    )


class ValueStream(Header):
    """A checked template."""

    steps: dict[Identifier, Step] = Field(min_length=1, description="What is done, by the step's id.")

    @classmethod
    def load(cls, source: Path | str, *, name: str | None = None) -> ValueStream:
        """Read and check a template.

        :param source: a file's path (a ``Path``), or the YAML text itself (a ``str``).
        :param name: the file name in messages; by default the path, or ``<text>``.
        :raises TemplateError: with every problem found, sorted by position.
        """
        from airflow_enterprise_orch.value_stream.reading import load

        return load(source, name=name)

    @cached_property
    def upstream(self) -> Mapping[str, tuple[str, ...]]:
        """The direct predecessors of each step, a branch before the steps that it names included; sorted."""
        found = {name: set(step.after) for name, step in self.steps.items()}
        for name, step in self.steps.items():
            if isinstance(step, BranchStep):
                for target in step.targets:
                    found[target].add(name)
        return {name: tuple(sorted(before)) for name, before in found.items()}

    def ancestors(self, step: str) -> frozenset[str]:
        """Return all steps that come before ``step``, directly or not."""
        found: set[str] = set()
        waiting = list(self.upstream[step])
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting.extend(self.upstream[name])
        return frozenset(found)

    def ordered(self) -> Iterator[Step]:
        """Yield the steps so that each comes after all of its predecessors; the same order every time."""
        done: set[str] = set()
        waiting = sorted(self.steps)
        while waiting:
            ready = next(name for name in waiting if done.issuperset(self.upstream[name]))
            waiting.remove(ready)
            done.add(ready)
            yield self.steps[ready]

    def digest(self) -> str:
        """Return a hash of all that the template says; comments and layout do not change it."""
        data = self.model_dump(mode="json", by_alias=True)
        return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a template, with the step types of every installed system, for editors."""
    from airflow_enterprise_orch.value_stream.schema import template_schema

    return template_schema()
