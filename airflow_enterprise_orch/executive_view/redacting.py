"""What a viewer is not told of instances that they may see.

Three things are in an instance and are not its own: another stream that a step runs or waits for, which the viewer may
not see; what steps left, which in Airflow are XComs; and what people were asked, which in Airflow are its Required
Actions. Each has a permission of its own in Airflow, and whoever lacks it is told here that there is something, and not
what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

from airflow_enterprise_orch.executive_view.answers_instance import RemoteJob, StepJobs
from airflow_enterprise_orch.value_stream.airflow_streams import STARTED_BY, AirflowStreams

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_enterprise_orch.executive_view.access import Viewer
    from airflow_enterprise_orch.executive_view.airflow_details import Details
    from airflow_enterprise_orch.executive_view.answers import Event
    from airflow_enterprise_orch.executive_view.pictures import Picture

ANOTHER = "another stream that you may not see"
OTHER_STREAM = frozenset({"stream", "wait_for"})
"""The kinds of steps that run or wait for another stream."""
QUESTIONS = frozenset({"asked", "parked", "answered"})
"""The kinds of events that tell what people were asked."""


@dataclass(frozen=True)
class Sight:
    """What a viewer may see within the instances of one stream.

    :param streams: the ids of all streams that they may see.
    :param values: whether they may see what steps left.
    :param questions: whether they may see what people were asked.
    """

    streams: frozenset[str]
    values: bool = True
    questions: bool = True

    def hides(self, picture: Picture, step: str) -> bool:
        """Tell whether a step runs or waits for a stream that the viewer may not see."""
        known = picture.by_id.get(step)
        if known is None or known.kind not in OTHER_STREAM:
            return False
        return picture.other_stream(step) not in self.streams

    def reads_hidden(self, picture: Picture, step: str) -> bool:
        """Tell whether a deciding step looks at what is known of a stream that the viewer may not see."""
        known = picture.by_id.get(step)
        if known is None:
            return False
        asked = json.dumps([known.raw.get(part) for part in ("rules", "rows", "inputs")], default=str)
        seen = re.findall(r"steps\.(\w+)\.(\w+)", asked)
        return any(self.hides(picture, other) and name not in _declared(picture, other) for other, name in seen)

    def hides_job(self, system: str, job_name: str | None, picture: Picture, task_id: str) -> bool:
        """Tell whether a job is an instance of a stream that the viewer may not see: its name is that stream."""
        if system != AirflowStreams.identity:
            return False
        return (job_name or picture.other_stream(picture.of_task.get(task_id, ""))) not in self.streams

    def jobs(self, steps: Sequence[StepJobs], picture: Picture) -> list[StepJobs]:
        """Return the jobs of an instance as this viewer is told them."""
        return [
            told.model_copy(update={"jobs": [self._job(one, picture, told.task_id) for one in told.jobs]})
            for told in steps
        ]

    def _job(self, job: RemoteJob, picture: Picture, task_id: str) -> RemoteJob:
        if self.hides_job(job.system, job.job_name, picture, task_id):
            nothing = dict.fromkeys(("key", "job_id", "job_name", "message", "parked", "code", "reason", "link"))
            return job.model_copy(update={**nothing, "system": ANOTHER, "hidden": True})
        return job if self.questions else job.model_copy(update={"parked": None})

    def outputs(self, outputs: Mapping[str, Mapping[str, Any]], picture: Picture) -> dict[str, dict[str, Any]]:
        """Return what steps left, by step; of another stream only what the template says that it takes from there."""
        if not self.values:
            return {}
        told: dict[str, dict[str, Any]] = {}
        for step, left in outputs.items():
            hidden = self.hides(picture, step)
            told[step] = {name: one for name, one in left.items() if not hidden or name in _declared(picture, step)}
        return {step: left for step, left in told.items() if left}

    def params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what an instance was started with; not by which stream, where the viewer may not see that."""
        by = params.get(STARTED_BY)
        seen = isinstance(by, Mapping) and by.get("stream") in self.streams
        return {name: value for name, value in params.items() if name != STARTED_BY or seen}

    def details(self, known: Details, picture: Picture) -> Details:
        """Return what Airflow tells of an instance without the questions that are not this viewer's to read."""
        questions = [
            one
            for one in known.questions
            if self.questions and not self.hides(picture, picture.of_task.get(one.task_id, ""))
        ]
        return replace(known, questions=tuple(questions))

    def event(self, event: Event, picture: Picture) -> Event:
        """Return an event as this viewer is told it."""
        step = event.step.id if event.step is not None else ""
        if event.kind == "sub_stream":
            other = event.after.get("dag_id") if isinstance(event.after, Mapping) else None
            return event if other in self.streams else _without(event, reason=ANOTHER)
        if event.kind in QUESTIONS:
            if self.hides(picture, step):
                return _without(event, reason=ANOTHER)
            return event if self.questions else _without(event)
        if event.kind == "decision" and (not self.values or self.reads_hidden(picture, step)):
            # Which steps came next is no value that a step left; the outputs of a table are.
            return _without(event, after=event.after if isinstance(event.after, list) else None)
        return event


class Sights:
    """What a viewer may see within many streams: asked once for all of them.

    :param of: the ids of the streams that are to be told of.
    """

    def __init__(self, viewer: Viewer, of: Collection[str]) -> None:
        self._streams = viewer.streams
        self._values = viewer.only(DagAccessEntity.XCOM, of)
        self._questions = viewer.only(DagAccessEntity.HITL_DETAIL, of)

    @property
    def rights(self) -> tuple[frozenset[str], ...]:
        """All that decides what they are told."""
        return self._streams, self._values, self._questions

    def of(self, dag_id: str) -> Sight:
        """Return what they may see within one of them."""
        return Sight(self._streams, dag_id in self._values, dag_id in self._questions)


def sight(viewer: Viewer, dag_id: str) -> Sight:
    """Return what a viewer may see within one stream."""
    return Sights(viewer, [dag_id]).of(dag_id)


def _declared(picture: Picture, step: str) -> Collection[str]:
    """Return the values that a template itself takes from the instance of another stream."""
    known = picture.by_id[step]
    return known.raw.get("outputs", {}) if known.kind == "stream" else ()


def _without(event: Event, *, reason: str | None = None, after: Any = None) -> Event:
    return event.model_copy(update={"before": None, "after": after, "reason": reason})
