"""Runs a stream by Airflow's own ``dag.test()``; started by test_on_airflow.py in a process and a database of its own.

Arguments: the stream's id, where to write the results, and tasks that are cleared and run again at the end of each run.
Standard input: a JSON list of the params of each run.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import streams_for_tests
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from airflow_enterprise_orch.alerts.open_job import open_jobs
from airflow_enterprise_orch.delegation import system
from airflow_enterprise_orch.delegation.conduct_types import Wait
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.value_stream.approval import ApprovalStep

HOOKS = ("pre_execute", "post_execute")


class Working(BaseOperator):
    """A system's operator that is done at once and leaves what its text says, as JSON."""

    trigger_class = DelegateOperator.trigger_class

    @classmethod
    def from_step(cls, **arguments: Any) -> Working:
        own = (*("task_id", "dag", "trigger_rule", "task_display_name"), *streams_for_tests.SCHEDULED_BY, *HOOKS)
        operator = cls(**{name: arguments[name] for name in own if name in arguments})
        operator.left = json.loads(arguments["work"].get("text") or "{}")
        return operator

    def execute(self, context: Any) -> dict[str, Any]:
        return {"rc": 0, **self.left}


JOBS: dict[str, list[list[str]]] = {}
"""Of each run the jobs of its items, as the last of them could read it for an alert."""


def pay(self: DelegateOperator, context: Any) -> Any:
    """Do the work of one item at once; its job is noted as before a wait."""
    if self.work["text"] == "broke":
        raise AirflowFailException("there is no money")
    ti = context["ti"]
    attempt = SimpleNamespace(handle=JobHandle("K" * 20, f"job-of-{self.item}", ""), system="test://c")
    self.trigger_class(self._waiting(context, Wait(attempt, None)))
    items = [("pay-each", index) for index in range(len(context["params"]["banks"]))]
    found = asyncio.run(open_jobs(ti.dag_id, ti.run_id, [*items, ("pay-each", -1), ("book", -1)]))
    JOBS[ti.run_id] = [[one.step, one.item, one.job_id, one.system, one.connection] for one in found]


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


def run_again(dag: Any, instance: Any) -> str:
    """Do one task anew, as after a clear; return what becomes of it."""
    from airflow.models.taskinstance import clear_task_instances
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session

    with create_session() as session:
        instance = session.merge(instance)
        clear_task_instances([instance], session, dag_run_state=False)
        session.flush()
        session.commit()
        session.expunge_all()
    done = _run_task(ti=instance, task=dag.get_task(instance.task_id))
    state = instance.state.value
    return f"{state}: {done.error}" if done is not None and done.error is not None else state


def main() -> None:
    stream, result, *again = sys.argv[1:]
    system.entry_points = lambda group: [SimpleNamespace(load=lambda: streams_for_tests.TEST_SYSTEM)]
    streams_for_tests.Delegate = Working
    ApprovalStep.execute = answer
    DelegateOperator.execute = pay

    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag

    bundle = next(iter(DagBundlesManager().get_all_dag_bundles()))
    bundle.initialize()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    dag = bag.dags[stream]
    dag.deadline = None  # Airflow 3.3's dag.test() cannot start a run that has one
    found = []
    for params in json.load(sys.stdin):
        run = dag.test(run_conf=params)
        instances = {instance.task_id: instance for instance in run.get_task_instances()}
        states = {name: str(instance.state) for name, instance in instances.items()}
        order = sorted((one for one in instances.values() if one.start_date), key=lambda one: one.start_date)
        told = {"state": str(run.state), "tasks": states, "order": [one.task_id for one in order]}
        told["jobs"] = JOBS.get(run.run_id)
        told["again"] = {name: run_again(dag, instances[name]) for name in again}
        found.append({**told, "file": bundle.name and dag.relative_fileloc})
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
