"""The types of a template's values, and the base of all its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

CLASS_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"
XCOM_PATH = r"^[A-Za-z0-9_\-]+(\.[A-Za-z0-9_\-]+)*$"
ID_PATTERN = r"^[a-z][a-z0-9_]*$"
TIME_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
ADDRESS = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-]{1,64}@[A-Za-z0-9]([A-Za-z0-9.\-]{0,250}[A-Za-z0-9])?$"
"""A mail address as nearly everybody has one: nothing in it can end a header or begin another address."""
PATH_ON_HOST = r"^/[^\s#]*$"
TABLE_FILE = r"^([A-Za-z0-9][A-Za-z0-9_.\-]*/)*[A-Za-z0-9][A-Za-z0-9_.\-]*\.csv$"
"""A file beside the template, or below its folder: nothing in it leads out of there."""

ParamType = Literal["string", "integer", "number", "boolean"]
ParamKind = Literal["string", "integer", "number", "boolean", "list"]
Criticality = Literal["low", "normal", "high", "critical"]
Duplicates = Literal["reject", "queue", "allow"]
PRIORITIES: Mapping[str, int] = {"low": 1, "normal": 100, "high": 1_000, "critical": 10_000}
"""What each word for a priority weighs in Airflow. The steps are far apart, so that numbers fit in between."""
MAX_PRIORITY = 1_000_000
NEVER_RETRIED = ("rejected", "refused", "login_refused", "template_error", "output_missing", "unknown")

CEL_TYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "int",
    "number": "double",
    "boolean": "bool",
    "list": "list",
}
"""The CEL type of each type that a param or an output can have."""

APPROVAL_FACTS: Mapping[str, str] = {"outcome": "string", "by": "string"}
"""What an approval or a choice leaves for later steps: ``outcome`` (``approved``, ``rejected``, or the option), and
``by`` whom or what."""

FOR_EACH_FACTS: Mapping[str, str] = {"count": "int", "done": "int"}
"""What a step that does its work for each item of a list leaves: the items, and those whose work was not skipped."""
STREAM_FACTS: Mapping[str, str] = {"run_id": "string", "business_key": "string"}
"""What a step that runs another stream leaves, beside its outputs: the instance, by Airflow's id and by its key."""

AIRFLOW_FACTS: Mapping[str, str] = {"outcome": "string"}
"""What a step that runs an operator of Airflow leaves beside its outputs: ``outcome``, always ``success``."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
DURATION_PATTERN = "^([0-9]{1,9}[smhd])+$"
DAY_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DURATION_SCHEMA = {"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "15m", "1h30m", "1d"]}


def parse_duration(value: object) -> timedelta:
    """Read ``90s``, ``15m``, ``2h``, ``1d`` or ``1h30m``; positive; :raises PydanticCustomError: otherwise."""
    if isinstance(value, timedelta):
        return value
    parts = _DURATION.findall(value) if isinstance(value, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise PydanticCustomError("duration", "is no duration")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not 0 < seconds <= 366 * 86400:
        raise PydanticCustomError("duration", "is no duration")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a duration the way a template does: ``1h30m``."""
    seconds, text = int(value.total_seconds()), ""
    for unit in ("d", "h", "m", "s"):
        number, seconds = divmod(seconds, _UNITS[unit])
        text += f"{number}{unit}" if number else ""
    return text


def parse_day(value: object) -> date:
    """Read ``2026-12-31``; :raises PydanticCustomError: otherwise."""
    if isinstance(value, date):
        return value
    try:
        if isinstance(value, str) and len(value) == 10:
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("day", "is no date")


def _scalar(value: object) -> object:
    if isinstance(value, (str, int, float, bool)):
        return value
    raise PydanticCustomError("scalar", "is no single value")


def _given(value: object) -> object:
    return tuple(map(_scalar, value)) if isinstance(value, (list, tuple)) else _scalar(value)


def _number(value: object) -> object:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # 0 and 0.0 are one bound, and one version of the template.
        return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
    raise PydanticCustomError("float_type", "is no number")


def _priority(value: object) -> object:
    if isinstance(value, str) and value in PRIORITIES:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_PRIORITY:
        return value
    raise PydanticCustomError("priority", "is no priority")


def _retried(value: object) -> object:
    if isinstance(value, str) and value in NEVER_RETRIED:
        raise PydanticCustomError("never_retried", "is never retried")
    return value


RetryKind = Annotated[Literal["failed", "abended", "cancelled", "lost", "timed_out"], BeforeValidator(_retried)]

# One validator instead of a union: a union would report one mistake once per member.
ParamValue = Annotated[
    str | int | float | bool, PlainValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
GivenValue = Annotated[
    str | int | float | bool | tuple[str | int | float | bool, ...],
    PlainValidator(_given),
    # pydantic's own way through the union warns of every list.
    PlainSerializer(lambda value: list(value) if isinstance(value, tuple) else value),
    WithJsonSchema(
        {"type": ["string", "number", "boolean", "array"], "items": {"type": ["string", "number", "boolean"]}}
    ),
]
"""A value of a param: a single one, or a list of them."""
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]

Priority = Annotated[
    str | int,
    PlainValidator(_priority),
    WithJsonSchema({"anyOf": [{"enum": list(PRIORITIES)}, {"type": "integer", "minimum": 1, "maximum": MAX_PRIORITY}]}),
]

Restart = Literal["never", "ask"]
"""What an action to run a step again meets."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(_DURATION_SCHEMA),
]
Day = Annotated[
    date,
    BeforeValidator(parse_day),
    PlainSerializer(date.isoformat, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DAY_PATTERN}),
]
ASSET_PATTERN = r"^[A-Za-z0-9_.-]+$"
ASSET_REFERENCE_PATTERN = r"^[!-~]+$"
AssetName = Annotated[str, Field(pattern=ASSET_PATTERN, max_length=250)]
AssetReference = Annotated[str, Field(pattern=ASSET_REFERENCE_PATTERN, max_length=1000)]
Identifier = Annotated[str, Field(pattern=ID_PATTERN, max_length=100)]
Line = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\r\n]*$")]
Text = Annotated[str, Field(min_length=1)]
Connection = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_.\-]+$",
        max_length=200,
        description="The Airflow connection of the system that does the work; logins live there, never in a template.",
    ),
]
PoolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\- ]+$", max_length=200)]
Announced = Annotated[tuple[Literal["business_date", "business_key"], ...], Field(strict=False)]
StepIds = Annotated[tuple[Identifier, ...], Field(strict=False)]


class Part(BaseModel):
    """The base of all parts of a template: frozen, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=False)
