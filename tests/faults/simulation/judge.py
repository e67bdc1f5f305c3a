"""The promises, judged by what really ran.

A violation ends the schedule at once: its trace then shows how it came about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.conduct_types import Asked
from airflow_enterprise_orch.delegation.ledger_store import LEDGER_PREFIX, SENT_PREFIX
from airflow_enterprise_orch.delegation.obeying import OBEYED_PREFIX
from airflow_enterprise_orch.delegation.system import Protection

from .remote import SETTLE
from .scheduler import START

if TYPE_CHECKING:
    from .remote import Job
    from .schedule import Schedule
    from .task_life import TaskLife

REASONS = (
    ("no answer, and no job shows the key", r"no answer came and no job shows the key"),
    ("no answer, and the system cannot tell", r"no answer came; the system cannot tell"),
    ("connection repointed before the job was seen", r"the connection now leads to .*: did it run there\?"),
    ("connection repointed while the job was out there", r"the connection now leads to .*: point it back"),
    ("refused, but an earlier send may have landed", r"may still have landed"),
    ("the job's end cannot be proven", r"cannot prove how the job ended|completed without a return code"),
    ("a late copy cannot be discarded", r"cannot be discarded"),
    ("two copies were released", r"were all released, by a hand that is not ours"),
    ("the template's retries were edited", r"retries were changed"),
    ("an answer that cannot be used", r"was not asked|one answer is needed|cannot be adopted"),
)
NEEDS = {
    "connection repointed before the job was seen": ("act: repoint",),
    "connection repointed while the job was out there": ("act: repoint",),
    "refused, but an earlier send may have landed": ("submit: rejected",),
    "the template's retries were edited": ("act: edit retries",),
    "an answer that cannot be used": ("answer: no such",),
    "no answer, and the system cannot tell": ("find: cannot tell",),
}
"""What must have happened for a question to be a fair one; the others need any fault at all."""


class Violation(BaseException):
    """A promise is broken. No ``except Exception`` of the code under test may swallow that."""

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


@dataclass
class Clear:
    """One clear by a person, which must lead to work."""

    at: float
    run: int
    state: str
    open_key: str = ""
    excused: bool = False


@dataclass
class End:
    """A wish for how the step is to end.

    :param obeyed: the task wrote down what became of it.
    :param over: a person cleared the step after that, or another wish took its place.
    :param cleared: a person cleared the step before that was to be read; it may be in a write that is still under way.
    """

    id: str
    what: str
    at: float
    run: int
    leave_job: bool = False
    obeyed: bool = False
    over: bool = False
    cleared: bool = False


def closed_in(ledger: dict[str, Any]) -> set[tuple[str, str]]:
    """Return key and verdict of every closed attempt."""
    return {(entry["key"], entry["verdict"]) for entry in ledger["attempts"] if entry["state"] == "closed"}


class Judge:
    """Watches one schedule."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.announced: dict[str, tuple[float, int]] = {}
        self.before: dict[str, tuple[float, int]] = {}
        self.last_tried: dict[str, float] = {}
        self.first_sent: dict[str, float] = {}
        self.clears: list[Clear] = []
        self.wishes: list[float] = []
        self.held_since = -1.0
        self.held_now = ""
        self.said: list[str] = []
        self.explicit = ""
        self.explicit_gone = -1.0
        self.confirmed: dict[str, tuple[float, str]] = {}
        self.answered: set[str] = set()
        self.ends: list[End] = []
        self.decided_keys: set[str] = set()
        self.proven: set[str] = set()
        self.closed: set[tuple[str, str]] = set()
        self.orphans = 0
        self.left_held = 0

    def violation(self, promise: str, detail: str) -> None:
        self.schedule.scheduler.tell(f"VIOLATION {promise}: {detail}")
        raise Violation(promise, detail)

    # What is sent, runs and ends.

    def tried(self, key: str) -> None:
        """Somebody is about to send a request with ``key``."""
        self.last_tried[key] = self.schedule.scheduler.time

    def sent(self, key: str) -> None:
        """A request with ``key`` leaves."""
        schedule, remote = self.schedule, self.schedule.remote
        run = schedule.run_of(key)
        self._against_a_wish(key, run)
        self.first_sent.setdefault(key, schedule.scheduler.time)
        two_phase = remote.protection is Protection.TWO_PHASE
        for other in schedule.keys:
            if other == key or schedule.run_of(other) != run:
                continue
            for job in remote.by_key(other):
                if self._left_elsewhere(job):
                    continue
                if not job.over and (job.released or not two_phase) and schedule.order(other) < schedule.order(key):
                    self.violation("no attempt while the one before is open", f"{key} is sent while {job} may run")
            if (
                remote.in_flight.get(other)
                and not two_phase
                and not remote.by_key(other)
                and not self._sent_elsewhere(other)
            ):
                self.violation("no attempt while the one before is open", f"{key} is sent while {other} may land")

    def _against_a_wish(self, key: str, run: int) -> None:
        """Nothing leaves when the process that sends began after somebody wished that nothing does."""
        schedule = self.schedule
        actor = schedule.scheduler.current
        worker = schedule.worker_of.get(actor) if actor is not None else None
        if worker is None or run != schedule.life.run:
            return
        if 0 <= self.held_since < worker.began:
            self.violation("a held step hands nothing over", key)
        if self.end is not None and self.end.run == run and self.end.at < worker.began:
            self.violation("a step that is to end hands nothing over", f"{key} leaves in spite of {self.end}")

    def _left_elsewhere(self, job: Job) -> bool:
        """A person left the job alone and has cleared the step since; it cannot be looked at from here any more."""
        left = {entry["key"] for entry in self.schedule.attempts() if entry.get("kind") == "left_alone"}
        return job.key in left and job.where != self.schedule.remote.points_to

    def _sent_elsewhere(self, key: str) -> bool:
        """The same, of what was sent and never answered."""
        left = {
            entry["key"]: entry["system"] for entry in self.schedule.attempts() if entry.get("kind") == "left_alone"
        }
        return key in left and left[key] != self.schedule.remote.points_to

    def started(self, job: Job) -> None:
        """A job begins to run."""
        for other in self.schedule.remote.jobs:
            if other is job or other.run != job.run:
                continue
            if other.key == job.key and other.ran:
                self.violation("one job per attempt", f"{other} and {job} ran with key {job.key}")
            if other.key != job.key and other.ran and not other.over and not self._left_elsewhere(other):
                self.violation("no attempt while the one before is open", f"{job} runs while {other} runs")
        for key in self.first_sent:
            later = self.schedule.order(key) > self.schedule.order(job.key)
            if later and self.schedule.run_of(key) == job.run and not self._left_elsewhere(job):
                self.violation("no attempt while the one before is open", f"{job} runs after {key} was sent")

    def cancel_sent(self, key: str) -> None:
        """Somebody asks for a job's end."""
        schedule = self.schedule
        since = self.first_sent.get(key, 0.0)
        sent, _ = self.announced.get(key, (since, 0))
        limit = schedule.life.step.time_limit
        if limit is not None and schedule.scheduler.time >= min(sent, since) + limit:
            return
        if self.end is not None and self.end.run == schedule.run_of(key):
            return
        if not any(at >= since for at in self.wishes):
            self.violation("no job is cancelled unless somebody wants it", key)

    def discarded(self, job: Job) -> None:
        """A job that has not begun is removed as a copy."""
        if job.released and not any(
            other.key == job.key and other is not job and (other.released or other.ran)
            for other in self.schedule.remote.jobs
        ):
            self.schedule.count("note: a released job was discarded before it began")

    # What is written down.

    def written(self, cell: str, before: Any, value: Any, *, late: bool) -> None:
        """The store has changed."""
        if cell.startswith(OBEYED_PREFIX):
            self._answered(value, late=late)
            for end in self.ends:
                end.obeyed |= end.id == value["wish"]
                end.over |= end.id == value["wish"] and (value["over"] or (end.cleared and not self.is_live()))
            return
        if cell.startswith(SENT_PREFIX):
            if value.get("sends") and not late:
                self._announced(value)
            return
        if not cell.startswith(LEDGER_PREFIX):
            return
        # What a try writes first repeats what the tries before it had closed.
        known = self.closed if before is None else closed_in(before)
        news = closed_in(value) - known
        self.closed |= news
        for entry in value["attempts"]:
            if (entry["key"], entry.get("verdict")) in news:
                self._closed(entry)
            elif not late:
                self._taken_back(entry)

    def _announced(self, entry: dict[str, Any]) -> None:
        """A send is about to leave; ``sent`` is when the process thought that it would."""
        key, now = entry["key"], self.schedule.scheduler.time
        last, sends = self.announced.get(key, (-SETTLE, 0))
        if key in self.first_sent and entry["sends"] > max(sends, 1) and now < last + SETTLE:
            self.violation("no resend before the settle time", f"{key} after {now - last:.1f} s")
        self.before[key] = (last, sends)
        self.announced[key] = ((datetime.fromisoformat(entry["sent"]) - START).total_seconds(), entry["sends"])

    def _taken_back(self, entry: dict[str, Any]) -> None:
        """What was announced last did not leave: the announcement before it counts again."""
        last = self.announced.get(entry["key"])
        if last is not None and entry["state"] == "intent" and entry.get("unsent") == last[1]:
            self.announced[entry["key"]] = self.before.pop(entry["key"], (-SETTLE, 0))

    def _closed(self, entry: dict[str, Any]) -> None:
        remote = self.schedule.remote
        key, by = entry["key"], entry.get("closed_by", "")
        jobs = remote.by_key(key)
        if entry["verdict"] != "failure":
            if by == "system" and not any(job.ended_well for job in jobs):
                self.violation("no success without proof", f"{key} is closed as {entry['verdict']}")
            self.proven.add(key)
            return
        if by != "system" or entry.get("kind") == "forgotten":
            return
        if self._outdated(entry):
            return
        if any(job.ended_well for job in jobs):
            self.violation("no failure of a job that succeeded", f"{key}: {entry.get('message')}")
        two_phase = remote.protection is Protection.TWO_PHASE
        if any(not job.over and (job.released or not two_phase) for job in jobs):
            self.violation("closed only by proof", f"{key} is closed while its job may run")
        if remote.in_flight.get(key) and not two_phase and not jobs:
            self.violation("closed only by proof", f"{key} is closed while its request may land")

    def _outdated(self, entry: dict[str, Any]) -> bool:
        """A refusal that was written down late: whoever reads it sees that the work was sent once more."""
        return entry.get("kind") == "rejected" and entry["sends"] < self.announced.get(entry["key"], (0.0, 0))[1]

    # What Airflow hears.

    def succeeded(self, life: TaskLife) -> None:
        """Airflow is told that the step succeeded."""
        last = self.schedule.last_attempt()
        if last is not None and last["key"] in self.proven:
            return  # a late write of an earlier try may have replaced the record since
        if last is None or last["state"] != "closed":
            self.violation("no success without proof", f"the ledger's last attempt is {last}")
        elif last["verdict"] == "failure":
            self.violation("no success without proof", "the last attempt failed")

    def parked(self, asked: Asked) -> None:
        """A person is asked."""
        schedule = self.schedule
        reason = next((name for name, words in REASONS if re.search(words, asked.question)), "")
        if not reason:
            self.violation("parked only with a reason", asked.question)
        schedule.parks[reason] = schedule.parks.get(reason, 0) + 1
        needs = NEEDS.get(reason, ("",))
        if not any(fault.startswith(need) for need in needs for fault in schedule.faults):
            self.violation("parked only when nobody can know", f"{reason}, but nothing of the kind happened")
        if (
            reason.startswith("no answer")
            and schedule.scheduler.time < self.announced.get(asked.key, (0.0, 0))[0] + SETTLE
        ):
            self.violation("parked only when nobody can know", f"{reason}, before the settle time")

    def held(self) -> None:
        """The step is held: nothing of it may run, and what may still land without an answer is told to people.

        Nobody can call back a request that lands long after the settle time; its job is found at the next look.
        """
        told = [
            value["how"] for cell, value in self.schedule.life.stored.values.items() if cell.startswith(OBEYED_PREFIX)
        ]
        self.left_alone("it is held", may_land=any("may still land" in how for how in told))

    def left_alone(self, how: str, *, may_land: bool = False) -> None:
        """The step is held, or ends because somebody wished it: nothing of it may be out there unproved."""
        remote, ledger = self.schedule.remote, self.schedule.attempts()
        by_word = {entry["key"] for entry in ledger if entry.get("closed_by", "").startswith("person:")}
        unanswered = {entry["key"] for entry in ledger if entry["state"] == "intent"}
        for job in remote.jobs:
            may_run = not job.over and (job.released or not self._two_phase)
            if may_land and job.key in unanswered:
                continue  # it landed, and is to be seen later than a request may take
            if job.run == self.schedule.life.run and may_run and job.key not in by_word:
                self.violation("no wish parts a step from its job", f"{how} while {job} may run")
        for key, count in remote.in_flight.items():
            mine = self.schedule.run_of(key) == self.schedule.life.run
            if count and mine and not (self._two_phase or may_land) and key not in by_word and not remote.by_key(key):
                self.violation("no wish parts a step from its job", f"{how} while a request with {key} may land")

    def completed(self) -> bool:
        """Tell whether the step succeeds because a person completed it."""
        last = self.schedule.last_attempt()
        if last is not None and last["state"] == "closed" and last["verdict"] != "failure":
            return False  # judged like any other success
        mine = [end for end in self.ends if end.what == "complete" and end.run == self.schedule.life.run]
        if not mine:
            return False
        # Another wish may have taken its place since the process looked.
        if not any(end.obeyed for end in mine):
            self.violation("each wish that is obeyed is written down", str(mine[-1]))
        self.left_alone("it is completed")
        return True

    @property
    def end(self) -> End | None:
        """How a person wants the step to end now."""
        return self.ends[-1] if self.ends and not self.ends[-1].over else None

    def wished_for(self, what: str, wish_id: str, *, leave_job: bool) -> None:
        """A person leaves a wish."""
        now, run = self.schedule.scheduler.time, self.schedule.life.run
        self.overruled()
        if what in ("hold", "release"):
            self.held_since, self.held_now = (now, wish_id) if what == "hold" else (-1.0, "")
            self.said.append(wish_id)
            if self.explicit and what == "hold":
                self.explicit_gone = now
            self.explicit = wish_id if what == "release" else ""
            return
        self.wished()
        self.ends.append(End(wish_id, what, now, run, leave_job))

    def released(self, word: str = "") -> None:
        """The hold is lifted."""
        self.held_since, self.held_now = -1.0, ""
        self.overruled()
        self.said = [*self.said, word] if word else []

    # Holds of jobs that are out there.

    def hold_sent(self, key: str) -> bool:
        """We ask for a hold; tell whether that is the deed of a process that counts no more, or of a wish."""
        schedule, live = self.schedule, self.is_live()
        if live and schedule.run_of(key) == schedule.life.run and not self.said:
            self.violation("nothing is held that nobody wished to be held", key)
        return not live

    def is_live(self) -> bool:
        """Tell whether who acts now is the process of a try that owns the task instance."""
        worker = self._worker()
        return worker is not None and worker.ti_id == self.schedule.life.ti_id

    def may_release_theirs(self, key: str) -> bool:
        """Tell whether a release that leaves now may lift what somebody over there holds."""
        last = self.schedule.last_attempt()
        if last is None or last["key"] != key or not last.get("released") or last.get("holding"):
            return True  # what we may have held, or have to release ourselves, cannot be told from what they hold
        worker = self._worker()
        if worker is not None and worker.began <= self.explicit_gone:
            return True  # the newer hold came when it was about to release
        return bool(self.explicit) or self.schedule.late_landed or self.schedule.zombies()

    def _answered(self, value: dict[str, Any], *, late: bool) -> None:
        """The task says what became of a wish."""
        wish = value["wish"]
        self.answered.add(wish)
        if value.get("state") != "confirmed" or "over there" not in value["how"]:
            self.confirmed.pop(wish, None)
            return
        last = self.schedule.last_attempt()
        jobs = self.schedule.remote.by_key(last["key"]) if last is not None else []
        worker = self._worker()
        if worker is not None and not late:
            stands = [job for job in jobs if job.held_by or job.state == "held" or job.last_held >= worker.began]
            if not stands and not any(job.let_go_by and job.let_go_sent >= worker.began for job in jobs):
                self.violation("confirmed is what the job itself says", value["how"])
        if last is not None and not late:
            self.confirmed[wish] = (self.schedule.scheduler.time, last["key"])

    def _worker(self) -> Any:
        actor = self.schedule.scheduler.current
        return self.schedule.worker_of.get(actor) if actor is not None else None

    def not_in_spite_of_a_hold(self, job: Job) -> None:
        """A job begins to run."""
        at, key = self.confirmed.get(self.held_now, (-1.0, ""))
        if key != job.key or job.let_go_by == "them" or 0 <= job.let_go_sent <= at:
            return
        self.violation("what is held does not run", f"{job} runs, held since {at:.0f} s")

    @property
    def _two_phase(self) -> bool:
        return self.schedule.remote.protection is Protection.TWO_PHASE

    # What people want.

    def cleared(self, state: str) -> None:
        self.wished()
        end = self.end
        if end is not None and end.run == self.schedule.life.run and not end.obeyed:
            end.cleared = True
            return  # it is obeyed first
        self.over_by_clear()
        if self.said and self.said[-1] not in self.answered:
            return  # so is what was said of the job's hold
        if state not in ("running", "restarting", "gone"):
            last = self.schedule.last_attempt()
            open_key = last["key"] if last is not None and last["state"] != "closed" else ""
            self.clears.append(Clear(self.schedule.scheduler.time, self.schedule.life.run, state, open_key))

    def over_by_clear(self) -> None:
        """A person clears the step: what was obeyed is not obeyed again."""
        if self.end is not None and self.end.obeyed:
            self.end.over = True

    def wished(self) -> None:
        """A person wants something that ends jobs."""
        self.wishes.append(self.schedule.scheduler.time)

    def overruled(self) -> None:
        """A person did something that makes earlier clears void."""
        for clear in self.clears:
            clear.excused = True

    def gave_up(self, why: str) -> None:
        """Airflow fails the step for all to see, and a person must clear it again."""
        self.schedule.count(f"failed: {why}")
        self.overruled()

    def decided(self, key: str) -> None:
        """A person said how an attempt ended."""
        self.decided_keys.add(key)
        self.overruled()

    # The end of the schedule.

    def unaccounted(self) -> list[Job]:
        """Return the jobs that ran in this run and that its ledger does not know to be over."""
        closed = {entry["key"] for entry in self.schedule.attempts() if entry["state"] == "closed"}
        return [
            job
            for job in self.schedule.remote.jobs
            if job.ran and job.run == self.schedule.life.run and job.key not in closed
        ]

    def finish(self) -> None:
        """All is calm: everything must be accounted for."""
        schedule, life = self.schedule, self.schedule.life
        if life.state not in ("success", "failed", "skipped"):
            self.violation("every step comes to an end", f"it is {life.state}")
        for job in self.unaccounted():
            self.violation("nothing is lost", f"{job} ran with key {job.key}, and the ledger does not say how it ended")
        entries = {entry["key"]: entry for entry in schedule.attempts()}
        for job in schedule.remote.jobs:
            if job.run != life.run:
                self.orphans += job.ran
                continue
            if job.state == "held" and not job.released:
                self.left_held += 1
            elif not job.over:
                self.violation("nothing is lost", f"{job} is {job.state} at the end")
            entry = entries.get(job.key)
            if entry is None or not job.ran or entry.get("closed_by") != "system" or entry.get("kind") == "forgotten":
                continue
            if self._outdated(entry):
                continue
            if job.ended_well != (entry["verdict"] != "failure"):
                self.violation("nothing is lost", f"{job} ended well: {job.ended_well}; the ledger: {entry['verdict']}")
        if life.state == "failed" and not schedule.faults and any(job.ended_well for job in schedule.remote.jobs):
            self.violation("no failure of a job that succeeded", "the step failed")
        for clear in self.clears:
            if clear.excused or clear.run != life.run:
                continue
            if any(fault.startswith("act: edit retries") for fault in schedule.faults):
                # Then max_tries cannot tell that somebody cleared the step, and a failed step stays failed.
                continue
            if schedule.late_landed:
                schedule.count("note: a late write made an old success answer a clear")
                continue
            sent = any(at >= clear.at for key, at in self.last_tried.items() if schedule.run_of(key) == life.run)
            if not sent and not any(
                job.run == life.run and (job.started >= clear.at or (job.key == clear.open_key and job.ended_well))
                for job in schedule.remote.jobs
            ):
                self.violation("a clear runs the work again", f"nothing ran after the clear at {clear.at:.0f} s")
