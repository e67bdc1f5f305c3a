"""Every registered system in turn, in the lab, behind a real Airflow connection."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import Variable
from airflow_life import FastClock
from contract_world import CONNECTION, World
from subjects import SUBJECTS, WAYS

from airflow_enterprise_orch.delegation import operator as operator_module
from airflow_enterprise_orch.delegation import trigger as trigger_module
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger
from airflow_enterprise_orch.lab import server
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.systems.container import engine
from airflow_enterprise_orch.systems.container import hook as container_hook
from airflow_enterprise_orch.systems.container.settings import EngineSettings
from tests import samba


@pytest.fixture(scope="session")
def lab() -> Iterator[LabThread]:
    with LabThread() as running:
        yield running


@pytest.fixture(scope="session")
def samba_lab() -> Iterator[LabThread]:
    """A lab of one share on a real Samba."""
    if not samba.HERE:
        pytest.skip(samba.ABSENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "STAND_INS", {"smb": "tests.smb_stand_in:SmbStandIn"})
        running = LabThread(["smb"])
        running.__enter__()
    yield running
    running.__exit__(None, None, None)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Put every system to every test, and further ways to those that say so, where they have the work for it."""
    if "world" in metafunc.fixturenames:
        every_way = metafunc.definition.get_closest_marker("every_way")
        needed = every_way.args if every_way else ()
        ways = [name for name, way in WAYS.items() if every_way and all(getattr(way, work) for work in needed)]
        metafunc.parametrize("world", [*SUBJECTS, *ways], indirect=True)


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    lab: LabThread,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> World:
    subject = {**SUBJECTS, **WAYS}[request.param]
    if subject.stand_in == "smb":
        lab = request.getfixturevalue("samba_lab")
    lab.reset(subject.stand_in)

    async def furnish() -> None:
        subject.furnish(lab.stand_in(subject.stand_in))

    lab.run(furnish())
    caplog.set_level(logging.DEBUG)
    here = World(subject, lab, caplog)
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(here.endpoint["connection"]))

    def get(key: str, default: Any = None, deserialize_json: bool = False) -> Any:
        return here.variables.get(key, default)

    def keep(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        here.variables[key] = json.loads(json.dumps(value))

    def ask(**question: Any) -> None:
        here.questions.append(question)

    monkeypatch.setattr(Variable, "get", staticmethod(get))
    monkeypatch.setattr(Variable, "set", staticmethod(keep))
    monkeypatch.setattr("airflow.sdk.execution_time.hitl.upsert_hitl_detail", ask)
    # Airflow's own loggers do not reach caplog: what task and trigger say goes through this one.
    said = logging.getLogger("contract")
    monkeypatch.setattr(DelegateOperator, "log", property(lambda _self: said))
    monkeypatch.setattr(DelegateTrigger, "log", property(lambda _self: said))
    monkeypatch.setattr(operator_module, "SystemClock", FastClock)
    monkeypatch.setattr(trigger_module, "MIN_WAIT", timedelta(0))
    # How long an engine is watched before what another try created is started takes real seconds.
    monkeypatch.setattr(engine, "LEASE", 2.0)
    monkeypatch.setattr(container_hook, "EngineSettings", functools.partial(EngineSettings, settle=0.5))
    return here


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[str], None]], None]:
    """Return what makes the submission do something at one of its named points, once."""

    def at(point: str, act: Callable[[str], None]) -> None:
        done: list[str] = []

        def reached(_self: DelegateOperator, name: str) -> None:
            if name == point and not done:
                done.append(name)
                act(name)

        monkeypatch.setattr(DelegateOperator, "_reached", reached)

    return at
