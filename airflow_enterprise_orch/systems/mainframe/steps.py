"""The step vocabulary of the mainframe: ``mainframe.job`` and ``mainframe.scheduler_job``."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from airflow_enterprise_orch.delegation.work import Work, is_template, rendered_pattern
from airflow_enterprise_orch.systems.mainframe import jcl as jcl_text

_QUALIFIER = r"[A-Z$#@][A-Z0-9$#@-]{0,7}"
DATASET = rf"(?=.{{1,44}}(?:\(|$)){_QUALIFIER}(?:\.{_QUALIFIER})*(?:\([A-Z$#@][A-Z0-9$#@]{{0,7}}\))?"
UNIX_PATH = r"/[ -~]{1,1022}"
SYMBOL_LIMIT = 255
"""IBM, z/OS MVS JCL Reference, "Defining and nullifying JCL symbols": the longest substitution text."""


def symbol_problem(name: str) -> str:
    """Return why this is no symbol that can be passed to a job, "" if it is one."""
    if "@" in name:
        return f"symbol {name!r}: '@' cannot stand in the name of the HTTP header that carries it; choose another name"
    if not jcl_text.NAME.fullmatch(name):
        return f"symbol {name!r} is no JCL symbol: 1 to 8 of A-Z 0-9 $ #, not a digit first"
    # IBM, z/OS JES Application Programming, "JES system symbols": applications may not set those.
    return f"symbol {name!r}: names that begin with SYS belong to the system" if name.startswith("SYS") else ""


def value_problem(name: str, value: str) -> str:
    """Return why this text cannot be the value of a symbol, "" if it can."""
    if len(value) > SYMBOL_LIMIT:
        return f"symbol {name!r}: its value has {len(value)} characters; JCL allows {SYMBOL_LIMIT}"
    if not re.fullmatch(r"[ -~]*", value):
        return f"symbol {name!r}: its value holds a line break or is not printable ASCII; that cannot travel"
    if value != value.strip():
        return f"symbol {name!r}: blanks at the ends of a value are lost on the way; remove them"
    if "'" in value:
        return (
            f"symbol {name!r}: an apostrophe in its value would end the quoted text that it is put into, and what "
            f"follows would become JCL; pass it without"
        )
    return ""


class MainframeJob(Work):
    """One z/OS batch job: JCL written here, or kept in a data set or UNIX file on z/OS."""

    jcl: str | None = Field(
        default=None,
        description="The job's JCL. Values come in as symbols (&NAME), never as {{ }}.",
    )
    dataset: (
        Annotated[
            str, rendered_pattern(rf"{DATASET}|{UNIX_PATH}", "a data set like HLQ.JCL(MEMBER) or a path /u/x.jcl")
        ]
        | None
    ) = Field(default=None, description="Where the JCL is: HLQ.JCL(MEMBER), HLQ.SEQ.JCL or /u/file.jcl.")
    symbols: dict[str, str] = Field(
        default_factory=dict, description="JCL symbols: &NAME in the JCL is replaced by the text."
    )
    job_class: Annotated[str, Field(pattern=r"^[A-Z0-9]{1,8}$")] | None = Field(
        default=None, description="The job class, put on the JOB card as CLASS=."
    )

    @field_validator("symbols")
    @classmethod
    def _symbols_can_travel(cls, symbols: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        final = (info.context or {}).get("rendered")
        for name, value in symbols.items():
            problem = symbol_problem(name)
            if not problem and (final or not is_template(value)):
                problem = value_problem(name, value)
            if problem:
                raise ValueError(problem)
        return symbols

    @model_validator(mode="after")
    def _one_source_that_can_be_held(self) -> Self:
        if (self.jcl is None) == (self.dataset is None):
            raise ValueError("give exactly one of jcl (the text) and dataset (where it is)")
        if self.jcl is not None:
            if is_template(self.jcl):
                raise ValueError("values are not pasted into JCL: write &NAME in the JCL and give NAME under symbols")
            jcl_text.held(self.jcl, self.job_class or "")
        return self


CONTROLM_NAME = r"[^\s'\"$/*?,%]{1,64}"
"""BMC, "OS Job parameters", "Job Name": 1 to 64 characters, none of quotes, $ / * ? and blanks; here no comma and %
either, which filters and variables give a meaning to."""
CONTROLM_VALUE_LIMIT = 4000
"""BMC, "Variables": the longest value."""
_UNSAFE = re.compile(r"%%|[\x00-\x1f\x7f'\"`$;&|<>]")


def controlm_variable_problem(name: str, value: str | None) -> str:
    """Return why this cannot be a variable of an order, "" if it can; ``value`` None: it is not known yet."""
    if not re.fullmatch(r"[A-Za-z@#][A-Za-z0-9_@#]{0,39}", name):
        return f"variable {name!r}: 1 to 40 letters, digits and _, no digit first, without %%"
    if name.upper().startswith("ORCH_"):
        return f"variable {name!r}: names that begin with ORCH_ carry what finds the job again; choose another name"
    if value is None:
        return ""
    if len(value) > CONTROLM_VALUE_LIMIT:
        return f"variable {name!r}: its value has {len(value)} characters; Control-M allows {CONTROLM_VALUE_LIMIT}"
    found = _UNSAFE.search(value)
    if found:
        # Control-M puts variables into command lines and JCL as they are, so a value must not be able to end its word.
        return (
            f"variable {name!r}: its value holds {found[0]!r}, which would act where Control-M puts the value into a "
            f"command or JCL; pass it without"
        )
    return ""


class SchedulerJob(Work):
    """One folder or job that Control-M knows, ordered now."""

    folder: Annotated[str, rendered_pattern(CONTROLM_NAME, "the name of a Control-M folder")] = Field(
        description="The folder to order, as Control-M calls it."
    )
    job: Annotated[str, rendered_pattern(CONTROLM_NAME, "the name of one Control-M job")] | None = Field(
        default=None, description="One job of the folder; without it the whole SMART folder is ordered."
    )
    variables: dict[str, str] = Field(
        default_factory=dict, description="Variables of this order, without %%; their values may be templates."
    )
    order_date: Annotated[str, rendered_pattern(r"\d{8}", "a date like 20261231")] | None = Field(
        default=None, description="The order date, YYYYMMDD; Control-M's current one by default."
    )
    library: Annotated[str, rendered_pattern(DATASET, "a data set like CTM.PROD.SCHEDULE")] | None = Field(
        default=None, description="The z/OS library of the folder, where the Control-M/Server is one for z/OS."
    )
    ignore_criteria: bool = Field(
        default=False, description="Order it although its scheduling criteria do not say so today."
    )
    into: Literal["New", "Standalone"] = Field(
        default="New",
        description="Whether a single job of a SMART folder gets a new folder around it, or stands alone.",
    )

    @field_validator("variables")
    @classmethod
    def _variables_can_travel(cls, variables: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        final = (info.context or {}).get("rendered")
        for name, value in variables.items():
            known = value if final or not is_template(value) else None
            if problem := controlm_variable_problem(name, known):
                raise ValueError(problem)
        return variables
