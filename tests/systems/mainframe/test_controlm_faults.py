"""Control-M when the world breaks: what each failure proves, and that one order runs whatever is lost."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from controlm_for_tests import order
from zos_for_tests import new_key

from airflow_enterprise_orch.delegation.attempt import Attempt
from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.submission import Submission
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


class FastClock:
    """A clock that lets long waits pass in no time."""

    def __init__(self):
        self.ahead = timedelta(0)

    def now(self):
        return datetime.now(UTC) + self.ahead

    async def sleep(self, duration):
        self.ahead += duration
        await asyncio.sleep(0.02)


class Store:
    def __init__(self):
        self.ledger = None

    def save(self, ledger):
        self.ledger = ledger

    def announce(self, attempt):
        self.ledger = self.ledger.with_attempt(attempt)

    def prove_owner(self):
        """It is always this try's."""


async def hand_over(system, key, work=None):
    attempt = Attempt(1, key)
    submission = Submission(system, Store(), FastClock(), lambda _line: None)
    ledger = await submission.hand_over(Ledger((attempt,)), attempt, work or order())
    return ledger.last.handle


@pytest.mark.parametrize("work", [order(), order(None, "ORDERS", ORDER="1", CLASS="A")], ids=["job", "folder"])
@pytest.mark.parametrize(
    "faults",
    [
        [("submit", "cut_before_commit")],
        [("submit", "cut_after_commit")],
        [("submit", "half_answer")],
        [("submit", "html_503"), ("submit", "cut_after_commit")],
        [("release", "cut_before_commit")],
        [("release", "cut_after_commit")],
        [("submit", "cut_after_commit"), ("release", "error_500")],
    ],
)
def test_one_order_runs_whatever_is_lost(controlm, work, faults):
    async def scenario(c):
        for on, do in faults:
            c.plan(on, do)
        key = new_key()
        handle = await hand_over(c.system, key, work)
        await c.until(handle)
        assert [record.id for record in c.stand_in.jobs() if record.ran and record.key == key] == [handle.job_id]
        assert len(c.stand_in.jobs()) == 1
        assert c.stand_in.faults.faults == []

    controlm(scenario)


def test_two_overlapping_tries_run_one_order(controlm):
    async def scenario(c):
        key = new_key()
        c.plan("poll", "slow", times=2, seconds=0.1)  # both look before either has sent
        async with c.fresh() as other:
            first, second = await asyncio.gather(hand_over(c.system, key), hand_over(other, key))
        await c.until(first)
        assert first == second
        records = c.stand_in.jobs()
        assert [record.state for record in records if record.ran] == ["ended"]
        assert {record.state for record in records if not record.ran} <= {"discarded"}

    controlm(scenario)


def test_an_order_that_lands_late_stays_held(controlm):
    async def scenario(c):
        key = new_key()
        c.plan("submit", "late_commit", seconds=0.3)
        with pytest.raises(AnswerLost):
            await c.system.submit(order(), key)
        assert await c.system.find(key) == Absent()
        await asyncio.sleep(0.5)
        found = await c.system.find(key)
        assert isinstance(found, Found)
        assert found.candidates[0].held
        assert not c.stand_in.jobs()[0].ran

    controlm(scenario)


@pytest.mark.parametrize("fault", ["error_500", "html_503", "half_answer", "cut_after_commit"])
def test_an_order_whose_jobs_cannot_be_told_is_ambiguous_and_found_by_its_key(controlm, fault):
    async def scenario(c):
        key = new_key()
        c.plan("find", fault, match="run/status")
        with pytest.raises(AnswerLost, match="took the order of LAB/LABJOB, but its jobs cannot be told"):
            await c.system.submit(order(), key)
        assert isinstance(await c.system.find(key), Found)

    controlm(scenario)


@pytest.mark.parametrize("fault", ["error_500", "html_503", "cut_before_commit", "cut_after_commit"])
@pytest.mark.parametrize("operation", ["release", "cancel", "hold"])
def test_every_changing_call_loses_its_answer_and_is_not_repeated(controlm, operation, fault):
    async def scenario(c):
        handle = await c.system.submit(order(into="Standalone"), new_key())
        if operation == "hold":
            await c.system.release(handle)
        c.stand_in.calls.clear()
        on = "release" if operation == "release" else "cancel"
        c.plan(on, fault)
        with pytest.raises(AnswerLost, match="it may have taken effect"):
            await getattr(c.system, operation)(handle)
        assert c.stand_in.calls[on] == 1

    controlm(scenario)


@pytest.mark.parametrize("fault", ["error_500", "half_answer", "cut_before_commit"])
def test_a_reading_call_without_an_answer_is_only_unreachable(controlm, fault):
    async def scenario(c):
        handle = await c.ended()
        c.plan("poll", fault)
        with pytest.raises(SystemUnreachable):
            await c.system.poll([handle])
        assert (await c.system.poll([handle]))[handle.key].phase is Phase.ENDED

    controlm(scenario)


def test_a_busy_api_is_busy(controlm):
    async def scenario(c):
        c.plan("poll", "html_503")
        with pytest.raises(SystemBusy, match="is busy: list of jobs was answered 503"):
            await c.system.find(new_key())

    controlm(scenario)


def test_a_job_that_is_gone_is_missing_and_its_result_unknown(controlm):
    async def scenario(c):
        c.plan("submit", "purge")
        handle = await c.started()
        await c.until(handle, Phase.MISSING)
        result = await c.system.result(handle)
        assert result.ending is Ending.UNKNOWN
        assert "removed before its result was read" in result.detail
        assert await c.system.read_tail(handle) == ""
        assert (await c.system.read_output(handle)).text == ""
        for act in (c.system.cancel, c.system.hold, c.system.release, c.system.discard):
            await act(handle)  # polling will say so

    controlm(scenario)


def test_one_login_serves_all_calls_and_an_ended_session_is_renewed_once(controlm):
    async def scenario(c):
        handle = await c.ended()
        for _ in range(5):
            await c.system.poll([handle])
        assert c.stand_in.accepted_logins == 1
        c.stand_in.expire_tokens()
        states = await asyncio.gather(*(c.system.poll([handle]) for _ in range(5)))
        assert all(state[handle.key].phase is Phase.ENDED for state in states)
        assert c.stand_in.accepted_logins == 2

    controlm(scenario)


def test_an_order_with_an_expired_session_is_made_once(controlm):
    async def scenario(c):
        await c.system.find(new_key())
        c.stand_in.expire_tokens()
        await c.system.submit(order(), new_key())
        assert len(c.stand_in.jobs()) == 1

    controlm(scenario)


def test_a_refused_login_is_never_repeated(controlm):
    async def scenario(c):
        for _ in range(3):
            with pytest.raises(LoginRefused, match=r"refused the login of emuser \(Failed to login") as refused:
                await c.system.find(new_key())
        assert "not-it" not in str(refused.value)
        assert c.stand_in.refused_logins == 1

    controlm(scenario, password="not-it")


def test_a_session_that_is_refused_again_after_a_login_gives_up(controlm):
    async def scenario(c):
        await c.system.find(new_key())
        c.plan("poll", "unauthorized", times=9)
        with pytest.raises(LoginRefused):
            await c.system.find(new_key())
        calls = c.stand_in.calls.total()
        with pytest.raises(LoginRefused):
            await c.system.find(new_key())
        assert c.stand_in.calls.total() == calls

    controlm(scenario)


def test_an_api_token_needs_no_login_and_a_wrong_one_is_tried_once(controlm):
    async def scenario(c):
        async with c.fresh(login="", password=c.stand_in.api_token) as system:
            assert await system.find(new_key()) == Absent()
        async with c.fresh(login="", password="wrong-token") as system:
            for _ in range(2):
                with pytest.raises(LoginRefused, match="refused the API token") as refused:
                    await system.find(new_key())
            assert "wrong-token" not in str(refused.value)
        assert c.stand_in.accepted_logins == c.stand_in.refused_logins == 0
        assert c.stand_in.calls["poll"] == 2

    controlm(scenario)


def test_a_certificate_that_nobody_signed_is_not_trusted(controlm):
    async def scenario(c):
        with pytest.raises(ConnectionUntrusted, match="put the authority that signed it into a PEM file"):
            await c.system.find(new_key())
        assert c.stand_in.calls.total() == 0, "the password left before the certificate was checked"

    controlm(scenario, ca_file="")


def test_verification_can_be_switched_off_knowingly(controlm):
    async def scenario(c):
        assert await c.system.find(new_key()) == Absent()

    controlm(scenario, ca_file="", verify=False)


def test_a_ca_file_that_is_absent_or_no_certificate_is_named(controlm, tmp_path):
    (tmp_path / "no.pem").write_text("nothing")

    async def scenario(c):
        for name, words in (("gone.pem", "is not there"), ("no.pem", "is no PEM certificate file")):
            with pytest.raises(ConnectionInvalid, match=words):
                async with c.fresh(ca_file=str(tmp_path / name)):
                    pass

    controlm(scenario)


def test_nobody_there_means_nothing_was_sent(controlm):
    async def scenario(c):
        async with c.fresh(port=9) as system:
            with pytest.raises(SystemUnreachable, match="nothing was sent; check connection 'controlm_test'"):
                await system.submit(order(), new_key())

    controlm(scenario)


def test_another_service_on_that_port_is_not_taken_for_control_m(controlm):
    async def scenario(c):
        async with c.fresh(path="/elsewhere") as system:
            with pytest.raises((RequestRejected, SystemUnreachable, AnswerLost)):
                await system.check()

    controlm(scenario)


def test_a_closed_client_says_so(controlm):
    async def scenario(c):
        with pytest.raises(SystemUnreachable, match="session is closed"):
            await c.fresh().find(new_key())

    controlm(scenario)


def test_the_servers_tls_is_the_real_thing(controlm):
    async def scenario(c):
        context = ssl.create_default_context(cafile=c.endpoint["ca_file"])
        _, writer = await asyncio.open_connection("127.0.0.1", c.endpoint["connection"]["port"], ssl=context)
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        writer.close()
        await writer.wait_closed()

    controlm(scenario)
