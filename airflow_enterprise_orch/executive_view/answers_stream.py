"""What the read API answers about one stream: the template as choreography, its statistics, versions and next runs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field

from airflow_enterprise_orch.executive_view.answers import Answer, Counts, Level, StepName, TrendDay
from airflow_enterprise_orch.executive_view.answers_instance import Graph, Link


class StreamRow(Answer):
    """One stream in the list of all."""

    dag_id: str
    title: str
    description: str
    domain: str
    owner: str
    criticality: str
    version: int
    paused: bool | None = Field(description="Whether Airflow starts nothing of it; None: Airflow does not know it.")
    removed: bool = Field(description="Whether its template was taken away.")
    level: Level
    counts: Counts
    next_run: datetime | None


class Streams(Answer):
    """All streams that the user may see, by domain and title."""

    as_of: datetime
    items: list[StreamRow]


class ParamTold(Answer):
    """One value that an instance is started with."""

    name: str
    title: str
    type: str
    description: str
    required: bool
    default: Any = None
    choices: list[Any] = Field([], description="The only values that it may have, if not any.")


class StreamDetail(Answer):
    """One stream."""

    as_of: datetime
    stream: StreamRow
    business_key: str = Field(description="The template's text of the business key.")
    due: str = Field(description="In words; empty without one.")
    schedule: str = Field(description="In words; empty without one.")
    params: list[ParamTold]
    graph: Graph = Field(description="With heat and how often each way was taken, over the last 30 days.")
    links: list[Link]


class StepStatistics(Answer):
    """How long one step takes, and how often it goes wrong."""

    step: StepName
    instances: int = Field(description="In how many of the instances it ran to its end.")
    p50_seconds: float | None
    p90_seconds: float | None
    queued_p50_seconds: float | None = Field(description="How long it waited for a slot before it began.")
    failed: int = Field(description="In how many of the instances it failed.")
    retried: int = Field(description="In how many of the instances it was tried more than once.")
    share: float | None = Field(description="Its part of the time of the instances' longest ways; 0 to 1.")


class WayStatistics(Answer):
    """How often a branch took one way."""

    id: str
    title: str
    leads_to: Any
    count: int
    share: float


class BranchStatistics(Answer):
    """How often a branch, a decision table or a choice took each way."""

    step: StepName
    decisions: int
    overridden: int
    ways: list[WayStatistics]


class PathStatistics(Answer):
    """How often an instance went exactly this way."""

    steps: list[str] = Field(description="Ids of the steps that ran.")
    count: int
    share: float


class StreamStatistics(Answer):
    """The past of one stream, from instances that have ended."""

    as_of: datetime
    since: datetime = Field(description="The period goes from here to now.")
    instances: int = Field(description="How many ended in the period.")
    looked_at: int = Field(description="Of how many of these, the newest, the steps were looked at.")
    on_time_share: float | None
    p50_seconds: float | None
    p90_seconds: float | None
    bottleneck: StepName | None = Field(description="The step with the largest share.")
    steps: list[StepStatistics]
    branches: list[BranchStatistics]
    paths: list[PathStatistics] = Field(description="The most frequent first; at most 20.")
    trend: list[TrendDay]


class Change(Answer):
    """One difference between two versions."""

    kind: Literal["added", "removed", "changed"]
    where: str = Field(description="The place in the template, with dots.")
    text: str = Field(description="In one line.")


class Version(Answer):
    """One version of a template."""

    version: int
    digest: str
    title: str
    first_seen: datetime | None
    current: bool
    instances: int = Field(description="How many instances ran it, or run it.")
    live: int
    changes: list[Change] = Field(description="Since the version before.")


class Versions(Answer):
    """All versions of one template, the newest first."""

    as_of: datetime
    items: list[Version]


class Comparison(Answer):
    """The differences between two versions."""

    old: int
    new: int
    changes: list[Change]


class RunAhead(Answer):
    """One run that the schedule will start."""

    at: datetime
    business_date: date
    due_at: datetime | None
    expected_end: datetime | None = Field(description="Where it takes as long as half of the others did.")
    expected_end_p90: datetime | None


class RunsAhead(Answer):
    """What the schedule will start."""

    as_of: datetime
    schedule: str = Field(description="In words; empty without one.")
    timezone: str
    paused: bool | None
    history: int = Field(description="How many ended instances the expected ends are told from.")
    items: list[RunAhead]
    problem: str | None = Field(description="Why there are none, or no more: none scheduled, the calendar ends ...")
