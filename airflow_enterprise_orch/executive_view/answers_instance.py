"""What the read API answers about one instance: its graph, decisions, timeline, remote jobs, and why it is late."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from airflow_enterprise_orch.executive_view.answers import Answer, InstanceRow, Level, Stack, StepName, StepState


class RemoteJob(Answer):
    """One attempt of one step: at most one job on the system that does the work."""

    attempt: int = Field(description="1, 2, 3 ...")
    hidden: bool = Field(
        False, description="Whether it is an instance of a stream that the user may not see: its ids are not told."
    )
    key: str | None = Field(description="The delegation key, written on the remote job; our own history keeps none.")
    system: str = Field(description="The identity of the system that it was, or will be, handed to.")
    job_id: str | None
    job_name: str | None
    state: str = Field(description="intent: being handed over; submitted: it is out there; closed.")
    verdict: str | None = Field(description="Of a closed attempt: success, warning or failure.")
    code: str | None = Field(None, description="Of a closed one, its result in the system's own words: CC 0004.")
    rc: int | None = Field(None, description="Of a closed one, its return code, where there is one.")
    phase: str | None = Field(
        None, description="Of one that does not get on, where it is over there: held or waiting. None: it is not known."
    )
    reason: str | None = Field(None, description="Why it is held or waits, in the system's own words.")
    link: str | None = Field(None, description="Where the system itself shows it, as the deployment has it set up.")
    message: str | None = Field(description="Of a failure, the line that the step failed with.")
    parked: str | None = Field(description="The question that a person has to answer, if any.")
    closed_by: str | None = Field(description="system, or person:<name>.")
    opened: str | None
    closed: str | None


class StepJobs(Answer):
    """The remote jobs of one step."""

    task_id: str
    map_index: int
    step: StepName | None = Field(None, description="The step that the task belongs to, where that was asked for.")
    undoing: bool = Field(False, description="Whether the task undoes the step.")
    problem: str | None = Field(None, description="Why its ledger cannot be read, if it cannot.")
    jobs: list[RemoteJob] = Field([], description="Its attempts, the oldest first.")


class InstanceJobs(Answer):
    """The remote jobs of one instance, by step."""

    dag_id: str
    run_id: str
    steps: list[StepJobs]


class Items(Answer):
    """How far a step is that is done once for each item of a list."""

    total: int
    done: int
    running: int
    failed: int


class SubStream(Answer):
    """The stream that a step runs."""

    dag_id: str | None = Field(description="None where the user may not see it.")
    title: str | None = Field(description="None where the user may not see it.")
    run_id: str | None = Field(description="Its instance, once there is one.")


class StepRun(Answer):
    """How one step of one instance went."""

    state: StepState
    airflow_state: str | None = Field(description="What Airflow calls it; None before Airflow has begun with it.")
    try_number: int
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    late: bool
    job: RemoteJob | None = Field(description="The newest attempt.")
    items: Items | None = None
    message: str | None = Field(description="Why it failed or waits, in one line.")


class Node(Answer):
    """One step in the graph."""

    id: str
    title: str
    kind: str = Field(description="The step's kind in the template: mainframe.job, branch, approval ...")
    stack: Stack
    system: str | None = Field(description="The system's name in the registry.")
    connection: str | None = Field(description="The Airflow connection that it uses.")
    group: str | None
    column: int = Field(description="Its place from left to right: the longest way to it, from 0.")
    row: int = Field(description="Its place within its lane and column, from 0.")
    on_path: bool | None = Field(description="Whether the instance came through here; None while that is open.")
    sub_stream: SubStream | None = None
    undone: bool = Field(False, description="Whether its work was undone.")
    undo: StepRun | None = Field(None, description="How the undoing of its work goes, once that has begun.")
    heat: float | None = Field(None, description="Its part of the longest way through the stream, by history; 0 to 1.")
    run: StepRun | None = Field(None, description="None on the page of the stream.")


class Edge(Answer):
    """What comes after what."""

    source: str
    target: str
    label: str | None = Field(description="Of a branch, the rule that leads there.")
    taken: bool | None = Field(description="Whether the instance went this way; None while that is open.")
    share: float | None = Field(None, description="Of a branch on the page of the stream: how often; 0 to 1.")


class Graph(Answer):
    """A stream as swimlanes, one for each kind of system."""

    lanes: list[Stack] = Field(description="From top to bottom.")
    nodes: list[Node] = Field(description="From left to right.")
    edges: list[Edge]


class Way(Answer):
    """One rule of a branch, row of a decision table, or option of a choice."""

    id: str = Field(description="The number from 1, the option's id, or otherwise.")
    title: str = Field(description="It in words: the condition, or the option's title.")
    leads_to: Any = Field(description="Steps, or the values of the row.")
    fired: bool


class SeenValue(Answer):
    """One value that a decision looked at."""

    name: str
    value: Any


class Overridden(Answer):
    """A person had it otherwise."""

    by: str
    reason: str
    instead: list[str] = Field(description="The steps that the rules would have taken.")


class DecisionTold(Answer):
    """What was decided at one step, by what values, and who had it otherwise."""

    step: StepName
    kind: str = Field(description="branch, table or choice.")
    policy: str
    at: datetime | None
    by: str = Field(description="the rules, a person, or nobody when a time limit did.")
    sentence: str
    ways: list[Way]
    values: list[SeenValue]
    chosen: list[str]
    outputs: list[SeenValue]
    overridden: Overridden | None
    problem: str | None = Field(description="Why no rule could be asked, or the record not be read.")
    open_until: datetime | None = Field(
        None, description="Only proposed: until then a person may override it, and nothing follows from it yet."
    )
    hidden: bool = Field(
        False, description="Whether its values are not told, because the user may not see what steps left."
    )


class Bar(Answer):
    """One step on the timeline."""

    step: StepName
    state: StepState
    plan_start: datetime | None = Field(description="When it begins where all goes as it usually does.")
    plan_end: datetime | None
    start: datetime | None
    end: datetime | None
    forecast_start: datetime | None = Field(description="Of a step that is not over: half of the instances by then.")
    forecast_end: datetime | None
    forecast_end_p90: datetime | None
    due_at: datetime | None
    tries: int


class Timeline(Answer):
    """Plan, actual and forecast on one axis."""

    start: datetime | None
    end: datetime | None = Field(description="Where the axis ends: the last of all that is shown.")
    now: datetime
    due_at: datetime | None
    history: int = Field(description="How many ended instances plan and forecast are told from.")
    bars: list[Bar]


CauseKind = Literal[
    "stream", "step", "remote_job", "system", "resource", "person", "calendar", "hold", "branch", "retry", "failure",
    "queue",
]  # fmt: skip


class Cause(Answer):
    """One link of the chain; the next one says why this one is so."""

    kind: CauseKind
    level: Level
    text: str = Field(description="In one sentence.")
    since: datetime | None = None
    step: StepName | None = None
    job: RemoteJob | None = None
    others: int | None = Field(None, description="How many other instances wait for the same; only visible ones count.")


class Why(Answer):
    """Why the instance is late, or what it waits for, down to what can be done about it."""

    headline: str
    level: Level
    chain: list[Cause] = Field(description="From the instance down to the root.")


class Link(Answer):
    """A way into Airflow."""

    title: str
    href: str = Field(description="A path on this host.")


class InstanceDetail(Answer):
    """One instance, with all that its page shows but the audit and the logs."""

    as_of: datetime
    instance: InstanceRow
    description: str
    params: dict[str, Any] = Field(description="What it was started with.")
    outputs: dict[str, dict[str, Any]] = Field(description="What its steps gave, by step.")
    graph: Graph
    decisions: list[DecisionTold]
    timeline: Timeline
    jobs: list[StepJobs]
    why: Why
    links: list[Link]
    gone: bool = Field(description="Whether Airflow has forgotten the run, and all is from our own history.")


class StepLog(Answer):
    """The end of a step's log."""

    task_id: str
    map_index: int
    try_number: int
    lines: list[str] = Field(description="The oldest first.")
    cut: bool = Field(description="Whether there is more before these lines.")
    problem: str | None = Field(description="Why there is no log, if there is none.")
