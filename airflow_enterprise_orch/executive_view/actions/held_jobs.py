"""What became of people's holds and releases of jobs that are out there, as the steps' tasks wrote it down. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from airflow_enterprise_orch.delegation.control import ControlBroken, Wish, read_wishes
from airflow_enterprise_orch.delegation.obeying import OBEYED_PREFIX, Obeyed, read_obeyed
from airflow_enterprise_orch.executive_view.actions.situation import Situation, Task
from airflow_enterprise_orch.executive_view.answers_actions import HeldJob
from airflow_enterprise_orch.executive_view.pictures import PictureStep


def held_jobs(situation: Situation) -> dict[str, list[HeldJob]]:
    """Return, by step, what became of the newest word on each job that is out there; steps without one are left out."""
    found = {step.id: _of_step(situation, step) for step in situation.picture.steps}
    return {step: jobs for step, jobs in found.items() if jobs}


def _of_step(situation: Situation, step: PictureStep) -> list[HeldJob]:
    jobs = []
    for task in situation.work(step):
        if task.open_attempt is None or task.job is None:
            continue
        try:
            word, told = _word(situation, step, task), read_obeyed(_cells(task))
        except (ControlBroken, ValueError):
            continue  # each action on it is refused, and says why
        if word is not None:
            jobs.append(_told(task, word, told.get(word.id)))
    return jobs


def _word(situation: Situation, step: PictureStep, task: Task) -> Wish | None:
    wishes = read_wishes(
        task.control,
        None,
        stream=str(situation.run.dag_id),
        system=step.system,
        connection=step.connection,
        now=datetime.min.replace(tzinfo=UTC),  # of a hold whose time is over, too, it is told how it ended
    )
    return wishes.hold or wishes.let_go


def _cells(task: Task) -> Mapping[str, object]:
    return {name: json.loads(text) for name, text in task.cells.items() if name.startswith(OBEYED_PREFIX)}


def _told(task: Task, word: Wish, told: Obeyed | None) -> HeldJob:
    return HeldJob(
        map_index=task.map_index,
        job=task.job or "",
        what="hold" if word.what == "hold" else "release",
        state=told.state if told is not None and told.state else "asked",
        text=told.how if told is not None else "the step's task has not looked yet",
        at=told.at if told is not None else word.at,
    )
