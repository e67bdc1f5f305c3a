"""The model: durations, the graph, what is handed to the operator."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.model_types import format_duration, parse_duration

GOOD = Path(__file__).parent / "good" / "order_to_certificate.yaml"


@pytest.fixture
def stream():
    return ValueStream.load(GOOD)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1h30m", 5400), ("1d2h3m4s", 93784)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "5", "0s", "-1s", "2 h", "1h ", "h", "1w", "1.5h", "367d", "999999999d", "1H", 30, None, True, "\uff11s"],
)
def test_what_is_no_duration(text):
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


def test_predecessors_hold_the_branch_before_what_it_names(stream):
    assert stream.upstream == {
        "book_order": (),
        "route": ("book_order",),
        "approve": ("route",),
        "notify": ("route",),
        "provision": ("approve", "route"),
    }
    assert stream.ancestors("provision") == {"approve", "route", "book_order"}


def test_steps_come_after_their_predecessors(stream):
    assert [step.id for step in stream.ordered()] == ["book_order", "route", "approve", "notify", "provision"]


def test_what_later_steps_can_read(stream):
    assert stream.steps["book_order"].facts == {
        "rc": "int", "code": "string", "job_id": "string", "outcome": "string",
        "credit_class": "string", "limit": "int",
    }  # fmt: skip
    assert stream.steps["approve"].facts == {"outcome": "string", "by": "string"}
    assert stream.steps["route"].facts == {}


def test_arguments_of_the_operator_are_plain_json(stream):
    assert stream.steps["book_order"].operator_arguments() == {
        "step": "mainframe.job",
        "connection": "zos_prod",
        "work": {
            "dataset": "PROD.JCL(BOOKORD)",
            "symbols": {"ORDER": "{{ params.order_id }}", "DATE": "{{ logical_date | date('%y%j') }}"},
        },
        "outcome": {"success": "rc <= 4", "warning": "rc == 4"},
        "outputs": {
            "credit_class": {"spool": "SYSPRINT", "match": r"CREDIT CLASS=(\w+)", "type": "string"},
            "limit": {"spool": "SYSPRINT", "match": r"LIMIT=(\d+)", "type": "integer"},
        },
        "retry": [{"on": ["abended", "lost"], "times": 2, "delay": 60.0}, {"on": ["cancelled"], "times": 1}],
        "time_limit": 5400.0,
    }


def test_targets_of_a_branch_are_named_once(stream):
    assert stream.steps["route"].targets == ("approve", "provision", "notify")


def test_digest_is_of_the_meaning(stream):
    text = GOOD.read_text(encoding="utf-8")
    assert ValueStream.load("# a comment\n" + text).digest() == stream.digest()
    assert ValueStream.load(text.replace("rc <= 4", "rc <= 5")).digest() != stream.digest()


def test_a_stream_is_frozen(stream):
    with pytest.raises(ValidationError):
        stream.title = "x"


def test_messages_carry_the_name_that_is_given():
    with pytest.raises(TemplateError, match=r"^orders\.yaml:1:1 template: the file is empty"):
        ValueStream.load("", name="orders.yaml")


def test_a_file_that_is_not_there():
    with pytest.raises(TemplateError, match=r"^nowhere\.yaml:1:1 template: the file cannot be read \(No such file"):
        ValueStream.load(Path("nowhere.yaml"))


def test_problems_are_sorted_by_place():
    with pytest.raises(TemplateError) as caught:
        ValueStream.load(Path(__file__).parent / "bad" / "several_problems.yaml")
    places = [(problem.line, problem.column) for problem in caught.value.problems]
    assert places == sorted(places)
    assert len(places) == 8
