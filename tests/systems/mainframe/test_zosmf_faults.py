"""The client when the world breaks: what each failure proves, and no more than that."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from zos_for_tests import job, new_key

from airflow_enterprise_orch.delegation.https import Call
from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.mainframe.session import ZosmfSession, ZosmfSettings
from airflow_enterprise_orch.systems.mainframe.zosmf import ZosmfSystem


def test_a_cut_after_the_commit_is_ambiguous_and_the_key_finds_the_job(zos):
    async def scenario(z):
        z.plan("submit", "cut_after_commit")
        key = new_key()
        with pytest.raises(AnswerLost, match=r"gave no answer .* to submit ORDERJOB: it may have taken effect"):
            await z.system.submit(job(), key)
        found = await z.system.find(key)
        assert isinstance(found, Found)
        assert len(found.candidates) == len(z.stand_in.jobs()) == 1
        assert not z.stand_in.jobs()[0].ran

    zos(scenario)


def test_a_cut_before_the_commit_is_as_ambiguous_and_nothing_is_found(zos):
    async def scenario(z):
        z.plan("submit", "cut_before_commit")
        key = new_key()
        with pytest.raises(AnswerLost):
            await z.system.submit(job(), key)
        assert await z.system.find(key) == Absent()
        assert z.stand_in.calls["submit"] == 1

    zos(scenario)


@pytest.mark.parametrize("fault", ["error_500", "html_503", "cut_before_commit", "cut_after_commit"])
@pytest.mark.parametrize("operation", ["release", "cancel", "hold"])
def test_every_changing_call_loses_its_answer_and_is_not_repeated(zos, operation, fault):
    async def scenario(z):
        handle = await z.system.submit(job("SLEEP=30"), new_key())
        z.stand_in.calls.clear()
        on = "release" if operation == "release" else "cancel"
        z.plan(on, fault)
        with pytest.raises(AnswerLost):
            await getattr(z.system, operation)(handle)
        assert z.stand_in.calls == {on: 1}

    zos(scenario)


@pytest.mark.parametrize("fault", ["error_500", "html_503"])
def test_a_submit_answered_with_5xx_is_ambiguous(zos, fault):
    async def scenario(z):
        z.plan("submit", fault)
        with pytest.raises(AnswerLost, match="answered 50"):
            await z.system.submit(job(), new_key())

    zos(scenario)


def test_a_submit_without_an_answer_in_time_is_ambiguous(zos):
    async def scenario(z):
        z.plan("submit", "slow", seconds=3)
        with pytest.raises(AnswerLost, match="ReadTimeout"):
            await z.system.submit(job(), new_key())

    zos(scenario, timeout=1.0)


def test_a_lost_purge_is_ambiguous_too(zos):
    async def scenario(z):
        handle = await z.system.submit(job(), new_key())
        z.plan("cancel", "cut_after_commit")
        with pytest.raises(AnswerLost):
            await z.system.discard(handle)
        await z.system.discard(handle)
        assert z.stand_in.jobs()[0].state == "discarded"

    zos(scenario)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("error_500", SystemUnreachable), ("html_503", SystemBusy), ("cut_before_commit", SystemUnreachable)],
)
@pytest.mark.parametrize("operation", ["find", "poll", "output"])
def test_a_reading_call_can_simply_be_repeated(zos, operation, fault, kind):
    async def scenario(z):
        handle = await z.ended()

        async def read():
            return await {
                "find": lambda: z.system.find(handle.key),
                "poll": lambda: z.system.poll([handle]),
                "output": lambda: z.system.read_output(handle),
            }[operation]()

        z.plan(operation, fault)
        with pytest.raises(kind) as error:
            await read()
        assert type(error.value) is kind
        assert await read()

    zos(scenario)


def test_a_purged_result_is_unknown_and_never_a_success(zos):
    async def scenario(z):
        z.plan("submit", "purge")
        handle = await z.started()
        assert (await z.until(handle, Phase.MISSING)).phase is Phase.MISSING
        result = await z.system.result(handle)
        assert (result.ending, result.rc) == (Ending.UNKNOWN, None)
        assert "purged before its result was read" in result.detail
        assert z.stand_in.jobs()[0].ran

    zos(scenario)


@pytest.mark.parametrize(
    ("fate", "ending", "code"),
    [
        ("fail", Ending.COMPLETED, "CC 0012"),
        ("abend", Ending.ABENDED, "ABEND S0C7"),
        ("run", Ending.COMPLETED, "CC 0000"),
    ],
)
def test_the_fates_of_jobs(zos, fate, ending, code):
    async def scenario(z):
        z.plan("submit", fate, seconds=0.1)
        result = await z.system.result(await z.ended())
        assert (result.ending, result.code) == (ending, code)
        assert (await z.system.result(await z.ended())).code == "CC 0000"

    zos(scenario)


def test_a_job_that_does_not_start_says_why(zos):
    async def scenario(z):
        z.plan("submit", "hold")
        handle = await z.started()
        status = await z.until(handle, Phase.WAITING)
        assert status.reason == "Job class A is held"
        z.stand_in.lift_holds()
        await z.until(handle)

    zos(scenario)


def test_a_refused_login_is_tried_once_by_ten_calls(zos):
    async def scenario(z):
        calls = [z.system.find(new_key()) for _ in range(10)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {LoginRefused}
        assert "refused the login of IBMUSER" in str(errors[0])
        with pytest.raises(LoginRefused):
            await z.system.submit(job(), new_key())
        assert z.stand_in.failed_logins == 1
        assert z.stand_in.calls == {"login": 1}

    zos(scenario, password="wrong-secret")


def test_the_password_is_in_no_message(zos):
    async def scenario(z):
        with pytest.raises(LoginRefused) as error:
            await z.system.find(new_key())
        assert "wrong-secret" not in f"{error.value!r} {z.system.settings!r}"

    zos(scenario, password="wrong-secret")


def test_a_token_that_expired_is_renewed_once(zos):
    async def scenario(z):
        handle = await z.system.submit(job(), new_key())
        z.stand_in.expire_tokens()
        z.stand_in.calls.clear()
        await asyncio.gather(*(z.system.poll([handle]) for _ in range(5)))
        assert z.stand_in.calls["login"] == 1
        z.stand_in.expire_tokens()
        second = await z.system.submit(job(), new_key())
        assert len(z.stand_in.jobs()) == 2
        await z.system.release(second)
        await z.until(second)

    zos(scenario)


def test_a_token_that_is_refused_again_blocks(zos):
    async def scenario(z):
        await z.system.find(new_key())
        z.plan("submit", "unauthorized")
        z.stand_in.calls.clear()
        for _ in range(3):
            with pytest.raises(LoginRefused):
                await z.system.submit(job(), new_key())
        assert z.stand_in.calls == {"submit": 1, "login": 1}
        assert z.stand_in.failed_logins == 1
        assert z.stand_in.jobs() == []

    zos(scenario)


def test_three_refused_logins_revoke_even_the_right_password(zos):
    async def scenario(z):
        wrong = replace(z.system.settings, password="wrong")
        for _ in range(3):
            async with ZosmfSystem(wrong) as system:
                with pytest.raises(LoginRefused):
                    await system.find(new_key())
        with pytest.raises(LoginRefused):
            await z.system.find(new_key())
        await z.stand_in.reset()
        async with ZosmfSystem(z.system.settings) as system:
            assert await system.find(new_key()) == Absent()

    zos(scenario)


def test_without_the_authenticate_service_every_call_is_basic(zos):
    async def scenario(z):
        z.stand_in.has_authenticate = False
        await z.ended()
        z.plan("poll", "unauthorized")
        with pytest.raises(LoginRefused):
            await z.system.poll([await z.system.submit(job(), new_key())])
        with pytest.raises(LoginRefused):
            await z.system.find(new_key())
        assert z.stand_in.calls["find"] == 0

    zos(scenario)


def test_an_unknown_authority_names_the_remedy(zos):
    async def scenario(z):
        expected = r"connection 'zos_test': the certificate of .* is not trusted .*ca_file"
        with pytest.raises(ConnectionUntrusted, match=expected):
            await z.system.find(new_key())

    zos(scenario, ca_file="")


def test_verification_can_be_turned_off(zos):
    async def scenario(z):
        assert await z.system.find(new_key()) == Absent()

    zos(scenario, ca_file="", verify=False)


def test_a_missing_ca_file_is_said(zos):
    with pytest.raises(ConnectionInvalid, match=r"its ca_file /nowhere/ca.pem is not there"):
        zos(lambda z: z.system.find(new_key()), ca_file="/nowhere/ca.pem")


def test_a_ca_file_without_certificate_is_said(zos, tmp_path):
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(ConnectionInvalid, match="is no PEM certificate file"):
        zos(lambda z: z.system.find(new_key()), ca_file=str(tmp_path / "no.pem"))


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_when_nobody_is_there_nothing_was_handed_over(zos, host):
    async def scenario(z):
        with pytest.raises(SystemUnreachable, match=r"cannot be reached for login .* nothing was sent") as error:
            await z.system.submit(job(), new_key())
        assert type(error.value) is SystemUnreachable

    zos(scenario, host=host, port=9)


TOKEN = b"HTTP/1.1 200 OK\r\nSet-Cookie: LtpaToken2=t; Secure\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Answering:
    """An HTTP server that says whatever it is told, to a session that is logged in."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def session(self, test, tmp_path):
        from airflow_enterprise_orch.lab.tls import loopback_tls

        tls = loopback_tls(tmp_path)

        async def serve(reader, writer):
            with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head)
                login = head.startswith(b"POST /zosmf/services/authenticate")
                answer = TOKEN if login else self.answers.pop(0)
                writer.write(answer)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server)
        async with server:
            port = server.sockets[0].getsockname()[1]
            settings = ZosmfSettings(
                "zos_test", "127.0.0.1", port, "ME", "secret", ca_file=str(tls.ca_file), timeout=5.0
            )
            async with ZosmfSession(settings) as session:
                await test(session)


def answer(status, body, kind="application/json", more=""):
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()


READ = Call("read", "GET", "/zosmf/x")
CHANGE = Call("change", "PUT", "/zosmf/x", changing=True)
JSON_ERROR = '{"rc": 4, "reason": 7, "category": 6, "message": "no"}'
HTML = "<html>portal</html>"


@pytest.mark.parametrize(
    ("call", "reply", "kind"),
    [
        (READ, answer(503, "{}", more="Retry-After: 7\r\n"), SystemBusy),
        (READ, answer(429, JSON_ERROR), SystemBusy),
        (CHANGE, answer(503, "{}", more="Retry-After: 7\r\n"), AnswerLost),
        (CHANGE, answer(429, JSON_ERROR), AnswerLost),
        (CHANGE, answer(400, JSON_ERROR), "RequestRejected"),
        (CHANGE, answer(403, HTML, "text/html"), AnswerLost),
        (CHANGE, answer(200, HTML, "text/html"), AnswerLost),
        (CHANGE, answer(302, "", more="Location: https://portal.example.com/\r\n"), AnswerLost),
        (CHANGE, answer(500, JSON_ERROR), AnswerLost),
        (CHANGE, answer(200, "not json"), AnswerLost),
        (CHANGE, b"garbage\r\n\r\n", AnswerLost),
        (CHANGE, b"", AnswerLost),
        (CHANGE, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", AnswerLost),
        (CHANGE, answer(400, '{"rc": 4, "reason": 10, "category": 6}'), "JobAbsent"),
        (CHANGE, answer(500, '{"rc": 0, "reason": 8, "category": 8}'), "JobAbsent"),
        (READ, answer(403, HTML, "text/html"), "RequestRejected"),
        (READ, answer(404, "nothing", "text/plain"), "RequestRejected"),
        (READ, answer(200, HTML, "text/html"), SystemUnreachable),
        (READ, answer(302, "", more="Location: https://portal.example.com/\r\n"), SystemUnreachable),
        (READ, answer(200, "not json"), SystemUnreachable),
        (READ, b"garbage\r\n\r\n", SystemUnreachable),
    ],
)
def test_what_each_answer_means(call, reply, kind, tmp_path):
    server = Answering(reply)

    async def test(session):
        with pytest.raises(Exception) as error:
            await session.json(call)
        assert type(error.value).__name__ == (kind if isinstance(kind, str) else kind.__name__)
        assert "\n" not in str(error.value)
        if "Retry-After" in reply.decode() and kind is SystemBusy:
            assert error.value.retry_after == timedelta(seconds=7)

    asyncio.run(server.session(test, tmp_path))
    assert len(server.asked) == 2  # the login and the call: nothing is sent a second time
    assert all(b"x-csrf-zosmf-header" in head.lower() for head in server.asked)
    assert b"authorization" not in server.asked[1].lower()


def test_a_closed_session_sends_nothing():
    async def scenario():
        with pytest.raises(SystemUnreachable, match="the z/OSMF session is closed"):
            await ZosmfSession(ZosmfSettings("c", "127.0.0.1")).call(READ)

    asyncio.run(scenario())
