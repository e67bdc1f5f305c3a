"""Orders through the Automation API: what a person at Control-M would see, and what comes home.

How a user would notice that it is fake: the order runs before Airflow says so; the variables are not the order's; a job
that waits does not say for what; a job that Control-M calls not OK is green.
"""

import asyncio
from datetime import UTC, datetime

import pytest
from controlm_for_tests import order
from zos_for_tests import job, new_key

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Protection
from airflow_enterprise_orch.errors import RequestRejected


def test_what_it_is_and_can(controlm):
    async def scenario(c):
        assert c.system.identity == f"controlm://127.0.0.1:{c.endpoint['connection']['port']}/lab"
        capabilities = c.system.capabilities
        assert (capabilities.protection, capabilities.hold, capabilities.restart) == (Protection.TWO_PHASE, True, False)

    controlm(scenario)


@pytest.mark.parametrize("hold_on", ["both", "folder", "jobs"])
@pytest.mark.parametrize("variables_on", ["both", "folder", "jobs"])
@pytest.mark.parametrize(
    "work",
    [order(), order(into="Standalone"), order(None, "ORDERS", ORDER="4711", CLASS="A")],
    ids=["job", "alone", "folder"],
)
def test_an_order_is_held_found_freed_and_runs(controlm, work, hold_on, variables_on):
    """Where Control-M puts an order's hold and variables is its own affair."""

    async def scenario(c):
        c.stand_in.server.hold_on, c.stand_in.server.variables_on = hold_on, variables_on
        key = new_key()
        handle = await c.system.submit(work, key)
        await asyncio.sleep(0.05)
        assert [record.ran for record in c.stand_in.jobs()] == [False], "it ran although nobody freed it"
        async with c.fresh() as other:
            found = await other.find(key)
        assert isinstance(found, Found)
        (candidate,) = found.candidates
        assert candidate.handle == handle
        assert candidate.held
        assert (await c.system.poll([handle]))[key].phase is Phase.HELD
        await c.system.release(handle)
        await c.until(handle)
        assert (await c.system.result(handle)).rc == 0
        async with c.fresh() as other:
            found = await other.find(key)
        assert isinstance(found, Found)
        assert not found.candidates[0].held

    controlm(scenario)


def test_the_variables_reach_the_job_and_its_output_comes_home(controlm):
    async def scenario(c):
        handle = await c.ended(order(SAY="ANSWER=42"))
        assert await c.system.read_source(handle, "output") == "ANSWER=42\n"
        assert "OSCOMPSTAT 0" in await c.system.read_source(handle, "log")
        with pytest.raises(RequestRejected, match="has no 'sysout' to read; it has output and log"):
            await c.system.read_source(handle, "sysout")

    controlm(scenario)


def test_a_folder_runs_its_jobs_in_their_order(controlm):
    async def scenario(c):
        handle = await c.ended(order(None, "ORDERS", ORDER="4711", CLASS="A"))
        assert handle.name == "ORDERS"
        assert await c.system.read_source(handle, "CHECK") == "ORDER 4711 CHECKED\n"
        assert await c.system.read_source(handle, "BOOK") == "CREDIT CLASS=A\n"
        result = await c.system.result(handle)
        assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "Ended OK", 0)
        for absent in ("output", "SHIP"):
            with pytest.raises(RequestRejected, match="it has log, or the name of one of its jobs"):
                await c.system.read_source(handle, absent)

    controlm(scenario)


def test_a_folder_that_fails_names_the_job(controlm):
    async def scenario(c):
        handle = await c.ended(order(None, "ORDERS", ORDER="4711", CLASS="A", RC="8"))
        result = await c.system.result(handle)
        assert (result.ending, result.rc) == (Ending.ABENDED, None), "no rule on rc may call it a success"
        assert result.code == "Ended Not OK"
        assert result.detail.startswith("did not end well: CHECK (lab:")
        assert "BOOK" not in result.detail

    controlm(scenario)


def test_a_failed_job_tells_its_completion_code_and_its_last_lines(controlm):
    async def scenario(c):
        handle = await c.ended(order(RC="12", SAY="DISK FULL"))
        result = await c.system.result(handle)
        assert (result.ending, result.rc, result.code) == (
            Ending.COMPLETED,
            12,
            "Ended Not OK, completion code 12",
        )
        assert await c.system.read_tail(handle) == "DISK FULL"
        assert result.started.tzinfo is UTC
        assert abs((datetime.now(UTC) - result.ended).total_seconds()) < 60

    controlm(scenario)


def test_what_a_person_set_to_ok_is_ok_and_its_code_is_still_told(controlm):
    async def scenario(c):
        handle = await c.ended(order(RC="12"))
        c.stand_in.server.set_to_ok(c.stand_in.server.entry(handle.job_id))
        result = await c.system.result(handle)
        assert (result.ending, result.rc, result.code) == (Ending.COMPLETED, 0, "Ended OK, completion code 12")

    controlm(scenario)


def test_times_are_left_out_where_no_time_zone_is_known_and_converted_where_it_is(controlm):
    async def scenario(c):
        handle = await c.ended()
        assert (await c.system.result(handle)).ended is not None
        async with c.fresh(timezone="") as other:
            result = await other.result(handle)
            assert (result.started, result.ended) == (None, None)
        async with c.fresh(timezone="Asia/Kolkata") as other:
            earlier = await other.result(handle)
            assert ((await c.system.result(handle)).ended - earlier.ended).total_seconds() == 5.5 * 3600

    controlm(scenario)


def test_a_job_that_waits_says_for_what(controlm):
    async def scenario(c):
        c.plan("submit", "hold")
        handle = await c.started()
        status = await c.until(handle, Phase.WAITING)
        assert status.reason == "Wait Host: No host is available for the job"
        c.stand_in.has_waiting_info = False
        async with c.fresh() as other:
            assert (await other.poll([handle]))[handle.key].reason == "Wait Host"

    controlm(scenario)


def test_hold_and_release_by_hand(controlm):
    async def scenario(c):
        c.plan("submit", "hold")
        handle = await c.started()
        await c.until(handle, Phase.WAITING)
        for _ in range(2):  # both may be said twice
            await c.system.hold(handle)
        assert (await c.until(handle, Phase.HELD)).reason == "held in Control-M"
        for _ in range(2):
            await c.system.release(handle)
        await c.until(handle, Phase.WAITING)

    controlm(scenario)


def test_a_running_job_is_killed(controlm):
    async def scenario(c):
        handle = await c.started(order(SLEEP="60"))
        await c.until(handle, Phase.RUNNING)
        await c.system.cancel(handle)
        await c.until(handle)
        result = await c.system.result(handle)
        assert result.ending is Ending.CANCELLED
        assert "KILLED BY USER emuser" in result.detail
        await c.system.cancel(handle)  # once more does no harm

    controlm(scenario)


def test_a_waiting_job_is_deleted(controlm):
    async def scenario(c):
        c.plan("submit", "hold")
        handle = await c.started()
        await c.until(handle, Phase.WAITING)
        await c.system.cancel(handle)
        await c.until(handle)
        result = await c.system.result(handle)
        assert (result.ending, result.detail) == (Ending.CANCELLED, "deleted in Control-M")
        assert not c.stand_in.jobs()[0].ran

    controlm(scenario)


def test_a_running_folder_is_cancelled_with_all_that_is_in_it(controlm):
    async def scenario(c):
        handle = await c.started(order(None, "ORDERS", SLEEP="60", ORDER="1", CLASS="A"))
        await c.until(handle, Phase.RUNNING)
        await c.system.cancel(handle)
        await c.until(handle)
        entries = {entry.name: entry for entry in c.stand_in.server.active}
        assert entries["CHECK"].status == "Ended Not OK"
        assert entries["BOOK"].deleted
        assert not entries["BOOK"].started
        await c.system.cancel(handle)

    controlm(scenario)


def test_a_discarded_copy_never_runs_and_is_found_no_more(controlm):
    async def scenario(c):
        key = new_key()
        handle = await c.system.submit(order(), key)
        await c.system.discard(handle)
        await c.system.discard(handle)
        assert [record.state for record in c.stand_in.jobs()] == ["discarded"]
        async with c.fresh() as other:
            assert await other.find(key) == Absent()

    controlm(scenario)


def test_a_job_that_ran_is_not_discarded(controlm):
    async def scenario(c):
        handle = await c.ended()
        with pytest.raises(RequestRejected, match="has begun to run; it is not deleted"):
            await c.system.discard(handle)

    controlm(scenario)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (order(None, "LOOSE"), "'LOOSE' is no SMART folder, so its jobs have no common end"),
        (order("BEAT", "PULSE"), "BEAT is cyclic and has no end"),
    ],
)
def test_what_has_no_end_is_refused_and_leaves_nothing_that_could_run(controlm, work, words):
    async def scenario(c):
        with pytest.raises(RequestRejected, match=words):
            await c.system.submit(work, new_key())
        assert all(entry.deleted for entry in c.stand_in.server.active)
        assert not any(entry.started for entry in c.stand_in.server.active)

    controlm(scenario)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (order(None, "ABSENT"), "refused order of ABSENT: Folder ABSENT was not found in Control-M Server lab"),
        (order("ABSENT"), "refused order of LAB/ABSENT: No job matches ABSENT"),
        (job(), "runs mainframe.scheduler_job, not MainframeJob"),
    ],
)
def test_what_control_m_refuses_is_said_in_its_words(controlm, work, words):
    async def scenario(c):
        with pytest.raises(RequestRejected, match=words):
            await c.system.submit(work, new_key())

    controlm(scenario)


def test_a_job_that_a_person_named_is_identified(controlm):
    async def scenario(c):
        handle = await c.ended()
        for name in (handle.job_id, handle.job_id.partition(":")[2]):
            assert await c.system.identify(name, handle.key) == handle
        with pytest.raises(RequestRejected, match="has no job zzzzz"):
            await c.system.identify("zzzzz", new_key())

    controlm(scenario)


def test_a_rerun_is_the_same_job_once_more(controlm):
    async def scenario(c):
        handle = await c.ended(order(RC="12", SAY="AGAIN"))
        await c.system.rerun(handle)
        await c.until(handle)
        entry = c.stand_in.server.entry(handle.job_id)
        assert (entry.runs, entry.outputs) == (2, ["AGAIN\n", "AGAIN\n"])
        with pytest.raises(RequestRejected, match=r"cannot restart .* as a new job at STEP2"):
            await c.system.restart(handle, "STEP2", new_key())

    controlm(scenario)


def test_the_log_comes_while_the_job_runs_and_the_output_when_it_has_ended(controlm):
    async def scenario(c):
        handle = await c.started(order(SLEEP="0.5", SAY="ANSWER=42"))
        await c.until(handle, Phase.RUNNING)
        first = await c.system.read_output(handle)
        assert "STARTED AT" in first.text
        assert "ANSWER" not in first.text
        await c.until(handle)
        second = await c.system.read_output(handle, first.cursor)
        assert "ANSWER=42" in second.text
        assert "STARTED AT" not in second.text, "a line came twice"
        third = await c.system.read_output(handle, second.cursor)
        assert (third.text, third.cursor) == ("", second.cursor)

    controlm(scenario)


def test_output_comes_in_pieces_and_none_is_lost(controlm):
    async def scenario(c):
        handle = await c.ended(order(SAY="x" * 500))
        text, cursor = "", ""
        for _ in range(200):
            piece = await c.system.read_output(handle, cursor, limit=64)
            assert len(piece.text.encode()) <= 64
            text, cursor = text + piece.text, piece.cursor
        both = await c.system.read_source(handle, "log") + await c.system.read_source(handle, "output")
        assert sorted(text) == sorted(both), "a piece was lost or came twice"

    controlm(scenario)


def test_many_waiting_jobs_cost_one_list_and_two_questions(controlm):
    async def scenario(c):
        c.plan("submit", "hold", times=500)
        handles = []
        for number in range(500):
            key = f"K{number:019d}"
            asked = {"ctm": "lab", "folder": "LAB", "jobs": "LABJOB", "orderIntoFolder": "Standalone"}
            run = c.stand_in.server.order({**asked, "variables": [{"ORCH_KEY": key}]}, c.stand_in.faults.fate("submit"))
            handles.append(JobHandle(key, c.stand_in.server.runs[run][0], "LABJOB", {"folder": "LAB"}))
        await c.system.check()
        c.stand_in.calls.clear()
        states = await c.system.poll(handles)
        assert len(states) == 500
        assert {state.phase for state in states.values()} == {Phase.WAITING}
        assert c.stand_in.calls.total() <= 3
        explained = sum(state.reason.endswith("No host is available for the job") for state in states.values())
        assert explained == 2
        states = await c.system.poll(handles)
        explained = sum(state.reason.endswith("No host is available for the job") for state in states.values())
        assert explained == 4, "it asks the same ones again"

    controlm(scenario)


def test_a_full_page_hides_no_job(controlm, monkeypatch):
    monkeypatch.setattr("airflow_enterprise_orch.systems.mainframe.controlm_lookup.PAGE", 4)

    async def scenario(c):
        early = [await c.ended() for _ in range(3)]  # two entries each: the page is full of them
        late = await c.started(order(SLEEP="60"))
        other = await c.started(order(None, "ORDERS", ORDER="1", CLASS="A", SLEEP="60"))
        states = await c.system.poll([*early, late, other])
        assert [states[handle.key].phase for handle in early] == [Phase.ENDED] * 3
        assert {states[late.key].phase, states[other.key].phase} == {Phase.RUNNING}

    controlm(scenario)
