"""Puts a DAG into an Airflow database, for tests of the tab that Airflow shows in it.

Run as a program of its own, in the environment of the API server. It makes what the DAG processor would:
nothing runs.
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


def main() -> None:
    (dag_id,) = sys.argv[1:]
    with DAG(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id="book_order")
    with create_session() as session:
        session.merge(DagBundleModel(name="streams"))
    with create_session() as session:
        update_dag_parsing_results_in_db("streams", None, [LazyDeserializedDAG.from_dag(dag)], {}, None, set(), session)


if __name__ == "__main__":
    main()
