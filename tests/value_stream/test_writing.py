"""Files that are written whole, whatever the disk takes at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_enterprise_orch.value_stream import writing


def test_all_is_written_where_a_disk_takes_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = os.write
    monkeypatch.setattr(writing.os, "write", lambda handle, data: taken(handle, data[:7]))
    data = bytes(range(256)) * 3
    place = tmp_path / "plan.json"
    place.write_bytes(b"longer than what is written " * 100)
    writing.write(str(place), data)
    assert place.read_bytes() == data


def test_a_file_is_closed_when_it_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, _data: bytes) -> int:
        handles.append(handle)
        raise OSError(28, "No space left on device")

    handles: list[int] = []
    monkeypatch.setattr(writing.os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        writing.write(str(tmp_path / "plan.json"), b"{}")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(handles[0])
