"""What a step of a value stream can be: the work of a connected system, or something that Airflow itself decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, create_model

from airflow_enterprise_orch.delegation.ledger import RULE_DELAY
from airflow_enterprise_orch.delegation.system import StepType, step_type
from airflow_enterprise_orch.value_stream.model_types import (
    AIRFLOW_FACTS,
    APPROVAL_FACTS,
    CEL_TYPES,
    CLASS_PATH,
    FOR_EACH_FACTS,
    STREAM_FACTS,
    TABLE_FILE,
    XCOM_PATH,
    AssetName,
    Connection,
    Duration,
    Identifier,
    Line,
    ParamType,
    ParamValue,
    Part,
    RetryKind,
    StepIds,
    Text,
)
from airflow_enterprise_orch.value_stream.step_parts import BaseStep, ForEach, Outcome, Resource
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep


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
    source = Field(alias=key, description="Where the value stands in the job's output.")
    return create_model("Output", __base__=Output, source=(Line, source))


FIRST_DELAY = timedelta(seconds=RULE_DELAY)
"""What a rule waits that names no delay."""


class RetryRule(Part):
    """When a failed job is run again: a new job, only after the old one is provably closed."""

    on: Annotated[tuple[RetryKind, ...], Field(strict=False, min_length=1)] = Field(
        description="The kinds of failure it is for. A refused login and a rejected job are never retried."
    )
    times: int = Field(1, ge=1, le=100, description="How many more attempts.")
    delay: Duration | None = Field(None, description="How long to wait before the first of them; 1m without it.")
    backoff: float | None = Field(
        None, ge=1, le=10, description="How many times as long each further wait is; without it all are the same."
    )
    max_delay: Duration | None = Field(None, description="The longest wait that a backoff comes to.")

    def arguments(self) -> dict[str, Any]:
        """Return it as ``DelegateOperator`` takes it; plain JSON."""
        seconds = {"delay": self.delay, "max_delay": self.max_delay}
        waits = {name: value.total_seconds() for name, value in seconds.items() if value is not None}
        backoff = {} if self.backoff is None else {"backoff": self.backoff}
        return {"on": list(self.on), "times": self.times, **waits, **backoff}


class DelegatedStep(BaseStep):
    """A step that a connected system does."""

    step: str = Field(description="The step type: mainframe.job.")
    connection: Connection
    # JSON all through, because it comes of YAML; ``JsonValue`` would ask Python for the type of each value.
    work: dict[str, Any] = Field(description="The fields of the step type, checked by its model.")
    outcome: Outcome | None = Field(None, description="What counts as success; without it rc 0 does.")
    outputs: dict[Identifier, Output] = Field(default_factory=dict, description="Values for later steps.")
    retry: Annotated[tuple[RetryRule, ...], Field(strict=False)] = Field(
        (), description="When it is run again; without it never."
    )
    time_limit: Duration | None = Field(
        None, description="After this the job is cancelled, and the step fails once the cancel is proven."
    )
    resource: Resource | None = Field(None, description="What it holds while it runs, and while its job runs.")
    at_once: int | None = Field(
        None, ge=1, le=100_000, description="In how many instances at once it may be at work; without it no limit."
    )
    for_each: ForEach | None = Field(None, description="Does the work once for each item of a list.")
    publishes: Annotated[tuple[AssetName, ...], Field(strict=False)] = Field(
        (), description="Assets of which the step's success is an event: streams that they start need no other link."
    )
    compensate: DelegatedStep | None = Field(
        None,
        description="The work that undoes this step, when a step after it failed for good: a step type with its "
        "fields, and outcome, retry and time_limit.",
    )

    @property
    def compensation(self) -> DelegatedStep | None:
        """The work that undoes it."""
        return self.compensate

    @property
    def step_type(self) -> StepType:
        """Its type in the registry."""
        return step_type(self.step)[1]

    @property
    def facts(self) -> Mapping[str, str]:
        """The facts of its type and its own outputs, or how many items there were: name to CEL type."""
        if self.for_each is not None:
            return FOR_EACH_FACTS
        return {**self.step_type.facts, **{name: output.cel_type for name, output in self.outputs.items()}}

    def operator_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``DelegateOperator`` that stand for this step; plain JSON."""
        key = self.step_type.output_key
        outputs = {
            name: {key: output.source, **output.model_dump(mode="json", exclude={"source"}, exclude_none=True)}
            for name, output in self.outputs.items()
        }
        return {
            "step": self.step,
            "connection": self.connection,
            "work": dict(self.work),
            "outcome": self.outcome and self.outcome.model_dump(mode="json", exclude_none=True),
            "outputs": outputs or None,
            "retry": [rule.arguments() for rule in self.retry] or None,
            "time_limit": self.time_limit and self.time_limit.total_seconds(),
        }


class XcomOutput(Part):
    """One value that an operator of Airflow left, for later steps."""

    xcom: Line = Field("return_value", description="The key of the XCom: return_value is what the operator returned.")
    path: Annotated[str, Field(pattern=XCOM_PATH)] | None = Field(
        None, description="The way to the value inside it: names and numbers with dots, such as files.0.name."
    )
    type: ParamType = Field("string", description="The type of the value.")


class AirflowStep(BaseStep):
    """A step that runs an operator of Airflow's providers."""

    operator: Annotated[str, Field(pattern=CLASS_PATH)] = Field(
        description="The operator's class path; the deployment must allow it ([enterprise_orch] airflow_operators)."
    )
    arguments: dict[Line, JsonValue] = Field(
        default_factory=dict, description="The arguments of its constructor; texts may hold Jinja."
    )
    outputs: dict[Identifier, XcomOutput] = Field(default_factory=dict, description="Values for later steps.")
    retry: Annotated[tuple[RetryRule, ...], Field(strict=False)] = Field(
        (), description="One rule, on: [failed]; without it never. The operator runs again from its beginning."
    )
    time_limit: Duration | None = Field(
        None, description="After this the step fails; whether what it started goes on is the operator's affair."
    )
    resource: Resource | None = Field(None, description="What it holds while it runs and while it is deferred.")
    at_once: int | None = Field(
        None, ge=1, le=100_000, description="In how many instances at once it may be at work; without it no limit."
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """Its outcome and its outputs: name to CEL type."""
        return {**AIRFLOW_FACTS, **{name: CEL_TYPES[output.type] for name, output in self.outputs.items()}}


class BranchRule(Part):
    """One way out of a branch: taken when its condition holds."""

    when: Text = Field(description="A condition (CEL) over params and earlier steps.")
    then: StepIds = Field(description="The steps that run next; none means that the stream ends here.")


class BranchStep(BaseStep):
    """A step that chooses which steps come next."""

    match: Literal["first", "all"] = Field(
        "first", description="first: the first rule that holds is taken. all: every rule that holds is."
    )
    rules: Annotated[tuple[BranchRule, ...], Field(strict=False, min_length=1)] = Field(
        description="The ways out, in the order in which they are asked."
    )
    otherwise: StepIds = Field(description="The steps that run when no condition holds; none ends the stream there.")
    override_within: Duration | None = Field(
        None,
        description="How long people may override what the rules came to, before it goes on by itself. Without it, it "
        "goes on at once.",
    )

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


class ChoiceOption(Part):
    """One answer of a choice, and what follows from it."""

    title: Line = Field(description="The answer as the person sees it.")
    then: StepIds = Field(description="The steps that run next; none means that the stream ends here.")


class ChoiceStep(BaseStep):
    """A step that waits for a person to choose which steps come next."""

    subject: Line = Field(description="The question, in one line; may use params and earlier steps.")
    body: Text | None = Field(None, description="What the person should know (Markdown).")
    options: dict[Identifier, ChoiceOption] = Field(min_length=2, description="The answers, by name.")
    assignees: Annotated[tuple[Line, ...], Field(strict=False)] = Field(
        (), description="The Airflow users who may answer; without it everyone who may act on the stream."
    )
    within: Duration | None = Field(None, description="How long it waits; without it for as long as it takes.")
    on_timeout: Identifier = Field(
        "fail", description="What happens when nobody answered in time: fail, or the option that is taken then."
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """What later steps can read of it: name to CEL type."""
        return APPROVAL_FACTS

    @property
    def targets(self) -> tuple[str, ...]:
        """Every step that it can choose, each once, in the order written."""
        return tuple(dict.fromkeys(name for option in self.options.values() for name in option.then))


class FailStep(BaseStep):
    """A step that ends its path as failed."""

    message: Text = Field(description="Why, for whoever reads it; may use params and earlier steps.")


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
    table: Annotated[str, Field(pattern=TABLE_FILE, max_length=200)] | None = Field(
        None,
        # What the file says is in the rows; where it stands makes no other template.
        exclude=True,
        description="Instead of rows a CSV file beside the template: rates.csv. Its header names the inputs and "
        "outputs; a cell is written as in rows, and an empty one may be anything.",
    )
    otherwise: dict[Identifier, ParamValue] | None = Field(
        None, description="With table the outputs when no row fits; among rows it is their last entry."
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """Its outputs: name to CEL type."""
        return {name: CEL_TYPES[kind] for name, kind in self.outputs.items()}


class StreamValue(Part):
    """One value that a step of the other stream's instance left."""

    step: Identifier = Field(description="The step of the other stream.")
    value: Identifier = Field(description="Which of the values that it leaves.")
    type: ParamType = Field("string", description="The type of the value.")


class StreamRetryRule(RetryRule):
    """When another instance is started after one that failed."""

    on: Annotated[tuple[Literal["failed", "lost"], ...], Field(strict=False, min_length=1)] = Field(
        description="failed: the instance failed. lost: somebody deleted it."
    )


class SubStreamStep(BaseStep):
    """A step that is another value stream."""

    run: Identifier = Field(description="The value stream of which an instance is started.")
    params: dict[Identifier, JsonValue] = Field(
        default_factory=dict,
        description="What it is started with. A text that is one value ({{ params.amount }}) hands on that value.",
    )
    elsewhere: bool = Field(
        False,
        description="Its template is in another folder, so that lint cannot compare with what it takes.",
    )
    outputs: dict[Identifier, StreamValue] = Field(
        default_factory=dict, description="Values of the instance's steps, for later steps of this one."
    )
    retry: Annotated[tuple[StreamRetryRule, ...], Field(strict=False)] = Field(
        (), description="When another instance is started; without it never."
    )
    time_limit: Duration | None = Field(
        None, description="After this the step fails. The instance goes on; a clear of the step waits for it again."
    )

    @property
    def facts(self) -> Mapping[str, str]:
        """The instance's ids and the outputs: name to CEL type."""
        return {**STREAM_FACTS, **{name: CEL_TYPES[output.type] for name, output in self.outputs.items()}}


Step = (
    DelegatedStep
    | AirflowStep
    | BranchStep
    | ApprovalStep
    | DecisionStep
    | ChoiceStep
    | WaitStep
    | WaitForStep
    | FailStep
    | SubStreamStep
)
