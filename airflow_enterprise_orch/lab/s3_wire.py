"""The wire of S3: who signed a request (Signature Version 4), what its body says, and what an answer looks like.

Sources: *Amazon S3 API Reference*, "Authenticating Requests (AWS Signature Version 4)" and "Checking object integrity".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from aiohttp import web

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
CREDENTIAL = re.compile(r"([^/]+)/(\d{8})/([^/]+)/s3/aws4_request")


class Refusal(Exception):
    """An S3 error answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


CHECKSUMS: dict[str, Callable[[], Any]] = {"sha256": hashlib.sha256, "sha1": hashlib.sha1, "crc32": _Crc32}
"""The checksum algorithms that are checked; a request with another is refused rather than believed."""


def check_signature(request: web.Request, user: str, secret: str, now: Callable[[], float]) -> None:
    """Check who signed; :raises Refusal: as S3 words it."""
    query = request.url.raw_query_string
    pairs = [(part.partition("=")[0], part.partition("=")[2]) for part in query.split("&") if part]
    given = dict(pairs)
    presigned = "X-Amz-Signature" in given
    if presigned:
        from urllib.parse import unquote

        credential = unquote(given.get("X-Amz-Credential", ""))
        signed, signature = unquote(given.get("X-Amz-SignedHeaders", "")), given["X-Amz-Signature"]
        stamp, payload = given.get("X-Amz-Date", ""), "UNSIGNED-PAYLOAD"
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
        _check_expiry(stamp, given.get("X-Amz-Expires", "0"), now())
    else:
        words = dict(re.findall(r"(\w+)=([^,\s]+)", request.headers.get("Authorization", "")))
        credential, signed = words.get("Credential", ""), words.get("SignedHeaders", "")
        signature, stamp = words.get("Signature", ""), request.headers.get("x-amz-date", "")
        payload = request.headers.get("x-amz-content-sha256", "")
    scope = CREDENTIAL.fullmatch(credential)
    if scope is None:
        raise Refusal(403, "AccessDenied", "Access Denied: the request is not signed")
    if scope[1] != user:
        raise Refusal(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed.split(";"))
    canonical = "\n".join(
        (
            request.method,
            request.url.raw_path,
            "&".join(f"{name}={value}" for name, value in sorted(pairs)),
            headers,
            signed,
            payload,
        )
    )
    names = (scope[2], scope[3], "s3", "aws4_request")
    key = b"AWS4" + secret.encode()
    for name in names:
        key = hmac.digest(key, name.encode(), "sha256")
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, "/".join(names), hashlib.sha256(canonical.encode()).hexdigest()))
    if not hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature):
        raise Refusal(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        )


def _check_expiry(stamp: str, seconds: str, now: float) -> None:
    from datetime import UTC, datetime

    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        lasts = int(seconds)
    except ValueError as error:
        raise Refusal(400, "AuthorizationQueryParametersError", "X-Amz-Date or X-Amz-Expires is wrong") from error
    if not 0 < lasts <= 604800:
        raise Refusal(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be at most a week")
    if now > signed_at + lasts:
        raise Refusal(403, "AccessDenied", "Request has expired")


class Body:
    """A request's body as it streams in, with the checksums that the client promised.

    :ivar checksums: algorithm to Base64, as computed from what arrived.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._promised = {
            name.removeprefix("x-amz-checksum-"): value
            for name, value in ((name.lower(), value) for name, value in request.headers.items())
            if name.startswith("x-amz-checksum-") and name not in ("x-amz-checksum-algorithm", "x-amz-checksum-type")
        }
        trailer = request.headers.get("x-amz-trailer", "").lower().removeprefix("x-amz-checksum-")
        names = {*self._promised, *([trailer] if trailer else [])}
        unknown = names - set(CHECKSUMS)
        if unknown:
            raise Refusal(501, "NotImplemented", f"this server does not check {', '.join(sorted(unknown))}")
        # One pass over the body for one algorithm, whoever asks for it.
        self._running = {name: self._sha256 if name == "sha256" else CHECKSUMS[name]() for name in names}
        self.checksums: dict[str, str] = {}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the payload; :raises Refusal: at its end, when it is not what was promised."""
        chunked = self._request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
        async for data in self._unframed() if chunked else self._request.content.iter_chunked(1 << 18):
            self.size += len(data)
            self.md5.update(data)
            self._sha256.update(data)
            for running in self._running.values():
                if running is not self._sha256:
                    running.update(data)
            yield data
        self._check(chunked)

    async def _unframed(self) -> AsyncIterator[bytes]:
        content = self._request.content
        while True:
            size = int((await content.readline()).split(b";")[0].strip() or b"0", 16)
            if size == 0:
                break
            while size:
                data = await content.read(min(size, 1 << 18))
                if not data:
                    raise Refusal(400, "IncompleteBody", "the body ended early")
                size -= len(data)
                yield data
            await content.readline()
        while line := (await content.readline()).strip():
            name, _, value = line.decode().partition(":")
            self._promised[name.lower().removeprefix("x-amz-checksum-")] = value.strip()

    def _check(self, chunked: bool) -> None:
        payload = self._request.headers.get("x-amz-content-sha256", "")
        if not chunked and re.fullmatch("[0-9a-f]{64}", payload) and payload != self._sha256.hexdigest():
            raise Refusal(400, "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 header does not match")
        if self._request.content_length is not None and not chunked and self.size != self._request.content_length:
            raise Refusal(400, "IncompleteBody", "the body ended early")
        md5 = self._request.headers.get("Content-MD5")
        if md5 and md5 != base64.b64encode(self.md5.digest()).decode():
            raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
        for name, running in self._running.items():
            computed = base64.b64encode(running.digest()).decode()
            self.checksums[name] = computed
            promised = self._promised.get(name, computed)
            if promised != computed:
                raise Refusal(400, "BadDigest", f"The {name.upper()} you specified did not match the calculated one.")


def document(root: str, *parts: str) -> bytes:
    """Return an XML answer; ``parts`` are made by :func:`element`."""
    namespace = "" if root == "Error" else f' xmlns="{NAMESPACE}"'  # S3's errors have none
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{namespace}>{"".join(parts)}</{root}>'.encode()


def element(name: str, *content: str) -> str:
    """Return one element that holds other elements."""
    return f"<{name}>{''.join(content)}</{name}>"


def text(name: str, value: object) -> str:
    """Return one element that holds a text."""
    return f"<{name}>{escape(str(value))}</{name}>"


def encoded(name: str) -> str:
    """Return an object's name as ``encoding-type=url`` wants it."""
    return quote(name, safe="/")
