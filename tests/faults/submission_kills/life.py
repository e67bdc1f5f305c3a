"""The life of one task instance: Airflow's part, played after its rules, with the blows that the case plans.

Everything of the package runs in processes of its own. What happens here happens in an order that the plan fixes: one
process runs at a time, up to a point where it stops, and whoever wakes up meanwhile runs to its end first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.retry import INFRASTRUCTURE_RETRIES

from .bench import Bench
from .plan import COLLECT, EXECUTE, NETWORK, POINTS, STORE, Case, Incident
from .store import Store
from .zygote import Silent, Try

CHANCES = 3
"""How many processes may pass without coming by the point of the next blow, before it is given up."""
LONGEST = 60
"""How many processes one case may need."""

PARKS = {
    "repointed": r"connection now leads to|has no job .* it is on ",
    "unanswered": r"no answer came",
    "purged": r"purged before its result|Did it succeed\?",
    "released twice": r"were all released",
    "rejected after an unanswered send": r"but an earlier send",
}
"""Why a step was parked, by what its question says."""


def reason_of(question: str) -> str:
    """Return the reason of a question, in the words of the report."""
    return next((name for name, says in PARKS.items() if re.search(says, question)), f"other: {question}")


@dataclass
class Park:
    """One question to a person.

    :param committed: the keys of the jobs that the lab had when it was asked, and when they had come.
    """

    reason: str
    question: str
    key: str
    at: float
    repointed: bool
    committed: dict[str, list[str]]


@dataclass
class Incarnation:
    """One task instance, from the creation of its run to the deletion.

    :param ended: ``success``, ``failed``, ``gone`` or "" while it lives.
    :param until: when the run was deleted.
    :param owners: the ids of its tries and when each lost the task.
    """

    owners: dict[str, float] = field(default_factory=dict)
    ended: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    until: float = float("inf")
    clears: int = 0
    submits_by_people: int = 0
    ledger: dict[str, Any] = field(default_factory=dict)


@dataclass
class Evidence:
    """What is known of a case when it is over, beside the lab's record."""

    case: Case
    lives: list[Incarnation] = field(default_factory=list)
    parks: list[Park] = field(default_factory=list)
    struck: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    processes: list[Try] = field(default_factory=list)
    history: list[tuple[float, str, str, Any]] = field(default_factory=list)
    landed: int = 0


class Life:
    """Plays one case."""

    def __init__(self, case: Case, bench: Bench, mutation: str, say: Callable[[str], None]) -> None:
        self.case = case
        self.bench = bench
        self.mutation = mutation
        self.say = say
        self.store = Store(bench.place / "store.db")
        self.evidence = Evidence(case)
        self.left = list(case.incidents)
        self.looked_for = 0
        self.zombies: list[tuple[Try, str]] = []
        self.wake_at: set[str] = set()
        self.elsewhere = False
        self.retries = INFRASTRUCTURE_RETRIES + sum(int(rule["times"]) for rule in case.rules)
        self.began = time.time()

    def play(self) -> Evidence:
        """Play the case to its end."""
        self.bench.reset(self.case)
        self.store.create()
        self.new_run()
        try:
            self._live()
            self._wake("", everybody=True)
            self.bench.settle(self.case)
            if self.now.ended in ("success", "failed") and self._is_open():
                # A write that landed last has put an older ledger in the place of the newest. Whoever clears the step
                # must find everything as it was.
                self.say("the ledger is an older one: a person clears the step")
                self.now.ended = ""
                self.clear(bump=True)
                self._live()
                self.bench.settle(self.case)
        except Silent:
            self.evidence.problems.append("a process neither ended nor said anything for too long")
        finally:
            for process in self.evidence.processes:
                process.kill()
        self._close("")
        self._take_back_unmet()
        self.evidence.history = self.store.history()
        return self.evidence

    def _take_back_unmet(self) -> None:
        """Count no blow of the network whose fault nobody met."""
        unmet = self.bench.unmet(self.case)
        for incident in self.case.incidents:
            blow = (incident.point, incident.kind)
            planned = (incident.fault["on"], incident.fault["do"])
            if incident.kind in NETWORK and planned in unmet and blow in self.evidence.struck:
                unmet.remove(planned)
                self.evidence.struck.remove(blow)

    def _is_open(self) -> bool:
        attempts = self.store.ledger().get("attempts") or [{}]
        return self.evidence.landed > 0 and attempts[-1].get("state") != "closed"

    # What Airflow does.

    @property
    def now(self) -> Incarnation:
        return self.evidence.lives[-1]

    def new_run(self) -> None:
        self.evidence.lives.append(Incarnation())
        self.try_number, self.max_tries = 1, self.retries
        self.owner = self.store.begin_try()
        self.now.owners[self.owner] = float("inf")
        self.state, self.given = "execute", {}

    def next_try(self, why: str) -> None:
        """Begin another try, if there is one left."""
        self.say(f"airflow: another try: {why}")
        if self.try_number > self.max_tries:
            self.evidence.problems.append(f"no try is left: {why}")
            self.now.ended = "failed"
            return
        self.now.owners[self.owner] = time.time()
        self.try_number += 1
        self.owner = self.store.begin_try()
        self.now.owners[self.owner] = float("inf")
        self.state, self.given = "execute", {}

    def clear(self, *, bump: bool) -> None:
        self.now.clears += 1
        if bump:
            self.max_tries = self.try_number + self.retries
        self.next_try(f"a person cleared it{'' if bump else ', which is not counted'}")

    def delete(self) -> None:
        self.say("airflow: the run is deleted")
        self._close("gone")
        self.now.owners[self.owner] = time.time()
        self.store.delete()

    def _close(self, ended: str) -> None:
        self.now.ended = self.now.ended or ended
        self.now.until = min(self.now.until, time.time()) if ended == "gone" else self.now.until
        self.now.ledger = self.now.ledger or self.store.ledger()

    def _live(self) -> None:
        while not self.now.ended:
            if len(self.evidence.processes) > LONGEST:
                self.evidence.problems.append("it does not come to an end")
                return
            stage = self.state
            told = self._run(stage)
            if told is None or self.now.ended:
                continue
            self.say(f"told: { ({**told, 'trigger': '...'} if 'trigger' in told else told) }")
            self._obey(told)

    def _obey(self, told: dict[str, Any]) -> None:
        """Do what a try tells Airflow; it was its owner."""
        kind = told["told"]
        if told.get("crash"):
            self.evidence.problems.append(f"an error that nobody planned for: {told['message']}")
        if kind == "deferred":
            self.state, self.given = "wait", {"trigger": told["trigger"]}
            self.store.enter("deferred")
        elif kind == "event":
            self.state, self.given = "collect", {"event": told["event"]}
            self.store.enter("running")
        elif kind == "awaiting_input":
            self._ask(told["given"])
        elif kind == "retry":
            self.next_try(told["message"].partition("\n")[0])
        elif kind != "moved":
            self.now.ended, self.now.told = kind, told

    def _ask(self, given: dict[str, Any]) -> None:
        """Let a person answer, who looks at the system itself and mends what is wrong."""
        question = next(
            str(event["question"]) for event in reversed(self.evidence.processes[-1].events) if "question" in event
        )
        key = str(given["key"])
        park = Park(
            reason_of(question), question, key, time.time(), self.elsewhere, self.bench.committed(self.case, key)
        )
        self.evidence.parks.append(park)
        self.say(f"parked: {park.reason}: {question}")
        self._wake("", everybody=True)  # who answers looks first whether anything is still at work
        self.bench.settle(self.case)
        self.elsewhere = False
        there = [job for job in self.bench.jobs(self.case) if job.key == key]
        if park.reason == "unanswered" and any(job.ran and job.state == "purged" for job in there):
            option = parking.FAIL  # it ran and is gone, so nobody can show it
        elif park.reason == "unanswered" and not there:
            option = parking.SUBMIT
            self.now.submits_by_people += 1
        elif park.reason == "purged":
            option = parking.SUCCEEDED if self.case.good else parking.FAIL
        else:
            option = parking.LOOK_AGAIN
        # A kill at the send and a fault that meets the next one each leave a key that nobody can know of.
        same = sum((known.reason, known.key) == (park.reason, key) for known in self.evidence.parks)
        if same > 4 or len(self.evidence.parks) > 4 + 2 * len(self.case.incidents):
            self.evidence.problems.append(f"it parks again and again: {question}")
            option = parking.FAIL
        self.say(f"a person answers: {option}")
        event = {"chosen_options": [option], "responded_by_user": {"name": "ann"}, "params_input": {"reason": "seen"}}
        self.state, self.given = "answered", {"event": event, **given}
        self.store.enter("running")

    # Processes.

    def _run(self, stage: str) -> dict[str, Any] | None:
        """Run one process of the current try; return what it told Airflow, None when that does not count any more."""
        incident = self._next_incident(stage)
        at: dict[str, list[str]] = {}
        held = self._arm(incident, at) if incident is not None else False
        armed = incident is not None and at.get(incident.point) == ["stop"]
        before = len(self.bench.jobs(self.case)) if held else 0
        for point in self.wake_at:
            at.setdefault(point, []).insert(0, "stop")
        owner = self.owner
        process = self.bench.start(
            self.case,
            stage=stage,
            given=self.given,
            at=at,
            owner=owner,
            began=self.began,
            try_number=self.try_number,
            max_tries=self.max_tries,
            mutation=self.mutation,
            elsewhere=self.elsewhere,
            then="on_kill" if incident is not None and (incident.heard or incident.kind == "sigterm") else "",
            number=len(self.evidence.processes),
        )
        self.evidence.processes.append(process)
        self.say(f"--- {stage}, try {self.try_number}{f', {incident}' if incident else ''}")
        for event in process.listen(0.01 if held else None):
            if event is None:
                if incident is not None and held and len(self.bench.jobs(self.case)) > before:
                    held = False  # it was sent and has taken effect, and no answer is out
                    process.stop()
                    self.bench.forget_faults(self.case)
                    self._strike(incident, process, "sent")
                    return None
                continue
            self._note(event)
            if "stopped" in event:
                process.until_stopped()
                point = event["stopped"]
                self._wake(point)
                if incident is not None and armed and point == incident.point:
                    self._strike(incident, process, point)
                    return None
                process.go_on()
        if process.told is None:
            self._died(incident, stage)
            return None
        marks = {"at": incident.point} if incident is not None and incident.kind == "sigterm" else {"refused": True}
        if incident is not None and any(marks.items() <= event.items() for event in process.events):
            self._struck(incident)
        return process.told if self.owner == owner and not self.now.ended else None

    def _next_incident(self, stage: str) -> Incident | None:
        points = {"execute": EXECUTE, "answered": EXECUTE, "wait": ("waiting",), "collect": COLLECT}[stage]
        while self.left:
            here = self.left[0].point in points
            if not here and POINTS.index(self.left[0].point) > POINTS.index(points[-1]):
                return None  # the step comes to it later
            self.looked_for += 1
            if here and self.looked_for <= CHANCES:
                return self.left[0]
            if self.looked_for <= CHANCES:
                return None
            self._drop()
        return None

    def _drop(self) -> None:
        """Go on to the next blow: this one has struck, or the step will not come by its point any more."""
        del self.left[0]
        self.looked_for = 0

    def _arm(self, incident: Incident, at: dict[str, list[str]]) -> bool:
        """Prepare the lab and the process; return whether the lab keeps the answer of a submit back."""
        point, kind = incident.point, incident.kind
        held = False
        if kind in NETWORK:
            self._plan_once(incident.fault)
            at[point] = ["kill"]
        elif kind in STORE or kind == "sigterm":
            at[point] = ["stop"] if point == "waiting" else [kind]
        elif point == "sent":
            held = True
            self._plan_once({"on": "submit", "do": "slow_answer", "seconds": 1.5})
        elif kind == "kill":
            at[point] = ["kill"]
        else:
            at[point] = ["stop"]
        if kind == "stall_write":
            self.wake_at.add(incident.wake_at)
        return held

    def _plan_once(self, fault: dict[str, Any]) -> None:
        if self.looked_for == 1:
            self.bench.fault(self.case, fault)

    def _strike(self, incident: Incident, process: Try, point: str) -> None:
        """Let the world change while the process stands still, which counts no more after that."""
        kind, after = incident.kind, incident.after
        self._struck(incident)
        self.say(f"{kind} at {point}, and the process: {after}")
        waiting = point == "waiting"
        if kind == "clear":
            self.store.enter(None)
            self.clear(bump=incident.bump or waiting)
        elif kind == "gone":
            self.delete()
        elif kind == "recreated":
            self.delete()
            self.new_run()
        elif kind == "repointed":
            self.elsewhere = True
            if not waiting:
                self.next_try("its worker died")
        elif kind in ("kill", "zombie") and not waiting:
            self.next_try("its worker was heard of no more")
        if waiting:
            # A triggerer that is told goes on to the trigger's on_kill; one that is not told takes it with it.
            after = "go_on" if incident.heard and kind not in ("kill", "zombie", "repointed") else after
            after = "go_on" if kind == "sigterm" else after
        if after == "zombie":
            self.zombies.append((process, incident.wake_at))
            self.wake_at.add(incident.wake_at)
        elif after == "kill":
            process.kill()
        else:
            self._run_on(process, "it goes on: ")

    def _run_on(self, process: Try, who: str) -> None:
        """Let a process run to its end that stands still and does not count any more."""
        process.go_on()
        for event in process.listen():
            if event is not None:
                self._note(event, who)
                if "stopped" in event:
                    process.until_stopped()
                    process.go_on()

    def _died(self, incident: Incident | None, stage: str) -> None:
        if incident is None:
            self.evidence.problems.append(f"a process died that nobody killed, in {stage}")
        else:
            self._struck(incident)
        if stage != "wait":
            self.next_try("its worker died")

    def _struck(self, incident: Incident) -> None:
        self.evidence.struck.append((incident.point, incident.kind))
        self._drop()

    def _wake(self, point: str, *, everybody: bool = False) -> None:
        """Wake the zombies of a point and let the stalled writes land; each runs to its end before anybody else."""
        landed = self.store.land() if everybody or point in self.wake_at else 0
        self.evidence.landed += landed
        if landed:
            self.say(f"{landed} write of an earlier try lands")
        self.wake_at.discard(point)
        waking = [zombie for zombie, when in self.zombies if everybody or when == point]
        self.zombies = [(zombie, when) for zombie, when in self.zombies if zombie not in waking]
        for zombie in waking:
            self.say(f"a zombie wakes up at {point or 'the end'}")
            self._run_on(zombie, "zombie: ")

    def _note(self, event: dict[str, Any], who: str = "") -> None:
        for name in ("at", "say", "find", "submit", "submitted", "stalled", "question"):
            if name in event:
                more = f" {event['answer']}" if "answer" in event else ""
                self.say(f"    {who}{name}: {event[name]}{more}")
