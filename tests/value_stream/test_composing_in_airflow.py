"""Profiles, shared files and groups through both doors into Airflow.

How a user would notice that it is fake: a running instance gets the values of today; a changed profile changes nothing,
or every DAG; a worker runs with another profile than the DAG processor showed; a task loses its id in a group.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.bundles import base
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import DagSerialization

from airflow_enterprise_orch.value_stream import loader, plan
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.surroundings import PROFILE_SETTING, Surroundings

USES = """\
value_stream: uses
title: Uses it
use: [bank]
groups: {work: {title: The work}}
steps:
  a: {group: work, unix.script: {connection: "{{ values.host }}", command: /a}}
  b: {group: work, after: [a], unix.script: {connection: c, command: /b}}
  say: {after: [work], use: {fragment: notify}}
"""
PLAIN = """\
value_stream: plain
title: Uses nothing
business: {domain: D, owner: o}
steps: {a: {unix.script: {connection: c, command: /a}}}
"""
SHARED = """\
shared: bank
defaults: {stream: {business: {domain: Bank, owner: ops}}, steps: {time_limit: 1h}}
fragments: {notify: {steps: {send: {unix.script: {connection: c, command: /send}}}}}
"""


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROFILE_SETTING, raising=False)
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    monkeypatch.setattr(base, "STALE_BUNDLE_TRACKING_FOLDER", tmp_path / "bundles" / "_tracking")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    (path / "bank").mkdir(parents=True)
    (path / "bank" / "uses.yaml").write_text(USES)
    (path / "plain.yaml").write_text(PLAIN)
    (path / "bank.shared.yaml").write_text(SHARED)
    for profile in ("prod", "test"):
        (path / f"{profile}.profile.yaml").write_text(f"profile: {profile}\nvalues: {{host: host_{profile}}}\n")
    return path


def bundle(folder: Path, profile: str | None = "prod", **more: Any) -> TemplateBundle:
    made = TemplateBundle(name="s", path=str(folder), store=str(folder.parent / "store"), profile=profile, **more)
    made.initialize()
    return made


def dag(made: TemplateBundle, name: str) -> Any:
    """Return the DAG that a DAG file of a snapshot makes."""
    file = made.path / f"{name}.py"
    namespace = {"__file__": str(file)}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    found: Any = namespace[name]
    found.fileloc = found.relative_fileloc = file.name
    return found


def dag_hash(made: TemplateBundle, name: str) -> str:
    return str(SerializedDagModel.hash(DagSerialization.to_dict(dag(made, name))))


def version(made: TemplateBundle) -> str:
    return str(made._current)


def test_a_task_keeps_its_id_in_a_group(folder: Path) -> None:
    made = dag(bundle(folder), "uses")
    assert set(made.task_dict) == {"a", "b", "say_send"}
    groups = made.task_group.get_task_group_dict()
    assert {name: set(group.children) for name, group in groups.items() if name} == {
        "work": {"a", "b"},
        "say": {"say_send"},
    }
    assert groups["work"].group_display_name == "The work"
    assert made.get_task("say_send").upstream_task_ids == {"b"}
    serialized = json.dumps(DagSerialization.to_dict(made), sort_keys=True)
    assert serialized == json.dumps(DagSerialization.to_dict(dag(bundle(folder), "uses")), sort_keys=True)


def test_a_change_changes_the_dags_that_use_it_and_no_others(folder: Path) -> None:
    first = bundle(folder)
    uses, plain = dag_hash(first, "uses"), dag_hash(first, "plain")
    for name, text in (
        ("prod.profile.yaml", "profile: prod\nvalues: {host: another}\n"),
        ("bank.shared.yaml", SHARED.replace("time_limit: 1h", "time_limit: 2h")),
    ):
        (folder / name).write_text(text)
        now = bundle(folder)
        assert version(now) != version(first)
        assert dag_hash(now, "uses") != uses
        assert dag_hash(now, "plain") == plain
        uses = dag_hash(now, "uses")
    (folder / "bank.shared.yaml").write_text("# a comment\n" + (folder / "bank.shared.yaml").read_text())
    (folder / "test.profile.yaml").write_text("profile: test\nvalues: {host: nobody_asks}\n")
    assert dag_hash(bundle(folder), "uses") == uses


def test_an_instance_keeps_the_values_that_it_began_with(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bundle(folder, "prod")
    other = bundle(folder, "test")
    assert version(first) != version(other)
    (folder / "prod.profile.yaml").write_text("profile: prod\nvalues: {host: later}\n")
    monkeypatch.setenv(PROFILE_SETTING, "test")
    assert dag(bundle(folder, "prod"), "uses").get_task("a").connection == "later"
    assert dag(bundle(folder, None), "uses").get_task("a").connection == "host_test", "the setting, where nobody says"
    pinned = bundle(folder, None, version=version(first))
    assert dag(pinned, "uses").get_task("a").connection == "host_prod"


def test_a_removed_template_keeps_what_it_uses(folder: Path) -> None:
    bundle(folder)
    for path in folder.rglob("*.yaml"):
        if path.name != "plain.yaml":
            path.unlink()
    gone = bundle(folder)
    assert dag(gone, "uses").get_task("a").connection == "host_prod"
    (folder / "plain.yaml").write_text(PLAIN + "# changed\n")
    assert dag(bundle(folder), "uses").get_task("a").connection == "host_prod"


def test_a_worker_takes_the_plan_only_while_all_that_was_looked_at_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "uses.yaml"
    template.write_text(USES)
    (tmp_path / "bank.shared.yaml").write_text(SHARED)
    (tmp_path / "prod.profile.yaml").write_text("profile: prod\nvalues: {host: h}\n")
    loader.load_template(template, {}, profile="prod")

    def kept(profile: str = "prod") -> plan.StreamPlan | None:
        around = Surroundings.on_disk(template, profile=profile)
        place = plan.beside_template(template)
        return plan.kept(
            place,
            template.read_bytes(),
            name="uses.yaml",
            folder=template.parent,
            surroundings=lambda: around,
        )

    assert kept() is not None
    assert kept("test") is None
    (tmp_path / "prod.profile.yml").write_text("profile: prod\nvalues: {host: nearer}\n")
    assert kept() is None, "a file that was not there and would count now"
    (tmp_path / "prod.profile.yml").unlink()
    assert kept() is not None
    (tmp_path / "bank.shared.yaml").write_text(SHARED + "# changed\n")
    assert kept() is None
    monkeypatch.setattr(loader, "get_parsing_context", lambda: SimpleNamespace(dag_id="uses", task_id="a"))
    namespace: dict[str, Any] = {}
    loader.load_template(template, namespace, profile="prod")
    assert namespace["uses"].get_task("a").connection == "h"


def test_the_loader_files_take_a_profile(folder: Path) -> None:
    namespace: dict[str, Any] = {}
    loader.load_value_streams(folder, namespace, profile="test")
    assert namespace["uses"].get_task("a").connection == "host_test"
    assert loader.find_problems(folder, profile="prod") == ()
    (problem,) = loader.find_problems(folder)
    assert problem.startswith("bank/uses.yaml:6:")
    assert "no profile is chosen, so 'values.host' has no value, name one of prod or test" in problem
    (folder / "bank.shared.yaml").write_text(SHARED.replace("1h", "soon"))
    assert loader.find_problems(folder, profile="prod")[0].startswith("bank.shared.yaml:2:")
