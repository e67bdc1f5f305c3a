"""Where the tries of a task instance keep the ledger: cells of Airflow's task state store, and the fence between them.

Airflow gives a task instance a new id for every try and refuses a write with an old one; reading proves nothing,
because a task instance that is gone reads as an empty store. And Airflow looks at the owner *before* it writes, not
*while*: a write that was under way when the next try began still lands. So every try writes only cells of its own,
which never expire, and reads those of the newest try that has any:

- ``orch.ledger.<try>``, the ledger as that try knew it. Its first write is the claim, before anything leaves.
- ``orch.sent.<number>.<try>``, one per attempt: the attempt as it was when that try was about to send its work. It is
  written, and read back, right before sending. The read-back, with the same owner, proves that the next try begins (and
  reads) after it. And a late write of the same try's ledger, whose request timed out and was repeated, cannot touch it.
- ``orch.asked.<try>``, what that try asked a person, and ``orch.note.<try>``, what was wrong with an answer to the try
  before, for its question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from airflow_enterprise_orch.delegation.attempt import REJECTED, Attempt, AttemptState, attempt_from_store
from airflow_enterprise_orch.delegation.ledger import Ledger, TaskTry
from airflow_enterprise_orch.errors import OwnershipLost

T = TypeVar("T")

LEDGER_PREFIX = "orch.ledger."
SENT_PREFIX = "orch.sent."
LOST = "the task instance belongs to another try meanwhile, so this one does nothing more"


def ledger_cell(try_number: int) -> str:
    """Return the name of the cell in which a try keeps the ledger."""
    return f"{LEDGER_PREFIX}{try_number}"


def sent_cell(number: int, try_number: int) -> str:
    """Return the name of the cell in which a try notes that attempt ``number`` is about to leave."""
    return f"{SENT_PREFIX}{number}.{try_number}"


def asked_cell(try_number: int) -> str:
    """Return the name of the cell in which a try keeps what it asked."""
    return f"orch.asked.{try_number}"


def note_cell(try_number: int) -> str:
    """Return the name of the cell from which a try reads what was wrong with the answer before."""
    return f"orch.note.{try_number}"


def newest_ledger(cells: Mapping[str, T]) -> T | None:
    """Return the value of the ledger's cell that counts among all cells of a task instance, None without any."""
    tries = [name.removeprefix(LEDGER_PREFIX) for name in cells if name.startswith(LEDGER_PREFIX)]
    newest = max((int(text) for text in tries if text.isdecimal()), default=None)
    return None if newest is None else cells[ledger_cell(newest)]


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
        self._known_to, value = self._newest()
        self.ledger = Ledger.from_json(value)
        last = self.ledger.last
        if now.try_number > 1 or (last is not None and last.state is AttemptState.INTENT):
            # When the first try begins, nothing was written that could have been replaced. When it goes on, a write of
            # its own may have been: the SDK repeats a request that timed out, and the first may land after others.
            self.recall()

    def _newest(self) -> tuple[int, object]:
        """Return the newest try that wrote a ledger, and what it wrote; try 0 and None when none did."""
        for number in range(self.now.try_number, 0, -1):
            value = self.cells.get(ledger_cell(number))
            if value is not None:
                return number, value
        return 0, None

    def save(self, changed: Ledger | Attempt) -> None:
        """Write the ledger; :raises OwnershipLost: when this try owns the task instance no more."""
        self.ledger = changed if isinstance(changed, Ledger) else self.ledger.with_attempt(changed)
        cell = ledger_cell(self.now.try_number)
        self.cells.set(cell, self.ledger.to_json())
        self._known_to = self.now.try_number
        last = self.ledger.last
        about_to_release = last is not None and last.state is AttemptState.SUBMITTED and not last.released
        if about_to_release and self.cells.get(cell) != self.ledger.to_json():
            # The write was under way while the next try began, and that one may have chosen another copy to release.
            raise OwnershipLost(LOST)

    def prove_owner(self) -> None:
        """Prove that this try owns the task instance now: it finds its own ledger, which nobody else can read.

        :raises OwnershipLost: when it does not.
        """
        if self._known_to != self.now.try_number:
            self.save(self.ledger)
        if self.cells.get(ledger_cell(self.now.try_number)) is None:
            raise OwnershipLost(LOST)

    def announce(self, attempt: Attempt) -> None:
        """Write that the attempt's work is about to leave, and prove that this try still may.

        :raises OwnershipLost: when it may not.
        """
        cell = sent_cell(attempt.number, self.now.try_number)
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
        sent = attempt_from_store(self.cells.get(sent_cell(number, self._known_to)), number)
        if sent is None:
            return False
        before, self.ledger = self.ledger, self.ledger.recalled(sent)
        return self.ledger != before
