"""What people see of the demo: its progress while it runs, and a summary that a manager can read."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from airflow_enterprise_orch.demo.story import CHOICES, STAGES, Instance

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from airflow_enterprise_orch.demo.proof import StepAttempt

WAITING = ("deferred", "up_for_retry")
AT_WORK = ("queued", "running", "restarting", "up_for_reschedule")
TABLE_WIDTH = 140
"""Characters below which a terminal is too narrow for a table of eleven columns; then there is a list."""
TITLE = "Order to certificate of completion"
QUIET_INTERVAL = 10.0
"""Seconds between two lines where nobody watches a terminal."""


@dataclass
class Outcome:
    """How one instance went.

    :param states: task id to state.
    :param attempts: of the delegated steps.
    :param approved_by: who answered the approval, "" when none was asked.
    """

    instance: Instance
    state: str
    started: str
    ended: str
    states: Mapping[str, str] = field(default_factory=dict)
    attempts: Sequence[StepAttempt] = ()
    approved_by: str = ""

    @property
    def taken(self) -> frozenset[str]:
        """Return the steps behind branches that ran."""
        return frozenset(step for step in CHOICES if self.states.get(step) == "success")

    @property
    def path(self) -> str:
        """Return the path in words."""
        words = [CHOICES[step] for step in CHOICES if step in self.taken]
        return ", ".join(words).replace("a person", self.approved_by or "a person")

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        if not self.started or not self.ended:
            return 0.0
        return (datetime.fromisoformat(self.ended) - datetime.fromisoformat(self.started)).total_seconds()

    def jobs(self, steps: Sequence[str]) -> list[tuple[str, str]]:
        """Return the remote jobs of a column's steps, one per attempt: the job's id, and its result."""
        return [
            (
                one.attempt.handle.job_id if one.attempt.handle else "?",
                str(one.attempt.value.get("code") or one.attempt.kind or one.attempt.verdict or "open"),
            )
            for one in self.attempts
            if one.step in steps
        ]


class Progress:
    """Live progress in a terminal, a plain line now and then elsewhere."""

    def __init__(self, console: Console, instances: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        self._console = console
        self._bars = Bars(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._instances = self._bars.add_task("Instances", total=instances, note="")
        self._steps = self._bars.add_task("Steps", total=None, note="")
        self._said, self._said_at, self._began = "", 0.0, time.monotonic()

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._bars.stop()

    def show(self, runs: Mapping[str, Mapping[str, Any]], tasks: Sequence[Mapping[str, Any]]) -> None:
        """Show how far it is."""
        states = [str(task["state"]) for task in tasks]
        over = sum(run["state"] in ("success", "failed") for run in runs.values())
        done = sum(state in ("success", "skipped", "failed", "upstream_failed") for state in states)
        waiting, working = sum(state in WAITING for state in states), sum(state in AT_WORK for state in states)
        asking = states.count("awaiting_input")
        note = f"{waiting} waiting for remote systems, {working} at work, {asking} asking a person"
        self._bars.update(self._instances, completed=over)
        self._bars.update(self._steps, completed=done, total=len(states) or None, note=note)
        line = f"{over} of {len(runs)} instances, {done} of {len(states)} steps; {note}"
        if not self._console.is_terminal and line != self._said and time.monotonic() - self._said_at >= QUIET_INTERVAL:
            self._said, self._said_at = line, time.monotonic()
            self._console.print(f"[{time.monotonic() - self._began:4.0f} s] {line}", highlight=False, markup=False)


def console() -> Console:
    """Return where the demo writes; wide enough for its table where nobody watches."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False)


def summary(out: Console, outcomes: Sequence[Outcome]) -> None:
    """Print how each instance went, with the whole id of every remote job."""
    if out.width < TABLE_WIDTH:
        _list(out, outcomes)
    else:
        _table(out, outcomes)


def _table(out: Console, outcomes: Sequence[Outcome]) -> None:
    """One row per instance."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=TITLE, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("Order", no_wrap=True)
    for heading in ("Path taken", *(heading for heading, _steps in STAGES)):
        table.add_column(heading, overflow="fold")
    table.add_column("Took", justify="right", no_wrap=True)
    table.add_column("Result", no_wrap=True)
    for outcome in outcomes:
        cells = [outcome.instance.key, outcome.path]
        for _heading, steps in STAGES:
            cells.append("\n".join(line for job in outcome.jobs(steps) for line in job) or "-")
        table.add_row(*(Text(cell) for cell in cells), f"{outcome.seconds:.0f} s", _verdict(outcome))
    out.print(table)


def _list(out: Console, outcomes: Sequence[Outcome]) -> None:
    """One line per remote job, below a line for its instance."""
    from rich.text import Text

    out.print(f"{TITLE}\n", highlight=False)
    for outcome in outcomes:
        told = f"{outcome.instance.key}: {outcome.path}; {outcome.seconds:.0f} s, "
        out.print(Text(told).append_text(_verdict(outcome)), soft_wrap=True)
        for heading, steps in STAGES:
            for job, result in outcome.jobs(steps) or [("-", "")]:
                out.print(Text(f"  {heading:<12} {job} {result}".rstrip()), soft_wrap=True)


def _verdict(outcome: Outcome) -> Text:
    from rich.text import Text

    return Text("completed", "green") if outcome.state == "success" else Text(outcome.state, "bold red")
