"""Lets Airflow's scheduler make the runs of streams, moment by moment; started by test_schedule_on_airflow.py.

Standard input: JSON with the moments, ISO, in order, and runs that somebody else has made: stream and logical date. At
the first moment the DAG processor reads the streams. Writes to the file that is named what each run is: its stream, its
kind, when it may start, and the business date that its steps see.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import time_machine
from airflow._shared.timezones import timezone
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_enterprise_orch.instance import visible_names


def read_streams() -> BundleDagBag:
    """Do what a DAG processor does with a bundle, and return its DAGs."""
    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    bundle = next(iter(manager.get_all_dag_bundles()))
    bundle.initialize()
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    version = bundle.get_current_version()
    sync_bag_to_db(bag, bundle.name, version.version if version else None)
    return bag


def make_run(stream: str, moment: datetime, session: Session) -> None:
    """Make a run as a backfill does."""
    SerializedDagModel.get_dag(stream, session=session).create_dagrun(
        run_id=f"backfill__{moment.isoformat()}",
        logical_date=moment,
        data_interval=(moment, moment),
        run_after=moment,
        run_type=DagRunType.BACKFILL_JOB,
        triggered_by=DagRunTriggeredByType.BACKFILL,
        state=DagRunState.SUCCESS,
        session=session,
    )


def main() -> None:
    given = json.load(sys.stdin)
    moments = given["moments"]
    with time_machine.travel(moments[0], tick=False):
        bag = read_streams()
        scheduler = SchedulerJobRunner(job=Job())
        with create_session() as session:
            for stream, moment in given["runs"]:
                make_run(stream, datetime.fromisoformat(moment), session)
    for moment in moments:
        with time_machine.travel(moment, tick=False), create_session() as session:
            # Airflow's own query asks for the clock of the database, which cannot be set.
            due = select(DagModel).where(DagModel.next_dagrun_create_after <= timezone.utcnow())
            scheduler._create_dag_runs(session.scalars(due).all(), session)
    told = []
    with create_session() as session:
        for run in session.scalars(select(DagRun).order_by(DagRun.run_after, DagRun.dag_id)):
            seen = bag.dags[run.dag_id].get_task("work").stream
            context = {"dag_run": run, "params": {}, "ti": SimpleNamespace(xcom_pull=lambda **_: None)}
            date = visible_names(context, seen)["business_date"]
            told.append([run.dag_id, run.run_type, run.run_after.isoformat(), date])
    Path(sys.argv[1]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
