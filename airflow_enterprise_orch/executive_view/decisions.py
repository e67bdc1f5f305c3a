"""Decisions as the pages tell them: the record that a step left, in the words of the template's picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_enterprise_orch.executive_view.answers_instance import DecisionTold, Overridden, SeenValue, Way
from airflow_enterprise_orch.executive_view.entries import Entry
from airflow_enterprise_orch.executive_view.pictures import Picture, PictureStep
from airflow_enterprise_orch.executive_view.redacting import Sight
from airflow_enterprise_orch.value_stream.decision_record import (
    DECISION_KEY,
    Decision,
    DecisionUnreadable,
    read_decision,
)
from airflow_enterprise_orch.value_stream.override_window import PROPOSAL_KEY, proposed


def decisions_of(
    picture: Picture,
    records: Mapping[str, Any],
    kept: Mapping[str, Entry],
    sight: Sight,
    proposals: Mapping[str, Any],
) -> list[DecisionTold]:
    """Return all decisions of an instance, in the order in which they were made.

    :param records: by task what its task state store holds, or the feed keeps of it.
    :param kept: the steps as the feed keeps them, for what was decided when it did not keep records yet.
    :param sight: what the viewer may see.
    :param proposals: by task what a branch will do when nobody has it otherwise.
    """
    found = []
    for step in picture.steps:
        kept_of = kept[step.id].decision if step.id in kept else None
        hidden = not sight.values or sight.reads_hidden(picture, step.id)
        record = records.get(step.id)
        proposal = proposed({PROPOSAL_KEY: proposals.get(step.id), DECISION_KEY: record})
        if proposal is not None:
            shown = told(picture, step.id, proposal.decision.to_json(), hidden=hidden)
            found.append(shown.model_copy(update={"open_until": proposal.until}))
        elif step.id in records:
            found.append(told(picture, step.id, record, hidden=hidden))
        elif isinstance(kept_of, Mapping):
            found.append(_from_history(step, kept_of, picture))
    return sorted(found, key=lambda one: (one.at is None, one.at))


def _from_history(step: PictureStep, kept: Mapping[str, Any], picture: Picture) -> DecisionTold:
    """Return a decision whose record Airflow deleted before the feed kept any: the way, without the values."""
    fired = {str(one) for one in kept.get("fired") or ()}
    kind = {"decision": "table", "choice": "choice"}.get(step.kind, "branch")
    return DecisionTold(
        step=picture.step_name(step.id),
        kind=kind,
        policy=str(step.raw.get("match") or step.raw.get("hit") or ""),
        at=None,
        by=str(kept.get("by") or ""),
        sentence="",
        ways=[
            Way(id=way.id, title=way.when or way.id, leads_to=way.gives or list(way.then), fired=way.id in fired)
            for way in step.ways
        ],
        values=[],
        chosen=[str(one) for one in kept.get("chosen") or ()],
        outputs=[],
        overridden=_kept_override(kept),
        problem="Airflow has deleted the record: the values that were seen are gone",
    )


def _kept_override(kept: Mapping[str, Any]) -> Overridden | None:
    """Return who had it otherwise; what was kept at first was no more than that somebody had."""
    over = kept.get("overridden")
    if not over:
        return None
    if not isinstance(over, Mapping):
        return Overridden(by=str(kept.get("by") or ""), reason="", instead=[])
    return Overridden(by=over["by"], reason=over["reason"], instead=list(over["instead"]))


def told(picture: Picture, step: str, record: object, *, hidden: bool = False) -> DecisionTold:
    """Return one decision; one whose record cannot be read says so.

    :param hidden: the viewer may not see what steps left: neither what was seen nor, of a table, what came of it.
    """
    try:
        decision = read_decision(record)
    except DecisionUnreadable as error:
        return DecisionTold(
            step=picture.step_name(step), kind="branch", policy="", at=None, by="", sentence="", ways=[], values=[],
            chosen=[], outputs=[], overridden=None, problem=str(error),
        )  # fmt: skip
    if hidden:
        decision = replace(
            decision,
            values={},
            outputs={},
            fired=() if decision.kind == "table" else decision.fired,
            problem="it could not be asked" if decision.problem else "",
        )
    over = decision.overridden
    said = decision.sentence({one.id: f"“{one.title}”" for one in picture.steps})
    return DecisionTold(
        step=picture.step_name(step),
        hidden=hidden,
        kind=decision.kind,
        policy=decision.policy,
        at=decision.at,
        by=decision.by,
        sentence=said[:1].upper() + said[1:] if decision.kind != "table" else "" if hidden else said,
        ways=_ways(picture, step, decision),
        values=_values(decision.values),
        chosen=list(decision.chosen),
        outputs=_values(decision.outputs),
        overridden=Overridden(by=over.by, reason=over.reason, instead=list(over.instead)) if over is not None else None,
        problem=decision.problem or None,
    )


def _ways(picture: Picture, step: str, decision: Decision) -> list[Way]:
    known = picture.by_id.get(step)
    said = {way.id: way.when for way in known.ways} if known is not None else {}
    fired = {str(one) for one in decision.fired}
    return [
        Way(
            id=str(way["id"]),
            title=str(said.get(str(way["id"])) or way.get("title") or _asked(way)),
            leads_to=way.get("then"),
            fired=str(way["id"]) in fired,
        )
        for way in decision.ways
    ]


def _asked(way: Mapping[str, Any]) -> str:
    """Return what a rule or a row asks, as the template has it."""
    when = way.get("when")
    if isinstance(when, Mapping):
        return ", ".join(f"{name} {asks}" for name, asks in when.items())
    return str(when or way["id"])


def _values(values: Mapping[str, Any]) -> list[SeenValue]:
    return [SeenValue(name=name, value=value) for name, value in values.items()]
