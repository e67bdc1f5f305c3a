"""People at work while everything dies: they clear, mark and answer through Airflow's REST API, as its UI does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_enterprise_orch.delegation import parking
from airflow_enterprise_orch.demo.api import AirflowApi, ApiFailed

from .plan import Act, Wish
from .streams import DOWNSTREAM, STREAMS, UPSTREAM
from .verdict import PARKED, PersonsAct

IN_FLIGHT = ("running", "queued", "deferred", "up_for_retry")
MOST_ACTS = 3
"""On one step: after that it is left to come to its end."""
READING_TIME = 5.0
"""Seconds before a question is answered: Airflow takes a task that goes on before its worker ended for a dead one."""

Task = dict[str, Any]


class People:
    """What they did is in :attr:`acts`."""

    def __init__(self, api: AirflowApi, seed: int) -> None:
        self.api = api
        self.acts: list[PersonsAct] = []
        self.answers: Counter[str] = Counter()
        self._seed = seed
        self._asked: Counter[str] = Counter()
        self._touched: Counter[tuple[str, str]] = Counter()

    def act(self, act: Act) -> PersonsAct | None:
        """Do what the plan says to one of the steps that are there now; None when there is none to do it to."""
        wanted = ("success", "failed") if act.finished and act.wish is Wish.CLEAR else IN_FLIGHT
        found = [task for task in self.tasks(*wanted) if self._touched[_place(task)] < MOST_ACTS]
        # Most of what is in flight waits, and that is where a clear has to end a job.
        waiting = [task for task in found if task["state"] == "deferred"]
        if waiting and act.pick < 0.75:
            found = waiting
        if not found:
            return None
        found.sort(key=_place)
        return self.do(act.wish, found[int(act.pick * 997) % len(found)], downstream=act.downstream)

    def do(
        self, wish: Wish, task: Task, *, downstream: bool = False, upstream: bool = False, calm: bool = False
    ) -> PersonsAct:
        """Do one thing to one step and note it, whether or not Airflow took it.

        :param calm: nothing was struck lately: see :class:`~.verdict.PersonsAct`.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        stream, run, name = task["dag_id"], task["dag_run_id"], task["task_id"]
        self._touched[_place(task)] += 1
        accepted: bool | None = True
        with_it: set[str] = set()
        try:
            if wish is Wish.CLEAR:
                body = {
                    "dry_run": False,
                    "dag_run_id": run,
                    "task_ids": [name],
                    "only_failed": False,
                    "include_downstream": downstream,
                    "include_upstream": upstream,
                }
                with_it = (set(DOWNSTREAM[name]) if downstream else set()) | (
                    set(UPSTREAM[name]) if upstream else set()
                )
                self.api._send("POST", f"/api/v2/dags/{stream}/clearTaskInstances", body)
            else:
                state = "failed" if wish is Wish.FAIL else "success"
                path = f"/api/v2/dags/{stream}/dagRuns/{run}/taskInstances/{name}"
                self.api._send("PATCH", path, {"new_state": state})
        except ApiFailed as failed:
            # A client error is a no; everything else may have been done all the same.
            accepted = False if " answered 4" in str(failed) else None
        done = PersonsAct(at, wish, run, name, str(task["state"]), accepted, calm)
        self.acts.append(done)
        # Whatever was cleared with it was cleared by the same person, whatever state it was in.
        self.acts += [PersonsAct(at, wish, run, other, "", accepted) for other in sorted(with_it)]
        return done

    def tasks(self, *states: str) -> list[Task]:
        """Return the steps in these states, of all instances."""
        found: list[Task] = []
        chosen = "".join(f"&state={state}" for state in states)
        for stream in STREAMS:
            path = f"/api/v2/dags/{stream}/dagRuns/~/taskInstances?limit=100&order_by=id{chosen}"
            while True:
                mine = [task for task in found if task["dag_id"] == stream]
                answer = self.api._send("GET", f"{path}&offset={len(mine)}")
                found += answer["task_instances"]
                if not answer["task_instances"] or len(mine) + len(answer["task_instances"]) >= answer["total_entries"]:
                    break
        return found

    def cleared(self, stream: str) -> list[Task]:
        """Return the steps that wait although the last that a person did to them was a clear of the waiting step."""
        last = {act.step: act for act in self.acts if act.accepted}
        waits = [task for task in self.tasks("deferred") if task["dag_id"] == stream]
        acts = [(task, last.get(f"{task['dag_run_id']} {task['task_id']}")) for task in waits]
        return [task for task, act in acts if act is not None and (act.wish, act.before) == (Wish.CLEAR, "deferred")]

    def answer_questions(self, seconds_since: Callable[[str], float]) -> None:
        """Answer what parked steps ask: look again, then fail some; the rest stays parked."""
        for stream in STREAMS:
            for question in self.api.questions(stream):
                where = question["task_instance"]
                if where["state"] != PARKED or seconds_since(question["created_at"]) < READING_TIME:
                    continue
                place = f"{where['dag_run_id']} {where['task_id']}"
                chance = random.Random(f"{self._seed} {place}").random()
                if self._asked[place] == 0:
                    choice = parking.LOOK_AGAIN
                elif self._asked[place] == 1 and chance < 0.5:
                    choice = parking.FAIL
                else:
                    continue
                self._asked[place] += 1
                self.api.answer(stream, where["dag_run_id"], where["task_id"], choice)
                self.answers[choice] += 1


def waiting(tasks: Sequence[Task]) -> list[Task]:
    """Return those that wait in a triggerer that has taken them up."""
    return [task for task in tasks if task["state"] == "deferred" and (task.get("trigger") or {}).get("triggerer_id")]


def _place(task: Task) -> tuple[str, str]:
    return str(task["dag_run_id"]), str(task["task_id"])
