"""A result becomes a success only when somebody can prove it and a rule says so."""

from __future__ import annotations

import re

import pytest

from airflow_enterprise_orch.delegation.attempt import Verdict
from airflow_enterprise_orch.delegation.job import Ending, JobResult
from airflow_enterprise_orch.delegation.outcome import Judgement, OutcomeRules, OutputRule
from airflow_enterprise_orch.errors import OutcomeUnknown, OutputMissing
from airflow_enterprise_orch.expressions import ExpressionError

SUCCESS, WARNING, FAILURE = Verdict.SUCCESS, Verdict.WARNING, Verdict.FAILURE
COMPLETED, ABENDED = Ending.COMPLETED, Ending.ABENDED


@pytest.mark.parametrize(
    ("success", "warning", "result", "verdict", "kind"),
    [
        ("", "", JobResult(COMPLETED, "CC 0000", 0), SUCCESS, ""),
        ("", "", JobResult(COMPLETED, "CC 0004", 4), FAILURE, "failed"),
        ("rc <= 4", "rc == 4", JobResult(COMPLETED, "CC 0004", 4), WARNING, ""),
        ("rc <= 4", "rc == 4", JobResult(COMPLETED, "CC 0000", 0), SUCCESS, ""),
        ("rc <= 4", "rc == 4", JobResult(COMPLETED, "CC 0008", 8), FAILURE, "failed"),
        ("rc == 0", "rc == 8", JobResult(COMPLETED, "CC 0008", 8), FAILURE, "failed"),
        ("rc < 0", "", JobResult(COMPLETED, "exit -1", -1), SUCCESS, ""),
        ("", "", JobResult(ABENDED, "ABEND S0C7"), FAILURE, "abended"),
        ("", "", JobResult(ABENDED, "signal 9", 0), SUCCESS, ""),
        ('code == "ABEND S222"', "", JobResult(ABENDED, "ABEND S222"), SUCCESS, ""),
        ('ending == "abended"', "", JobResult(ABENDED, "ABEND S0C7"), SUCCESS, ""),
        ('rc == 0 || code == "ABEND S222"', "", JobResult(ABENDED, "ABEND S222"), SUCCESS, ""),
        ('rc == 0 || code == "ABEND S222"', "", JobResult(ABENDED, "ABEND S0C7"), FAILURE, "abended"),
        ('rc == 0 && code == "ABEND S222"', "", JobResult(ABENDED, "ABEND S222"), FAILURE, "abended"),
        ('code == "OK" || rc == 0', "", JobResult(COMPLETED, "OK"), SUCCESS, ""),
        ('code == "OK"', "rc == 4", JobResult(COMPLETED, "OK"), SUCCESS, ""),
        ("true", "", JobResult(Ending.CANCELLED, "CANCELED", 0), FAILURE, "cancelled"),
        ("true", "", JobResult(Ending.REJECTED, "JCL ERROR"), FAILURE, "rejected"),
        ("true", "", JobResult(Ending.LOST, "gone", 0), FAILURE, "lost"),
    ],
)
def test_judge(success: str, warning: str, result: JobResult, verdict: Verdict, kind: str) -> None:
    assert OutcomeRules(success, warning).judge(result) == Judgement(verdict, kind)


@pytest.mark.parametrize("success", ["", "true", 'ending == "unknown"'])
def test_an_unknown_ending_is_no_success_by_any_rule(success: str) -> None:
    with pytest.raises(OutcomeUnknown, match=re.escape("cannot prove how the job ended (purged)")):
        OutcomeRules(success).judge(JobResult(Ending.UNKNOWN, "purged", 0))
    with pytest.raises(OutcomeUnknown, match="no result at all"):
        OutcomeRules(success).judge(JobResult(Ending.UNKNOWN))


@pytest.mark.parametrize("success", ["", "rc <= 4", 'rc == 0 || code == "OK"', "rc != 1"])
def test_a_completed_job_without_a_return_code_is_unknown(success: str) -> None:
    with pytest.raises(OutcomeUnknown, match=re.escape("completed without a return code (no code)")):
        OutcomeRules(success).judge(JobResult(COMPLETED))


@pytest.mark.parametrize("rule", ["rc = 0", "rc", 'rc == "0"', "job.rc == 0", "rc ==", "x" * 5000])
def test_a_wrong_rule_is_found_before_any_result(rule: str) -> None:
    with pytest.raises(ExpressionError):
        OutcomeRules(rule)
    with pytest.raises(ExpressionError):
        OutcomeRules("", rule)


def output(match: str, kind: str = "string") -> OutputRule:
    return OutputRule.from_json("total", {"spool": "SYSPRINT", "match": match, "type": kind}, "spool")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "TOTAL=abc", "abc"),
        ("integer", "TOTAL=42", 42),
        ("integer", "TOTAL=-7", -7),
        ("number", "TOTAL=1.50", 1.5),
        ("boolean", "TOTAL=YES", True),
        ("boolean", "TOTAL=0", False),
        ("integer", "header\nTOTAL=1\nTOTAL=2", 1),
    ],
)
def test_outputs_have_their_type(kind: str, text: str, value: object) -> None:
    found = output(r"^TOTAL=(\S+)$", kind).extract(text, "JOB1")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "TOTAL=1.5"),
        ("integer", "TOTAL=many"),
        ("number", "TOTAL=1,50"),
        ("number", "TOTAL=nan"),
        ("number", "TOTAL=inf"),
        ("boolean", "TOTAL=maybe"),
    ],
)
def test_an_output_of_another_type_is_told(kind: str, text: str) -> None:
    raw = text.removeprefix("TOTAL=")
    with pytest.raises(OutputMissing) as missing:
        output(r"TOTAL=(\S+)", kind).extract(text, "fake.job JOB1 on fake://one")
    assert str(missing.value) == (
        f"fake.job JOB1 on fake://one: output 'total' in SYSPRINT is {raw!r}, which is no {kind}; correct the template "
        "and clear the step to read it once more"
    )


@pytest.mark.parametrize("text", ["", "nothing here", "TOTAL:"])
def test_an_output_that_is_not_there_is_told(text: str) -> None:
    with pytest.raises(OutputMissing) as missing:
        output(r"TOTAL(?:=(\d+)|:)").extract(text, "JOB1")
    assert str(missing.value) == (
        r"JOB1: output 'total' is not in SYSPRINT: nothing matches 'TOTAL(?:=(\\d+)|:)'; the job ended and is not run "
        "again: correct the template and clear the step to read it once more"
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({}, "output 'total' must have 'spool', 'match' and perhaps 'type', and nothing else"),
        ({"spool": "A"}, "output 'total' must have 'spool', 'match' and perhaps 'type', and nothing else"),
        (
            {"log": "A", "match": "(a)"},
            "output 'total' must have 'spool', 'match' and perhaps 'type', and nothing else",
        ),
        (
            {"spool": "A", "match": "(a)", "type": "date"},
            "output 'total': type 'date' is none of string, integer, number, boolean",
        ),
        (
            {"spool": "A", "match": "(a"},
            "output 'total': match is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            {"spool": "A", "match": "a"},
            "output 'total': match must have exactly one group in parentheses, it has 0",
        ),
        (
            {"spool": "A", "match": "(a)(b)"},
            "output 'total': match must have exactly one group in parentheses, it has 2",
        ),
    ],
)
def test_a_wrong_output_rule(data: dict[str, str], line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)) as wrong:
        OutputRule.from_json("total", data, "spool")
    assert str(wrong.value) == line
