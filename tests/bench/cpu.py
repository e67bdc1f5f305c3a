"""CPU seconds of Airflow's processes, exact though most of them live for half a second.

Linux adds the time of a child to its parent's ``cutime`` and ``cstime`` when the parent reaps it (proc_pid_stat(5)). So
the time of a whole tree is that of the processes that are there, plus what each of them has reaped; nothing is sampled.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

TICKS = os.sysconf("SC_CLK_TCK")


def own_and_reaped(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of one process, and of the children that it has reaped; zeros when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    # The name may hold blanks and parentheses; the last one closes it.
    user, system, reaped_user, reaped_system = (int(part) for part in text.rpartition(")")[2].split()[11:15])
    return (user + system) / TICKS, (reaped_user + reaped_system) / TICKS


def of_tree(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process itself, and of all that it ever started."""
    own, below = own_and_reaped(pid)
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    return own, below + sum(sum(own_and_reaped(child.pid)) for child in children)
