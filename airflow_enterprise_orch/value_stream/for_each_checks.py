"""What must hold for a step that does its work for each item of a list."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_enterprise_orch.restricted_jinja import ITEM, inspect, texts
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest


def check_for_each(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the ``for_each`` of the step that stands at ``path``, and who reads ``item``."""
    document, here = draft.document, (*path, "for_each")
    body = document.get(here)
    if not isinstance(body, dict):
        return
    item, most = body.get("item"), body.get("max")
    if isinstance(item, str):
        yield from _check_list(draft, (*here, "item"), item, most if isinstance(most, int) else None)
    if document.get((*path, "outputs")):
        what = "no later step can read an output of one item"
        yield document.problem((*path, "outputs"), what, "remove outputs; steps.<step>.count tells how many", key=True)
    work = document.get((*path, step.type))
    read = {reference.path[0] for _, text in texts(work) for reference in inspect(text)[0]}
    if isinstance(work, dict) and ITEM not in read:
        what = "nothing in the work reads {{ item }}, so each job would be the same"
        yield document.problem(here, what, "use {{ item }} in the work, or remove for_each", key=True)


def _check_list(draft: Draft, path: Path, item: str, most: int | None) -> Iterator[Problem]:
    name = item.removeprefix("params.")
    kind = draft.params.get(name)
    lists = sorted(f"params.{param}" for param, of in draft.params.items() if of == "list")
    if not item.startswith("params.") or "." in name:
        close = f"params.{item}" if f"params.{item}" in lists else closest(item, lists)
        yield draft.document.problem(path, f"{item!r} names no list", "write params.<param>", suggestion=close)
        return
    if kind is None:
        remedy = "name a param of type list" if lists else "declare one: {type: list, items: string}"
        yield draft.document.problem(path, f"there is no param {name!r}", remedy, suggestion=closest(item, lists))
    elif kind not in ("list", "dyn"):
        remedy = "name a param of type list"
        yield draft.document.problem(path, f"param {name!r} is no list", remedy, suggestion=closest(item, lists))
    default = draft.document.get(("params", name, "default"))
    if isinstance(default, list) and most is not None and len(default) > most:
        what = f"the default of {name!r} has {len(default)} items, more than max {most}"
        yield draft.document.problem(path, what, "correct one of them")
