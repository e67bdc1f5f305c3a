"""Jobs on a UNIX host, over one SSH connection: the client side of :mod:`.far_side`, which argues why it is safe.

Knows neither Airflow nor its connections: it is handed a coroutine that connects. Every operation is one command, and
every answer stands between two lines that carry a random token, so that a login banner, a cut answer or a program that
is not ours is never taken for an answer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, JobResult, JobStatus, Output, Phase
from airflow_enterprise_orch.delegation.system import (
    Absent,
    Candidate,
    Capabilities,
    Found,
    Protection,
    Sighting,
    Unknown,
)
from airflow_enterprise_orch.errors import (
    AnswerLost,
    LoginRefused,
    OutputMissing,
    RequestRejected,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.unix import far_side
from airflow_enterprise_orch.systems.unix.job_files import archive
from airflow_enterprise_orch.systems.unix.steps import UnixScript

if TYPE_CHECKING:
    import asyncssh

    from airflow_enterprise_orch.delegation.work import Work

KEY = re.compile(r"[A-Z][A-Z0-9]{19}")
SESSIONS = 8
"""Commands at once on one connection: sshd allows 10 (sshd_config(5), MaxSessions)."""
BUSY = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between the times that a host without a session left is asked again."""
CLOSING = 5
"""Seconds for an orderly goodbye."""
WHOLE_LOG = 16 * 1024 * 1024
"""The longest log that is read as a whole, for a step's outputs."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the jobs are.

    :param address: ``ssh://user@host:port``, for the identity and for messages.
    :param root: the job root on the host; below the login's home directory unless it begins with a slash.
    :param keep_days: how long the directory of an ended job stays.
    :param grace: how long a cancelled job has between TERM and KILL.
    :param timeout: how long one command may take.
    """

    address: str
    root: str = ".enterprise-orch/jobs"
    keep_days: int = 30
    grace: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=60)

    def __post_init__(self) -> None:
        # It travels in the command line, where some login shells know special characters that others do not.
        if not re.fullmatch(r"[A-Za-z0-9_./-]+", self.root) or ".." in self.root.split("/"):
            raise ValueError(f"the job root {self.root!r} may hold letters, digits, _ . - and / only, and no '..'")


@dataclass(frozen=True, slots=True)
class _Seen:
    """One line of the far side's ``state``."""

    key: str
    word: str
    kind: str
    number: str
    ended: str
    started: str
    cancel: str
    pid: str
    host: str


class SshJobs:
    """A :class:`~airflow_enterprise_orch.delegation.system.RemoteSystem` over SSH; claims by name, so ``atomic``.

    :param connect: opens a connection, or raises a ``ConnectionProblem`` or :class:`SystemUnreachable`.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncssh.SSHClientConnection]], place: Place) -> None:
        self._connect = connect
        self._place = place
        self._connection: asyncssh.SSHClientConnection | None = None
        self._connecting = asyncio.Lock()
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._problem: LoginRefused | None = None

    @property
    def identity(self) -> str:
        """Which host, as whom, and where the jobs are."""
        root = self._place.root if self._place.root.startswith("/") else f"/~/{self._place.root}"
        return self._place.address + root

    @property
    def capabilities(self) -> Capabilities:
        """Atomic; one command polls a thousand jobs."""
        return Capabilities(Protection.ATOMIC, settle=timedelta(seconds=10), batch=1000)

    async def close(self) -> None:
        """Close the connection; jobs go on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            try:
                async with asyncio.timeout(CLOSING):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()  # the peer takes nothing any more, not even a goodbye

    async def find(self, key: str) -> Sighting:
        """Look for the directory that is the claim."""
        seen = (await self._look([key], root_must_exist=False)).get(_checked(key))
        if seen is None or seen.word == "none":
            return Absent()
        if seen.word == "broken":
            return Unknown(f"the directory {key} in {self.identity} has lost its file 'pid'")
        return Found((Candidate(self._handle(seen), held=False, order=seen.started),))

    async def identify(self, job_id: str, key: str) -> JobHandle:
        """Return the handle of the job that a person named by its key: here a job is its directory."""
        if job_id != key:
            raise RequestRejected(f"{self.identity}: only the directory named {key} can be adopted for this attempt")
        sighting = await self.find(key)
        if not isinstance(sighting, Found):
            raise RequestRejected(f"{self.identity} has no job directory {key}")
        return sighting.candidates[0].handle

    async def submit(self, work: Work, key: str) -> JobHandle:
        """Hand a script over; where the key is taken, return the handle of the job that has it."""
        if not isinstance(work, UnixScript):
            raise RequestRejected(f"{self.identity} runs UNIX scripts, not {type(work).__name__}")
        words = (_checked(key), str(self._place.keep_days))
        payload = archive(work)
        try:
            answer = (await self._command("submit", words, far_side.SUBMIT, payload)).decode(errors="replace").strip()
        except _CommandLost as error:
            if not error.begun:
                raise SystemUnreachable(str(error)) from error
            raise AnswerLost(f"{error}; job {key} may have been handed over") from error
        if answer.startswith("error "):
            raise RequestRejected(f"{self.identity} did not take job {key}: {_one_line(answer[6:])}")
        try:
            return self._handle(_parse(answer))
        except ValueError as error:
            raise AnswerLost(f"{self.identity} answered {_one_line(answer)!r} to the submit of job {key}") from error

    async def poll(self, handles: Sequence[JobHandle]) -> Mapping[str, JobStatus]:
        """Return the state of many jobs with one command."""
        if not handles:
            return {}
        seen = await self._look([handle.key for handle in handles])
        return {key: status for key, line in seen.items() if (status := self._status(line)) is not None}

    async def cancel(self, handle: JobHandle) -> None:
        """Record that the end was asked for, then TERM to the process group, then KILL after the grace period."""
        words = (_checked(handle.key), f"{self._place.grace.total_seconds():.0f}")
        try:
            answer = await self._command("cancel", words, far_side.CANCEL)
        except _CommandLost as error:
            kind = AnswerLost if error.begun else SystemUnreachable
            raise kind(f"{error}; whether job {handle.key} was told to end is not known") from error
        word = answer.decode(errors="replace").strip()
        if word not in ("asked", "ended", "lost", "none"):
            raise RequestRejected(f"{self.identity} cannot end job {handle.key}: {_one_line(word)}")

    async def hold(self, handle: JobHandle) -> None:
        """Not possible: a script runs at once."""
        raise RequestRejected(f"{self.identity} cannot hold job {handle.key}: a script over SSH runs at once")

    async def release(self, handle: JobHandle) -> None:
        """Do nothing: no job is ever held."""

    async def discard(self, handle: JobHandle) -> None:
        """Not possible: no job is ever held."""
        raise RequestRejected(f"{self.identity} cannot discard job {handle.key}: it is not held")

    async def restart(self, handle: JobHandle, at_step: str, key: str) -> JobHandle:
        """Not possible: a script has no steps."""
        raise RequestRejected(f"{self.identity} cannot restart job {handle.key} at {at_step!r}: a script has no steps")

    async def result(self, handle: JobHandle) -> JobResult:
        """Return how a job ended."""
        seen = (await self._look([handle.key])).get(handle.key)
        if seen is None or seen.word in ("none", "broken"):
            return JobResult(Ending.UNKNOWN, detail=f"{self.identity} has no job {handle.key} any more")
        started, ended = _when(seen.started), _when(seen.ended)
        cancelled = seen.cancel == "cancel"
        if seen.word == "lost":
            ending = Ending.CANCELLED if cancelled else Ending.LOST
            reason = "killed after its cancel" if cancelled else "its process is gone and left no result"
            return JobResult(
                ending, code=ending.value, started=started, detail=f"{reason} (pid {seen.pid}, {seen.host})"
            )
        if seen.word != "ended" or not seen.number.isdigit():
            return JobResult(Ending.UNKNOWN, started=started, detail=f"{self.identity} says {seen.word} {seen.kind}")
        number = int(seen.number)
        if seen.kind == "signal":
            ending = Ending.CANCELLED if cancelled else Ending.ABENDED
            return JobResult(ending, f"signal {number}", 128 + number, started, ended)
        if seen.kind == "rejected":
            detail = "it never began: see its log"
            return JobResult(Ending.REJECTED, "rejected", None, started, ended, detail)
        if seen.kind == "exit":
            detail = "its end was asked for, and it ended by itself" if cancelled else ""
            return JobResult(Ending.COMPLETED, f"exit {number}", number, started, ended, detail)
        return JobResult(Ending.UNKNOWN, started=started, ended=ended, detail=f"its result reads {seen.kind!r}")

    async def read_output(self, handle: JobHandle, cursor: str = "", *, limit: int = 65536) -> Output:
        """Return what the script wrote from a byte offset on; a character that is not whole yet waits."""
        offset = int(cursor or 0)
        data = await self._read(handle, "from", offset, limit)
        if not data:
            return Output("", str(offset))
        whole = _whole_characters(data)
        return Output(data[:whole].decode(errors="replace"), str(offset + whole))

    async def read_tail(self, handle: JobHandle, *, lines: int = 20) -> str:
        """Return the last lines of what the script wrote."""
        return (await self._read(handle, "tail", lines, 16384) or b"").decode(errors="replace")

    async def read_source(self, handle: JobHandle, source: str) -> str:
        """Return the whole log; ``log`` is the only source of a script's outputs."""
        if source != "log":
            raise OutputMissing(f"{self.identity}: job {handle.key} has no output {source!r}; a script has only 'log'")
        data = await self._read(handle, "from", 0, WHOLE_LOG + 1)
        if data is None:
            raise OutputMissing(f"{self.identity}: the log of job {handle.key} was cleaned away")
        if len(data) > WHOLE_LOG:
            raise OutputMissing(
                f"{self.identity}: the log of job {handle.key} is longer than {WHOLE_LOG >> 20} MiB; "
                f"let the script write less, or split it"
            )
        return data.decode(errors="replace")

    async def _look(self, keys: Sequence[str], *, root_must_exist: bool = True) -> dict[str, _Seen]:
        given = "".join(f"{_checked(key)}\n" for key in keys).encode()
        operation = "poll" if root_must_exist else "find"
        subject = keys[0] if len(keys) == 1 else "-"
        answer = (await self._ask(operation, (subject,), far_side.LOOK, given)).decode(errors="replace")
        if answer.startswith("error "):
            raise SystemUnreachable(f"{self.identity}: {_one_line(answer[6:])}")
        if answer.startswith("noroot "):
            if not root_must_exist:
                return {}
            raise SystemUnreachable(f"{self.identity}: {answer[7:].strip()} is gone; is its file system mounted?")
        try:
            lines = [_parse(line) for line in answer.splitlines()]
        except ValueError as error:
            raise SystemUnreachable(f"{self.identity}: {error}") from error
        return {line.key: line for line in lines if line.key in keys}

    def _status(self, seen: _Seen) -> JobStatus | None:
        if seen.word in ("ended", "lost"):
            return JobStatus(Phase.ENDED, "" if seen.word == "ended" else "its process is gone and left no result")
        if seen.word == "running":
            return JobStatus(Phase.RUNNING)
        if seen.word == "elsewhere":
            return JobStatus(Phase.RUNNING, f"it was started on {seen.host}, but the connection leads to another host")
        return JobStatus(Phase.MISSING) if seen.word == "none" else None

    def _handle(self, seen: _Seen) -> JobHandle:
        fields = {"host": seen.host, "directory": f"{self._place.root}/{seen.key}"}
        return JobHandle(seen.key, seen.pid, name=seen.key, fields=fields)

    async def _read(self, handle: JobHandle, how: str, first: int, limit: int) -> bytes | None:
        """Return bytes of the log; None when the job's directory is gone."""
        words = (_checked(handle.key), how, str(first), str(limit))
        said, _, data = (await self._ask("output", words, far_side.READ)).partition(b"\n")
        return data if said == b"log" else None

    async def _ask(self, operation: str, words: Sequence[str], text: str, given: bytes = b"") -> bytes:
        """Run a command that changes nothing; once more on a new connection when the old one turns out to be dead."""
        for last in (False, True):
            fresh = self._connection is None
            try:
                return await self._command(operation, words, text, given)
            except _CommandLost as error:
                if last or fresh:
                    raise SystemUnreachable(str(error)) from error
        raise AssertionError("the loop above returns or raises")

    async def _command(self, operation: str, words: Sequence[str], text: str, given: bytes = b"") -> bytes:
        """Run one command and return what stands between its two token lines.

        :raises _CommandLost: when no whole answer came.
        """
        import asyncssh

        token = secrets.token_hex(8)
        program = far_side.program(text)
        key, *more = words
        line = far_side.BOOTSTRAP.format(
            count=len(program), operation=operation, words=" ".join((key, token, self._place.root, *more))
        )
        begun = False
        async with self._sessions:
            connection = await self._connected()
            try:
                async with asyncio.timeout(self._place.timeout.total_seconds()):
                    process = await _session(connection, line)
                    # Without its program, which follows on stdin, the command does nothing.
                    begun = True
                    done = await _communicate(process, program + given)
            except (asyncssh.Error, OSError, TimeoutError) as error:
                self._drop(connection)
                reason = _one_line(str(error)) or type(error).__name__
                raise _CommandLost(f"{self.identity}: the connection was lost: {reason}", begun=begun) from error
        status, out, err = done
        mark = b"@" + token.encode() + b"\n"
        _, opening, answer = out.partition(mark)
        if opening and answer.endswith(mark):
            return answer[: -len(mark)]
        if status is None:
            self._drop(connection)
            raise _CommandLost(f"{self.identity}: the connection was lost before the answer", begun=True)
        said = _one_line((err or out).decode(errors="replace")) or "nothing"
        raise _CommandLost(
            f"{self.identity}: the login's shell did not run our command: exit {status}, it said {said!r}", begun=True
        )

    async def _connected(self) -> asyncssh.SSHClientConnection:
        async with self._connecting:
            if self._problem is not None:
                raise self._problem  # a refused login is not tried again: that could revoke the user
            if self._connection is None or self._connection.is_closed():
                try:
                    self._connection = await self._connect()
                except LoginRefused as error:
                    self._problem = error
                    raise
            return self._connection

    def _drop(self, connection: asyncssh.SSHClientConnection) -> None:
        if self._connection is connection:
            self._connection = None
        connection.abort()


async def _session(connection: asyncssh.SSHClientConnection, line: str) -> asyncssh.SSHClientProcess[bytes]:
    """Begin a command; where the host has no session left it is asked again, for nothing has begun.

    sshd counts a session until it has reaped the command's process, which is some time after we see its end.
    """
    import asyncssh

    for pause in BUSY:
        try:
            return await connection.create_process(line, encoding=None)
        except asyncssh.ChannelOpenError:
            await asyncio.sleep(pause)
    return await connection.create_process(line, encoding=None)


class _CommandLost(Exception):
    """No whole answer came. ``begun``: the program may have reached the host."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


@asynccontextmanager
async def ssh_jobs(
    connect: Callable[[], Awaitable[asyncssh.SSHClientConnection]], place: Place
) -> AsyncIterator[SshJobs]:
    """Open the jobs at ``place``; the connection is made at the first use and closed at the end."""
    jobs = SshJobs(connect, place)
    try:
        yield jobs
    finally:
        await jobs.close()


async def _communicate(process: asyncssh.SSHClientProcess[bytes], given: bytes) -> tuple[int | None, bytes, bytes]:
    """Send stdin and read to the end; the exit status is None when the connection died before it came."""
    process.stdin.write(given)
    process.stdin.write_eof()
    out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
    await process.wait_closed()
    return process.exit_status, out, err


def _parse(line: str) -> _Seen:
    words = line.split()
    if len(words) != 9 or not KEY.fullmatch(words[0]):
        raise ValueError(f"the host answered {_one_line(line)!r} where the state of a job was expected")
    return _Seen(*words)


def _checked(key: str) -> str:
    if not KEY.fullmatch(key):
        raise RequestRejected(f"{key!r} is no delegation key: no job can have it")
    return key


def _when(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None  # "-": the host did not write it down


def _whole_characters(data: bytes) -> int:
    """Return how many bytes of ``data`` are whole UTF-8 characters, so that the rest can wait for its other half."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # the first byte of a longer character
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < wanted else len(data)
        if byte < 0x80:
            break
    return len(data)


def _one_line(text: str, limit: int = 300) -> str:
    words = " ".join(text.split())
    return words if len(words) <= limit else words[: limit - 3] + "..."
