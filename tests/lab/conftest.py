"""The lab's SSH host, for tests of the lab itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_enterprise_orch.lab.server import LabThread


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[LabThread]:
    with LabThread(["ssh"]) as running:
        yield running


@pytest.fixture
def lab(shared_lab: LabThread) -> LabThread:
    shared_lab.reset("ssh")
    return shared_lab
