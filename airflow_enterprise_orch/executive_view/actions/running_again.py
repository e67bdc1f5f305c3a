"""Retry and restart, and what they share with all that lets a failed instance go on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.situation import AT_WORK, Phase, Situation, Task
from airflow_enterprise_orch.executive_view.actions.words import all_named, named, stands
from airflow_enterprise_orch.executive_view.answers_actions import ActionAsked
from airflow_enterprise_orch.executive_view.pictures import PictureStep

LOOKS = frozenset({"failure", "settled", "end"})
"""Kinds of tasks that look whether something is to be undone, or add up how the instance ended."""
UNDO_BEGUN = frozenset({Phase.QUEUED, Phase.DONE, Phase.FAILED, Phase.HELD}) | AT_WORK


def plan_retry(situation: Situation, step: PictureStep, asked: ActionAsked) -> Plan:
    """A step that failed is tried again; what was not reached because of that runs, too."""
    plan = Plan()
    phase = situation.phase(step)
    undoing = situation.undoing(step)
    if undoing is not None and undoing.phase is Phase.FAILED:
        plan.clear([undoing])
        go_on(plan, situation, [undoing])
        plan.tell(situation, step, "runs_again", "what undoes it is tried again", undoing)
        plan.sentence = f"What undoes {named(step)} is tried again."
        return plan
    if phase is Phase.RETRY:
        plan.clear(task for task in situation.work(step, asked.map_index) if task.phase is Phase.RETRY)
        plan.tell(situation, step, "runs_again", "it is tried again now, not later")
        plan.sentence = f"{named(step)} is tried again now."
        return plan
    tasks = [task for task in situation.work(step, asked.map_index) if task.phase is Phase.FAILED]
    if not tasks:
        return plan.refuse(f"{named(step)} cannot be tried again: {stands(phase)}")
    undone = undone_before(situation, step)
    if undone:
        return plan.refuse(undone)
    may_run_again(plan, step, tasks)
    if plan.refusals:
        return plan
    plan.clear(tasks)
    go_on(plan, situation, tasks)
    for task in tasks:
        looks = task.open_attempt is not None and task.job is not None
        text = f"it looks what became of {task.job}" if looks else "it is tried again"
        plan.tell(situation, step, "runs_again", text, task)
    plan.sentence = f"{named(step)} is tried again."
    return plan


def plan_restart(situation: Situation, step: PictureStep, asked: ActionAsked) -> Plan:
    """The step runs again, and with it all that came after it."""
    plan = Plan()
    phase = situation.phase(step)
    if asked.map_index is not None:
        return plan.refuse("one item is tried again by a retry; a restart is of the whole step")
    if phase not in (Phase.DONE, Phase.FAILED):
        return plan.refuse(f"the instance cannot be restarted at {named(step)}: {stands(phase)}")
    undone = undone_before(situation, step)
    if undone:
        return plan.refuse(undone)
    if situation.dag is None:
        return plan.refuse("Airflow does not have the version of the stream any more by which the instance runs")
    first = {task.task_id for task in situation.work(step)}
    names = first | situation.behind(first)
    tasks = [task for task in situation.tasks.values() if task.task_id in names and task.phase is not Phase.AHEAD]
    again = []
    for other in situation.picture.steps:
        own = [task for task in situation.work(other) if task in tasks]
        ran = [task for task in own if task.phase not in (Phase.SKIPPED, Phase.BLOCKED, Phase.GONE)]
        if not ran:
            continue
        again.append(other)
        may_run_again(plan, other, ran)
        for task in ran:
            if task.open_attempt is not None and task.job is not None:
                text = (
                    f"{named(other, task.map_index)}: {task.job} is at work; its end is asked for and waited for first"
                )
                plan.confirm(f"cancel:{task.task_id}:{task.map_index}", text)
            plan.tell(situation, other, "runs_again", "it runs again" + (", as a new job" if task.job else ""), task)
            plan.cannot_be_undone += stays(other, task)
    if plan.refusals:
        return plan
    plan.clear(tasks)
    plan.sentence = f"The instance runs again from {named(step)} on: {all_named(again)}."
    return plan


def go_on(plan: Plan, situation: Situation, tasks: Sequence[Task]) -> None:
    """Let run what was not reached because tasks failed, and look anew whether something is to be undone."""
    failed = [task for task in tasks if task.phase is Phase.FAILED]
    if not failed:
        return
    kinds = kinds_of_tasks(situation)
    for name in situation.behind(task.task_id for task in failed):
        for task in situation.of(name):
            blocked = task.phase is Phase.BLOCKED
            looks = kinds.get(name) in LOOKS and task.phase is not Phase.AHEAD
            nothing_undone = kinds.get(name) == "undo" and task.phase is Phase.SKIPPED
            if blocked or looks or nothing_undone:
                plan.clear([task])
    for step in situation.picture.steps:
        own = situation.own(step)
        if own is not None and own.name in plan.clears and own.phase is Phase.BLOCKED:
            plan.tell(situation, step, "runs", "it goes on from here", own)


def undone_before(situation: Situation, step: PictureStep) -> str:
    """Say why a step must not run: what a step before it did is undone, or is being; "" when nothing is."""
    before = ancestors(situation, step)
    for other in situation.picture.steps:
        undoing = situation.undoing(other)
        if undoing is not None and other.id in before and undoing.phase in UNDO_BEGUN:
            return (
                f"what {named(other)} did is undone, or is being: {named(step)} would run on work that is no more; "
                f"restart the instance at {named(other)}"
            )
    return ""


def would_undo(situation: Situation, step: PictureStep) -> Iterator[str]:
    """Yield what the stream undoes by itself when a step fails for good."""
    before = ancestors(situation, step)
    for other in situation.picture.steps:
        if other.undone_by and other.id in before and situation.phase(other) is Phase.DONE:
            yield f"{named(other)} is undone once nothing that comes after it is at work"


def may_run_again(plan: Plan, step: PictureStep, tasks: Iterable[Task]) -> None:
    """Refuse, or have confirmed, what the template does not want to run again."""
    guard = step.raw.get("restart", "")
    if not guard or not any(task.attempts or task.phase in (Phase.DONE, Phase.FAILED) for task in tasks):
        return
    if guard == "never":
        plan.refuse(
            f"{named(step)} is never run again by an action: its template says restart: never; complete or skip it"
        )
    else:
        plan.confirm(f"restart:{step.id}", f"{named(step)} may run again: its template wants that asked")


def stays(step: PictureStep, task: Task) -> list[str]:
    """Say what a step did on another system that nothing takes back."""
    if "." not in step.kind or task.job is None or task.phase is not Phase.DONE:
        return []
    undone = " (the stream can undo it, but only when a later step fails)" if step.undone_by else ""
    return [f"{named(step, task.map_index)}: what {task.job} did stays{undone}"]


def ancestors(situation: Situation, step: PictureStep) -> set[str]:
    """Return the steps that come before one, directly or not."""
    found: set[str] = set()
    ahead = list(step.after)
    while ahead:
        name = ahead.pop()
        if name not in found and name in situation.picture.by_id:
            found.add(name)
            ahead.extend(situation.picture.by_id[name].after)
    return found


def kinds_of_tasks(situation: Situation) -> dict[str, str]:
    """Return what each helper task of the stream is for; see ``value_stream/paths.py``."""
    kinds: dict[str, str] = dict(situation.picture.raw.get("tasks", {}))
    for step in situation.picture.steps:
        kinds.update(step.raw.get("tasks", {}))
    return kinds
