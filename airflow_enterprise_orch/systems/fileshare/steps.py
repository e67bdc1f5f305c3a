"""The YAML vocabulary of the file-share steps."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from airflow_enterprise_orch.delegation.work import Work, is_template, rendered_pattern

JOURNAL = ".enterprise-orch"
"""The folder, below a share's root, that holds the records of jobs."""
MANIFEST = ".manifest.json"
"""What a delivered file's manifest is called: the file's name and this."""
STAGE = ".orch-"
"""How the names of files begin that are still being written (SFTP and SMB)."""
LONGEST_LINK = timedelta(days=7)
"""Signature Version 4 allows no more (Amazon S3 API Reference, X-Amz-Expires)."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TEXT_FILE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}/){0,8}[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}\.j2")


def duration(text: str) -> timedelta:
    """Return ``30s``, ``15m``, ``24h`` or ``7d`` as a duration; :raises ValueError: when it is none."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration such as 30s, 15m, 24h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _path(value: str, info: ValidationInfo) -> str:
    if is_template(value) and not (info.context or {}).get("rendered"):
        return value
    parts = value.split("/")
    if not value or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{value!r} is not a path below the share's root, such as orders/42/certificate.pdf")
    if re.search(r'[\\\x00-\x1f\x7f<>:"|?*]', value) or any(part.endswith((" ", ".")) for part in parts):
        raise ValueError(
            f'{value!r} holds characters that not every share takes: no control characters, none of \\ < > : " | ? *, '
            f"and no part that ends with a space or a dot"
        )
    if len(value.encode()) > 900 or any(len(part.encode()) > 200 for part in parts):
        raise ValueError("a path may have 900 bytes, and each part of it 200")
    if parts[0] == JOURNAL or parts[-1].endswith(MANIFEST):
        raise ValueError(
            f"{value!r} is kept for records: choose a name outside {JOURNAL} that does not end in {MANIFEST}"
        )
    return value


def _duration(value: str, info: ValidationInfo) -> str:
    if not is_template(value) or (info.context or {}).get("rendered"):
        duration(value)
    return value


def _link(value: str, info: ValidationInfo) -> str:
    if _duration(value, info) and not is_template(value) and not timedelta(0) < duration(value) <= LONGEST_LINK:
        raise ValueError(f"{value!r}: a link lives from 1s to 7d")
    return value


def _text_file(value: str) -> str:
    if not TEXT_FILE.fullmatch(value):
        raise ValueError(
            f"{value!r} is no file beside the template; name it as certificate.txt.j2, or texts/certificate.txt.j2: "
            f"letters, digits, _ . and -"
        )
    return value


SharePath = Annotated[str, AfterValidator(_path)]
TextFile = Annotated[str, AfterValidator(_text_file)]
Duration = Annotated[str, AfterValidator(_duration)]
LinkDuration = Annotated[str, AfterValidator(_link)]
FilePath = Annotated[str, rendered_pattern(r"/[^\0\n]*[^\0\n/]", "the absolute path of a file on the Airflow worker")]
Pattern = Annotated[str, rendered_pattern(r"[^/\\\0]{1,200}", "a name or pattern such as *.csv, without a folder")]
Line = Annotated[str, rendered_pattern(r"[^\0-\x1f\x7f]{1,300}", "one line of 1 to 300 characters")]


class FileshareDeliver(Work):
    """One file that is put on a share: whole, verified, and never over another.

    Exactly one of ``content`` and ``file``.
    """

    to: SharePath = Field(description="Where it shall lie, below the share's root: orders/42/invoice.pdf.")
    content: str | None = Field(None, max_length=1 << 20, description="The text itself; or")
    file: FilePath | None = Field(None, description="The absolute path of a file that the Airflow worker can read.")
    link: LinkDuration = Field("24h", description="How long the link lives that an output from `link` makes (S3).")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.content is None) == (self.file is None):
            raise ValueError("give exactly one of 'content' (the text) and 'file' (a path on the worker)")
        return self


class FileshareCertificate(Work):
    """A certificate of completion: rendered as PDF with a verification code, and delivered like any file."""

    to: SharePath = Field(description="Where it shall lie: orders/42/certificate.pdf.")
    instance: Line = Field(description="The business key of what was completed: an order or policy number.")
    title: Line = Field("Certificate of completion", description="Its heading.")
    issuer: Line | None = Field(None, description="Who certifies.")
    recipient: Line | None = Field(None, description="For whom.")
    text: str = Field(
        "", max_length=20_000, description="What is certified; an empty line begins a new paragraph. Or instead of it"
    )
    template: TextFile | None = Field(
        None,
        # Its text is in `text` when the work is handed over; where that stood makes no other work.
        exclude=True,
        json_schema_extra={"x-beside": "text"},
        description="A file beside the template that holds the text, with Jinja: certificate.txt.j2. It is read when "
        "the template is.",
    )
    facts: dict[str, str] = Field(default_factory=dict, max_length=20, description="Name and value, shown as a table.")
    link: LinkDuration = Field("24h", description="How long the link lives that an output from `link` makes (S3).")

    @model_validator(mode="after")
    def _one_text(self, info: ValidationInfo) -> Self:
        if self.template is not None and self.text:
            raise ValueError("give 'text' or 'template' (a file that holds it), not both")
        if self.template is not None and (info.context or {}).get("rendered"):
            raise ValueError("'template' is read from beside a value-stream template; give the text itself as 'text'")
        return self


class FileshareAwait(Work):
    """A wait for files that somebody else puts on a share."""

    pattern: Pattern = Field(description="Which files: a name, or a pattern with * ? [..].")
    folder: Annotated[str, AfterValidator(lambda value, info: _path(value, info) if value else value)] = Field(
        "", description="In which folder below the share's root; the root itself by default."
    )
    count: int = Field(1, ge=1, le=10000, description="How many of them at least.")
    stable: Duration = Field("10s", description="For how long size and time of a file must not change.")
    marker: Pattern | None = Field(
        None, description="Instead: a file counts when another lies beside it whose name is its own and this: .done"
    )
