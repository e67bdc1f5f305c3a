"""An override: a branch or a choice goes another way than its rules, before it decides or after. Pure.

After it has decided, only the branch and the steps that are *gained* run: those that were skipped and lie on the new
way, up to where it meets what ran already. What comes after the meeting does not run a second time. Steps that are
*lost* and have not begun are skipped; what ran on the old way stays, with its record.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.running_again import go_on, kinds_of_tasks, stays, undone_before
from airflow_enterprise_orch.executive_view.actions.situation import AT_WORK, NOT_BEGUN, OVER, Phase, Situation
from airflow_enterprise_orch.executive_view.actions.words import all_named, named, stands
from airflow_enterprise_orch.executive_view.answers_actions import ActionAsked
from airflow_enterprise_orch.executive_view.pictures import PictureStep

KINDS = frozenset({"branch", "choice"})
NOT_REACHED = frozenset({Phase.SKIPPED, Phase.BLOCKED})


def targets_of(step: PictureStep) -> tuple[str, ...]:
    """Return the steps that a branch or a choice can choose, in the template's order."""
    return tuple(dict.fromkeys(one for way in step.ways for one in way.then))


def plan_override(situation: Situation, step: PictureStep, asked: ActionAsked) -> Plan:
    """The step goes to ``targets``, whatever its rules say."""
    plan = Plan()
    if step.kind not in KINDS:
        return plan.refuse(f"{named(step)} decides nothing that can be overridden")
    own, phase, targets = situation.own(step), situation.phase(step), list(dict.fromkeys(asked.targets))
    known = targets_of(step)
    wrong = [one for one in targets if one not in known]
    if wrong or not targets or own is None:
        some = ", ".join(known) or "nothing"
        return plan.refuse(f"{named(step)} cannot go to {', '.join(wrong) or 'no step'}: choose some of {some}")
    if step.kind == "choice" and not any(set(way.then) == set(targets) for way in step.ways):
        return plan.refuse(
            f"{named(step)} has no option that goes to {', '.join(targets)}: choose the steps of one option"
        )
    if phase in (Phase.SKIPPED, Phase.BLOCKED, Phase.GONE):
        return plan.refuse(f"{named(step)} cannot be overridden: {stands(phase)}")
    if situation.undoing(step) is not None or undone_before(situation, step):
        return plan.refuse(undone_before(situation, step) or f"{named(step)} is undone")
    decided = situation.decision(step)
    before = list(decided.chosen) if decided is not None and phase is Phase.DONE else None
    plan.before, plan.after = {"chosen": before}, {"chosen": targets}
    goes = all_named([situation.picture.by_id[one] for one in targets])
    if phase is not Phase.DONE:
        plan.wish(own, "override", targets=targets)
        if phase is Phase.FAILED:
            go_on(plan, situation, [own])
        when = "when it decides" if phase in NOT_BEGUN else "now"
        plan.tell(situation, step, "changed", f"it goes to {goes} {when}, whatever its rules say", own)
        plan.sentence = f"{named(step)} goes to {goes}, whatever its rules say."
        return plan
    if before is not None and set(before) == set(targets):
        return plan.refuse(f"{named(step)} went to {goes} already")
    _after_the_fact(plan, situation, step, set(before or ()), set(targets))
    if not plan.refusals:
        plan.wish(own, "override", nudge=False, targets=targets)
        plan.clear([own])
        plan.tell(situation, step, "changed", f"it is decided again, and goes to {goes}", own)
        plan.sentence = f"{named(step)} goes to {goes} instead, after the fact; only what is gained runs."
    return plan


def _after_the_fact(plan: Plan, situation: Situation, step: PictureStep, before: set[str], targets: set[str]) -> None:
    gained = _gained(situation, targets)
    lost = _lost(situation, step, before - targets, targets | _behind(situation, targets))
    decided = {name: other for other in _steps(situation, gained) for name in targets_of(other)}
    for other in _steps(situation, lost):
        _leave(plan, situation, other)
    for other in _steps(situation, gained):
        plan.clear(situation.every(other))
        by = decided.get(other.id)
        text = (
            "it lies on the new way"
            if by is None
            else f"{named(by)}, which lies on the new way, decides whether it runs"
        )
        plan.tell(situation, other, "runs", text)
    for other in _steps(situation, targets_of(step)):
        if situation.phase(other) in NOT_BEGUN:
            # What stood for its being chosen before must not let it run on the new way.
            plan.clear(task for task in situation.helpers(other) if task.phase is not Phase.AHEAD)
    kinds = kinds_of_tasks(situation)
    plan.clear(one for one in situation.tasks.values() if kinds.get(one.task_id) == "end" and one.phase in OVER)


def _leave(plan: Plan, situation: Situation, other: PictureStep) -> None:
    """Leave a step that only the old way led to."""
    phase, work = situation.phase(other), situation.work(other)
    if phase in AT_WORK:
        job = next((f" ({task.job})" for task in work if task.job), "")
        plan.refuse(
            f"{named(other)} lies on the way that is left and {stands(phase)}{job}: skip or cancel it first, so that "
            f"its end is proven, then override"
        )
    elif phase in NOT_BEGUN or phase in (Phase.FAILED, Phase.BLOCKED):
        for task in work:
            if task.phase in NOT_BEGUN or task.phase in (Phase.FAILED, Phase.BLOCKED):
                plan.wish(task, "skip")
                plan.clear([task] if task.phase is Phase.BLOCKED else [])
        plan.tell(situation, other, "skipped", "it lies on the way that is left")
    elif phase is Phase.DONE:
        for task in work:
            plan.cannot_be_undone += stays(other, task)
        plan.tell(situation, other, "stays", "it ran, and stays as it is", next((one for one in work if one.job), None))


def _gained(situation: Situation, targets: Iterable[str]) -> set[str]:
    """Return the steps that were skipped, or not reached, and lie on the new way up to where it meets what ran."""
    found: set[str] = set()
    ahead = list(targets)
    while ahead:
        name = ahead.pop()
        if name in found or situation.phase(situation.picture.by_id[name]) not in NOT_REACHED:
            continue
        found.add(name)
        ahead.extend(other.id for other in situation.picture.steps if name in other.after)
    return found


def _behind(situation: Situation, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    ahead = list(names)
    while ahead:
        name = ahead.pop()
        for other in situation.picture.steps:
            if name in other.after and other.id not in found:
                found.add(other.id)
                ahead.append(other.id)
    return found


def _lost(situation: Situation, step: PictureStep, left: set[str], kept: set[str]) -> set[str]:
    """Return the steps to which only the way led that is left."""
    lost = left - kept
    for other in situation.picture.steps:  # each after those that it comes after
        before = [one for one in other.after if one != step.id]
        if other.id not in kept and before and all(one in lost for one in before):
            lost.add(other.id)
    return lost


def _steps(situation: Situation, names: Iterable[str]) -> list[PictureStep]:
    """Return steps by their ids, in the template's order."""
    wanted = set(names)
    return [one for one in situation.picture.steps if one.id in wanted]
