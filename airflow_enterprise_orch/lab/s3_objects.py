"""The objects of the S3 stand-in: files below one directory, multipart uploads, listings.

Sources: *Amazon S3 API Reference*: PutObject, GetObject, ListObjectsV2, CreateMultipartUpload, UploadPart,
CompleteMultipartUpload, AbortMultipartUpload. Nothing awaits between a look at ``If-None-Match`` and the change that
hangs on it, so of several writers exactly one wins.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from xml.etree import ElementTree

from aiohttp import web

from airflow_enterprise_orch.lab.s3_wire import Body, Refusal, document, element, encoded, text

PRECONDITION = "At least one of the pre-conditions you specified did not hold"


@dataclass
class Stored:
    """One object, or one part of an upload."""

    files: list[Path]
    size: int
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, str] = field(default_factory=dict)
    content_type: str = "binary/octet-stream"
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))
    composite: bool = False


@dataclass
class Upload:
    """One multipart upload."""

    name: str
    metadata: dict[str, str]
    content_type: str
    algorithm: str
    parts: dict[int, Stored] = field(default_factory=dict)


class Objects:
    """What lies in the bucket.

    :param honest: tells whether preconditions and checksums are checked.
    """

    def __init__(self, place: Path, *, honest: Callable[[], bool]) -> None:
        self._place = place
        self._honest = honest
        self._objects: dict[str, Stored] = {}
        self._uploads: dict[str, Upload] = {}

    def names(self) -> list[str]:
        """Return the names of all objects, sorted as S3 does: by their UTF-8 bytes."""
        return sorted(self._objects, key=str.encode)

    def content(self, name: str) -> bytes:
        """Return an object's content."""
        return b"".join(file.read_bytes() for file in self._objects[name].files)

    def put_bytes(self, name: str, data: bytes) -> None:
        """Put an object as somebody else would."""
        file = self._place / secrets.token_hex(12)
        file.write_bytes(data)
        checksums = {"sha256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self._keep(name, Stored([file], len(data), etag, checksums))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Put an object unless it is there; return whether it was put."""
        if name in self._objects:
            return False
        self.put_bytes(name, data)
        return True

    def forget(self, key: str) -> None:
        """Remove every object whose name holds ``key``."""
        for name in [name for name in self._objects if key in name]:
            del self._objects[name]

    async def handle(self, request: web.Request, name: str) -> web.StreamResponse:
        """Answer one request; :raises Refusal: as S3 words it."""
        query = request.query
        match request.method:
            case "GET" if not name and "uploads" in query:
                return self._list_uploads()
            case "GET" if not name and "location" in query:
                return _xml(document("LocationConstraint"))
            case "GET" if not name:
                return self._list(request)
            case "HEAD" if not name:
                return web.Response()
            case "GET" | "HEAD":
                return await self._get(request, name)
            case "PUT" if "uploadId" in query:
                return await self._put_part(request)
            case "PUT" if name and "x-amz-copy-source" not in request.headers:
                return await self._put(request, name)
            case "POST" if "uploads" in query:
                return self._create_upload(request, name)
            case "POST" if "uploadId" in query:
                return await self._complete(request, name)
            case "DELETE" if "uploadId" in query:
                self._uploads.pop(query["uploadId"], None)
                return web.Response(status=204)
            case "DELETE" if name:
                self._objects.pop(name, None)
                return web.Response(status=204)
        raise Refusal(501, "NotImplemented", f"this server has no {request.method} {request.path_qs}")

    async def _receive(self, request: web.Request) -> Stored:
        body = Body(request)
        file = self._place / secrets.token_hex(12)
        with file.open("wb") as sink:
            try:
                async for data in body.chunks():
                    sink.write(data)
            except Refusal as refusal:
                if self._honest() or refusal.code not in ("BadDigest", "XAmzContentSHA256Mismatch"):
                    file.unlink()
                    raise
        return Stored([file], body.size, body.md5.hexdigest(), body.checksums)

    def _refuse_existing(self, request: web.Request, name: str) -> None:
        condition = request.headers.get("If-None-Match")
        if condition not in (None, "*"):
            raise Refusal(501, "NotImplemented", "If-None-Match takes * only")
        if condition and name in self._objects and self._honest():
            raise Refusal(412, "PreconditionFailed", PRECONDITION)

    async def _put(self, request: web.Request, name: str) -> web.StreamResponse:
        self._refuse_existing(request, name)
        stored = await self._receive(request)
        self._refuse_existing(request, name)
        stored.metadata = _metadata(request)
        stored.content_type = request.headers.get("Content-Type", stored.content_type)
        self._keep(name, stored)
        return web.Response(headers={"ETag": f'"{stored.etag}"', **_checksum_headers(stored)})

    def _keep(self, name: str, stored: Stored) -> None:
        # The files of what is replaced stay: somebody may be reading them. The scratch directory goes as a whole.
        self._objects[name] = stored

    async def _get(self, request: web.Request, name: str) -> web.StreamResponse:
        stored = self._objects.get(name)
        if stored is None:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        begin, end, status = 0, stored.size, 200
        ranged = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if ranged:
            begin, end, status = int(ranged[1]), min(int(ranged[2] or stored.size - 1) + 1, stored.size), 206
            if begin >= stored.size:
                raise Refusal(416, "InvalidRange", "The requested range is not satisfiable")
        headers = {
            "ETag": f'"{stored.etag}"',
            "Last-Modified": format_datetime(stored.modified, usegmt=True),
            "Accept-Ranges": "bytes",
            "Content-Type": stored.content_type,
            "Content-Length": str(end - begin),
            **{f"x-amz-meta-{key}": value for key, value in stored.metadata.items()},
        }
        if ranged:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{stored.size}"
        elif request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            headers |= _checksum_headers(stored)
        answer = web.StreamResponse(status=status, headers=headers)
        await answer.prepare(request)
        if request.method == "GET":
            await _send(answer, stored.files, begin, end)
        await answer.write_eof()
        return answer

    def _list(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = min(int(query.get("max-keys", "1000")), 1000)
        after = query.get("continuation-token") or query.get("start-after", "")
        say = encoded if query.get("encoding-type") == "url" else str
        rows: dict[str, str] = {}
        truncated, last = False, ""
        for name in self.names():
            if not name.startswith(prefix):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            row = prefix + head + delimiter if found else name
            if row in rows or (after and row.encode() <= after.encode()):
                continue
            if len(rows) == most:
                truncated = True
                break
            rows[row] = (
                element("CommonPrefixes", text("Prefix", say(row))) if found else self._contents(say(name), name)
            )
            last = row
        return _xml(
            document(
                "ListBucketResult",
                text("Prefix", say(prefix)),
                text("KeyCount", len(rows)),
                text("MaxKeys", most),
                text("Delimiter", delimiter) if delimiter else "",
                text("EncodingType", "url") if say is encoded else "",
                text("IsTruncated", "true" if truncated else "false"),
                text("NextContinuationToken", last) if truncated else "",
                *rows.values(),
            )
        )

    def _contents(self, shown: str, name: str) -> str:
        stored = self._objects[name]
        return element(
            "Contents",
            text("Key", shown),
            text("LastModified", stored.modified.isoformat(timespec="milliseconds").replace("+00:00", "Z")),
            text("ETag", f'"{stored.etag}"'),
            text("Size", stored.size),
            text("StorageClass", "STANDARD"),
        )

    def _list_uploads(self) -> web.StreamResponse:
        rows = (
            element("Upload", text("Key", upload.name), text("UploadId", number))
            for number, upload in self._uploads.items()
        )
        return _xml(document("ListMultipartUploadsResult", text("IsTruncated", "false"), *rows))

    def _create_upload(self, request: web.Request, name: str) -> web.StreamResponse:
        number = secrets.token_hex(16)
        algorithm = request.headers.get("x-amz-checksum-algorithm", "").lower()
        content_type = request.headers.get("Content-Type", "binary/octet-stream")
        self._uploads[number] = Upload(name, _metadata(request), content_type, algorithm)
        headers = {"x-amz-checksum-algorithm": algorithm.upper()} if algorithm else {}
        return _xml(
            document("InitiateMultipartUploadResult", text("Key", name), text("UploadId", number)), headers=headers
        )

    def _upload(self, request: web.Request) -> Upload:
        upload = self._uploads.get(request.query["uploadId"])
        if upload is None:
            raise Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return upload

    async def _put_part(self, request: web.Request) -> web.StreamResponse:
        self._upload(request)
        part = await self._receive(request)
        self._upload(request).parts[int(request.query["partNumber"])] = part
        return web.Response(headers={"ETag": f'"{part.etag}"', **_checksum_headers(part)})

    async def _complete(self, request: web.Request, name: str) -> web.StreamResponse:
        wanted = ElementTree.fromstring(await request.read())  # noqa: S314  loopback only, and Expat resolves no files
        upload = self._upload(request)
        chosen: list[Stored] = []
        for part in wanted.iter():
            if part.tag.rpartition("}")[2] != "Part":
                continue
            said = {child.tag.rpartition("}")[2]: (child.text or "").strip('"') for child in part}
            stored = upload.parts.get(int(said["PartNumber"]))
            if stored is None or stored.etag != said["ETag"]:
                raise Refusal(400, "InvalidPart", "One or more of the specified parts could not be found.")
            sum_given = said.get("ChecksumSHA256")
            if sum_given and sum_given != stored.checksums.get("sha256") and self._honest():
                raise Refusal(400, "InvalidPart", "One or more of the parts has another checksum.")
            chosen.append(stored)
        if any(part.size < 5 << 20 for part in chosen[:-1]):
            raise Refusal(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        self._refuse_existing(request, name)
        digests = b"".join(bytes.fromhex(part.etag) for part in chosen)
        whole = Stored(
            [file for part in chosen for file in part.files],
            sum(part.size for part in chosen),
            f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(chosen)}",
            {},
            upload.metadata,
            upload.content_type,
            composite=True,
        )
        sums = [part.checksums.get("sha256", "") for part in chosen]
        if all(sums):
            digest = hashlib.sha256(b"".join(base64.b64decode(value) for value in sums)).digest()
            whole.checksums["sha256"] = f"{base64.b64encode(digest).decode()}-{len(chosen)}"
        self._keep(name, whole)
        del self._uploads[request.query["uploadId"]]
        told = text("ChecksumSHA256", whole.checksums["sha256"]) if whole.checksums else ""
        return _xml(document("CompleteMultipartUploadResult", text("Key", name), text("ETag", f'"{whole.etag}"'), told))


def _metadata(request: web.Request) -> dict[str, str]:
    return {
        name.lower().removeprefix("x-amz-meta-"): value
        for name, value in request.headers.items()
        if name.lower().startswith("x-amz-meta-")
    }


def _checksum_headers(stored: Stored) -> dict[str, str]:
    headers = {f"x-amz-checksum-{name}": value for name, value in stored.checksums.items()}
    if headers:
        headers["x-amz-checksum-type"] = "COMPOSITE" if stored.composite else "FULL_OBJECT"
    return headers


async def _send(answer: web.StreamResponse, files: list[Path], begin: int, end: int) -> None:
    position = 0
    for file in files:
        size = file.stat().st_size
        if position + size > begin and position < end:
            with file.open("rb") as source:
                source.seek(max(begin - position, 0))
                left = min(end - position, size) - max(begin - position, 0)
                while left:
                    data = source.read(min(left, 1 << 18))
                    await answer.write(data)
                    left -= len(data)
        position += size


def _xml(body: bytes, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, content_type="application/xml", headers=headers)
