"""What the executive view says in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import get_args

from airflow_enterprise_orch.due import spell
from airflow_enterprise_orch.executive_view.answers import Counts, Level, StreamLine

LEVELS: tuple[Level, ...] = ("idle", "ok", "attention", "problem")
"""From well to bad."""
if set(LEVELS) != set(get_args(Level)):
    raise AssertionError("LEVELS is not all levels")


def number(many: int, one: str, more: str = "") -> str:
    """Say how many: ``1 instance``, ``1,020 instances``."""
    return f"{many:,} {one if many == 1 else more or f'{one}s'}"


def minutes(seconds: float) -> str:
    """Say a duration as short as it can be read: ``38 min``, ``2h05m``, ``40 s``."""
    if seconds < 60:
        return f"{int(seconds)} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min"
    return spell(timedelta(seconds=int(seconds // 60) * 60))


def listed(some: Sequence[str]) -> str:
    """Say some things: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(some[:-1]), *some[-1:]]))


def sentence(lines: Sequence[StreamLine], counts: Counts, where: str) -> str:
    """Say how all streams are, for an executive.

    :param where: the kind of system that most late instances are at; "" where there is none such.
    """
    if not lines:
        return "There is no stream to show."
    if not counts.live and not counts.failed:
        return f"Nothing is under way in {number(len(lines), 'stream')}."
    troubled = [line for line in lines if line.level in ("attention", "problem")]
    if not troubled:
        streams = "The stream is" if len(lines) == 1 else f"All {len(lines):,} streams are"
        return f"{streams} on time, with {number(counts.live, 'instance')} under way."
    told: list[str] = []
    if counts.late:
        worst = max((line.late_seconds or 0 for line in lines), default=0)
        at = f", most of them at {where}" if where and counts.late > 1 else f", at {where}" if where else ""
        is_late = "is late" if counts.late == 1 else "are late"
        by = f" by {minutes(worst)}" if counts.late == 1 else f", the worst by {minutes(worst)}"
        told.append(f"{number(counts.late, 'instance')} {is_late}{by if worst else ''}{at}")
    rest = [
        f"{counts.at_risk:,} at risk" if counts.at_risk else "",
        f"{counts.failed:,} failed" if counts.failed else "",
        f"{counts.waiting_people:,} {'waits' if counts.waiting_people == 1 else 'wait'} for people"
        if counts.waiting_people
        else "",
    ]
    told += [one for one in rest if one]
    need = "needs" if len(troubled) == 1 else "need"
    of = f"{len(troubled):,} of {number(len(lines), 'stream')}" if len(lines) > 1 else f"“{lines[0].title}”"
    return f"{of} {need} attention: {'; '.join(told)}."
