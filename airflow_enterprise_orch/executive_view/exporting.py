"""Rows as CSV and JSON Lines: streamed, and such that no spreadsheet takes a text for a formula."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime

from fastapi.responses import StreamingResponse

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - Excel reads these too
CHUNK = 16_384
"""Characters that are sent at a time, about."""


def cell(value: object) -> str:
    """Return a value as one cell.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, which spreadsheets do not show
    (OWASP, "CSV Injection"). A number keeps its sign.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield CSV by RFC 4180, all cells that need it quoted, in chunks.

    It begins with a byte order mark: without one Excel reads it as if it were not UTF-8.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    buffer.write("\ufeff")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(value) for value in row])
        if buffer.tell() > CHUNK:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def download(chunks: Iterator[str], name: str, media_type: str) -> StreamingResponse:
    """Return a file that is sent while it is made."""
    return StreamingResponse(
        chunks,
        media_type=f"{media_type}; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
