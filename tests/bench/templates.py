"""Loading and compiling a value-stream template: what every start of a task costs its worker."""

from __future__ import annotations

import time
from pathlib import Path

from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream

ROUNDS = 30
TEMPLATE = Path(__file__).parents[2] / "dag_templates" / "order_to_certificate.yaml"


def main() -> None:
    """Print milliseconds for the shipped template; the first round pays for imports and is told apart."""
    before = time.perf_counter()
    stream = ValueStream.load(TEMPLATE)
    first = time.perf_counter() - before
    before = time.perf_counter()
    for _ in range(ROUNDS):
        stream = ValueStream.load(TEMPLATE)
    load = (time.perf_counter() - before) / ROUNDS
    before = time.perf_counter()
    for _ in range(ROUNDS):
        compile_stream(stream, source_hash="0" * 16)
    build = (time.perf_counter() - before) / ROUNDS
    print(
        f"  first load {first * 1e3:.0f} ms; load and check {load * 1e3:.1f} ms; compile to a DAG {build * 1e3:.1f} ms"
    )
