"""What z/OSMF's documents mean."""

from datetime import UTC, datetime

import pytest

from airflow_enterprise_orch.delegation.job import Ending, JobStatus, Phase
from airflow_enterprise_orch.systems.mainframe import documents

TIMES = {"exec-started": "2026-01-02T03:04:05.678Z", "exec-ended": "2026-01-02T03:05:05.678Z"}


@pytest.mark.parametrize(
    ("retcode", "ending", "rc", "code"),
    [
        ("CC 0000", Ending.COMPLETED, 0, "CC 0000"),
        ("CC 4095", Ending.COMPLETED, 4095, "CC 4095"),
        ("ABEND S0C7", Ending.ABENDED, None, "ABEND S0C7"),
        ("ABENDU0016", Ending.ABENDED, None, "ABEND U0016"),
        ("ABEND U0016", Ending.ABENDED, None, "ABEND U0016"),
        ("CANCELED", Ending.CANCELLED, None, "CANCELED"),
        ("CONV ABEND", Ending.REJECTED, None, "CONV ABEND"),
        ("CONV ERROR", Ending.REJECTED, None, "CONV ERROR"),
        ("JCL ERROR", Ending.REJECTED, None, "JCL ERROR"),
        ("SEC ERROR", Ending.REJECTED, None, "SEC ERROR"),
        ("SYS FAIL", Ending.LOST, None, "SYS FAIL"),
        (None, Ending.UNKNOWN, None, ""),
        ("", Ending.UNKNOWN, None, ""),
        ("CC", Ending.UNKNOWN, None, "CC"),
        ("CC 12345", Ending.UNKNOWN, None, "CC 12345"),
        ("COMPLETED", Ending.UNKNOWN, None, "COMPLETED"),
        ("cc 0000", Ending.UNKNOWN, None, "cc 0000"),
    ],
)
def test_the_completion_code_says_how_it_ended(retcode, ending, rc, code):
    result = documents.result_of({"status": "OUTPUT", "retcode": retcode})
    assert (result.ending, result.rc, result.code) == (ending, rc, code)


@pytest.mark.parametrize("status", ["INPUT", "ACTIVE", None, "SOMETHING"])
def test_a_job_that_has_not_ended_has_no_result(status):
    result = documents.result_of({"status": status, "retcode": "CC 0000"})
    assert (result.ending, result.rc) == (Ending.UNKNOWN, None)


def test_a_jcl_error_after_the_start_is_no_rejection():
    result = documents.result_of({"status": "OUTPUT", "retcode": "JCL ERROR", **TIMES})
    assert (result.ending, result.detail) == (Ending.ABENDED, "the error came after the job had begun to run")


def test_times_are_aware_utc():
    result = documents.result_of({"status": "OUTPUT", "retcode": "CC 0000", **TIMES})
    assert result.started == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert result.ended == datetime(2026, 1, 2, 3, 5, 5, 678000, tzinfo=UTC)


def test_an_unreadable_time_is_no_time():
    assert documents.result_of({"status": "OUTPUT", "retcode": "CC 0000", "exec-started": "soon"}).started is None


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"status": "INPUT", "reason-not-running": "Job is held"}, JobStatus(Phase.HELD, "Job is held")),
        ({"status": "INPUT", "reason-not-running": "JOB HOLD"}, JobStatus(Phase.HELD, "JOB HOLD")),
        (
            {"status": "INPUT", "reason-not-running": "Job class A is held"},
            JobStatus(Phase.WAITING, "Job class A is held"),
        ),
        ({"status": "INPUT", "phase-name": "in conversion"}, JobStatus(Phase.WAITING, "in conversion")),
        ({"status": "ACTIVE"}, JobStatus(Phase.RUNNING)),
        ({"status": "OUTPUT", "retcode": None}, JobStatus(Phase.ENDED)),
        ({"status": None}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_the_status_says_where_it_is(document, status):
    assert documents.status_of(document) == status


@pytest.mark.parametrize(("status", "held"), [("INPUT", True), ("ACTIVE", False), ("OUTPUT", False)])
def test_whatever_has_not_started_counts_as_held(status, held):
    document = {"jobid": "JOB00001", "jobname": "A", "status": status, "job-correlator": "J0000001:KEY"}
    candidate = documents.candidate_of(document, "KEY")
    assert (candidate.held, candidate.handle.fields["correlator"]) == (held, "J0000001:KEY")


@pytest.mark.parametrize(
    ("status", "document", "absent"),
    [
        (400, {"rc": 4, "reason": 10, "category": 6, "message": "No job found for reference: 'A(B)'"}, True),
        (500, {"rc": 0, "reason": 8, "category": 8}, True),
        (404, {"rc": 4, "reason": 7, "category": 6}, False),
        (400, {"rc": 4, "reason": 7, "category": 6}, False),
        (404, None, False),
        (400, [], False),
    ],
)
def test_an_absent_job_is_no_404(status, document, absent):
    assert documents.is_absent(status, document) is absent


def test_an_error_document_becomes_one_line():
    document = {"rc": 4, "reason": 13, "category": 6, "message": "no job\n", "details": ["one", "two"], "stack": "x"}
    assert documents.message_of(document) == "no job : one; two (category 6, rc 4, reason 13)"
    assert documents.message_of({"anything": 1}) == ""
    assert documents.message_of("text") == ""
