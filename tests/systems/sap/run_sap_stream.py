"""Runs a stream by Airflow's own ``dag.test()``, for test_sap_on_airflow.py, in a process and database of its own.

Arguments: the stream's id, and where to write the results. Standard input: a JSON list of the params of each run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Run them one after the other."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag

    stream, result = sys.argv[1:]
    bundle = next(iter(DagBundlesManager().get_all_dag_bundles()))
    bundle.initialize()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    dag = bag.dags[stream]
    found = []
    for params in json.load(sys.stdin):
        run = dag.test(run_conf=params)
        states = {instance.task_id: str(instance.state) for instance in run.get_task_instances()}
        found.append({"state": str(run.state), "tasks": states})
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
