"""Questions in the form that Airflow 3.3 takes, and answers in the form that it gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.models.hitl import HITLDetail
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import timezone
from airflow.sdk.exceptions import TaskAwaitingInput
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
from airflow.sdk.execution_time.task_runner import _await_input_task

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.parking import Answer, AnswerInvalid


class Supervisor:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, msg: Any) -> None:
        self.sent.append(msg)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    here = Supervisor()
    monkeypatch.setattr("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", here, raising=False)
    return here


def ask(options: tuple[str, ...]) -> TaskAwaitingInput:
    context: Any = {"ti": SimpleNamespace(id=uuid4())}
    with pytest.raises(TaskAwaitingInput) as asked:
        parking.park(context, subject="step: job", question="did it run?", options=options, key="K")
    return asked.value


def test_the_question_passes_airflows_own_checks(supervisor: Supervisor) -> None:
    asked = ask(parking.AFTER_SUBMIT)
    (payload,) = supervisor.sent
    assert isinstance(payload, CreateHITLDetailPayload)
    assert payload.options == list(parking.AFTER_SUBMIT)
    assert payload.body == "did it run?"
    assert payload.defaults is None
    assert asked.timeout is None
    assert set(payload.params or {}) == {"job_id", "reason"}
    message, _ = _await_input_task(
        asked,
        SimpleNamespace(dag_id="d", task_id="t", run_id="r"),  # type: ignore[arg-type]
        SimpleNamespace(info=lambda *_a, **_k: None),  # type: ignore[arg-type]
    )
    assert message.next_method == "answered"
    assert message.timeout is None


def test_its_parameters_look_like_airflows_own(supervisor: Supervisor) -> None:
    from airflow.sdk import Param

    own = HITLOperator(
        task_id="own", subject="s", options=["a"], params={"reason": Param("", type="string", title="Reason")}
    )
    ask(parking.AFTER_RESULT)
    (payload,) = supervisor.sent
    assert set(payload.params) == {"reason"}
    assert set(payload.params["reason"]) == set(own.serialized_params["reason"])
    assert payload.params["reason"]["value"] == own.serialized_params["reason"]["value"]


def test_the_form_can_be_sent_without_a_job_id(supervisor: Supervisor) -> None:
    """Airflow's form refuses an empty field unless its type allows null."""
    ask(parking.AFTER_SUBMIT)
    assert "null" in supervisor.sent[0].params["job_id"]["schema"]["type"]


def test_an_answer_as_airflow_resumes_with_it() -> None:
    detail = HITLDetail(
        ti_id=uuid4(),
        options=list(parking.AFTER_SUBMIT),
        subject="s",
        responded_by={"id": "7", "name": "maria"},
        responded_at=timezone.utcnow(),
        chosen_options=[parking.ADOPT],
        params_input={"job_id": " JOB00042 ", "reason": "seen in SDSF"},
    )
    event = detail.as_resume_event_payload()
    assert Answer.from_event(event) == Answer(parking.ADOPT, "maria", "JOB00042", "seen in SDSF")


@pytest.mark.parametrize("chosen", [None, [], ["a", "b"]])
def test_anything_but_one_answer_is_none(chosen: list[str] | None) -> None:
    with pytest.raises(AnswerInvalid, match="one answer is needed"):
        Answer.from_event({"chosen_options": chosen})


@pytest.mark.parametrize(
    ("user", "by"),
    [({"id": "7", "name": ""}, "7"), ({"id": "7"}, "7"), (None, "unknown"), ({}, "unknown"), ("maria", "maria")],
)
def test_who_answered(user: object, by: str) -> None:
    event = {"chosen_options": ["x"], "responded_by_user": user, "params_input": {"job_id": None, "reason": None}}
    assert Answer.from_event(event) == Answer("x", by)
