"""What people read of the demo."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

from rich.console import Console

from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, Verdict
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.demo import report, story
from airflow_enterprise_orch.demo.proof import StepAttempt

BOOKED = Attempt(
    1,
    "A" * 20,
    state=AttemptState.CLOSED,
    verdict=Verdict.SUCCESS.value,
    handle=JobHandle("A" * 20, "JOB00042"),
    value={"code": "CC 0004"},
)
LONG = replace(BOOKED, handle=JobHandle("A" * 20, "eb658749-f6ce-429e-aef9-e2a0db42c24b"))
FAILED = replace(BOOKED, verdict=Verdict.FAILURE.value, kind="failed", value={})


def outcome(*attempts: Attempt, **states: str) -> report.Outcome:
    order = story.instances()[2]
    return report.Outcome(
        instance=order,
        state="success",
        started="2026-01-01T10:00:00Z",
        ended="2026-01-01T10:01:30.500000Z",
        states=states,
        attempts=[StepAttempt(order.key, "book_order", attempt) for attempt in attempts],
        approved_by="admin",
    )


def test_path_is_told_in_words():
    one = outcome(approve="success", provision_standard="success", provision_large="skipped", deliver_post="success")
    assert one.path == "released by admin, standard, by post"
    assert one.taken == {"approve", "provision_standard", "deliver_post"}


def test_step_that_failed_was_not_taken():
    assert outcome(approve="failed").taken == frozenset()


def test_every_attempt_is_told_with_its_job_and_result():
    assert outcome(FAILED, BOOKED).jobs(["book_order"]) == [("JOB00042", "failed"), ("JOB00042", "CC 0004")]
    assert outcome().jobs(["book_order"]) == []


def printed(width: int, *outcomes: report.Outcome) -> list[str]:
    out = Console(file=io.StringIO(), width=width)
    report.summary(out, outcomes)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_summary_has_a_row_for_each_instance():
    lines = printed(160, outcome(BOOKED, approve="success"), replace(outcome(BOOKED), state="failed"))
    (good,) = [line for line in lines if "completed" in line]
    assert "ORD-100003" in good
    assert "JOB00042" in good
    assert "90 s" in good
    assert any("failed" in line and "ORD-100003" in line for line in lines)
    assert sum("CC 0004" in line for line in lines) == 2


def test_the_longest_id_is_whole_in_the_table():
    """Somebody looks it up on the Windows host, or asks the store for it: half an id finds nothing."""
    every_step = [StepAttempt("x", step, LONG) for _heading, steps in story.STAGES for step in steps[:1]]
    lines = printed(160, replace(outcome(), attempts=every_step))
    (header,) = [number for number, line in enumerate(lines) if "Took" in line]
    starts = [lines[header].index(heading) for heading, _steps in story.STAGES] + [lines[header].index(" Took")]
    for start, end in itertools.pairwise(starts):
        assert LONG.handle.job_id in "".join(line[start:end].strip() for line in lines[header:])  # type: ignore[union-attr]


def test_a_narrow_terminal_gets_a_list_with_whole_ids():
    lines = printed(80, replace(outcome(LONG, BOOKED), approved_by="admin"), replace(outcome(), state="failed"))
    assert "  Booked       eb658749-f6ce-429e-aef9-e2a0db42c24b CC 0004" in lines
    assert "  Booked       JOB00042 CC 0004" in lines
    assert "  Credit       -" in lines
    assert sum(line.startswith("ORD-100003: ") and line.endswith("; 90 s, completed") for line in lines) == 1
    assert sum(line.startswith("ORD-100003: ") and line.endswith("; 90 s, failed") for line in lines) == 1


def test_progress_is_plain_lines_where_nobody_watches():
    out = Console(file=io.StringIO(), width=160, force_terminal=False)
    with report.Progress(out, 2) as progress:
        progress.show(
            {"a": {"state": "running"}, "b": {"state": "success"}},
            [{"state": "deferred"}, {"state": "success"}, {"state": None}, {"state": "awaiting_input"}],
        )
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "1 of 2 instances, 1 of 4 steps; 1 waiting for remote systems, 0 at work, 1 asking a person" in text
    assert "\x1b" not in text
