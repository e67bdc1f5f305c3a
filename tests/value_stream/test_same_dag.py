"""The same template is the same DAG, in every process; what says nothing new makes no new version of it.

How a user would notice that it is fake: Airflow counts a new version of a stream at each restart of the DAG processor,
or whenever somebody corrects a comment, and nobody can tell any more which of them changed what; or a change that does
mean something gets no version.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.value_stream.template_folder import find_templates

TEMPLATES = Path(__file__).parents[2] / "dag_templates"
STREAMS = sorted(path.stem for _, path in find_templates(TEMPLATES))

PROGRAM = """
import json, os, runpy, sys
from pathlib import Path
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import DagSerialization
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.loader import load_value_streams

folder, store, door = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
made = {}
if door == "loader":
    load_value_streams(folder, made)
else:
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(store))
    bundle.initialize()
    if door == "task":
        sys.modules["airflow_enterprise_orch.value_stream.compile"] = None  # nothing can be compiled any more
    for file in bundle.path.glob("*.py"):
        if door == "task":
            os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = file.stem
        made |= {name: one for name, one in runpy.run_path(str(file)).items() if hasattr(one, "dag_id")}
told = {}
for name, dag in made.items():
    if hasattr(dag, "dag_id") and hasattr(dag, "task_dict"):
        dag.fileloc = dag.relative_fileloc = f"{name}.py"  # where it lies is no matter of the template
        data = DagSerialization.to_dict(dag)
        data["dag"].pop("_processor_dags_folder", None)
        # Airflow puts the fields of a DAG in the order of a set; sorting keys leaves every list as it is.
        told[name] = {"text": json.dumps(data, sort_keys=True), "hash": SerializedDagModel.hash(data)}
print("\\n" + json.dumps(told))
"""


def dags(folder: Path, store: Path, seed: str, door: str = "bundle") -> dict[str, dict[str, str]]:
    """Return by stream the DAG as Airflow serializes it, and its hash, from a process of its own.

    :param door: ``bundle`` or ``loader``; ``task`` is the bundle where a task starts.
    """
    settings = {"AIRFLOW_HOME": str(store / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    settings["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"] = str(store / "bundles")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(store), door],
        env={**environment, **settings, "PYTHONHASHSEED": seed},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return told


def hashes(told: dict[str, dict[str, str]]) -> dict[str, str]:
    return {stream: one["hash"] for stream, one in told.items()}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The shipped templates as they are."""
    return dags(TEMPLATES, tmp_path_factory.mktemp("shipped"), "0")


def test_all_shipped_templates_are_looked_at(shipped: dict[str, dict[str, str]]) -> None:
    assert len(STREAMS) >= 5
    assert sorted(shipped) == STREAMS


@pytest.mark.parametrize("seed", ["1", "4711"])
def test_the_same_text_is_the_same_dag_to_the_byte_in_every_process(
    seed: str, shipped: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    assert dags(TEMPLATES, tmp_path, seed) == shipped


def test_through_the_loader_it_is_the_same_in_every_process_too(tmp_path: Path) -> None:
    one, two = (dags(TEMPLATES, tmp_path / seed, seed, "loader") for seed in ("1", "4711"))
    assert sorted(one) == STREAMS
    assert one == two


def test_what_was_kept_of_a_template_gives_the_same_dag_as_the_template(
    shipped: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    """A task starts from the plan that the DAG processor left, and must find what Airflow wrote down."""
    store = tmp_path / "store"
    assert dags(TEMPLATES, store, "1") == shipped
    assert dags(TEMPLATES, store, "2", "task") == shipped


def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder)
    return folder


def test_comments_and_blank_lines_make_no_new_version(shipped: dict[str, dict[str, str]], tmp_path: Path) -> None:
    folder = copied(tmp_path)
    for path in folder.rglob("*.yaml"):
        lines = path.read_text().splitlines()
        at = next(number for number, line in enumerate(lines) if line and line[0].isalpha())
        lines[at] += "  # the name that Airflow knows"
        path.write_text("\n".join(["# Corrected.", "", *lines, "", "# The end."]) + "\n")
    assert hashes(dags(folder, tmp_path / "store", "1")) == hashes(shipped)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_change_that_means_something_is_a_new_version_of_that_stream_alone(
    stream: str, shipped: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    folder = copied(tmp_path)
    (path,) = (path for _, path in find_templates(folder) if path.stem == stream)
    text = path.read_text()
    assert text.count("\n  owner: ") + text.count(", owner: ") >= 1, "the test knows where the owner stands"
    changed: Any = text.replace(" owner: ", " owner: new-", 1)
    path.write_text(changed)
    after = hashes(dags(folder, tmp_path / "store", "1"))
    assert {name for name, one in after.items() if one != shipped[name]["hash"]} == {stream}
