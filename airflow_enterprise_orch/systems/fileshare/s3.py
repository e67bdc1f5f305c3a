"""S3 as a share, through the client that the amazon provider's hook makes.

What is relied on (Amazon S3 API Reference): PutObject and CompleteMultipartUpload with ``If-None-Match: *`` answer 412
when the object is there (409 when another such request is on its way), and a body whose SHA-256 is not the promised one
is refused. Stores that are only like S3 may ignore either without a word, so both are tried before the first delivery
of a session: without the first nothing is delivered; without the second every delivery is read back.

A large file is a multipart upload: its parts are the stage, which nobody sees before it is completed, and each part is
checked by the store as it arrives. The ETag is never taken for a checksum: it is none for uploads in parts or with KMS.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any, TypeVar

from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.fileshare.steps import JOURNAL
from airflow_enterprise_orch.systems.fileshare.store import Entry, Source, Staged

PART = 8 << 20
"""Bytes of a part; more for files that would need more than 10,000 parts (Amazon S3 User Guide, multipart limits)."""
LANES = 4
"""Parts on their way at once: memory stays near (LANES + 2) parts, whatever the file's size."""
PAUSES = (0.5, 2.0, 5.0)
"""Seconds before a part is sent again."""
LOGIN_CODES = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "InvalidClientTokenId", "UnrecognizedClientException",
})  # fmt: skip
BUSY_CODES = frozenset({"SlowDown", "ServiceUnavailable", "RequestTimeTooSkewed", "503", "429", "TooManyRequests"})
T = TypeVar("T")


class S3Store:
    """One bucket, or a prefix of it.

    :param connect: makes the boto3 client; called once, in a thread.
    :param address: the endpoint, for the identity.
    :param prefix: what all names begin with, without slashes at its ends; "" for the whole bucket.
    """

    def __init__(self, connection_id: str, connect: Callable[[], Any], address: str, bucket: str, prefix: str) -> None:
        self._connection_id = connection_id
        self._connect = connect
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self.identity = f"s3://{address}/{bucket}/{prefix}".rstrip("/")
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._checks: bool | None = None

    async def prepare(self) -> None:
        """Try whether the store keeps what a delivery relies on."""
        if self._checks is not None:
            return
        probe = f"{JOURNAL}/probe"
        if await self.create(probe, b"probe\n") and await self.create(probe, b"probe\n"):
            raise ConnectionInvalid(
                self._connection_id,
                f"{self.identity} ignores If-None-Match: it would overwrite files without a word",
                "use a store that keeps it (Amazon S3 and most others do), or a newer version of this one",
            )
        wrong = base64.b64encode(bytes(32)).decode()
        name = f"{JOURNAL}/probe.{secrets.token_hex(8)}"
        try:
            await self._ask("put_object", Key=self._name(name), Body=b"probe\n", ChecksumSHA256=wrong)
        except RequestRejected:
            self._checks = True
        else:
            await self.remove(name)
            self._checks = False

    async def stat(self, path: str) -> Entry | None:
        """Return what lies at ``path``."""
        answer = await self._head(path)
        if answer is None:
            return None
        return Entry(path, int(answer["ContentLength"]), str(answer["ETag"]), answer["LastModified"])

    async def read(self, path: str) -> bytes | None:
        """Return a small object whole."""

        def get(client: Any) -> bytes:
            data: bytes = client.get_object(Bucket=self._bucket, Key=self._name(path))["Body"].read()
            return data

        return await self._maybe_do(get, f"read {path}")

    async def create(self, path: str, data: bytes) -> bool:
        """Put a small object unless it is there."""
        return await self._put(path, data)

    async def remove(self, path: str) -> None:
        """Remove an object."""
        await self._ask("delete_object", Key=self._name(path))

    async def listing(self, folder: str) -> list[Entry] | None:
        """Return the objects below ``folder/`` that have no further slash in their names."""
        prefix = self._name(folder) + "/" if folder else self._prefix

        def pages(client: Any) -> list[Entry]:
            found: list[Entry] = []
            for page in client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix, Delimiter="/"
            ):
                for item in page.get("Contents", ()):
                    name = item["Key"][len(prefix) :]
                    if name:
                        found.append(Entry(name, int(item["Size"]), str(item["ETag"]), item["LastModified"]))
            return found

        return await self._do(pages, f"list {folder or 'the root'}")

    async def sha256(self, path: str) -> str | None:
        """Return the stored checksum where it is one of the whole object; read it back otherwise."""
        answer = await self._head(path, ChecksumMode="ENABLED")
        if answer is None:
            return None
        stored = answer.get("ChecksumSHA256", "")
        if stored and "-" not in stored and answer.get("ChecksumType") != "COMPOSITE" and self._checks:
            return base64.b64decode(stored).hex()

        def read_back(client: Any) -> str:
            digest = hashlib.sha256()
            for block in client.get_object(Bucket=self._bucket, Key=self._name(path))["Body"].iter_chunks(1 << 20):
                digest.update(block)
            return digest.hexdigest()

        return await self._maybe_do(read_back, f"read {path} back")

    async def begin(self, path: str, source: Source) -> str:
        """Begin a multipart upload, unless the content is small enough for one request: then nothing is staged."""
        if source.size <= PART:
            return ""
        answer = await self._ask("create_multipart_upload", Key=self._name(path), ChecksumAlgorithm="SHA256")
        return str(answer["UploadId"])

    async def fill(self, path: str, token: str, source: Source) -> Staged:
        """Upload the parts, each with its checksum; a small content is only read and hashed."""
        if not token:
            data = await asyncio.to_thread(_whole, source)
            digest = hashlib.sha256(data).digest()
            return Staged(path, "", len(data), digest.hex(), base64.b64encode(digest).decode())
        name, size = self._name(path), _part_size(source.size)

        def upload(client: Any) -> Staged:
            if self._checks:
                client.meta.events.register("before-sign.s3.UploadPart", _promised_already, unique_id="delivery")

            def send(number: int, block: bytes) -> tuple[int, str, bytes]:
                digest = hashlib.sha256(block).digest()
                answer = _patiently(
                    lambda: client.upload_part(
                        Bucket=self._bucket,
                        Key=name,
                        UploadId=token,
                        PartNumber=number,
                        Body=block,
                        ChecksumSHA256=base64.b64encode(digest).decode(),
                    )
                )
                return number, str(answer["ETag"]), digest

            return _stage(path, token, source, size, send)

        return await self._do(upload, f"upload {path}")

    async def publish(self, staged: Staged, source: Source) -> bool:
        """Complete the upload, or put a small content, unless the object is there."""
        if not staged.token:
            data = await asyncio.to_thread(_whole, source)
            if hashlib.sha256(data).hexdigest() != staged.sha256:
                raise RequestRejected(
                    f"the file changed while it was delivered to {staged.path}; nothing was published"
                )
            return await self._put(staged.path, data)
        proof = json.loads(staged.proof)
        parts = [
            {"PartNumber": number, "ETag": etag, "ChecksumSHA256": checksum}
            for number, etag, checksum in proof["parts"]
        ]
        return await self._once(
            "complete_multipart_upload",
            Key=self._name(staged.path),
            UploadId=staged.token,
            MultipartUpload={"Parts": parts},
            IfNoneMatch="*",
        )

    async def confirm(self, staged: Staged) -> bool:
        """Compare the stored checksum; read back where the store does not check them."""
        answer = await self._head(staged.path, ChecksumMode="ENABLED")
        if answer is None or int(answer["ContentLength"]) != staged.size:
            return False
        expected = json.loads(staged.proof)["whole"] if staged.token else staged.proof
        stored = str(answer.get("ChecksumSHA256") or "")
        if stored and self._checks:
            return stored == expected
        return await self.sha256(staged.path) == staged.sha256

    async def discard(self, path: str, token: str) -> None:
        """Abort an upload."""
        await self._maybe("abort_multipart_upload", Key=self._name(path), UploadId=token)

    async def link(self, path: str, lifetime: timedelta) -> str | None:
        """Return a presigned link. It dies with the session of whoever signs it, if that ends earlier."""

        def sign(client: Any) -> str:
            return str(
                client.generate_presigned_url(
                    "get_object",
                    Params={"Bucket": self._bucket, "Key": self._name(path)},
                    ExpiresIn=int(lifetime.total_seconds()),
                )
            )

        return await self._do(sign, f"sign a link to {path}")

    async def close(self) -> None:
        """Close the client's connections."""
        if self._client is not None:
            await asyncio.to_thread(self._client.close)

    # Requests.

    def _name(self, path: str) -> str:
        return self._prefix + path

    async def _head(self, path: str, **more: Any) -> Any:
        """Ask what an object is; None when it is not there. Why it is refused tells only an answer with a body."""
        from botocore.exceptions import ClientError

        def act(client: Any) -> Any:
            where = {"Bucket": self._bucket, "Key": self._name(path)}
            try:
                return client.head_object(**where, **more)
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (400, 403):
                    client.get_object(**where, Range="bytes=0-0")["Body"].close()
                raise

        return await self._maybe_do(act, f"look at {path}")

    async def _put(self, path: str, data: bytes) -> bool:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return await self._once("put_object", Key=self._name(path), Body=data, ChecksumSHA256=checksum, IfNoneMatch="*")

    async def _once(self, operation: str, **arguments: Any) -> bool:
        """Ask for something that can be done once; False when it was done before.

        A repeated request of the client's own is no harm: it says that the object is there, and whose it is is found
        out by its content.
        """
        from botocore.exceptions import ClientError

        def act(client: Any) -> bool:
            try:
                getattr(client, operation)(Bucket=self._bucket, **arguments)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code in ("PreconditionFailed", "412"):
                    return False
                if code == "ConditionalRequestConflict":
                    # Another such request is on its way (409): which one wins is seen in a moment.
                    raise SystemUnreachable(f"{self.identity}: another writer is at {arguments['Key']} now") from error
                raise
            return True

        return await self._do(act, f"{operation} {arguments['Key']}")

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        return await self._do(
            lambda client: getattr(client, operation)(Bucket=self._bucket, **arguments),
            f"{operation} {arguments['Key']}",
        )

    async def _maybe(self, operation: str, **arguments: Any) -> Any:
        return await self._maybe_do(
            lambda client: getattr(client, operation)(Bucket=self._bucket, **arguments),
            f"{operation} {arguments['Key']}",
        )

    async def _maybe_do(self, act: Callable[[Any], T], what: str) -> T | None:
        try:
            return await self._do(act, what)
        except _NotThere:
            return None

    async def _do(self, act: Callable[[Any], T], what: str) -> T:
        """Run ``act`` with the client in a thread, and say in our words what went wrong."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
            SSLError,
        )
        from urllib3.exceptions import HTTPError

        try:
            client = await self._connected()
            return await asyncio.to_thread(act, client)
        except ClientError as error:
            raise self._told(error, what) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise ConnectionInvalid(
                self._connection_id, "it gives no access key", "fill in login and password, or a role"
            ) from error
        except SSLError as error:
            raise ConnectionUntrusted(
                self._connection_id,
                f"the certificate of {self.identity} cannot be verified",
                "name the CA's file in the connection's extra as verify",
            ) from error
        except (BotoCoreError, HTTPError) as error:
            raise SystemUnreachable(f"{self.identity} could not {what}: {_one_line(error)}") from error
        except OSError as error:
            raise SystemUnreachable(f"{self.identity} could not {what}: {_one_line(error)}") from error

    def _told(self, error: Any, what: str) -> Exception:
        answer = error.response
        code = str(answer.get("Error", {}).get("Code", ""))
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        said = f"{code}: {_one_line(answer.get('Error', {}).get('Message', ''))}"
        if code in LOGIN_CODES:
            return LoginRefused(
                self._connection_id,
                f"{self.identity} refused the login ({code})",
                "correct access key and secret in it",
            )
        if code in ("NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed"):
            return ConnectionInvalid(
                self._connection_id, f"{self.identity}: {said}", "correct bucket_name or region_name in its extra"
            )
        if code in ("AccessDenied", "AllAccessDisabled", "403"):
            return ConnectionInvalid(
                self._connection_id,
                f"{self.identity} does not let its user {what} ({said})",
                "grant s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket there",
            )
        if code in ("NoSuchKey", "404", "NoSuchUpload", "NotFound"):
            return _NotThere(f"{self.identity} could not {what}: {said}")
        if status in (429, 503) or code in BUSY_CODES:
            return SystemBusy(f"{self.identity} could not {what}: {said}")
        if status >= 500 or code in ("RequestTimeout", "OperationAborted"):
            return SystemUnreachable(f"{self.identity} could not {what}: {said}")
        return RequestRejected(f"{self.identity} refused to {what}: {said}")

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                self._client = await asyncio.to_thread(self._connect)
            return self._client


class _NotThere(SystemUnreachable):
    """What was asked for is not there."""


def _promised_already(request: Any, **_: Any) -> None:
    """Keep the SHA-256 of a part's body out of the signature, where it would only be computed once more.

    It stands in a header that is signed, and this store was tried and compares it. Who wants both says so in the
    connection (botocore, ``Config``, ``payload_signing_enabled``).
    """
    config = request.context["client_config"]
    given = {"payload_signing_enabled": False, **(config.s3 or {})}
    request.context["client_config"] = config.merge(type(config)(s3=given))


def _patiently(act: Callable[[], Any]) -> Any:
    """Send a part, which does no harm when it is sent again, once more after the store or the network failed."""
    from botocore.exceptions import ClientError, HTTPClientError

    for pause in PAUSES:
        try:
            return act()
        except HTTPClientError:
            time.sleep(pause)
        except ClientError as error:
            if int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) < 500:
                raise
            time.sleep(pause)
    return act()


def _part_size(size: int) -> int:
    part = PART
    while size > part * 10000:
        part *= 2
    return part


def _whole(source: Source) -> bytes:
    data = b"".join(source.blocks(source.size + 1))
    if len(data) != source.size:
        raise RequestRejected(f"{source.file} changed while it was read: it had {source.size} bytes; deliver it again")
    return data


def _stage(
    path: str, token: str, source: Source, size: int, send: Callable[[int, bytes], tuple[int, str, bytes]]
) -> Staged:
    """Read once, hash the whole on the way, and keep a few parts in the air."""
    whole = hashlib.sha256()
    total = 0
    sent: list[tuple[int, str, bytes]] = []
    with ThreadPoolExecutor(LANES, thread_name_prefix="delivery") as pool:
        flying: set[Future[tuple[int, str, bytes]]] = set()
        try:
            for number, block in enumerate(source.blocks(size), start=1):
                flying.add(pool.submit(send, number, block))
                whole.update(block)
                total += len(block)
                if len(flying) >= LANES:
                    done, flying = wait(flying, return_when=FIRST_COMPLETED)
                    sent += [future.result() for future in done]
            sent += [future.result() for future in flying]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if total != source.size:
        raise RequestRejected(f"{source.file} changed while it was read: {source.size} bytes, then {total}")
    sent.sort()
    composite = base64.b64encode(hashlib.sha256(b"".join(digest for _, _, digest in sent)).digest()).decode()
    proof = {
        "parts": [(number, etag, base64.b64encode(digest).decode()) for number, etag, digest in sent],
        "whole": f"{composite}-{len(sent)}",
    }
    return Staged(path, token, total, whole.hexdigest(), json.dumps(proof))


def _one_line(error: object, limit: int = 300) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= limit else words[: limit - 3] + "..."
