"""Writes files of a few kilobytes, thousands at a time: a snapshot's, and the plans beside them."""

from __future__ import annotations

import os

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0)


def write(path: str, data: bytes) -> None:
    """Write a whole file."""
    handle = os.open(path, FLAGS, 0o666)
    try:
        write_all(handle, data)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write all of ``data`` to an open file; a disk that is nearly full takes a part of it first."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]
