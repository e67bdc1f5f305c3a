"""The stand-in of S/4HANA's application jobs over OData V2, in front of :mod:`.sap_jobs`.

As strict as SAP's gateway where that bites: a POST wants a CSRF token of the same session, parameters of function
imports are literals in the URL and have their lengths, a job that never started vanishes when it is cancelled.

Job templates: ``ZLAB_PROGRAM`` (``P_SLEEP``, ``P_SAY``, ``P_RC``, ``P_ABEND``, ``P_WARN``) and ``ZPOST_INVOICE``
(``P_ORDER``, ``P_AMOUNT``, ``P_CUST``), and those of :mod:`.company`.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from airflow_enterprise_orch.lab.company import JOB_TEMPLATES
from airflow_enterprise_orch.lab.sap_http import Operation, SapHttp
from airflow_enterprise_orch.lab.sap_jobs import SapJob, SapJobs, Step
from airflow_enterprise_orch.lab.sap_odata_model import ENTITIES, FUNCTIONS, metadata

SERVICE = "/sap/opu/odata/sap/bc_ext_appjob_management;v=0002"
COOKIE = "SAP_SESSIONID_LAB_100"
TEMPLATES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ZLAB_PROGRAM": ("ZLABPROG", ("P_SLEEP", "P_SAY", "P_RC", "P_ABEND", "P_WARN")),
    "ZPOST_INVOICE": ("ZPOST_INVOICE", ("P_ORDER", "P_AMOUNT", "P_CUST")),
    **JOB_TEMPLATES,
}
"""Job templates: their program and parameters."""
STATUS_TEXTS = {"F": "Finished", "W": "Finished with warning", "A": "Failed", "U": "User error", "C": "Canceled",
                "c": "Being canceled", "R": "In process", "P": "Scheduled", "S": "Released", "Y": "Ready"}  # fmt: skip
KINDS = {
    "JobSchedule": "submit",
    "JobListGet": "find",
    "JobStatusGet": "poll",
    "JobHeaderSet": "poll",
    "JobCancel": "cancel",
    "JobAbort": "cancel",
    "JobinfoGet": "output",
}
Document = dict[str, Any]


class Refused(Exception):
    """An OData error.

    :param code: SAP's message, as ``APJ_RT/003``.
    """

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.status = status


class OdataStandIn(SapHttp):
    """S/4HANA on 127.0.0.1 and a free port.

    :ivar page: how many entities one page has, as the server decides.
    :ivar shape: how a single entity comes: ``entity``, ``results`` or ``named``.
    :ivar may_schedule: False takes the authorization away.
    :ivar filters: False makes the service refuse ``$filter``.
    """

    name: ClassVar[str] = "sap_odata"
    cannot: ClassVar[tuple[str, ...]] = ()
    connection_type = "sap_odata"

    def __init__(self) -> None:
        super().__init__(SapJobs(self.user, lambda job: job.text))
        self.tokens: dict[str, str] = {}
        self.page = 1000
        self.shape = "entity"
        self.may_schedule = self.filters = True
        self.token_fetches = 0

    def end_sessions(self) -> None:
        """End all sessions; their tokens are worth nothing then."""
        self.tokens.clear()

    def failure(self) -> web.StreamResponse:
        """Answer as after a short dump."""
        return _error(Refused("/IWBEP/CX_MGW_TECH_EXCEPTION", "The lab was told to answer so", 500))

    async def route(self, request: web.Request, body: str) -> Operation:
        """Tell what a request asks for."""
        path, _, raw_query = request.raw_path.partition("?")
        path = unquote(path)
        resource = path[len(SERVICE) :].strip("/") if path.lower().startswith(SERVICE) else None
        named = re.match(r"[A-Za-z]*", resource or "")
        kind = KINDS.get(named[0] if named else "", "any")
        if kind == "poll" and "$expand" in raw_query:
            kind = "output"
        if resource is not None and resource in ("", "$metadata"):
            kind = ""

        async def answer() -> web.StreamResponse:
            return self._answer(request, resource, dict(parse_qsl(raw_query, keep_blank_values=True)))

        return Operation(kind, unquote(request.raw_path), answer)

    def _answer(self, request: web.Request, resource: str | None, query: dict[str, str]) -> web.StreamResponse:
        if resource is None:
            page = "<html><body>404 Resource not found</body></html>"
            return web.Response(status=404, text=page, content_type="text/html")
        try:
            if resource == "$metadata":
                answer = web.Response(text=metadata(), content_type="application/xml")
            elif resource == "":
                answer = web.json_response({"d": {"EntitySets": [entity.set_name for entity in ENTITIES.values()]}})
            elif request.method == "POST":
                answer = self._post(request, resource, query)
            elif request.method in ("GET", "HEAD"):
                answer = web.json_response({"d": self._read(resource, query)})
            else:
                raise Refused("/IWFND/CM_BEC/026", "Method not allowed", 405)
        except Refused as error:
            return _error(error)
        if request.headers.get("x-csrf-token", "").lower() == "fetch":
            self.token_fetches += 1
            session, token = secrets.token_urlsafe(24), secrets.token_urlsafe(16)
            self.tokens[session] = token
            answer.headers["x-csrf-token"] = token
            answer.set_cookie(COOKIE, session, path="/", secure=True, httponly=True)
        return answer

    def _post(self, request: web.Request, resource: str, query: dict[str, str]) -> web.Response:
        token = self.tokens.get(request.cookies.get(COOKIE, ""))
        if token is None or request.headers.get("x-csrf-token") != token:
            text = "CSRF token validation failed"
            return web.Response(status=403, text=text, headers={"x-csrf-token": "Required"})
        if not self.may_schedule:
            raise Refused("/IWFND/CM_MGW/096", "No authorization to access the service", 403)
        values = _parameters(resource, query, "POST")
        entity = getattr(self, f"_{_snake(resource)}")(values)
        if self.shape == "results":
            return web.json_response({"d": {"results": [entity]}})
        return web.json_response({"d": {resource: entity} if self.shape == "named" else entity})

    def _read(self, resource: str, query: dict[str, str]) -> Document:
        if resource in FUNCTIONS:
            values = _parameters(resource, query, "GET")
            told: Any = getattr(self, f"_{_snake(resource)}")(values)
            return {"results": told} if isinstance(told, list) else told
        if resource == "JobHeaderSet":
            return self._headers(query)
        if resource == "JobStatusInfoSet":
            return {"results": [{"JobStatus": letter, "JobStatusText": text} for letter, text in STATUS_TEXTS.items()]}
        if resource == "JobTemplateSet":
            rows = [{"JobTemplateName": name, "JobTemplateVersion": "A", "JobTemplateText": name} for name in TEMPLATES]
            return {"results": rows}
        keyed = re.fullmatch(r"JobHeaderSet\((.*)\)", resource)
        if keyed is None:
            raise Refused("/IWFND/CM_BEC/026", f"Resource not found for segment '{resource}'", 404)
        keys = dict(re.findall(r"(\w+)='((?:[^']|'')*)'", keyed[1]))
        job = self.sap.find(keys.get("JobName", "").replace("''", "'"), keys.get("JobRunCount", ""))
        if job is None:
            raise Refused("/IWBEP/CM_MGW_RT/020", "Resource not found for segment 'JobHeader'", 404)
        header = _header(job)
        if query.get("$expand"):
            header["JobStepSet"] = {"results": _expanded_steps(job)}
        return header

    def _headers(self, query: dict[str, str]) -> Document:
        """Return one page of jobs; ``__next`` when the server has more than it gives at once."""
        found = [_header(job) for job in self.sap.table]
        if "$filter" in query:
            if not self.filters:
                raise Refused("/IWBEP/CM_MGW_RT/021", "Filter is not supported")
            found = [header for header in found if _fits(header, query["$filter"])]
        skip = int(query.get("$skip", 0)) + int(query.get("$skiptoken", 0))
        top = int(query.get("$top", len(found)))
        wanted = found[skip : skip + top]
        page = wanted[: self.page]
        names = [name for name in query.get("$select", "").split(",") if name]
        if names:
            page = [{name: header[name] for name in names} for header in page]
        answer: Document = {"results": page}
        if len(wanted) > len(page):
            answer["__next"] = f"{self.url}{SERVICE}/JobHeaderSet?$skiptoken={skip + len(page)}"
        return answer

    # The function imports.

    def _job_schedule(self, values: Document) -> Document:
        program, chosen, problem = _template(values)
        if program is None:
            raise Refused("APJ_RT/003", f"Job template {values['JobTemplateName']} does not exist")
        if problem:
            raise Refused("APJ_RT/017", problem)
        job = self.sap.open(secrets.token_hex(16).upper(), text=values["JobText"])
        job.template = values["JobTemplateName"]
        self.sap.add(job, Step(program, chosen), self.faults.fate(f"{job.text} {program} {chosen}"))
        self.sap.release(job)
        return {"JobName": job.name, "JobRunCount": job.count, "JobStatus": job.seen, "ReturnCode": 0}

    def _job_schedule_check(self, values: Document) -> Document:
        program, _, problem = _template(values)
        if program is None:
            raise Refused("APJ_RT/003", f"Job template {values['JobTemplateName']} does not exist")
        return {
            "JobParameterValues": values.get("JobParameterValues", ""),
            "SuccessfulInd": not problem,
            "ChangedInd": False,
            "DynamicProperties": "",
            "ErrMessages": problem,
        }

    def _job_cancel(self, values: Document) -> Document:
        job = self._job(values)
        if job.status not in ("P", "S", "Y"):
            raise Refused("APJ_RT/021", "The job has started or ended; it cannot be canceled")
        return {"ReturnCode": 0 if self.sap.delete(job) else 4}

    def _job_abort(self, values: Document) -> Document:
        if not self.sap.abort(self._job(values), "C"):
            raise Refused("APJ_RT/022", "The job is not running; it cannot be aborted")
        return {"ReturnCode": 0}

    def _job_restart(self, values: Document) -> Document:
        old = self._job(values)
        if old.status != "A" and old.letter not in ("U", "C"):
            raise Refused("APJ_RT/030", "Only failed jobs can be restarted")
        if values["JobRestartMode"] not in ("E", "A"):
            raise Refused("APJ_RT/031", f"Restart mode {values['JobRestartMode']} does not exist")
        job = self.sap.open(old.name, text=old.text)
        job.template = old.template
        steps = [Step(step.program, {**step.values, "P_ABEND": ""}) for step in old.steps]
        for step in steps if values["JobRestartMode"] == "E" else steps[1:] or [Step("ZLABPROG", {})]:
            self.sap.add(job, step, [])
        self.sap.release(job)
        return {"JobName": job.name, "JobRunCount": job.count, "JobStatus": job.seen, "ReturnCode": 0}

    def _job_status_get(self, values: Document) -> Document:
        job = self._job(values)
        return {"JobName": job.name, "JobRunCount": job.count, "JobStatus": job.seen, "ReturnCode": 0}

    def _jobinfo_get(self, values: Document) -> list[Document]:
        job = self._job(values)
        common = {
            "JobName": job.name,
            "JobRunCount": job.count,
            "JobStatus": job.seen,
            "JobSdlDateTime": _edm(job.created),
            "JobStartDateTime": _edm(job.started),
            "JobEndDateTime": _edm(job.ended),
            "JobAppRC": _rc(job),
        }
        return [
            {
                **common,
                "StepCount": number,
                "StepStatus": job.seen,
                "StepStartDateTime": _edm(job.started),
                "StepAppRC": step.rc or 0,
            }
            for number, step in enumerate(job.steps, 1)
        ]

    def _job_list_get(self, values: Document) -> list[Document]:
        found = [job for job in self.sap.table if values.get("JobText") in (None, "", job.text)]
        found = [job for job in found if values.get("JobName") in (None, "", job.name)]
        found = [job for job in found if values.get("TemplateName") in (None, "", job.template)]
        return [
            {
                "JobName": job.name,
                "JobRunCount": job.count,
                "JobText": job.text,
                "TemplateName": job.template,
                "JobCreator": job.user,
                "NrSteps": len(job.steps),
                "JobStatus": job.seen,
                "JobCreaDateTime": _edm(job.created),
                "JobStartDateTime": _edm(job.started),
                "JobEndDateTime": _edm(job.ended),
                "JobAppRC": _rc(job),
            }
            for job in found
        ]

    def _job(self, values: Document) -> SapJob:
        job = self.sap.find(values["JobName"], values["JobRunCount"])
        if job is None:
            raise Refused("APJ_RT/003", f"Job {values['JobName']} {values['JobRunCount']} does not exist")
        return job


def _parameters(resource: str, query: dict[str, str], method: str) -> Document:
    """Read the literals of a function import's parameters; :raises Refused: as the gateway does."""
    function = FUNCTIONS.get(resource)
    if function is None:
        raise Refused("/IWFND/CM_BEC/026", f"Resource not found for segment '{resource}'", 404)
    if function.method != method:
        raise Refused("/IWFND/CM_BEC/026", f"Function import {resource} needs {function.method}", 405)
    values: Document = {}
    for name, told in query.items():
        if name.startswith(("$", "sap-")):
            continue
        kind = function.takes.get(name)
        if kind is None:
            raise Refused("/IWBEP/CM_MGW_RT/040", f"Invalid function import parameter '{name}'")
        if kind == "Boolean":
            values[name] = told == "true"
        elif kind == "DateTime":
            values[name] = told.removeprefix("datetime")
        else:
            quoted = re.fullmatch(r"'((?:[^']|'')*)'", told)
            if quoted is None:
                raise Refused("/IWFND/CM_BEC/034", f"Malformed URI literal syntax in {name}")
            values[name] = quoted[1].replace("''", "'")
            if isinstance(kind, int) and len(values[name]) > kind:
                raise Refused("/IWFND/CM_BEC/038", f"Value of '{name}' violates facet information 'MaxLength={kind}'")
    for name in function.must:
        if name not in values:
            raise Refused("/IWBEP/CM_MGW_RT/041", f"Parameter '{name}' of {resource} is missing")
    return values


def _template(values: Document) -> tuple[str | None, dict[str, str], str]:
    """Return a template's program (None when there is no such template), the values, and what is wrong with them."""
    known = TEMPLATES.get(values["JobTemplateName"])
    if known is None:
        return None, {}, ""
    program, names = known
    try:
        told = json.loads(values.get("JobParameterValues") or '{"VALUES": []}')["VALUES"]
        chosen = {entry["NAME"]: ",".join(row["LOW"] for row in entry["T_VALUE"]) for entry in told}
    except (ValueError, KeyError, TypeError):
        return program, {}, "JobParameterValues is not readable"
    unknown = [name for name in chosen if name not in names]
    if unknown:
        return program, chosen, f"E: parameter {', '.join(unknown)} does not exist in {values['JobTemplateName']}"
    if not re.fullmatch(r"-?\d*", chosen.get("P_RC", "")):
        return program, chosen, "E: P_RC is not a number"
    return program, chosen, ""


def _header(job: SapJob) -> Document:
    return {
        "JobName": job.name,
        "JobRunCount": job.count,
        "JobText": job.text,
        "JobTemplateName": job.template,
        "JobTemplateText": job.template,
        "JobCreatedBy": job.user,
        "JobStatus": job.seen,
        "JobPlannedStartDateTime": _digits(job.created),
        "JobCreaDateTime": _digits(job.created),
        "JobStartDateTime": _digits(job.started),
        "JobEndDateTime": _digits(job.ended),
        "JobStepCount": len(job.steps),
        "OrigJobName": "",
        "OrigJobCount": "",
        "JobRestartCount": 0,
    }


def _expanded_steps(job: SapJob) -> list[Document]:
    """Return the steps with their logs; the lab keeps one application log, of the first step."""
    keys = {"JobName": job.name, "JobRunCount": job.count}
    steps: list[Document] = []
    for number, step in enumerate(job.steps, 1):
        handle = f"LAB{job.count}{number:011d}"
        messages = [
            {
                **keys,
                "StepNumber": number,
                "LogHandle": handle,
                "MsgNumber": f"{index:06d}",
                "MsgType": line.kind,
                "MsgId": line.message_class,
                "MsgNo": line.number,
                "MsgText": line.text,
            }
            for index, line in enumerate(job.log, 1)
            if number == 1
        ]
        log = {**keys, "StepNumber": number, "LogHandle": handle, "MsgCntAll": len(messages), "Severity": "I"}
        steps.append(
            {
                **keys,
                "StepNumber": number,
                "JobCatalogEntryName": step.program,
                "StepStatus": job.seen,
                "StepAppRC": step.rc or 0,
                "NrOfLogs": 1,
                "JobStepLogInfoSet": {"results": [{**log, "JobLogMessageSet": {"results": messages}}]},
            }
        )
    return steps


def _fits(header: Document, condition: str) -> bool:
    """True where a filter of comparisons with texts, joined by ``and``, fits; :raises Refused: for any other."""
    for part in condition.split(" and "):
        found = re.fullmatch(r"(\w+) (eq|ge|le) '((?:[^']|'')*)'", part.strip())
        if found is None or found[1] not in header:
            raise Refused("/IWBEP/CM_MGW_RT/022", f"Filter '{part}' is not supported")
        value, wanted = str(header[found[1]]), found[3].replace("''", "'")
        if found[1].endswith("DateTime") and len(wanted) > 20:
            raise Refused("/IWFND/CM_BEC/038", f"Value '{wanted}' violates facet information 'MaxLength=20'")
        if not {"eq": value == wanted, "ge": value >= wanted, "le": value <= wanted}[found[2]]:
            return False
    return True


def _rc(job: SapJob) -> int:
    return next((step.rc for step in reversed(job.steps) if step.rc is not None), 0)


def _digits(moment: datetime | None) -> str:
    return f"{moment:%Y%m%d%H%M%S}" if moment else ""


def _edm(moment: datetime | None) -> str | None:
    return f"/Date({int(moment.timestamp()) * 1000})/" if moment else None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _error(error: Refused) -> web.Response:
    told = {"error": {"code": error.code, "message": {"lang": "en", "value": str(error)}, "innererror": {}}}
    return web.json_response(told, status=error.status)
