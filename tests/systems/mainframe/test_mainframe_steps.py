"""The step's model says what is wrong before anything leaves."""

import pytest
from pydantic import ValidationError

from airflow_enterprise_orch.systems.mainframe.steps import MainframeJob

JCL = "//A JOB\n//S EXEC PGM=IEFBR14\n"


@pytest.mark.parametrize(
    "data",
    [
        {"jcl": JCL},
        {"dataset": "PROD.JCL(BOOKORD)"},
        {"dataset": "PROD.SEQ.JCL"},
        {"dataset": "/u/prod/book.jcl"},
        {"dataset": "{{ params.library }}(BOOK)"},
        {"jcl": JCL, "symbols": {"ORDER": "{{ params.order_id }}", "$A#1": ""}},
        {"jcl": JCL, "job_class": "A"},
    ],
)
def test_what_a_template_may_say(data):
    assert MainframeJob.model_validate(data).model_dump(exclude_defaults=True) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "give exactly one of jcl"),
        ({"jcl": JCL, "dataset": "A.B"}, "give exactly one of jcl"),
        ({"jcl": "//S EXEC PGM=X\n"}, "the JCL has no JOB card"),
        ({"jcl": JCL + "//* {{ params.x }}\n"}, "values are not pasted into JCL"),
        ({"dataset": "prod.jcl"}, "'prod.jcl' is not a data set like HLQ.JCL"),
        ({"dataset": "A" * 9}, "is not a data set"),
        ({"dataset": ".".join(["ABCDEFGH"] * 6)}, "is not a data set"),
        ({"dataset": "A.B(TOOLONGNAME)"}, "is not a data set"),
        ({"dataset": "A.B", "symbols": {"order": "1"}}, "symbol 'order' is no JCL symbol"),
        ({"dataset": "A.B", "symbols": {"NINECHARS": "1"}}, "symbol 'NINECHARS' is no JCL symbol"),
        ({"dataset": "A.B", "symbols": {"A@": "1"}}, "'@' cannot stand in the name of the HTTP header"),
        ({"dataset": "A.B", "symbols": {"SYSUID": "1"}}, "names that begin with SYS belong to the system"),
        ({"dataset": "A.B", "symbols": {"A": "x\ny"}}, "holds a line break or is not printable ASCII"),
        ({"dataset": "A.B", "symbols": {"A": "M\u00fcller"}}, "is not printable ASCII"),
        ({"dataset": "A.B", "symbols": {"A": "x" * 256}}, "its value has 256 characters; JCL allows 255"),
        ({"dataset": "A.B", "symbols": {"A": " x"}}, "blanks at the ends"),
        ({"dataset": "A.B", "symbols": {"A": "X',COND=EVEN"}}, "an apostrophe in its value would end the quoted text"),
        ({"dataset": "A.B", "symbols": {"A": 1}}, "valid string"),
        ({"dataset": "A.B", "job_class": "a"}, "job_class"),
        ({"dataset": "A.B", "subsystem": "JESB"}, "Extra inputs are not permitted"),
    ],
)
def test_what_it_may_not_say(data, message):
    with pytest.raises(ValidationError, match=message):
        MainframeJob.model_validate(data)


def test_a_rendered_value_is_checked_although_it_looks_like_a_template():
    with pytest.raises(ValidationError, match="an apostrophe"):
        MainframeJob.rendered({"dataset": "A.B", "symbols": {"A": "{{'"}})


def test_the_same_work_has_the_same_digest():
    one = MainframeJob(dataset="A.B", symbols={"X": "1", "Y": "2"})
    assert one.digest() == MainframeJob(dataset="A.B", symbols={"Y": "2", "X": "1"}).digest()
    assert one.digest() != MainframeJob(dataset="A.B", symbols={"X": "1"}).digest()
