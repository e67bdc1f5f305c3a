"""What people, and the systems' own operators, do in one schedule. People never lie: they look before they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.delegation.conduct_types import Asked
from airflow_enterprise_orch.delegation.control import CONTROL_KEY
from airflow_enterprise_orch.delegation.job import Ending

from .remote import HOME, OTHER
from .task_life import END_STATES

if TYPE_CHECKING:
    from .remote import Job
    from .schedule import Schedule

ACTS = (
    "clear",
    "clear",
    "clear",
    "mark failed",
    "mark success",
    "delete run",
    "hold",
    "skip",
    "complete",
    "complete, leave the job",
    "cancel",
    "edit retries",
    "repoint",
    "outage",
    "block",
    "restart system",
    "purge",
    "foreign hold",
    "hold over there",
    "hold over there",
    "hold over there, which they hold",
    "release over there",
)
HOLDING = (
    "hold over there",
    "hold over there",
    "skip",
    "hold over there",
    "release over there",
    "hold",
    "cancel",
    "hold over there, which they hold",
    "clear",
)
"""What people do in a world where they hold much."""
WISHES = {
    "hold": ("hold", {}),
    "hold over there": ("hold", {}),
    "hold over there, which they hold": ("hold", {}),
    "release over there": ("release", {}),
    "skip": ("skip", {}),
    "complete": ("complete", {"value": {}}),
    "complete, leave the job": ("complete", {"value": {}, "leave_job": True}),
    "cancel": ("cancel", {}),
}
"""Acts that leave a wish, and what it says."""
DECIDED = (parking.SUBMIT, parking.DID_NOT_RUN, parking.FAIL, parking.SUCCEEDED, parking.RUN_AGAIN, parking.KEEP)


class People:
    """Everybody who is no process of ours."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.looks = 0
        self.wishes = 0

    def act(self, what: str, again: int = 6) -> None:
        """Do something now, if it makes sense now.

        :param again: how often it is tried once more, where it is about a job that waits over there.
        """
        schedule, life, remote = self.schedule, self.schedule.life, self.schedule.remote
        state = life.state
        jobs = [job for job in remote.jobs if job.run == life.run]
        if state == "gone" and (what in WISHES or what in ("clear", "mark failed", "mark success", "delete run")):
            return
        if "over there" in what and not (state == "deferred" and any(job.state == "waiting" for job in jobs)):
            if again:  # somebody who wants that waits for the moment
                schedule.scheduler.after(20.0, lambda: self.act(what, again - 1))
            return
        if what in WISHES and state in ("success", "skipped"):
            return  # the action refuses: there is nothing to hold or to end any more
        now = schedule.scheduler.time
        if what == "purge" and not self._purgeable(jobs):
            return
        if what == "foreign hold" and not any(job.state == "waiting" for job in jobs):
            return
        if what == "restart system" and not any(job.state == "running" for job in remote.jobs):
            return
        schedule.happened(f"act: {what} while {state}")
        schedule.scheduler.tell(f"# people: {what}")
        if what == "clear":
            schedule.judge.cleared(state)
            life.clear()
        elif what in ("mark failed", "mark success"):
            schedule.judge.wished()
            schedule.judge.overruled()
            life.mark("failed" if what == "mark failed" else "success")
        elif what == "delete run":
            schedule.judge.wished()
            schedule.judge.overruled()
            schedule.judge.released()
            life.delete()
        elif what in WISHES:
            if "they hold" in what:
                for job in jobs:
                    self._hold(job)
            self._wish(what)
        elif what == "edit retries":
            life.retries += 1
            schedule.judge.overruled()
        elif what == "repoint":
            remote.points_to = OTHER if remote.points_to == HOME else HOME
            schedule.scheduler.after(3000.0, self.point_back)
        elif what == "outage":
            remote.down_until = now + (20.0, 2000.0)[schedule.choices.among("outage", 2)]
        elif what == "block":
            schedule.blocked_until = now + 900.0
        elif what == "restart system":
            for job in remote.jobs:
                if job.state == "running":
                    remote.end(job, Ending.LOST, None)
        elif what == "purge":
            for job in self._purgeable(jobs):
                remote.purge(job)
        elif what == "foreign hold":
            for job in jobs:
                if job.state == "waiting":
                    self._hold(job)

    def _purgeable(self, jobs: list[Job]) -> list[Job]:
        """Systems keep what has ended for longer than anything of ours can be late, and until it was seen."""
        schedule = self.schedule
        if schedule.late_writes or schedule.zombies():
            return []
        seen = {entry["key"] for entry in schedule.attempts() if "handle" in entry}
        return [
            job
            for job in jobs
            if job.state == "ended" and job.key in seen and not schedule.remote.in_flight.get(job.key)
        ]

    def _hold(self, job: Job) -> None:
        self.schedule.remote.hold(job, "them")

        def release() -> None:
            if job.held_by == "them":
                job.let_go_by = "them"
                self.schedule.remote.unhold(job)

        self.schedule.scheduler.after((30.0, 900.0, 6000.0)[self.schedule.choices.among("held for", 3)], release)

    def _wish(self, what: str) -> None:
        schedule = self.schedule
        kind, more = WISHES[what]
        self.wishes += 1
        schedule.judge.wished_for(kind, f"w{self.wishes}", leave_job="leave_job" in more)
        schedule.life.wish(kind, self.wishes, **more)
        if kind == "release":
            return
        if kind == "hold":
            seconds = (200.0, 5000.0)[schedule.choices.among("held until", 2)]
            schedule.scheduler.after(seconds, self.release)

    def release(self) -> None:
        """Lift the hold of the run that there is now."""
        control = self.schedule.life.stored.values.get(CONTROL_KEY) or {}
        if self.schedule.life.state != "gone" and "hold" in control:
            self.wishes += 1
            self.schedule.judge.released(f"r{self.wishes}")
            self.schedule.life.release(self.wishes)

    def notices(self, job: Job) -> None:
        """Somebody sees a job that is held although nobody wishes it any more."""
        schedule, life = self.schedule, self.schedule.life
        if job.state != "waiting" or job.held_by != "us":
            return
        if schedule.judge.held_now or job.run != life.run or life.state != "deferred":
            return
        if not job.stray:
            schedule.judge.violation("nothing stays held that nobody holds", str(job))
        schedule.count("note: a person released what a dead process had held")
        self._wish("release over there")

    def point_back(self) -> None:
        self.schedule.remote.points_to = HOME

    # Required Actions.

    def asked(self, ti_id: int, asked: Asked) -> None:
        """Somebody sees the question, after minutes or hours."""
        delay = (60.0, 1200.0, 7200.0)[self.schedule.choices.among("answers after", 3)]
        self.schedule.scheduler.after(delay, lambda: self._look(ti_id, asked))

    def _look(self, ti_id: int, asked: Asked) -> None:
        schedule, life = self.schedule, self.schedule.life
        if life.ti_id != ti_id or life.state != "awaiting_input":
            return
        schedule.idle()
        if life.ti_id != ti_id or life.state != "awaiting_input":
            return
        answers = self._true_answers(asked)
        if not answers:
            schedule.scheduler.after(600.0, lambda: self._look(ti_id, asked))
            return
        option, job_id = answers[schedule.choices.among("answer", len(answers))]
        self.looks += option == parking.LOOK_AGAIN
        if schedule.fault("wrong answer", 1):
            schedule.happened("answer: no such job, or no such option")
            option, job_id = (parking.ADOPT, "J999") if parking.ADOPT in asked.options else ("whatever", "")
        schedule.count(f"answer: {option}")
        schedule.scheduler.tell(f"# ann answers {option} {job_id}")
        if option in DECIDED:
            schedule.judge.decided(asked.key)
        event: dict[str, Any] = {
            "chosen_options": [option],
            "responded_by_user": {"id": "1", "name": "ann"},
            "params_input": {parking.JOB_ID: job_id or None, parking.REASON: "looked"},
        }
        life.answered(ti_id, event, asked)

    def _true_answers(self, asked: Asked) -> list[tuple[str, str]]:
        """Return what may be answered without a lie; nothing while nobody can know."""
        schedule, remote = self.schedule, self.schedule.remote
        if parking.KEEP in asked.options:
            return [(option, "") for option in asked.options]
        jobs = [job for job in remote.by_key(asked.key) if job.state != "gone" or job.purged]
        if remote.in_flight.get(asked.key) or schedule.zombies():
            return []
        there = [job for job in jobs if not job.purged]
        if any(job.where != remote.points_to for job in there):
            self.point_back()
            remote.points_to = there[0].where
        again = [(parking.LOOK_AGAIN, "")] if self.looks < 6 else []
        did_not_run = next((option for option in (parking.SUBMIT, parking.DID_NOT_RUN) if option in asked.options), "")
        if did_not_run:
            if there:
                ran = [job for job in there if job.ran] or there[:1]
                adopt = [(parking.ADOPT, ran[0].handle.job_id)] if parking.ADOPT in asked.options else []
                return [(parking.LOOK_AGAIN, ""), *adopt]
            if jobs:
                return [(parking.FAIL, "")]
            return [(did_not_run, ""), (parking.FAIL, ""), *again]
        job = self._job_of(asked.key)
        if job is None or (job.over and not job.ended_well):
            return [(parking.FAIL, ""), *again]
        if job.over:
            return [(parking.SUCCEEDED, ""), *again]
        return [(parking.LOOK_AGAIN, "")]

    def _job_of(self, key: str) -> Job | None:
        """Return the job that a question is about: the one of the attempt's handle, or else the one that ran."""
        last = self.schedule.last_attempt()
        if last is not None and last.get("key") == key and "handle" in last:
            return self.schedule.remote.jobs[int(last["handle"]["job_id"][1:]) - 1]
        jobs = self.schedule.remote.by_key(key)
        return next((job for job in jobs if job.ran), jobs[0] if jobs else None)

    # When all is calm.

    def tidy(self) -> bool:
        """Clear a step that ended while its job is open, as the list of orphans asks for; return whether it was."""
        life = self.schedule.life
        for job in self.schedule.remote.jobs:
            if job.held_by == "us" and (job.run != life.run or life.state in END_STATES):
                # It was left alone, or its run deleted, while we held it: its system's operators let it go.
                self.schedule.count("tidied: a job that was left alone was held")
                job.let_go_by = "them"
                self.schedule.remote.unhold(job)
                return True
        if life.state not in END_STATES or life.state == "gone":
            return False
        last = self.schedule.last_attempt()
        unseen = self.schedule.judge.unaccounted()
        if not unseen and (last is None or last["state"] == "closed" or not (last.get("sends") or last.get("handle"))):
            return False
        self.schedule.count(f"tidied: {life.state}")
        self.schedule.scheduler.tell("# people: clear an orphan")
        self.schedule.judge.wished()
        self.schedule.judge.over_by_clear()
        life.clear()
        return True
