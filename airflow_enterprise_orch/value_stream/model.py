"""What a value-stream template means, once it has been read and checked.

The classes here are the template's vocabulary: each field is a key in the YAML, and its description is what editors and
the reference show. Steps of a system are described by that system's own model, which the registry finds.
Everything is frozen; a :class:`ValueStream` in hand has passed every check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field

from airflow_enterprise_orch.value_stream.canonical import canonical
from airflow_enterprise_orch.value_stream.model_types import (
    CEL_TYPES,
    PRIORITIES,
    Announced,
    Criticality,
    Duplicates,
    GivenValue,
    Identifier,
    Line,
    Number,
    ParamKind,
    ParamType,
    ParamValue,
    Part,
    Priority,
    StepIds,
    Text,
)
from airflow_enterprise_orch.value_stream.schedule import Schedule
from airflow_enterprise_orch.value_stream.steps import Step
from airflow_enterprise_orch.value_stream.watching import AlertRule, Due
from airflow_enterprise_orch.working_days import WorkingDays

if TYPE_CHECKING:
    from airflow_enterprise_orch.value_stream.beside import Beside
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings


class Param(Part):
    """One value that a run is started with. A param without a default must be given."""

    type: ParamKind = Field(description="The type of the value.")
    items: ParamType | None = Field(None, description="Of a list the type of its items.")
    title: Line | None = Field(None, description="The label in the form that starts a run.")
    description: Text | None = Field(None, description="The explanation in the form that starts a run.")
    default: GivenValue | None = Field(None, description="The value when none is given; without it one must be given.")
    choices: Annotated[tuple[ParamValue, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The only values allowed."
    )
    pattern: Text | None = Field(None, description="A regular expression that a string must match.")
    minimum: Number | None = Field(None, description="The smallest number allowed.")
    maximum: Number | None = Field(None, description="The largest number allowed.")
    min_items: int | None = Field(None, ge=0, le=1000, description="How many items a list must have at least.")
    max_items: int | None = Field(None, ge=1, le=1000, description="How many items a list may have.")

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
    announce: Announced = Field(
        (),
        description="What each run tells of itself before its first step, so that other streams can wait for it "
        "(wait_for): business_date, business_key.",
    )


class Limits(Part):
    """How much of the stream may be live at once. Airflow's own default would be 16 of each."""

    instances: int = Field(1000, ge=1, le=100_000, description="Runs that may be live at the same time.")
    steps: int = Field(100, ge=1, le=100_000, description="Steps of one run that may be active at the same time.")


class Group(Part):
    """Steps that belong together in the eyes of people; it changes nothing about when they run."""

    title: Line | None = Field(None, description="The group's name for people.")
    group: Identifier | None = Field(None, description="The group that it stands in.")


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
    due: Due | None = Field(None, description="By when an instance must be over; what is late is told by alerts.")
    alerts: Annotated[tuple[AlertRule, ...], Field(strict=False)] = Field(
        (), description="Who is told when a step fails, is late, waits for a person, or cannot be proven."
    )
    limits: Limits = Field(
        default_factory=lambda: Limits.model_validate({}), description="How much may be live at once."
    )
    priority: Priority | None = Field(
        None,
        description="Which streams' steps go first where not all can: low, normal, high, critical or a number; "
        "without it the business criticality decides.",
    )
    tags: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=100)], ...], Field(strict=False)] = Field(
        (), description="Words to find the stream by."
    )
    groups: dict[Identifier, Group] = Field(
        default_factory=dict, description="Groups of steps, by id; a step says in which it is."
    )
    use: StepIds = Field(
        (),
        exclude=True,
        description="The shared files whose defaults and fragments it uses; what a later one says counts before an "
        "earlier one.",
    )


class ValueStream(Header):
    """A checked template."""

    steps: dict[Identifier, Step] = Field(min_length=1, description="What is done, by the step's id.")
    calendars: dict[str, WorkingDays] = Field(
        default_factory=dict, exclude=True, description="The working days of each calendar that it names."
    )
    seen: dict[str, str] = Field(
        default_factory=dict, exclude=True, description="The files beside it that it is made of, see Beside.seen."
    )

    @classmethod
    def load(
        cls,
        source: Path | str,
        *,
        name: str | None = None,
        beside: Beside | None = None,
        surroundings: Surroundings | None = None,
    ) -> ValueStream:
        """Read and check a template.

        :param source: a file's path (a ``Path``), or the YAML text itself (a ``str``).
        :param name: the file name in messages; by default the path, or ``<text>``.
        :param beside: the files that it may refer to; by default, for a path, those beside it.
        :param surroundings: the profiles and shared files that it may use; by default those beside the file, and none
            for a text.
        :raises TemplateError: with every problem found, sorted by position.
        """
        from airflow_enterprise_orch.value_stream.reading import load

        return load(source, name=name, beside=beside, surroundings=surroundings)

    @cached_property
    def upstream(self) -> Mapping[str, tuple[str, ...]]:
        """The direct predecessors of each step, a branch before the steps that it names included; sorted."""
        found = {name: set(step.after) for name, step in self.steps.items()}
        for name, step in self.steps.items():
            for target in step.targets:
                found[target].add(name)
        return {name: tuple(sorted(before)) for name, before in found.items()}

    def ancestors(self, step: str) -> frozenset[str]:
        """Return all steps that come before ``step``, directly or not."""
        return self._ancestors[step]

    @cached_property
    def _ancestors(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for name in self._order:
            before = self.upstream[name]
            found[name] = frozenset(before).union(*(found[other] for other in before))
        return found

    def concerned(self, step: str) -> tuple[str, ...]:
        """Return the steps for whose failure ``step`` is undone: those after it, and what these wait for; sorted."""
        before = self.ancestors(step)
        after = {name for name in self.steps if step in self.ancestors(name)}
        return tuple(sorted((after | {one for name in after for one in self.ancestors(name)}) - before - {step}))

    def ordered(self) -> Iterator[Step]:
        """Yield the steps so that each comes after all of its predecessors; the same order every time."""
        return (self.steps[name] for name in self._order)

    @cached_property
    def _order(self) -> tuple[str, ...]:
        """The steps, always the first by name of those whose predecessors are all there."""
        open_before = {name: len(before) for name, before in self.upstream.items()}
        after: dict[str, list[str]] = {name: [] for name in self.steps}
        for name, before in self.upstream.items():
            for other in before:
                after[other].append(name)
        ready = [name for name, number in open_before.items() if not number]
        heapify(ready)
        done: list[str] = []
        while ready:
            done.append(name := heappop(ready))
            for later in after[name]:
                open_before[later] -= 1
                if not open_before[later]:
                    heappush(ready, later)
        return tuple(done)

    def weight(self, step: Step | None = None) -> int:
        """Return the priority of the stream, or of one of its steps, as Airflow's priority weight."""
        own = step.priority if step is not None else None
        priority = own or self.priority or self.business.criticality
        return PRIORITIES[priority] if isinstance(priority, str) else priority

    def digest(self) -> str:
        """Return a hash of all that the template says.

        Comments, layout, defaults written out, and the order of lists whose order says nothing do not change it.
        Defaults are left out so that a vocabulary that grows makes no new version of the templates that are there.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        data = canonical(self)
        return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a template, with the step types of every installed system, for editors."""
    from airflow_enterprise_orch.value_stream.editor_schema import editor_schema

    return editor_schema("template")
