"""Instances that streams wait for: found by what they told of themselves, and in which state they are.

All goes through Airflow's task execution API, with what every task and trigger may do. One look is for many who wait:
those that wait for the same cost nothing more, and states are counted for many runs at once.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms

from airflow_enterprise_orch.errors import RequestRejected, SystemUnreachable
from airflow_enterprise_orch.value_stream.announcing import PREFIX, TOLD_VERSION, told_by_date, told_by_key

Ask = Callable[[Any], Awaitable[Any]]
Instances = Literal["newest", "all", "any"]
State = Literal["success", "failed", "skipped", "running", "none"]

LIVE = ("queued", "running")
PAGE = 10_000
"""The most names that Airflow's API lists at once."""
TOGETHER = 100
"""Run ids go into the address of one request."""
FEW = 8
"""For more different dates or keys of one stream all that it told is listed, where that is less to ask."""
REMEMBERED = 20_000
"""So many announcements are kept in memory; they never change."""
_BROKEN = ("failed", "upstream_failed", "removed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which instances are waited for.

    :param date: the business date, or "" where ``key`` says which.
    :param step: the step that must have succeeded; "" for the whole instance.
    :param but: an instance that does not count: the one that waits, where it is of the same stream.
    """

    stream: str
    date: str = ""
    key: str = ""
    step: str = ""
    but: str = ""

    @property
    def told_as(self) -> str:
        """The beginning of the names under which such instances are told of."""
        return told_by_date(self.stream, self.date) if self.date else told_by_key(self.stream, self.key)

    def words(self) -> str:
        """Name them, for people."""
        of = f"for {self.date}" if self.date else f"with business key {self.key!r}"
        return f"step {self.step!r} of {self.stream} {of}" if self.step else f"{self.stream} {of}"

    def to_text(self) -> str:
        """Return it as one text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Wanted:
        """Read such a text."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance that is there, and the state of what is waited for in it."""

    run_id: str
    after: str
    state: State


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look came to.

    :param over: the wait is: with ``success``, or because a failure ends it.
    :param instance: the one that decided, or that is waited for; None where none is there.
    """

    over: bool
    instance: Instance | None

    @property
    def state(self) -> State:
        """The state of that instance."""
        return self.instance.state if self.instance is not None else "none"

    def words(self, wanted: Wanted) -> str:
        """Say what is known, for people."""
        if self.instance is None:
            return f"{wanted.words()}: there is no such instance yet"
        told = {"success": "succeeded", "running": "not over yet"}.get(self.state, self.state)
        repair = "" if self.over or self.state in ("success", "running") else "; waits until that is repaired"
        return f"{wanted.words()}: {told} in instance {self.instance.run_id}{repair}"


def judge(found: Iterable[Instance], instances: Instances, *, failure_ends: bool) -> Verdict:
    """Tell whether a wait is over.

    :param found: all instances that are there.
    :param instances: which of them count.
    """
    there = sorted(found, key=lambda one: (one.after, one.run_id))
    if not there:
        return Verdict(over=False, instance=None)
    newest = there[-1]
    count = [newest] if instances == "newest" else there
    good = [one for one in count if one.state == "success"]
    broken = [one for one in count if one.state in ("failed", "skipped")]
    if len(good) == len(count) or (good and instances == "any"):
        return Verdict(over=True, instance=good[-1])
    if broken and failure_ends and (instances != "any" or len(broken) == len(count)):
        return Verdict(over=True, instance=broken[0])
    open_ones = [one for one in count if one.state == "running"]
    if instances == "any":
        return Verdict(over=False, instance=(open_ones or broken)[-1])
    return Verdict(over=False, instance=(broken or open_ones)[0])


class Announcements:
    """What the instances of this Airflow told of themselves.

    :param ask: how Airflow is asked from here.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._read: dict[str, Mapping[str, str]] = {}

    async def look(self, wanted: Iterable[Wanted]) -> dict[Wanted, tuple[Instance, ...]]:
        """Return the instances that are there of each that is waited for, deleted ones left out."""
        wanted = sorted(set(wanted), key=Wanted.to_text)
        found: dict[Wanted, tuple[Instance, ...]] = {}
        for stream in sorted({one.stream for one in wanted}):
            found |= await self._of_stream(stream, [one for one in wanted if one.stream == stream])
        return found

    async def there(self, stream: str, runs: Iterable[str]) -> set[str]:
        """Return which of some instances are there, in whatever state."""
        return await self._among(stream, sorted(runs), None)

    async def _of_stream(self, stream: str, wanted: list[Wanted]) -> dict[Wanted, tuple[Instance, ...]]:
        names = await self._names(stream, sorted({one.told_as for one in wanted}))
        told = {name: await self._told(name) for listed in names.values() for name in listed}
        if len(self._read) > REMEMBERED:
            self._read = {name: value for name, value in told.items() if value is not None}
        runs = {
            one: {
                value["run_id"]: value["after"]
                for name in names[one.told_as]
                if (value := told[name]) is not None and value["run_id"] != one.but and _is_meant(one, value)
            }
            for one in wanted
        }
        states = await self._states(stream, sorted({run for of in runs.values() for run in of}))
        steps = sorted({one.step for one in wanted if one.step})
        of_steps = await self._steps(stream, steps, sorted({run for one in wanted if one.step for run in runs[one]}))
        return {
            one: tuple(
                Instance(run, after, _state(states[run], of_steps.get(run, {}).get(one.step, "")) if one.step
                         else states[run])
                for run, after in sorted(of.items())
                if run in states
            )
            for one, of in runs.items()
        }  # fmt: skip

    async def _names(self, stream: str, beginnings: Sequence[str]) -> dict[str, list[str]]:
        """Return the names under which something is told, by their beginning."""
        found: dict[str, list[str]] = {}
        for kind in ("d", "k"):
            root = f"{PREFIX}{stream}.{kind}."
            mine = [one for one in beginnings if one.startswith(root)]
            everything = await self._list(root, most=len(mine)) if len(mine) > FEW else None
            for one in mine:
                if everything is None:
                    found[one] = await self._list(one) or []
                else:
                    found[one] = [name for name in everything if name.startswith(one)]
        return found

    async def _list(self, begins: str, most: int | None = None) -> list[str] | None:
        """Return all names that begin so; None when they are more than so many pages."""
        names: list[str] = []
        while True:
            message = comms.GetVariableKeys(prefix=begins, limit=PAGE, offset=len(names))
            page = await self._read_from(message)
            names += page.keys
            if most is not None and page.total_entries > most * PAGE:
                return None
            if not page.keys or len(names) >= page.total_entries:
                return sorted(set(names))

    async def _told(self, name: str) -> Mapping[str, str] | None:
        """Return what is told under a name; None when it was cleared away by now."""
        if name not in self._read:
            answer = await self._read_from(comms.GetVariable(key=name), missing=ErrorType.VARIABLE_NOT_FOUND)
            if answer is None:
                return None
            try:
                value = json.loads(answer.value or "")
                right = value["version"] == TOLD_VERSION and value["run_id"] and value["after"]
            except (ValueError, KeyError, TypeError):
                right = False
            if not right:
                raise RequestRejected(f"the Variable {name!r} tells of no instance; delete it")
            self._read[name] = {key: str(one) for key, one in value.items()}
        return self._read[name]

    async def _states(self, stream: str, runs: Sequence[str]) -> dict[str, State]:
        """Return the states of instances; none for one that was deleted."""
        left = set(runs)
        found: dict[str, State] = {}
        told: tuple[tuple[State, tuple[str, ...]], ...] = (
            ("running", LIVE),
            ("success", ("success",)),
            ("failed", ("failed",)),
        )
        for state, means in told:
            those = await self._among(stream, sorted(left), list(means))
            found |= dict.fromkeys(those, state)
            left -= those
        # One that was cleared in between was in none of these states when it was asked for.
        return found | dict.fromkeys(await self._among(stream, sorted(left), None), "running")

    async def _among(self, stream: str, runs: list[str], states: list[str] | None) -> set[str]:
        """Return those runs that are in one of some states, or that are there at all; by halves."""
        if not runs:
            return set()
        if len(runs) <= TOGETHER:
            answer = await self._read_from(comms.GetDRCount(dag_id=stream, run_ids=runs, states=states))
            if answer.count == 0:
                return set()
            if answer.count == len(runs):
                return set(runs)
        half = len(runs) // 2
        return await self._among(stream, runs[:half], states) | await self._among(stream, runs[half:], states)

    async def _steps(self, stream: str, steps: list[str], runs: list[str]) -> dict[str, Mapping[str, str]]:
        """Return the states of some steps in some runs."""
        found: dict[str, Mapping[str, str]] = {}
        for start in range(0, len(runs) if steps else 0, TOGETHER):
            some = runs[start : start + TOGETHER]
            message = comms.GetTaskStates(dag_id=stream, task_ids=steps, run_ids=some)
            answer = await self._read_from(message)
            for run, states in answer.task_states.items():
                found[run] = {name: str(getattr(state, "value", state)) for name, state in states.items()}
        return found

    async def _read_from(self, message: Any, *, missing: ErrorType | None = None) -> Any:
        """Ask Airflow; None where it says that there is no such thing."""
        try:
            answer = await self._ask(message)
        except AirflowRuntimeError as error:
            if missing is not None and error.error.error == missing:
                return None
            raise SystemUnreachable(f"Airflow's API does not answer as it should: {error}") from error
        if isinstance(answer, comms.ErrorResponse):
            if missing is not None and answer.error == missing:
                return None
            raise SystemUnreachable(f"Airflow's API does not answer as it should: {answer.error.value}")
        return answer


def _is_meant(wanted: Wanted, value: Mapping[str, str]) -> bool:
    """Tell whether an instance is of the date or the key: names hold but a hash of the key."""
    if wanted.date:
        return value.get("business_date") == wanted.date
    return value.get("business_key") == wanted.key


def _state(run: State, step: str) -> State:
    """Return the state of a milestone, by the states of its instance and of the step there."""
    if step in ("success", "skipped"):
        return "success" if step == "success" else "skipped"
    # One that is over without the step will never come to it.
    return "failed" if step in _BROKEN or run != "running" else "running"
