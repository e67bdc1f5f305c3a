"""What the read API answers: the words that all pages share, the overview, and the list of instances.

Moments are aware and in UTC, durations are seconds. Fields that say ``title`` are for people, those that say ``id`` for
links and filters. ``None`` means "not known" or "does not apply", never zero.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Health = Literal["on_time", "at_risk", "late", "failed", "waiting", "no_due", "deleted", "unknown"]
"""``waiting``: for a person or a hold. ``no_due``: it has no due time, and nothing is wrong."""

Level = Literal["ok", "attention", "problem", "idle"]
"""A traffic light: ``problem`` late or failed, ``attention`` at risk or waiting for people, ``idle`` nothing live."""

InstanceState = Literal["queued", "running", "success", "failed", "deleted", "unknown"]
"""``deleted``: somebody deleted the run in Airflow; its history stays here."""

StepState = Literal[
    "open", "queued", "running", "waiting_person", "parked", "held", "retry", "success", "warning", "failed", "blocked",
    "skipped", "removed",
]  # fmt: skip
"""``open``: its turn has not come. ``queued``: waits for a slot of Airflow's or of a resource. ``running``: at work, or
its remote job is. ``parked``: a person must say what became of its job. ``retry``: is tried again later. ``blocked``:
something before it failed. ``skipped``: the path was not taken."""

WaitsFor = Literal["nothing", "remote_job", "resource", "person", "calendar", "hold", "stream", "retry"]
"""``stream``: another instance, or a stream that a step runs."""

Criticality = str


@dataclass(frozen=True)
class Written:
    """An answer as it goes out.

    :param tag: its ETag.
    :param body: JSON in UTF-8.
    :param moment: what it is true for, where it says so.
    """

    tag: str
    body: bytes
    moment: datetime | None

    @cached_property
    def packed(self) -> bytes:
        """The body in gzip."""
        return gzip.compress(self.body, compresslevel=1, mtime=0)

    @property
    def is_packed(self) -> bool:
        """Whether that was done already."""
        return "packed" in self.__dict__


class Answer(BaseModel):
    """What all answers have in common: nothing that is not declared here gets out."""

    model_config = ConfigDict(extra="forbid")

    @property
    def written(self) -> Written | None:
        """How it goes out, once it has: an answer that many get is written once."""
        written: Written | None = self.__dict__.get("written")
        return written

    @written.setter
    def written(self, written: Written) -> None:
        # No private attribute of pydantic's: each of the thousands of parts of an answer would pay for its own.
        self.__dict__["written"] = written


class Problem(Answer):
    """An error, as RFC 9457 has it."""

    type: str = Field("about:blank", description="The kind of problem; about:blank where the status says it all.")
    title: str = Field(description="The status in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong and what to do, in one line.")


class Stack(Answer):
    """A kind of system that work runs on: a lane of the graph, a traffic light of a stream."""

    id: str = Field(description="What filters name it by: mainframe, sap, people, logic ...", examples=["sap"])
    title: str = Field(description="Its name for people.", examples=["SAP"])


class StepName(Answer):
    """A step by its name."""

    id: str = Field(description="The step's id in the template; the id of its task in Airflow.")
    title: str = Field(description="Its name for people.")
    stack: Stack


class Acknowledged(Answer):
    """Somebody has seen that the instance needs care."""

    by: str
    at: datetime


class Forecast(Answer):
    """When a live instance is expected to end, told from instances of the same stream that have ended."""

    p50: datetime | None = Field(description="As likely before as after. None: there is not enough history.")
    p90: datetime | None = Field(description="Nine of ten end before. None: there is not enough history.")
    instances: int = Field(description="How many ended instances it is told from.")
    enough: bool = Field(description="Whether there is enough history to tell anything.")
    problem: str | None = Field(None, description="Why there are no times, in one line, where there are none.")


# ------------------------------------------------------------------------------------------------------- instances


class InstanceRow(Answer):
    """One instance of a stream, in one line."""

    id: int = Field(description="Its number in our tables; rises with time.")
    dag_id: str
    run_id: str
    key: str = Field(description="The business key; the run's id where the template has none.")
    stream: str = Field(description="The stream's title.")
    version: int | None = Field(description="The version of the template that it runs.")
    domain: str
    owner: str
    criticality: Criticality
    business_date: date | None
    run_type: str = Field(description="scheduled, manual, backfill ...")
    state: InstanceState
    live: bool = Field(description="Whether it is not over.")
    health: Health
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None = Field(description="When it must be over, as things stand.")
    first_due_at: datetime | None = Field(description="When it had to be over before anything changed that.")
    late_seconds: int | None = Field(
        description="How late it is, or was when it ended; of a live one in whole minutes. None: it is not late."
    )
    step: StepName | None = Field(description="Of a live one, the step that it is at; the one that is behind most.")
    waits_for: WaitsFor
    waiting_people: bool = Field(description="Whether a person must act before it goes on.")
    parked: bool = Field(description="Whether a person must say what became of a remote job.")
    forecast: Forecast | None = Field(description="Of a live one; None while nobody has worked it out.")
    acknowledged: Acknowledged | None
    changed_at: datetime | None = Field(description="When anything of it changed last.")


class InstancePage(Answer):
    """One page of instances."""

    as_of: datetime = Field(description="The moment that the rows are true for.")
    total: int = Field(description="How many fit the filter in all; exact.")
    items: list[InstanceRow]
    next_cursor: str | None = Field(description="Give it back as ``cursor`` for the next page. None: this is the last.")


InstanceOrder = Literal["urgency", "newest", "oldest", "changed"]


class InstanceFilter(BaseModel):
    """Which instances are meant. Values of one filter are alternatives; all filters must hold."""

    model_config = ConfigDict(extra="forbid")

    id: list[int] = Field([], max_length=500, description="Only these, by the ``id`` of their rows.")
    q: str = Field("", max_length=200, description="A business key, or a part of one; upper and lower case are alike.")
    match: Literal["prefix", "contains"] = Field("prefix", description="How ``q`` is found in the key.")
    stream: list[str] = Field([], max_length=200, description="DAG ids.")
    domain: list[str] = Field([], max_length=100)
    owner: list[str] = Field([], max_length=100)
    criticality: list[str] = Field([], max_length=10)
    state: list[InstanceState] = Field([], max_length=10)
    health: list[Health] = Field([], max_length=10)
    live: bool | None = Field(None, description="Only live ones, or only ended ones.")
    step: list[str] = Field([], max_length=50, description="Ids of the steps that they are at.")
    stack: list[str] = Field([], max_length=20, description="Ids of the stacks that they are at.")
    waits_for: list[WaitsFor] = Field([], max_length=10)
    waiting_people: bool | None = None
    parked: bool | None = None
    acknowledged: bool | None = None
    job: str = Field("", max_length=200, description="The id of a remote job, exactly; JOB00042.")
    business_date: date | None = None
    started_from: AwareDatetime | None = Field(None, description="Began at this moment or later; with a time zone.")
    started_to: AwareDatetime | None = Field(None, description="Began before this moment; with a time zone.")
    ended_from: AwareDatetime | None = Field(
        None, description="Ended at this moment or later, or not yet; with a time zone."
    )


class InstanceQuery(InstanceFilter):
    """A page of the instances that are meant."""

    order: InstanceOrder = Field(
        "urgency",
        description="urgency: live ones first, by due time; newest, oldest: by their beginning; changed: newest first.",
    )
    cursor: str = Field("", max_length=500, description="``next_cursor`` of the page before; with the same filter.")
    row: int = Field(
        0,
        ge=0,
        description="For who jumps: how many rows come before the page; instead of a cursor. Costs the more the "
        "farther it is from both ends, and a row that comes or goes shifts it: go on with the cursor.",
    )
    limit: int = Field(100, ge=1, le=500)


class Facet(Answer):
    """One value to filter by."""

    id: str
    title: str


class Facets(Answer):
    """What can be filtered by, of the streams that the user may see."""

    streams: list[Facet]
    domains: list[Facet]
    owners: list[Facet]
    criticalities: list[Facet]
    stacks: list[Facet]
    steps: list[StepFacet]
    systems: list[Facet] = Field(description="What their steps run on, by its name in the registry: what can be held.")
    connections: list[Facet] = Field(description="The Airflow connections that their steps use.")
    kinds: list[str] = Field(description="Kinds of events that are written.")


class StepFacet(Answer):
    """One step to filter by."""

    dag_id: str
    id: str
    title: str
    stack: str = Field(description="The stack's id.")


# -------------------------------------------------------------------------------------------------------- overview


class Counts(Answer):
    """How many live instances are how."""

    live: int = Field(description="All live instances. The others are parts of them; one can be in several.")
    at_risk: int = Field(description="The due time lies between P50 and P90 of the forecast, or before both.")
    late: int
    failed: int = Field(description="Failed and not acknowledged: live ones, and those that ended within 24 hours.")
    waiting_people: int
    parked: int


class StackLight(Answer):
    """How the instances of one stream are that are on one kind of system now."""

    stack: Stack
    level: Level
    live: int
    late: int
    at_risk: int
    failed: int
    waiting_people: int


class StreamLine(Answer):
    """One stream on the overview."""

    dag_id: str
    title: str
    domain: str
    owner: str
    criticality: Criticality
    level: Level
    counts: Counts
    stacks: list[StackLight] = Field(description="Every kind of system that the stream uses, in its order.")
    due_at: datetime | None = Field(description="The next due time of a live instance, or the worst one missed.")
    forecast: Forecast | None = Field(description="Of the instance that is due at ``due_at``.")
    late_seconds: int | None = Field(description="How late the latest one is, in whole minutes; None when none is.")
    on_time_share: float | None = Field(description="Of the instances that ended within the period; 0 to 1.")


class TrendDay(Answer):
    """One day of the past, from what ended on it."""

    day: date
    started: int
    ended: int
    on_time: int
    late: int
    failed: int
    on_time_share: float | None = Field(description="0 to 1; None where nothing that was due ended.")
    p50_seconds: float | None = Field(description="Of one stream: half of the instances took no longer.")
    p90_seconds: float | None = None


class StackLateness(Answer):
    """How much lateness arose on one kind of system within the period."""

    stack: Stack
    seconds: float
    share: float = Field(description="Of all lateness; 0 to 1.")


class Overview(Answer):
    """How all streams are, in one look."""

    as_of: datetime
    fed_at: datetime | None = Field(description="When our tables last heard of Airflow; None: never.")
    stale: bool = Field(description="Whether that is too long ago to trust what is said here.")
    sentence: str = Field(description="The state in one sentence for an executive.")
    level: Level
    counts: Counts
    unacknowledged: int = Field(description="Late or failed ones that nobody has acknowledged.")
    oldest_unacknowledged_seconds: int | None = Field(description="In whole minutes.")
    on_time_share: float | None = Field(description="Of what ended today and in the last 7 days; 0 to 1.")
    on_time_share_before: float | None = Field(description="The same of the 7 days before, to compare with.")
    streams: list[StreamLine] = Field(description="The worst first.")
    trend: list[TrendDay] = Field(description="The last 30 days, the oldest first; every day is there.")
    lateness_by_stack: list[StackLateness] = Field(description="Over the same days, the most first.")


class OverviewFilter(BaseModel):
    """Which streams the overview is of."""

    model_config = ConfigDict(extra="forbid")

    stream: list[str] = Field([], max_length=200, description="DAG ids.")
    domain: list[str] = Field([], max_length=100)
    owner: list[str] = Field([], max_length=100)
    criticality: list[str] = Field([], max_length=10)


# -------------------------------------------------------------------------------------------------------- audit


class Event(Answer):
    """Something that was decided, done, or that happened, and by whom."""

    id: int
    at: datetime
    dag_id: str
    stream: str = Field(description="The stream's title.")
    run_id: str | None
    key: str | None = Field(description="The instance's business key.")
    step: StepName | None
    kind: str = Field(
        description=(
            "decision, override, asked, parked, answered, sub_stream, triggered, cleared, marked, late, ended, "
            "deleted, hold ..."
        )
    )
    actor: str | None = Field(description="Who: a person, the rules, or nobody when a time limit did.")
    reason: str | None
    before: Any = Field(description="What it was; JSON.")
    after: Any = Field(description="What it is since; JSON.")


class EventPage(Answer):
    """One page of the audit trail, the newest first."""

    as_of: datetime
    total: int = Field(description="How many fit the filter in all; exact.")
    items: list[Event]
    next_cursor: str | None


class EventFilter(BaseModel):
    """Which events are meant."""

    model_config = ConfigDict(extra="forbid")

    stream: list[str] = Field([], max_length=200, description="DAG ids.")
    run_id: str = Field("", max_length=250, description="Of one instance; with ``stream``.")
    kind: list[str] = Field([], max_length=30)
    actor: list[str] = Field([], max_length=50)
    q: str = Field("", max_length=200, description="A part of a business key.")
    since: AwareDatetime | None = Field(None, description="At this moment or later; with a time zone.")
    until: AwareDatetime | None = Field(None, description="Before this moment; with a time zone.")


class EventQuery(EventFilter):
    """A page of the events that are meant."""

    cursor: str = Field("", max_length=500)
    limit: int = Field(100, ge=1, le=500)


class Orphan(Answer):
    """A remote job that is out there, while the step that it belongs to is over or gone."""

    dag_id: str
    stream: str
    run_id: str
    key: str
    instance_state: InstanceState
    step: StepName
    map_index: int
    attempt: int
    system: str = Field(description="The identity of the system that it was handed to.")
    job_id: str | None
    job_name: str | None
    state: str = Field(description="intent: it may exist; submitted: it exists.")
    opened: datetime | None
    why: str = Field(description="Why nobody waits for it, in one line.")


class Orphans(Answer):
    """All orphans of the streams that the user may see."""

    as_of: datetime
    total: int
    items: list[Orphan]


class MyStream(Answer):
    """One stream that the user may see."""

    dag_id: str
    title: str
    may_act: bool = Field(description="Whether the user may hold, release, restart ...: edit the DAG in Airflow.")


class Me(Answer):
    """Who is asking, and what they may see."""

    name: str
    streams: list[MyStream]
