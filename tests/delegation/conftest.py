"""The fake system stands where the registry would find a real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import REGISTRATION, STEP, WORLDS, World
from machine import Machine
from step_life import airflow as airflow

from airflow_enterprise_orch.delegation import system
from airflow_enterprise_orch.delegation.system import Protection


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world behind connection ``fake_one``: a system whose submit is atomic."""
    here = World(Protection.ATOMIC)
    WORLDS["fake_one"] = here
    monkeypatch.setattr(system, "step_types", lambda: {STEP.name: (REGISTRATION, STEP)})
    yield here
    WORLDS.clear()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine on which nobody has logged in yet."""
    return Machine(monkeypatch, tmp_path)
