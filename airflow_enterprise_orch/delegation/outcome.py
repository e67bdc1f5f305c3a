"""Rules that turn the result of a job into success, warning or failure, or say that nobody can tell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.delegation.attempt import Verdict
from airflow_enterprise_orch.delegation.job import Ending, JobResult
from airflow_enterprise_orch.errors import OutcomeUnknown, OutputMissing
from airflow_enterprise_orch.expressions import Expression, ExpressionError, compile_expression

OUTCOME_VARIABLES: Mapping[str, str] = {"rc": "int", "code": "string", "ending": "string"}
"""What an outcome rule can read, with its CEL type."""

_KINDS = {
    Ending.COMPLETED: "failed",
    Ending.ABENDED: "abended",
    Ending.CANCELLED: "cancelled",
    Ending.REJECTED: "rejected",
    Ending.LOST: "lost",
}


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a result came to.

    :param kind: of a failure, as retry rules name it; "" otherwise.
    """

    verdict: Verdict
    kind: str = ""


class OutcomeRules:
    """The ``outcome:`` of a step.

    :param success: CEL over ``rc``, ``code`` and ``ending``; true means success. "" means what ``rc == 0`` would.
    :param warning: CEL, asked only of a success; true makes it a success with a warning.
    """

    def __init__(self, success: str = "", warning: str = "") -> None:
        # Most steps have no rule, and the compiler of rules takes longer to import than all the rest here.
        self.success = compile_expression(success, OUTCOME_VARIABLES) if success else None
        self.warning = compile_expression(warning, OUTCOME_VARIABLES) if warning else None

    def judge(self, result: JobResult) -> Judgement:
        """Return what ``result`` came to.

        A rule may turn a return code or an ABEND into a success; nothing turns a job that was cancelled, refused or
        lost into one.

        :raises OutcomeUnknown: when nobody can prove it.
        """
        if result.ending is Ending.UNKNOWN:
            raise OutcomeUnknown(f"the system cannot prove how the job ended ({result.code or 'no result at all'})")
        kind = _KINDS[result.ending]
        if result.ending in (Ending.CANCELLED, Ending.REJECTED, Ending.LOST):
            return Judgement(Verdict.FAILURE, kind)
        good = self._holds(self.success, result)
        if good is None and result.ending is Ending.COMPLETED:
            raise OutcomeUnknown(f"the job completed without a return code ({result.code or 'no code'})")
        if not good:
            return Judgement(Verdict.FAILURE, kind)
        if self.warning is not None and self._holds(self.warning, result):
            return Judgement(Verdict.WARNING)
        return Judgement(Verdict.SUCCESS)

    @staticmethod
    def _holds(rule: Expression | None, result: JobResult) -> bool | None:
        """Return what a rule says; None when that depends on a return code which the job did not leave."""
        if rule is None:
            return None if result.rc is None else result.rc == 0
        values: dict[str, object] = {"code": result.code, "ending": result.ending.value}
        if result.rc is not None:
            values["rc"] = result.rc
        try:
            return rule.evaluate(values) is True
        except ExpressionError as error:
            if result.rc is None and error.name == "rc":
                return None
            raise


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value


_CONVERT: Mapping[str, Any] = {"string": str, "integer": int, "number": _number}
_TRUE = {"true": True, "yes": True, "y": True, "1": True, "false": False, "no": False, "n": False, "0": False}


@dataclass(frozen=True, slots=True)
class OutputRule:
    """One of the ``outputs:`` of a step: where it stands in the job's output and what it is.

    :param source: what the system reads: a DD name, ``log``.
    :param match: regular expression with one group; the first match counts.
    :param type: ``string``, ``integer``, ``number`` or ``boolean``.
    """

    name: str
    source: str
    match: str
    type: str = "string"

    @classmethod
    def from_json(cls, name: str, data: Mapping[str, Any], source_key: str) -> OutputRule:
        """Read ``{<source_key>: SOURCE, "match": ..., "type": ...}``; :raises ValueError: when it is not one."""
        unknown = set(data) - {source_key, "match", "type"}
        if unknown or source_key not in data or "match" not in data:
            raise ValueError(f"output {name!r} must have {source_key!r}, 'match' and perhaps 'type', and nothing else")
        rule = cls(name, str(data[source_key]), str(data["match"]), str(data.get("type", "string")))
        if rule.type not in (*_CONVERT, "boolean"):
            raise ValueError(f"output {name!r}: type {rule.type!r} is none of {', '.join((*_CONVERT, 'boolean'))}")
        try:
            groups = re.compile(rule.match).groups
        except re.error as error:
            raise ValueError(f"output {name!r}: match is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"output {name!r}: match must have exactly one group in parentheses, it has {groups}")
        return rule

    def extract(self, text: str, job: str) -> str | int | float | bool:
        """Return the output's value.

        :raises OutputMissing: when it is not there, or is not of its type.
        """
        found = re.search(self.match, text, re.MULTILINE)
        if found is None or found.group(1) is None:
            raise OutputMissing(
                f"{job}: output {self.name!r} is not in {self.source}: nothing matches {self.match!r}; the job ended "
                f"and is not run again: correct the template and clear the step to read it once more"
            )
        raw = found.group(1)
        try:
            return _TRUE[raw.strip().lower()] if self.type == "boolean" else _CONVERT[self.type](raw)
        except (KeyError, ValueError) as error:
            raise OutputMissing(
                f"{job}: output {self.name!r} in {self.source} is {raw!r}, which is no {self.type}; correct the "
                f"template and clear the step to read it once more"
            ) from error
