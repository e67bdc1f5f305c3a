"""Where everything stands in the picture of a stream: columns, lanes, boxes, and the corners of lines.

Steps stand in columns by the longest way that leads to them, in rows by the system that does them. Lines run from left
to right in the gaps between the columns; one that would meet a box on its way runs above its lane instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from airflow_enterprise_orch.template_tools.shape import Shape, lane, ways
from airflow_enterprise_orch.value_stream.model import ValueStream

BOX_WIDTH, BOX_HEIGHT = 184, 72
GAP = 56
"""Between two columns, without the lines that run there."""
ARRIVAL = 40
"""Of that what stands before a box: room for the number of a rule above the line."""
TRACK = 9
"""Between two lines that run beside each other."""
PAD = 16
LABELS = 118
"""The width of the lanes' names."""
TOP = 62


@dataclass(frozen=True, slots=True)
class Box:
    """Where one step stands; ``x`` and ``y`` of its upper left corner."""

    step: str
    x: float
    y: float

    @property
    def middle(self) -> float:
        """Half its height."""
        return self.y + BOX_HEIGHT / 2


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from one step to the next.

    :param label: of a branch's choice: the numbers of the rules, ``otherwise``.
    """

    start: str
    end: str
    label: str = ""
    chosen: bool = False


class Layout:
    """Where everything stands."""

    def __init__(self, stream: ValueStream) -> None:
        self.stream = stream
        self.shape = Shape(stream)

    @cached_property
    def column(self) -> Mapping[str, int]:
        """The column of each step: the length of the longest way to it."""
        found: dict[str, int] = {}
        for name in self.shape.order:
            found[name] = max((found[before] + 1 for before in self.stream.upstream[name]), default=0)
        return found

    @cached_property
    def cell(self) -> Mapping[str, tuple[str, int, int]]:
        """Of each step its lane, its row in the lane, and its column."""
        taken: dict[tuple[str, int], int] = {}
        found: dict[str, tuple[str, int, int]] = {}
        for name in self.shape.order:
            stack, column = lane(self.stream.steps[name]), self.column[name]
            row = taken.get((stack, column), 0)
            taken[stack, column] = row + 1
            found[name] = (stack, row, column)
        return found

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The lines, in the order of the steps that they come from."""
        found: list[Edge] = []
        place = {name: index for index, name in enumerate(self.shape.order)}
        for name in self.shape.order:
            step = self.stream.steps[name]
            targets = [other for other in self.shape.order if name in self.stream.upstream[other]]
            for target in sorted(targets, key=place.__getitem__):
                labels = [way.label for way in ways(step) if target in way.then]
                found.append(Edge(name, target, ", ".join(labels), bool(labels)))
        return tuple(found)

    def _crosses(self, edge: Edge, name: str) -> bool:
        """Tell whether a straight line at the height of ``name`` would meet another box on its way."""
        stack, row, _ = self.cell[name]
        between = range(self.column[edge.start] + 1, self.column[edge.end])
        return any(
            (other_stack, other_row) == (stack, row) and other_column in between
            for other_stack, other_row, other_column in self.cell.values()
        )

    @cached_property
    def plans(self) -> Mapping[Edge, str]:
        """How each line gets past the columns between: at the height of its ``start`` or ``end``, or on a ``track``."""
        found: dict[Edge, str] = {}
        for edge in self.edges:
            if self.column[edge.end] == self.column[edge.start] + 1 or not self._crosses(edge, edge.start):
                found[edge] = "start"
            elif not self._crosses(edge, edge.end):
                found[edge] = "end"
            else:
                found[edge] = "track"
        return found

    @cached_property
    def tracks(self) -> Mapping[Edge, int]:
        """Of each line that runs above a lane its number there."""
        used: dict[str, int] = {}
        found: dict[Edge, int] = {}
        for edge, plan in self.plans.items():
            if plan == "track":
                stack = self.cell[edge.end][0]
                found[edge] = used.get(stack, 0)
                used[stack] = found[edge] + 1
        return found

    def _turns(self, edge: Edge) -> list[int]:
        """Return the columns before which the line changes its height."""
        first, last = self.column[edge.start] + 1, self.column[edge.end]
        plan = self.plans[edge]
        if plan == "track":
            return [first, last]
        if self.cell[edge.start][:2] == self.cell[edge.end][:2]:
            return []
        return [last if plan == "start" else first]

    @cached_property
    def gutters(self) -> Mapping[tuple[int, Edge, int], int]:
        """The number of each upright line in the gap before a column: lines from or to one step share one."""
        found: dict[tuple[int, Edge, int], int] = {}
        users: dict[int, dict[tuple[str, str, bool], int]] = {}
        many = Counter(edge.start for edge in self.edges)
        for edge in self.edges:
            for index, column in enumerate(self._turns(edge)):
                shared = users.setdefault(column, {})
                fans_out = many[edge.start] > 1 and index == 0 and column == self.column[edge.start] + 1
                who = (edge.start, "", False) if fans_out else ("", edge.end, edge.chosen)
                found[column, edge, index] = shared.setdefault(who, len(shared))
        return found

    @cached_property
    def lefts(self) -> tuple[float, ...]:
        """The left side of each column."""
        count = max(self.column.values()) + 1
        wide = [0] * count
        for (column, _, _), number in self.gutters.items():
            wide[column] = max(wide[column], number + 1)
        found, x = [], float(PAD + LABELS)
        for column in range(count):
            x += (GAP if column else PAD) + wide[column] * TRACK
            found.append(x)
            x += BOX_WIDTH
        return tuple(found)

    @cached_property
    def lane_tops(self) -> Mapping[str, tuple[float, float]]:
        """Of each lane its upper side and its height."""
        found: dict[str, tuple[float, float]] = {}
        y = float(TOP)
        for stack in self.shape.lanes:
            rows = 1 + max(row for other, row, _ in self.cell.values() if other == stack)
            above = sum(1 for edge in self.tracks if self.cell[edge.end][0] == stack)
            height = PAD + above * TRACK + rows * BOX_HEIGHT + (rows - 1) * PAD + PAD
            found[stack] = (y, height)
            y += height
        return found

    @cached_property
    def boxes(self) -> Mapping[str, Box]:
        """Where each step stands."""
        found: dict[str, Box] = {}
        for name, (stack, row, column) in self.cell.items():
            top, height = self.lane_tops[stack]
            rows = 1 + max(other_row for other, other_row, _ in self.cell.values() if other == stack)
            first = top + height - PAD - rows * BOX_HEIGHT - (rows - 1) * PAD
            found[name] = Box(name, self.lefts[column], first + row * (BOX_HEIGHT + PAD))
        return found

    @property
    def width(self) -> float:
        """Of the lanes."""
        return self.lefts[-1] + BOX_WIDTH + PAD

    @property
    def bottom(self) -> float:
        """Of the last lane."""
        top, height = self.lane_tops[self.shape.lanes[-1]]
        return top + height

    def route(self, edge: Edge) -> list[tuple[float, float]]:
        """Return the corners of a line."""
        start, end = self.boxes[edge.start], self.boxes[edge.end]
        # A chosen way leaves a little below the middle, so that it is told from what merely comes after.
        y, final = start.middle, end.middle
        points = [(start.x + BOX_WIDTH, y)]
        turns = self._turns(edge)
        heights = [final] * len(turns)
        if self.plans[edge] == "track":
            top, _ = self.lane_tops[self.cell[edge.end][0]]
            heights = [top + PAD / 2 + self.tracks[edge] * TRACK, final]
        for index, (column, height) in enumerate(zip(turns, heights, strict=True)):
            x = self.lefts[column] - ARRIVAL - self.gutters[column, edge, index] * TRACK
            points += [(x, y), (x, height)]
            y = height
        return [*points, (end.x - 2, y)]
