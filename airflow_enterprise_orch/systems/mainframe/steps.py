"""The step vocabulary of the mainframe: ``mainframe.job``."""

from __future__ import annotations

import re
from typing import Annotated, Self

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
    dataset: Annotated[
        str | None,
        rendered_pattern(rf"{DATASET}|{UNIX_PATH}", "a data set like HLQ.JCL(MEMBER) or a path /u/x.jcl"),
    ] = Field(default=None, description="Where the JCL is: HLQ.JCL(MEMBER), HLQ.SEQ.JCL or /u/file.jcl.")
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
