"""What facts of a host prove: the corners that no healthy machine shows."""

from __future__ import annotations

import asyncio

import pytest

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.errors import SystemUnreachable
from airflow_enterprise_orch.systems.windows.evidence import Look, Word, judge
from airflow_enterprise_orch.systems.windows.task_scheduler import Place, WindowsTasks

KEY = "T" + "0" * 19
BOOT = "2026-01-05T04:00:00.1234567Z"
INTENT = {"path": r"\A\B", "record": 10, "anchor": BOOT, "log": True, "user": r"D\u", "boot": BOOT}
STARTED = {"v": 1, "guid": "{0A000000-0000-0000-0000-000000000000}", "at": "2026-01-05T06:00:00.0000000Z", "boot": BOOT}
LOG = {"enabled": True, "oldest": 1, "newest": 99}


def verdict(log=None, boot=BOOT, **job):
    look = Look.model_validate(
        {
            "v": 1,
            "state": "seen",
            "now": "2026-01-05T07:00:00.0000000Z",
            "boot": boot,
            "log": log or LOG,
            "jobs": [{"key": KEY, "mode": "task", **job}],
        }
    )
    return judge(look.jobs[0], look)


def record(number, event, code=None):
    return {"id": event, "record": number, "at": "2026-01-05T06:10:00.0000000Z", "code": code, "guid": STARTED["guid"]}


def ended(*events, **more):
    return verdict(intent=INTENT, begun=True, started=STARTED, events=list(events), **more)


@pytest.mark.parametrize(
    ("events", "ending", "code"),
    [
        ([record(11, 201, "0"), record(12, 102)], Ending.COMPLETED, "exit 0"),
        # Two actions: the first failed, and the task goes on to "successfully finished" all the same.
        ([record(11, 201, "2147942402"), record(12, 201, "0"), record(13, 102)], Ending.COMPLETED, "exit 2"),
        ([record(11, 101, "2147943726")], Ending.REJECTED, "0x8007052E (the account's name or password is wrong)"),
        (
            [record(11, 203, "2147942402"), record(12, 103, "2147942402")],
            Ending.REJECTED,
            "0x80070002 (a file was not found)",
        ),
        ([record(11, 202, "")], Ending.ABENDED, "event 202"),
        (
            [record(11, 111), record(12, 201, "0"), record(13, 102)],
            Ending.CANCELLED,
            "0x00041306 (it was terminated by a user)",
        ),
        ([record(11, 102)], Ending.UNKNOWN, ""),
    ],
)
def test_what_the_records_of_an_instance_prove(events, ending, code):
    found = ended(*events)
    assert (found.word, found.result.ending, found.result.code) == (Word.ENDED, ending, code)


@pytest.mark.parametrize(
    ("policy", "user", "ending"),
    [
        (2, r"d\U", Ending.COMPLETED),
        (2, r"D\somebody", Ending.UNKNOWN),
        (2, "", Ending.UNKNOWN),
        (0, r"D\somebody", Ending.UNKNOWN),
        (0, "", Ending.COMPLETED),  # an instance of its own, whose first records have rolled away
    ],
)
def test_the_instance_that_another_user_started_proves_nothing_of_ours(policy, user, ending):
    begin = [{**record(11, 110), "user": user}] if user else []
    found = verdict(
        intent={**INTENT, "policy": policy},
        begun=True,
        started=STARTED,
        events=[*begin, record(12, 201, "0"), record(13, 102)],
    )
    assert found.result.ending is ending


def test_a_result_code_without_an_end_is_no_end():
    # The action has ended; the task may have a second one.
    found = ended(record(11, 200), record(12, 201, "0"))
    assert (found.word, found.result.ending) == (Word.UNKNOWN, Ending.UNKNOWN)


@pytest.mark.parametrize(
    ("log", "boot", "said"),
    [
        ({**LOG, "enabled": False}, BOOT, "is off"),
        ({**LOG, "oldest": 50}, BOOT, "rolled over"),
        ({**LOG, "newest": 3, "oldest": 1}, BOOT, "cleared"),
        (LOG, "2026-01-06T04:00:00.0000000Z", "booted again"),
        (LOG, "2026-01-05T04:00:59.0000000Z", "has no end of it"),  # the same boot: its clock was set
    ],
)
def test_no_proof_is_unknown_and_says_why(log, boot, said):
    found = ended(log=log, boot=boot)
    assert (found.word, found.status.phase) == (Word.UNKNOWN, Phase.ENDED)
    assert said in found.reason


@pytest.mark.parametrize(
    "job",
    [
        {"mode": "own", "begun": True, "started": None, "task_state": 3},
        {"mode": "task", "intent": INTENT, "begun": True, "started": None},
        {"mode": "own", "begun": True, "started": STARTED, "task_state": 3, "process": {"pid": 4}, "alive": None},
        {"mode": "own", "result": {"ending": "exploded", "code": 0}},
        {"mode": "own", "result": {"ending": "exit", "code": None}},
        {"mode": "broken"},
    ],
)
def test_half_written_facts_are_never_a_success(job):
    found = verdict(**job)
    assert found.result.ending is Ending.UNKNOWN


def test_a_program_that_ended_well_although_its_end_was_asked_for_says_both():
    found = verdict(mode="own", result={"ending": "exit", "code": 0, "cancelled": True})
    assert (found.result.ending, found.result.rc) == (Ending.COMPLETED, 0)
    assert "ended by itself" in found.result.detail


class Answers:
    """A host that answers as it is told."""

    def __init__(self, answer):
        self.answer = answer
        self.endpoint = type("Endpoint", (), {"address": "winrm://u@h:5986"})

    async def run(self, verb, values):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"v": 1, "state": "seen", "jobs": []}, "told of 0 of 1 jobs"),
        ({"v": 1, "state": "seen", "jobs": [{"key": KEY}]}, "in words that this version does not know"),
        ({"v": 1, "state": "error", "message": "RPC server is unavailable"}, "RPC server is unavailable"),
    ],
)
def test_an_answer_that_does_not_tell_is_no_absence(answer, said):
    tasks = WindowsTasks(Answers(answer), Place())
    with pytest.raises(SystemUnreachable, match=said):
        asyncio.run(tasks.find(KEY))
