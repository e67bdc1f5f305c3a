"""What people read of the demo."""

from __future__ import annotations

import io
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
    assert outcome(FAILED, BOOKED).jobs(["book_order"]) == "JOB00042 failed\nJOB00042 CC 0004"
    assert outcome().jobs(["book_order"]) == "-"


def test_a_long_id_does_not_tear_the_table():
    long = replace(BOOKED, handle=JobHandle("A" * 20, "eb658749-f6ce-429e-aef9-e2a0db42c24b"))
    assert outcome(long).jobs(["book_order"]) == "eb658749... CC 0004"


def test_summary_has_a_row_for_each_instance():
    out = Console(file=io.StringIO(), width=160)
    report.summary(out, [outcome(BOOKED, approve="success"), replace(outcome(BOOKED), state="failed")])
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (good,) = [line for line in lines if "completed" in line]
    assert "ORD-100003" in good
    assert "JOB00042 CC 0004" in good
    assert "90 s" in good
    assert any("failed" in line and "ORD-100003" in line for line in lines)


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
