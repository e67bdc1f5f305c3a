"""The conditions of a branch: what they can read, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_enterprise_orch.expressions import find_problems
from airflow_enterprise_orch.value_stream.draft import Draft
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.problems import Path, Problem
from airflow_enterprise_orch.value_stream.yaml_source import Document


def condition_variables(stream: ValueStream, step: str) -> dict[str, str]:
    """Return what a condition of ``step`` can read: the params, and the values of all steps before it.

    :return: qualified name (``params.amount``, ``steps.book_order.rc``) to CEL type, sorted.
    """
    found = {f"params.{name}": param.cel_type for name, param in stream.params.items()}
    for name in stream.ancestors(step):
        found |= {f"steps.{name}.{fact}": kind for fact, kind in stream.steps[name].facts.items()}
    return dict(sorted(found.items()))


def check_condition(draft: Draft, step: str, path: Path, text: str) -> list[Problem]:
    """Return what is wrong with a branch condition that stands at ``path``."""
    problems = []
    for error in find_problems(text, draft.variables(step)):
        at = draft.document.inside(path, error.line, error.column)
        what, suggestion, remedy = error.what, error.suggestion, error.remedy
        parts = tuple(error.name.split("."))
        if parts[0] in ("params", "steps"):
            mistake = draft.name_mistake(step, parts)
            if mistake is None:
                # The step itself is broken; what it leaves cannot be told before that is mended.
                continue
            what, suggestion, remedy = mistake
        problems.append(draft.document.problem(path, what, remedy, suggestion=suggestion, at=at))
    return problems


def check_rule(document: Document, path: Path, text: str, variables: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with a condition over a fixed set of variables, such as an outcome rule."""
    return [
        document.problem(
            path,
            error.what,
            error.remedy,
            suggestion=error.suggestion,
            at=document.inside(path, error.line, error.column),
        )
        for error in find_problems(text, variables)
    ]
