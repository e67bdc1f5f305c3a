"""What a branch's conditions can read."""

from pathlib import Path

from airflow_enterprise_orch.expressions import compile_expression
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.model import ValueStream

GOOD = Path(__file__).parent / "good" / "order_to_certificate.yaml"


def test_a_branch_sees_params_and_the_steps_before_it_only():
    names = condition_variables(ValueStream.load(GOOD), "route")
    assert names["params.amount"] == "double"
    assert names["params.copies"] == "int"
    assert names["params.express"] == "bool"
    assert names["steps.book_order.limit"] == "int"
    assert {name.split(".")[1] for name in names if name.startswith("steps.")} == {"book_order"}
    assert list(names) == sorted(names)


def test_the_rules_of_a_template_run_on_these():
    stream = ValueStream.load(GOOD)
    rule = compile_expression(stream.steps["route"].rules[0].when, condition_variables(stream, "route"))
    values = {"params.amount": 20000, "steps.book_order.credit_class": "B"}
    assert rule.evaluate(values) is True
    assert rule.evaluate(values | {"params.amount": 5.0}) is False
