"""Runs a stream by Airflow's own ``dag.test()``; started by test_on_airflow.py in a process and a database of its own.

Arguments: the stream's id, and where to write the results. Standard input: a JSON list of the params of each run.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import streams_for_tests
from airflow.sdk import BaseOperator

from airflow_enterprise_orch.delegation import system
from airflow_enterprise_orch.value_stream.approval import ApprovalStep


class Working(BaseOperator):
    """A system's operator that is done at once and leaves what its text says, as JSON."""

    @classmethod
    def from_step(cls, **arguments: Any) -> Working:
        own = ("task_id", "dag", "trigger_rule", "task_display_name", *streams_for_tests.SCHEDULED_BY)
        operator = cls(**{name: arguments[name] for name in own if name in arguments})
        operator.left = json.loads(arguments["work"].get("text") or "{}")
        return operator

    def execute(self, context: Any) -> dict[str, Any]:
        return {"rc": 0, **self.left}


def answer(self: ApprovalStep, context: Any) -> Any:
    """Answer at once, as the param says: nobody is there to do it while ``dag.test()`` runs."""
    return self.execute_complete(
        context,
        {
            "chosen_options": [context["params"]["answer"]],
            "params_input": {},
            "responded_at": datetime.now(UTC),
            "responded_by_user": {"id": "1", "name": "Eve"},
        },
    )


def main() -> None:
    stream, result = sys.argv[1:]
    system.entry_points = lambda group: [SimpleNamespace(load=lambda: streams_for_tests.TEST_SYSTEM)]
    streams_for_tests.Delegate = Working
    ApprovalStep.execute = answer

    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag

    bundle = next(iter(DagBundlesManager().get_all_dag_bundles()))
    bundle.initialize()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    dag = bag.dags[stream]
    found = []
    for params in json.load(sys.stdin):
        run = dag.test(run_conf=params)
        states = {instance.task_id: str(instance.state) for instance in run.get_task_instances()}
        found.append({"state": str(run.state), "tasks": states, "file": bundle.name and dag.relative_fileloc})
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
