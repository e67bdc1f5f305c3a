"""All that was played in one company, looked at together: the systems' own records against all ledgers.

How a user would notice that it is fake: a system ran a job of which no stream knows, because a worker was killed at the
wrong moment in a scenario that did not look for it.
"""

from __future__ import annotations

import pytest
from company import Company

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1100)]


def test_every_job_of_every_system_belongs_to_one_attempt(company: Company) -> None:
    if not company.outcomes:
        pytest.skip("no scenario was selected")
    assert company.everything() == []
