"""The CPU accounting behind the figures: a child that lived and ended between two looks is counted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.bench import cpu

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

USED = 0.3
"""CPU seconds that each child uses."""
BURN = f"import time\nwhile time.process_time() < {USED}: pass\n"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}], check=True); print('ready'); input()"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {BURN!r}], check=True)
child = subprocess.Popen([sys.executable, "-u", "-c", {CHILD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
input()
child.communicate(b"end")
"""


def test_children_that_ended_are_counted_at_every_depth() -> None:
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    own, below = cpu.of_tree(process.pid)
    process.communicate(b"end")
    assert process.returncode == 0
    # One ended child of its own, and one of a child that is still there; the kernel counts in hundredths of a second.
    assert below > 2 * USED - 0.1
    assert own < below


def test_a_process_that_is_gone_counts_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert cpu.of_tree(process.pid) == (0.0, 0.0)
