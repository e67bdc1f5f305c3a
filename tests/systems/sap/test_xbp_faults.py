"""XBP when the world breaks: what each failure proves, and no more than that."""

import asyncio

import pytest
from sap_for_tests import new_key, program

from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.sap.rfc import XbpSettings
from airflow_enterprise_orch.systems.sap.soap_rfc import SoapRfc
from airflow_enterprise_orch.systems.sap.xbp import XbpSystem

EVERY_BUILD_CALL = ["BAPI_XBP_JOB_OPEN", "BAPI_XBP_JOB_ADD_ABAP_STEP", "BAPI_XBP_JOB_CLOSE"]


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "error_500", "html_503", "half_answer"])
@pytest.mark.parametrize("function", EVERY_BUILD_CALL)
def test_whatever_breaks_while_a_job_is_built_nothing_runs_and_find_tells_the_truth(xbp, function, fault):
    async def scenario(s):
        key = new_key()
        s.plan("any", fault, match=function)
        with pytest.raises(AnswerLost, match="it may have taken effect"):
            await s.system.submit(program(), key)
        jobs = s.stand_in.sap.table
        built = bool(jobs and jobs[0].steps)
        assert isinstance(await s.system.find(key), Found if built else Absent)
        if not built:
            await s.system.submit(program(), key)
        candidates = (await s.system.find(key)).candidates
        assert len(candidates) == 1
        await asyncio.sleep(0.05)
        assert not any(job.ran for job in s.stand_in.jobs())
        await s.system.release(candidates[0].handle)
        await s.until(candidates[0].handle)
        assert sum(job.ran for job in s.stand_in.jobs()) == 1

    xbp(scenario)


def test_a_step_that_lands_late_makes_a_second_copy_that_never_runs(xbp):
    async def scenario(s):
        key = new_key()
        s.plan("submit", "late_commit", seconds=0.3)
        with pytest.raises(AnswerLost):
            await s.system.submit(program(), key)
        second = await s.system.submit(program(), key)
        await asyncio.sleep(0.5)
        found = await s.system.find(key)
        assert len(found.candidates) == 2
        assert all(one.held for one in found.candidates)
        for one in found.candidates:
            if one.handle != second:
                await s.system.discard(one.handle)
        assert [one.handle for one in (await s.system.find(key)).candidates] == [second]

    xbp(scenario)


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "error_500", "html_503", "half_answer"])
def test_a_start_without_an_answer_is_not_repeated_by_the_client(xbp, fault):
    async def scenario(s):
        handle = await s.system.submit(program(sleep="1"), new_key())
        s.plan("release", fault)
        with pytest.raises(AnswerLost):
            await s.system.release(handle)
        assert s.stand_in.functions["BAPI_XBP_JOB_START_ASAP"] == 1
        started = fault in ("cut_after_commit", "half_answer")
        state = (await s.system.poll([handle]))[handle.key]
        assert (state.phase is Phase.HELD) is not started

    xbp(scenario)


def test_a_second_start_is_refused_by_sap_itself(xbp):
    async def scenario(s):
        handle = await s.started(program(sleep="1"))
        with pytest.raises(RequestRejected, match="released already"):
            await s.system.release(handle)
        await s.until(handle)
        with pytest.raises(RequestRejected, match="released already"):
            await s.system.release(handle)
        assert sum(job.ran for job in s.stand_in.jobs()) == 1

    xbp(scenario)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("error_500", SystemUnreachable), ("html_503", SystemBusy), ("cut_before_commit", SystemUnreachable)],
)
@pytest.mark.parametrize("operation", ["find", "poll", "output"])
def test_a_reading_call_can_simply_be_repeated(xbp, operation, fault, kind):
    async def scenario(s):
        handle = await s.ended()

        async def read():
            return await {
                "find": lambda: s.system.find(handle.key),
                "poll": lambda: s.system.poll([handle]),
                "output": lambda: s.system.read_output(handle),
            }[operation]()

        s.plan(operation, fault)
        with pytest.raises(kind) as error:
            await read()
        assert type(error.value) is kind
        assert await read()

    xbp(scenario)


def test_reads_go_on_after_the_session_ended_and_changes_do_not(xbp):
    async def scenario(s):
        handle = await s.system.submit(program(), new_key())
        s.stand_in.sessions.clear()  # ICF forgets the cookie: 400
        assert (await s.system.poll([handle]))[handle.key].phase is Phase.HELD
        assert s.stand_in.functions["BAPI_XMI_LOGON"] == 2
        s.stand_in.sessions = dict.fromkeys(s.stand_in.sessions, False)  # XMI forgets the logon: XM/028
        assert await s.system.find(handle.key)
        assert s.stand_in.functions["BAPI_XMI_LOGON"] == 3
        for gone in (True, False):
            await s.system.find(handle.key)  # logged on again
            before = len(s.stand_in.sap.table)
            s.stand_in.sessions = {} if gone else dict.fromkeys(s.stand_in.sessions, False)
            with pytest.raises(SystemUnreachable, match="nothing was done"):
                await s.system.submit(program(), new_key())
            assert len(s.stand_in.sap.table) == before
        await s.system.submit(program(), new_key())

    xbp(scenario)


def test_a_refused_login_is_tried_once(xbp):
    async def scenario(s):
        for _ in range(3):
            with pytest.raises(LoginRefused, match="refused the login of AIRFLOW"):
                await s.system.find(new_key())
        assert s.stand_in.refused_logins == 1

    xbp(scenario, password="wrong")


def test_a_user_that_is_refused_in_mid_life_stays_refused(xbp):
    async def scenario(s):
        handle = await s.started(program(sleep="1"))
        s.plan("poll", "unauthorized")
        for _ in range(3):
            with pytest.raises(LoginRefused):
                await s.system.poll([handle])
        assert s.stand_in.refused_logins == 1

    xbp(scenario)


def test_a_wrong_client_is_a_refused_login(xbp):
    async def scenario(s):
        with pytest.raises(LoginRefused, match="client 999"):
            await s.system.find(new_key())

    xbp(scenario, client="999")


def test_a_missing_xmi_authorization_is_named(xbp):
    async def scenario(s):
        s.stand_in.may_use_xmi = False
        with pytest.raises(ConnectionInvalid, match=r"S_XMI_PROD for company ACME, product ORCH"):
            await s.system.submit(program(), new_key())

    xbp(scenario, company="ACME", product="ORCH")


def test_an_untrusted_certificate_stops_before_the_password_leaves(xbp):
    async def scenario(s):
        with pytest.raises(ConnectionUntrusted, match="name that file in the connection's ca_file"):
            await s.system.find(new_key())
        assert s.stand_in.accepted_logins == 0

    xbp(scenario, ca_file="")


@pytest.mark.parametrize("content", ["", "no certificate"])
def test_a_ca_file_that_is_none_is_named(xbp, tmp_path, content):
    file = tmp_path / "ca.txt"
    if content:
        file.write_text(content)

    async def scenario(s):
        raise AssertionError("the session was opened")

    with pytest.raises(ConnectionInvalid, match="ca_file"):
        xbp(scenario, ca_file=str(file))


def test_nobody_listening_proves_that_nothing_was_sent():
    async def main():
        settings = XbpSettings("x", "127.0.0.1", 1, login="A", password="B")
        async with XbpSystem(settings, SoapRfc(settings)) as system:
            with pytest.raises(SystemUnreachable, match="nothing was sent"):
                await system.submit(program(), new_key())

    asyncio.run(main())


def test_a_call_without_an_answer_in_time_is_ambiguous(xbp):
    async def scenario(s):
        s.plan("submit", "slow", seconds=3)
        with pytest.raises(AnswerLost, match="ReadTimeout"):
            await s.system.submit(program(), new_key())

    xbp(scenario, timeout=1.0)
