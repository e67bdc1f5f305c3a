"""The model of the service BC_EXT_APPJOB_MANAGEMENT that the OData stand-in has, as its ``$metadata`` tells it.

From the service's metadata as SAP publishes it: names, types, lengths and keys. The parts that schedule, watch and stop
jobs are here; those that describe templates are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

NAMESPACE = "BC_EXT_APPJOB_MANAGEMENT"


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity type: its set, its keys, its properties (a length, or an EDM type), and where it leads."""

    set_name: str
    keys: tuple[str, ...]
    properties: Mapping[str, int | str]
    leads: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Function:
    """One function import."""

    method: str
    gives: str
    many: bool
    takes: Mapping[str, int | str]
    must: tuple[str, ...] = ()


_JOB: Mapping[str, int | str] = {"JobName": 32, "JobRunCount": 8}
_STEP: Mapping[str, int | str] = {**_JOB, "StepNumber": "Int32"}
_LOG: Mapping[str, int | str] = {**_STEP, "LogHandle": 22}

ENTITIES: Mapping[str, Entity] = {
    "JobHeader": Entity(
        "JobHeaderSet",
        ("JobName", "JobRunCount"),
        {
            **_JOB, "JobText": 120, "JobTemplateName": 40, "JobTemplateText": 120, "JobCreatedBy": 12, "JobStatus": 1,
            "JobPlannedStartDateTime": 20, "JobCreaDateTime": 20, "JobStartDateTime": 20, "JobEndDateTime": 20,
            "JobStepCount": "Int32", "OrigJobName": 32, "OrigJobCount": 8, "JobRestartCount": "Int32",
        },
        {"JobStepSet": "JobStep"},
    ),
    "JobStep": Entity(
        "JobStepSet",
        ("JobName", "JobRunCount", "StepNumber"),
        {**_STEP, "JobCatalogEntryName": 40, "StepStatus": 1, "StepAppRC": "Int32", "NrOfLogs": "Int32"},
        {"JobStepLogInfoSet": "JobStepLogInfo"},
    ),
    "JobStepLogInfo": Entity(
        "JobStepLogInfoSet",
        ("JobName", "JobRunCount", "StepNumber", "LogHandle"),
        {**_LOG, "MsgCntAll": "Int32", "Severity": 1},
        {"JobLogMessageSet": "JobLogMessage"},
    ),
    "JobLogMessage": Entity(
        "JobLogMessageSet",
        ("JobName", "JobRunCount", "StepNumber", "LogHandle", "MsgNumber"),
        {**_LOG, "MsgNumber": 6, "MsgType": 1, "MsgId": 20, "MsgNo": 3, "MsgText": 220},
    ),
    "Joblist": Entity(
        "JoblistSet",
        ("JobName", "JobRunCount"),
        {
            **_JOB, "JobText": 120, "TemplateName": 40, "JobCreator": 12, "NrSteps": "Int32", "JobStatus": 1,
            "JobCreaDateTime": "DateTime", "JobStartDateTime": "DateTime", "JobEndDateTime": "DateTime",
            "JobAppRC": "Int32",
        },
    ),
    "Jobinfo": Entity(
        "JobinfoSet",
        ("JobName", "JobRunCount", "StepCount"),
        {
            **_JOB, "JobStatus": 1, "JobSdlDateTime": "DateTime", "JobStartDateTime": "DateTime",
            "JobEndDateTime": "DateTime", "JobAppRC": "Int32", "StepCount": "Int32", "StepStatus": 1,
            "StepStartDateTime": "DateTime", "StepAppRC": "Int32",
        },
    ),
    "JobScheduleStatus": Entity(
        "JobScheduleStatusCollection", ("JobName", "JobRunCount"), {**_JOB, "JobStatus": 1, "ReturnCode": "Int16"}
    ),
    "JobScheduleCheck": Entity(
        "JobScheduleCheckCollection",
        ("SuccessfulInd",),
        {
            "JobParameterValues": "String", "SuccessfulInd": "Boolean", "ChangedInd": "Boolean",
            "DynamicProperties": "String", "ErrMessages": "String",
        },
    ),
    "FuncImpReturn": Entity("FuncImpReturnCollection", ("ReturnCode",), {"ReturnCode": "Int16"}),
    "JobTemplate": Entity(
        "JobTemplateSet", ("JobTemplateName", "JobTemplateVersion"),
        {"JobTemplateName": 40, "JobTemplateVersion": 1, "JobTemplateText": 120},
    ),
    "JobStatusInfo": Entity("JobStatusInfoSet", ("JobStatus",), {"JobStatus": 1, "JobStatusText": 60}),
}  # fmt: skip

_BOTH = ("JobName", "JobRunCount")
_PARAMETERS: Mapping[str, int | str] = {"JobParameterValues": "String", "JobParameterValuesSimple": "String"}
_LIST: Mapping[str, int | str] = {
    "JobText": 120,
    "CreationTimeFrom": "DateTime",
    "CreationTimeTo": "DateTime",
    "TemplateName": 40,
    "JobCreator": 12,
    "Report": 40,
    "Variant": 14,
    "JobName": 32,
}
FUNCTIONS: Mapping[str, Function] = {
    "JobSchedule": Function(
        "POST",
        "JobScheduleStatus",
        many=False,
        takes={"JobTemplateName": 40, "JobText": 120, "JobUser": 40, "TestModeInd": "Boolean", **_PARAMETERS},
        must=("JobTemplateName", "JobText"),
    ),
    "JobScheduleCheck": Function(
        "POST", "JobScheduleCheck", many=False, takes={"JobTemplateName": 40, "JobUser": 40, **_PARAMETERS},
        must=("JobTemplateName",),
    ),
    "JobCancel": Function("POST", "FuncImpReturn", many=False, takes=_JOB, must=_BOTH),
    "JobAbort": Function("POST", "FuncImpReturn", many=False, takes=_JOB, must=_BOTH),
    "JobRestart": Function(
        "POST", "JobScheduleStatus", many=False, takes={**_JOB, "JobRestartMode": "String"},
        must=(*_BOTH, "JobRestartMode"),
    ),
    "JobStatusGet": Function("GET", "JobScheduleStatus", many=False, takes=_JOB, must=_BOTH),
    "JobinfoGet": Function("GET", "Jobinfo", many=True, takes=_JOB, must=_BOTH),
    "JobListGet": Function("GET", "Joblist", many=True, takes=_LIST),
}  # fmt: skip


def edm(kind: int | str) -> str:
    """Return the EDM type and facets of a property as attributes."""
    if isinstance(kind, int):
        return f'Type="Edm.String" MaxLength="{kind}"'
    return 'Type="Edm.DateTime" Precision="0"' if kind == "DateTime" else f'Type="Edm.{kind}"'


def _optional(name: str, needed: tuple[str, ...]) -> str:
    return "false" if name in needed else "true"


def metadata() -> str:
    """Return the service's ``$metadata``: EDMX 1.0, OData V2."""
    types, sets, associations, association_sets, functions = [], [], [], [], []
    for name, entity in ENTITIES.items():
        keys = "".join(f'<PropertyRef Name="{key}"/>' for key in entity.keys)
        properties = "".join(
            f'<Property Name="{part}" {edm(kind)} Nullable="{_optional(part, entity.keys)}"/>'
            for part, kind in entity.properties.items()
        )
        leads = ""
        for way, target in entity.leads.items():
            link = f"{name}_{target}"
            leads += f'<NavigationProperty Name="{way}" Relationship="{NAMESPACE}.{link}" FromRole="From" ToRole="To"/>'
            associations.append(
                f'<Association Name="{link}"><End Type="{NAMESPACE}.{name}" Multiplicity="1" Role="From"/>'
                f'<End Type="{NAMESPACE}.{target}" Multiplicity="*" Role="To"/></Association>'
            )
            association_sets.append(
                f'<AssociationSet Name="{link}Set" Association="{NAMESPACE}.{link}">'
                f'<End EntitySet="{entity.set_name}" Role="From"/>'
                f'<End EntitySet="{ENTITIES[target].set_name}" Role="To"/></AssociationSet>'
            )
        types.append(f'<EntityType Name="{name}"><Key>{keys}</Key>{properties}{leads}</EntityType>')
        sets.append(f'<EntitySet Name="{entity.set_name}" EntityType="{NAMESPACE}.{name}"/>')
    for name, function in FUNCTIONS.items():
        kind = f"{NAMESPACE}.{function.gives}"
        back = f"Collection({kind})" if function.many else kind
        parameters = "".join(
            f'<Parameter Name="{part}" {edm(sort)} Mode="In" Nullable="{_optional(part, function.must)}"/>'
            for part, sort in function.takes.items()
        )
        functions.append(
            f'<FunctionImport Name="{name}" ReturnType="{back}" EntitySet="{ENTITIES[function.gives].set_name}" '
            f'm:HttpMethod="{function.method}">{parameters}</FunctionImport>'
        )
    container = f"{''.join(sets)}{''.join(association_sets)}{''.join(functions)}"
    return (
        '<?xml version="1.0" encoding="utf-8"?><edmx:Edmx Version="1.0" '
        'xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx" '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" '
        'xmlns:sap="http://www.sap.com/Protocols/SAPData"><edmx:DataServices m:DataServiceVersion="2.0">'
        f'<Schema Namespace="{NAMESPACE}" xml:lang="en" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">'
        f"{''.join(types)}{''.join(associations)}"
        f'<EntityContainer Name="{NAMESPACE}_Entities" m:IsDefaultEntityContainer="true">{container}</EntityContainer>'
        "</Schema></edmx:DataServices></edmx:Edmx>"
    )
