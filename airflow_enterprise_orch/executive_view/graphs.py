"""A stream as swimlanes: which step stands where, which way an instance went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from airflow_enterprise_orch.executive_view.answers_instance import Edge, Graph, Node, StepRun, SubStream
from airflow_enterprise_orch.executive_view.pictures import Picture, PictureStep

RAN = frozenset({"running", "success", "warning", "failed", "waiting_person", "parked", "held", "retry"})
NOT_RUN = frozenset({"skipped", "removed"})
MAX_LABEL = 80


@dataclass(frozen=True)
class Run:
    """What is drawn into the graph of one instance.

    :param chosen: of deciding steps that have decided, the steps that they chose.
    :param undone: the steps whose work was undone.
    :param undoing: how the undoing of steps goes.
    """

    steps: Mapping[str, StepRun]
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    undone: frozenset[str] = frozenset()
    undoing: Mapping[str, StepRun] = field(default_factory=dict)
    sub_streams: Mapping[str, SubStream] = field(default_factory=dict)

    def on_path(self, step: str) -> bool | None:
        """Tell whether the instance came through a step; None while that is open."""
        run = self.steps.get(step)
        if run is None:
            return None
        if run.state in RAN:
            return True
        return False if run.state in NOT_RUN or run.state == "blocked" else None

    def taken(self, source: str, target: str, *, names: bool) -> bool | None:
        """Tell whether the instance went from a step to another.

        :param names: whether the first is a deciding one that names the second.
        """
        came = self.on_path(source)
        if not came:
            return came
        if names and source in self.chosen:
            return target in self.chosen[source]
        goes = self.on_path(target)
        if names:
            return goes
        run = self.steps.get(source)
        return goes if goes is not False or (run is not None and run.ended_at is not None) else None


@dataclass(frozen=True)
class Past:
    """What is drawn into the graph of a stream, from its history.

    :param heat: each step's part of the longest ways.
    :param shares: how often a deciding step led to a step.
    """

    heat: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[tuple[str, str], float] = field(default_factory=dict)


def graph(
    picture: Picture,
    run: Run | None = None,
    past: Past | None = None,
    may_see: Callable[[str], str | None] = lambda dag_id: dag_id,
) -> Graph:
    """Draw a stream.

    :param run: the instance, if it is one's.
    :param past: its history, if that is shown.
    :param may_see: returns the title of a stream; None where the viewer may not see it.
    """
    past = past or Past()
    columns = _columns(picture)
    taken: dict[tuple[str, int], int] = {}
    nodes: list[Node] = []
    for step in sorted(picture.steps, key=lambda one: columns[one.id]):
        cell = (step.stack.id, columns[step.id])
        row = taken[cell] = taken.get(cell, -1) + 1
        nodes.append(_node(step, columns[step.id], row, run, past, may_see))
    edges = [edge for step in picture.steps for edge in _edges(picture, step, run, past)]
    return Graph(lanes=list(picture.lanes), nodes=nodes, edges=edges)


def _columns(picture: Picture) -> dict[str, int]:
    """Return how far from the left each step stands: the longest way to it."""
    columns: dict[str, int] = {}
    for step in picture.steps:
        columns[step.id] = max((columns[one] + 1 for one in step.after if one in columns), default=0)
    return columns


def _node(
    step: PictureStep, column: int, row: int, run: Run | None, past: Past, may_see: Callable[[str], str | None]
) -> Node:
    sub_stream = None
    if step.runs:
        sub_stream = run.sub_streams.get(step.id) if run is not None else None
        title = may_see(step.runs)
        run_id = sub_stream.run_id if sub_stream is not None and title else None
        sub_stream = SubStream(dag_id=step.runs if title else None, title=title, run_id=run_id)
    return Node(
        id=step.id,
        title=step.title,
        kind=step.kind,
        stack=step.stack,
        system=step.system or None,
        connection=step.connection or None,
        group=step.group or None,
        column=column,
        row=row,
        on_path=run.on_path(step.id) if run is not None else None,
        sub_stream=sub_stream,
        undone=run is not None and step.id in run.undone,
        undo=run.undoing.get(step.id) if run is not None else None,
        heat=past.heat.get(step.id),
        run=run.steps.get(step.id) if run is not None else None,
    )


def _edges(picture: Picture, step: PictureStep, run: Run | None, past: Past) -> list[Edge]:
    found = []
    for source in step.after:
        before = picture.by_id.get(source)
        if before is None:
            continue
        ways = [way for way in before.ways if step.id in way.then]
        label = "; or ".join(way.when for way in ways if way.when) or None
        found.append(
            Edge(
                source=source,
                target=step.id,
                label=label if label is None or len(label) <= MAX_LABEL else f"{label[: MAX_LABEL - 3]}...",
                taken=run.taken(source, step.id, names=bool(ways)) if run is not None else None,
                share=past.shares.get((source, step.id)),
            )
        )
    return found
