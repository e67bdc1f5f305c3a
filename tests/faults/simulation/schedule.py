"""One schedule: a seed, a world made of it, and how it came out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_enterprise_orch.delegation.ledger import RetryRule
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.delegation.system import Protection, Sighting

from .choices import Choices, Script, shrink
from .judge import Judge, Violation
from .people import ACTS, HOLDING, People
from .remote import Remote
from .scheduler import Actor, Endless, Scheduler
from .store import HEARTBEAT_LOST
from .task_life import SimulatedStep, TaskLife, Worker
from .waiting_room import TriggerRow

WORKER_FATES = ("dies", "dies", "dies", "sleeps", "sleeps for long", "sleeps for long", "is told to stop")
TRIGGER_FATES = ("triggerer dies", "trigger moves", "sleeps")
SELDOM = (0.0, 0.3, 1.0, 1.0, 3.0)
"""How much likelier than usual a kind of fault is in one schedule: some worlds have good networks and bad workers."""
OFTEN = {"submit": 6.0, "release": 3.0, "hold": 30.0, "cancel": 4.0, "discard": 8.0, "find": 1.5, "identify": 8.0,
         "result": 2.0, "poll": 0.7, "store get": 0.3, "wrong answer": 6.0, "task state": 5.0}  # fmt: skip
"""How much likelier than usual each call fails: what comes seldom and matters, fails often."""
HOLD_FAILS = (0.0, 0.3, 0.7)
"""How often the request for a hold goes wrong, where people hold much."""
PROTECTIONS = (Protection.ATOMIC, Protection.TWO_PHASE, Protection.UNPROTECTED)
RULES = (
    (),
    (RetryRule(("failed", "abended", "lost"), 1, 30.0),),
    (RetryRule(("failed",), 2, 5.0), RetryRule(("cancelled", "timed_out"), 1, 5.0)),
)


@dataclass
class Outcome:
    """How one schedule came out."""

    seed: int
    script: Script
    promise: str = ""
    detail: str = ""
    steps: int = 0
    ran: int = 0
    orphans: int = 0
    left_held: int = 0
    state: str = ""
    faulty: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    parks: dict[str, int] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        return bool(self.promise)


class Schedule:
    """The world of one seed."""

    def __init__(self, seed: int, script: Mapping[str, int] | None = None, *, trace: bool = False) -> None:
        self.choices = choices = Choices(seed, script)
        self.scheduler = Scheduler(choices)
        if trace:
            self.scheduler.trace = []
        self.counts: Counter[str] = Counter()
        self.parks: dict[str, int] = {}
        self.faults: set[str] = set()
        self.keys: list[str] = []
        self._order: dict[str, tuple[int, int]] = {}
        self.worker_of: dict[Actor, Worker] = {}
        self.trigger_of: dict[Actor, TriggerRow] = {}
        self.late_writes = 0
        self.late_landed = False
        self.blocked_until = -1.0
        self.after_find: Callable[[Sighting], Sighting] | None = None
        self.twins = True
        self.real_json = seed % 16 == 0
        # How rough this world is. Replayed choices need no rates, so they are not recorded.
        rough = random.Random(seed ^ 0x5EED)
        choices.budget = 0 if rough.random() < 0.03 else rough.choice((1, 2, 3, 4, 6, 9))
        rate = 10 ** rough.uniform(-2.2, -0.9)
        network, store = rate * rough.choice(SELDOM), rate * rough.choice(SELDOM)
        self.rates = {name: min(network * often, 0.5) for name, often in OFTEN.items()}
        self.rates["store get"], self.rates["store set"] = store * OFTEN["store get"], store
        self.network_rate = network
        fates, acts = rough.choice(SELDOM), rough.choice(SELDOM)
        self.worker_rate, self.worker_happenings = rate * (fates + acts) / 2, _mixed(rough, WORKER_FATES, fates, acts)
        self.trigger_rate, self.trigger_happenings = self.worker_rate, _mixed(rough, TRIGGER_FATES, fates, acts)
        self.idle_rate = min(rate * acts * 2, 0.5)
        # In some worlds jobs wait long over there, and people hold them and then think otherwise.
        self.holding = rough.random() < 0.2
        if self.holding:
            choices.budget, self.idle_rate, self.rates["hold"] = choices.budget + 6, 0.3, rough.choice(HOLD_FAILS)
        protection = Protection.TWO_PHASE if self.holding else PROTECTIONS[choices.among("protection", 3)]
        self.remote = Remote(self, protection)
        self.remote.listing_lag = (0.0, 8.0)[choices.among("lag", 2)]
        step = SimulatedStep(RULES[choices.among("rules", 3)], (None, None, 100.0)[choices.among("limit", 3)])
        self.judge = Judge(self)
        self.people = People(self)
        self.life = TaskLife(self, step, (12, 3)[choices.among("retries", 2)])

    # What the parts of the world need of one another.

    def make_key(self) -> str:
        key = f"K{len(self.keys) + 1:019d}"
        self.keys.append(key)
        self._order[key] = (self.life.run, len(self.keys))
        return key

    def run_of(self, key: str) -> int:
        return self._order[key][0]

    def order(self, key: str) -> int:
        return self._order[key][1]

    def attempts(self) -> list[dict[str, Any]]:
        """Return the attempts that the current run's ledger holds."""
        ledger = newest_ledger(self.life.stored.values)
        return list(ledger["attempts"]) if ledger else []

    def last_attempt(self) -> dict[str, Any] | None:
        attempts = self.attempts()
        return attempts[-1] if attempts else None

    def zombies(self) -> bool:
        """A process of an earlier try may still be about to send."""
        return any(
            not worker.reported
            and worker.actor is not None
            and not worker.actor.dead
            and (worker is not self.life.worker or worker.ti_id != self.life.ti_id)
            for worker in self.life.workers
        )

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def happened(self, fault: str) -> None:
        """A fault, or an act of a person, takes place."""
        self.faults.add(fault)
        self.counts[fault] += 1
        self.scheduler.tell(f"~ {fault}")

    def fault(self, name: str, count: int) -> int:
        if self.choices.budget <= 0 and self.choices.script is None:
            return 0
        return self.choices.fault(name, self.rates.get(name, self.network_rate), count)

    def point(self, where: str) -> None:
        """Between two lines of a process: it may die here, sleep, or see the world change."""
        actor = self.scheduler.current
        if actor is None:
            return
        if actor.dead:
            self.scheduler.kill(actor)
        if self.choices.budget <= 0 and self.choices.script is None:
            return
        worker = self.worker_of.get(actor)
        if worker is not None:
            chosen = self.choices.fault("worker", self.worker_rate, len(self.worker_happenings))
            if chosen:
                self._befalls(self.worker_happenings[chosen - 1], worker, where)
            return
        chosen = self.choices.fault("trigger", self.trigger_rate, len(self.trigger_happenings))
        if chosen:
            self._befalls_trigger(self.trigger_happenings[chosen - 1], actor)

    def idle(self) -> None:
        """A moment at which no process runs."""
        if self.choices.budget <= 0 and self.choices.script is None:
            return
        acts = HOLDING if self.holding else ACTS
        chosen = self.choices.fault("idle", self.idle_rate, len(acts))
        if chosen:
            self.people.act(acts[chosen - 1])

    def _befalls(self, what: str, worker: Worker, where: str) -> None:
        if what in ACTS:
            self.people.act(what)
            return
        self.happened(f"worker {what}")
        self.count(f"worker {what} at {where}")
        if what == "dies":
            self._dies(worker)
        elif what == "is told to stop":
            # A pod is evicted: SIGTERM, whose handler returns, and SIGKILL some seconds later.
            worker.stopped = True
            self.scheduler.after(5.0, lambda: self._dies(worker))
        else:
            seconds = 40.0 if what == "sleeps" else (500.0, 4000.0)[self.choices.among("sleeps", 2)]
            if seconds > HEARTBEAT_LOST:
                self.unheard()
            self.scheduler.sleep(seconds)

    def _befalls_trigger(self, what: str, actor: Actor) -> None:
        if what in ACTS:
            self.people.act(what)
            return
        trigger = self.trigger_of.get(actor)
        if what == "sleeps":
            self.happened("trigger sleeps")
            self.scheduler.sleep(90.0)
        elif trigger is not None and not trigger.over:
            self.happened(what)
            if what == "trigger moves":
                trigger.moves(actor)
            else:
                trigger.dies(actor)

    def _dies(self, worker: Worker) -> None:
        if worker.actor is None or worker.actor.dead or worker.reported:
            return
        notice = (2.0, 40.0)[self.choices.among("notice", 2)]
        self.scheduler.after(notice, lambda: self.life.lost(worker))
        self.scheduler.kill(worker.actor)

    def unheard(self) -> None:
        """The process that runs now is not heard of for long."""
        actor = self.scheduler.current
        worker = self.worker_of.get(actor) if actor is not None else None
        if worker is not None:
            self.scheduler.after(HEARTBEAT_LOST, lambda: self.life.lost(worker))

    def stop_worker(self, worker: Worker) -> None:
        """Airflow ends a worker whose task was taken from it, at its next heartbeat."""
        when = (0.3, 5.0)[self.choices.among("heartbeat", 2)]

        def terminate() -> None:
            worker.stopped = True
            self.scheduler.after(5.0, lambda: self._dies(worker))

        self.scheduler.after(when, terminate)
        self.scheduler.after(HEARTBEAT_LOST, lambda: self.life.lost(worker))

    # From beginning to end.

    def run(self) -> Outcome:
        outcome = Outcome(0, self.choices.taken)
        try:
            self.life.begin()
            self.scheduler.run()
            self.blocked_until = -1.0
            self.people.release()
            self.people.point_back()
            self.choices.budget = 0
            self.scheduler.run()
            for _ in range(5):
                if not self.people.tidy():
                    break
                self.scheduler.run()
            self.judge.finish()
        except Violation as broken:
            outcome.promise, outcome.detail = broken.promise, str(broken)
        except Endless as broken:
            outcome.promise, outcome.detail = "every step comes to an end", str(broken)
        except Exception as broken:  # the code under test, or the simulation, fails in a way that nobody foresaw
            outcome.promise, outcome.detail = f"raises {type(broken).__name__}", repr(broken)
        outcome.steps = self.scheduler.steps
        outcome.ran = sum(job.ran for job in self.remote.jobs)
        outcome.orphans, outcome.left_held = self.judge.orphans, self.judge.left_held
        outcome.state = self.life.state
        outcome.faulty = bool(self.faults)
        outcome.counts, outcome.parks = self.counts, self.parks
        outcome.trace = self.scheduler.trace or []
        self.scheduler.close()
        return outcome


def _mixed(rough: random.Random, fates: Sequence[str], many_fates: float, many_acts: float) -> list[str]:
    """Return fates and acts in this schedule's proportion; not all kinds of acts in every schedule."""
    acts = list(ACTS) if rough.random() < 0.4 else [rough.choice(ACTS) for _ in range(4)]
    count = round(12 * many_fates)
    mixed = [fates[index % len(fates)] for index in range(count)]
    mixed += [acts[index % len(acts)] for index in range(round(12 * many_acts))]
    return mixed or ["dies" if "dies" in fates else "sleeps"]


def simulate(seed: int, script: Mapping[str, int] | None = None, *, trace: bool = False) -> Outcome:
    """Run the schedule of a seed, or replay a script in its world."""
    outcome = Schedule(seed, script, trace=trace).run()
    outcome.seed = seed
    if script is not None:
        outcome.script = dict(script)
    return outcome


def shrunk(outcome: Outcome) -> Script:
    """Return the smallest script found that breaks the same promise as ``outcome``."""

    def fails(script: Script) -> bool:
        return simulate(outcome.seed, script).promise == outcome.promise

    return shrink(dict(outcome.script), fails)
