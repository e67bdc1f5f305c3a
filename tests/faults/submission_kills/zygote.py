"""The process that tries are forked from: everything is imported, nothing runs, so a try costs milliseconds.

``python -m <this> FD``: reads one JSON line per try from the socket FD, with the descriptor of the pipe that the try
reports to, and forks.
"""

from __future__ import annotations

import array
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

LIMIT = 1 << 20
PATIENCE = 45.0
"""Real seconds within which a try says something; longer than anything that a plan makes it wait for."""

PACKAGE = "faults.submission_kills"
"""Its name for processes of its own: distributions that leave a package ``tests`` behind must not come between."""


def environment() -> dict[str, str]:
    """Return the environment in which Python finds :data:`PACKAGE`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])}


class Silent(Exception):
    """A try neither ends nor says anything."""


class Try:
    """One try in a process of its own, as the harness sees it.

    :ivar owner: the id under which it writes.
    :ivar told: what it told Airflow at its end; None when it died before.
    """

    def __init__(self, reports: int) -> None:
        self._reports = os.fdopen(reports, "rb")
        os.set_blocking(reports, False)
        self._rest = b""
        self.pid = 0
        self.owner = ""
        self.told: dict[str, Any] | None = None
        self.events: list[dict[str, Any]] = []

    def listen(self, poll: float | None = None) -> Iterator[dict[str, Any] | None]:
        """Yield what it reports until it is dead; None every ``poll`` seconds of silence."""
        import select

        heard = time.monotonic()
        while True:
            ready, _, _ = select.select([self._reports], [], [], poll or PATIENCE)
            if not ready:
                if time.monotonic() - heard > PATIENCE:
                    raise Silent
                yield None
                continue
            heard = time.monotonic()
            data = self._reports.read(65536)
            if not data:
                self._reports.close()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                self.events.append(event)
                if "pid" in event:
                    self.pid = event["pid"]
                elif "told" in event:
                    self.told = event
                else:
                    yield event

    def stop(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)
        self.until_stopped()

    def until_stopped(self) -> None:
        """Wait until it has stopped, as it does by itself at a point."""
        stat = Path(f"/proc/{self.pid}/stat")
        deadline = time.monotonic() + PATIENCE
        # proc_pid_stat(5): the state follows the name in parentheses.
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in ("T", "Z", "X"):
            if time.monotonic() > deadline:
                raise Silent
            time.sleep(0.0005)

    def go_on(self) -> None:
        """Let it go on, unless it came to its end by itself before it could be stopped, as on a busy machine."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, and hear it out."""
        if self.pid and not self._reports.closed:
            # On a busy machine it may have come to its end by itself between what it told and this blow.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            for _ in self.listen():
                pass


class Zygote:
    """Starts tries; a context manager."""

    def __init__(self) -> None:
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{PACKAGE}.zygote", str(there.fileno())],
            pass_fds=[there.fileno()],
            env=environment(),
        )
        there.close()

    def __enter__(self) -> Self:
        if self._here.recv(LIMIT) != b"ready":
            self.__exit__()
            raise RuntimeError("the process that tries are forked from did not start")
        return self

    def __exit__(self, *_error: object) -> None:
        self._here.close()
        self._process.wait()

    def start(self, spec: Mapping[str, Any]) -> Try:
        """Fork one try."""
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._here, [json.dumps(dict(spec)).encode()], [writing])
        finally:
            os.close(writing)
        return Try(reading)


def serve(descriptor: int) -> None:
    """Fork a try for every line that comes."""
    channel = socket.socket(fileno=descriptor)
    from . import one_try

    one_try.prepare()
    if threading.active_count() != 1:
        raise RuntimeError(f"a process with threads cannot be forked: {threading.enumerate()}")
    gc.disable()
    gc.freeze()  # what a collection touches would be copied for every try
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave no zombies
    channel.send(b"ready")
    while True:
        line, ancillary, _, _ = channel.recvmsg(LIMIT, socket.CMSG_LEN(array.array("i").itemsize))
        if not line:
            return
        fds = array.array("i")
        for _, _, data in ancillary:
            fds.frombytes(data)
        (writing,) = fds
        if os.fork() == 0:
            channel.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                one_try.live(json.loads(line), writing)
            except BaseException:
                traceback.print_exc()
                os._exit(70)
            os._exit(0)
        os.close(writing)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
