"""CEL conditions: compile once, evaluate often."""

from __future__ import annotations

import time

from airflow_enterprise_orch.expressions import compile_expression

ROUNDS = 20_000
VARIABLES = {"params.amount": "double", "steps.book_order.credit_class": "string"}


def main() -> None:
    """Print microseconds."""
    before = time.perf_counter()
    for number in range(200):
        rule = compile_expression(f'params.amount > {number}.0 && steps.book_order.credit_class != "A"', VARIABLES)
    compiled = (time.perf_counter() - before) / 200
    before = time.perf_counter()
    for _ in range(ROUNDS):
        rule.evaluate({"params.amount": 20000.0, "steps.book_order.credit_class": "B"})
    evaluated = (time.perf_counter() - before) / ROUNDS
    print(f"  compile {compiled * 1e6:.0f} us, evaluate {evaluated * 1e6:.1f} us")
