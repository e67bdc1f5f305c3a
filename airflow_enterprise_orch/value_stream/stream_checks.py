"""What must hold for a step that is another value stream, as far as its own template tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_enterprise_orch.restricted_jinja import texts
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model_types import STREAM_FACTS
from airflow_enterprise_orch.value_stream.problems import Path, Problem
from airflow_enterprise_orch.value_stream.templating import check_text


def check_stream(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the step that stands at ``path``; what the other stream takes and leaves, ``neighbours`` checks."""
    document = draft.document
    here = (*path, "stream")
    params = document.get((*here, "params"))
    for name, value in params.items() if isinstance(params, dict) else ():
        if not _is_value(value):
            remedy = "write a text, a number, true or false, or a list of them"
            yield document.problem((*here, "params", name), f"no param takes {kind_of(value)}", remedy)
            continue
        for below, jinja in texts(value):
            yield from check_text(draft, step.id, (*here, "params", name, *below), jinja)
    if document.get((*here, "run")) == document.get(("value_stream",)) is not None:
        what = "the stream would start itself, again and again"
        yield document.problem((*here, "run"), what, "name another stream")
    outputs = document.get((*path, "outputs"))
    for name in outputs if isinstance(outputs, dict) else ():
        if name in STREAM_FACTS:
            what = f"every step that runs a stream leaves a value {name!r} already"
            yield document.problem((*path, "outputs", name), what, "choose another name", key=True)


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, (str, int, float, bool)) for one in value)
    return isinstance(value, (str, int, float, bool))
