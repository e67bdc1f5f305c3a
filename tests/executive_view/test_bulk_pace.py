"""How fast an action on many instances goes on: a promise to everybody else who asks that API server for something."""

from __future__ import annotations

import pytest

from airflow_enterprise_orch.executive_view.actions.bulk_runner import rest


@pytest.mark.parametrize(
    ("took", "rate", "rests"),
    [
        (0.0, 20, 0.05),
        (0.01, 20, 0.04),  # so many a second, not so many and the time that they take
        (0.025, 20, 0.025),
        (0.07, 20, 0.07),  # where the machine is crowded: half of the time is other people's
        (0.07, 1000, 0.07),
    ],
)
def test_others_get_half_of_the_time_at_least(took: float, rate: float, rests: float) -> None:
    assert rest(took, rate) == pytest.approx(rests)
