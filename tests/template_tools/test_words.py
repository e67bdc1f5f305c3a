"""Conditions in words."""

import pytest

from airflow_enterprise_orch.template_tools.words import counted, in_words, retry_words
from tests.template_tools.samples import shipped


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("params.amount > 10000.0", "Amount is more than 10000"),
        (
            'params.amount>1000.5&&steps.check_credit.credit_class!="A"',
            'Amount is more than 1000.5 and credit_class of check_credit is not "A"',
        ),
        ("rc <= 4", "the return code is at most 4"),
        ('steps.a.kind in ["B", "C"]', 'kind of a is one of ["B", "C"]'),
        ("!(rc == 4 || rc < 0)", "not (the return code is 4 or the return code is less than 0)"),
        ('params.customer.startsWith("a && b")', 'Customer.startsWith("a && b")'),
        ("size(params.customer) >= 3", "size(Customer) is at least 3"),
        ('code == "a  b"', 'code is "a  b"'),
        ("params.unknown == -1", "unknown is -1"),
        ("", ""),
    ],
)
def test_in_words(condition, words):
    assert in_words(condition, shipped()) == words


def test_rules_and_numbers():
    assert retry_words(["timed_out", "lost"], 1, "5m") == "if timed out or lost: again, up to 1 time, 5m later"
    grown = retry_words(["failed"], 3, "1m", backoff=2.0, max_delay="1h")
    assert grown == "if failed: again, up to 3 times, 1m later, each further wait 2 times as long, at most 1h"
    assert [counted(number, "step") for number in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]
