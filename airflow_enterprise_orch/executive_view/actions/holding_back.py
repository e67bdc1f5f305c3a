"""Hold and release of one step. Pure: a situation and a request in, a plan out."""

from __future__ import annotations

from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.situation import NOT_BEGUN, Phase, Situation, Task
from airflow_enterprise_orch.executive_view.actions.words import moment, named, stands
from airflow_enterprise_orch.executive_view.answers_actions import ActionAsked
from airflow_enterprise_orch.executive_view.pictures import PictureStep

HOLDABLE = NOT_BEGUN | {Phase.RETRY}


def plan_hold(situation: Situation, step: PictureStep, asked: ActionAsked) -> Plan:
    """Nothing of the step is handed over until it is released, or until a moment."""
    plan = Plan()
    phase = situation.phase(step)
    until = f" until {moment(asked.until)}" if asked.until else ""
    if asked.until is not None and asked.until <= situation.now:
        return plan.refuse(f"a hold of {named(step)} until {moment(asked.until)} would be over already")
    tasks = [task for task in situation.work(step, asked.map_index) if task.phase in HOLDABLE]
    out_there = [task for task in situation.work(step, asked.map_index) if task.phase is Phase.WAITING and task.job]
    if out_there and not tasks:
        return _hold_over_there(plan, situation, step, asked, out_there)
    if not tasks or (asked.map_index is None and phase not in HOLDABLE):
        return plan.refuse(f"{named(step)} cannot be held: {stands(phase)}; hold a step that comes after it")
    if asked.map_index is None:
        # Before anything of it has begun its first task holds all of it; after that, the items that have not begun.
        entry = [task for task in tasks if task is situation.entry(step)]
        tasks = entry or [task for task in tasks if task.task_id == step.each] or tasks
    known = next((task for task in tasks if task.open_attempt is not None and task.job is not None), None)
    if known is not None:
        return plan.refuse(f"{named(step)} cannot be held: {known.job} is out there already; wait for it, or cancel it")
    for task in tasks:
        # One that is tried again later looks by itself: nothing has left, and nothing is to be cleared for that.
        plan.wish(task, "hold", nudge=task.phase is Phase.HELD, until=asked.until and asked.until.isoformat())
    begins = "it may be on its way already, and then it goes on" if phase is Phase.QUEUED else "it does not begin"
    plan.tell(situation, step, "held", f"{begins}{until}", tasks[0] if len(tasks) == 1 else None)
    plan.sentence = f"{named(step)} is held{until}: nothing of it is handed over, and it takes no worker."
    return plan


def _hold_over_there(
    plan: Plan, situation: Situation, step: PictureStep, asked: ActionAsked, tasks: list[Task]
) -> Plan:
    """Ask the system of jobs that were handed over, and may not have started, to hold them."""
    if not holds_jobs(step):
        return plan.refuse(
            f"{named(step)} cannot be held: {tasks[0].job} is out there, and its system cannot hold a job; hold a step "
            f"that comes after it, or cancel it"
        )
    until = f" until {moment(asked.until)}" if asked.until else ""
    for task in tasks:
        plan.wish(task, "hold", until=asked.until and asked.until.isoformat())
        text = f"its system is asked to hold {task.job}{until}; one that has started goes on"
        plan.tell(situation, step, "held", text, task)
    plan.sentence = f"{named(step)}: the hold of its job is asked of its system{until}; a job that has started goes on."
    return plan


def holds_jobs(step: PictureStep) -> bool:
    """Tell whether the step's system can hold a job that was handed over."""
    known = step_types().get(step.kind)
    return known is not None and known[1].holds


def plan_release(situation: Situation, step: PictureStep, asked: ActionAsked) -> Plan:
    """What was held goes on."""
    plan = Plan()
    held = [task for task in situation.work(step, asked.map_index) if has_hold(task)]
    others = held_with_others(situation, step)
    if not held:
        waiting = [task for task in situation.work(step, asked.map_index) if task.phase is Phase.WAITING and task.job]
        if waiting and holds_jobs(step):
            return _release_over_there(plan, situation, step, waiting)
        if others:
            return plan.refuse(f"{named(step)} is held with others, {others}: release that hold")
        return plan.refuse(f"{named(step)} is not held: {stands(situation.phase(step))}")
    for task in held:
        plan.taken_back.append((task.name, "hold"))
        if task.phase in (Phase.HELD, Phase.WAITING):
            plan.nudge(task)  # one whose job our hold holds lets it go
    plan.tell(situation, step, "released", f"its own hold ends{'; it stays held ' + others if others else ''}", held[0])
    plan.sentence = f"{named(step)} goes on when its turn comes."
    if others:
        plan.sentence = f"{named(step)} is not held by itself any more, but stays held with others, {others}."
    return plan


def _release_over_there(plan: Plan, situation: Situation, step: PictureStep, tasks: list[Task]) -> Plan:
    """Release jobs that somebody of the system holds."""
    for task in tasks:
        plan.wish(task, "release")
        plan.confirm(f"release:{task.task_id}:{task.map_index}", f"{task.job} is released, whoever holds it over there")
        plan.tell(situation, step, "released", f"{task.job} is released if it is held over there", task)
    plan.sentence = f"{named(step)}: its job is released if its system holds it."
    return plan


def has_hold(task: Task) -> bool:
    """Tell whether somebody holds this very task."""
    return isinstance(task.control, dict) and "hold" in task.control


def held_with_others(situation: Situation, step: PictureStep) -> str:
    """Say what hold of a stream, a system or a connection applies to a step; "" when none does."""
    hold = situation.hold_of_all(step)
    return "" if hold is None else f"by {hold.by} ({hold.reason})"
