"""The SOAP that is written and read, without a network."""

import asyncio
from typing import Any

import httpx
import pytest

from airflow_enterprise_orch.errors import AnswerLost, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.sap import soap_rfc
from airflow_enterprise_orch.systems.sap.rfc import XbpSettings
from airflow_enterprise_orch.systems.sap.soap_rfc import SoapRfc, envelope, parse

BODY = (
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"><SOAP-ENV:Body>{}'
    "</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)
FAULT = (
    "<SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><faultstring>{0}</faultstring><detail>"
    '<rfc:Error xmlns:rfc="urn:sap-com:document:sap:soap:functions"><type>{1}</type><message>{0}</message></rfc:Error>'
    "</detail></SOAP-ENV:Fault>"
)


def answered(content: str, function: str = "BAPI_XBP_JOB_SELECT", status: int = 200, kind: str = "text/xml") -> Any:
    """Return what the client makes of an answer."""

    async def main() -> Any:
        settings = XbpSettings("x", "sap.example.com", login="A", password="B")
        async with SoapRfc(settings) as rfc:
            transport = httpx.MockTransport(
                lambda _: httpx.Response(status, text=content, headers={"content-type": kind})
            )
            rfc._client = httpx.AsyncClient(base_url="https://sap.example.com", transport=transport)
            return await rfc.call(function)

    return asyncio.run(main())


def response(inner: str, function: str = "BAPI_XBP_JOB_SELECT") -> str:
    name = f"urn:{function}.Response"
    return BODY.format(f'<{name} xmlns:urn="urn:sap-com:document:sap:rfc:functions">{inner}</{name}>')


def test_scalars_structures_and_tables_are_told_apart():
    inner = "<A>x</A><S><F>1</F></S><T><item><N>a</N></item><item><N>b</N></item></T><E/>"
    assert answered(response(inner)) == {"A": "x", "S": {"F": "1"}, "T": [{"N": "a"}, {"N": "b"}], "E": ""}


def test_what_is_written_is_what_is_read():
    values = {"NAME": "a <b> & 'c' \"d\" é", "ROW": {"LOW": "]]>"}, "TABLE": [{"X": "1"}, {"X": ""}], "NUMBER": 3}
    written = parse(envelope("BAPI_XBP_JOB_OPEN", values))
    assert written.tag == "{urn:sap-com:document:sap:rfc:functions}BAPI_XBP_JOB_OPEN"
    assert soap_rfc._value(written) == {**values, "NUMBER": "3"}


@pytest.mark.parametrize("text", ["\x00", "a\x08", "\ud800"])
def test_a_character_that_xml_cannot_carry_is_refused_before_anything_is_sent(text):
    with pytest.raises(RequestRejected, match="a character that XML cannot carry"):
        envelope("F", {"P": text})


@pytest.mark.parametrize(
    "document",
    ["<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "no xml", "<x/>", BODY.format("")],
)
def test_what_is_no_soap_is_refused(document):
    with pytest.raises(ValueError, match=r"no XML|no SOAP|no document type"):
        parse(document.encode())


@pytest.mark.parametrize(
    ("status", "kind", "content"),
    [
        (200, "text/html", "<html>Logon</html>"),
        (200, "text/xml", "<html/>"),
        (200, "text/xml", response("", "BAPI_XBP_SOMETHING_ELSE")),
        (500, "text/xml", BODY.format(FAULT.format("Time limit exceeded", "SYSTEM_FAILURE"))),
        (502, "text/plain", "bad gateway"),
        (400, "text/plain", "bad request"),
    ],
)
def test_a_senseless_answer_is_ambiguous_only_for_what_changes_something(status, kind, content):
    with pytest.raises(SystemUnreachable):
        answered(content, status=status, kind=kind)
    with pytest.raises(AnswerLost):
        answered(content, "BAPI_XBP_JOB_OPEN", status=status, kind=kind)


@pytest.mark.parametrize("status", [403, 404])
def test_a_service_that_is_not_active_is_named(status):
    with pytest.raises(RequestRejected, match="activate it in transaction SICF"):
        answered("<html/>", "BAPI_XBP_JOB_OPEN", status=status, kind="text/html")


def test_a_missing_right_is_a_refusal_and_not_a_riddle():
    content = BODY.format(
        FAULT.format("No RFC authorization for function module BAPI_XBP_JOB_OPEN", "RFC_NO_AUTHORITY")
    )
    with pytest.raises(RequestRejected, match="check S_RFC and S_XMI_PROD"):
        answered(content, "BAPI_XBP_JOB_OPEN", status=500)


def test_a_password_is_in_no_text():
    settings = XbpSettings("x", "h", login="A", password="s3cret")
    assert "s3cret" not in repr(settings) + settings.where + settings.identity
