"""The YAML vocabulary of the UNIX steps."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from airflow_enterprise_orch.delegation.work import Work, is_template, rendered_pattern

HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def _plain(value: str) -> str:
    if "\0" in value:
        raise ValueError("a text for a UNIX host cannot hold the character NUL")
    if not value.isascii() and HALF_A_CHARACTER.search(value):
        raise ValueError("a text for a UNIX host cannot hold half a character (a lone surrogate)")
    return value


def _environment(values: dict[str, str]) -> dict[str, str]:
    for name in values:
        if not ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an environment variable (letters, digits, _)")
    return values


Text = Annotated[str, AfterValidator(_plain)]
AbsolutePath = Annotated[str, rendered_pattern(r"/[^\0\n]*", "an absolute path on the host, such as /opt/batch")]
ProgramPath = Annotated[
    str, rendered_pattern(r"/[^\0\n=]*[^\0\n=/]", "the absolute path of a program on the host, such as /usr/bin/perl")
]


class UnixScript(Work):
    """One script or program that runs on a UNIX host, detached from the connection that started it.

    Exactly one of ``script`` and ``command``. Values travel as files to the host and reach the script as arguments
    (``$1`` ...) and environment variables; nothing is pasted into a command line.
    """

    script: Text | None = Field(None, min_length=1, description="The script itself; `interpreter` runs it.")
    command: ProgramPath | None = Field(None, description="A program that is on the host already; runs with `args`.")
    args: list[Text] = Field(default_factory=list, description="Arguments, each as it is: $1, $2 ...")
    env: Annotated[dict[str, Text], AfterValidator(_environment)] = Field(
        default_factory=dict, description="Environment variables beside those of the login."
    )
    directory: AbsolutePath | None = Field(None, description="Where it runs; the login's home directory by default.")
    interpreter: ProgramPath = Field("/bin/sh", description="What runs `script`, e.g. /usr/bin/python3.")

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if (self.script is None) == (self.command is None):
            raise ValueError("give exactly one of 'script' (the text) and 'command' (a program on the host)")
        if self.command is not None and "interpreter" in self.model_fields_set:
            raise ValueError("'interpreter' goes with 'script'; a 'command' runs by itself")
        if self.script is not None and is_template(self.script):
            raise ValueError(
                "values are not pasted into a script: give them under env or args and write $NAME or $1 in the script"
            )
        return self
