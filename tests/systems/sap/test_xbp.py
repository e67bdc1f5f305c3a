"""Background jobs over XBP. How a user would notice that it is fake: SM37 shows two jobs for one invoice, or none."""

import asyncio

import pytest
from sap_for_tests import new_key, program

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Protection, Unknown
from airflow_enterprise_orch.errors import OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.sap.steps import ApplicationJob, BackgroundJob


def test_a_job_waits_in_status_p_until_it_is_released(xbp):
    async def scenario(s):
        key = new_key()
        handle = await s.system.submit(program(say="ANSWER=42"), key)
        assert handle.name == f"{key}_ZLABPROG"
        assert (await s.system.poll([handle]))[key].phase is Phase.HELD
        await asyncio.sleep(0.1)
        assert not s.stand_in.jobs()[0].ran
        await s.system.release(handle)
        await s.until(handle)
        result = await s.system.result(handle)
        assert (result.ending, result.rc, result.code) == (Ending.COMPLETED, 0, "finished")
        assert result.started.tzinfo is not None
        assert s.system.capabilities.protection is Protection.TWO_PHASE

    xbp(scenario)


def test_the_key_in_the_name_finds_the_job_and_no_other(xbp):
    async def scenario(s):
        key = new_key()
        assert await s.system.find(key) == Absent()
        handle = await s.system.submit(program(), key)
        await s.system.submit(program(), new_key())
        s.stand_in.sap.open(f"{key}X_SOMEBODY_ELSE")
        found = await s.system.find(key)
        assert isinstance(found, Found)
        assert [(one.handle, one.held) for one in found.candidates] == [(handle, True)]
        await s.system.release(handle)
        assert not (await s.system.find(key)).candidates[0].held

    xbp(scenario)


def test_two_copies_are_told_apart_the_oldest_first(xbp):
    async def scenario(s):
        key = new_key()
        first, second = await s.system.submit(program(), key), await s.system.submit(program(), key)
        found = await s.system.find(key)
        assert [one.handle.job_id for one in found.candidates] == [first.job_id, second.job_id]
        await s.system.discard(second)
        await s.system.discard(second)
        assert [one.handle.job_id for one in (await s.system.find(key)).candidates] == [first.job_id]

    xbp(scenario)


def test_a_half_built_job_is_no_candidate(xbp):
    async def scenario(s):
        key = new_key()
        s.stand_in.sap.open(f"{key}_ZLABPROG")
        assert await s.system.find(key) == Absent(), "it would be released, and run nothing"
        await s.system.submit(program(), key)
        assert len((await s.system.find(key)).candidates) == 1

    xbp(scenario)


def test_jobs_that_are_counted_but_not_shown_are_no_proof_of_absence(xbp, monkeypatch):
    async def scenario(s):
        key = new_key()
        await s.system.submit(program(), key)
        monkeypatch.setattr(s.stand_in, "_xbp_job_select", lambda values: {"JOB_HEAD": [], "ERROR_CODE": 0})
        assert isinstance(await s.system.find(key), Unknown)

    xbp(scenario)


def test_a_refused_step_leaves_no_half_built_job(xbp):
    async def scenario(s):
        with pytest.raises(RequestRejected):
            await s.system.submit(ApplicationJob(template="Z"), new_key())
        s.stand_in._xbp_job_add_abap_step = _refuse
        with pytest.raises(RequestRejected, match=r"Program ZNOPE does not exist \(XM/123\)"):
            await s.system.submit(BackgroundJob(program="ZNOPE"), new_key())
        assert s.stand_in.sap.table == []

    xbp(scenario)


def _refuse(values):
    from airflow_enterprise_orch.lab.sap_soap_rfc import Told

    raise Told("XM", "123", "Program ZNOPE does not exist")


@pytest.mark.parametrize(
    ("work", "ending", "rc", "code"),
    [
        (program(rc="12", say="DISK FULL"), Ending.COMPLETED, 12, "finished, RC 12"),
        (program(abend="COMPUTE_INT_ZERODIVIDE"), Ending.ABENDED, None, "aborted"),
        (BackgroundJob(program="ZNOWHERE"), Ending.ABENDED, None, "aborted"),
        (BackgroundJob(command="/bin/echo", arguments=["ORD-1", "x=2"], host="lab"), Ending.COMPLETED, 0, "finished"),
        (BackgroundJob(command="/bin/false", host="lab"), Ending.ABENDED, None, "aborted"),
    ],
)
def test_how_a_job_ended_is_what_sap_says(xbp, work, ending, rc, code):
    async def scenario(s):
        result = await s.system.result(await s.ended(work))
        assert (result.ending, result.rc, result.code) == (ending, rc, code)
        assert result.started
        assert result.ended

    xbp(scenario)


def test_a_broken_job_tells_why_with_the_key_of_its_dump(xbp):
    async def scenario(s):
        handle = await s.ended(program(abend="COMPUTE_INT_ZERODIVIDE", say="CHECKING"))
        result = await s.system.result(handle)
        assert "00/554 Job canceled" in result.detail
        tail = await s.system.read_tail(handle)
        assert "runtime error COMPUTE_INT_ZERODIVIDE" in tail
        assert "[dump " in tail

    xbp(scenario)


def test_times_are_utc_wherever_sap_is(xbp):
    async def scenario(s):
        handle = await s.ended()
        job = s.stand_in.sap.table[0]
        seen = (await s.system.result(handle)).started
        # The stand-in writes UTC; read as New York's, it is four or five hours later.
        assert (seen - job.started).total_seconds() // 3600 in (3, 4, 5)

    xbp(scenario, time_zone="America/New_York")


def test_log_and_spool_are_read_and_the_log_by_its_cursor(xbp):
    async def scenario(s):
        handle = await s.started(program(printer="LP01", say="ÄNDERUNG <1> & 2", sleep="1"))
        await s.until(handle, Phase.RUNNING)
        first = await s.system.read_output(handle)
        assert "Job started" in first.text
        await s.until(handle)
        rest = await s.system.read_output(handle, first.cursor)
        assert "Job started" not in rest.text
        assert "Job finished" in rest.text
        assert (await s.system.read_output(handle, rest.cursor)).text == ""
        assert (await s.system.read_source(handle, "spool")) == "ÄNDERUNG <1> & 2\n"
        assert "ÄNDERUNG <1> & 2" in await s.system.read_source(handle, "log")
        with pytest.raises(OutputMissing, match="it has log and spool"):
            await s.system.read_source(handle, "SYSPRINT")

    xbp(scenario)


def test_without_a_printer_there_is_no_spool(xbp):
    async def scenario(s):
        handle = await s.ended(program(say="ANSWER=42"))
        with pytest.raises(OutputMissing, match="no printer"):
            await s.system.read_source(handle, "spool")

    xbp(scenario)


def test_values_arrive_as_they_are(xbp):
    values = {"P_SAY": "O'Brien & <Sons>; rm -rf / {{ x }}", "P_LONG": "x" * 200}

    async def scenario(s):
        await s.system.submit(BackgroundJob(program="ZLABPROG", parameters=values), new_key())
        assert s.stand_in.sap.table[0].steps[0].values == values

    xbp(scenario)


def test_an_invoice_fails_once_and_is_posted_the_second_time(xbp):
    work = BackgroundJob(
        program="ZPOST_INVOICE",
        parameters={"P_ORDER": "ORD-000042", "P_AMOUNT": "99.5", "P_CUST": "Müller & Co"},
        printer="LP01",
    )

    async def scenario(s):
        s.plan("submit", "abend")
        assert (await s.system.result(await s.ended(work))).ending is Ending.ABENDED
        handle = await s.ended(work)
        assert (await s.system.result(handle)).rc == 0
        assert "INVOICE=INV-000042 ORDER=ORD-000042" in await s.system.read_source(handle, "spool")
        assert [job.result for job in s.stand_in.jobs()] == ["A", "F"]

    xbp(scenario)


def test_cancel_of_a_running_job_is_proven(xbp):
    async def scenario(s):
        handle = await s.started(program(sleep="60"))
        await s.until(handle, Phase.RUNNING)
        await s.system.cancel(handle)
        await s.until(handle)
        result = await s.system.result(handle)
        assert (result.ending, result.code) == (Ending.CANCELLED, "cancelled")
        await s.system.cancel(handle)

    xbp(scenario)


def test_cancel_of_a_job_that_waits_for_a_work_process_is_proven_and_it_never_runs(xbp):
    async def scenario(s):
        s.plan("submit", "hold")
        handle = await s.started()
        assert (await s.until(handle, Phase.WAITING)).reason == "ready, no background work process is free"
        await s.system.cancel(handle)
        await s.until(handle)
        assert (await s.system.result(handle)).ending is Ending.CANCELLED
        s.stand_in.lift_holds()
        await asyncio.sleep(0.1)
        assert not s.stand_in.jobs()[0].ran
        with pytest.raises(RequestRejected, match="does not exist"):
            await s.system.release(handle)  # a start that comes late finds nothing

    xbp(scenario)


def test_a_cancel_that_is_asked_for_and_not_obeyed_does_not_change_how_the_job_ended(xbp):
    async def scenario(s):
        handle = await s.started(program(sleep="1"))
        await s.until(handle, Phase.RUNNING)
        s.plan("cancel", "error_500")
        with pytest.raises(Exception, match="it may have taken effect"):
            await s.system.cancel(handle)
        await s.until(handle)
        assert (await s.system.result(handle)).ending is Ending.COMPLETED

    xbp(scenario)


def test_a_job_that_somebody_deleted_is_missing_and_its_result_unknown(xbp):
    async def scenario(s):
        s.plan("submit", "purge")
        handle = await s.started()
        assert (await s.until(handle, Phase.MISSING)).phase is Phase.MISSING
        result = await s.system.result(handle)
        assert (result.ending, result.rc) == (Ending.UNKNOWN, None)

    xbp(scenario)


def test_500_waiting_jobs_cost_one_call_a_poll(xbp):
    async def scenario(s):
        s.plan("submit", "hold", 500)
        handles = []
        for _ in range(500):  # without the client, which would take a while
            key = new_key()
            job = s.stand_in.sap.open(f"{key}_ZLABPROG")
            s.stand_in.sap.release(job)
            handles.append(JobHandle(key, job.count, job.name))
        s.stand_in.functions.clear()
        states = await s.system.poll(handles)
        assert len(states) == 500
        calls = sum(count for name, count in s.stand_in.functions.items() if name.startswith("BAPI_XBP"))
        assert calls == 1, s.stand_in.functions
        gone = [JobHandle(new_key(), "99999999", "GONE") for _ in range(50)]
        s.stand_in.functions.clear()
        await s.system.poll([*handles, *gone])
        assert sum(s.stand_in.functions.values()) <= 5, s.stand_in.functions

    xbp(scenario)


def test_every_missing_job_is_asked_for_in_the_end(xbp):
    async def scenario(s):
        gone = [JobHandle(new_key(), "99999999", "GONE") for _ in range(7)]
        seen = {}
        for _ in range(7):
            seen |= await s.system.poll(gone)
        assert {state.phase for state in seen.values()} == {Phase.MISSING}
        assert len(seen) == 7

    xbp(scenario)


def test_a_job_whose_work_process_died_is_found_out(xbp):
    async def scenario(s):
        handle = await s.started(program(sleep="60"))
        await s.until(handle, Phase.RUNNING)
        job = s.stand_in.sap.table[0]
        job.task.cancel()  # the work process is killed; the table still says R

        def look(values):
            job.status = "A"  # what SAP does: it corrects its table
            return {"ACTUAL_STATUS": "A", "STATUS_ACCORDING_TO_DB": "R"}

        s.stand_in._xbp_job_status_check = look
        for _ in range(25):
            await s.system.poll([handle])
        assert (await s.system.poll([handle]))[handle.key].phase is Phase.ENDED
        assert s.stand_in.functions["BAPI_XBP_JOB_STATUS_CHECK"] == 1

    xbp(scenario)


def test_a_person_names_a_job_as_sm37_shows_it(xbp):
    async def scenario(s):
        job = s.stand_in.sap.open("ZNIGHTLY")
        key = new_key()
        handle = await s.system.identify(f"ZNIGHTLY/{job.count}", key)
        assert handle == JobHandle(key, job.count, "ZNIGHTLY")
        ours = await s.system.submit(program(), key)
        assert await s.system.identify(ours.job_id, key) == ours
        with pytest.raises(RequestRejected, match="give name and count as SM37 shows them"):
            await s.system.identify("ZNIGHTLY/00000000", key)

    xbp(scenario)


def test_an_adopted_job_of_another_name_is_watched_and_brought_home(xbp):
    async def scenario(s):
        from airflow_enterprise_orch.lab.sap_jobs import Step

        job = s.stand_in.sap.open("ZNIGHTLY")
        s.stand_in.sap.add(job, Step("ZLABPROG", {"P_RC": "4"}), [])
        handle = await s.system.identify(f"ZNIGHTLY/{job.count}", new_key())
        s.stand_in.sap.release(job)
        await s.until(handle)
        assert (await s.system.result(handle)).rc == 4

    xbp(scenario)


def test_an_immediate_start_is_refused_without_a_free_work_process(xbp):
    async def scenario(s):
        s.plan("submit", "hold")
        handle = await s.system.submit(program(), new_key())
        with pytest.raises(RequestRejected, match="No free background work process"):
            await s.system.release(handle)
        assert (await s.system.poll([handle]))[handle.key].phase is Phase.HELD

    xbp(scenario, start="immediately")


def test_a_server_that_runs_no_jobs_is_named(xbp):
    async def scenario(s):
        handle = await s.system.submit(program(), new_key())
        with pytest.raises(RequestRejected, match="Server appsrv9 offers no background processing"):
            await s.system.release(handle)

    xbp(scenario, server="appsrv9")


def test_what_sap_does_not_offer_is_refused_in_words(xbp):
    async def scenario(s):
        handle = await s.started()
        with pytest.raises(RequestRejected, match="cannot hold"):
            await s.system.hold(handle)
        with pytest.raises(RequestRejected, match="cannot restart"):
            await s.system.restart(handle, "1", new_key())
        with pytest.raises(RequestRejected, match="has been released"):
            await s.system.discard(handle)

    xbp(scenario)


def test_a_session_is_opened_once_and_closed(xbp):
    async def scenario(s):
        await s.ended()
        assert s.stand_in.functions["BAPI_XMI_LOGON"] == 1
        await s.system._xmi.close()
        assert s.stand_in.functions["BAPI_XMI_LOGOFF"] == 1

    xbp(scenario)


def test_sessions_that_do_not_last_are_explained(xbp):
    async def scenario(s):
        s.stand_in.keeps_sessions = False
        with pytest.raises(SystemUnreachable, match="load balancer without sticky sessions"):
            await s.system.find(new_key())

    xbp(scenario)
