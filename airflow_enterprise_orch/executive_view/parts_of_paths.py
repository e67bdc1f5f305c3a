"""The parts of addresses, as all routes take them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

DagId = Annotated[str, Path(max_length=250, description="The stream's DAG id.")]
RunId = Annotated[str, Path(max_length=250, description="The instance's run id in Airflow.")]
TaskId = Annotated[str, Path(max_length=250, description="The step's id.")]
