"""One run of Airflow's, told as an instance: pure, from what Airflow knows and the picture of the stream.

``steps`` of an instance holds, by step id, what is not empty of: ``state`` (``answers.StepState``), ``stack``,
``airflow`` (the state of its task), ``try``, ``queued``, ``started``, ``ended`` (ISO 8601, UTC), ``items`` (of a list:
how many are in which state), ``until`` (the moment that it waits for), ``job`` (its newest remote job: ``id``,
``name``, ``system``, ``state``, ``verdict``), ``decision`` (``fired``, ``chosen``, ``by``, and ``overridden``: None, or
``by``, ``reason``, ``instead``) and ``undo`` (the same of the task that undoes it, once that has begun).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from airflow_enterprise_orch.business_date import business_date
from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState, LedgerBroken
from airflow_enterprise_orch.delegation.control import CONTROL_KEY, ControlBroken, read_wishes
from airflow_enterprise_orch.delegation.job import Phase
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.due import DUE_KEY, due_at, due_by_person
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.executive_view.airflow_tables import LIVE, Facts, from_json, outputs_of
from airflow_enterprise_orch.executive_view.tables import LONGEST_KEY
from airflow_enterprise_orch.restricted_jinja import render, run_names
from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    Decision,
    DecisionUnreadable,
    read_decision,
)
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY, proposed
from airflow_enterprise_orch.value_stream.wait_until import WAIT_KEY

OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_STATES = {
    None: "open", "scheduled": "queued", "queued": "queued", "running": "running", "restarting": "running",
    "deferred": "running", "up_for_retry": "retry", "up_for_reschedule": "held", "awaiting_input": "waiting_person",
    "success": "success", "failed": "failed", "upstream_failed": "blocked", "skipped": "skipped", "removed": "removed",
}  # fmt: skip
_STANDS_AT = ("failed", "parked", "waiting_person", "held", "retry", "running", "queued")
"""Which step an instance stands at: the one that is in the first of these states."""
_WAITS = {"parked": "person", "waiting_person": "person", "held": "hold", "retry": "retry", "queued": "resource"}
_OF_KIND = {"wait": "calendar", "branch": "calendar", "wait_for": "stream", "stream": "stream"}


def instance(
    facts: Facts,
    picture: Mapping[str, Any],
    now: datetime,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the columns of ``orch_instance`` that Airflow's facts tell.

    :param before: its row as it was told before: what Airflow has purged of a run that it still has stays.
    """
    known = {name: (before or {}).get(name) or {} for name in ("steps", "outputs", "decisions")}
    run, steps = facts.run, dict(_steps(facts, picture, known["steps"], now))
    due = picture.get("due")
    due_moment = due_at(due, run_after=aware(run.run_after), logical_date=aware(run.logical_date)) if due else None
    params = run.conf if isinstance(run.conf, Mapping) else {}
    key = _key(facts, picture, params)[:LONGEST_KEY]
    undoing = {name: step["undo"] for name, step in steps.items() if "undo" in step}
    states = Counter(step["state"] for step in (*steps.values(), *undoing.values()))
    live = run.state in LIVE
    at, state = _at(steps, undoing)
    shown = {step["id"]: step for step in picture["steps"]}
    asked = states["waiting_person"] + states["parked"]
    row = {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "airflow_id": run.id,
        "in_airflow": True,
        "business_key": key,
        "business_key_lower": key.casefold()[:LONGEST_KEY],
        "business_date": _business_date(run, params, picture),
        "run_type": str(getattr(run.run_type, "value", run.run_type)),
        "started_by": run.triggering_user_name,
        "params": dict(params),
        "state": run.state or "unknown",
        "live": live,
        "run_after": aware(run.run_after),
        "queued_at": aware(run.queued_at),
        "started_at": aware(run.start_date),
        "ended_at": None if live else aware(run.end_date),
        "due_at": _by_person(facts) or due_moment,
        "first_due_at": due_moment,
        "current_step": at if live else None,
        "current_stack": shown[at]["stack"] if live and at else None,
        "waits_for": _waits_for(state, shown[at]["kind"]) if live and at else "nothing",
        "waiting_people": asked if live else 0,
        "parked": states["parked"] if live else 0,
        "failed_steps": states["failed"],
        "steps": steps,
        "outputs": _outputs(facts, picture, steps, known["steps"], known["outputs"]) or None,
        "decisions": _decisions(facts, steps, known["decisions"]) or None,
    }
    return row | healthy(row, now)


def _by_person(facts: Facts) -> datetime | None:
    """Return when a person wants the instance to be over; None where nobody has said so."""
    kept = next((cells[DUE_KEY] for cells in facts.cells.values() if DUE_KEY in cells), None)
    try:
        return None if kept is None else due_by_person(json.loads(kept))
    except ValueError:
        return None


def _at(steps: Mapping[str, Any], undoing: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the step that an instance stands at, and its state; one that is being undone before one that failed."""
    every = [("failed", {}), *((state, undoing) for state in _STANDS_AT[1:]), *((state, steps) for state in _STANDS_AT)]
    for state, some in every:
        for name, step in some.items():
            if step["state"] == state:
                return name, state
    return None, "open"


def healthy(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return ``health`` and ``late_seconds`` at a moment; time alone makes an instance late."""
    due, ended = row["due_at"], row["ended_at"]
    if not row["live"]:
        late = max(0, int((ended - due).total_seconds())) if due and ended else None
        if row["state"] != "success":
            return {"health": "failed" if row["state"] == "failed" else "unknown", "late_seconds": late}
        return {"health": "no_due" if due is None else "late" if late else "on_time", "late_seconds": late}
    if row["failed_steps"]:
        return {"health": "failed", "late_seconds": None}
    if due is not None and now > due:
        return {"health": "late", "late_seconds": None}
    p90 = row.get("forecast_p90")
    if due is not None and p90 is not None and p90 > due:
        return {"health": "at_risk", "late_seconds": None}
    if row["waiting_people"] or row["waits_for"] == "hold":
        return {"health": "waiting", "late_seconds": None}
    return {"health": "no_due" if due is None else "on_time", "late_seconds": None}


def jobs(facts: Facts, picture: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``orch_job``, all but the instance's number; a ledger that cannot be read has none."""
    of_task = {task: step for step in picture["steps"] for task in (step["id"], *step.get("tasks", {}))}
    states = {(task.task_id, task.map_index): task.state for task in facts.tasks}
    for (task_id, map_index), cells in facts.cells.items():
        step = of_task.get(task_id)
        for attempt in attempts_of(cells):
            is_open = attempt.state is not AttemptState.CLOSED
            gone = (task_id, map_index) not in states or states[task_id, map_index] in OVER
            yield {
                "task_id": task_id,
                "map_index": map_index,
                "attempt": attempt.number,
                "step": step and step["id"],
                "system": attempt.system[:500],
                "stack": step and step["stack"],
                "job_id": attempt.handle.job_id[:250] if attempt.handle else None,
                "job_name": attempt.handle.name[:250] or None if attempt.handle else None,
                "state": attempt.state.value,
                "verdict": attempt.verdict or None,
                "message": attempt.message or None,
                "code": attempt.code[:250] or None,
                "rc": attempt.rc,
                "parked": attempt.parked or None,
                "closed_by": attempt.closed_by[:250] or None,
                "orphan": is_open and gone,
                "opened": _moment(attempt.opened),
                "closed": _moment(attempt.closed),
            }


def attempts_of(cells: Mapping[str, Any]) -> tuple[Attempt, ...]:
    """Return the attempts of one task, from what its state store holds; none where that cannot be read."""
    try:
        return Ledger.from_json(json.loads(newest_ledger(cells) or "null")).attempts
    except (LedgerBroken, ValueError):
        return ()


def _steps(
    facts: Facts, picture: Mapping[str, Any], before: Mapping[str, Any], now: datetime
) -> Iterator[tuple[str, dict[str, Any]]]:
    tasks: dict[str, list[Any]] = {}
    for task in facts.tasks:
        tasks.setdefault(task.task_id, []).append(task)
    for step in picture["steps"]:
        kinds = step.get("tasks", {})
        own = tasks.get(step["id"], [])
        every = own + [
            task for name in sorted(kinds) if kinds[name] in ("items", "each") for task in tasks.get(name, [])
        ]
        known = before.get(step["id"], {})
        told = _remembered(known, _step(step, own, every, facts, now), purged=not every)
        undo = [task for name in kinds if kinds[name] == "undo" for task in tasks.get(name, [])]
        if any(task.state not in (None, "skipped", "upstream_failed", "removed") for task in undo):
            told["undo"] = _step({**step, "kind": step.get("undo", {}).get("kind", ".")}, undo, undo, facts, now)
        yield step["id"], told


def _step(step: Mapping[str, Any], own: list[Any], every: list[Any], facts: Facts, now: datetime) -> dict[str, Any]:
    busy = [task for task in every if task.state is not None and task.state not in OVER]
    ended = next((task for task in own if task.state is not None), None)
    task = ended or max(busy, key=lambda one: one.state == "awaiting_input", default=None)
    task = task or next((one for one in every if one.state is not None), None)
    state = _STATES.get(task.state if task else None, "open")
    # Behind items that failed, the task that adds them up is not reached: but the step was.
    failed = max(
        (one for one in every if one.state == "failed"), key=lambda one: _iso(one.end_date) or "", default=None
    )
    if state == "blocked" and failed is not None:
        state = "failed"
    attempts = [one for each in every for one in attempts_of(facts.cells.get((each.task_id, each.map_index), {}))]
    delegated = "." in step["kind"]
    if state == "waiting_person" and delegated:
        state = "parked"
    newest = max(attempts, key=lambda one: one.opened, default=None)
    if state == "running" and _held_over_there(every, facts):
        state = "held"
    if state == "success" and newest is not None and newest.verdict == "warning":
        state = "warning"
    told: dict[str, Any] = {
        "state": state,
        "stack": step["stack"],
        "airflow": task.state if task else None,
        "try": max((one.try_number for one in every), default=0),
        "queued": _iso(min(filter(None, (one.queued_dttm or one.scheduled_dttm for one in every)), default=None)),
        "started": _iso(min(filter(None, (one.start_date for one in every)), default=None)),
        "ended": _iso(task.end_date) if task and task.state in OVER else None,
        "items": dict(Counter(str(one.state) for one in every if one.map_index >= 0)),
    }
    if newest is not None:
        told["job"] = {
            "id": newest.handle.job_id if newest.handle else None,
            "name": newest.handle.name if newest.handle else None,
            "system": newest.system,
            "state": newest.state.value,
            "verdict": newest.verdict or None,
        }
    kept = facts.cells.get((step["id"], -1), {})
    if state == "running":
        told["until"] = _until(kept.get(WAIT_KEY))
    if state == "held" and (until := _until_proposed(kept, facts, now)) is not None:
        # Nobody holds it: a branch leaves people time.
        told |= {"state": "running", "until": until}
    told["decision"] = _decision(facts.cells.get((step["id"], -1), {}).get(DECISION_KEY))
    return {name: value for name, value in told.items() if value not in (None, {}, 0)}


def _held_over_there(tasks: list[Any], facts: Facts) -> bool:
    """Tell whether all that is under way of a step is held by the systems that have its jobs."""
    notes = [
        facts.notes.get((task.task_id, task.map_index)) if task.state == "deferred" else None
        for task in tasks
        if task.state is not None and task.state not in OVER
    ]
    open_ = {
        one.key
        for task in tasks
        for one in attempts_of(facts.cells.get((task.task_id, task.map_index), {}))
        if one.state is AttemptState.SUBMITTED
    }
    return bool(notes) and all(note is not None and note.phase is Phase.HELD and note.key in open_ for note in notes)


def _remembered(before: Mapping[str, Any], now: dict[str, Any], *, purged: bool) -> dict[str, Any]:
    """Return a step, with what of it ``airflow db clean`` took meanwhile: task instances, or what they kept.

    Nothing else takes these from a run that stays: a clear sets task instances back, and keeps their store.

    :param purged: Airflow has no task instance of it.
    """
    if purged and before.get("ended"):
        return dict(before)
    lost = {name: before[name] for name in ("job", "decision") if name in before and name not in now}
    if "job" in lost and before.get("state") == "warning" and now["state"] == "success":
        lost["state"] = "warning"
    return {**now, **lost}


def _outputs(
    facts: Facts,
    picture: Mapping[str, Any],
    steps: Mapping[str, Any],
    before: Mapping[str, Any],
    outputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Return by task what steps gave, with what of it Airflow has purged: all but that of steps that began anew."""
    same = {
        task
        for step in picture["steps"]
        if (ended := steps[step["id"]].get("ended")) and ended == before.get(step["id"], {}).get("ended")
        for task in (step["id"], *step.get("tasks", {}))
    }
    return {**{task: given for task, given in outputs.items() if task in same}, **facts.outputs}


def _until(kept: str | None) -> str | None:
    """Return the moment that a step waits for; None where there is none, or none that can be read."""
    record = from_json(kept)
    try:
        moment = datetime.fromisoformat(str(record["until"])) if isinstance(record, Mapping) else None
    except (KeyError, ValueError):
        return None  # the step itself stops there and says so
    return _iso(moment) if moment is not None and moment.tzinfo is not None else None


def _until_proposed(cells: Mapping[str, str], facts: Facts, now: datetime) -> str | None:
    """Return until when a branch leaves people time; None where it does not, or a person holds it meanwhile."""
    found = proposed({key: from_json(cells.get(key)) for key in (PROPOSAL_KEY, DECISION_KEY)})
    if found is None:
        return None
    # As the branch itself looks: it belongs to no system and to no connection.
    looks: dict[str, Any] = {"stream": facts.run.dag_id, "system": "", "connection": "", "now": now}
    try:
        held = read_wishes(from_json(cells.get(CONTROL_KEY)), facts.holds, **looks).hold is not None
    except ControlBroken:
        held = False  # the branch itself stops there and says so
    return None if held else _iso(found.until)


def decision_of(kept: str | None) -> Decision | None:
    """Read the record of a decision; None where there is none, or none that can be read."""
    if kept is None:
        return None
    try:
        return read_decision(json.loads(kept))
    except (DecisionUnreadable, ValueError):
        return None


def _decisions(facts: Facts, steps: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return by task the records of decisions, with those that Airflow has purged: of all steps that have decided."""
    found = dict(kept)
    for name in steps:
        record = decision_of(facts.cells.get((name, -1), {}).get(DECISION_KEY))
        if record is not None:
            seen = {"values": outputs_of(record.values), "outputs": outputs_of(record.outputs)}
            found[name] = record.to_json() | seen
    return {name: record for name, record in found.items() if "decision" in steps.get(name, {})}


def _decision(kept: str | None) -> dict[str, Any] | None:
    found = decision_of(kept)
    if found is None:
        return None
    over = found.overridden
    return {
        "fired": list(found.fired),
        "chosen": list(found.chosen),
        "by": found.by,
        # Whole: who had it otherwise, and why, is asked for long after Airflow has deleted the record.
        "overridden": over and {"by": over.by, "reason": over.reason, "instead": list(over.instead)},
    }


def _waits_for(state: str, kind: str) -> str:
    if state == "running":
        return _OF_KIND.get(kind, "remote_job" if "." in kind else "nothing")
    return _WAITS.get(state, "nothing")


def _key(facts: Facts, picture: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    run, text = facts.run, picture["business"]["key"]
    if not text:
        return str(run.run_id)
    names = run_names(
        run_id=run.run_id,
        run_after=aware(run.run_after),
        logical_date=aware(run.logical_date),
        data_interval_start=aware(run.data_interval_start),
        data_interval_end=aware(run.data_interval_end),
    )
    try:
        return render(text, {"params": {**picture.get("defaults", {}), **params}, **names}).strip() or str(run.run_id)
    except TemplateError:
        return str(run.run_id)


def _business_date(run: Any, params: Mapping[str, Any], picture: Mapping[str, Any]) -> date | None:
    try:
        return date.fromisoformat(
            business_date(aware(run.logical_date or run.run_after), params, picture.get("dates") or {})
        )
    except TemplateError:
        return None


def aware(moment: Any) -> Any:
    """Return a moment of Airflow's in UTC."""
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _iso(moment: datetime | None) -> str | None:
    return aware(moment).isoformat() if moment is not None else None


def _moment(text: str) -> datetime | None:
    return aware(datetime.fromisoformat(text)) if text else None


def changed(before: Mapping[str, Any], after: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    """Return what is other than it was."""
    return {name: after[name] for name in columns if name in after and before.get(name) != after[name]}
