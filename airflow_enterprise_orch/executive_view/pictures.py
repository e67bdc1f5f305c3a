"""Pictures of streams, as the pages need them: read once per process and version."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, tuple_

from airflow_enterprise_orch.executive_view.answers import Stack, StepName
from airflow_enterprise_orch.executive_view.forecast import Step
from airflow_enterprise_orch.executive_view.tables import STREAM
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

KEPT = 2000
"""Pictures in memory; about 10 KB each."""


@dataclass(frozen=True)
class WayOut:
    """One way out of a deciding step.

    :param when: the condition, or the option's title; for people.
    :param then: the steps that it leads to.
    :param gives: of a row the values that it gives.
    """

    id: str
    when: str
    then: tuple[str, ...]
    gives: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PictureStep:
    """One step.

    :param after: the steps that it waits for, deciding ones that name it among them.
    :param tasks: the tasks that belong to it, beside its own.
    :param each: the task that does its work for each item of a list, or "".
    :param undone_by: the task that undoes it, or "".
    :param runs: the stream that it runs, or "".
    :param waits_on: the stream that it waits for, or "".
    """

    id: str
    title: str
    kind: str
    stack: Stack
    system: str = ""
    connection: str = ""
    group: str = ""
    after: tuple[str, ...] = ()
    ways: tuple[WayOut, ...] = ()
    due: Mapping[str, Any] | None = None
    tasks: tuple[str, ...] = ()
    each: str = ""
    undone_by: str = ""
    runs: str = ""
    waits_on: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """One version of a stream.

    :param lanes: its stacks, in the order in which it comes to them.
    :param steps: each after those that it comes after.
    :param zone: the time zone of its due times.
    :param due: as ``due.py`` reads it; None without one.
    :param key: the template's text of the business key.
    :param raw: all of it, as the compiler wrote it.
    """

    title: str = ""
    description: str = ""
    zone: str = "UTC"
    due: Mapping[str, Any] | None = None
    key: str = ""
    lanes: tuple[Stack, ...] = ()
    steps: tuple[PictureStep, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def by_id(self) -> Mapping[str, PictureStep]:
        """The steps by their ids."""
        return {step.id: step for step in self.steps}

    @cached_property
    def of_task(self) -> Mapping[str, str]:
        """The step of each task."""
        return {task: step.id for step in self.steps for task in (step.id, *step.tasks)}

    @cached_property
    def flow(self) -> tuple[Step, ...]:
        """The steps as the forecast has them."""
        return tuple(
            Step(step.id, step.after, tuple(dict.fromkeys(one for way in step.ways for one in way.then)))
            for step in self.steps
        )

    def decides(self, step: str) -> bool:
        """Tell whether a step chooses which steps come next."""
        known = self.by_id.get(step)
        return known is not None and any(way.then for way in known.ways)

    def other_stream(self, step: str) -> str:
        """Return the stream that a step runs or waits for, or ""."""
        known = self.by_id.get(step)
        return known.runs or known.waits_on if known is not None else ""

    def step_name(self, step: str) -> StepName:
        """Return a step by its name; of one that the picture does not have, its id."""
        known = self.by_id.get(step)
        if known is None:
            return StepName(id=step, title=step, stack=Stack(id="", title=""))
        return StepName(id=step, title=known.title, stack=known.stack)

    def step_of_task(self, task_id: str) -> StepName:
        """Return the step of a task."""
        return self.step_name(self.of_task.get(task_id, task_id))


NONE = Picture()


def read_picture(data: Mapping[str, Any]) -> Picture:
    """Read what the compiler wrote, see ``value_stream/picture.py``; what a later version adds is left alone."""
    stacks = {one["id"]: one["title"] for one in data.get("stacks", ())}
    return Picture(
        data["title"],
        data.get("description") or "",
        data.get("timezone") or "UTC",
        data.get("due"),
        data.get("business", {}).get("key") or "",
        tuple(Stack(id=one, title=title) for one, title in stacks.items()),
        tuple(_step(one, stacks) for one in data["steps"]),
        data,
    )


def _step(data: Mapping[str, Any], stacks: Mapping[str, str]) -> PictureStep:
    tasks: Mapping[str, str] = data.get("tasks", {})

    def of_kind(kind: str) -> str:
        return next((task for task, known in tasks.items() if known == kind), "")

    return PictureStep(
        data["id"],
        data["title"],
        data["kind"],
        Stack(id=data["stack"], title=stacks.get(data["stack"], data["stack"])),
        data.get("system", ""),
        data.get("connection", ""),
        data.get("group", ""),
        tuple(data["after"]),
        tuple(_ways(data)),
        data.get("due"),
        tuple(tasks),
        of_kind("each"),
        of_kind("undo"),
        data.get("runs", ""),
        data.get("waits_on", ""),
        data,
    )


def _ways(data: Mapping[str, Any]) -> Iterator[WayOut]:
    """Yield the ways out of a deciding step: rules, rows, options, and what is otherwise."""
    for number, rule in enumerate(data.get("rules", ()), start=1):
        yield WayOut(str(number), rule["when"], tuple(rule["then"]))
    for number, row in enumerate(data.get("rows", ()), start=1):
        asked = ", ".join(f"{name} {asks}" for name, asks in row["when"].items())
        yield WayOut(str(number), asked or "always", (), row["then"])
    for option in data.get("options", ()):
        yield WayOut(option["id"], option["title"], tuple(option["then"]))
    if "otherwise" in data:
        then = data["otherwise"]
        yield WayOut(OTHERWISE, "", tuple(then)) if isinstance(then, list) else WayOut(OTHERWISE, "", (), then)


class _Cache:
    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, str], Picture] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int, str]) -> Picture | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: tuple[str, int, str], picture: Picture) -> None:
        with self._lock:
            self._kept[key] = picture
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)


_cache = _Cache()


class Pictures:
    """The pictures that one answer needs."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Picture] = {}
        self._current: dict[str, int] = {}

    def load(self, session: Session, versions: Iterable[tuple[str, int]]) -> None:
        """Read the pictures of some versions, those that are not in memory from the database."""
        missing = sorted(set(versions) - set(self._found))
        stream = STREAM.c
        for start in range(0, len(missing), 200):
            part = missing[start : start + 200]
            named = tuple_(stream.dag_id, stream.version).in_(part)
            digests = session.execute(select(stream.dag_id, stream.version, stream.digest).where(named)).all()
            unread = []
            for row in digests:
                known = _cache.get((row.dag_id, row.version, row.digest))
                if known is None:
                    unread.append((row.dag_id, row.version))
                else:
                    self._found[row.dag_id, row.version] = known
            if unread:
                self._read(session, unread)

    def _read(self, session: Session, versions: list[tuple[str, int]]) -> None:
        stream = STREAM.c
        named = tuple_(stream.dag_id, stream.version).in_(versions)
        columns = (stream.dag_id, stream.version, stream.digest, stream.picture)
        for row in session.execute(select(*columns).where(named)):
            picture = read_picture(row.picture)
            _cache.put((row.dag_id, row.version, row.digest), picture)
            self._found[row.dag_id, row.version] = picture

    def load_current(self, session: Session, dag_ids: Iterable[str]) -> None:
        """Read the pictures of the current versions of some streams."""
        wanted = sorted(set(dag_ids) - set(self._current))
        if not wanted:
            return
        stream = STREAM.c
        for row in session.execute(
            select(stream.dag_id, stream.version).where(stream.dag_id.in_(wanted), stream.is_current)
        ):
            self._current[row.dag_id] = row.version
        self.load(session, ((dag_id, self._current[dag_id]) for dag_id in wanted if dag_id in self._current))

    def of(self, dag_id: str, version: int | None = None) -> Picture:
        """Return a picture that was loaded; of the current version without one; an empty one where there is none."""
        number = self._current.get(dag_id) if version is None else version
        return self._found.get((dag_id, number), NONE) if number is not None else NONE
