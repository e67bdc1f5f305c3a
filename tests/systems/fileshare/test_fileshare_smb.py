"""Files that somebody else has open: waited for, for some seconds.

How a user would notice that it is fake: of two tries that come at the same moment one fails, because the other is just
writing what it reads.
"""

from __future__ import annotations

import pytest
from smbprotocol.exceptions import SMBOSError

from airflow_enterprise_orch.systems.fileshare import smb

DENIED = 0xC0000022


def refused(*statuses: int):
    """Return what is refused so, one after the other, and then done; and how often it was asked for."""
    left, asked = list(statuses), []

    def act() -> str:
        asked.append(1)
        if left:
            raise SMBOSError(left.pop(0), "file")
        return "done"

    return act, asked


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smb, "PATIENCE", (0.0, 0.0))


def test_what_somebody_has_open_is_tried_again() -> None:
    act, asked = refused(smb.SHARING_VIOLATION, smb.SHARING_VIOLATION)
    assert smb._patiently(act) == "done"
    assert len(asked) == 3


@pytest.mark.parametrize(("status", "times"), [(smb.SHARING_VIOLATION, 3), (DENIED, 1)])
def test_but_not_for_ever_and_nothing_else_is(status: int, times: int) -> None:
    act, asked = refused(*[status] * 9)
    with pytest.raises(SMBOSError):
        smb._patiently(act)
    assert len(asked) == times
