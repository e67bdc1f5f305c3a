"""The doors into Airflow: valid templates become DAGs, broken ones an import error that is theirs alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from streams_for_tests import test_system  # noqa: F401  # the fixture

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream import loader
from airflow_enterprise_orch.value_stream.loader import find_problems, load_value_streams, report_template_errors
from airflow_enterprise_orch.value_stream.template_folder import declared_stream

ASKED_FOR = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"

VALUE_STREAMS = """\
from pathlib import Path
from airflow_enterprise_orch.value_stream.loader import load_value_streams  # makes the Airflow DAGs
load_value_streams(Path(__file__).parent / "value_streams", globals())
"""
ERRORS = """\
from pathlib import Path
from airflow_enterprise_orch.value_stream.loader import report_template_errors  # makes no Airflow DAG
report_template_errors(Path(__file__).parent / "value_streams", globals())
"""
# What the DAG processor does with one file, in a process as clean as its own.
PARSE = """\
import json, os, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.file import list_py_file_paths
root = Path(sys.argv[1])
found = {"dags": {}, "errors": {}}
for file in sorted(list_py_file_paths(root, safe_mode=True)):
    bag = BundleDagBag(dag_folder=file, bundle_path=root, bundle_name="test", load_op_links=False)
    for dag in bag.dags.values():
        found["dags"][dag.dag_id] = [dag.relative_fileloc, len(json.dumps(DagSerialization.to_dict(dag)))]
    found["errors"].update(bag.import_errors)
Path(sys.argv[2]).write_text(json.dumps(found))
"""


def good(stream: str, *, job: str = "test.job: {connection: c}") -> str:
    return f"value_stream: {stream}\ntitle: T\nbusiness: {{domain: D, owner: o}}\nsteps:\n  a: {{{job}}}\n"


def broken(stream: str, *, job: str = "test.job: {connection: c}") -> str:
    return f"value_stream: {stream}\ntitle: T\nbusiness: {{domain: D, ownr: o}}\nsteps:\n  a: {{{job}}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "value_streams"
    path.mkdir()
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda dag_id: monkeypatch.setenv(ASKED_FOR, dag_id)


@pytest.fixture(autouse=True)
def _nobody_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ASKED_FOR, raising=False)
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))


@pytest.mark.usefixtures("test_system")
class TestLoadValueStreams:
    def test_valid_templates_are_loaded_and_broken_ones_left_out(self, folder: Path) -> None:
        (folder / "orders.yaml").write_text(good("orders"))
        (folder / "sub").mkdir()
        (folder / "sub" / "other_name.yml").write_text(good("claims"))
        (folder / "broken.yaml").write_text(broken("broken"))
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert sorted(namespace) == ["claims", "orders"]

    def test_two_files_of_one_stream_are_both_left_out(self, folder: Path) -> None:
        for name in ("a", "b"):
            (folder / f"{name}.yaml").write_text(good("orders"))
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert namespace == {}
        assert find_problems(folder) == (
            "a.yaml:1:1 value_stream: 'orders' is also declared by b.yaml; "
            "give each file a value stream of its own, or remove all but one",
            "b.yaml:1:1 value_stream: 'orders' is also declared by a.yaml; "
            "give each file a value stream of its own, or remove all but one",
        )

    def test_a_task_start_builds_exactly_its_own_dag(
        self, folder: Path, asked: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(20):
            (folder / f"s{number}.yaml").write_text(good(f"s{number}"))
        built: list[str] = []
        plan = loader.plan
        monkeypatch.setattr(loader, "plan", lambda text, name, **more: built.append(name) or plan(text, name, **more))
        asked("s7")
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert (list(namespace), built) == (["s7"], ["s7.yaml"])

    def test_a_task_start_finds_a_stream_in_a_file_of_another_name(self, folder: Path, asked: Any) -> None:
        (folder / "aaa.yaml").write_text(good("unrelated"))
        (folder / "sub").mkdir()
        (folder / "sub" / "file.yaml").write_text(good("orders"))
        (folder / "orders.yaml").write_text(good("misleading"))
        asked("orders")
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert list(namespace) == ["orders"]

    def test_a_task_start_finds_a_stream_whose_id_only_yaml_can_tell(self, folder: Path, asked: Any) -> None:
        text = (
            "{value_stream: orders, title: T, business: {domain: D, owner: o}, steps: {a: {test.job: {connection: c}}}}"
        )
        assert declared_stream(text.encode()) == ""
        (folder / "x.yaml").write_text(text)
        asked("orders")
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert list(namespace) == ["orders"]

    def test_the_documentation_says_that_nothing_is_pinned(self, folder: Path, asked: Any) -> None:
        (folder / "orders.yaml").write_text(good("orders"))
        for _ in range(2):  # compiled, and then from the plan that was kept
            namespace: dict[str, Any] = {}
            load_value_streams(folder, namespace)
            assert f"\n- {loader.NOT_PINNED}\n" in namespace["orders"].doc_md
            asked("orders")

    def test_a_folder_that_is_not_there_is_said(self, folder: Path) -> None:
        with pytest.raises(TemplateError, match="there is no such folder"):
            load_value_streams(folder / "x", {})


@pytest.mark.usefixtures("test_system")
class TestReportTemplateErrors:
    def test_it_lists_every_problem_of_every_template(self, folder: Path) -> None:
        (folder / "a.yaml").write_text(broken("a"))
        (folder / "b.yaml").write_text("x: [")
        (folder / "c.yaml").write_text(good("c"))
        with pytest.raises(TemplateError) as report:
            report_template_errors(folder)
        lines = str(report.value).splitlines()
        assert any(line.startswith("a.yaml:3:23 business.ownr: ") for line in lines)
        assert any(line.startswith("b.yaml:") for line in lines)
        assert not any(line.startswith("c.yaml") for line in lines)

    def test_no_problem_is_no_error(self, folder: Path) -> None:
        (folder / "c.yaml").write_text(good("c"))
        report_template_errors(folder)

    def test_a_task_start_reports_nothing(self, folder: Path, asked: Any) -> None:
        (folder / "a.yaml").write_text(broken("a"))
        asked("c")
        report_template_errors(folder)


def parse(root: Path, tmp_path: Path) -> dict[str, Any]:
    """Parse all DAG files below ``root`` as the DAG processor does, in a process of its own."""
    result = tmp_path / "found.json"
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "false"}
    environment.pop(ASKED_FOR, None)
    subprocess.run(
        [sys.executable, "-c", PARSE, str(root), str(result)],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    found: dict[str, Any] = json.loads(result.read_text())
    return found


STEP = "approval: {subject: Go on?}"
"""A step that needs no system, so that nothing but the templates is tried here."""


def test_airflow_shows_the_problems_of_the_broken_template_alone_without_a_stack_trace(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "one.yaml").write_text(good("one", job=STEP))
    (folder / "two.yaml").write_text(good("two", job=STEP))
    (folder / "three.yaml").write_text(broken("three", job=STEP))
    (tmp_path / "streams.py").write_text(VALUE_STREAMS)
    (tmp_path / "errors.py").write_text(ERRORS)
    found = parse(tmp_path, tmp_path)
    assert sorted(found["dags"]) == ["one", "two"]
    [problem] = find_problems(folder)
    assert problem.startswith("three.yaml:3:23 business.ownr: ")
    assert found["errors"] == {"errors.py": f"TemplateError: {problem}"}


def test_through_the_bundle_each_template_has_its_own_import_error(folder: Path, tmp_path: Path) -> None:
    from airflow_enterprise_orch.value_stream.bundle import TemplateBundle

    (folder / "one.yaml").write_text(good("one", job=STEP))
    (folder / "sub").mkdir()
    (folder / "sub" / "two.yaml").write_text(good("two", job=STEP))
    (folder / "three.yaml").write_text(broken("three", job=STEP))
    (folder / "four.yaml").write_text("x: [")
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
    bundle.initialize()
    found = parse(bundle.path, tmp_path)
    assert {name: file for name, (file, _) in found["dags"].items()} == {"one": "one.py", "two": "two.py"}
    assert found["errors"]["three.py"].startswith("TemplateError: three.yaml:3:23 business.ownr: ")
    [fourth] = [text for file, text in found["errors"].items() if file.startswith("four-")]
    assert fourth.startswith("TemplateError: four.yaml:")
    assert all("Traceback" not in text for text in found["errors"].values())
    assert len(found["errors"]) == 2
