"""An approval: the question, the answer, and what a rejection does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators import hitl
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped, TaskAwaitingInput
from streams_for_tests import context_for

from airflow_enterprise_orch.value_stream.approval import APPROVAL_KEY, ApprovalStep

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def approval(**more: Any) -> ApprovalStep:
    with DAG("s", schedule=None, auto_register=False):
        operator = ApprovalStep(
            task_id="approve",
            subject="Release {{ params.order }}?",
            **{"body": "class {{ steps.book.credit_class }}, {{ business.owner }}", **more},
            stream={"steps": ["book"], "business": {"owner": "ops"}, "business_key": "{{ params.order }}"},
        )
        operator >> EmptyOperator(task_id="next") >> EmptyOperator(task_id="after_next")
    return operator


def context(operator: ApprovalStep, **more: Any) -> dict[str, Any]:
    return context_for(operator, params={"order": "O-1"}, left={"book": {"credit_class": "B"}}, **more)


def answer(option: str, **more: Any) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": {},
        "responded_at": AT,
        "responded_by_user": {"id": "42", "name": "Eve"},
        "timedout": False,
        **more,
    }


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was written as the question."""
    written: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **arguments: written.update(arguments))
    return written


def test_it_asks_with_rendered_texts_and_waits_without_a_worker(asked: dict[str, Any]) -> None:
    operator = approval(assignees=["eve", "adam"], within=7200.0)
    with pytest.raises(TaskAwaitingInput) as waiting:
        operator.execute(context(operator))
    assert (asked["subject"], asked["body"]) == ("Release O-1?", "class B, ops")
    assert asked["options"] == ["Approve", "Reject"]
    assert asked["assigned_users"] == [{"id": "eve", "name": "eve"}, {"id": "adam", "name": "adam"}]
    assert asked["defaults"] is None
    assert waiting.value.timeout == timedelta(hours=2)


def test_its_texts_see_no_connection(asked: dict[str, Any]) -> None:
    operator = approval(body="{{ conn.zos.password }}")
    with pytest.raises(AirflowFailException, match="not available in templates"):
        operator.execute(context(operator))
    assert asked == {}


@pytest.mark.parametrize(("on_timeout", "defaults"), [("fail", None), ("approve", ["Approve"]), ("reject", ["Reject"])])
def test_the_time_limit_takes_what_the_template_says(asked: dict[str, Any], on_timeout: Any, defaults: Any) -> None:
    operator = approval(on_timeout=on_timeout, within=60.0)
    with pytest.raises(TaskAwaitingInput):
        operator.execute(context(operator))
    assert asked["defaults"] == defaults


def test_an_approval_leaves_who_and_when() -> None:
    operator = approval()
    given = context(operator)
    left = operator.execute_complete(given, answer("Approve"))
    assert left == {
        "approved": True,
        "outcome": "approved",
        "by": "Eve",
        "by_id": "42",
        "at": "2026-03-01T09:30:00+00:00",
        "timed_out": False,
    }
    assert given["ti"].pushed["return_value"] == left
    assert given["task_state_store"][APPROVAL_KEY] == {"version": 1, **left}


def test_a_rejection_fails_for_good_and_is_recorded() -> None:
    operator = approval(on_reject="fail")
    given = context(operator)
    with pytest.raises(AirflowFailException, match="rejected by Eve at 2026-03-01T09:30:00"):
        operator.execute_complete(given, answer("Reject"))
    assert given["task_state_store"][APPROVAL_KEY]["approved"] is False


def test_a_rejection_can_skip_everything_behind_it_and_is_recorded_before() -> None:
    operator = approval(on_reject="skip")
    given = context(operator)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        operator.execute_complete(given, answer("Reject"))
    assert set(skipped.value.tasks) == {"next", "after_next"}
    assert given["task_state_store"][APPROVAL_KEY]["outcome"] == "rejected"
    assert given["ti"].pushed["return_value"]["approved"] is False


def test_nobody_in_time_fails_in_one_line() -> None:
    operator = approval(within=7200.0)
    with pytest.raises(AirflowFailException, match="nobody answered within 2:00:00; clear the step to ask again"):
        operator.execute_complete(context(operator), {"error": "x", "error_type": "timeout"})


def test_a_default_taken_in_time_is_nobodys() -> None:
    operator = approval(on_timeout="approve", within=60.0)
    left = operator.execute_complete(context(operator), answer("Approve", responded_by_user=None, timedout=True))
    assert (left["by"], left["timed_out"], left["approved"]) == ("nobody", True, True)


@pytest.mark.parametrize("options", [["Maybe"], [], ["Approve", "Reject"]])
def test_only_a_clear_approval_is_one(options: list[str]) -> None:
    operator = approval(on_reject="fail")
    with pytest.raises((ValueError, AirflowFailException)):
        operator.execute_complete(context(operator), answer("x", chosen_options=options))
