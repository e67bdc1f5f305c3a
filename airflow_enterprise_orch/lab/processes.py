"""Finding and ending the processes that the lab's stand-ins started, however well those detached themselves.

Two nets. Every process that a stand-in starts carries a mark in its environment, which its descendants inherit. And the
lab's own process is their "subreaper" (prctl(2), PR_SET_CHILD_SUBREAPER): a daemon that cleaned its environment is
still its descendant. Linux only, as the lab's SSH host is.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>


def marked(mark: str) -> set[int]:
    """Return the processes that have ``mark`` (``NAME=value``) in their environment; zombies have none."""
    wanted = mark.encode()
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return found - {os.getpid()}


def descendants(spared: Collection[int] = ()) -> dict[int, str]:
    """Return the state letter of every process below this one, by process id; without those of ``spared`` and below."""
    children: dict[int, list[int]] = {}
    states: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # proc_pid_stat(5): the name in parentheses may hold anything; state and parent follow the last one.
            state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(entry.name))
            states[int(entry.name)] = state
    below: dict[int, str] = {}
    waiting = list(children.get(os.getpid(), ()))
    while waiting:
        process = waiting.pop()
        if process not in spared:
            below[process] = states[process]
            waiting.extend(children.get(process, ()))
    return below


def kill(processes: Iterable[int]) -> None:
    """Kill them; one that is gone already is fine."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


async def end_marked(mark: str, patience: float = 5.0) -> None:
    """Kill every process that carries ``mark``, and what those start meanwhile, until there is none."""
    deadline = time.monotonic() + patience
    while (found := marked(mark)) and time.monotonic() < deadline:
        kill(found)
        await asyncio.sleep(0.02)


async def end_descendants(spared: Collection[int], patience: float = 5.0) -> None:
    """Kill and reap what is below this process, until there is nothing.

    :param spared: children that were there before the lab, such as the background jobs of a shell that became the lab
        by ``exec``, or the servers of whoever runs the lab in a process of their own.
    """
    deadline = time.monotonic() + patience
    while (found := descendants(spared)) and time.monotonic() < deadline:
        kill(process for process, state in found.items() if state != "Z")
        reap(process for process, state in found.items() if state == "Z")
        await asyncio.sleep(0.02)


def reap(processes: Iterable[int]) -> None:
    """Take the exit status of dead children that nobody waits for."""
    for process in processes:
        with suppress(ChildProcessError):  # not our child yet, or its own waiter was quicker
            os.waitpid(process, os.WNOHANG)


async def reap_orphans(spared: Collection[int]) -> None:
    """Reap dead orphans for ever, so that they do not pile up as zombies; not the children in ``spared``."""
    before: set[int] = set()
    while True:
        dead = {process for process, state in descendants(spared).items() if state == "Z"}
        # Dead for a whole second: nobody waits for it. A fresh one may belong to asyncio, which wants its exit status.
        reap(before & dead)
        before = dead
        await asyncio.sleep(1)


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Make this process the one that orphaned descendants fall to; only for a process that is all ours."""
    _subreaper(1)
    try:
        yield
    finally:
        _subreaper(0)


def _subreaper(enabled: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, enabled, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
