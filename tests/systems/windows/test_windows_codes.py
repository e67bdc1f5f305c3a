"""Result codes: a number that means one thing in a process and another in the event log."""

from __future__ import annotations

import pytest

from airflow_enterprise_orch.delegation.job import Ending
from airflow_enterprise_orch.lab.windows_scheduler import as_hresult
from airflow_enterprise_orch.systems.windows.codes import Code, from_exit, from_record, in_words


@pytest.mark.parametrize(
    ("code", "read"),
    [
        (0, Code(Ending.COMPLETED, "exit 0", 0)),
        (12, Code(Ending.COMPLETED, "exit 12", 12)),
        (-1, Code(Ending.COMPLETED, "exit -1", 0xFFFFFFFF)),  # never "rc <= 4"
        (-1073741819, Code(Ending.ABENDED, "0xC0000005 (access violation)", 0xC0000005)),
        (0xE0434352, Code(Ending.ABENDED, "0xE0434352 (unhandled .NET exception)", 0xE0434352)),
        (0x40010004, Code(Ending.ABENDED, "0x40010004 (ended by a shutdown or a logoff)", 0x40010004)),
    ],
)
def test_the_exit_code_of_a_process(code, read):
    assert from_exit(code) == read


@pytest.mark.parametrize(
    ("code", "read"),
    [
        (0, Code(Ending.COMPLETED, "exit 0", 0)),
        (2147942401, Code(Ending.COMPLETED, "exit 1", 1)),
        (0x8007000C, Code(Ending.COMPLETED, "exit 12", 12)),
        (0x41306, Code(Ending.CANCELLED, "0x00041306 (it was terminated by a user)", None)),
        (0xC0000005, Code(Ending.ABENDED, "0xC0000005 (access violation)", 0xC0000005)),
    ],
)
def test_the_result_code_of_an_event_record(code, read):
    assert from_record(code) == read


def test_a_multiple_of_65536_is_no_success():
    # HRESULT_FROM_WIN32 keeps 16 bits: exit code 65536 becomes 0x80070000, whose low half is 0.
    assert from_record(as_hresult(65536)).ending is Ending.UNKNOWN
    assert from_exit(65536) == Code(Ending.COMPLETED, "exit 65536", 65536)


def test_an_unknown_code_is_shown_as_it_is():
    assert in_words(-2147467259) == "0x80004005"
    assert in_words(0x80070569) == "0x80070569 (the account may not log on as a batch job)"
