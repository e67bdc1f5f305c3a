"""The classic-RFC backend. pyrfc needs SAP's licensed SDK, so here its module is replaced by one that behaves alike:
keyword calls, tables as lists, exceptions by its own class names."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from sap_for_tests import new_key, program

from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    LoginRefused,
    RequestRejected,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.sap.pyrfc_rfc import PyRfc
from airflow_enterprise_orch.systems.sap.rfc import XbpSettings
from airflow_enterprise_orch.systems.sap.xbp import XbpSystem

SETTINGS = XbpSettings("x", "sap.example.com", login="AIRFLOW", password="s3cret", backend="pyrfc", system_number="42")


class LogonError(Exception): ...


class CommunicationError(Exception): ...


class ABAPRuntimeError(Exception): ...


class Server:
    """What pyrfc's Connection reaches."""

    def __init__(self):
        self.opened: list[dict[str, str]] = []
        self.calls: list[str] = []
        self.closed = 0
        self.fails: dict[str, Exception] = {}
        self.answers: dict[str, object] = {}

    def connection(self, **parameters):
        self.opened.append(parameters)
        if "open" in self.fails:
            raise self.fails["open"]
        return SimpleNamespace(call=self.call, close=self.close)

    def close(self):
        self.closed += 1

    def call(self, function, **parameters):
        self.calls.append(function)
        if function in self.fails:
            raise self.fails.pop(function)
        answer = self.answers.get(function, {})
        return answer(parameters) if callable(answer) else answer


def with_system(server, test, **changes):
    from dataclasses import replace

    async def main():
        settings = replace(SETTINGS, **changes)
        async with XbpSystem(settings, PyRfc(settings, SimpleNamespace(Connection=server.connection))) as system:
            await test(system)

    asyncio.run(main())


def test_a_job_is_built_over_classic_rfc_with_numbers_as_numbers():
    server = Server()
    steps = []
    server.answers = {
        "BAPI_XBP_JOB_OPEN": {"JOBCOUNT": "15300101", "RETURN": {"TYPE": ""}},
        "BAPI_XBP_JOB_ADD_ABAP_STEP": lambda given: steps.append(given) or {"STEP_NUMBER": 1},
        "BAPI_XBP_JOBLIST_STATUS_GET": lambda given: {
            "JOBLIST": [{**row, "STATUS": "S", "HAS_CHILD": ""} for row in given["JOBLIST"]]
        },
    }

    async def test(system):
        handle = await system.submit(program(printer="LP01", say="X"), new_key())
        assert (await system.poll([handle]))[handle.key].phase is Phase.WAITING

    with_system(server, test)
    assert server.opened == [
        {
            "ashost": "sap.example.com",
            "sysnr": "42",
            "client": "100",
            "user": "AIRFLOW",
            "passwd": "s3cret",
            "lang": "EN",
        }
    ]
    assert steps[0]["ALLPRIPAR"]["LINSZ"] == 255
    assert server.calls[0] == "BAPI_XMI_LOGON"
    assert server.calls[-1] == "BAPI_XMI_LOGOFF"
    assert server.closed == 1


def test_a_refused_login_is_tried_once_and_quotes_no_password():
    server = Server()
    server.fails["open"] = LogonError("name or password is incorrect, passwd=s3cret")

    async def test(system):
        for _ in range(3):
            with pytest.raises(LoginRefused) as refused:
                await system.find(new_key())
            assert "s3cret" not in str(refused.value)

    with_system(server, test)
    assert len(server.opened) == 1


def test_no_gateway_proves_that_nothing_was_sent():
    server = Server()
    server.fails["open"] = CommunicationError("partner not reached, passwd=s3cret")

    async def test(system):
        with pytest.raises(SystemUnreachable, match="nothing was sent") as error:
            await system.submit(program(), new_key())
        assert "s3cret" not in str(error.value)

    with_system(server, test)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CommunicationError("connection closed"), AnswerLost),
        (ABAPRuntimeError("TIME_OUT"), AnswerLost),
        (ABAPRuntimeError("No RFC authorization for function module BAPI_XBP_JOB_OPEN"), RequestRejected),
    ],
)
def test_what_breaks_a_change_is_ambiguous_unless_rights_are_missing(error, kind):
    server = Server()
    server.fails["BAPI_XBP_JOB_OPEN"] = error

    async def test(system):
        with pytest.raises(kind):
            await system.submit(program(), new_key())

    with_system(server, test)


def test_a_lost_connection_is_opened_again_and_logged_on_again_for_reads():
    server = Server()
    server.answers["BAPI_XBP_JOB_COUNT"] = {"NUMBER_OF_JOBS": 0}
    told = iter([{"RETURN": {"TYPE": "E", "ID": "XM", "NUMBER": "028", "MESSAGE": "Not logged on"}}])
    server.answers["BAPI_XBP_JOB_SELECT"] = lambda given: next(told, {"JOB_HEAD": []})

    async def test(system):
        server.fails["BAPI_XMI_LOGON"] = CommunicationError("connection closed")
        with pytest.raises(SystemUnreachable):
            await system.find(new_key())
        await system.find(new_key())

    with_system(server, test)
    assert len(server.opened) == 2
    assert server.calls.count("BAPI_XMI_LOGON") == 3


def test_an_answer_that_does_not_come_in_time_is_ambiguous():
    server = Server()
    server.answers["BAPI_XBP_JOB_OPEN"] = lambda given: time.sleep(1.0) or {}

    async def test(system):
        with pytest.raises(AnswerLost, match="no answer within"):
            await system.submit(program(), new_key())

    with_system(server, test, timeout=0.3)


def test_a_call_that_was_given_up_keeps_its_connection_to_itself():
    server = Server()
    server.answers["BAPI_XBP_JOB_SELECT"] = lambda given: time.sleep(0.5) or {}
    server.answers["BAPI_XBP_JOB_COUNT"] = {"NUMBER_OF_JOBS": 0}

    async def test(system):
        given_up = asyncio.create_task(system.find(new_key()))
        await asyncio.sleep(0.2)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        server.answers["BAPI_XBP_JOB_SELECT"] = {}
        await system.find(new_key())

    with_system(server, test)
    assert len(server.opened) == 2


def test_without_pyrfc_the_message_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyrfc", None)

    async def main():
        async with XbpSystem(SETTINGS, PyRfc(SETTINGS)):
            raise AssertionError("it was opened")

    with pytest.raises(ConnectionInvalid, match="install pyrfc and SAP's NetWeaver RFC SDK"):
        asyncio.run(main())
