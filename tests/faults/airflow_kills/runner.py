"""One run: carry out the plan while instances are in flight, wait until all is calm, and collect the evidence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.delegation.ledger_store import SENT_PREFIX, newest_ledger
from airflow_enterprise_orch.demo.api import AirflowApi, ApiFailed
from airflow_enterprise_orch.demo.lab import LabFailed
from airflow_enterprise_orch.demo.run import seconds_since

from .people import IN_FLIGHT, People, Task, waiting
from .plan import Plan, Wish
from .streams import ENDLESS, STREAMS, started_with
from .verdict import OVER, PARKED, Evidence, Job, Step
from .world import World

TICK = 0.25
LOOK_EVERY = 4.0
TAKE_OFF = 300.0
ANSWER_WITHIN = 10.0
ACT_AGAIN = 3.0
STRIKE_AGAIN = 5.0
CLEARED_WITHIN = 150.0
"""Seconds in calm; a cancel that went unheard is asked for again after a minute."""
LOG_END = 1500


class NeverCalm(RuntimeError):
    """Something that must come to its end did not."""


@dataclass
class Run:
    """One run of a plan in a world.

    :param at_once: how many instances are kept in flight; more of them once a strike met nobody.
    :param calm_within: seconds after the last strike in which every step must have come to its end.
    :param say: tells what happens, one line each.
    """

    plan: Plan
    world: World
    at_once: int
    calm_within: float
    say: Callable[[str], None]
    missed: int = 0
    started: int = 0
    calmed_after: float = 0.0
    most_in_flight: int = 0
    _looked: float = 0.0

    def __post_init__(self) -> None:
        """Begin with room for ``at_once`` instances."""
        self.room = self.at_once

    def play(self) -> Evidence:
        """Carry out the plan and return what is known at its end."""
        with self.world.airflow.api() as api:
            # An answer that does not come holds up everything here; Airflow may well do it all the same.
            api._client.timeout = ANSWER_WITHIN
            people = People(api, self.plan.seed)
            self._load(api)
            self._take_off(api, people)
            self._storm(api, people)
            self.say(f"the storm is over: {self.started} instances, {len(people.acts)} acts; waiting for the calm")
            orphans = self._calm(api, people)
            return self._evidence(api, people, orphans)

    def _load(self, api: AirflowApi) -> None:
        deadline = time.monotonic() + 120
        while not set(STREAMS) <= api.dag_ids():
            if time.monotonic() > deadline:
                raise NeverCalm(f"Airflow does not load the streams: {api.import_errors()}")
            self.world.tend()
            time.sleep(0.5)

    def _take_off(self, api: AirflowApi, people: People) -> None:
        """Start the first instances and wait until those wait that only a person ends: then there is much to lose."""
        self._fill(api)
        endless = sum(self.plan.instance(number).endless for number in range(self.started))
        deadline = time.monotonic() + TAKE_OFF
        while len([task for task in waiting(people.tasks("deferred")) if task["dag_id"] == ENDLESS]) < endless:
            if time.monotonic() > deadline:
                raise NeverCalm(f"{endless} endless jobs were not all waited for within {TAKE_OFF:.0f} s")
            self.world.tend()
            time.sleep(1)
        self.say(f"{len(people.tasks('deferred'))} steps wait; the storm begins")

    def _storm(self, api: AirflowApi, people: People) -> None:
        began = time.monotonic()
        strikes, acts, faults = list(self.plan.strikes), list(self.plan.acts), list(self.plan.faults)
        while strikes:
            now = time.monotonic() - began
            self.world.tend()
            if strikes[0].at <= now:
                strike = strikes.pop(0)
                met = self.world.strike(strike)
                whom = self.world.struck[-1].whom or "nobody to be met; again later"
                self.say(f"{now:6.0f} s  {strike.how.value} {strike.victim.value}: {whom}")
                # What must be struck is struck: a plan that met nobody would prove nothing. But first new instances
                # are started and people act, or there would be nobody the next time either.
                if not met:
                    self.missed += 1
                    # What is in flight may be nothing but jobs that never end and steps that wait for a person.
                    self.room = min(self.room + 1, 2 * self.at_once)
                    strikes.append(strike)
                    # All that were due by now, each of which would look as long as this one did.
                    again = time.monotonic() - began + STRIKE_AGAIN
                    strikes = [replace(one, at=max(one.at, again)) for one in strikes]
                    strikes.sort(key=attrgetter("at"))
                continue
            if acts and acts[0].at <= now:
                act = acts.pop(0)
                try:
                    done = people.act(act)
                except ApiFailed:
                    # There was nobody to ask what is there: the person tries again a little later.
                    acts.insert(0, replace(act, at=now + ACT_AGAIN))
                    continue
                if done:
                    answer = {True: "", False: " (refused)", None: " (no answer)"}[done.accepted]
                    self.say(f"{now:6.0f} s  {done.wish.value} {done.step} while {done.before}{answer}")
                continue
            if faults and faults[0].at <= now:
                fault = faults.pop(0)
                self.world.lab.fault(fault.stand_in, {"on": fault.on, "do": fault.do, "times": 1})
                continue
            if time.monotonic() - self._looked >= LOOK_EVERY:
                self._looked = time.monotonic()
                self._tolerant(lambda: self._fill(api))
                self._tolerant(lambda: people.answer_questions(seconds_since))
                continue
            time.sleep(TICK)

    def _fill(self, api: AirflowApi) -> None:
        """Start instances until enough are in flight."""
        there = 0
        for stream in STREAMS:
            answer = api._send("GET", f"/api/v2/dags/{stream}/dagRuns?state=running&state=queued&limit=1")
            there += int(answer["total_entries"])
        self.most_in_flight = max(self.most_in_flight, there)
        while there < self.room:
            instance = self.plan.instance(self.started)
            stream, conf = started_with(instance)
            # Counted first: an answer that is lost must not start the same one again.
            self.started += 1
            api.trigger(stream, instance.run_id, conf)
            there += 1

    def _tolerant(self, action: Callable[[], Any]) -> Any:
        """Do what needs Airflow's API, which may be dead at the moment."""
        try:
            return action()
        except ApiFailed as failed:
            if " answered 4" in str(failed):
                self.say(f"          {failed}")
            return None

    def _calm(self, api: AirflowApi, people: People) -> frozenset[str]:
        """Wait until every step has come to its end; end what never ends by itself, as a person would.

        :returns: the keys of jobs that ran on after a person had marked their step.
        """

        def no_ordinary_job_runs() -> bool:
            endless = self._owners(api, ENDLESS)
            return all(job.key in endless for job in self._jobs() if job.running)

        began = time.monotonic()
        deadline = began + self.calm_within
        self._until(deadline, "every process is up", lambda: self.world.whole)
        self.world.restart_scheduler()
        self._until(deadline, "the scheduler is up again", lambda: self.world.whole)
        self._until(deadline, "ordinary steps end", lambda: not self._unfinished(people, but=ENDLESS))
        # What was cleared in the storm has its job ended by itself, or the clear was forgotten and the verdict says so.
        self._until(
            min(deadline, time.monotonic() + CLEARED_WITHIN),
            "cleared steps run anew",
            lambda: not people.cleared(ENDLESS),
        )
        # Nothing is struck any more: every mark and every clear of a waiting step must end its job now.
        self._until(deadline, "endless jobs are waited for", lambda: self._all_wait(people))
        for number, task in enumerate(people.tasks("deferred")):
            wish = (Wish.CLEAR, Wish.FAIL, Wish.CLEAR, Wish.SUCCEED)[number % 4]
            done = people.do(wish, task, calm=True)
            self.say(f"   calm   {done.wish.value} {done.step} while {done.before}")
        self._until(deadline, "endless steps end", lambda: not self._unfinished(people))
        # A step that a person marked while nobody could be told of it: its job runs on, or stays held as it was handed
        # over. A clear brings it home.
        self._until(deadline, "ordinary jobs end", no_ordinary_job_runs)
        owners = self._owners(api, *STREAMS)
        marked_calmly = {act.step for act in people.acts if act.calm and act.wish is not Wish.CLEAR}
        orphans: set[str] = set()
        for job in self._jobs():
            task = owners.get(job.key)
            if job.over or task is None or str(task["state"]) not in OVER:
                continue
            orphans.add(job.key)
            if f"{task['dag_run_id']} {task['task_id']}" in marked_calmly:
                continue  # nothing excuses that one: the verdict finds its job running
            self.say(f"   calm   job {job.id} of {task['dag_run_id']} is still {job.state}: clearing the step")
            people.do(Wish.CLEAR, task)
        self._until(deadline, "cleared steps end", lambda: not self._unfinished(people))
        self.calmed_after = time.monotonic() - began
        return frozenset(orphans)

    def _until(self, deadline: float, what: str, holds: Callable[[], bool]) -> None:
        """Wait, but not for ever: what is not over then is for the verdict to name."""
        began = time.monotonic()
        while not self._tolerant(holds):
            self.world.tend()
            if time.monotonic() > deadline:
                self.say(f"   calm   not in time: {what}")
                return
            time.sleep(2)
        self.say(f"   calm   {what}: after {time.monotonic() - began:.0f} s")

    def _unfinished(self, people: People, but: str = "") -> list[Task]:
        """Return the steps that Airflow still has to bring to an end; a question is for a person to end."""
        people.answer_questions(seconds_since)
        left = people.tasks(*IN_FLIGHT, "scheduled", "restarting", "up_for_reschedule", "none")
        left = [task for task in left if task["dag_id"] != but]
        # Steps that nobody scheduled yet, of runs that go on: those behind a parked step will never be.
        ahead = {(task["dag_id"], task["dag_run_id"]) for task in people.tasks(PARKED)}
        return [task for task in left if task["state"] is not None or (task["dag_id"], task["dag_run_id"]) not in ahead]

    def _all_wait(self, people: People) -> bool:
        left = self._unfinished(people)
        return len(waiting(left)) == len(left)

    def _owners(self, api: AirflowApi, *streams: str) -> dict[str, Task]:
        """Return the steps of some streams by the keys of their attempts."""
        return {
            attempt["key"]: task
            for stream in streams
            for task in api.task_instances(stream)
            for attempt in _attempts(api.state_store(stream, task["dag_run_id"], task["task_id"]))
        }

    def _jobs(self) -> list[Job]:
        names = {"key", "id", "state", "result", "ran", "started", "ended"}
        try:
            told = self.world.lab.jobs()
        except LabFailed as failed:
            raise NeverCalm(f"the lab's record cannot be read: {failed}") from failed
        return [
            Job(system, **{name: value for name, value in job.items() if name in names})
            for system, jobs in told.items()
            for job in jobs
        ]

    def _evidence(self, api: AirflowApi, people: People, orphans: frozenset[str]) -> Evidence:
        steps: list[Step] = []
        for stream in STREAMS:
            for task in api.task_instances(stream):
                run, name, state = task["dag_run_id"], task["task_id"], str(task["state"] or "")
                attempts = _attempts(api.state_store(stream, run, name))
                log = ""
                if state == "failed" or state not in OVER | {PARKED}:
                    log = self._tolerant(lambda at=(stream, run, name, task["try_number"]): api.log(*at)) or ""
                steps.append(Step(run, name, state, task["try_number"], tuple(attempts), log[-LOG_END:]))
        return Evidence(_without_waiting_behind(steps), self._jobs(), tuple(people.acts), orphans)


def _without_waiting_behind(steps: list[Step]) -> tuple[Step, ...]:
    """Leave out steps that wait, never started, behind a parked one: Airflow waits for the person, and so do they."""
    parked = {step.instance for step in steps if step.state == PARKED}
    return tuple(step for step in steps if step.state or step.attempts or step.instance not in parked)


def _attempts(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the attempts in a task's state store: the ledger's, and those that only the note of sending knows."""
    ledger = _plain(newest_ledger(stored)) or {}
    attempts = {int(attempt["number"]): attempt for attempt in ledger.get("attempts", [])}
    for key, value in stored.items():
        if key.startswith(SENT_PREFIX):
            sent = _plain(value)
            attempts.setdefault(int(sent["number"]), sent)
    return [attempts[number] for number in sorted(attempts)]


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def keep(evidence: Evidence, path: Path) -> None:
    """Write the evidence down, for people who look into a failure."""
    told = {**asdict(evidence), "orphans": sorted(evidence.orphans)}
    path.write_text(json.dumps(told, indent=1, default=str))
