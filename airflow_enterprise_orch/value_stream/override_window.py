"""The time that a branch leaves to people: its rules have decided, and nothing follows from it yet.

What the rules came to is kept beside the decisions, as a *proposal*, with the moment until which a person may have it
otherwise. Until then the task has no worker slot; an override lets it look at once. A proposal that is older than the
last decision is one that the branch has gone on from: decided again, it leaves time again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    Decision,
    DecisionUnreadable,
    read_decision,
)

PROPOSAL_KEY = "orch.proposal"
PROPOSAL_VERSION = 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a branch will do unless a person has it otherwise.

    :param until: the moment at which it goes on; aware.
    """

    decision: Decision
    until: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the proposal as it is kept."""
        return {
            "version": PROPOSAL_VERSION,
            "until": self.until.astimezone(UTC).isoformat(),
            "decision": self.decision.to_json(),
        }

    def sentence(self) -> str:
        """Say it in one line for people."""
        until = self.until.astimezone(UTC)
        return f"unless somebody overrides it before {until:%Y-%m-%d %H:%M} UTC, it {self.decision.sentence()}"


def read_proposal(proposal: object, decision: object) -> Proposal | None:
    """Return the proposal that stands; None without one, or when the branch has decided since.

    :param proposal: what is kept under :data:`PROPOSAL_KEY`.
    :param decision: what is kept under ``orch.decision``.
    :raises DecisionUnreadable: in one line, when it is none: whoever may edit a task may edit its record.
    """
    if proposal is None:
        return None
    try:
        if not isinstance(proposal, Mapping) or proposal.get("version") != PROPOSAL_VERSION:
            raise ValueError(f"it is no record of version {PROPOSAL_VERSION}")
        until = datetime.fromisoformat(str(proposal["until"]))
        if until.tzinfo is None:
            raise ValueError(f"{proposal['until']!r} has no time zone")
        found = Proposal(read_decision(proposal["decision"]), until)
    except (KeyError, ValueError) as error:
        raise DecisionUnreadable(f"this is no proposal of a branch that can be read: {error}") from error
    decided = None if decision is None else read_decision(decision)
    return found if decided is None or decided.at < found.decision.at else None


def proposed(cells: Mapping[str, Any]) -> Proposal | None:
    """Return the proposal that stands; also None where nobody can read it: the branch itself stops there and says so.

    :param cells: what the task keeps, by key.
    """
    try:
        return read_proposal(cells.get(PROPOSAL_KEY), cells.get(DECISION_KEY))
    except DecisionUnreadable:
        return None


def waits_for_people(store: Any, decision: Decision, window: timedelta) -> Proposal | None:
    """Keep what the rules came to, and return it while there is time to have it otherwise; None when that is over.

    The moment is found out once: whatever dies, is retried or cleared meanwhile, it stays.

    :param store: the task state store.
    :raises DecisionUnreadable: when what is kept cannot be read.
    """
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    standing = read_proposal(store.get(PROPOSAL_KEY), store.get(DECISION_KEY))
    until = decision.at + window if standing is None else standing.until
    if decision.at >= until:
        return None
    proposal = Proposal(decision, until)
    store.set(PROPOSAL_KEY, proposal.to_json(), retention=NEVER_EXPIRE)
    return proposal
