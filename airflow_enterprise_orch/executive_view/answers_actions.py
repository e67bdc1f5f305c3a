"""What people ask of instances and streams, and what they are answered: one model for pages, API and command line."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from airflow_enterprise_orch.executive_view.answers import Answer, Forecast, InstanceFilter, StepName

Action = Literal[
    "hold", "release", "skip", "complete", "cancel", "retry", "restart", "override", "params", "priority", "due",
    "acknowledge", "unacknowledge",
]  # fmt: skip
"""``restart``: the step and what follows it run again. ``override``: a branch or a choice goes another way."""
ACTIONS: tuple[Action, ...] = get_args(Action)

OF_INSTANCE: frozenset[Action] = frozenset(
    {"hold", "release", "cancel", "retry", "params", "priority", "due", "acknowledge", "unacknowledge"}
)
"""What can be asked of an instance as a whole."""

What = Literal[
    "held", "released", "skipped", "completed", "cancelled", "runs", "runs_again", "not_run", "stays", "changed",
    "acknowledged",
]  # fmt: skip

Need = Literal["outputs", "targets", "params", "due_at", "priority", "until"]

HoldState = Literal["asked", "requested", "confirmed", "unsupported", "refused", "too_late", "released"]
"""Of a job that is out there. ``asked``: its task has not looked yet. ``requested`` of its system; ``confirmed`` by the
job's own state; ``too_late``: it had started or ended."""

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3, max_length=1000)]
Scope = Literal["stream", "system", "connection"]


class Asked(BaseModel):
    """What all requests have in common: a word that is not known is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class ActionAsked(Asked):
    """One action, without whom it concerns."""

    action: Action
    step: str | None = Field(None, max_length=250, description="The step's id; null for the instance as a whole.")
    map_index: int | None = Field(None, ge=0, description="Of a step with a list, the item; null for all of them.")
    reason: Reason = Field(description="Why, for the audit trail and for whoever comes after.")
    until: AwareDatetime | None = Field(None, description="Of a hold, when it ends by itself.")
    leave_job: bool = Field(
        False, description="Of skip and complete: leave a remote job alone, and take the asker's word that it is over."
    )
    outputs: dict[str, Any] = Field({}, description="Of complete, what the step gives; by name.")
    targets: list[str] = Field([], max_length=100, description="Of override, the steps that are to run.")
    params: dict[str, Any] = Field({}, description="Of params, the new values; by name.")
    due_at: AwareDatetime | None = Field(None, description="Of due, when the instance must be over.")
    priority: int | None = Field(None, ge=1, le=1_000_000, description="Of priority: more goes first.")
    confirm: list[str] = Field([], max_length=200, description="What was confirmed of that which the preview asked.")


class ActionRequest(ActionAsked):
    """One action on one instance."""

    id: Id = Field(description="Chosen by whoever asks: the same once more changes nothing and is answered alike.")
    version: str | None = Field(
        None, description="What the asker has seen, from the preview; refused (409) when it has changed since."
    )


class Confirmation(Answer):
    """What must be confirmed by its own before the action is carried out."""

    token: str
    text: str


class Effect(Answer):
    """What becomes of one step."""

    step: StepName | None = Field(description="None: the instance as a whole.")
    map_index: int = -1
    what: What
    text: str = Field(description="In one line.")
    job: str | None = Field(None, description="The remote job that it concerns.")


class ActionPreview(Answer):
    """What an action would do; nothing is changed by asking."""

    version: str = Field(description="To be given back with the action.")
    allowed: bool
    refusals: list[str] = Field(description="Why it is not, each with what to do instead.")
    sentence: str = Field(description="What would happen, in one sentence.")
    effects: list[Effect]
    cannot_be_undone: list[str] = Field(description="What was done on other systems and stays so, or would be.")
    compensations: list[str] = Field(description="What would be undone by the stream itself.")
    confirmations: list[Confirmation]
    forecast_before: Forecast | None
    forecast_after: Forecast | None
    due_at: datetime | None
    will_be_late: bool | None = Field(description="Whether it is likelier late than not after it; None: nobody knows.")


class ActionDone(Answer):
    """What an action did."""

    id: str
    action: Action
    at: datetime
    by: str
    replayed: bool = Field(description="Whether it had been carried out before under this id, and nothing was now.")
    version: str
    sentence: str
    effects: list[Effect]


class Target(Answer):
    """A step that an override can choose."""

    id: str
    title: str


class Offer(Answer):
    """One action that can be asked of a step or of an instance."""

    action: Action
    allowed: bool
    why_not: str | None = None
    needs: list[Need] = Field([], description="What must, or may, be given with it.")
    outputs: dict[str, str] = Field({}, description="What must be given to complete it: type by name.")
    optional_outputs: dict[str, str] = Field({}, description="What may be given besides.")
    targets: list[Target] = Field([], description="What an override can choose.")
    confirm: bool = Field(False, description="Whether something must be confirmed by its own.")


class HeldJob(Answer):
    """What became of the newest hold, or release, of a job that is out there."""

    map_index: int
    job: str
    what: Literal["hold", "release"]
    state: HoldState
    text: str = Field(description="In one line, as the step's task wrote it down.")
    at: datetime | None


class InstanceActions(Answer):
    """What the asker may do with one instance, step by step."""

    as_of: datetime
    may_act: bool
    instance: list[Offer]
    steps: dict[str, list[Offer]]
    held_jobs: dict[str, list[HeldJob]] = Field(
        {}, description="By step, how the holds of jobs stand that were handed over; only where somebody asked for one."
    )


# ------------------------------------------------------------------------------------------- holds of many instances


class HoldAsked(Asked):
    """Hold all steps of a stream, of a kind of system, or of one connection, that have not begun."""

    id: Id
    scope: Scope
    name: str = Field(min_length=1, max_length=250, description="The stream's id, the system's, or the connection's.")
    reason: Reason
    until: AwareDatetime | None = Field(None, description="When it ends by itself.")


class ReleaseAsked(Asked):
    """End a hold."""

    id: Id
    reason: Reason


class Hold(Answer):
    """One hold of many instances."""

    id: str
    scope: Scope
    name: str
    title: str = Field(description="What is held, for people.")
    by: str
    reason: str
    at: datetime | None
    until: datetime | None
    held_steps: int = Field(description="How many steps of streams that the asker may see are held now.")
    may_release: bool


class Holds(Answer):
    """All holds of streams, systems and connections that concern what the asker may see."""

    as_of: datetime
    items: list[Hold]


# ------------------------------------------------------------------------------------------------------------- bulk

BulkState = Literal["dry_run", "running", "stopped", "done"]
Outcome = Literal["open", "done", "refused", "failed"]


class BulkAsked(Asked):
    """The same action on all instances that fit a filter."""

    id: Id
    filter: InstanceFilter
    action: ActionAsked
    dry_run: bool = Field(False, description="Count only.")


class Bulk(Answer):
    """An action on many instances."""

    id: str
    action: Action
    step: str | None
    reason: str
    by: str
    at: datetime
    state: BulkState
    matching: int = Field(description="How many instances fitted the filter when it was asked.")
    may_act: int = Field(description="On how many of them the asker may act: those it is carried out on.")
    total: int
    done: int
    refused: int
    failed: int
    ended_at: datetime | None
    sentence: str


class Bulks(Answer):
    """The newest actions on many instances."""

    as_of: datetime
    items: list[Bulk]


class BulkResult(Answer):
    """What became of one instance."""

    dag_id: str
    run_id: str
    key: str
    stream: str
    outcome: Outcome
    text: str
    at: datetime | None


class BulkResults(Answer):
    """One page of results."""

    total: int
    items: list[BulkResult]
    next_cursor: str | None
