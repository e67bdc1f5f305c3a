"""The Jinja of a template, checked when it loads: only names that exist, only values that are there by then."""

from __future__ import annotations

from airflow_enterprise_orch.restricted_jinja import BUSINESS_NAMES, ITEM, inspect
from airflow_enterprise_orch.value_stream.draft import Draft
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed
from airflow_enterprise_orch.value_stream.yaml_source import Document


def check_text(
    draft: Draft, step: str | None, path: Path, text: str, document: Document | None = None
) -> list[Problem]:
    """Return what is wrong with the Jinja of a text that stands at ``path``.

    :param step: the step that uses it; None for the business key, which is made before any step runs.
    :param document: the file that it stands in, where that is not the template.
    """
    document = document or draft.document
    references, mistakes = inspect(text)
    problems = [
        document.problem(
            path,
            mistake.what,
            mistake.remedy,
            suggestion=mistake.suggestion,
            at=document.inside(path, mistake.line, mistake.column),
        )
        for mistake in mistakes
    ]
    for reference in references:
        found = _mistake(draft, step, reference.path)
        if found is not None:
            what, suggestion, remedy = found
            at = document.inside(path, reference.line, reference.column)
            problems.append(document.problem(path, what, remedy, suggestion=suggestion, at=at))
    return problems


def _mistake(draft: Draft, step: str | None, parts: tuple[str, ...]) -> tuple[str, str, str] | None:
    root = parts[0]
    if step is None and root in ("steps", "business"):
        return f"the business key cannot read {root!r}", "", "it is made when the run starts: use params and dates"
    if root == ITEM and (step is None or draft.document.get(("steps", step, "for_each")) is None):
        return "there is no item here", "", "only the work of a step with for_each has one"
    if root in ("params", "steps"):
        return draft.name_mistake(step or "", parts)
    if root == "business":
        if len(parts) == 1:
            return "'business' is a group of values", "", f"name one of them: {listed(BUSINESS_NAMES, 'or')}"
        if parts[1] not in BUSINESS_NAMES:
            close = closest(parts[1], BUSINESS_NAMES)
            return (
                f"'business' has no {parts[1]!r}",
                close and f"business.{close}",
                f"known are {listed(BUSINESS_NAMES)}",
            )
        parts = parts[1:]
    if len(parts) > 1:
        return f"{parts[0]!r} is a single value and has no {parts[1]!r}", "", "remove what follows the name"
    return None
