"""A stream's DAG, planned: all that compiling a template found out, as plain JSON that becomes a DAG at once.

Airflow imports the DAG file anew whenever a worker starts a task. To read the template there again would mean its
schema, its conditions and their compiler: some 0.2 CPU seconds more for every task than the task itself needs. So the
DAG processor, which compiles each template anyway, leaves the plan beside the template (:func:`keep`), and the workers
build the DAG from that (:func:`kept`). A plan counts for exactly the text, the files beside it and the version of this
package that it was made from; without one that counts the template is compiled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk import DAG, Asset, AssetAll, AssetAny, CronTriggerTimetable, Param, TaskGroup
from airflow.sdk.definitions.param import ParamsDict

from airflow_enterprise_orch import __version__
from airflow_enterprise_orch.delegation.system import resolve
from airflow_enterprise_orch.value_stream.beside import unchanged
from airflow_enterprise_orch.value_stream.writing import FLAGS, write_all

if TYPE_CHECKING:
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings

log = logging.getLogger(__name__)

PLAN_VERSION = 7
EMPTY = "airflow.providers.standard.operators.empty:EmptyOperator"

SCHEDULED_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
"""Airflow wants a first day for a schedule; with ``catchup`` off, no day before the present is made up for."""


STOPPED_RUNS = ("scheduled", "operator_triggered")
"""What may still start a stream that is served for its running instances: nothing but a step of another one, which
began when it was there; its timetable starts nothing. Airflow refuses all else."""


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task.

    :param operator: dotted path ``module:Class``.
    :param arguments: of the operator; JSON.
    :param delegated: it is a step of a connected system, made by ``from_step``.
    :param retry_delay: seconds; None for the operator's own.
    :param upstream: the tasks that it waits for.
    :param each: the task whose list it is done for, item by item; "" for a task that is done once.
    :param publishes: names of assets of which its success is an event.
    :param group: the group that it stands in; "" for none.
    :param undoes: the step whose work it undoes; "" for other tasks.
    :param guards: the steps before it that something can undo; it does not run on work that was undone.
    """

    task_id: str
    operator: str
    arguments: Mapping[str, Any]
    delegated: bool = False
    retry_delay: float | None = None
    upstream: tuple[str, ...] = ()
    each: str = ""
    publishes: tuple[str, ...] = ()
    group: str = ""
    undoes: str = ""
    guards: tuple[str, ...] = ()

    def make(self, dag: DAG, watched: Mapping[str, Any], group: TaskGroup | None = None, *, noted: bool = False) -> Any:
        """Return the operator, as a task of ``dag``.

        :param watched: its callbacks; a task that no worker runs has none.
        :param noted: the jobs of connected systems are noted, for the alert that something is late.
        """
        operator: Any = resolve(self.operator)
        delay = {} if self.retry_delay is None else {"retry_delay": timedelta(seconds=self.retry_delay)}
        maker = operator.from_step if self.delegated else operator
        hooks = self._hooks()
        outlets = {"outlets": [Asset(name) for name in self.publishes]} if self.publishes else {}
        callbacks = watched if self.operator != EMPTY else {}
        # Entered, because not every system's ``from_step`` hands a group on.
        with group or nullcontext():
            if self.each:
                if noted:
                    operator = import_module("airflow_enterprise_orch.value_stream.each_noted").EachNoted
                given = {**delay, **callbacks, **hooks, **self.arguments}
                return operator.for_each(dag, self.each, task_id=self.task_id, **given)
            made = maker(task_id=self.task_id, dag=dag, **delay, **outlets, **callbacks, **hooks, **self.arguments)
        if noted and self.delegated:
            import_module("airflow_enterprise_orch.value_stream.watch_plan").noting_its_job(made)
        return made

    def _hooks(self) -> dict[str, Any]:
        """Return what runs before and after the task; nothing in a stream that undoes nothing."""
        if not self.undoes and not self.guards:
            return {}
        compensating = import_module("airflow_enterprise_orch.value_stream.compensating")
        if self.undoes:
            return {
                "pre_execute": compensating.BeforeUndoing(self.undoes),
                "post_execute": compensating.AfterUndoing(self.undoes),
            }
        return {"pre_execute": compensating.RefuseUndone(self.guards)}


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """One group of tasks.

    :param parent: the group that it stands in; "" for none.
    """

    group_id: str
    title: str = ""
    parent: str = ""


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """One stream.

    :param dag: arguments of the DAG; JSON.
    :param params: by name the arguments of each ``Param``; JSON.
    :param schedule: see ``schedule.planned``; None without; ``{"stopped": why}`` where nothing is started any more.
    :param tasks: each after those that it waits for.
    :param seen: the files beside the template that it was made of too, see ``beside.unchanged``.
    :param groups: each after the one that it stands in.
    :param watch: its due times and alerts, as :func:`~.watch_plan.plan_watch` made them; None without any.
    """

    dag: Mapping[str, Any]
    params: Mapping[str, Mapping[str, Any]]
    schedule: Mapping[str, Any] | None
    tasks: tuple[TaskPlan, ...]
    seen: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[GroupPlan, ...] = ()
    watch: Mapping[str, Any] | None = None

    def build(self) -> DAG:
        """Make the DAG."""
        due, watched, noted = self._watched()
        dag = DAG(
            **_scheduled(self.schedule, self.dag["dag_id"]),
            auto_register=False,
            **self.dag,
            **due,
        )
        groups: dict[str, TaskGroup] = {}
        for group in self.groups:
            # Without the prefix: a task keeps its id, and with it its history, when it is put into a group.
            groups[group.group_id] = TaskGroup(
                group.group_id,
                group_display_name=group.title,
                prefix_group_id=False,
                parent_group=groups.get(group.parent, dag.task_group),
                dag=dag,
            )
        for task in self.tasks:
            made = task.make(dag, watched, groups.get(task.group), noted=noted)
            for upstream in task.upstream:
                # What set_downstream does where both are known to be tasks of this DAG.
                dag.get_task(upstream).downstream_task_ids.add(task.task_id)
                made.upstream_task_ids.add(upstream)
        # Only now: Airflow would copy them for every task, which took half of the time.
        dag.params = ParamsDict({name: Param(**param) for name, param in self.params.items()})
        return dag

    def _watched(self) -> tuple[dict[str, Any], dict[str, Any], bool]:
        """Return what due times and alerts add to the DAG's arguments and the tasks', and whether jobs are noted."""
        if self.watch is None:
            return {}, {}, False
        from airflow_enterprise_orch.value_stream import watch_plan

        own, of_tasks = watch_plan.dag_arguments(self.watch), watch_plan.task_arguments(self.watch)
        return own, of_tasks, watch_plan.notes_jobs(self.watch)

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON form; what it holds is JSON already, and is not copied."""
        own = _fields(self)
        return {**own, "tasks": [_fields(task) for task in self.tasks], "groups": [_fields(one) for one in self.groups]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StreamPlan:
        """Read the plain JSON form."""
        lists = ("upstream", "publishes", "guards")
        tasks = tuple(TaskPlan(**{**task, **{name: tuple(task[name]) for name in lists}}) for task in data["tasks"])
        groups = tuple(GroupPlan(**group) for group in data["groups"])
        return cls(data["dag"], data["params"], data["schedule"], tasks, data["seen"], groups, data["watch"])


def _fields(part: Any) -> dict[str, Any]:
    return {name: getattr(part, name) for name in part.__slots__}


def _scheduled(schedule: Mapping[str, Any] | None, stream: str) -> dict[str, Any]:
    """Return the DAG's arguments that say when it runs by itself."""
    if schedule is None:
        return {"schedule": None, "start_date": None, "catchup": False}
    if "stopped" in schedule:
        from airflow_enterprise_orch.value_stream.timetable import NoMoreRuns

        nothing: Any = NoMoreRuns(schedule["stopped"])
        return {"schedule": nothing, "start_date": None, "catchup": False, "allowed_run_types": STOPPED_RUNS}
    if "assets" in schedule:
        # References: whose DAG defines the asset, and with which URI, is its own affair.
        named = [Asset.ref(uri=one) if "://" in one else Asset.ref(name=one) for one in schedule["assets"]]
        condition = AssetAny(*named) if schedule["match"] == "any" else AssetAll(*named)
        return {"schedule": condition, "start_date": None, "catchup": False}
    if "file_arrival" in schedule:
        from airflow_enterprise_orch.value_stream.file_arrival import watched_asset

        return {"schedule": [watched_asset(stream, schedule["file_arrival"])], "start_date": None, "catchup": False}
    if "recurrence" in schedule:
        # Only where it is needed: it brings Airflow's core, which a worker can do without.
        from airflow_enterprise_orch.value_stream.recurrence import Recurrence
        from airflow_enterprise_orch.value_stream.timetable import WorkingDayTimetable

        recurrence, catch_up = Recurrence.from_json(schedule["recurrence"]), schedule["catch_up"]
        timetable: Any = WorkingDayTimetable(recurrence, catch_up)
        return {"schedule": timetable, "start_date": recurrence.start, "catchup": catch_up == "all"}
    start = SCHEDULED_SINCE
    if "since" in schedule:
        start = datetime.combine(date.fromisoformat(schedule["since"]), time.min, ZoneInfo(schedule["timezone"]))
    timetable = CronTriggerTimetable(schedule["cron"], timezone=schedule["timezone"])
    return {"schedule": timetable, "start_date": start.astimezone(UTC), "catchup": schedule["all"]}


def beside_template(template: Path) -> Path:
    """Return where the plan of a template in a snapshot lies."""
    return template.with_name(f".{template.name}.plan.json")


def keep(
    plan: StreamPlan,
    place: Path | None,
    text: bytes,
    *,
    name: str,
    surroundings: Surroundings | None = None,
) -> bool:
    """Write the plan for those who build the DAG after us, unless it is there; return whether it is there now.

    :param place: the file; None when there is no place for it.
    :param text: what was compiled.
    :param surroundings: the profiles and shared files that the template could use; what was looked at is written down.
    """
    made = {**_origin(text, name), "plan": plan.to_json()}
    if surroundings is not None and surroundings.looked_at:
        made["used"] = {
            "files": dict(sorted(surroundings.looked_at.items())),
            "profile": surroundings.profile if surroundings.values_wanted else None,
        }
    if place is None:
        return False
    # Not at the top: only who compiled writes plans, and has it; a worker does without.
    from pydantic_core import PydanticSerializationError, to_json

    try:
        data = to_json(made)
    except PydanticSerializationError:  # the name of a file or a folder need be no text
        data = json.dumps(made).encode()
    if _holds(place, data):
        return True
    # Replaced in one step: a worker never reads half of it. Nobody else makes this name: there is one process of each
    # number on a machine, and the folder belongs to one machine or, in a store that several share, to a snapshot.
    # Texts and handles instead of paths and files, which took more time than the disk.
    folder, file = os.path.split(place)
    new = os.path.join(folder, f".new-{os.uname().nodename}-{os.getpid()}-{file}")  # noqa: PTH118
    try:
        handle = os.open(new, FLAGS | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        return _not_kept(place, error)
    try:
        try:
            os.fchmod(handle, 0o644)  # whatever the umask: workers may have another account
            write_all(handle, data)
        finally:
            os.close(handle)
        os.replace(new, place)  # noqa: PTH105
    except BaseException as error:
        Path(new).unlink(missing_ok=True)
        if isinstance(error, OSError):
            return _not_kept(place, error)
        raise
    return True


def _not_kept(place: Path, error: OSError) -> bool:
    """A plan saves time and nothing else: a disk that is full, or not ours to write, is no mistake of the template."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        log.warning("%s: the plan cannot be written (%s); each task start compiles the template", place, error)
    return False


def _holds(place: Path, data: bytes) -> bool:
    try:
        handle = os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        return False
    with os.fdopen(handle, "rb", buffering=0) as file:
        return file.read(len(data) + 1) == data  # of a part of it, it is written anew


def kept(
    place: Path | None,
    text: bytes,
    *,
    name: str,
    folder: Path,
    surroundings: Callable[[], Surroundings] | None = None,
) -> StreamPlan | None:
    """Return the plan that was kept; None when there is none, or it was made from something else.

    :param place: the file; None when there is no place for it.
    :param folder: the folder of all templates, or the snapshot: the calendars and tables below it must be as they were.
    :param surroundings: returns what the template can use now; asked only when the plan was made from such files.
    """
    data = _read(place) if place is not None else None
    if data is None or {key: data[key] for key in data if key not in ("plan", "used")} != _origin(text, name):
        return None
    used = data.get("used")
    if used is not None and (surroundings is None or not surroundings().unchanged(used["files"], used["profile"])):
        return None
    found = StreamPlan.from_json(data["plan"])
    return found if unchanged(folder.absolute(), found.seen) else None


def seen_by(place: Path) -> Mapping[str, str] | None:
    """Return the files that a kept plan was made of, see ``beside.unchanged``; None where no plan is kept."""
    data = _read(place)
    seen: Mapping[str, str] | None = data["plan"]["seen"] if data is not None else None
    return seen


def is_right(place: Path) -> bool:
    """Tell whether a plan is kept that this version of the package made: then its template is right."""
    data = _read(place)
    return data is not None and (data.get("version"), data.get("package")) == (PLAN_VERSION, __version__)


def _read(place: Path) -> dict[str, Any] | None:
    """Return what a file of a plan holds; None where there is no plan, or what a full disk left of one."""
    try:
        data = json.loads(place.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: the plan cannot be read (%s); the template is compiled", place, error)
        return None
    return data if isinstance(data, dict) and isinstance(data.get("plan"), dict) else None


def _origin(text: bytes, name: str) -> dict[str, Any]:
    """Return what a plan is made from; it counts as long as this is the same."""
    return {
        "version": PLAN_VERSION,
        "package": __version__,
        "text": hashlib.sha256(text).hexdigest(),
        "name": name,
    }
