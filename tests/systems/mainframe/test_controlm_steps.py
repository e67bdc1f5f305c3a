"""The step's model and the documents: what may be said, and what is read."""

from datetime import UTC

import pytest
from pydantic import ValidationError

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.systems.mainframe import controlm_documents as documents
from airflow_enterprise_orch.systems.mainframe.controlm_documents import Mark
from airflow_enterprise_orch.systems.mainframe.controlm_orders import order_document
from airflow_enterprise_orch.systems.mainframe.steps import SchedulerJob


@pytest.mark.parametrize(
    "data",
    [
        {"folder": "ORDERS"},
        {"folder": "{{ params.folder }}", "job": "BOOK-1", "into": "Standalone"},
        {"folder": "ORDERS", "variables": {"ORDER": "{{ params.order_id }}", "PATH_1": r"C:\in\a b.csv"}},
        {"folder": "ORDERS", "order_date": "20261231", "library": "CTM.PROD.SCHEDULE", "ignore_criteria": True},
    ],
)
def test_what_a_template_may_say(data):
    assert SchedulerJob.model_validate(data).model_dump(exclude_defaults=True) == data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "folder"),
        ({"folder": "ORD*"}, r"'ORD\*' is not the name of a Control-M folder"),
        ({"folder": "A", "job": "A,B"}, "is not the name of one Control-M job"),
        ({"folder": "A", "into": "Recent"}, "'New' or 'Standalone'"),
        ({"folder": "A", "order_date": "31.12.2026"}, "is not a date like 20261231"),
        ({"folder": "A", "variables": {"%%X": "1"}}, "variable '%%X': 1 to 40 letters"),
        ({"folder": "A", "variables": {"ORCH_KEY": "1"}}, "names that begin with ORCH_"),
        ({"folder": "A", "variables": {"orch_what": "1"}}, "names that begin with ORCH_"),
        ({"folder": "A", "variables": {"X": "a; rm -rf /"}}, "its value holds ';', which would act"),
        ({"folder": "A", "variables": {"X": "$(id)"}}, "its value holds '\\$'"),
        ({"folder": "A", "variables": {"X": "%%PASSWORD"}}, "its value holds '%%'"),
        ({"folder": "A", "variables": {"X": "a\nb"}}, "its value holds"),
        ({"folder": "A", "variables": {"X": "O'Neil"}}, "its value holds"),
        ({"folder": "A", "variables": {"X": "x" * 4001}}, "its value has 4001 characters"),
        ({"folder": "A", "variables": {"X": 1}}, "valid string"),
        ({"folder": "A", "hold": True}, "Extra inputs are not permitted"),
    ],
)
def test_what_it_may_not_say(data, message):
    with pytest.raises(ValidationError, match=message):
        SchedulerJob.model_validate(data)


def test_a_rendered_value_is_checked_although_it_looks_like_a_template():
    with pytest.raises(ValidationError, match="its value holds"):
        SchedulerJob.rendered({"folder": "A", "variables": {"X": "{{';"}})


def test_the_order_is_held_and_carries_the_key_beside_the_variables():
    work = SchedulerJob(folder="F", job="J", variables={"A": "1"}, order_date="20261231", library="L.I", into="New")
    assert order_document(work, "PROD", "K1") == {
        "ctm": "PROD",
        "folder": "F",
        "jobs": "J",
        "hold": True,
        "ignoreCriteria": False,
        "createDuplicate": True,
        "orderIntoFolder": "New",
        "orderDate": "20261231",
        "library": "L.I",
        "variables": [{"A": "1"}, {"ORCH_KEY": "K1"}, {"ORCH_WHAT": "job"}],
    }


@pytest.mark.parametrize(
    "definition",
    [
        {"F": {"Type": "Folder", "Variables": [{"ORCH_KEY": "K1"}, {"ORCH_WHAT": "job"}]}},
        {"F": {"J": {"Variables": [{"%%ORCH_KEY": "K1"}, {"%%ORCH_WHAT": "job"}]}}},
        [{"variables": [{"name": "ORCH_KEY", "value": "K1"}, {"name": "ORCH_WHAT", "value": "job"}]}],
        '{"J": {"Variables": [{"ORCH_KEY": "K1"}, {"ORCH_WHAT": "job"}]}}',
    ],
)
def test_the_key_is_read_from_every_shape_of_a_definition(definition):
    assert documents.mark_of(definition) == Mark("K1", "job")


@pytest.mark.parametrize("definition", [{}, {"J": {"Variables": [{"OTHER": "K1"}]}}, "K1", "{broken", None])
def test_a_definition_without_a_key_has_none(definition):
    assert documents.mark_of(definition) == Mark("", "")


@pytest.mark.parametrize(
    ("entry", "phase", "reason"),
    [
        ({"status": "Ended OK"}, Phase.ENDED, ""),
        ({"status": "Ended Not OK", "held": True}, Phase.ENDED, ""),
        ({"status": "Wait Condition", "deleted": True}, Phase.ENDED, ""),
        ({"status": "Executing", "held": True}, Phase.RUNNING, ""),
        ({"status": "Wait User", "held": True}, Phase.HELD, "held in Control-M"),
        ({"status": "Wait User", "held": "true"}, Phase.HELD, "held in Control-M"),
        ({"status": "Wait Resource"}, Phase.WAITING, "Wait Resource"),
        ({"status": "Status Unknown", "startTime": "20260302210446"}, Phase.RUNNING, "Status Unknown"),
        ({"status": "Something New"}, Phase.WAITING, "Something New"),
    ],
)
def test_the_states(entry, phase, reason):
    state = documents.status_of({"jobId": "P:00001", "type": "Command", **entry})
    assert (state.phase, state.reason) == (phase, reason)


def test_no_state_is_no_state():
    assert documents.status_of({"jobId": "P:00001"}) is None


LOG = "21:04:46 2-Mar-2026  STARTED AT 20260302210446 ON host  \t5101\n{}"


@pytest.mark.parametrize(
    ("status", "lines", "ending", "rc"),
    [
        ("Ended OK", "ENDED AT 20260302210446. OSCOMPSTAT 4. RUNCNT 1\t5100", Ending.COMPLETED, 0),
        ("Ended Not OK", "ENDED AT 20260302210446 . OSCOMPSTAT 12 . RUNCNT 1\t5100", Ending.COMPLETED, 12),
        ("Ended Not OK", "ENDED AT 20260302210446. OSCOMPSTAT 0. RUNCNT 1\t5100", Ending.ABENDED, None),
        ("Ended Not OK", "", Ending.ABENDED, None),
        ("Ended Not OK", "JOB ABENDED S0C7", Ending.ABENDED, None),
        ("Ended Not OK", "JOB KILLED BY USER maria", Ending.CANCELLED, None),
        ("Cancelled", "", Ending.CANCELLED, None),
        ("Executing", "", Ending.UNKNOWN, None),
        ("", "", Ending.UNKNOWN, None),
    ],
)
def test_the_endings(status, lines, ending, rc):
    result = documents.result_of({"status": status}, LOG.format(lines), (), UTC)
    assert (result.ending, result.rc) == (ending, rc)


def test_only_the_last_run_counts():
    log = LOG.format("JOB KILLED BY USER maria\n") + LOG.format("ENDED AT 20260302210446. OSCOMPSTAT 8. RUNCNT 2")
    result = documents.result_of({"status": "Ended Not OK"}, log, (), UTC)
    assert (result.ending, result.rc) == (Ending.COMPLETED, 8)
