"""The table of systems is whole, and the plan keeps to it."""

from __future__ import annotations

import pytest

from airflow_enterprise_orch.delegation.system import Protection, registrations, step_type
from airflow_enterprise_orch.lab.server import STAND_INS
from tests import samba

from . import plan
from .plan import Incident
from .systems import SYSTEMS, Releases, played_on


def test_every_registered_system_and_every_stand_in_is_under_the_harness():
    assert {step_type(about.step)[0].name for about in SYSTEMS.values()} == {each.name for each in registrations()}
    # Nothing is ever handed over to the incident desk.
    assert {about.stand_in for about in SYSTEMS.values()} - {"smb"} == set(STAND_INS) - {"desk"}


def test_where_no_samba_can_be_started_its_cases_are_played_by_sftp(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samba, "HERE", False)
    assert {name: played_on(name) for name in SYSTEMS if played_on(name) != name} == {"smb": "sftp"}
    assert {kind for kind in plan.KINDS if not plan.possible("sftp", "sent", kind)} <= {
        kind for kind in plan.KINDS if not plan.possible("smb", "sent", kind)
    }
    monkeypatch.setattr(samba, "HERE", True)
    assert played_on("smb") == "smb"


@pytest.mark.parametrize("name", SYSTEMS)
def test_its_work_is_work_of_its_step(name: str):
    about = SYSTEMS[name]
    model = step_type(about.step)[1].work_model()
    assert model.model_validate(about.work(0, 0.03)) != model.model_validate(about.work(12, 0.03))


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_was_created_held_is_always_released(name: str):
    two_phase = SYSTEMS[name].protection is Protection.TWO_PHASE
    assert (SYSTEMS[name].releases is Releases.ALWAYS) is two_phase


@pytest.mark.parametrize("name", SYSTEMS)
def test_its_own_grid_has_every_blow_that_can_strike_it(name: str):
    grid = plan.grid(name)
    struck = {(each.point, each.kind) for case in grid for each in case.incidents}
    assert struck == {cell for cell in plan.cells() if plan.possible(name, *cell)}
    assert {case.system for case in grid} == {name}
    assert tuple(plan.from_seed(case.seed) for case in grid) == grid


def test_half_of_the_cases_are_for_the_systems_beside_the_three_classes():
    others = [about.weight for about in list(SYSTEMS.values())[3:]]
    assert 0.4 < sum(others) / sum(about.weight for about in SYSTEMS.values()) < 0.6


@pytest.mark.parametrize(
    ("name", "point", "kind"),
    [
        ("ssh", "sent", "html_503"),
        ("ssh", "after_release", "kill"),
        ("s3", "waiting", "kill"),
        ("docker", "after_release_sent", "too_late"),
        ("docker", "after_release", "timeout"),
        ("docker", "after_persist", "refuse_write"),
        ("sap_odata", "after_answer", "too_late"),
        ("controlm", "before_result", "late"),
    ],
)
def test_some_blows_cannot_strike(name: str, point: str, kind: str):
    assert not plan.possible(name, point, kind)


def test_a_start_of_a_container_never_arrives_after_the_settle_time():
    cases = [*plan.grid("docker"), *plan.randomised(3, 300, "docker")]
    faults = [(each.kind, each.on) for case in cases for each in case.incidents]
    assert ("late", "release") in faults
    assert not {("too_late", "release"), ("timeout", "release")} & set(faults)


def test_a_release_of_what_was_adopted_comes_after_a_death_between_its_creation_and_its_start():
    case = plan.alone("after_release_sent", "zombie", "winrm")
    assert [(each.point, each.kind) for each in case.incidents] == [("sent", "kill"), ("after_release_sent", "zombie")]
    case = plan.alone("after_release_sent", "zombie", "controlm")
    assert [(each.point, each.kind) for each in case.incidents] == [("after_release_sent", "zombie")]


def test_a_fault_takes_as_long_as_the_system_makes_it():
    def seconds(name: str, kind: str) -> float:
        found: Incident = plan.alone("before_send", kind, name).incidents[0]
        return found.seconds

    assert seconds("winrm", "too_late") > SYSTEMS["winrm"].settle / plan.RATE > seconds("winrm", "late") > 0
    assert seconds("ssh", "too_late") > SYSTEMS["ssh"].settle / plan.RATE > seconds("ssh", "late") > 0
    assert seconds("winrm", "timeout") > SYSTEMS["winrm"].patience / plan.RATE
    assert seconds("ssh", "kill") == 0
