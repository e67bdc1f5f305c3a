"""Loading and compiling a value-stream template, and building its DAG from the plan, which is what a worker does."""

from __future__ import annotations

import json
import time
from pathlib import Path

from airflow_enterprise_orch.value_stream.compile import plan_stream
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan

ROUNDS = 30
TEMPLATE = Path(__file__).parents[2] / "dag_templates" / "order_to_certificate.yaml"


def main() -> None:
    """Print CPU milliseconds for the shipped template; the first round pays for imports and is told apart."""
    before = time.process_time()
    stream = ValueStream.load(TEMPLATE)
    first = time.process_time() - before
    before = time.process_time()
    for _ in range(ROUNDS):
        stream = ValueStream.load(TEMPLATE)
    load = (time.process_time() - before) / ROUNDS
    before = time.process_time()
    for _ in range(ROUNDS):
        plan = plan_stream(stream, source_hash="0" * 16)
    compiled = (time.process_time() - before) / ROUNDS
    text = json.dumps(plan.to_json())
    plan.build()  # imports the operators
    before = time.process_time()
    for _ in range(ROUNDS):
        StreamPlan.from_json(json.loads(text)).build()
    build = (time.process_time() - before) / ROUNDS
    print(f"  first load {first * 1e3:.0f} ms; load and check {load * 1e3:.1f} ms; compile {compiled * 1e3:.1f} ms")
    print(f"  the DAG from the plan as it lies beside the template {build * 1e3:.1f} ms")
