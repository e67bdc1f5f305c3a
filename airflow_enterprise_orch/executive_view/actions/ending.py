"""Skip, complete and cancel: the step ends as a person wants. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.delegation.completing import OutputsInvalid
from airflow_enterprise_orch.executive_view.actions.leaving import NO_COMPLETE, leaves
from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.running_again import go_on, undone_before, would_undo
from airflow_enterprise_orch.executive_view.actions.situation import NOT_BEGUN, OVER, Phase, Situation, Task
from airflow_enterprise_orch.executive_view.actions.words import named, stands
from airflow_enterprise_orch.executive_view.answers_actions import ActionAsked, What
from airflow_enterprise_orch.executive_view.pictures import PictureStep

BECOMES: Mapping[str, tuple[What, str]] = {
    "skip": ("skipped", "is skipped"),
    "complete": ("completed", "counts as done"),
    "cancel": ("cancelled", "is cancelled, and fails"),
}


def plan_end(situation: Situation, step: PictureStep, asked: ActionAsked) -> Plan:
    """The step ends skipped, done with what the person gave, or failed as cancelled.

    What becomes of its remote job is settled by the step's own task: its end is asked for and proven first, unless the
    person takes it upon them to leave it alone.
    """
    plan = Plan()
    what, becomes = BECOMES[asked.action]
    tasks = _to_end(situation, step, asked)
    refusal = _refusal(situation, step, asked, tasks)
    if refusal:
        return plan.refuse(refusal)
    value: Mapping[str, Any] = {}
    if asked.action == "complete":
        try:
            value = leaves(step).checked(asked.outputs)
        except OutputsInvalid as invalid:
            return plan.refuse(f"{named(step)}: {invalid}")
    for task in tasks:
        plan.wish(task, asked.action, leave_job=asked.leave_job, value=value)
        if task.open_attempt is not None and task.job is not None:
            _about_job(plan, situation, step, asked, task)
    if asked.action == "cancel":
        plan.compensations += would_undo(situation, step)
    else:
        go_on(plan, situation, tasks)
    if asked.action == "skip":
        for other in _not_reached(situation, step, asked):
            plan.tell(situation, other, "not_run", "nothing that it comes after runs; complete the step to go on here")
    text = _when(situation, step, tasks, becomes)
    item = -1 if asked.map_index is None else asked.map_index
    plan.tell(situation, step, what, text, tasks[0] if len(tasks) == 1 else None)
    plan.sentence = f"{named(step, item)} {text}."
    return plan


def _to_end(situation: Situation, step: PictureStep, asked: ActionAsked) -> list[Task]:
    """Return the tasks that are to end: of a step with a list that has begun, those of the items that are not over."""
    every = situation.work(step, asked.map_index)
    last_word = asked.action != "cancel"
    ends = [
        task
        for task in every
        if task.phase not in OVER or (task.phase is Phase.FAILED and (last_word or task.open_attempt is not None))
    ]
    entry = situation.entry(step)
    if asked.map_index is None and entry is not None and entry.phase in NOT_BEGUN:
        return [entry]
    if step.each and asked.map_index is None:
        return [task for task in ends if task.task_id == step.each]
    return ends


def _not_reached(situation: Situation, step: PictureStep, asked: ActionAsked) -> list[PictureStep]:
    """Return the steps that do not run because all that they come after does not."""
    if asked.map_index is not None:
        return []
    lost = {step.id}
    for other in situation.picture.steps:  # each after those that it comes after
        ahead = situation.phase(other) in NOT_BEGUN | {Phase.BLOCKED}
        before = [one for one in other.after if _counts(situation, one)]
        if ahead and other.id not in lost and before and all(one in lost for one in before):
            lost.add(other.id)
    return [one for one in situation.picture.steps if one.id in lost and one.id != step.id]


def _counts(situation: Situation, name: str) -> bool:
    """Tell whether a step may still run, or ran: what was skipped already lets nothing go on."""
    known = situation.picture.by_id.get(name)
    return known is not None and situation.phase(known) is not Phase.SKIPPED


def _refusal(situation: Situation, step: PictureStep, asked: ActionAsked, tasks: list[Task]) -> str:
    phase = situation.phase(step)
    verb = {"skip": "skipped", "complete": "completed", "cancel": "cancelled"}[asked.action]
    if asked.action == "complete" and step.kind in NO_COMPLETE:
        return f"{named(step)} cannot be completed: which way it goes, an override says"
    if asked.action == "complete" and step.each and asked.map_index is None:
        return f"{named(step)} has a list: complete its items one by one"
    if asked.leave_job and asked.action == "cancel":
        return "a job that is cancelled is not left alone: skip or complete the step to leave its job alone"
    if phase is Phase.BLOCKED and asked.map_index is None:
        return f"{named(step)} cannot be {verb}: {stands(phase)}; act on that step, and this one is reached"
    if not tasks:
        return f"{named(step)} cannot be {verb}: {stands(phase)}"
    if asked.action != "cancel" and any(task.phase is Phase.FAILED for task in tasks):
        return undone_before(situation, step)
    return ""


def _about_job(plan: Plan, situation: Situation, step: PictureStep, asked: ActionAsked, task: Task) -> None:
    if asked.leave_job:
        plan.cannot_be_undone.append(f"{named(step, task.map_index)}: {task.job} goes on, and nobody waits for it")
        plan.confirm(f"leave:{task.task_id}:{task.map_index}", f"{task.job} is left alone, and I take it to be over")
        return
    if step.kind == "stream":
        text = f"{task.job} cannot be ended from here: the step waits until it is over"
    else:
        text = f"the end of {task.job} is asked for, and the step waits until that is proven"
        plan.cannot_be_undone.append(f"{named(step, task.map_index)}: what {task.job} did until its end stays")
    plan.tell(situation, step, "cancelled", text, task)


def _when(situation: Situation, step: PictureStep, tasks: list[Task], becomes: str) -> str:
    phase = situation.phase(step)
    if phase in NOT_BEGUN:
        return f"{becomes} when its turn comes"
    if "." not in step.kind or phase is Phase.FAILED or not any(task.job for task in tasks):
        return becomes
    if phase is Phase.ASKING:
        return f"{becomes} once its system or a person has said what became of its job"
    return f"{becomes}, unless its job ends well before that can be asked for"
