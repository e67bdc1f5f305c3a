"""Ways to break the package on purpose, by name: the harness must notice each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from .systems import SYSTEMS


def skip_find() -> None:
    """Send without looking whether the job is there already."""
    from airflow_enterprise_orch.delegation.submission import Submission

    async def look(_self: Any, _ledger: Any, _attempt: Any) -> None:
        return None

    Submission._look = look  # type: ignore[method-assign,assignment]


def no_second_claim() -> None:
    """Send without saying so right before, and without proof that the task still is this try's."""
    from airflow_enterprise_orch.delegation.ledger_store import LedgerStore

    def announce(self: LedgerStore, attempt: Any) -> None:
        self.ledger = self.ledger.with_attempt(attempt)

    LedgerStore.announce = announce  # type: ignore[method-assign]


def trust_on_kill() -> None:
    """Take Airflow's ``on_kill`` for a person's word: the trigger's cancels whatever it waits for."""
    from airflow_enterprise_orch.delegation import waiting

    waiting.kill_cancels = lambda _state: True


def no_settle() -> None:
    """Take a job that is not to be seen at once for one that never will be."""
    for system in {about.client_class for about in SYSTEMS.values()}:
        _hurry(system)


def _hurry(system: Any) -> None:
    patient = system.capabilities
    system.capabilities = property(lambda self: replace(patient.fget(self), settle=timedelta(0)))


def release_any() -> None:
    """Release whichever copy comes to hand, and write down which one only afterwards."""
    from airflow_enterprise_orch.delegation.attempt import AttemptState
    from airflow_enterprise_orch.delegation.ledger_store import LedgerStore
    from airflow_enterprise_orch.delegation.submission import Submission

    def elect(self: Submission, found: Any, _ledger: Any, _attempt: Any) -> Any:
        in_order = sorted(found.candidates, key=lambda candidate: candidate.order)
        return replace(in_order[self.try_number % len(in_order)], held=True)

    async def discard_others(_self: Submission, _found: Any, _chosen: Any) -> None:
        return None

    save = LedgerStore.save

    def save_late(self: LedgerStore, changed: Any) -> None:
        last = getattr(changed, "last", changed)
        if last is not None and last.state is AttemptState.SUBMITTED and not last.released:
            self.ledger = changed if hasattr(changed, "attempts") else self.ledger.with_attempt(changed)
            return
        save(self, changed)

    Submission._elect = elect  # type: ignore[method-assign]
    Submission._discard_others = discard_others  # type: ignore[method-assign]
    LedgerStore.save = save_late  # type: ignore[method-assign]
    # Its ledger, which is not there, would tell a try that is not the task's any more.
    LedgerStore.prove_owner = lambda _self: None  # type: ignore[method-assign]


def start_anyway() -> None:
    """Start a container that was adopted without looking whether it has run already."""
    from airflow_enterprise_orch.systems.container import engine

    async def release(self: engine.EngineSystem, handle: Any) -> None:
        await self._start(handle, engine._now())

    engine.EngineSystem.release = release  # type: ignore[method-assign]


MUTATIONS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (skip_find, no_second_claim, trust_on_kill, no_settle, release_any, start_anyway)
}


def apply(name: str) -> None:
    """Break this process's copy of the package; "" leaves it as it is."""
    if name:
        MUTATIONS[name]()
