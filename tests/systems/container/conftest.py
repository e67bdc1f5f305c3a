"""The lab's engine, and a real one."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterator

import pytest
from dockerd_for_tests import RealEngine, missing
from engine_for_tests import Engine

from airflow_enterprise_orch.lab.server import LabThread


@pytest.fixture(scope="session")
def lab() -> Iterator[LabThread]:
    with LabThread(["docker"]) as running:
        yield running


@pytest.fixture
def engine(lab: LabThread) -> Engine:
    lab.reset("docker")
    return Engine(lab)


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngine]:
    """A real Docker engine with an image of our own; skipped, with the reason, where it cannot be."""
    if reason := missing():
        pytest.skip(reason)
    real = RealEngine(tmp_path_factory.mktemp("dockerd"))
    try:
        real.start()
        real.make_image()
        yield real
    finally:
        real.stop()


@pytest.fixture
def new_key() -> Callable[[], str]:
    alphabet = string.ascii_uppercase + string.digits
    return lambda: "T" + "".join(secrets.choice(alphabet) for _ in range(19))


@pytest.fixture
def key(new_key: Callable[[], str]) -> str:
    return new_key()
