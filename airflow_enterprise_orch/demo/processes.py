"""Processes that are started together and leave nothing behind.

Every process gets a session of its own, so that Ctrl-C reaches only us and we end the others in order. Airflow's
supervisors give their children process groups of their own, so a group is not enough: before anything is stopped the
whole tree of descendants is noted, and on Linux we adopt descendants whose parent died (``PR_SET_CHILD_SUBREAPER``,
prctl(2)), so that none can slip out of the tree.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from airflow_enterprise_orch.errors import OrchestrationError

log = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36
FORCE_AFTER = 5.0
"""Seconds that stragglers have."""
GRACE = 20.0
"""Seconds between asking a process to end and ending it."""


class ProcessFailed(OrchestrationError):
    """A process that we need ended, or never came up. The message carries the end of its log."""


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent died; Linux only, elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody uses at the moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def tail(path: Path, lines: int = 25) -> str:
    """Return the last lines of a log file, "" when there is none."""
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


class Interrupted(SystemExit):
    """SIGTERM arrived: unwinds the stack, so that everything is stopped; the exit code is 128 + 15."""


def raise_on_sigterm() -> None:
    """Turn SIGTERM and SIGHUP into :class:`Interrupted`, so that ``finally`` blocks run as they do on Ctrl-C."""

    def handler(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(128 + number)

    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGHUP, handler)


@dataclass
class ProcessGroup:
    """Named processes with one log file each, stopped in the reverse of the order in which they were started."""

    log_folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def log_file(self, name: str) -> Path:
        """Return where a process' output goes."""
        return self.log_folder / f"{name}.log"

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, stdout: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process; its output goes to its log file.

        :param stdout: ``subprocess.PIPE`` for one whose standard output is read here.
        """
        self.log_folder.mkdir(parents=True, exist_ok=True)
        with self.log_file(name).open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own commands, no shell
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
                start_new_session=True,
            )
        self.running[name] = process
        return process

    def check(self) -> None:
        """Raise :class:`ProcessFailed` when one of them has ended."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise self.failure(name, f"ended with exit code {process.returncode}")

    def failure(self, name: str, reason: str) -> ProcessFailed:
        """Return an error with the end of the process' log."""
        return ProcessFailed(
            f"{name} {reason}; the end of its log ({self.log_file(name)}):\n{tail(self.log_file(name))}"
        )

    def stop(self) -> None:
        """End all of them and everything that they started, whatever it takes; a second Ctrl-C does not disturb it."""
        with _undisturbed():
            self._stop()

    def _stop(self) -> None:
        survivors: set[psutil.Process] = set()
        for process in self.running.values():
            survivors |= _tree(process.pid)
        for process in reversed(self.running.values()):
            _signal(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline and any(process.poll() is None for process in self.running.values()):
            for process in self.running.values():
                survivors |= _tree(process.pid)
            time.sleep(0.1)
        _kill(survivors)
        _kill(_of_sessions({process.pid for process in self.running.values()}))
        for process in self.running.values():
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.running.clear()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore signals that ask us to end; only the main thread can, and only there they would do harm."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tree(pid: int) -> set[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return {parent, *parent.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        log.debug("process %s has ended already", pid)


def _of_sessions(sessions: set[int]) -> set[psutil.Process]:
    """Return the processes of our sessions: what slipped out of the tree because its parent ended before we looked."""
    found = set()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions:
                found.add(process)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _kill(processes: set[psutil.Process]) -> None:
    """Ask, then force; children that we adopted are reaped by ``wait_procs``."""
    alive = [process for process in processes if process.is_running()]
    for process in alive:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _gone, stubborn = psutil.wait_procs(alive, timeout=FORCE_AFTER)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, timeout=FORCE_AFTER)
