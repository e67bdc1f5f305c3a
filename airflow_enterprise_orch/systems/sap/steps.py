"""The YAML vocabulary of SAP: ``sap.background_job`` and ``sap.application_job``."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from airflow_enterprise_orch.delegation.work import Work, rendered_pattern

SHORT = 45
"""SAP, structure RSPARAMS: the length of LOW."""
LONG = 255
"""SAP, structure RSPARAMSL_255: the same for long values."""


def _selection_names(values: dict[str, str]) -> dict[str, str]:
    for name in values:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,7}", name):
            raise ValueError(
                f"{name!r} is no parameter of a selection screen: 1 to 8 of A-Z 0-9 _, a letter first, as in P_ORDER"
            )
    return values


def _parameter_names(values: dict[str, Any]) -> dict[str, Any]:
    for name in values:
        if not re.fullmatch(r"[A-Z0-9_/]{1,38}", name):
            raise ValueError(f"{name!r} is no parameter of a job template: 1 to 38 of A-Z 0-9 _ /")
    return values


Value = Annotated[str, rendered_pattern(rf"[^\x00-\x1f\x7f]{{0,{LONG}}}", f"one line of at most {LONG} characters")]
Program = Annotated[
    str,
    rendered_pattern(r"(?=.{1,40}\Z)(?:/[A-Z0-9_]+/)?[A-Z][A-Z0-9_]*", "the name of an ABAP program, such as ZPOST"),
]
Variant = Annotated[str, rendered_pattern(r"[A-Z0-9_&#/ .-]{1,14}", "a variant of at most 14 characters")]
User = Annotated[str, rendered_pattern(r"[^\x00-\x20\x7f]{1,12}", "an SAP user of at most 12 characters")]
Word = Annotated[
    str, rendered_pattern(r"[A-Za-z0-9_./:=,+@%-]{1,128}", "one word of letters, digits and _./:=,+@%-, without blanks")
]


class BackgroundJob(Work):
    """One background job with one step: an ABAP program, or a program of the operating system."""

    program: Program | None = Field(None, description="The ABAP program, as in SE38: ZPOST_INVOICE.")
    variant: Variant | None = Field(None, description="Its variant.")
    parameters: Annotated[dict[str, Value], AfterValidator(_selection_names)] = Field(
        default_factory=dict,
        description="Values of its selection screen, by name: {P_ORDER: ...}. They go before the variant's.",
    )
    language: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="The language it runs in, as EN; the login's by default."
    )
    printer: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,4}$")] | None = Field(
        None,
        description="The output device of its list, held and not printed, such as LP01; without one there is no spool.",
    )
    command: (
        Annotated[str, rendered_pattern(r"[A-Za-z0-9_./\\:-]{1,128}", "a program on an SAP host, without blanks")]
        | None
    ) = Field(None, description="A program of the operating system instead of an ABAP program.")
    arguments: list[Word] = Field(
        default_factory=list, description="Its arguments, each one word; at most 255 characters in all."
    )
    host: Annotated[str, rendered_pattern(r"[A-Za-z0-9_.-]{1,32}", "a host name of at most 32 characters")] | None = (
        Field(None, description="The host that runs `command`.")
    )
    user: User | None = Field(None, description="The SAP user whose rights it runs with; the login's by default.")
    job_class: Literal["A", "B", "C"] | None = Field(None, description="Its priority; C by default.")

    @model_validator(mode="after")
    def _one_step(self) -> Self:
        if (self.program is None) == (self.command is None):
            raise ValueError("give exactly one of 'program' (an ABAP program) and 'command' (of the operating system)")
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        abap = {"variant", "parameters", "language", "printer"} & given
        if self.command is not None and abap:
            raise ValueError(f"{', '.join(sorted(abap))}: for an ABAP program only")
        if self.program is not None and {"arguments", "host"} & given:
            raise ValueError("'arguments' and 'host' go with 'command'; an ABAP program takes 'parameters'")
        if self.command is not None and self.host is None:
            raise ValueError("'command' needs 'host', the SAP host that runs it")
        if len(" ".join(self.arguments)) > LONG:
            raise ValueError(f"'arguments' have more than {LONG} characters; SAP takes no more")
        return self

    @property
    def label(self) -> str:
        """A word for people, for the job's name."""
        return (self.program or self.command or "").rpartition("/")[2].rpartition("\\")[2]

    @property
    def selections(self) -> list[dict[str, str]]:
        """The rows of RSPARAMS: each parameter is one single value."""
        return [
            {"SELNAME": name, "KIND": "P", "SIGN": "I", "OPTION": "EQ", "LOW": value, "HIGH": ""}
            for name, value in self.parameters.items()
        ]


class ApplicationJob(Work):
    """One application job of S/4HANA, scheduled from a job template to start at once."""

    template: Annotated[str, rendered_pattern(r"[A-Za-z0-9_/]{1,40}", "the technical name of a job template")] = Field(
        description="The job template's technical name, as the app Application Job Templates shows it."
    )
    user: (
        Annotated[str, rendered_pattern(r"[^\x00-\x20\x7f]{1,40}", "a business user of at most 40 characters")] | None
    ) = Field(None, description="The business user that it runs as; SAP asks for one for most templates.")
    parameters: Annotated[dict[str, Value | list[Value]], AfterValidator(_parameter_names)] = Field(
        default_factory=dict,
        description="Values of the template's parameters, by name; a list for one with several values. Some systems "
        "take all of a template's parameters or none.",
    )
    test_mode: bool = Field(False, description="Ask for the test mode of templates that have one.")
    check: bool = Field(True, description="Let SAP check the parameters before the job is handed over.")
