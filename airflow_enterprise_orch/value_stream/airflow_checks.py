"""What must hold of a step that runs an operator of Airflow's providers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_enterprise_orch.restricted_jinja import texts
from airflow_enterprise_orch.value_stream.airflow_operators import (
    OperatorRefused,
    find_operator,
    is_not_for_templates,
    signature_of,
)
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.model_types import AIRFLOW_FACTS, CLASS_PATH
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.steps import AirflowStep
from airflow_enterprise_orch.value_stream.templating import check_text


def check_airflow(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the operator, its arguments and what the step leaves; ``path`` is the step's."""
    document, here = draft.document, (*path, "airflow")
    body = document.get(here)
    if not isinstance(body, dict):
        return
    arguments = body.get("arguments", {})
    for below, jinja in texts(arguments if isinstance(arguments, dict) else {}):
        yield from check_text(draft, step.id, (*here, "arguments", *below), jinja)
    outputs = document.get((*path, "outputs"))
    for name in outputs if isinstance(outputs, dict) else ():
        if name in AIRFLOW_FACTS:
            what = f"every step of this kind leaves a value {name!r} already"
            yield document.problem((*path, "outputs", name), what, "choose another name", key=True)
    if isinstance(step.model, AirflowStep):
        yield from _check_retry(draft, step.model, (*path, "retry"))
    operator = body.get("operator")
    if not isinstance(operator, str) or not re.fullmatch(CLASS_PATH, operator):
        return
    try:
        found = find_operator(operator)
    except OperatorRefused as refused:
        yield document.problem((*here, "operator"), refused.what, refused.remedy, suggestion=refused.suggestion)
        return
    if isinstance(arguments, dict):
        yield from _check_arguments(draft, found, arguments, here)


def _check_arguments(draft: Draft, operator: type[Any], given: Mapping[str, Any], here: Path) -> Iterator[Problem]:
    document, takes = draft.document, signature_of(operator)
    meant: set[str] = set()
    for name in given:
        instead = is_not_for_templates(name)
        if instead:
            what = f"the argument {name!r} is not for templates"
            yield document.problem((*here, "arguments", name), what, instead, key=True)
        elif name not in takes.names:
            close = closest(name, [one for one in takes.names if not is_not_for_templates(one)])
            meant.add(close)
            known = [one for one in takes.names if not is_not_for_templates(one)]
            remedy = "correct it" if close else f"known are {listed(known)}" if known else "remove it"
            what = f"{operator.__name__} takes no argument {name!r}"
            yield document.problem((*here, "arguments", name), what, remedy, suggestion=close, key=True)
    at = (*here, "arguments") if "arguments" in document.get(here) else (*here, "operator")
    for name in takes.required:
        if is_not_for_templates(name):
            what = f"{operator.__name__} needs {name!r}, which no template can give"
            yield document.problem((*here, "operator"), what, "choose another operator")
        elif name not in given and name not in meant:
            what = f"{operator.__name__} needs the argument {name!r}"
            yield document.problem(at, what, f"add {name}: below arguments", key=True)


def _check_retry(draft: Draft, step: AirflowStep, path: Path) -> Iterator[Problem]:
    if len(step.retry) > 1:
        what = "an operator of Airflow can have one rule"
        yield draft.document.problem((*path, 1), what, "write one rule, on: [failed]")
    for index, rule in enumerate(step.retry):
        for position, kind in enumerate(rule.on):
            if kind != "failed":
                what = f"of an operator of Airflow nobody can tell that it is {kind!r}"
                yield draft.document.problem((*path, index, "on", position), what, "write on: [failed]")
