"""The YAML vocabulary of the Windows steps."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from airflow_enterprise_orch.delegation.work import Work, is_template, rendered_pattern

MAX_VALUES = 32
"""Parameters of IRegisteredTask.RunEx: ``$(Arg0)`` to ``$(Arg31)`` (Task Scheduler reference)."""
COMMAND_LINE = 32_000
"""CreateProcess takes 32,767 characters; the program's own path is among them."""
BATCH_SAFE = re.compile(r"[A-Za-z0-9_.,:\\/@+ -]*")
"""What cmd.exe passes on as it is: a batch file is run by it, whatever starts the batch file."""


def _plain(value: str) -> str:
    if any(ord(character) < 32 and character not in "\t\r\n" for character in value):
        raise ValueError("a text for a Windows host cannot hold control characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("a text for a Windows host cannot hold half a character (a lone surrogate)")
    return value


def _environment(values: dict[str, str]) -> dict[str, str]:
    for name in values:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
            raise ValueError(f"{name!r} is not the name of an environment variable (letters, digits, _)")
    return values


Text = Annotated[str, AfterValidator(_plain)]
_NAME = r'[^\\/:*?"<>|\x00-\x1f]+'
ProgramPath = Annotated[
    str,
    rendered_pattern(
        rf"[A-Za-z]:\\(?:{_NAME}\\)*{_NAME}\.(?i:exe|com|cmd|bat)",
        r"the absolute path of a program on the host, such as C:\Apps\import.exe (.exe, .com, .cmd or .bat)",
    ),
]
DirectoryPath = Annotated[
    str, rendered_pattern(rf"[A-Za-z]:\\(?:{_NAME}\\)*(?:{_NAME})?", r"an absolute path on the host, such as D:\Batch")
]
TaskPath = Annotated[str, rendered_pattern(rf"(?:\\{_NAME})+", r"the path of a task, such as \Dynamics\ImportOrders")]


class WindowsTask(Work):
    r"""One run of a program, or of a task that exists, by the Task Scheduler of a Windows host.

    Exactly one of ``program`` and ``task``. A program gets a task of its own for each run; a task that exists (its
    path, ``\Folder\Name``) is started as it is,
    and never changed.
    """

    program: ProgramPath | None = Field(None, description="A program on the host; it gets a task of its own.")
    task: TaskPath | None = Field(None, description=r"The path of a task that exists, e.g. \Dynamics\ImportOrders.")
    arguments: list[Text] = Field(
        default_factory=list,
        description="Arguments, each as it is. For an existing task the values of $(Arg0), $(Arg1) ... in its action.",
    )
    env: Annotated[dict[str, Text], AfterValidator(_environment)] = Field(
        default_factory=dict, description="Environment variables of a program, beside those of the task's account."
    )
    directory: DirectoryPath | None = Field(None, description="Where a program runs; its job's directory by default.")

    @model_validator(mode="after")
    def _one_kind(self, info: ValidationInfo) -> Self:
        if (self.program is None) == (self.task is None):
            raise ValueError("give exactly one of 'program' (a program on the host) and 'task' (a task that exists)")
        if self.task is not None:
            self._check_values(info)
        elif (self.program or "").lower().endswith((".cmd", ".bat")):
            for value in self.arguments:
                if not BATCH_SAFE.fullmatch(value) and not _waits(value, info):
                    raise ValueError(
                        f"{value!r} cannot be given to a batch file: cmd.exe would read special characters in it; "
                        f"give it under env, or run an .exe"
                    )
        if len(self.command_line) > COMMAND_LINE:
            raise ValueError(f"its arguments are longer than a Windows command line ({COMMAND_LINE} characters)")
        return self

    def _check_values(self, info: ValidationInfo) -> None:
        if self.env or self.directory is not None:
            raise ValueError("'env' and 'directory' go with 'program'; a task that exists runs as it is")
        if len(self.arguments) > MAX_VALUES:
            raise ValueError(f"a task takes at most {MAX_VALUES} arguments ($(Arg0) to $(Arg{MAX_VALUES - 1}))")
        for value in self.arguments:
            # Task Scheduler puts the value into the action's arguments as text; a quote would end the action's own.
            if not _waits(value, info) and ('"' in value or "\n" in value or value.endswith("\\")):
                raise ValueError(
                    f'{value!r} cannot be an argument of an existing task: no ", no line break, no \\ at its end'
                )

    @property
    def command_line(self) -> str:
        """Return a program's arguments as CommandLineToArgvW splits them again (Microsoft C++: parsing arguments)."""
        return " ".join(quoted(value) for value in self.arguments)


def _waits(value: str, info: ValidationInfo) -> bool:
    return is_template(value) and not (info.context or {}).get("rendered")


def quoted(argument: str) -> str:
    r"""Return one argument so that a Windows program reads it as it is.

    Backslashes are literal unless a quote follows them: then each is doubled, and the quote gets one of its own.
    """
    if argument and not re.search(r'[\s"]', argument):
        return argument
    doubled = re.sub(r'(\\*)"', r'\1\1\\"', argument)
    doubled = re.sub(r"(\\+)$", r"\1\1", doubled)
    return f'"{doubled}"'
