"""Function modules over SOAP: ``POST /sap/bc/soap/rfc``, which every ABAP system has and which needs no SDK.

Envelope and namespaces as in SAP's help, "Structure of a SOAP message"; rows of tables are ``<item>``. ICF is stateless
unless told otherwise; XMI's logon lives in the session that the ``sap-contextid`` cookie names, so cookies are replayed
and calls of one session follow one another.

==========================================  ================================================================
what happened                               what is raised
==========================================  ================================================================
no connection, no TLS                       ``SystemUnreachable``: nothing was sent
a certificate that is not trusted           ``ConnectionUntrusted``
cut, time-out, 5xx, HTML                    ``AnswerLost`` for functions that change something, else
                                            ``SystemUnreachable`` (429, 503: ``SystemBusy``)
401                                         ``LoginRefused``; this client sends nothing more
400 "session"                               ``SessionGone``: ICF knows the cookie no more, nothing was run
403, 404                                    ``RequestRejected``: the ICF service is not active or not allowed
a SOAP fault                                as a cut, but ``RequestRejected`` when it is about authorizations
==========================================  ================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from airflow_enterprise_orch.delegation.https import retry_after, trust, unreached
from airflow_enterprise_orch.errors import LoginRefused, RequestRejected, SystemBusy, SystemUnreachable
from airflow_enterprise_orch.systems.sap.rfc import READS, Answer, SessionGone, XbpSettings, about_rights, unclear

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

SERVICE = "/sap/bc/soap/rfc"
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
FUNCTIONS = "urn:sap-com:document:sap:rfc:functions"
ERRORS = "urn:sap-com:document:sap:soap:functions"
LARGEST = 32 * 1024 * 1024
"""Bytes of an answer that are read; a larger one is a table that nobody asked for."""
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class SoapRfc:
    """SAP behind ``/sap/bc/soap/rfc``; implements :class:`~.rfc.Rfc`. One per event loop."""

    def __init__(self, settings: XbpSettings) -> None:
        self.settings = settings
        self._refused: LoginRefused | None = None
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx

        settings = self.settings
        self._client = httpx.AsyncClient(
            base_url=f"https://{settings.address}",
            auth=httpx.BasicAuth(settings.login, settings.password),
            verify=trust(settings.connection, settings.ca_file, verify=settings.verify),
            timeout=httpx.Timeout(settings.timeout, connect=min(10.0, settings.timeout)),
            limits=httpx.Limits(max_connections=1),  # one session, one connection: SAP locks a session while it works
            trust_env=False,  # the connection alone says which way leads to SAP
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def fresh(self) -> None:
        """Forget the session's cookies."""
        self._opened().cookies.clear()

    async def call(self, function: str, /, **parameters: Any) -> Answer:
        """Call a function module."""
        import httpx

        if self._refused is not None:
            raise self._refused
        settings = self.settings
        body = envelope(function, parameters)
        try:
            response = await self._opened().post(
                SERVICE,
                params={"sap-client": settings.client, "sap-language": settings.language},
                headers={"Content-Type": "text/xml; charset=utf-8", "SOAPAction": FUNCTIONS},
                content=body,
            )
        except (httpx.InvalidURL, httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise RequestRejected(f"{settings.where}: {function} cannot be written as a request: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            unreached(settings, "SAP", "SAP's HTTPS port is open", function, error)
        except (httpx.HTTPError, httpx.StreamError) as error:
            unclear(settings.where, function, f"gave no answer ({type(error).__name__})", error)
        self._judge(function, response)
        return self._read(function, response)

    def _judge(self, function: str, response: httpx.Response) -> None:
        """Raise what an answer without SOAP in it means."""
        settings, status = self.settings, response.status_code
        if status == 401:
            self._refused = LoginRefused(
                settings.connection,
                f"{settings.where} refused the login of {settings.login}",
                "correct user, password and client (wrong, expired or locked?) before anything is tried again",
            )
            raise self._refused
        if status == 400 and re.search(r"session", response.text, re.IGNORECASE):
            raise SessionGone(f"{settings.where} has ended the session before {function}; nothing was run")
        if status in (403, 404):
            raise RequestRejected(
                f"{settings.where} answered {status} to {function}: its service {SERVICE} is not active or not "
                f"allowed; activate it in transaction SICF"
            )
        if status in (429, 503) and function in READS:
            raise SystemBusy(f"{settings.where} is busy: {function} was answered {status}", retry_after(response))
        if len(response.content) > LARGEST:
            unclear(settings.where, function, f"answered with more than {LARGEST >> 20} MiB")
        if status not in (200, 500) or "xml" not in response.headers.get("content-type", "").lower():
            unclear(settings.where, function, f"answered {status} with something that is not SOAP")

    def _read(self, function: str, response: httpx.Response) -> Answer:
        where = self.settings.where
        try:
            content = parse(response.content)
        except ValueError as error:
            unclear(where, function, f"answered {response.status_code} with something that is not SOAP", error)
        if content.tag == f"{{{ENVELOPE}}}Fault":
            message = fault_text(content)
            if about_rights(message):
                raise RequestRejected(f"{where} refused {function}: {message}; check S_RFC and S_XMI_PROD")
            unclear(where, function, f"answered with a fault ({message})")
        if content.tag.partition("}")[2] not in (f"{_escaped(function)}.Response", f"{_escaped(function)}Response"):
            unclear(where, function, f"answered with {content.tag.partition('}')[2] or 'something else'}")
        answer = _value(content)
        return answer if isinstance(answer, Mapping) else {}

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            raise SystemUnreachable("the connection to SAP is closed; use it inside its 'async with' block")
        return self._client


def envelope(function: str, parameters: Mapping[str, Any]) -> bytes:
    """Return the SOAP request; :raises RequestRejected: for a text that XML cannot hold."""
    inner = "".join(_written(name, value) for name, value in parameters.items())
    name = _escaped(function)
    return (
        f'<?xml version="1.0" encoding="utf-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE}"><SOAP-ENV:Body>'
        f'<rfc:{name} xmlns:rfc="{FUNCTIONS}">{inner}</rfc:{name}></SOAP-ENV:Body></SOAP-ENV:Envelope>'
    ).encode()


def parse(document: bytes) -> ElementTree.Element:
    """Return the one element in the body of a SOAP envelope; :raises ValueError: when it is none."""
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise ValueError("a SOAP message has no document type")  # SOAP 1.1, 3: and entities are how XML attacks
    try:
        root = ElementTree.fromstring(document)  # noqa: S314 - no document type, so no entities
    except ElementTree.ParseError as error:
        raise ValueError(f"this is no XML: {error}") from error
    body = root.find(f"{{{ENVELOPE}}}Body") if root.tag == f"{{{ENVELOPE}}}Envelope" else None
    if body is None or len(body) == 0:
        raise ValueError("this is no SOAP envelope")
    return body[0]


def fault_text(fault: ElementTree.Element) -> str:
    """Return what a fault says: the function's own error where there is one."""
    detail = [
        (element.text or "").strip()
        for error in fault.iter(f"{{{ERRORS}}}Error")
        for element in error
        if element.tag.rpartition("}")[2] in ("type", "message") and element.text
    ]
    said = (fault.findtext("faultstring") or "").strip()
    return " ".join(": ".join(dict.fromkeys([part for part in (said, *detail) if part])).split()) or "no text"


def _escaped(function: str) -> str:
    return function.replace("/", "_-")


def _written(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        inner = "".join(_written(field, content) for field, content in value.items())
    elif isinstance(value, list | tuple):
        inner = "".join(_written("item", row) for row in value)
    else:
        plain = "" if value is None else str(value)
        if _NOT_XML.search(plain):
            raise RequestRejected(f"SAP parameter {name}: its value holds a character that XML cannot carry")
        inner = escape(plain)
    return f"<{name}>{inner}</{name}>"


def _value(element: ElementTree.Element) -> Any:
    """Return text, a structure, or a table."""
    if len(element) == 0:
        return element.text or ""
    if all(child.tag.rpartition("}")[2] == "item" for child in element):
        return [_value(child) for child in element]
    return {child.tag.rpartition("}")[2]: _value(child) for child in element}
