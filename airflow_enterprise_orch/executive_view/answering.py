"""How answers go out: with an ETag, or not at all when nothing changed; errors as RFC 9457 problems."""

from __future__ import annotations

import hashlib
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, NoSuchTableError
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_enterprise_orch.executive_view.answers import Answer, Problem, Written

if TYPE_CHECKING:
    from fastapi import FastAPI

HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Cookie, Authorization, Accept-Encoding"}
"""A browser may keep an answer, and asks each time whether it is still right; nobody in between keeps it."""
AS_OF = "X-As-Of"
"""The moment that an answer is true for, which an answer of 304 says too."""
STAMPS: Any = {"as_of": True, "fed_at": True, "timeline": {"now": True}}
"""The moments in answers that pass without anything else."""
WORTH_PACKING = 1024
"""Bytes from which on an answer goes out packed."""

log = logging.getLogger(__name__)


def answered(request: Request, answer: Answer) -> Response:
    """Return the answer; 304 when the asker has it already.

    The ETag is a hash of what this viewer is told, without the moments: it changes when something that they see does,
    and with nothing that they do not see.
    """
    return sent(request, as_written(answer))


def sent(request: Request, written: Written) -> Response:
    """Return an answer as it goes out; 304 when the asker has it already."""
    headers = {**HEADERS, "ETag": written.tag}
    if written.moment is not None:
        headers[AS_OF] = written.moment.isoformat().replace("+00:00", "Z")
    if written.tag in _tags(request):
        return Response(status_code=304, headers=headers)
    body = written.body
    if _packs(request, written):
        # Here, in a thread of this request's, and fast; Airflow would pack it slowly in the loop that serves everybody.
        body = written.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)


def to_be_packed(request: Request, written: Written) -> bool:
    """Tell whether an answer has to be packed before it can go out."""
    return not written.is_packed and written.tag not in _tags(request) and _packs(request, written)


def _packs(request: Request, written: Written) -> bool:
    return len(written.body) >= WORTH_PACKING and "gzip" in request.headers.get("accept-encoding", "")


def as_written(answer: Answer) -> Written:
    """Return an answer as it goes out; written once."""
    return answer.written or _write(answer)


def _write(answer: Answer) -> Written:
    told = answer.model_dump_json(exclude=STAMPS)
    tag = f'W/"{hashlib.blake2b(told.encode(), digest_size=16).hexdigest()}"'
    moment = getattr(answer, "fed_at", None) or getattr(answer, "as_of", None)
    answer.written = written = Written(tag, answer.model_dump_json().encode(), moment)
    return written


def _tags(request: Request) -> set[str]:
    """Return the ETags that the asker has; a proxy that compresses may have made a strong one weak."""
    given = request.headers.get("if-none-match", "")
    return {tag if tag.startswith("W/") else f"W/{tag}" for tag in (one.strip() for one in given.split(",")) if tag}


def tell_problems(app: FastAPI) -> None:
    """Let an application answer errors as problems."""
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(NoSuchTableError, _database)


def invalid(detail: str) -> HTTPException:
    """Return the error for a request that cannot be understood."""
    return HTTPException(422, detail)


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    told = Problem(type="about:blank", title=title, status=status, detail=detail)
    return Response(
        told.model_dump_json(),
        status,
        media_type="application/problem+json",
        headers={**(headers or {}), "Cache-Control": "no-store"},
    )


async def _http(_request: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    return _problem(error.status_code, str(error.detail), dict(error.headers or {}))


async def _invalid(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    told = [f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors()]
    return _problem(422, "; ".join(told))


async def _database(_request: Request, error: Exception) -> Response:
    """Say in one line what an administrator can do; the error itself, with its SQL, goes to the log alone."""
    log.error("the executive view cannot read the database", exc_info=error)
    text = str(getattr(error, "orig", error)).lower()
    if "no such table" in text or "does not exist" in text or "doesn't exist" in text:
        return _problem(503, "the tables of the executive view are missing: run airflow db migrate")
    return _problem(503, "the database does not answer: try again in a moment", {"Retry-After": "5"})
