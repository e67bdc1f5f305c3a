"""Actions on an instance as a whole: params, priority, due time, acknowledgement, its steps together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any

from airflow_enterprise_orch.due import DUE_KEY, DUE_VERSION
from airflow_enterprise_orch.executive_view.actions.ending import plan_end
from airflow_enterprise_orch.executive_view.actions.holding_back import has_hold, plan_hold, plan_release
from airflow_enterprise_orch.executive_view.actions.plan import Plan
from airflow_enterprise_orch.executive_view.actions.running_again import plan_retry
from airflow_enterprise_orch.executive_view.actions.situation import AT_WORK, NOT_BEGUN, Phase, Situation
from airflow_enterprise_orch.executive_view.actions.words import all_named, moment, named
from airflow_enterprise_orch.executive_view.answers_actions import ActionAsked
from airflow_enterprise_orch.executive_view.pictures import PictureStep
from airflow_enterprise_orch.executive_view.saying import listed, number
from airflow_enterprise_orch.restricted_jinja import inspect, texts

Part = Callable[[Situation, PictureStep, ActionAsked], Plan]


def plan_all(situation: Situation, asked: ActionAsked) -> Plan:
    """Do the same with every step of the instance with which it can be done."""
    parts: Mapping[str, tuple[Part, Callable[[PictureStep], bool], str]] = {
        "hold": (
            plan_hold,
            lambda step: situation.phase(step) in NOT_BEGUN | {Phase.RETRY},
            "{} held: what has not begun",
        ),
        "release": (plan_release, lambda step: any(map(has_hold, situation.work(step))), "{} released"),
        "cancel": (
            plan_end,
            lambda step: situation.phase(step) in AT_WORK | {Phase.HELD, Phase.QUEUED},
            "{} cancelled",
        ),
        "retry": (plan_retry, lambda step: situation.phase(step) is Phase.FAILED, "{} tried again"),
    }
    part, fits, sentence = parts[asked.action]
    plan = Plan()
    some = [step for step in situation.picture.steps if fits(step)]
    if not some:
        none = {"hold": "has begun or is over", "release": "is held", "cancel": "is at work", "retry": "failed"}
        every = "every step" if asked.action == "hold" else "no step"
        return plan.refuse(f"{every} of {situation.key} {none[asked.action]}")
    for step in some:
        plan.take(part(situation, step, asked))
    plan.sentence = f"{situation.key}: {sentence.format(number(len(some), 'step'))}: {all_named(some)}."
    return plan


def plan_params(situation: Situation, asked: ActionAsked) -> Plan:
    """Give params new values, for the steps that have not begun."""
    plan = Plan()
    if not asked.params:
        return plan.refuse("no param is given a new value: name one")
    if not situation.live:
        return plan.refuse(f"{situation.key} is over: start a new instance with other params")
    conf = dict(situation.run.conf or {})
    known = situation.picture.raw.get("params", {})
    wrong = [name for name in asked.params if name not in known]
    if wrong:
        return plan.refuse(f"the stream has no param {', '.join(wrong)}: it has {', '.join(known) or 'none'}")
    fixed = sorted(set(asked.params) & _in_key(situation))
    if fixed:
        return plan.refuse(f"{listed(fixed)} {'is' if len(fixed) == 1 else 'are'} part of what the instance is called: "
                           f"cancel it and start another one")  # fmt: skip
    new = {**conf, **asked.params}
    problem = _refused_by_dag(situation, new)
    if problem:
        return plan.refuse(problem)
    ahead = [step for step in situation.picture.steps if situation.phase(step) in NOT_BEGUN]
    if not ahead:
        return plan.refuse(f"no step of {situation.key} has not begun: nothing would read them")
    plan.conf = new
    plan.before = {"params": {name: conf.get(name) for name in asked.params}}
    plan.after = {"params": dict(asked.params)}
    changed = listed([f"{name} = {value!r:.60}" for name, value in asked.params.items()])
    plan.tell(
        situation,
        None,
        "changed",
        f"{changed}, for {number(len(ahead), 'step')} that {'has' if len(ahead) == 1 else 'have'} not begun",
    )
    plan.sentence = f"{situation.key}: {changed} from now on; what has begun keeps the old values."
    return plan


def plan_priority(situation: Situation, asked: ActionAsked) -> Plan:
    """Let what has not begun go before or after the steps of other instances."""
    plan = Plan()
    if asked.priority is None:
        return plan.refuse("no priority is given: a number from 1, more goes first")
    tasks = [
        task for task in situation.tasks.values() if task.phase in (Phase.AHEAD, Phase.QUEUED, Phase.HELD, Phase.RETRY)
    ]
    if not tasks:
        return plan.refuse(f"everything of {situation.key} has begun: a priority changes nothing any more")
    plan.weights = {task.name: asked.priority for task in tasks}
    plan.before = {"priority": sorted({int(task.row.priority_weight or 0) for task in tasks})}
    plan.after = {"priority": asked.priority}
    plan.tell(situation, None, "changed", f"priority {asked.priority} for all that has not begun")
    plan.sentence = f"What has not begun of {situation.key} has priority {asked.priority} from now on."
    return plan


def plan_due(situation: Situation, asked: ActionAsked) -> Plan:
    """Let the instance be due at another time; the first one is kept."""
    plan = Plan()
    if asked.due_at is None:
        return plan.refuse("no due time is given: give one with a time zone")
    if not situation.live:
        return plan.refuse(f"{situation.key} is over: its due time cannot be changed any more")
    due_at = asked.due_at.astimezone(UTC)
    first = min(situation.tasks, default=None)
    if first is None:
        return plan.refuse(f"{situation.key} has no task in Airflow: nothing of it can be due")
    plan.kept[first, DUE_KEY] = {"version": DUE_VERSION, "due_at": due_at.isoformat()}
    old = situation.seen["due_at"]
    plan.row = {"due_at": due_at}
    plan.before = {"due_at": old.isoformat() if old else None}
    plan.after = {"due_at": due_at.isoformat()}
    was = f"instead of {moment(old)}" if old else "it had no due time"
    plan.tell(situation, None, "changed", f"due at {moment(due_at)}, {was}")
    plan.sentence = f"{situation.key} is due at {moment(due_at)}, {was}."
    return plan


def plan_acknowledge(situation: Situation, asked: ActionAsked) -> Plan:
    """Say, or say no longer, that somebody has seen that the instance needs care."""
    plan = Plan()
    seen = situation.seen["acknowledged_by"]
    if asked.action == "acknowledge":
        if seen:
            return plan.refuse(f"{situation.key} is acknowledged already, by {seen}")
        plan.row = {"acknowledged": True}
        text = "somebody looks after it"
    else:
        if not seen:
            return plan.refuse(f"{situation.key} is not acknowledged")
        plan.row = {"acknowledged": False}
        text = f"not acknowledged any more; it was by {seen}"
    plan.before, plan.after = {"acknowledged_by": seen}, {"acknowledged": asked.action == "acknowledge"}
    plan.tell(situation, None, "acknowledged", text)
    plan.sentence = f"{situation.key}: {text}."
    return plan


def _in_key(situation: Situation) -> set[str]:
    """Return the params that the business key, or the business date, is made of."""
    paths = [reference.path for _, text in texts(situation.picture.key) for reference in inspect(text)[0]]
    return {path[1] for path in paths if path[0] == "params" and len(path) > 1} | {"business_date"}


def _refused_by_dag(situation: Situation, conf: Mapping[str, Any]) -> str:
    """Say in one line what the stream's own rules for its params have against some; "" when nothing."""
    dag = situation.dag
    if dag is None:
        return "Airflow does not have the version of the stream any more by which the instance runs"
    try:
        params = dag.params.deep_merge(dict(conf))
        params.validate()
    except ValueError as error:
        return f"the stream does not take that: {str(error).strip().splitlines()[0]}"
    return ""


def name_of(step: PictureStep | None, situation: Situation) -> str:
    """Return what an action concerns, for people."""
    return situation.key if step is None else f"{named(step)} of {situation.key}"
