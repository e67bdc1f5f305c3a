"""Puts a stream with one run into an Airflow database, for tests of the tabs that Airflow shows in DAGs and runs.

Run as a program of its own, in the environment of the API server. It makes what the DAG processor and the scheduler
would: nothing runs.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models.dagbundle import DagBundleModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType


def main() -> None:
    dag_id, run_id = sys.argv[1:]
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id="book_order")
    with create_session() as session:
        session.merge(DagBundleModel(name="streams"))
    with create_session() as session:
        update_dag_parsing_results_in_db("streams", None, [LazyDeserializedDAG.from_dag(dag)], {}, None, set(), session)
    with create_session() as session:
        from airflow.models.serialized_dag import SerializedDagModel

        serialized = SerializedDagModel.get_dag(dag_id, session=session)
        serialized.create_dagrun(
            run_id=run_id,
            run_after=datetime(2026, 3, 10, tzinfo=UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state="running",
            session=session,
        )


if __name__ == "__main__":
    main()
