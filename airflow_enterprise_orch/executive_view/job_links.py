"""Ways from a remote job to where its own system shows it: z/OSMF, Control-M's pages, SAP's, a container console.

Which pages a company has, and where, only the company knows: it says so in the setting ``job_links``, by connection.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_enterprise_orch.settings import JOB_LINKS, SECTION, setting

if TYPE_CHECKING:
    from airflow_enterprise_orch.executive_view.answers_instance import RemoteJob, StepJobs
    from airflow_enterprise_orch.executive_view.pictures import Picture

FIELDS = ("{job_id}", "{job_name}")
SCHEMES = ("https://", "http://")

log = logging.getLogger(__name__)


def with_links(steps: Sequence[StepJobs], picture: Picture) -> list[StepJobs]:
    """Return the jobs of an instance, each with its link where there is one."""
    templates = _templates(setting(JOB_LINKS))
    if not templates:
        return list(steps)
    return [
        told.model_copy(update={"jobs": [_linked(one, template) for one in told.jobs]})
        if (template := templates.get(_connection(picture, told.task_id)))
        else told
        for told in steps
    ]


def _connection(picture: Picture, task_id: str) -> str:
    """Return the connection that a task uses; the undoing of a step can have another one."""
    step = picture.by_id.get(picture.of_task.get(task_id, ""))
    if step is None:
        return ""
    if step.undone_by and step.undone_by == task_id:
        return str(step.raw.get("undo", {}).get("connection", ""))
    return step.connection


def _linked(job: RemoteJob, template: str) -> RemoteJob:
    if not job.job_id:
        return job
    values = zip(FIELDS, (job.job_id, job.job_name or ""), strict=True)
    link = template
    for name, value in values:
        link = link.replace(name, quote(value, safe=""))
    return job.model_copy(update={"link": link})


@lru_cache(maxsize=4)
def _templates(text: str) -> Mapping[str, str]:
    """Read the setting; what cannot be read is said once, and links nowhere."""
    if not text:
        return {}
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise TypeError("it is no object")
        for connection, template in found.items():
            # Nothing else may become a link: the browser would run a "javascript:".
            if not isinstance(template, str) or not template.startswith(SCHEMES):
                raise ValueError(f"{connection}: it must begin with https:// or http://")
    except (TypeError, ValueError) as error:
        log.warning(
            'no remote job has a link: [%s] %s is no JSON object like {"zos_prod": "https://host/jobs/{job_id}"}: %s',
            SECTION,
            JOB_LINKS,
            error,
        )
        return {}
    return found
