"""The stand-in of an SAP system behind SOAP-RFC: ``/sap/bc/soap/rfc`` with XMI and XBP 3.0, before :mod:`.sap_jobs`.

As strict as SAP where that bites: XMI's logon belongs to one session (``sap-contextid``), unknown and missing
parameters are faults, fields have their lengths, tables come back only when the request declares them, a blank USERNAME
in a selection finds nothing, and a job starts only from status P.

``GET /sap/bc/soap/wsdl11?services=BAPI_XMI_LOGON,...`` gives the WSDL.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from airflow_enterprise_orch.lab.sap_functions import FUNCTIONS, INTERFACES, STRUCTURES, wsdl
from airflow_enterprise_orch.lab.sap_http import Operation, SapHttp
from airflow_enterprise_orch.lab.sap_jobs import SapJob, SapJobs, Step

ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"
SERVICE = "/sap/bc/soap/rfc"
SERVER = "lab_LAB_00"
COOKIE = "sap-contextid"
FREE = ("RFC_SYSTEM_INFO", "BAPI_XMI_LOGON")
"""Functions that need no XMI logon."""
KINDS = {
    "BAPI_XBP_JOB_ADD_ABAP_STEP": "submit",
    "BAPI_XBP_JOB_ADD_EXT_STEP": "submit",
    "BAPI_XBP_JOB_SELECT": "find",
    "BAPI_XBP_JOB_COUNT": "find",
    "BAPI_XBP_JOB_STATUS_GET": "poll",
    "BAPI_XBP_JOBLIST_STATUS_GET": "poll",
    "BAPI_XBP_JOB_START_ASAP": "release",
    "BAPI_XBP_JOB_START_IMMEDIATELY": "release",
    "BAPI_XBP_JOB_ABORT": "cancel",
    "BAPI_XBP_DESCHEDULE_JOB": "cancel",
    "BAPI_XBP_JOB_DELETE": "cancel",
    "BAPI_XBP_JOB_JOBLOG_READ": "output",
    "BAPI_XBP_JOB_SPOOLLIST_READ": "output",
}
"""Which function is which operation of the fault plan; the others meet faults on ``any``."""

Values = dict[str, Any]


class AbapFault(Exception):
    """A SOAP fault: the function was not run.

    :param kind: as in ``<type>``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Told(Exception):
    """A function ended with a message of type E."""

    def __init__(self, message_class: str, number: str, text: str) -> None:
        super().__init__(text)
        self.row = {"TYPE": "E", "ID": message_class, "NUMBER": number, "MESSAGE": text}


class SoapRfcStandIn(SapHttp):
    """SAP on 127.0.0.1 and a free port.

    :ivar functions: how often each function was called.
    :ivar audit: XMI's log: one row per XBP call.
    :ivar keeps_sessions: False makes every call a session of its own, as a load balancer without stickiness does.
    :ivar may_use_xmi: False takes the authorization S_XMI_PROD away.
    """

    name: ClassVar[str] = "sap_soap_rfc"
    cannot: ClassVar[tuple[str, ...]] = ()
    connection_type = "sap_xbp"

    def __init__(self) -> None:
        super().__init__(SapJobs(self.user, lambda job: job.name.partition("_")[0]))
        self.sessions: dict[str, bool] = {}
        self.functions: dict[str, int] = {}
        self.audit: list[str] = []
        self.keeps_sessions = self.may_use_xmi = True

    def end_sessions(self) -> None:
        """End all sessions."""
        self.sessions.clear()
        self.functions.clear()

    def failure(self) -> web.StreamResponse:
        """Answer with a fault, as after a short dump."""
        return _fault(AbapFault("SYSTEM_FAILURE", "The lab was told to answer so"))

    async def route(self, request: web.Request, body: str) -> Operation:
        """Tell which function a request calls."""
        if request.path == "/sap/bc/soap/wsdl11" and request.method == "GET":

            async def describe() -> web.StreamResponse:
                return self._wsdl(request)

            return Operation("", "", describe)
        if request.path.rstrip("/") != SERVICE or request.method != "POST":

            async def nothing() -> web.StreamResponse:
                page = "<html><body>404 Resource not found</body></html>"
                return web.Response(status=404, text=page, content_type="text/html")

            return Operation("", "", nothing)
        try:
            function, values = _request(body)
        except (ElementTree.ParseError, AttributeError, IndexError):
            return Operation("any", "", self._no_soap)
        self.functions[function] = self.functions.get(function, 0) + 1

        async def call() -> web.StreamResponse:
            return self._call(request, function, values)

        return Operation(KINDS.get(function, "any"), f"{function} {values}", call)

    async def _no_soap(self) -> web.StreamResponse:
        return _fault(AbapFault("SOAP-ENV:Client", "SOAP processing failure: the request is no SOAP"))

    def _wsdl(self, request: web.Request) -> web.StreamResponse:
        wanted = [name for name in request.query.get("services", "").split(",") if name]
        unknown = [name for name in wanted if name not in INTERFACES]
        if unknown or not wanted:
            return web.Response(status=404, text=f"no such function: {', '.join(unknown)}")
        return web.Response(text=wsdl(wanted, f"{self.url}{SERVICE}"), content_type="text/xml")

    def _call(self, request: web.Request, function: str, values: Values) -> web.StreamResponse:
        """Run a function in its session; the answer carries the session's cookie."""
        session = request.cookies.get(COOKIE, "")
        if session and session not in self.sessions:
            page = "<html><body>400 Session not found</body></html>"
            return web.Response(status=400, text=page, content_type="text/html")
        interface = INTERFACES.get(function)
        if interface is None:
            return _fault(AbapFault("CALL_FUNCTION_NOT_FOUND", f"Function module {function} not found"))
        try:
            _check(function, values)
        except AbapFault as fault:
            return _fault(fault)
        if function == "BAPI_XMI_LOGON":
            return self._log_on(function, values)
        given: Values = {}
        try:
            if function not in FREE:
                if not self.sessions.get(session):
                    raise Told("XM", "028", "Not logged on to interface XBP")
                self.audit.append(function)
            method = getattr(self, f"_{function.removeprefix('BAPI_').lower()}")
            given = method(values) or {}
        except Told as told:
            given = {"RETURN": told.row}
        return _response(function, given, declared=set(values))

    def _log_on(self, function: str, values: Values) -> web.StreamResponse:
        if not self.may_use_xmi:
            row = {"TYPE": "E", "ID": "XM", "NUMBER": "007", "MESSAGE": "No authorization for this XMI product"}
            return _response(function, {"RETURN": row}, declared=set())
        if values["INTERFACE"] != "XBP" or values["VERSION"] not in ("1.0", "2.0", "3.0"):
            row = {"TYPE": "E", "ID": "XM", "NUMBER": "005", "MESSAGE": "Interface or version not supported"}
            return _response(function, {"RETURN": row}, declared=set())
        session = f"SID:ANON:{SERVER}:{secrets.token_urlsafe(24)}-ATT"
        answer = _response(function, {"SESSIONID": secrets.token_hex(12)}, declared=set())
        if self.keeps_sessions:
            self.sessions[session] = True
            answer.set_cookie(COOKIE, session, path="/sap/bc/soap", secure=True)
        return answer

    # The functions, in the order of a job's life.

    def _rfc_system_info(self, values: Values) -> Values:
        return {"RFCSI_EXPORT": {"RFCSYSID": "LAB", "RFCSAPRL": "757", "RFCDEST": SERVER, "RFCHOST": "lab"}}

    def _xmi_logoff(self, values: Values) -> Values:
        self.sessions = {session: False for session in self.sessions}
        return {}

    def _xbp_job_open(self, values: Values) -> Values:
        return {"JOBCOUNT": self.sap.open(values["JOBNAME"], values.get("JOBCLASS") or "C").count}

    def _xbp_job_add_abap_step(self, values: Values) -> Values:
        job = self._editable(values)
        chosen = {
            row["SELNAME"]: row.get("LOW", "") for name in ("SELINFO", "SELINFO_L") for row in values.get(name) or []
        }
        printer = (values.get("ALLPRIPAR") or {}).get("PDEST", "")
        step = Step(values["ABAP_PROGRAM_NAME"], chosen, printer=printer)
        return {"STEP_NUMBER": self._add(job, step)}

    def _xbp_job_add_ext_step(self, values: Values) -> Values:
        step = Step(values["EXT_PROGRAM_NAME"], {"arguments": values.get("EXT_PROGRAM_PARAMETERS", "")}, external=True)
        return {"STEP_NUMBER": self._add(self._editable(values), step)}

    def _add(self, job: SapJob, step: Step) -> int:
        return self.sap.add(job, step, self.faults.fate(f"{job.name} {step.program} {dict(step.values)}"))

    def _xbp_job_close(self, values: Values) -> Values:
        self._editable(values)
        return {}

    def _xbp_job_start_asap(self, values: Values) -> Values:
        job = self._editable(values)
        if not job.steps:
            raise Told("XM", "050", f"Job {job.name} has no steps")
        if values.get("TARGET_SERVER") not in ("", SERVER):
            raise Told("XM", "066", f"Server {values['TARGET_SERVER']} offers no background processing")
        self.sap.release(job)
        return {}

    def _xbp_job_start_immediately(self, values: Values) -> Values:
        if self._job(values).blocked:
            raise Told("XM", "034", "No free background work process for an immediate start")
        return self._xbp_job_start_asap(values)

    def _xbp_job_status_get(self, values: Values) -> Values:
        return {"STATUS": self._job(values).status, "HAS_CHILD": ""}

    def _xbp_job_status_check(self, values: Values) -> Values:
        status = self._job(values).status
        return {"ACTUAL_STATUS": status, "STATUS_ACCORDING_TO_DB": status}

    def _xbp_joblist_status_get(self, values: Values) -> Values:
        told = []
        for row in values.get("JOBLIST") or []:
            job = self.sap.find(row.get("JOBNAME", ""), row.get("JOBCOUNT", ""))
            told.append({**row, "STATUS": job.status if job else "", "HAS_CHILD": ""})
        return {"JOBLIST": told}

    def _xbp_job_select(self, values: Values) -> Values:
        wanted = values["JOB_SELECT_PARAM"]
        if not wanted.get("JOBNAME"):
            raise Told("XM", "042", "Select job name missing")
        flags = {"PRELIM": "P", "SCHEDUL": "S", "READY": "Y", "RUNNING": "R", "FINISHED": "F", "ABORTED": "A"}
        letters = {letter for flag, letter in flags.items() if wanted.get(flag) == "X"}
        if not wanted.get("USERNAME"):
            found: list[SapJob] = []  # as SAP: a blank user is not "any user"
        else:
            found = [job for job in self.sap.like(wanted["JOBNAME"]) if job.status in letters]
            if wanted["USERNAME"] not in ("*", self.user):
                found = []
        keys = [{"JOBNAME": job.name, "JOBCOUNT": job.count} for job in found]
        return {"JOB_HEAD": [_header(job) for job in found], "SELECTED_JOBS": keys, "ERROR_CODE": 0}

    def _xbp_job_count(self, values: Values) -> Values:
        found = self.sap.like(values["JOBNAME"])
        heads = [] if values.get("DONT_LIST_JOBS") == "X" else [_header(job) for job in found]
        return {"NUMBER_OF_JOBS": len(found), "JOB_TABLE": heads}

    def _xbp_job_definition_get(self, values: Values) -> Values:
        job = self._job(values)
        if not job.steps:
            raise Told("XM", "051", f"Job {job.name} has no steps")
        steps = [{"PROGRAM": step.program, "AUTHCKNAM": job.user} for step in job.steps]
        return {"JOB_HEAD": _header(job), "STEP_TBL": steps}

    def _xbp_job_joblog_read(self, values: Values) -> Values:
        job = self._job(values)
        lines = [
            {
                "ENTERDATE": f"{line.at:%Y-%m-%d}",
                "ENTERTIME": f"{line.at:%H:%M:%S}",
                "MSGID": line.message_class,
                "MSGNO": line.number,
                "MSGTYPE": line.kind,
                "TEXT": line.text,
                "RABAXKEY": line.dump,
            }
            for line in job.log
        ]
        return {"JOB_PROTOCOL_NEW" if values.get("PROT_NEW") == "X" else "JOB_PROTOCOL": lines}

    def _xbp_job_spoollist_read(self, values: Values) -> Values:
        step = self._step(values, "STEP_NUMBER")
        if not step.spool:
            raise Told("XM", "063", "No spool list found for this step")
        return {"SPOOL_LIST": [{"LINE": line} for line in step.spool]}

    def _xbp_get_application_rc(self, values: Values) -> Values:
        step = self._step(values, "STEPCOUNT")
        if step.rc is None:
            raise Told("XM", "232", "No step information found")
        return {"APP_RC": step.rc, "APP_RC_DESCR": "", "STATUS": self._job(values).status}

    def _xbp_job_abort(self, values: Values) -> Values:
        job = self._job(values)
        if not self.sap.abort(job):
            raise Told("XM", "055", f"Job {job.name} is not active")
        return {}

    def _xbp_deschedule_job(self, values: Values) -> Values:
        job = self._job(values)
        if not self.sap.deschedule(job):
            raise Told("XM", "056", f"Job {job.name} is not released")
        return {}

    def _xbp_job_delete(self, values: Values) -> Values:
        job = self._job(values)
        if not self.sap.delete(job):
            raise Told("XM", "057", f"Job {job.name} is active and cannot be deleted")
        return {}

    def _job(self, values: Values) -> SapJob:
        job = self.sap.find(values["JOBNAME"], values["JOBCOUNT"])
        if job is None:
            raise Told("XM", "049", f"Job {values['JOBNAME']} {values['JOBCOUNT']} does not exist")
        return job

    def _editable(self, values: Values) -> SapJob:
        job = self._job(values)
        if job.status != "P":
            raise Told("XM", "053", f"Job {job.name} is released already")
        return job

    def _step(self, values: Values, name: str) -> Step:
        job, number = self._job(values), int(values[name])
        if not 1 <= number <= len(job.steps):
            raise Told("XM", "052", f"Job {job.name} has no step {number}")
        return job.steps[number - 1]


def _header(job: SapJob) -> Values:
    return {
        "JOBNAME": job.name,
        "JOBCOUNT": job.count,
        "JOBCLASS": job.job_class,
        "STEPCOUNT": len(job.steps),
        "STATUS": job.status,
        "SDLUNAME": job.user,
        **_stamp("SDLDATE", "SDLTIME", job.created),
        **_stamp("STRTDATE", "STRTTIME", job.started),
        **_stamp("ENDDATE", "ENDTIME", job.ended),
    }


def _stamp(date: str, time: str, moment: datetime | None) -> Values:
    """Return a date and a time; initial ones as ABAP writes them."""
    if moment is None:
        return {date: "0000-00-00", time: "00:00:00"}
    return {date: f"{moment:%Y-%m-%d}", time: f"{moment:%H:%M:%S}"}


def _request(body: str) -> tuple[str, Values]:
    """Return the function and its parameters; raises what the XML parser raises."""
    root = ElementTree.fromstring(body)  # noqa: S314 - a client of the lab
    element = root.find(f"{{{ENVELOPE}}}Body")[0]  # type: ignore[index]  # AttributeError is caught
    namespace, _, function = element.tag.rpartition("}")
    if namespace != "{" + FUNCTIONS:
        raise IndexError(namespace)
    return function.replace("_-", "/"), {child.tag: _content(function, child) for child in element}


def _content(function: str, element: ElementTree.Element) -> Any:
    interface = INTERFACES.get(function)
    if interface is not None and element.tag in interface.tables:
        return [{part.tag: part.text or "" for part in row} for row in element if row.tag == "item"]
    return {part.tag: part.text or "" for part in element} if len(element) else element.text or ""


def _check(function: str, values: Values) -> None:
    """Compare parameters with the interface; :raises AbapFault: as the ABAP runtime would."""
    interface = INTERFACES[function]
    for name, value in values.items():
        kind = interface.takes.get(name) or interface.tables.get(name)
        if kind is None:
            raise AbapFault("CALL_FUNCTION_PARM_UNKNOWN", f"Function {function} has no parameter {name}")
        parts = value if isinstance(value, list) else [value]
        for part in parts:
            if isinstance(part, dict):
                for field_name, content in part.items():
                    known = STRUCTURES.get(kind, {})
                    if field_name not in known:
                        raise AbapFault("SOAP-ENV:Client", f"Structure {kind} has no component {field_name}")
                    _fits(field_name, known[field_name], content)
            elif kind not in STRUCTURES:
                _fits(name, kind, part)
    for name in interface.must:
        if name not in values:
            raise AbapFault("CALL_FUNCTION_PARM_MISSING", f"Function {function}: parameter {name} is missing")
    if "EXTERNAL_USER_NAME" in interface.must and not values["EXTERNAL_USER_NAME"]:
        raise AbapFault("SOAP-ENV:Client", "External user name missing")


def _fits(name: str, kind: str, content: str) -> None:
    if kind.startswith("c") and len(content) > int(kind[1:]):
        raise AbapFault("SOAP-ENV:Client", f"Value of {name} is longer than {kind[1:]} characters")
    if kind == "i" and content and not content.lstrip("-").isdigit():
        raise AbapFault("SOAP-ENV:Client", f"Value of {name} is no integer")


def _response(function: str, given: Mapping[str, Any], *, declared: set[str]) -> web.Response:
    interface = INTERFACES[function]
    inner = []
    for name, kind in interface.gives.items():
        value = given.get(name, {} if kind in STRUCTURES else 0 if kind == "i" else "")
        inner.append(_written(name, kind, value))
    for name, kind in interface.tables.items():
        if name in declared:  # SAP gives back no table that the request does not declare
            table = "".join(_written("item", kind, row) for row in given.get(name, []))
            inner.append(f"<{name}>{table}</{name}>")
    return _xml(
        f'<urn:{function}.Response xmlns:urn="{FUNCTIONS}">{"".join(inner)}</urn:{function}.Response>', status=200
    )


def _written(name: str, kind: str, value: Any) -> str:
    if kind in STRUCTURES:
        parts = "".join(
            _written(part, part_kind, value.get(part, 0 if part_kind == "i" else ""))
            for part, part_kind in STRUCTURES[kind].items()
        )
        return f"<{name}>{parts}</{name}>"
    return f"<{name}>{escape(str(value))}</{name}>"


def _fault(fault: AbapFault) -> web.Response:
    who = "Client" if fault.kind == "SOAP-ENV:Client" else "Server"
    detail = (
        f'<rfc:Error xmlns:rfc="urn:sap-com:document:sap:soap:functions"><type>{escape(fault.kind)}</type>'
        f"<message>{escape(str(fault))}</message></rfc:Error>"
    )
    return _xml(
        f"<SOAP-ENV:Fault><faultcode>SOAP-ENV:{who}</faultcode><faultstring>{escape(str(fault))}</faultstring>"
        f"<detail>{detail}</detail></SOAP-ENV:Fault>",
        status=500,
    )


def _xml(content: str, *, status: int) -> web.Response:
    text = (
        f'<?xml version="1.0" encoding="utf-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE}">'
        f"<SOAP-ENV:Body>{content}</SOAP-ENV:Body></SOAP-ENV:Envelope>"
    )
    return web.Response(text=text, status=status, content_type="text/xml")
