"""The business date of a run.

How a user would notice that it is fake: a run at 00:30 in Berlin is for the day before, because UTC says so; a run by
hand on a Sunday is for that Sunday; a day that the calendar does not cover is taken for a working day.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_enterprise_orch.business_date import business_date
from airflow_enterprise_orch.errors import TemplateError

DAYS = {"name": "days", "first": "2026-01-01", "last": "2026-12-31", "weekend": [5, 6], "closed": ["2026-04-03"]}
BERLIN = {"timezone": "Europe/Berlin", "days": {**DAYS, "opened": []}}


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 3, 9, 23, 30, tzinfo=UTC), "2026-03-10"),
        (datetime(2026, 3, 8, 12, tzinfo=UTC), "2026-03-06"),
        (datetime(2026, 4, 3, 12, tzinfo=UTC), "2026-04-02"),
    ],
    ids=["by the clock of the schedule", "a Sunday is for Friday", "a holiday is for the day before"],
)
def test_is_the_working_day_that_a_run_is_for(moment: datetime, expected: str) -> None:
    assert business_date(moment, {}, BERLIN) == expected


def test_without_a_calendar_every_day_is_one() -> None:
    assert business_date(datetime(2026, 3, 8, 12, tzinfo=UTC), {}, {"timezone": "UTC", "days": None}) == "2026-03-08"


def test_a_param_says_it_outright() -> None:
    at = datetime(2026, 3, 9, tzinfo=UTC)
    assert business_date(at, {"business_date": "2025-12-31"}, BERLIN) == "2025-12-31"
    assert business_date(at, {"business_date": ""}, BERLIN) == "2026-03-09"
    with pytest.raises(TemplateError, match=r"'31\.12\.2025' is no date, write it as 2026-12-31"):
        business_date(at, {"business_date": "31.12.2025"}, BERLIN)


def test_what_the_calendar_does_not_tell_is_not_guessed() -> None:
    with pytest.raises(TemplateError, match="covers 2026-01-01 to 2026-12-31, and tells nothing of 2027-01-04"):
        business_date(datetime(2027, 1, 4, 12, tzinfo=UTC), {}, BERLIN)
