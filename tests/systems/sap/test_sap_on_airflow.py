"""A stream with both SAP steps through Airflow itself: a warning finish in SAP decides which way the stream goes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.value_stream.model import ValueStream

HERE = Path(__file__).parent
HEAD = """\
value_stream: close_period
title: Close a period
business: {domain: Finance, owner: o, key: "{{ params.period }}"}
params:
  period: {type: string, default: "2026-11"}
  warn: {type: string, default: ""}
"""
STREAM = (
    HEAD
    + """\
steps:
  close_period:
    sap.application_job: {connection: s4, template: ZLAB_PROGRAM, parameters: {P_WARN: "{{ params.warn }}"}}
  route:
    after: [close_period]
    branch:
      - when: steps.close_period.outcome == "warning"
        then: [review]
      - otherwise: [publish]
  review:
    sap.background_job: {connection: erp, program: ZLABPROG, parameters: {P_SAY: "REVIEW {{ params.period }}"}}
  publish:
    sap.background_job: {connection: erp, program: ZLABPROG, parameters: {P_SAY: "PUBLISH {{ params.period }}"}}
"""
)
RUNS = [{"period": "2026-10", "warn": ""}, {"period": "2026-11", "warn": "X"}]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> dict[str, Any]:
    """Run the stream twice, and tell what Airflow and SAP saw."""
    root = tmp_path_factory.mktemp("airflow")
    (root / "templates").mkdir()
    (root / "templates" / "close_period.yaml").write_text(STREAM)
    bundle = {
        "name": "streams",
        "classpath": "airflow_enterprise_orch.value_stream.bundle.TemplateBundle",
        "kwargs": {"path": str(root / "templates")},
    }
    with LabThread(["sap_odata", "sap_soap_rfc"]) as lab:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(root),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{root}/airflow.db",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(root / "bundles"),
            "AIRFLOW_CONN_S4": json.dumps(lab.endpoints["sap_odata"]["connection"]),
            "AIRFLOW_CONN_ERP": json.dumps(lab.endpoints["sap_soap_rfc"]["connection"]),
        }

        def run(*command: str, given: str = "") -> None:
            done = subprocess.run(command, input=given, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

        shutil.copy(migrated, root / "airflow.db")
        result = root / "result.json"
        run(sys.executable, str(HERE / "run_sap_stream.py"), "close_period", str(result), given=json.dumps(RUNS))
        stand_in: Any = lab.stand_in("sap_soap_rfc")
        said = [step.values["P_SAY"] for job in stand_in.sap.table for step in job.steps]
        results = [job.result for job in lab.jobs("sap_odata")]
        return {"runs": json.loads(result.read_text()), "said": said, "results": results}


def test_a_warning_in_sap_takes_the_other_way(outcome: dict[str, Any]) -> None:
    plain, warned = (run["tasks"] for run in outcome["runs"])
    assert (plain["publish"], plain["review"]) == ("success", "skipped")
    assert (warned["publish"], warned["review"]) == ("skipped", "success")
    assert [run["state"] for run in outcome["runs"]] == ["success", "success"]


def test_sap_ran_each_job_once_and_what_the_stream_said(outcome: dict[str, Any]) -> None:
    assert outcome["results"] == ["F", "W"]
    assert outcome["said"] == ["PUBLISH 2026-10", "REVIEW 2026-11"]


def test_the_examples_in_the_documentation_are_right() -> None:
    text = (HERE.parents[2] / "docs" / "systems" / "sap.md").read_text(encoding="utf-8")
    first, branch = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    params = HEAD + "  order_id: {type: string}\n"
    assert "post_invoice" in ValueStream.load(params + first).steps
    steps = "steps:\n  close_period: {sap.application_job: {connection: c, template: T}}\n"
    ways = "".join(
        f"  {name}: {{sap.background_job: {{connection: c, program: Z}}}}\n" for name in ("review", "publish")
    )
    assert "route" in ValueStream.load(HEAD + steps + branch + ways).steps
