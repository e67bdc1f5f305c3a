"""The stand-in of a UNIX host: a real SSH server that runs commands as the current user in its scratch directory.

Any SSH client works against it: exec with stdin, exit status and signals, a shell, sftp. What it adds for tests:

- **An independent record of launches.** A ``setsid`` comes first on its PATH, which writes down every execution before
  it becomes the real one. ``GET jobs`` tells those whose program is ``<job directory>/run``: one entry per launch,
  whatever the client believes. The key is the name of the job directory.
- **Faults by operation.** A command may name its operation and subject as words of the command line:
  ``... orch:submit KEY``. Commands without such a word meet only faults on ``any``. ``match`` searches the command line
  and, for commands that name their operation, what came on stdin.
- **A share.** Its sftp begins in the home directory, and keeps record of deliveries there (:mod:`.ssh_share`).
- **Fates.** The recorded launch replaces the job directory's ``script`` and ``interpreter`` (see
  :mod:`airflow_enterprise_orch.systems.unix.far_side` for the layout) right before the job starts.

A refused login is one connection that offered something and was not let in, whatever number of keys it tried.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import re
import secrets
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import asyncssh

from airflow_enterprise_orch.lab import launches, processes
from airflow_enterprise_orch.lab.share_jobs import ShareJobs
from airflow_enterprise_orch.lab.ssh_share import HomeSftp
from airflow_enterprise_orch.lab.stand_in import Fault, FaultPlan, LabJob

MARK = "ENTERPRISE_ORCH_LAB"
LAUNCH = "ENTERPRISE_ORCH_LAB_LAUNCH"
FATES = "ENTERPRISE_ORCH_LAB_FATES"
SUBMIT = "ENTERPRISE_ORCH_LAB_SUBMIT"
OPERATION = re.compile(r"\borch:(submit|find|poll|release|cancel|output)\b")
USER = "lab"


class SshStandIn:
    """An asyncssh server on 127.0.0.1 and a free port, with host key, user key and password of its own.

    :ivar accepted_logins: connections that were let in.
    :ivar refused_logins: connections that were not.
    :ivar commands: how many commands were run, by operation.
    :ivar home: the home directory on the host.
    :ivar late: how many commands were cut off and have yet to begin.
    """

    name: ClassVar[str] = "ssh"
    cannot: ClassVar[tuple[str, ...]] = ("hold", "html_503")

    def __init__(self) -> None:
        self.faults = FaultPlan()
        self.accepted_logins = 0
        self.refused_logins = 0
        self.password = secrets.token_urlsafe(12)
        self.commands: Counter[str] = Counter()
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.share_jobs = ShareJobs(self.faults)
        self._mark = f"{MARK}={secrets.token_hex(16)}"
        self._commands: set[asyncio.Task[None]] = set()
        self._naps: set[asyncio.Task[None]] = set()
        self.late = 0
        self._listener: asyncssh.SSHAcceptor | None = None
        self._watch: asyncio.Task[None] | None = None
        self._purged: dict[str, str] = {}
        self._scratch = Path()
        self.home = Path()

    async def start(self, scratch: Path) -> dict[str, Any]:
        """Start serving; return its part of the lab's JSON without ``control``."""
        quiet = logging.getLogger("asyncssh")
        if quiet.level == logging.NOTSET:
            quiet.setLevel(logging.WARNING)  # it tells ten lines per command at INFO
        self._scratch = scratch
        self.home = scratch / "home"
        self.home.mkdir()
        self._prepare()
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = asyncssh.generate_private_key("ssh-ed25519", comment="the lab's user")
        key_file = scratch / "user_key"
        key_file.touch(mode=0o600)
        private_key = self.user_key.export_private_key("openssh").decode()
        key_file.write_text(private_key)
        self._listener = await asyncssh.create_server(
            lambda: _Login(self),
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            process_factory=self._serve_command,
            sftp_factory=lambda channel: HomeSftp(channel, self),
            encoding=None,
            keepalive_interval=0,
        )
        port = self._listener.get_port()
        host_key_text = " ".join(host_key.export_public_key("openssh").decode().split()[:2])
        (scratch / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key_text}\n")
        self._watch = asyncio.create_task(self._purge_ended())
        return {
            "host": "127.0.0.1",
            "port": port,
            "user": USER,
            "password": self.password,
            "private_key_file": str(key_file),
            "known_hosts_file": str(scratch / "known_hosts"),
            "connection": {
                "conn_type": "ssh",
                "host": "127.0.0.1",
                "port": port,
                "login": USER,
                "extra": {"private_key": private_key, "host_key": host_key_text},
            },
        }

    async def stop(self) -> None:
        """Stop serving and end every process that was started."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._listener is not None:
            self._listener.close()
            await self._listener.wait_closed()
        await self._end_everything()

    async def reset(self) -> None:
        """Forget all jobs, ending those that run, all faults and all counted logins; connections are cut."""
        self.faults.clear()
        await self._end_everything()
        for path in (self.home, self._scratch / "journal"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self.home.mkdir()
        self._purged.clear()
        self.share_jobs.clear()
        self.commands.clear()
        self.accepted_logins = self.refused_logins = 0

    def jobs(self) -> list[LabJob]:
        """Return every launch, oldest first, and then what was delivered to the home directory by sftp."""
        return [*(self._job(line) for line in self._journal()), *self.share_jobs.jobs()]

    @property
    def busy(self) -> int:
        """How many commands are being served now, those of clients that went away included."""
        return len(self._commands)

    def refuse_next_login(self) -> bool:
        """Return whether the login that comes now is refused."""
        return self.faults.refusal()

    def _prepare(self) -> None:
        shims = self._scratch / "bin"
        launches.install(shims, self._scratch / "journal")
        self._environment = {
            "HOME": str(self.home),
            "PATH": f"{shims}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "SHELL": "/bin/sh",
            "USER": USER,
            "LOGNAME": USER,
            "LANG": "C.UTF-8",
            MARK: self._mark.partition("=")[2],
        }

    def _journal(self) -> list[dict[str, Any]]:
        return launches.read(self._scratch / "journal")

    def _job(self, line: dict[str, Any]) -> LabJob:
        directory = Path(line["directory"])
        launched = _stamp(line["time"])
        job = LabJob(directory.name, str(line["pid"]), directory.name, "running", ran=True)
        job.submitted = job.started = launched
        ended = directory / "exit"
        if line["launch"] in self._purged:
            job.state, job.result = "purged", self._purged[line["launch"]]
            return job
        # A job may leave its result and go between two looks: so first whether it lives, then whether it has ended.
        lives = ended.exists() or self._lives(line)
        if ended.exists():
            job.state, job.result, job.ended = "ended", _result(ended), _stamp(ended.stat().st_mtime)
        elif not lives:
            job.state, job.result = "ended", "lost: no process and no result"
        return job

    def _lives(self, line: dict[str, Any]) -> bool:
        """Tell whether a process of a launch is there.

        /proc shows the environment that a program began with: the shim, which has just written the journal and is about
        to become the real setsid, carries the lab's mark, but not yet that of its launch.
        """
        by_launch = processes.marked(f"{LAUNCH}={line['launch']}")
        return bool(by_launch) or line["pid"] in processes.marked(self._mark)

    async def _purge_ended(self) -> None:
        while True:
            for line in self._journal():
                directory = Path(line["directory"])
                if line.get("purge") and line["launch"] not in self._purged and (directory / "exit").exists():
                    self._purged[line["launch"]] = _result(directory / "exit")
                    shutil.rmtree(directory)
            await asyncio.sleep(0.1)

    async def _end_everything(self) -> None:
        for nap in self._naps:
            nap.cancel()
        for connection in list(self.connections):
            connection.abort()
        await processes.end_marked(self._mark)
        if self._commands:
            await asyncio.wait(self._commands)

    async def nap(self, seconds: float) -> None:
        """Sleep, until a reset at most: that ends the command too."""
        nap = asyncio.create_task(asyncio.sleep(seconds))
        self._naps.add(nap)
        nap.add_done_callback(self._naps.discard)
        await nap

    def take_late(self, fault: Fault, act: Callable[[], object]) -> None:
        """Let something take effect later, unless a reset comes first."""

        async def later() -> None:
            self.late += 1
            try:
                await self.nap(fault.seconds)
            finally:
                self.late -= 1
            with suppress(asyncssh.SFTPError, OSError):  # nobody hears it any more
                act()

        self._keep(asyncio.create_task(later()))

    def end_session(self, connection: asyncssh.SSHServerConnection, fault: Fault) -> None:
        """Cut a connection. Who asks is logged in already: an ``unauthorized`` refuses it the next time it comes."""
        if fault.do == "unauthorized":
            self.faults.faults.insert(0, Fault("any", "unauthorized"))
        connection.abort()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._commands.add(task)
        task.add_done_callback(self._commands.discard)

    async def _serve_command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.create_task(self._command(process))
        self._keep(task)
        await task

    async def _command(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run one command, meeting the faults that are planned for it."""
        command = process.command or "exec /bin/sh"
        named = OPERATION.search(command)
        operation = named[1] if named else "any"
        self.commands[operation] += 1
        connection = process.get_extra_info("connection")
        given = b""
        if named:
            try:
                given = await process.stdin.read()
            except (asyncssh.Error, OSError):
                return  # the client went away before the command was whole: nothing was asked
        subject = command + "\n" + given.decode(errors="replace")
        fault = self.faults.disruption(operation, subject)
        if fault is not None and fault.do == "slow":
            await self.nap(fault.seconds)
        kind = fault.do if fault else ""
        if fault is not None and kind in ("cut_before_commit", "unauthorized"):
            self.end_session(connection, fault)
            return
        if kind == "error_500":
            process.stdout.write(b"\x00\xff<garbage>\n")
            process.stderr.write(b"lab: internal error\n")
            process.exit(255)
            return
        if fault is not None and kind == "late_commit":
            self.late += 1
            connection.abort()
            try:
                await self.nap(fault.seconds)
            finally:
                self.late -= 1
        spoilt = fault if kind in ("cut_after_commit", "late_commit", "half_answer", "slow_answer") else None
        if operation == "submit":
            await self._submit(process, command, given, subject, spoilt)
        else:
            await self._run(process, command, given if named else None, {}, spoilt)

    async def _submit(
        self,
        process: asyncssh.SSHServerProcess[bytes],
        command: str,
        given: bytes,
        subject: str,
        spoilt: Fault | None,
    ) -> None:
        fates = self.faults.fate(subject)
        submit = secrets.token_hex(8)
        plan = json.dumps([{"do": fate.do, "seconds": fate.seconds} for fate in fates])
        await self._run(process, command, given, {FATES: plan, SUBMIT: submit}, spoilt)
        if not any(line["submit"] == submit for line in self._journal()):
            for fate in fates:  # it launched nothing (adopted a job): the fate waits for the next
                self.faults.put_back(fate, subject)

    async def _run(
        self,
        process: asyncssh.SSHServerProcess[bytes],
        command: str,
        given: bytes | None,
        more: dict[str, str],
        spoilt: Fault | None,
    ) -> None:
        # A session of its own, as sshd(8) gives every command; it outlives the connection, as it does there.
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.home,
            env={**self._environment, **more},
            start_new_session=True,
        )
        if child.stdin is None or child.stdout is None or child.stderr is None:
            raise RuntimeError("asyncio made no pipes")
        feeding = asyncio.create_task(_feed(process, child, child.stdin, given))
        kept: list[bytes] = []
        outputs = [
            asyncio.create_task(_pass_on(child.stdout, None if spoilt else process.stdout, kept)),
            asyncio.create_task(_pass_on(child.stderr, None if spoilt else process.stderr)),
        ]
        status = await child.wait()
        await asyncio.wait(outputs)  # as sshd does: the channel closes when the last holder of the pipes does
        feeding.cancel()
        await asyncio.wait([feeding])
        if SUBMIT in more:
            await self._settled(f"{SUBMIT}={more[SUBMIT]}")
        if spoilt is not None and spoilt.do == "slow_answer":
            await self.nap(spoilt.seconds)
        if spoilt is not None and not await _spoil(process, spoilt, b"".join(kept)):
            return
        if status < 0:
            process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
        else:
            process.exit(status)

    async def _settled(self, mark: str) -> None:
        """Wait until a launch that the command began is on record: before the client knows of it, so do we."""
        for _ in range(500):
            if not processes.marked(mark):
                return
            await asyncio.sleep(0.01)


async def _feed(
    process: asyncssh.SSHServerProcess[bytes],
    child: asyncio.subprocess.Process,
    stdin: asyncio.StreamWriter,
    given: bytes | None,
) -> None:
    """Pass stdin on, and the signals that the client sends."""
    try:
        if given is not None:
            stdin.write(given)
        while given is None:
            try:
                data = await process.stdin.read(65536)
            except asyncssh.SignalReceived as sent:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.Signals["SIG" + sent.signal])
                continue
            except (asyncssh.BreakReceived, asyncssh.TerminalSizeChanged):
                continue
            if not data:
                break
            stdin.write(data)
            await stdin.drain()
        await stdin.drain()
    except (OSError, asyncssh.Error) as error:
        process.logger.debug1("stdin ended: %s", error)  # the command or the client went away: end of its input
    finally:
        stdin.close()


async def _spoil(process: asyncssh.SSHServerProcess[bytes], fault: Fault, answer: bytes) -> bool:
    """Do to an answer what the fault says; return whether the command's exit is still to be told."""
    connection = process.get_extra_info("connection")
    try:
        if fault.do == "slow_answer":
            process.stdout.write(answer)
            return True
        if fault.do == "half_answer":
            process.stdout.write(answer[: len(answer) // 2])
            await process.stdout.drain()
            connection.close()  # an abort would lose the half, too
            return False
    except (OSError, asyncssh.Error) as error:
        process.logger.debug1("nobody reads the answer any more: %s", error)
    connection.abort()
    return False


async def _pass_on(
    source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes] | None, kept: list[bytes] | None = None
) -> None:
    """Read to the end, so that the command never waits for a reader; write while somebody is there, or keep it."""
    while data := await source.read(65536):
        if target is None:
            if kept is not None:
                kept.append(data)
            continue
        try:
            target.write(data)
            await target.drain()
        except (OSError, asyncssh.Error):
            target = None


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _result(exit_file: Path) -> str:
    return " ".join(exit_file.read_text().split()[:2])  # "exit 3", "signal 9"


class _Login(asyncssh.SSHServer):
    """Lets in the lab's user by key or password, unless an ``unauthorized`` is planned."""

    def __init__(self, stand_in: SshStandIn) -> None:
        self._stand_in = stand_in
        self._refuse = False
        self._tried = False
        self._accepted = False
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._stand_in.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tried and not self._accepted:
            self._stand_in.refused_logins += 1
        if self._connection is not None:
            self._stand_in.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._refuse = self._stand_in.refuse_next_login()
        return True

    def auth_completed(self) -> None:
        self._accepted = True
        self._stand_in.accepted_logins += 1

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._tried = True
        own = self._stand_in.user_key.convert_to_public()
        return not self._refuse and username == USER and key == own

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._tried = True
        right = hmac.compare_digest(password.encode(), self._stand_in.password.encode())
        return right and not self._refuse and username == USER
