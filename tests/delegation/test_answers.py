"""Who answered a parked step, and why, is kept whatever becomes of the job after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from fakes import START, WORK, World
from step_life import FAILED, QUESTIONS, Life

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.answers import LONGEST, Answer, Answered
from airflow_enterprise_orch.delegation.attempt import LedgerBroken
from airflow_enterprise_orch.delegation.ledger import LEDGER_VERSION, MOST_ANSWERS, Ledger
from airflow_enterprise_orch.delegation.retry import RunAgain

pytestmark = pytest.mark.usefixtures("airflow")


def parked_after_send(world: World) -> tuple[Life, dict[str, Any]]:
    """Return a step whose work was sent, and nobody knows whether it arrived."""
    life = Life()
    world.protection, world.submits[:] = world.protection.UNPROTECTED, ["lost_before"]
    return life, life.park(lambda: life.operator().execute(life.context()))


def parked_after_edit(world: World) -> tuple[Life, dict[str, Any]]:
    """Return a step whose job ended well, and nobody knows whether somebody cleared it."""
    life = Life()
    life.execute()
    world.end()
    life.collect()
    life.arguments["retry"] = [{"on": ["abended"]}]
    life.clear()
    return life, life.park(lambda: life.operator().execute(life.context()))


def kept(life: Life) -> list[tuple[str, str, str, int]]:
    return [(one.option, one.by, one.reason, one.attempt) for one in life.ledger.answers]


@pytest.mark.parametrize(
    ("parked", "option"),
    [
        (parked_after_send, parking.LOOK_AGAIN),
        (parked_after_send, parking.SUBMIT),
        (parked_after_send, parking.FAIL),
        (parked_after_edit, parking.RUN_AGAIN),
        (parked_after_edit, parking.KEEP),
    ],
)
def test_every_answer_is_kept_with_name_and_reason(
    world: World, parked: Callable[[World], tuple[Life, dict[str, Any]]], option: str
) -> None:
    life, resumed = parked(world)
    answers: Callable[[], Any] = lambda: life.answer(resumed, option, reason="month end is waiting")  # noqa: E731
    if option == parking.LOOK_AGAIN:
        life.park(answers)
    elif option == parking.KEEP:
        answers()
    else:
        with pytest.raises(AirflowFailException if option == parking.FAIL else TaskDeferred):
            answers()
    assert kept(life) == [(option, "maria", "month end is waiting", 1)]


def test_who_adopted_a_job_is_kept_when_the_job_fails_later(world: World) -> None:
    life, resumed = parked_after_send(world)
    other = world.land(WORK, "OTHER")
    with pytest.raises(RunAgain):
        life.answer(resumed, parking.ADOPT, job_id="JOB99999", reason="a slip")
    resumed = life.park(lambda: life.retry().operator().execute(life.context()))
    with pytest.raises(TaskDeferred):
        life.answer(resumed, parking.ADOPT, job_id=other.handle.job_id, reason="seen in SDSF")
    world.end(FAILED)
    with pytest.raises(AirflowFailException, match="exit 3"):
        life.collect()
    assert "maria" not in life.last.message, "the failure is not hers"
    assert [(one.job_id, one.by, one.reason) for one in life.ledger.answers] == [
        ("JOB99999", "maria", "a slip"),
        (other.handle.job_id, "maria", "seen in SDSF"),
    ]
    with pytest.raises(TaskDeferred):
        life.clear().operator().execute(life.context())
    assert len(life.ledger.answers) == 2, "another try forgot them"


def test_an_answer_nobody_asked_for_is_no_answer(world: World) -> None:
    life, resumed = parked_after_send(world)
    with pytest.raises(RunAgain):
        life.answer(resumed, parking.SUCCEEDED)
    assert kept(life) == []
    assert QUESTIONS


def answered(number: int, reason: str = "I looked") -> Answered:
    return Answered.of(Answer(parking.LOOK_AGAIN, f"person {number}", reason=reason), 1, START)


def test_the_newest_are_kept_and_long_words_are_cut() -> None:
    ledger = Ledger()
    for number in range(MOST_ANSWERS + 5):
        ledger = ledger.with_answer(answered(number, "x" * 5000))
    assert [one.by for one in ledger.answers] == [f"person {number}" for number in range(5, MOST_ANSWERS + 5)]
    assert len(ledger.answers[0].reason) == LONGEST
    assert len(json.dumps(ledger.to_json())) < 8000, "a ledger must fit into Airflow's state store"


def test_a_ledger_of_an_older_package_is_read_and_one_of_ours_by_it() -> None:
    assert Ledger.from_json({"version": 1, "attempts": []}).answers == ()
    plain = Ledger().with_answer(answered(1)).to_json()
    assert Ledger.from_json(json.loads(json.dumps(plain))).answers == (answered(1),)
    # The package before reads the version and the attempts, and nothing else.
    assert (plain["version"], LEDGER_VERSION, plain["attempts"]) == (1, 1, [])


@pytest.mark.parametrize(
    "answers",
    ["x", [7], [{}], [{"at": "a", "by": "b", "option": "c"}], [{**answered(1).to_json(), "mood": "good"}]],
)
def test_answers_that_cannot_be_read_are_one_line(answers: object) -> None:
    with pytest.raises(LedgerBroken) as broken:
        Ledger.from_json({"version": 1, "attempts": [], "answers": answers})
    assert "\n" not in str(broken.value)
