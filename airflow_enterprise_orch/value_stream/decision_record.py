"""The record of a decision: what was asked, what was seen, what came of it, and who had it otherwise.

A branch, a decision table and a choice all leave one under :data:`DECISION_KEY` in the task state store of their task,
before anything follows from it. Whoever shows decisions reads them with :func:`read_decision`, which also understands
what earlier versions of this package wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE

DECISION_KEY = "orch.decision"
DECISION_VERSION = 2
LONGEST_VALUE = 500
"""How much of a long text is kept."""
MOST_WAYS = 50
"""Of a longer table only the rows that counted are kept."""

RULES = "the rules"
"""Who decides where no person does."""

Kind = Literal["branch", "table", "choice"]
Fired = int | str
"""The number of a rule or a row from 1, the id of an option, or ``otherwise``."""


class DecisionUnreadable(OrchestrationError):
    """What should be the record of a decision is none."""


@dataclass(frozen=True, slots=True)
class Override:
    """A person had it otherwise.

    :param instead: the steps that the rules would have taken.
    """

    by: str
    reason: str
    instead: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    :param kind: ``branch`` (rules), ``table`` (rows) or ``choice`` (options, for a person).
    :param policy: which of the ways count: ``first``, ``all``, ``unique``; ``one`` of a choice.
    :param ways: the rules (``when``, ``then``), rows (``when``, ``then``) or options (``title``, ``then``), each with
        its ``id``, in the order of the template, ``otherwise`` last.
    :param values: what was seen, by the name that the ways use; long texts are cut.
    :param reads: of a table, what each input reads.
    :param fired: the ids of the ways that counted; none where no rule could be asked.
    :param by: who decided: :data:`RULES`, a person's name, or ``nobody`` when a time limit did.
    :param at: when; aware.
    :param chosen: of a branch and a choice, the steps that run next.
    :param outputs: of a table, the values that it gave.
    :param problem: why no rule could be asked, or "".
    """

    kind: Kind
    policy: str
    ways: tuple[Mapping[str, Any], ...]
    values: Mapping[str, Any]
    fired: tuple[Fired, ...]
    by: str
    at: datetime
    chosen: tuple[str, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    overridden: Override | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is kept."""
        kept = [dict(way) for way in self.ways if len(self.ways) <= MOST_WAYS or way["id"] in self.fired]
        over = self.overridden
        return {
            "version": DECISION_VERSION,
            **{name: getattr(self, name) for name in ("kind", "policy", "by", "problem")},
            "ways": kept,
            "reads": dict(self.reads),
            "values": {name: _cut(value) for name, value in self.values.items()},
            "fired": list(self.fired),
            "chosen": list(self.chosen),
            "outputs": dict(self.outputs),
            "overridden": over and {"by": over.by, "reason": over.reason, "instead": list(over.instead)},
            "at": self.at.astimezone(UTC).isoformat(),
        }

    def sentence(self, titles: Mapping[str, str] | None = None) -> str:
        """Say it in one line for people.

        :param titles: what to call steps by, instead of their ids.
        """
        called = titles or {}
        seen = ", ".join(f"{name} = {value!r}" for name, value in self.values.items())
        if self.kind == "table":
            given = ", ".join(f"{name} = {value!r}" for name, value in self.outputs.items())
            return f"{given}: {self._why()}" + (f" (with {seen})" if seen else "")
        chosen = ", ".join(called.get(one, one) for one in self.chosen)
        line = f"goes on with {chosen or 'nothing, the path ends here'}"
        if self.overridden is not None:
            instead = ", ".join(called.get(one, one) for one in self.overridden.instead) or "nothing"
            return (
                f"{line}, as {self.overridden.by} wants ({self.overridden.reason}), instead of {instead}: {self._why()}"
            )
        return f"{line}: {self._why()}" + (f" (with {seen})" if seen else "")

    def _why(self) -> str:
        what = "row" if self.kind == "table" else "rule"
        if self.kind == "choice":
            titles = {way["id"]: way.get("title", way["id"]) for way in self.ways}
            return f"{', '.join(str(titles.get(one, one)) for one in self.fired)} by {self.by}"
        if not self.fired:
            return f"no rule could be evaluated ({self.problem})"
        if self.fired == (OTHERWISE,):
            return "no row fits, so otherwise" if self.kind == "table" else "no rule holds, so otherwise"
        if self.kind == "table":
            return f"{what} {self.fired[0]} fits"
        asked = {way["id"]: way.get("when", "") for way in self.ways}
        told = [f"rule {one} holds: {asked.get(one, '')}" for one in self.fired]
        return "; ".join(told)


def ways_of_rules(rules: Sequence[Mapping[str, Any]], otherwise: Any) -> tuple[Mapping[str, Any], ...]:
    """Return rules or rows with their numbers, and what is otherwise, if anything."""
    numbered = [{"id": number, **rule} for number, rule in enumerate(rules, start=1)]
    return (*numbered, {"id": OTHERWISE, "then": otherwise}) if otherwise is not None else tuple(numbered)


def read_decision(data: object) -> Decision:
    """Read a record of this version or of an earlier one.

    :raises DecisionUnreadable: in one line, when it is none: whoever may edit a task may edit its record.
    """
    try:
        if not isinstance(data, Mapping):
            raise TypeError(f"it is {type(data).__name__}")  # one message for all that is wrong
        version = data.get("version")
        if version == 1:
            return _version_1(data)
        if version != DECISION_VERSION or data["kind"] not in get_args(Kind):
            raise ValueError(f"version {version!r}, kind {data.get('kind')!r}")
        over = data["overridden"]
        return Decision(
            **{
                **{name: data[name] for name in ("kind", "policy", "by", "problem")},
                **{name: dict(data[name]) for name in ("values", "outputs", "reads")},
                "ways": tuple(map(dict, data["ways"])),
                "fired": tuple(data["fired"]),
                "chosen": tuple(data["chosen"]),
                "at": _moment(data["at"]),
                "overridden": None if over is None else Override(over["by"], over["reason"], tuple(over["instead"])),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DecisionUnreadable(f"this is no record of a decision that can be read: {error}") from error


def _version_1(data: Mapping[str, Any]) -> Decision:
    """Read what branches and tables left before there were choices."""
    fired = () if data["fired"] is None else (data["fired"],)
    values, at = dict(data["values"]), _moment(data["at"])
    if data.get("kind") == "table":
        outputs, reads = dict(data["result"]), dict(data["reads"])
        return Decision("table", data["hit"], (), values, fired, RULES, at, outputs=outputs, reads=reads)
    over = data["overridden_by"]
    return Decision(
        "branch",
        "first",
        ways_of_rules(data["rules"], list(data["otherwise"])),
        values,
        fired,
        RULES if over is None else over["by"],
        at,
        chosen=tuple(data["chosen"]),
        overridden=None if over is None else Override(over["by"], over["reason"], tuple(data["by_rule"])),
        problem=data["problem"],
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def _cut(value: object) -> object:
    return f"{value[:LONGEST_VALUE]}..." if isinstance(value, str) and len(value) > LONGEST_VALUE else value
