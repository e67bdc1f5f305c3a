"""The interfaces of the function modules that the SOAP-RFC stand-in has, and the WSDL made from them.

From the parameter lists of function group SXBP (SE37). A scalar's type is ``c<length>``, ``i`` (INT4), ``d`` (date) or
``t`` (time); a structure is the name of one; tables are tables of structures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

FUNCTIONS = "urn:sap-com:document:sap:rfc:functions"

STRUCTURES: Mapping[str, Mapping[str, str]] = {
    "BAPIRET2": {
        "TYPE": "c1", "ID": "c20", "NUMBER": "c3", "MESSAGE": "c220", "LOG_NO": "c20", "LOG_MSG_NO": "c6",
        "MESSAGE_V1": "c50", "MESSAGE_V2": "c50", "MESSAGE_V3": "c50", "MESSAGE_V4": "c50", "PARAMETER": "c32",
        "ROW": "i", "FIELD": "c30", "SYSTEM": "c10",
    },
    "BAPIXMJSEL": {
        "JOBNAME": "c32", "JOBCOUNT": "c8", "JOBGROUP": "c12", "USERNAME": "c12", "FROM_DATE": "d", "FROM_TIME": "t",
        "TO_DATE": "d", "TO_TIME": "t", "NO_DATE": "c1", "WITH_PRED": "c1", "EVENTID": "c32", "EVENTPARM": "c64",
        "PRELIM": "c1", "SCHEDUL": "c1", "READY": "c1", "RUNNING": "c1", "FINISHED": "c1", "ABORTED": "c1",
    },
    "BAPIXMJOB": {
        "JOBNAME": "c32", "JOBCOUNT": "c8", "JOBCLASS": "c1", "STEPCOUNT": "i", "STATUS": "c1", "SDLUNAME": "c12",
        "SDLDATE": "d", "SDLTIME": "t", "STRTDATE": "d", "STRTTIME": "t", "ENDDATE": "d", "ENDTIME": "t",
    },
    "BAPIXMJOBS": {"JOBNAME": "c32", "JOBCOUNT": "c8"},
    "BAPIXMJOBST": {"JOBNAME": "c32", "JOBCOUNT": "c8", "STATUS": "c1", "HAS_CHILD": "c1"},
    "BAPIXMSTEP": {"PROGRAM": "c128", "PARAMETER": "c255", "AUTHCKNAM": "c12", "LANGUAGE": "c2"},
    "BAPIPRIPAR": {"PDEST": "c4", "PRIMM": "c1", "PRREL": "c1", "PEXPI": "c1", "LINSZ": "i", "LINCT": "i"},
    "RSPARAMS": {"SELNAME": "c8", "KIND": "c1", "SIGN": "c1", "OPTION": "c2", "LOW": "c45", "HIGH": "c45"},
    "RSPARAMSL": {"SELNAME": "c8", "KIND": "c1", "SIGN": "c1", "OPTION": "c2", "LOW": "c255", "HIGH": "c255"},
    "TBTC5": {
        "ENTERDATE": "d", "ENTERTIME": "t", "MSGID": "c20", "MSGNO": "c3", "MSGTYPE": "c1", "TEXT": "c220",
        "RABAXKEY": "c255",
    },
    "BAPIXMSPOW": {"LINE": "c255"},
    "RFCSI": {"RFCSYSID": "c8", "RFCSAPRL": "c4", "RFCDEST": "c32", "RFCHOST": "c8"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interface:
    """One function module: what goes in, what comes out, and its tables."""

    takes: Mapping[str, str] = field(default_factory=dict)
    must: tuple[str, ...] = ()
    gives: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)


_WHO = {"EXTERNAL_USER_NAME": "c16"}
_JOB = {**_WHO, "JOBNAME": "c32", "JOBCOUNT": "c8"}
_NEEDS_JOB = ("EXTERNAL_USER_NAME", "JOBNAME", "JOBCOUNT")
_RETURN = {"RETURN": "BAPIRET2"}


def _job(
    takes: Mapping[str, str] | None = None,
    gives: Mapping[str, str] | None = None,
    tables: Mapping[str, str] | None = None,
    must: tuple[str, ...] = (),
) -> Interface:
    return Interface({**_JOB, **(takes or {})}, (*_NEEDS_JOB, *must), {**_RETURN, **(gives or {})}, tables or {})


_START = {"TARGET_SERVER": "c20", "TARGET_GROUP": "c20"}
INTERFACES: Mapping[str, Interface] = {
    "RFC_SYSTEM_INFO": Interface(gives={"RFCSI_EXPORT": "RFCSI"}),
    "BAPI_XMI_LOGON": Interface(
        {"EXTCOMPANY": "c16", "EXTPRODUCT": "c16", "INTERFACE": "c3", "VERSION": "c10"},
        ("EXTCOMPANY", "EXTPRODUCT", "INTERFACE", "VERSION"),
        {"SESSIONID": "c24", **_RETURN},
    ),
    "BAPI_XMI_LOGOFF": Interface({"INTERFACE": "c3"}, ("INTERFACE",), _RETURN),
    "BAPI_XBP_JOB_OPEN": Interface(
        {**_WHO, "JOBNAME": "c32", "JOBCLASS": "c1"}, ("EXTERNAL_USER_NAME", "JOBNAME"), {"JOBCOUNT": "c8", **_RETURN}
    ),
    "BAPI_XBP_JOB_ADD_ABAP_STEP": _job(
        {
            "ABAP_PROGRAM_NAME": "c40",
            "ABAP_VARIANT_NAME": "c14",
            "SAP_USER_NAME": "c12",
            "LANGUAGE": "c2",
            "ALLPRIPAR": "BAPIPRIPAR",
        },
        {"STEP_NUMBER": "i"},
        {"SELINFO": "RSPARAMS", "SELINFO_L": "RSPARAMSL"},
        ("ABAP_PROGRAM_NAME",),
    ),
    "BAPI_XBP_JOB_ADD_EXT_STEP": _job(
        {
            "EXT_PROGRAM_NAME": "c128",
            "EXT_PROGRAM_PARAMETERS": "c255",
            "SAP_USER_NAME": "c12",
            "TARGET_HOST": "c32",
            "WAIT_FOR_TERMINATION": "c1",
        },
        {"STEP_NUMBER": "i"},
        must=("EXT_PROGRAM_NAME", "TARGET_HOST"),
    ),
    "BAPI_XBP_JOB_CLOSE": _job(),
    "BAPI_XBP_JOB_START_ASAP": _job(_START, must=("TARGET_SERVER",)),
    "BAPI_XBP_JOB_START_IMMEDIATELY": _job(_START, must=("TARGET_SERVER",)),
    "BAPI_XBP_JOB_STATUS_GET": _job(gives={"STATUS": "c1", "HAS_CHILD": "c1"}),
    "BAPI_XBP_JOB_STATUS_CHECK": _job(gives={"ACTUAL_STATUS": "c1", "STATUS_ACCORDING_TO_DB": "c1"}),
    "BAPI_XBP_JOBLIST_STATUS_GET": Interface(_WHO, ("EXTERNAL_USER_NAME",), _RETURN, {"JOBLIST": "BAPIXMJOBST"}),
    "BAPI_XBP_JOB_DEFINITION_GET": _job(gives={"JOB_HEAD": "BAPIXMJOB"}, tables={"STEP_TBL": "BAPIXMSTEP"}),
    "BAPI_XBP_JOB_SELECT": Interface(
        {**_WHO, "JOB_SELECT_PARAM": "BAPIXMJSEL", "SELECTION": "c2"},
        ("EXTERNAL_USER_NAME", "JOB_SELECT_PARAM"),
        {"ERROR_CODE": "i", **_RETURN},
        {"JOB_HEAD": "BAPIXMJOB", "SELECTED_JOBS": "BAPIXMJOBS"},
    ),
    "BAPI_XBP_JOB_COUNT": Interface(
        {**_WHO, "JOBNAME": "c32", "DONT_LIST_JOBS": "c1"},
        ("EXTERNAL_USER_NAME", "JOBNAME"),
        {"NUMBER_OF_JOBS": "i", **_RETURN},
        {"JOB_TABLE": "BAPIXMJOB"},
    ),
    "BAPI_XBP_JOB_JOBLOG_READ": _job(
        {"PROT_NEW": "c1", "LINES": "i", "DIRECTION": "c1"},
        tables={"JOB_PROTOCOL": "TBTC5", "JOB_PROTOCOL_NEW": "TBTC5"},
    ),
    "BAPI_XBP_JOB_SPOOLLIST_READ": _job(
        {"STEP_NUMBER": "i"}, tables={"SPOOL_LIST": "BAPIXMSPOW"}, must=("STEP_NUMBER",)
    ),
    "BAPI_XBP_GET_APPLICATION_RC": _job(
        {"STEPCOUNT": "i"}, {"APP_RC": "i", "APP_RC_DESCR": "c60", "STATUS": "c1"}, must=("STEPCOUNT",)
    ),
    "BAPI_XBP_JOB_ABORT": _job(),
    "BAPI_XBP_DESCHEDULE_JOB": _job(),
    "BAPI_XBP_JOB_DELETE": _job(),
}


def wsdl(functions: list[str], location: str) -> str:
    """Return the WSDL 1.1 of some functions, document/literal, as ``/sap/bc/soap/wsdl11`` gives it."""
    types = [_structure(name, fields) for name, fields in STRUCTURES.items()]
    types += [_table(name) for name in STRUCTURES]
    elements, messages, operations, bindings = [], [], [], []
    for name in functions:
        interface = INTERFACES[name]
        given = [_element(part, kind, required=part in interface.must) for part, kind in interface.takes.items()]
        tables = [_element(part, f"TABLE_OF_{kind}", required=False) for part, kind in interface.tables.items()]
        back = [_element(part, kind, required=False) for part, kind in interface.gives.items()]
        elements.append(_holder(name, given + tables))
        elements.append(_holder(f"{name}.Response", back + tables))
        messages.append(f'<message name="{name}Input"><part name="parameters" element="s0:{name}"/></message>')
        messages.append(
            f'<message name="{name}Output"><part name="parameters" element="s0:{name}.Response"/></message>'
        )
        operations.append(
            f'<operation name="{name}"><input message="s0:{name}Input"/><output message="s0:{name}Output"/></operation>'
        )
        bindings.append(
            f'<operation name="{name}"><soap:operation soapAction="http://www.sap.com/{name}"/>'
            f'<input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation>'
        )
    return (
        f'<?xml version="1.0" encoding="utf-8"?><definitions xmlns="http://schemas.xmlsoap.org/wsdl/" '
        f'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
        f'xmlns:s0="{FUNCTIONS}" targetNamespace="{FUNCTIONS}"><types><xsd:schema targetNamespace="{FUNCTIONS}">'
        f"{''.join(types)}{''.join(elements)}</xsd:schema></types>{''.join(messages)}"
        f'<portType name="RFCPortType">{"".join(operations)}</portType>'
        f'<binding name="RFCBinding" type="s0:RFCPortType">'
        f'<soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>{"".join(bindings)}</binding>'
        f'<service name="RFCService"><port name="RFCPortType" binding="s0:RFCBinding">'
        f"<soap:address location={quoteattr(location)}/></port></service></definitions>"
    )


def _element(name: str, kind: str, *, required: bool) -> str:
    least = "" if required else ' minOccurs="0"'
    if kind in STRUCTURES or kind.startswith("TABLE_OF_"):
        return f'<xsd:element name="{name}" type="s0:{kind}"{least}/>'
    if kind == "i":
        return f'<xsd:element name="{name}" type="xsd:int"{least}/>'
    longest = {"d": "10", "t": "8"}.get(kind) or kind[1:]
    return (
        f'<xsd:element name="{name}"{least}><xsd:simpleType><xsd:restriction base="xsd:string">'
        f'<xsd:maxLength value="{longest}"/></xsd:restriction></xsd:simpleType></xsd:element>'
    )


def _structure(name: str, fields: Mapping[str, str]) -> str:
    inner = "".join(_element(part, kind, required=False) for part, kind in fields.items())
    return f'<xsd:complexType name="{name}"><xsd:sequence>{inner}</xsd:sequence></xsd:complexType>'


def _table(name: str) -> str:
    row = f'<xsd:element name="item" type="s0:{name}" minOccurs="0" maxOccurs="unbounded"/>'
    return f'<xsd:complexType name="TABLE_OF_{name}"><xsd:sequence>{row}</xsd:sequence></xsd:complexType>'


def _holder(name: str, parts: list[str]) -> str:
    inner = f"<xsd:complexType><xsd:all>{''.join(parts)}</xsd:all></xsd:complexType>"
    return f'<xsd:element name="{name}">{inner}</xsd:element>'
