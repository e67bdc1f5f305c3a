"""Where one try keeps the ledger: cells of Airflow's task state store, and the fence between tries.

Airflow gives a task instance a new id for every try and refuses a write with an old one; reading proves nothing,
because a task instance that is gone reads as an empty store. And Airflow looks at the owner *before* it writes, not
*while*: a write that was under way when the next try began still lands, and may replace something newer. Cells that
never expire make this harmless:

- :data:`LEDGER_KEY`, the ledger;
- ``orch.sent.<number>``, one per attempt: the attempt as it was when its work was about to leave. It is written, and
  read back, right before sending. A late write of the ledger cannot touch it, so nobody forgets what was sent; and the
  read-back, with the same owner, proves that the next try begins (and reads) after it.
- :data:`ASKED_KEY`, what a person was asked, and :data:`NOTE_KEY`, what was wrong with the answer.
"""

from __future__ import annotations

from typing import Any, Protocol

from airflow_enterprise_orch.delegation.ledger import (
    LEDGER_KEY,
    REJECTED,
    Attempt,
    AttemptState,
    Ledger,
    TaskTry,
    attempt_from_store,
)
from airflow_enterprise_orch.errors import OwnershipLost

SENT_PREFIX = "orch.sent."
ASKED_KEY = "orch.asked"
"""Where the task state store keeps what a person was asked, and in which try."""
NOTE_KEY = "orch.note"
"""Where it keeps what was wrong with the last answer, for the next question."""
LOST = "the task instance belongs to another try meanwhile, so this one does nothing more"


class Cells(Protocol):
    """The task state store of one task instance, as one try sees it."""

    def get(self, key: str) -> object:
        """Return the JSON value, None when there is none or when this try owns the task instance no more."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Write a JSON value for ever; :raises OwnershipLost: when the store refuses."""
        ...


class LedgerStore:
    """The ledger of one task instance, as one try reads and writes it."""

    def __init__(self, cells: Cells, now: TaskTry) -> None:
        self.cells = cells
        self.now = now
        self.ledger = Ledger.from_json(cells.get(LEDGER_KEY))
        last = self.ledger.last
        if now.try_number > 1 or (last is not None and last.state is AttemptState.INTENT):
            # When the first try begins, nothing was written that could have been replaced. When it goes on, a write of
            # its own may have been: the SDK repeats a request that timed out, and the first may land after others.
            self.recall()

    def save(self, changed: Ledger | Attempt) -> None:
        """Write the ledger; :raises OwnershipLost: when this try owns the task instance no more."""
        self.ledger = changed if isinstance(changed, Ledger) else self.ledger.with_attempt(changed)
        self.cells.set(LEDGER_KEY, self.ledger.to_json())
        last = self.ledger.last
        about_to_release = last is not None and last.state is AttemptState.SUBMITTED and not last.released
        if about_to_release and self.cells.get(LEDGER_KEY) != self.ledger.to_json():
            # The write was under way while the next try began, and that one may have chosen another copy to release.
            raise OwnershipLost(LOST)

    def announce(self, attempt: Attempt) -> None:
        """Write that the attempt's work is about to leave, and prove that this try still may.

        :raises OwnershipLost: when it may not.
        """
        cell = f"{SENT_PREFIX}{attempt.number}"
        self.ledger = self.ledger.with_attempt(attempt)
        self.cells.set(cell, attempt.to_json())
        if self.cells.get(cell) != attempt.to_json():
            raise OwnershipLost(LOST)

    @property
    def may_be_out_there(self) -> bool:
        """The newest attempt is open and its job may exist."""
        last = self.ledger.last
        return last is not None and self.ledger.is_open and (last.sends > 0 or last.handle is not None)

    def recall(self) -> None:
        """Bring into the ledger what was sent, should a late write have replaced it."""
        last = self.ledger.last
        if last is not None and (last.state is AttemptState.INTENT or last.kind == REJECTED):
            self._bring(last.number)
        while self._bring(len(self.ledger.attempts) + 1):
            pass

    def _bring(self, number: int) -> bool:
        sent = attempt_from_store(self.cells.get(f"{SENT_PREFIX}{number}"), number)
        if sent is None:
            return False
        before, self.ledger = self.ledger, self.ledger.recalled(sent)
        return self.ledger != before
