"""The judge is judged: a doctored record must be found out, and an honest one must not be blamed.

How a user would notice that it is fake: a duplicate, a lost job or a step that hangs for ever passes as "0 duplicates,
0 lost".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from .plan import Wish
from .verdict import PARKED, Evidence, Job, PersonsAct, Step, judge

KEY, SECOND_KEY = "A" * 20, "B" * 20


def attempt(number: int = 1, key: str = KEY, **more: Any) -> dict[str, Any]:
    closed = {"state": "closed", "verdict": "success", "opened": at(0), "closed": at(30), "closed_by": "system"}
    return {"number": number, "key": key, "handle": {"job_id": "1"}, **closed, **more}


def at(second: int) -> str:
    return f"2026-01-01T12:00:{second:02d}.000Z"


def job(key: str = KEY, id: str = "1", **more: Any) -> Job:
    return Job(
        **{"system": "ssh", "key": key, "id": id, "state": "ended", "result": "exit 0", "started": at(1), **more}
    )


STEP = Step("kill-0001", "extract", "success", 1, (attempt(),))
JOB = job(ended=at(20))
OPEN = attempt(state="submitted", verdict="", closed="")
CANCELLED = attempt(verdict="failure", message="cancelled", closed=at(21))


def problems(*steps: Step, jobs: list[Job] | None = None, acts: tuple[PersonsAct, ...] = ()) -> list[str]:
    return judge(Evidence(steps, [JOB] if jobs is None else jobs, acts)).problems


def act(wish: Wish = Wish.CLEAR, second: int = 15, before: str = "deferred", **more: Any) -> PersonsAct:
    return PersonsAct(at(second), wish, "kill-0001", "extract", before, **{"accepted": True, **more})


def test_an_honest_record_is_not_blamed():
    again = Step("kill-0002", "book", "success", 3, (attempt(key=SECOND_KEY),))
    second = job(SECOND_KEY, "2", system="zosmf", result="CC 0000", ended=at(9))
    copy = replace(second, id="3", ran=False, state="discarded", result="", started="", ended="")
    assert problems(STEP, again, jobs=[JOB, second, copy]) == []


def test_a_duplicate_is_found():
    (found,) = problems(STEP, jobs=[JOB, job(id="2", ended=at(22))])
    assert found.startswith(f"DUPLICATE: key {KEY} ran 2 times: 1, 2")


def test_a_job_that_no_ledger_knows_is_found():
    assert "stands in no ledger" in problems(STEP, jobs=[JOB, job(SECOND_KEY, "2", ended=at(9))])[0]
    assert "key none stands in no ledger" in problems(STEP, jobs=[JOB, job("", "2", ended=at(9))])[0]


def test_one_key_in_two_attempts_is_found():
    assert "belongs to 2 attempts" in problems(STEP, replace(STEP, task="load"))[0]


def test_a_job_that_is_gone_is_found():
    assert "no job ran" in problems(STEP, jobs=[])[0]
    lost = problems(replace(STEP, state="failed", attempts=(OPEN,)), jobs=[])
    assert any(line.startswith("LOST") for line in lost)


def test_a_success_that_the_system_does_not_confirm_is_found():
    assert "its job is ended 'exit 3'" in problems(STEP, jobs=[replace(JOB, result="exit 3")])[0]
    assert "its job is running" in problems(STEP, jobs=[replace(JOB, state="running", result="", ended="")])[0]


@pytest.mark.parametrize("state", ["", "running", "queued", "deferred", "up_for_retry", "scheduled"])
def test_a_step_that_does_not_end_is_found(state: str):
    assert problems(replace(STEP, state=state, attempts=(OPEN,)))[0].startswith("OPEN FOR EVER")


@pytest.mark.parametrize("state", ["failed", "success", "upstream_failed"])
def test_an_attempt_that_nobody_watches_any_more_is_found(state: str):
    (found,) = problems(replace(STEP, state=state, attempts=(OPEN,)))
    assert "nobody marked it, and attempt 1 is submitted" in found


def test_an_open_attempt_of_a_marked_step_is_a_persons_doing_once_its_job_has_ended():
    marked = replace(STEP, state="failed", attempts=(OPEN,))
    acts = (act(Wish.FAIL),)
    assert problems(marked, jobs=[replace(JOB, result="signal 15")], acts=acts) == []
    (found,) = problems(marked, jobs=[replace(JOB, state="running", result="", ended="")], acts=acts)
    assert "its job 1 is running" in found


def test_a_failure_without_a_reason_is_found():
    failed = attempt(verdict="failure", closed=at(21))
    assert "without a reason" in problems(replace(STEP, state="failed", attempts=(failed,)))[0]
    nothing = problems(replace(STEP, state="failed", attempts=(), log="... the end of its log"), jobs=[])
    assert "its last attempt says nothing: ... the end of its log" in nothing[0]
    assert "a success that no attempt made" in problems(replace(STEP, attempts=()), jobs=[])[0]


def test_a_park_needs_a_reason():
    asked = replace(STEP, state=PARKED, attempts=({**OPEN, "parked": "did it run?"},))
    verdict = judge(Evidence([asked], [JOB]))
    assert (verdict.problems, verdict.parked) == ([], {"kill-0001 extract": "did it run?"})
    assert problems(replace(STEP, state=PARKED, attempts=(OPEN,))) == ["kill-0001 extract is parked without a reason"]


@pytest.mark.parametrize(("first_ended", "told"), [(at(25), "ended 2026"), ("", "ended never")])
def test_two_jobs_of_one_step_at_once_are_found(first_ended: str, told: str):
    both = replace(STEP, attempts=(CANCELLED, attempt(2, SECOND_KEY)))
    first = replace(JOB, state="ended" if first_ended else "running", result="exit 1", ended=first_ended)
    found = problems(both, jobs=[first, job(SECOND_KEY, "2", started=at(22), ended=at(28))])
    assert any(line.startswith("TWO AT ONCE") and told in line for line in found)


def test_one_job_after_the_other_is_right_and_so_is_what_a_named_person_closed():
    after = job(SECOND_KEY, "2", started=at(22), ended=at(28))
    first = replace(JOB, result="exit 1")
    assert problems(replace(STEP, attempts=(CANCELLED, attempt(2, SECOND_KEY))), jobs=[first, after]) == []
    by_person = {**CANCELLED, "closed_by": "person:admin"}
    early = replace(after, started=at(5))
    assert problems(replace(STEP, attempts=(by_person, attempt(2, SECOND_KEY))), jobs=[first, early]) == []


@pytest.mark.parametrize(("system", "result"), [("ssh", "signal 15"), ("zosmf", "CANCELED")])
def test_a_job_cancelled_without_anybodys_wish_is_found(system: str, result: str):
    step = replace(STEP, state="failed", attempts=(CANCELLED,))
    cancelled = replace(JOB, system=system, result=result)
    assert "nobody had asked for it" in problems(step, jobs=[cancelled])[0]
    assert "nobody had asked for it" in problems(step, jobs=[cancelled], acts=(act(Wish.FAIL, second=21),))[0]
    assert "nobody had asked for it" in problems(step, jobs=[cancelled], acts=(act(Wish.FAIL, accepted=False),))[0]
    assert problems(step, jobs=[cancelled], acts=(act(Wish.FAIL),)) == []


def test_a_clear_that_nothing_came_of_is_found():
    assert "was cleared at" in problems(STEP, acts=(act(second=40, before="success"),))[0]
    again = replace(STEP, attempts=(attempt(), attempt(2, SECOND_KEY, opened=at(41))))
    jobs = [JOB, job(SECOND_KEY, "2", started=at(42), ended=at(50))]
    assert problems(again, jobs=jobs, acts=(act(second=40, before="success"),)) == []


def test_a_clear_that_was_forgotten_until_a_person_acted_again_is_found():
    ended_late = [replace(JOB, result="signal 15", ended=at(50)), job(SECOND_KEY, "2", started=at(51), ended=at(55))]
    again = replace(STEP, attempts=({**CANCELLED, "closed": at(50)}, attempt(2, SECOND_KEY, opened=at(51))))
    acts = (act(second=15), act(second=40, calm=True))
    assert "while it waited, and its job 1 ran on" in problems(again, jobs=ended_late, acts=acts)[0]
    ended_early = [replace(ended_late[0], ended=at(20)), ended_late[1]]
    assert problems(again, jobs=ended_early, acts=acts) == []


def test_a_mark_that_is_not_followed_when_all_is_calm_is_found():
    marked = replace(STEP, state="failed", attempts=(OPEN,))
    running = [replace(JOB, state="running", result="", ended="")]
    found = problems(marked, jobs=running, acts=(act(Wish.FAIL, calm=True),))
    assert any("its job 1 runs on" in line for line in found)


def test_a_copy_that_waits_beside_the_one_that_ran_is_found():
    held = job(id="2", state="held", ran=False, result="", started="")
    assert "is left over" in problems(STEP, jobs=[JOB, held])[0]


def test_a_cleared_step_behind_a_question_waits_for_the_answer():
    asking = replace(STEP, task="before", state="awaiting_input", attempts=({**OPEN, "key": "B" * 20, "parked": "?"},))
    behind = replace(STEP, state="", attempts=())
    found = judge(Evidence(steps=(asking, behind), jobs=(), acts=())).problems
    assert not any(behind.name in line for line in found), found
    alone = judge(Evidence(steps=(behind,), jobs=(), acts=())).problems
    assert any(line.startswith("OPEN FOR EVER") for line in alone)


def test_what_was_marked_and_then_cleared_behind_a_question_waits_with_its_attempt_open_and_no_job():
    asking = replace(STEP, task="before", state="awaiting_input", attempts=({**OPEN, "key": "B" * 20, "parked": "?"},))
    behind = replace(STEP, state="", attempts=(OPEN,))
    ended = replace(JOB, result="signal 15")
    acts = (act(Wish.FAIL), act(second=15))

    def of_the_step_behind(jobs: list[Job], acts: tuple[PersonsAct, ...] = acts) -> list[str]:
        found = judge(Evidence(steps=(asking, behind), jobs=jobs, acts=acts)).problems
        return [line for line in found if behind.name in line and not line.startswith("LOST")]

    assert of_the_step_behind([ended]) == []
    assert "OPEN FOR EVER" in of_the_step_behind([replace(ended, state="running", result="", ended="")])[0]
    assert "OPEN FOR EVER" in of_the_step_behind([ended], acts[:1])[0], "nobody cleared it"
    assert "OPEN FOR EVER" in of_the_step_behind([ended], ())[0], "nobody did anything to it"
