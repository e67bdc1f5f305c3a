"""What a step's task says of the wishes that it obeyed: when, how, and in which try.

One cell of the task state store for each wish and try, :func:`obeyed_cell`. Only the task writes them, so that nothing
it writes can wash away what a person wishes meanwhile; and a late write of an earlier try touches no cell of a later
one.

A wish is obeyed once. It goes on to apply to the tries that Airflow makes by itself, because the try that obeyed it may
have died before Airflow heard of it; a clear by a person ends it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.control import ControlBroken
from airflow_enterprise_orch.delegation.ledger import Cleared, TaskTry, counters_changed

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.control import Wish
    from airflow_enterprise_orch.delegation.ledger_store import Cells

OBEYED_PREFIX = "orch.obeyed."
OBEYED_VERSION = 1
HOLD_LOOK = timedelta(hours=1)
"""How often a held step looks for itself whether it is released; it holds no worker slot in between. A release wakes it
at once."""
REQUESTED, CONFIRMED, RELEASED = "requested", "confirmed", "released"
UNSUPPORTED, REFUSED, TOO_LATE = "unsupported", "refused", "too_late"
STATES = (REQUESTED, CONFIRMED, UNSUPPORTED, REFUSED, TOO_LATE, RELEASED)
"""What became of a wish about a job over there, in one word: see :class:`Obeyed`."""
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


@dataclass(frozen=True, slots=True)
class Obeyed:
    """What became of one wish.

    :param wish: its id.
    :param what: its kind.
    :param at: when; aware.
    :param how: what the task did, for people.
    :param now: what Airflow said of the try that did it.
    :param over: a newer word has taken its place: no try obeys it any more.
    :param state: of a wish about a job over there: ``requested`` of its system, ``confirmed`` by the job's own state,
        ``unsupported`` by its system, ``refused`` by it, ``too_late`` because the job had started or ended, or
        ``released``; "" for all else.
    :param asked: of a hold that is requested or confirmed, its system was or may have been asked for it by us.
    """

    wish: str
    what: str
    at: datetime
    how: str
    now: TaskTry
    over: bool = False
    state: str = ""
    asked: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        now = {"try_number": self.now.try_number, "max_tries": self.now.max_tries, "retries": self.now.retries}
        told = {"wish": self.wish, "what": self.what, "obeyed": self.at.astimezone(UTC).isoformat(), "how": self.how}
        stands = {"state": self.state, "asked": self.asked} if self.state else {}
        return {"version": OBEYED_VERSION, **told, **now, "over": self.over, **stands}

    @classmethod
    def from_json(cls, data: object) -> Obeyed:
        """Read the plain JSON form; :raises ControlBroken: in one line, when it is not one."""
        try:
            if not isinstance(data, Mapping) or data.get("version") != OBEYED_VERSION:
                raise ValueError(f"it is no record of version {OBEYED_VERSION}")
            at = datetime.fromisoformat(str(data["obeyed"]))
            if at.tzinfo is None:
                raise ValueError("its time has no time zone")
            now = TaskTry(int(data["try_number"]), int(data["max_tries"]), int(data["retries"]))
            told = str(data["wish"]), str(data["what"]), at, str(data.get("how") or ""), now
            return cls(*told, data.get("over") is True, str(data.get("state") or ""), data.get("asked") is True)
        except (KeyError, TypeError, ValueError) as error:
            raise ControlBroken(
                f"a key that begins with {OBEYED_PREFIX!r} in the task state store is no record of an obeyed wish: "
                f"{error}; correct or delete it"
            ) from error


def obeyed_cell(wish_id: str, try_number: int) -> str:
    """Return the name of the cell in which a try says that it obeyed a wish."""
    plain = wish_id if _PLAIN_ID.fullmatch(wish_id) else hashlib.sha256(wish_id.encode()).hexdigest()[:32]
    return f"{OBEYED_PREFIX}{plain}.{try_number}"


def read_obeyed(cells: Mapping[str, object]) -> dict[str, Obeyed]:
    """Return, by the wish's id, the newest word on each wish among all cells of a task instance.

    :raises ControlBroken: in one line, when one cannot be read.
    """
    found: dict[str, Obeyed] = {}
    for name, value in cells.items():
        if name.startswith(OBEYED_PREFIX):
            obeyed = Obeyed.from_json(value)
            known = found.get(obeyed.wish)
            if known is None or known.now.try_number < obeyed.now.try_number:
                found[obeyed.wish] = obeyed
    return found


@dataclass(frozen=True)
class Obedience:
    """The wishes for one task instance, as one of its tries obeys them."""

    cells: Cells
    now: TaskTry
    clock: Callable[[], datetime]

    def newest(self, wish: Wish) -> Obeyed | None:
        """Return the newest word on a wish, None while nobody obeyed it."""
        for number in range(self.now.try_number, 0, -1):
            value = self.cells.get(obeyed_cell(wish.id, number))
            if value is not None:
                return Obeyed.from_json(value)
        return None

    def applies(self, wish: Wish, begun: int = 0) -> bool:
        """Tell whether a wish is still to be obeyed by this try.

        After an edit of the step's retries nobody can tell a clear from a retry. Then it is obeyed once more, which
        hands nothing over, and a clear after that is told apart again. But an attempt that began after it was obeyed
        began because of a clear, so the wish is none for that one.

        :param begun: the try that began the last attempt; 0 when there is none.
        """
        before = self.newest(wish)
        if before is None:
            return True
        if begun > before.now.try_number:
            return False
        return not before.over and counters_changed(before.now, self.now) is not Cleared.YES

    def mark(self, wish: Wish, how: str, *, over: bool = False, state: str = "", asked: bool = False) -> None:
        """Write down that this try obeyed a wish; the same again changes nothing.

        :raises OwnershipLost: when this try owns the task instance no more.
        """
        before = self.newest(wish)
        if before is not None and before.how == how and counters_changed(before.now, self.now) is Cleared.NO:
            return
        obeyed = Obeyed(wish.id, wish.what, self.clock(), how, self.now, over, state, asked)
        self.cells.set(obeyed_cell(wish.id, self.now.try_number), obeyed.to_json())
