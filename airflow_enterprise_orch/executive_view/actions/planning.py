"""From a request to a plan, and from a situation to what can be asked of it. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from airflow_enterprise_orch.delegation.control import ControlBroken
from airflow_enterprise_orch.executive_view.actions import of_instance
from airflow_enterprise_orch.executive_view.actions.ending import plan_end
from airflow_enterprise_orch.executive_view.actions.holding_back import plan_hold, plan_release
from airflow_enterprise_orch.executive_view.actions.leaving import NO_COMPLETE, leaves
from airflow_enterprise_orch.executive_view.actions.overriding import KINDS, plan_override, targets_of
from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.running_again import plan_restart, plan_retry
from airflow_enterprise_orch.executive_view.actions.situation import Phase, Situation
from airflow_enterprise_orch.executive_view.answers_actions import (
    OF_INSTANCE,
    Action,
    ActionAsked,
    Need,
    Offer,
    Target,
)
from airflow_enterprise_orch.executive_view.pictures import PictureStep

Part = Callable[[Situation, PictureStep, ActionAsked], Plan]

OF_STEP: Mapping[Action, Part] = {
    "hold": plan_hold,
    "release": plan_release,
    "skip": plan_end,
    "complete": plan_end,
    "cancel": plan_end,
    "retry": plan_retry,
    "restart": plan_restart,
    "override": plan_override,
}
OF_ALL: Mapping[Action, Callable[[Situation, ActionAsked], Plan]] = {
    **dict.fromkeys(("hold", "release", "cancel", "retry"), of_instance.plan_all),
    "params": of_instance.plan_params,
    "priority": of_instance.plan_priority,
    "due": of_instance.plan_due,
    "acknowledge": of_instance.plan_acknowledge,
    "unacknowledge": of_instance.plan_acknowledge,
}
if set(OF_ALL) != OF_INSTANCE:
    raise AssertionError("OF_ALL is not what can be asked of an instance")

NEEDS: Mapping[Action, tuple[Need, ...]] = {
    "hold": ("until",),
    "complete": ("outputs",),
    "override": ("targets",),
    "params": ("params",),
    "priority": ("priority",),
    "due": ("due_at",),
}
PROBE = "probing what can be asked"


def plan_of(situation: Situation, asked: ActionAsked) -> Plan:
    """Return what a request comes to; what cannot be done says why in its refusals."""
    try:
        plan = _planned(situation, asked)
    except ControlBroken as broken:
        return Plan().refuse(str(broken))
    if situation.paused and (plan.clears or plan.wakes):
        plan.sentence += " The stream is paused in Airflow: nothing of it begins before it is unpaused."
    return plan


def _planned(situation: Situation, asked: ActionAsked) -> Plan:
    if asked.step is None:
        part = OF_ALL.get(asked.action)
        if part is None:
            return Plan().refuse(f"{asked.action} is asked of one step: name it")
        if asked.map_index is not None:
            return Plan().refuse("an item is one of a step: name the step")
        return part(situation, asked)
    step = situation.picture.by_id.get(asked.step)
    if step is None:
        some = ", ".join(situation.picture.by_id) or "none"
        return Plan().refuse(f"the stream has no step {asked.step!r}: it has {some}")
    of_step = OF_STEP.get(asked.action)
    if of_step is None:
        return Plan().refuse(f"{asked.action} is asked of an instance as a whole: name no step")
    if asked.map_index is not None and not situation.work(step, asked.map_index):
        return Plan().refuse(f"step {step.id!r} has no item {asked.map_index + 1}")
    return of_step(situation, step, asked)


def offers(situation: Situation) -> tuple[list[Offer], dict[str, list[Offer]]]:
    """Return what can be asked of the instance as a whole, and of each step."""
    of_all = [_offer(situation, None, action) for action in OF_ALL if action != "unacknowledge"]
    if situation.seen["acknowledged_by"]:
        of_all = [one if one.action != "acknowledge" else _offer(situation, None, "unacknowledge") for one in of_all]
    return of_all, {step.id: list(_of_step(situation, step)) for step in situation.picture.steps}


def _of_step(situation: Situation, step: PictureStep) -> Iterator[Offer]:
    if situation.phase(step) is Phase.GONE:
        return
    for action in OF_STEP:
        if action == "override" and step.kind not in KINDS:
            continue
        if action == "complete" and step.kind in NO_COMPLETE:
            continue
        yield _offer(situation, step, action)


def _offer(situation: Situation, step: PictureStep | None, action: Action) -> Offer:
    plan = plan_of(situation, _probe(situation, step, action))
    why_not = plan.refusals[0] if plan.refusals else None
    if action in ("params", "priority", "due") and step is None and situation.live:
        why_not = None  # whether it is taken depends on the value
    given = leaves(step) if step is not None and action == "complete" else None
    targets = [] if step is None or action != "override" else _targets(situation, step)
    return Offer(
        action=action,
        allowed=why_not is None,
        why_not=why_not,
        needs=list(NEEDS.get(action, ())),
        outputs=dict(given.must) if given else {},
        optional_outputs=dict(given.may) if given else {},
        targets=targets,
        confirm=bool(plan.confirmations),
    )


def _probe(situation: Situation, step: PictureStep | None, action: Action) -> ActionAsked:
    """Return a request like those that people make, to hear whether one would be refused whatever it says."""
    asked = ActionAsked(action=action, step=None if step is None else step.id, reason=PROBE)
    if step is not None and action == "complete":
        samples = {"string": "", "integer": 0, "number": 0.0, "boolean": False}
        return asked.model_copy(
            update={"outputs": {name: samples.get(kind, "") for name, kind in leaves(step).must.items()}}
        )
    if step is not None and action == "override":
        return asked.model_copy(update={"targets": list(_other_way(situation, step))})
    return asked


def _other_way(situation: Situation, step: PictureStep) -> Sequence[str]:
    decided = situation.decision(step)
    now = set(decided.chosen) if decided is not None else set()
    ways = [way.then for way in step.ways if way.then and set(way.then) != now]
    return ways[0] if ways else targets_of(step)


def _targets(situation: Situation, step: PictureStep) -> list[Target]:
    known = situation.picture.by_id
    return [Target(id=one, title=known[one].title) for one in targets_of(step) if one in known]
