"""YAML -> steps that Airflow itself does: branches, decisions, approvals and others; what is wrong is noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_enterprise_orch.value_stream.draft import DraftStep
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model_types import APPROVAL_FACTS, CEL_TYPES
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS, Notes, links
from airflow_enterprise_orch.value_stream.problems import Path
from airflow_enterprise_orch.value_stream.reading_airflow import airflow_types, read_airflow
from airflow_enterprise_orch.value_stream.reading_stream import read_stream, stream_types
from airflow_enterprise_orch.value_stream.step_parts import BaseStep
from airflow_enterprise_orch.value_stream.steps import (
    ApprovalStep,
    BranchRule,
    BranchStep,
    ChoiceStep,
    DecisionRow,
    DecisionStep,
    FailStep,
    Step,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WAIT_FACTS, WAIT_FOR_FACTS, WaitForStep, WaitStep

BRANCH_KEYS = ("match", "rules", "otherwise", "override_within")
DECISION_KEYS = ("hit", "inputs", "outputs", "rows", "table", "otherwise")

Reader = Callable[[Notes, DraftStep, Path, dict[str, Any]], Step | None]

_NO_RULE = {"when": "true", "then": []}
_NO_ROW: dict[str, Any] = {"when": {}, "then": {}}


def keyed(kind: str, model: type[BaseStep], remedy: str) -> Reader:
    """Return a reader of steps whose keys are the model's own, all below the key of their kind.

    :param remedy: what to write where nothing of that is.
    """
    fields = model.model_fields.items()
    keys = tuple(field.alias or name for name, field in fields if name not in BaseStep.model_fields)

    def read(notes: Notes, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
        here, body = (*path, kind), raw[kind]
        clean = notes.unknown_keys(path, raw, (*COMMON_KEYS, kind), dict.fromkeys(keys, kind))
        if not isinstance(body, dict):
            notes.add(here, f"must hold keys, not {kind_of(body)}", remedy, key=body is None)
            return None
        clean = notes.unknown_keys(here, body, keys, {}) and clean
        data = {key: raw[key] for key in COMMON_KEYS if key in raw}
        places = {key: (*path, key) for key in data}
        data |= {key: value for key, value in body.items() if key in keys} | {"id": "step"}
        found = notes.validate(model, data, places, here)
        return found.model_copy(update={"id": step.id}) if found and clean else None

    return read


def read_choice(notes: Notes, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
    """Read a step that waits for a person to choose the steps that come next."""
    body = raw["choice"]
    options = body.get("options") if isinstance(body, dict) else None
    for name, option in (options if isinstance(options, dict) else {}).items():
        here = (*path, "choice", "options", name)
        step.targets += links((*here, "then"), option.get("then") if isinstance(option, dict) else None)
    return keyed("choice", ChoiceStep, "write subject:, and options:")(notes, step, path, raw)


def read_branch(notes: Notes, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
    """Read a step that chooses the steps that come next: a list of rules, or keys with a list of rules among them."""
    here, body = (*path, "branch"), raw["branch"]
    before = len(notes.problems)
    notes.unknown_keys(path, raw, (*COMMON_KEYS, "branch"), dict.fromkeys(BRANCH_KEYS, "branch"))
    by_key = isinstance(body, dict)
    if by_key:
        notes.unknown_keys(here, body, BRANCH_KEYS, dict.fromkeys(("when", "then"), "rules"))
    entries = body.get("rules", []) if by_key else body
    place: Path = (*here, "rules") if by_key else here
    if not isinstance(entries, list) or not (entries or by_key):
        notes.add(
            place,
            f"a branch must be a list of rules, not {kind_of(entries) if entries != [] else 'an empty list'}",
            "write '- when: ...' with then, and '- otherwise: [...]' at the end",
            key=entries is None,
        )
        return None
    ends = {(*here, "otherwise"): body["otherwise"]} if by_key and "otherwise" in body else {}
    rules = _rules(notes, step, entries, place, ends, by_key=by_key)
    for where, names in ends.items():
        step.targets += links(where, names)
    if not ends:
        remedy = "'otherwise: [...]' beside rules" if by_key else "'- otherwise: [...]' at the end"
        notes.add(here, "the branch does not say what happens otherwise", f"add {remedy}; [] ends the stream", key=True)
    if not rules:
        notes.add(here, "the branch has no rule", "add '- when: ...' with then", key=True)
    for where, rule in rules.items():
        notes.validate(BranchRule, rule, {}, where)
    data = {key: raw[key] for key in COMMON_KEYS if key in raw} | {"id": "step", "rules": [_NO_RULE]}
    places: dict[str, Path] = {key: (*path, key) for key in COMMON_KEYS}
    places["otherwise"], data["otherwise"] = next(reversed(ends.items()), (here, []))
    for key in ("match", "override_within"):
        if by_key and key in body:
            data[key], places[key] = body[key], (*here, key)
    found: BranchStep | None = notes.validate(BranchStep, data, places, here)
    if found is None or len(notes.problems) > before:
        return None
    checked = tuple(BranchRule.model_validate(rule) for rule in rules.values())
    return found.model_copy(update={"id": step.id, "rules": checked})


def _rules(
    notes: Notes, step: DraftStep, entries: list[Any], here: Path, ends: dict[Path, Any], *, by_key: bool
) -> dict[Path, Any]:
    """Return the rules by their places; an ``otherwise`` among them goes into ``ends``, where it may stand there."""
    rules: dict[Path, Any] = {}
    for index, rule in enumerate(entries):
        place = (*here, index)
        if not isinstance(rule, dict):
            remedy = "write when: and then:" if by_key else "write when: and then:, or otherwise:"
            notes.add(place, f"a rule must hold keys, not {kind_of(rule)}", remedy)
        elif "otherwise" not in rule or by_key:
            notes.unknown_keys(place, rule, ("when", "then"), {"otherwise": "branch, beside rules"} if by_key else {})
            step.targets += links((*place, "then"), rule.get("then"))
            rules[place] = {key: value for key, value in rule.items() if key in ("when", "then")}
        else:
            notes.unknown_keys(place, rule, ("otherwise",), {})
            if index < len(entries) - 1:
                notes.add(place, "rules after 'otherwise' are never reached", "put otherwise last")
            ends[(*place, "otherwise")] = rule["otherwise"]
    return rules


def read_decision(notes: Notes, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
    """Read a step that reads values off a table."""
    here, body = (*path, "decision"), raw["decision"]
    before = len(notes.problems)
    notes.unknown_keys(path, raw, (*COMMON_KEYS, "decision"), dict.fromkeys(DECISION_KEYS, "decision"))
    if not isinstance(body, dict):
        remedy = "write inputs:, outputs: and rows:"
        notes.add(here, f"must hold keys, not {kind_of(body)}", remedy, key=body is None)
        return None
    notes.unknown_keys(here, body, DECISION_KEYS, {})
    for group in ("inputs", "outputs"):
        for name in body[group] if isinstance(body.get(group), dict) else ():
            notes.check_id((*here, group, name), group[:-1])
    rows = body.get("rows")
    data = {key: value for key, value in body.items() if key in DECISION_KEYS} | {"id": "step"}
    places: dict[str, Path] = {key: (*path, key) for key in COMMON_KEYS}
    if "table" in body:
        if "rows" in body:
            notes.add((*here, "table"), "the rows stand here and in a file", "remove rows, or table", key=True)
        if body["table"] is None:
            notes.add((*here, "table"), "has no value", "write one, or remove the key", key=True)
        data["rows"] = [_NO_ROW]  # until the file is read: what its cells mean the types of the inputs say
    elif "otherwise" in body and "rows" in body:
        remedy = "write '- otherwise: {...}' as the last of the rows"
        notes.add((*here, "otherwise"), "without a table, otherwise stands among the rows", remedy, key=True)
    elif "rows" not in body:
        notes.add(here, "the decision has no rows", "add rows:, or table: and a CSV file", key=True)
        data["rows"] = [_NO_ROW]
    elif isinstance(rows, list):
        data |= _rows(notes, rows, (*here, "rows"))
    data |= {key: raw[key] for key in COMMON_KEYS if key in raw}
    found: DecisionStep | None = notes.validate(DecisionStep, data, places, here)
    return found.model_copy(update={"id": step.id}) if found and len(notes.problems) == before else None


def _rows(notes: Notes, rows: list[Any], here: Path) -> dict[str, Any]:
    """Return the rows that are right by themselves, and what is otherwise; the places of the others are noted."""
    good: list[DecisionRow] = []
    otherwise: dict[str, Any] = {}
    for index, row in enumerate(rows):
        place = (*here, index)
        if not isinstance(row, dict):
            notes.add(place, f"a row must hold keys, not {kind_of(row)}", "write when: and then:, or otherwise:")
        elif "otherwise" in row:
            notes.unknown_keys(place, row, ("otherwise",), {})
            if index < len(rows) - 1:
                notes.add(place, "rows after 'otherwise' are never reached", "put otherwise last")
            last = notes.validate(DecisionRow, {"then": row["otherwise"]}, {"then": (*place, "otherwise")}, place)
            otherwise = {} if last is None else {"otherwise": dict(last.then)}
        else:
            found = notes.validate(DecisionRow, row, {}, place)
            good += [] if found is None else [found]
    if not good and not any(isinstance(row, dict) and "otherwise" not in row for row in rows):
        notes.add(here, "the table has no row", "add '- when: {...}' with then", key=True)
    return {"rows": [row.model_dump() for row in good] or [_NO_ROW], **otherwise}


def _decided_types(step: Mapping[str, Any]) -> dict[str, str] | None:
    body = step["decision"]
    outputs = body.get("outputs") if isinstance(body, dict) else None
    if not isinstance(outputs, dict):
        return None
    return {name: CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn" for name, kind in outputs.items()}


@dataclass(frozen=True, slots=True)
class OwnKind:
    """One thing that a step can do without any system.

    :param read: returns the step, or None after noting what is wrong; the arguments are the notes, what is known of
        the step so far, its place and its YAML.
    :param facts: the types of what it leaves for later steps, from the step's YAML; None where that cannot be told.
    """

    read: Reader
    facts: Callable[[Mapping[str, Any]], Mapping[str, str] | None]


OWN_KINDS: Mapping[str, OwnKind] = {
    "airflow": OwnKind(read_airflow, airflow_types),
    "approval": OwnKind(keyed("approval", ApprovalStep, "write subject: and the question"), lambda _: APPROVAL_FACTS),
    "branch": OwnKind(read_branch, lambda _: {}),
    "choice": OwnKind(read_choice, lambda _: APPROVAL_FACTS),
    "decision": OwnKind(read_decision, _decided_types),
    "wait_until": OwnKind(keyed("wait_until", WaitStep, "write time:, at: or for:"), lambda _: WAIT_FACTS),
    "wait_for": OwnKind(keyed("wait_for", WaitForStep, "write stream: and the other one"), lambda _: WAIT_FOR_FACTS),
    "fail": OwnKind(keyed("fail", FailStep, "write message: and why"), lambda _: {}),
    "stream": OwnKind(read_stream, stream_types),
}
"""What a step can do that no connected system does, by its key."""
