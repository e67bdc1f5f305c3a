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
from collections.abc import Callable, Sequence
from pathlib import Path

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

def built(folder, store, door):
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
    return made

def told(made):
    for name, dag in made.items():
        if hasattr(dag, "dag_id") and hasattr(dag, "task_dict"):
            dag.fileloc = dag.relative_fileloc = f"{name}.py"  # where it lies is no matter of the template
            data = DagSerialization.to_dict(dag)
            data["dag"].pop("_processor_dags_folder", None)
            # Airflow puts the fields of a DAG in the order of a set; sorting keys leaves every list as it is.
            yield name, {"text": json.dumps(data, sort_keys=True), "hash": SerializedDagModel.hash(data)}

door, store, *folders = sys.argv[1:]
every = [dict(told(built(Path(one), Path(store, f"{at}"), door))) for at, one in enumerate(folders)]
print("\\n" + json.dumps(every))
"""


Dags = dict[str, dict[str, str]]


def dags(folder: Path, store: Path, seed: str, door: str = "bundle") -> Dags:
    """Return by stream the DAG as Airflow serializes it, and its hash, from a process of its own.

    :param door: ``bundle`` or ``loader``; ``task`` is the bundle where a task starts.
    """
    (told,) = dags_of([folder], store, seed, door)
    return told


def dags_of(folders: Sequence[Path], store: Path, seed: str, door: str = "bundle") -> list[Dags]:
    """Return the same for several folders, one after the other in one process."""
    settings = {"AIRFLOW_HOME": str(store / "home"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    settings["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"] = str(store / "bundles")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, door, str(store), *map(str, folders)],
        env={**environment, **settings, "PYTHONHASHSEED": seed},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told: list[Dags] = json.loads(done.stdout.splitlines()[-1])
    return told


def hashes(told: Dags) -> dict[str, str]:
    return {stream: one["hash"] for stream, one in told.items()}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Dags:
    """The shipped templates as they are."""
    return dags(TEMPLATES, tmp_path_factory.mktemp("shipped"), "0")


def test_all_shipped_templates_are_looked_at(shipped: Dags) -> None:
    assert len(STREAMS) >= 5
    assert sorted(shipped) == STREAMS


def test_the_same_text_is_the_same_dag_to_the_byte_in_every_process(shipped: Dags, tmp_path: Path) -> None:
    assert dags(TEMPLATES, tmp_path, "4711") == shipped


def test_through_the_loader_it_is_the_same_in_every_process_too(tmp_path: Path) -> None:
    one, two = (dags(TEMPLATES, tmp_path / seed, seed, "loader") for seed in ("1", "4711"))
    assert sorted(one) == STREAMS
    assert one == two


def test_what_was_kept_of_a_template_gives_the_same_dag_as_the_template(shipped: Dags, tmp_path: Path) -> None:
    """A task starts from the plan that the DAG processor left, and must find what Airflow wrote down."""
    store = tmp_path / "store"
    assert dags(TEMPLATES, store, "1") == shipped
    assert dags(TEMPLATES, store, "2", "task") == shipped


def commented(text: str) -> str:
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line and line[0].isalpha())
    lines[at] += "  # the name that Airflow knows"
    return "\n".join(["# Corrected.", "", *lines, "", "# The end."]) + "\n"


def with_a_new_owner(text: str) -> str:
    assert text.count("\n  owner: ") + text.count(", owner: ") >= 1, "the test knows where the owner stands"
    return text.replace(" owner: ", " owner: new-", 1)


def test_comments_make_no_new_version_and_what_means_something_does_of_that_stream_alone(
    shipped: Dags, tmp_path: Path
) -> None:
    def changed(which: str, change: Callable[[str], str]) -> Path:
        folder = tmp_path / (which if which in STREAMS else "all")
        shutil.copytree(TEMPLATES, folder)
        files = list(folder.rglob(f"{which}.yaml"))
        assert files
        for path in files:
            path.write_text(change(path.read_text()))
        return folder

    folders = [changed("*", commented), *(changed(stream, with_a_new_owner) for stream in STREAMS)]
    same, *others = dags_of(folders, tmp_path / "store", "1")
    assert hashes(same) == hashes(shipped)
    for stream, after in zip(STREAMS, others, strict=True):
        assert {name for name, one in after.items() if one["hash"] != shipped[name]["hash"]} == {stream}
