"""What people did to runs in Airflow's own pages and API, told from Airflow's log of it.

Airflow logs what somebody asks for before it does it, and only what that person may do. What we ourselves do for people
is logged under our own names, and told by whoever does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from airflow_enterprise_orch.executive_view.airflow_tables import from_json
from airflow_enterprise_orch.executive_view.feed_events import Happened, Whose
from airflow_enterprise_orch.executive_view.feed_instance import aware

KINDS: Mapping[str, str] = {
    "clear_dag_run": "cleared",
    "post_clear_task_instances": "cleared",
    "patch_dag_run": "marked",
    "patch_task_instance": "marked",
    "patch_task_group_instances": "marked",
}
"""The events that Airflow logs, by what they are to us."""
SCOPE = ("task_ids", "include_downstream", "include_upstream", "include_future", "include_past", "only_failed")
"""Of what somebody asked for with a clear or a mark, what tells how much of the run it was."""
MOST_TASKS = 50
LONGEST_NOTE = 1000


def acts(logged: Iterable[Any], runs: Mapping[tuple[str, str], Any]) -> Iterator[tuple[Whose, Happened]]:
    """Yield what people did.

    :param logged: entries of Airflow's log.
    :param runs: by stream and run id the runs that Airflow has.
    """
    for entry in logged:
        run = runs.get((entry.dag_id, entry.run_id))
        if run is None or (run.created_at is not None and aware(run.created_at) > aware(entry.dttm)):
            continue  # it was another run of that name
        event = _act(entry)
        if event is not None:
            yield Whose(run.id, entry.dag_id, entry.run_id), event


def _act(entry: Any) -> Happened | None:
    kind = KINDS.get(entry.event)
    if kind is None:
        return None
    told = from_json(entry.extra)
    asked: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    if asked.get("dry_run") is True:
        return None
    after = {name: _short(asked[name]) for name in SCOPE if asked.get(name)}
    if kind == "marked":
        state = asked.get("new_state") or asked.get("state")
        if not state:
            return None  # a note, which changes nothing
        after["state"] = str(state)
    index = entry.map_index if entry.map_index is not None else -1
    reason = str(asked.get("note") or "")[:LONGEST_NOTE] or None
    return Happened(
        kind, aware(entry.dttm), (entry.id,), entry.task_id, index, entry.owner, reason, None, after or None
    )


def _short(value: Any) -> Any:
    return value[:MOST_TASKS] if isinstance(value, list) else value
