"""The YAML vocabulary: what a template author can get wrong, and what the message says."""

import pytest
from pydantic import ValidationError

from airflow_enterprise_orch.delegation.system import step_type
from airflow_enterprise_orch.systems.sap import xbp_documents as documents
from airflow_enterprise_orch.systems.sap.operators import SapApplicationJobOperator, SapBackgroundJobOperator
from airflow_enterprise_orch.systems.sap.steps import ApplicationJob, BackgroundJob


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "give exactly one of 'program'"),
        ({"program": "Z", "command": "/bin/x", "host": "h"}, "give exactly one of 'program'"),
        ({"program": "zlower"}, "the name of an ABAP program"),
        ({"program": "Z" * 41}, "the name of an ABAP program"),
        ({"program": "Z", "variant": "V" * 15}, "at most 14 characters"),
        ({"program": "Z", "parameters": {"p_order": "1"}}, "no parameter of a selection screen"),
        ({"program": "Z", "parameters": {"P_TOOLONGNAME": "1"}}, "no parameter of a selection screen"),
        ({"program": "Z", "parameters": {"P_A": "x" * 256}}, "one line of at most 255 characters"),
        ({"program": "Z", "parameters": {"P_A": "two\nlines"}}, "one line of at most 255 characters"),
        ({"program": "Z", "arguments": ["x"]}, "go with 'command'"),
        ({"command": "/bin/x"}, "needs 'host'"),
        ({"command": "/bin/x; rm", "host": "h"}, "without blanks"),
        ({"command": "/bin/x", "host": "h", "variant": "V"}, "variant: for an ABAP program only"),
        ({"command": "/bin/x", "host": "h", "arguments": ["$(rm -rf /)"]}, "one word of letters"),
        ({"command": "/bin/x", "host": "h", "arguments": ["two words"]}, "one word of letters"),
        ({"command": "/bin/x", "host": "h", "arguments": ["x" * 128, "y" * 128]}, "more than 255 characters"),
        ({"program": "Z", "job_class": "D"}, "'A', 'B' or 'C'"),
        ({"program": "Z", "user": "U" * 13}, "at most 12 characters"),
        ({"program": "Z", "prog": "Z"}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_background_job_is_named(data, told):
    with pytest.raises(ValidationError, match=told):
        BackgroundJob.rendered(data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "template"),
        ({"template": "T" * 41}, "the technical name of a job template"),
        ({"template": "T'OR'"}, "the technical name of a job template"),
        ({"template": "T", "parameters": {"a b": "1"}}, "no parameter of a job template"),
        ({"template": "T", "parameters": {"P_A": ["ok", "two\nlines"]}}, "one line of at most 255 characters"),
        ({"template": "T", "user": "with blank"}, "a business user"),
    ],
)
def test_a_wrong_application_job_is_named(data, told):
    with pytest.raises(ValidationError, match=told):
        ApplicationJob.rendered(data)


def test_jinja_waits_for_its_values():
    data = {"program": "{{ params.program }}", "parameters": {"P_ORDER": "{{ params.order_id }}"}}
    assert BackgroundJob.model_validate(data).parameters["P_ORDER"].startswith("{{")
    with pytest.raises(ValidationError):
        BackgroundJob.rendered(data)


def test_what_a_selection_screen_gets():
    work = BackgroundJob(program="/ACME/POST", parameters={"P_ORDER": "ORD-1"})
    assert work.selections == [
        {"SELNAME": "P_ORDER", "KIND": "P", "SIGN": "I", "OPTION": "EQ", "LOW": "ORD-1", "HIGH": ""}
    ]
    assert work.label == "POST"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("ZPOST", "K0000000000000000000_ZPOST"),
        ("ZPOST_INVOICES_ALL", "K0000000000000000000_ZPOST_INVOI"),
        ("run-me.sh", "K0000000000000000000_RUNMESH"),
        ("", "K0000000000000000000"),
    ],
)
def test_a_job_name_begins_with_the_key_and_fits(label, name):
    assert documents.job_name("K0000000000000000000", label) == name
    assert len(name) <= documents.NAME


def test_marks_and_strangers_are_told_from_jobs():
    key = "K0000000000000000000"
    names = [f"{key}_Z", key, f"{key}-CANCEL", f"{key}X_Z", f"{key}-REMOVEDX"]
    known = documents.split([{"JOBNAME": name} for name in names], key)
    assert [row["JOBNAME"] for row in known.jobs] == [f"{key}_Z", key]
    assert known.marks == {documents.ASKED}


@pytest.mark.parametrize("letter", ["P", "S", "Y", "Z", "R", "I", "X", "", "?"])
def test_no_letter_but_f_is_a_success(letter):
    from zoneinfo import ZoneInfo

    result = documents.result_of({"STATUS": letter}, ZoneInfo("UTC"), rc=0, asked=False, why="")
    assert result.ending == "unknown"


@pytest.mark.parametrize(
    ("date", "time", "told"),
    [
        ("20260701", "120000", "2026-07-01T10:00:00+00:00"),
        ("2026-12-01", "12:00:00", "2026-12-01T11:00:00+00:00"),
        ("00000000", "000000", None),
        ("0000-00-00", "00:00:00", None),
        ("", "", None),
        ("20261399", "120000", None),
    ],
)
def test_both_ways_to_write_a_time_become_utc(date, time, told):
    from zoneinfo import ZoneInfo

    moment = documents.moment(date, time, ZoneInfo("Europe/Berlin"))
    assert (moment.isoformat() if moment else None) == told


def test_operators_say_what_the_steps_say():
    job = SapBackgroundJobOperator(task_id="a", connection="c", program="ZPOST", parameters={"P_A": "1"})
    assert (job.step, job.work) == ("sap.background_job", {"program": "ZPOST", "parameters": {"P_A": "1"}})
    app = SapApplicationJobOperator(task_id="b", connection="c", template="T", outcome={"warning": "rc == 4"})
    assert app.outcome == {"success": 'code == "W" || rc == 0', "warning": "rc == 4"}


def test_a_compiled_step_takes_saps_warning_for_a_warning():
    _, kind = step_type("sap.application_job")
    made = kind.operator_class().from_step(
        task_id="a", step="sap.application_job", connection="c", work={"template": "T"}, outcome=None
    )
    assert made.outcome["warning"] == 'code == "W"'
    kept = kind.operator_class().from_step(
        task_id="b", step="sap.application_job", connection="c", work={"template": "T"}, outcome={"success": "rc < 8"}
    )
    assert kept.outcome == {"success": "rc < 8", "warning": 'code == "W"'}
