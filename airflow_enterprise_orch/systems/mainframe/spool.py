"""Reading a job's spool: from a cursor, one DD, and the lines that explain a failure."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation.https import Call
from airflow_enterprise_orch.delegation.job import JobHandle, Output
from airflow_enterprise_orch.errors import OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.mainframe.documents import SpoolFile
from airflow_enterprise_orch.systems.mainframe.session import JobAbsent, ZosmfSession

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 5000
"""Records asked for at once."""
LARGEST = 16 * 1024 * 1024
"""Characters of one output source that are read; a larger one is no place to look for a value."""

# Messages by which z/OS says why a job failed: IEF (allocation, job end), IEC (data management), ICH and IRR (RACF),
# CSV (program fetch), IEA (symptom dump), CEE (Language Environment), IGZ (COBOL), DSN (Db2), DFS (IMS).
_TELLING = re.compile(
    r"\b(IEF(?:45[0-9]|272|472|251|A\d\d\d|C\d\d\d)I|IEF2\d\dI|IEC\d{3}I|ICH\d{3,5}I|IRR\d{3}I|CSV\d{3}I|IEA995I|"
    r"CEE\d{4}[CES]|IGZ\d{4}[CES]|DSN\w{5,6}[EI]|DFS\d{4}[EI])\b"
)


class Spool:
    """The spool files of jobs.

    :param path: gives a job's URL path.
    """

    def __init__(self, session: ZosmfSession, path: Callable[[JobHandle], Awaitable[str]]) -> None:
        self._session = session
        self._path = path

    async def files(self, handle: JobHandle) -> list[SpoolFile]:
        """Return a job's spool files in the order of their ids."""
        call = Call(f"spool of {handle.job_id}", "GET", f"{await self._path(handle)}/files")
        answer = await self._session.json(call)
        if not isinstance(answer, list) or not all(isinstance(file, Mapping) for file in answer):
            raise SystemUnreachable(f"z/OSMF answered the spool files of {handle.job_id} with something else")
        files = [SpoolFile.of(file) for file in answer]
        return sorted(files, key=lambda file: int(file.id) if file.id.isdigit() else 0)

    async def read_new(self, handle: JobHandle, cursor: str, *, limit: int) -> Output:
        """Return the records that are new since ``cursor``, each file's under its name.

        JES writes to several files at once, so the cursor counts the records of each: ``2:14,4:3,102:88``. Where the
        limit leaves a file for the next read, ``@4`` says with which that begins: one that is written faster than it is
        read must not keep the others waiting. The JCL itself (JESJCL) is left out.
        """
        seen, begin = _counts(cursor), _begin(cursor)
        text = ""
        left = ""
        for file in _from(await self.files(handle), begin):
            before = seen.get(file.id, 0)
            if file.ddname in ("JESJCL", "JESJCLIN") or (file.records is not None and file.records <= before):
                continue
            room = (limit - len(text)) // (file.lrecl + 1)
            if room <= 0 and text:
                left = f"@{file.id}"
                break
            records = await self.records(handle, file, before, min(max(room, 1), CHUNK))
            if records:
                where = f"{file.step}.{file.ddname}" if file.step and not file.of_jes else file.ddname
                text += f"--- {where}\n" + "".join(f"{record}\n" for record in records)
                seen[file.id] = before + len(records)
        counts = [f"{file}:{count}" for file, count in seen.items()]
        return Output(text, ",".join([*counts, left] if left else counts))

    async def explain(self, handle: JobHandle, *, lines: int) -> str:
        """Return the messages that say why a job failed, and the end of what its last program wrote."""
        files = await self.files(handle)
        logs = [file for file in files if file.ddname in ("JESMSGLG", "JESYSMSG")]
        # A job's messages stand in both logs; the first is enough.
        said = list(dict.fromkeys([record.strip() for log in logs for record in await self.last(handle, log, 2000)]))
        telling = [record for record in said if _TELLING.search(record)]
        own = [file for file in files if not file.of_jes]
        written = await self.last(handle, own[-1], lines) if own else []
        room = max(lines - min(len(telling), max(lines // 2, 1)), 1)
        end = [record for record in written if record.strip()][-room:]
        head = telling[-(lines - len(end)) :] if lines > len(end) else []
        return "\n".join([*head, *end] or said[-lines:])

    async def read_dd(self, handle: JobHandle, source: str) -> str:
        """Return all records of the files that ``source`` names: ``DD``, ``STEP.DD``, ``STEP.PROCSTEP.DD`` or ``log``.

        :raises OutputMissing: there is none, naming those that there are.
        """
        try:
            files = await self.files(handle)
        except JobAbsent as error:
            raise OutputMissing(f"job {handle.job_id} is gone from JES, and its spool with it") from error
        if source.lower() == "log":
            wanted = [file for file in files if file.ddname in ("JESMSGLG", "JESYSMSG")]
        else:
            wanted = [file for file in files if file.answers_to(source)]
        if not wanted:
            there = ", ".join(dict.fromkeys(file.ddname for file in files)) or "nothing"
            raise OutputMissing(f"job {handle.job_id} has no spool file {source!r}; it has {there}")
        parts: list[str] = []
        size = 0
        for file in wanted:
            start = 0
            while True:
                records = await self.records(handle, file, start, CHUNK)
                parts += records
                start += len(records)
                size += sum(map(len, records))
                if size > LARGEST:
                    raise OutputMissing(
                        f"spool file {source!r} of job {handle.job_id} is larger than {LARGEST >> 20} MiB; "
                        f"write the value to a DD of its own"
                    )
                if len(records) < CHUNK:
                    break
        return "".join(f"{record}\n" for record in parts)

    async def last(self, handle: JobHandle, file: SpoolFile, count: int) -> Sequence[str]:
        """Return the last records of a file."""
        start = max((file.records or 0) - count, 0)
        return await self.records(handle, file, start, CHUNK if file.records is None else count)

    async def records(self, handle: JobHandle, file: SpoolFile, start: int, count: int) -> list[str]:
        """Return at most ``count`` records from ``start``; none when there are no more."""
        call = Call(
            f"spool file {file.ddname} of {handle.job_id}",
            "GET",
            f"{await self._path(handle)}/files/{file.id}/records",
            headers={"X-IBM-Record-Range": f"{start}-{start + count - 1}"},
        )
        try:
            response = await self._session.call(call)
        except JobAbsent:
            raise
        except RequestRejected:
            if start:
                return []  # category 6, reason 11: the range begins behind the last record
            raise
        text = response.text
        return text.removesuffix("\n").split("\n") if text else []


def _counts(cursor: str) -> dict[str, int]:
    """Read a cursor; one that is not ours starts from the beginning."""
    pairs = (part.partition(":") for part in cursor.split(",") if part)
    return {file: int(count) for file, _, count in pairs if count.isdigit()}


def _begin(cursor: str) -> str:
    """Return the file with which a cursor says to begin, "" for the first."""
    last = cursor.rpartition(",")[2]
    return last[1:] if last.startswith("@") else ""


def _from(files: list[SpoolFile], begin: str) -> list[SpoolFile]:
    """Return the files in their order, beginning with one of them and ending with those before it."""
    at = next((place for place, file in enumerate(files) if file.id == begin), 0)
    return files[at:] + files[:at]
