"""What is served on for its running instances: a stream whose template was taken away, or is wrong now.

Airflow moves the instances of a DAG only as long as its file gives that DAG. So the bundle goes on to give it, from the
last snapshot in which the template was right, and unchanged but for this: nothing starts it any more, except a step of
another stream whose instance began when it was there, and title, tags and documentation say why. Its instances keep the
version that they began with; what is wrong with an edit is an import error of a file of its own, :data:`EDITS_FILE`,
because Airflow would set all DAGs of a file with an import error aside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from airflow.sdk import get_parsing_context

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.loader import reject_template, template_dag
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.plan import StreamPlan, beside_template, is_right

INDEX, LAST = "index.json", "last.json"
"""In a snapshot: what is in it; and by stream where a template that may be wrong was last right."""
EDITS_FILE = "broken-edits.py"
"""The file of a snapshot whose import error says what is wrong with edited templates. No stream's id has a hyphen."""
MOST_LOOKED_AT = 20
"""How many templates of which nobody knows whether they are right that file compiles; others' files do, soon."""
PICTURE = "doc_json"

log = logging.getLogger(__name__)


class Why(StrEnum):
    """Why a stream is served for its running instances only."""

    REMOVED = "removed"
    EDITED = "edited"
    TWICE = "twice"


_SAID: Mapping[Why, str] = {
    Why.REMOVED: "its template was taken away on {day}",
    Why.EDITED: "its template was edited and is wrong now, see the import errors",
    Why.TWICE: "several templates declare it, see the import errors",
}
_TITLES: Mapping[Why, str] = {Why.REMOVED: "removed", Why.EDITED: "broken edit", Why.TWICE: "declared twice"}
_TAGS: Mapping[Why, str] = {Why.REMOVED: "removed", Why.EDITED: "broken-edit", Why.TWICE: "broken-edit"}


def stop(why: Why, day: str = "") -> Callable[[StreamPlan], StreamPlan]:
    """Return what makes of a stream's plan that of one which nothing starts any more.

    :param day: on which the template was taken away.
    """
    said = _SAID[why].format(day=day)

    def stopped(plan: StreamPlan) -> StreamPlan:
        dag = plan.dag
        heading, between, rest = dag["doc_md"].partition("\n\n")
        notice = f"**No instance is started: {said}.** It is here for its running instances, which go on as they began."
        changed = {
            **dag,
            "dag_display_name": f"{dag['dag_display_name']} ({_TITLES[why]})",
            "tags": sorted({*dag["tags"], _TAGS[why]}),
            "doc_md": f"{heading}{between}{notice}\n\n{rest}",
        }
        first = plan.tasks[0]
        picture = json.loads(first.arguments[PICTURE])
        picture.pop("schedule", None)
        if why is Why.REMOVED:
            picture["removed"] = day
        drawn = json.dumps(picture, sort_keys=True, separators=(",", ":"))
        first = replace(first, arguments={**first.arguments, PICTURE: drawn})
        return replace(
            plan, dag=changed, schedule={"stopped": f"Starts nothing: {said}"}, tasks=(first, *plan.tasks[1:])
        )

    return stopped


def serve_on(
    snapshot: Path, namespace: MutableMapping[str, Any], *, stream: str, version: str, why: str, day: str
) -> None:
    """Put the DAG of a stream that is gone into ``namespace``, as it was in an earlier snapshot.

    A template that cannot be read any more is told loudly, as an import error: its running instances cannot go on.

    :param snapshot: the folder of the DAG file.
    :param version: the snapshot in which the template was last right.
    :param why: see :class:`Why`.
    :param day: on which it went.
    """
    try:
        dag = _dag_in(snapshot.with_name(version), stream, Why(why), day)
    except TemplateError as error:
        what = f"{_SAID[Why(why)].format(day=day)}, and what it was cannot be read any more: its running instances wait"
        log.exception("%s: %s", stream, what)
        message = f"{error}\n{stream}: {what}; put a right template of it back, or end them"
        reject_template(message, namespace, stream=stream)
    else:
        namespace[dag.dag_id] = dag


def serve_last_good(template: Path, namespace: MutableMapping[str, Any]) -> bool:
    """Put the DAG of a template that is wrong into ``namespace`` as it was when it was last right.

    :return: False where it never was, or what it was cannot be read any more.
    """
    version = _last(template.parent).get(template.stem)
    if version is None:
        return False
    try:
        dag = _dag_in(template.parent.with_name(version), template.stem, Why.EDITED, "")
    except TemplateError:
        log.exception("%s: it was right in snapshot %s, and cannot be read there any more", template.stem, version)
        return False
    namespace[dag.dag_id] = dag
    return True


def report_broken_edits(snapshot: Path, namespace: MutableMapping[str, Any]) -> None:
    """Make the import error of this DAG file what is wrong with templates that are served as they were before."""
    if get_parsing_context().dag_id is not None:
        return  # a task starts: nobody looks at import errors now
    wrong = dict(_wrong(snapshot))
    if not wrong:
        return
    goes_on = "; ".join(sorted(wrong))
    told = f"Running instances of these go on as they began, and no new ones are started until this is right: {goes_on}"
    reject_template("\n".join([*wrong.values(), told]), namespace, stream="broken-edits")


def _wrong(snapshot: Path) -> Iterator[tuple[str, str]]:
    """Yield the streams that are served as they were before, and what is wrong with their templates."""
    unknown = (one for one in sorted(_last(snapshot)) if not is_right(beside_template(snapshot / f"{one}.yaml")))
    for stream in islice(unknown, MOST_LOOKED_AT):
        try:
            _dag_in(snapshot, stream, None, "")
        except TemplateError as error:
            yield stream, str(error)


def _dag_in(snapshot: Path, stream: str, why: Why | None, day: str) -> Any:
    """Return the DAG of a stream as a snapshot has it; :raises TemplateError: when it is wrong or not there."""
    path = snapshot / f"{stream}.yaml"
    with ours_if_unforeseen(path.name):
        index = _json(snapshot / INDEX)
        beside = index.get("beside", {}).get(stream)
        profile, files = (beside["profile"], beside["files"]) if beside is not None else (None, None)
        name = index.get("live", {}).get(stream, path.name)
        return template_dag(path, name, profile, files, stop(why, day) if why is not None else None)


def _last(snapshot: Path) -> Mapping[str, str]:
    return _json(snapshot / LAST)


def _json(path: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return data
