"""A stream through Airflow itself: bundle, parser, database, trigger rules, skips and the task state store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

STREAM = """\
value_stream: whole
title: The whole of it
business: {domain: D, owner: o, key: "{{ params.order }}", duplicates: reject}
params:
  order: {type: string, default: O-1}
  amount: {type: number, default: 1}
  answer: {type: string, default: Approve}
  risky: {type: boolean, default: false}
steps:
  book: {test.job: {connection: c, text: '{"code": "B"}'}}
  route:
    after: [book]
    branch:
      - when: params.amount > 5.0 && steps.book.code == "B"
        then: [inner]
      - otherwise: [provision]
  inner:
    branch:
      - when: params.risky
        then: []
      - otherwise: [approve]
  approve: {approval: {subject: "Release {{ params.order }}?", on_reject: skip}}
  prepare: {after: [approve], test.job: {connection: c}}
  provision: {after: [prepare], test.job: {connection: c}}
  beside: {after: [book], test.job: {connection: c}}
  finish: {after: [provision, beside], test.job: {connection: c}}
"""

RUNS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "directly": ({"amount": 1}, {"book", "route", "provision", "beside", "finish"}),
    "through the approval": (
        {"amount": 9},
        {"book", "route", "inner", "approve", "prepare", "provision", "beside", "finish"},
    ),
    "rejected": ({"amount": 9, "answer": "Reject"}, {"book", "route", "inner", "approve", "beside"}),
    # Nothing was rejected: the path of "provision" was not taken, and "finish" comes after what ran.
    "ended by the inner branch": ({"amount": 9, "risky": True}, {"book", "route", "inner", "beside", "finish"}),
}


UNDONE = """\
value_stream: undone
title: What is undone
business: {domain: D, owner: o}
due: {within: 2h}
alerts: [{on: [late], to: {webhook: {connection: desk}}}]
params: {fails: {type: boolean, default: false}, banks: {type: list, items: string, default: [A, B]}}
steps:
  reserve: {test.job: {connection: c}, compensate: {test.job: {connection: c, text: '{"undid": "reserve"}'}}}
  book: {after: [reserve], test.job: {connection: c}, compensate: {test.job: {connection: c}}}
  beside: {test.job: {connection: c}}
  pay: {after: [book], for_each: {item: params.banks, max: 3}, test.job: {connection: c, text: "{{ item }}"}}
  route: {after: [book], branch: [{when: params.fails, then: [stop]}, {otherwise: [ship]}]}
  stop: {fail: {message: no}}
  ship: {test.job: {connection: c}}
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return what runs a stream in an Airflow of its own, once for each of some params."""
    root = tmp_path_factory.mktemp("airflow")
    (root / "templates").mkdir()
    (root / "templates" / "any_name.yaml").write_text(STREAM)
    (root / "templates" / "undone.yaml").write_text(UNDONE)
    bundles = [
        {
            "name": "streams",
            "classpath": "airflow_enterprise_orch.value_stream.bundle.TemplateBundle",
            "kwargs": {"path": str(root / "templates")},
        }
    ]
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(root),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{root}/airflow.db",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(root / "bundles"),
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
    }

    def run(*command: str, given: str = "") -> None:
        done = subprocess.run(command, input=given, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def runs(stream: str, params: list[dict[str, Any]], *again: str) -> list[dict[str, Any]]:
        result = root / f"{stream}.json"
        command = (sys.executable, str(HERE / "run_on_airflow.py"), stream, str(result), *again)
        run(*command, given=json.dumps(params))
        found: list[dict[str, Any]] = json.loads(result.read_text())
        return found

    shutil.copy(migrated, root / "airflow.db")
    return runs


@pytest.fixture(scope="module")
def found(airflow: Callable[..., list[dict[str, Any]]]) -> dict[str, Any]:
    """Run all of them one after the other, with the same business key."""
    return dict(zip(RUNS, airflow("whole", [given for given, _ in RUNS.values()]), strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_airflow_runs_what_the_template_means(found: dict[str, Any], name: str) -> None:
    tasks = found[name]["tasks"]
    steps = {"book", "route", "inner", "approve", "prepare", "provision", "beside", "finish"}
    assert {task for task in steps if tasks[task] == "success"} == RUNS[name][1]
    assert {tasks[task] for task in steps - RUNS[name][1]} <= {"skipped"}
    assert found[name]["state"] == "success"


def test_the_same_key_is_let_in_again_once_the_run_before_is_over(found: dict[str, Any]) -> None:
    assert {run["tasks"]["admit"] for run in found.values()} == {"success"}


def test_the_dag_file_is_named_after_the_stream(found: dict[str, Any]) -> None:
    assert {run["file"] for run in found.values()} == {"whole.py"}


def test_what_was_done_is_undone_in_reverse_and_no_step_runs_on_it(
    airflow: Callable[..., list[dict[str, Any]]],
) -> None:
    runs = [{}, {"fails": True}, {"fails": False, "banks": ["A", "broke", "C"]}]
    well, failed, unpaid = airflow("undone", runs, "book", "pay-each", "reserve--undo")
    undoing = ("book--undo", "reserve--undo")
    assert (well["state"], {well["tasks"][name] for name in undoing}) == ("success", {"skipped"})
    assert well["again"]["book"] == "success"
    assert (failed["state"], {failed["tasks"][name] for name in undoing}) == ("failed", {"success"})
    assert [name for name in failed["order"] if name in undoing] == ["book--undo", "reserve--undo"]
    assert failed["tasks"]["ship"] == "skipped"
    # What a person clears afterwards.
    assert failed["again"]["book"].startswith("failed: step 'book': what step 'reserve' did is undone, since ")
    assert failed["again"]["reserve--undo"].startswith("skipped")
    assert failed["again"]["pay-each"].startswith("failed: step 'pay-each': what step 'reserve' did is undone, since ")
    # What an alert could name of each item, had the instance been late meanwhile.
    assert well["jobs"] == [["pay", bank, f"job-of-{bank}", "test.job", "c"] for bank in ("A", "B")]
    assert [job for _, _, job, *_ in unpaid["jobs"]] == ["job-of-A", "job-of-C"]
    assert (well["tasks"]["pay"], well["again"]["pay-each"]) == ("success", "success")
    assert (unpaid["tasks"]["pay"], unpaid["tasks"]["ship"]) == ("upstream_failed", "success")
    assert (unpaid["state"], {unpaid["tasks"][name] for name in undoing}) == ("failed", {"success"})
    assert unpaid["order"].index("book--undo") > max(
        place for place, name in enumerate(unpaid["order"]) if name in ("pay-each", "ship")
    )
