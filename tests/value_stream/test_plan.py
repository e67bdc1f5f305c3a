"""The plan that the DAG processor leaves for the workers.

How a user would notice that it is fake: a worker runs another DAG than the one that Airflow shows; a task start still
reads the template's schema and compiles its conditions; a changed template runs with the old plan; a bundle that
cannot be written stops everything.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_enterprise_orch.value_stream import loader, plan, plan_store

TEMPLATE = Path(__file__).parents[2] / "dag_templates" / "order_to_certificate.yaml"
PARSE = """
import json, sys
from pathlib import Path
from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager
from airflow.serialization.serialized_objects import DagSerialization
import os
before = set(sys.modules)
from airflow_enterprise_orch.value_stream.loader import load_template
template, task = Path(sys.argv[1]), sys.argv[2] or None
with _airflow_parsing_context_manager(dag_id="order_to_certificate" if task else None, task_id=task):
    namespace = {}
    load_template(template, namespace)
(dag,) = namespace.values()
dag.fileloc = dag.relative_fileloc = template.name
modules = [name for name in set(sys.modules) - before if name.startswith("airflow_enterprise_orch")]
print(json.dumps({"dag": DagSerialization.to_dict(dag), "modules": modules}, sort_keys=True))
"""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / TEMPLATE.name
    path.write_bytes(TEMPLATE.read_bytes())
    return path


def parsed(template: Path, task: str = "") -> dict[str, object]:
    """Load the template in a process of its own: as the DAG processor does, or as a worker that starts ``task``."""
    command = [sys.executable, "-c", PARSE, str(template), task]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


STORED = PARSE.replace("import load_template", "import load_value_streams as load").replace(
    "load_template(template, namespace)", "load(template.parent, namespace)"
)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


def loaded(template: Path, storage: Path, task: str = "") -> dict[str, object]:
    """As :func:`parsed`, through the loader file of a team that has a bundle of its own."""
    settings = {**os.environ, "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(storage)}
    command = [sys.executable, "-c", STORED, str(template), task]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def kept_for(template: Path, *, name: str = TEMPLATE.name) -> plan.StreamPlan | None:
    return plan.kept(plan.beside_template(template), template.read_bytes(), name=name, folder=template.parent)


def test_a_worker_builds_the_same_dag_without_the_templates_schema_and_compiler(template: Path) -> None:
    shown = parsed(template)
    run = parsed(template, "book_order")
    assert run["dag"] == shown["dag"]
    heavy = {f"airflow_enterprise_orch.value_stream.{name}" for name in ("model", "reading", "compile", "yaml_source")}
    assert heavy <= set(shown["modules"]), "the test looks for modules that do not exist"  # type: ignore[call-overload]
    assert not heavy & set(run["modules"])  # type: ignore[call-overload]


def test_a_worker_that_finds_no_plan_compiles(template: Path) -> None:
    assert parsed(template, "book_order")["dag"] == parsed(template)["dag"]


def test_a_plan_counts_for_its_own_template_and_package_only(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader.load_template(template, {})
    assert kept_for(template) is not None
    assert kept_for(template, name="another.yaml") is None
    with monkeypatch.context() as patched:
        patched.setattr(plan, "__version__", "99")
        assert kept_for(template) is None
    template.write_bytes(template.read_bytes() + b"\n# changed\n")
    assert kept_for(template) is None


def test_the_next_parse_replaces_a_plan_that_counts_no_more(template: Path) -> None:
    loader.load_template(template, {})
    template.write_bytes(template.read_bytes().replace(b"title: Order to", b"title: Another order to"))
    loader.load_template(template, {})
    found = kept_for(template)
    assert found is not None
    assert "Another order" in str(found.dag["dag_display_name"])


def test_a_folder_that_cannot_be_written_is_compiled_each_time(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: object, flags: int, *more: Any, **named: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, "a read-only file system", path)
        return opened(path, flags, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(plan.os, "open", refuse)
    namespace: dict[str, object] = {}
    loader.load_template(template, namespace)
    assert isinstance(namespace["order_to_certificate"], DAG)
    assert [path.name for path in template.parent.iterdir()] == [template.name]


def test_a_broken_template_leaves_no_plan(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("value_stream: broken\ntitle: [\n")
    loader.load_template(path, {})
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]


def test_what_is_written_is_what_was_planned(template: Path) -> None:
    made = loader.plan(template.read_bytes(), template.name)
    read = plan.StreamPlan.from_json(json.loads(json.dumps(made.to_json())))
    assert read == plan.StreamPlan.from_json(made.to_json())
    one, two = (DagSerialization.to_dict(each.build()) for each in (made, read))
    assert one == two


def test_a_change_that_airflow_writes_nowhere_is_a_new_version_too(template: Path) -> None:
    """Airflow makes a new version of a DAG exactly when the hash of its serialized form changes."""
    from airflow.models.serialized_dag import SerializedDagModel

    def dag_hash() -> str:
        namespace: dict[str, DAG] = {}
        loader.load_template(template, namespace)
        (dag,) = namespace.values()
        return str(SerializedDagModel.hash(DagSerialization.to_dict(dag)))

    text = template.read_text()
    first = dag_hash()
    assert dag_hash() == first
    # The retries of a delegated step are in no field that Airflow serializes: the digest alone makes the version.
    template.write_text(text.replace("delay: ", "delay: 1", 1))
    assert template.read_text() != text
    assert dag_hash() != first


def test_the_loader_door_keeps_its_plans_too_and_writes_nothing_beside_the_templates(
    template: Path, storage: Path
) -> None:
    first = loaded(template, storage, "book_order")
    again = loaded(template, storage, "book_order")
    assert first["dag"] == again["dag"] == loaded(template, storage)["dag"]
    compiler = "airflow_enterprise_orch.value_stream.compile"
    assert compiler in first["modules"]  # type: ignore[operator]
    assert compiler not in again["modules"], "a worker compiles at each task start"  # type: ignore[operator]
    assert [path.name for path in template.parent.iterdir() if path != storage] == [template.name]


def test_a_plan_that_somebody_else_may_have_written_is_not_read(template: Path, storage: Path) -> None:
    first = loaded(template, storage, "book_order")
    (folder,) = storage.glob(f"{plan_store.FOLDER}*")
    (kept,) = folder.iterdir()
    kept.write_text(kept.read_text().replace("book_order", "rob_the_bank"))
    assert loaded(template, storage, "book_order")["dag"] != first["dag"], "the test changes nothing"
    folder.chmod(0o777)
    assert loaded(template, storage, "book_order")["dag"] == first["dag"]
