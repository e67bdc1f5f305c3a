"""What Airflow loads of the executive view, in every process: next to nothing, until the API server asks for more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

from airflow_enterprise_orch import preload
from airflow_enterprise_orch.executive_view import pages
from airflow_enterprise_orch.value_stream.deadline import DueReference

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/enterprise-orch"


class LazyApps(list[dict[str, Any]]):
    """Our applications, built when an API server first asks for them: only it pays for them.

    Airflow starts what an application does by itself, the feed, only for one that is FastAPI's own.
    """

    def __init__(self) -> None:
        super().__init__()
        self._app: FastAPI | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield each, the files first: whoever mounts the shorter address first never hears of the longer one."""
        if self._app is None:
            from airflow_enterprise_orch.executive_view.api import make_app
            from airflow_enterprise_orch.executive_view.feed_runner import feeding

            pages.tell_when_missing()
            self._app = make_app()
            self._app.router.lifespan_context = feeding
        yield {"app": pages.StaticApp(), "url_prefix": f"{PREFIX}/static", "name": "Enterprise orchestration, pages"}
        yield {"app": self._app, "url_prefix": PREFIX, "name": "Enterprise orchestration"}


class LazyTimetables(list[type]):
    """Our timetables, imported when Airflow first asks for them: where a task starts nobody does."""

    def __iter__(self) -> Iterator[type]:
        """Yield each."""
        from airflow_enterprise_orch.value_stream.timetable import NoMoreRuns, WorkingDayTimetable

        yield from (WorkingDayTimetable, NoMoreRuns)


class EnterpriseOrchPlugin(AirflowPlugin):
    """Registered by the entry point ``airflow.plugins``."""

    name = "enterprise_orch"
    fastapi_apps = LazyApps()
    react_apps = pages.react_apps(PREFIX)
    timetables = LazyTimetables()
    deadline_references = [DueReference]  # noqa: RUF012

    @classmethod
    def on_load(cls, *_args: Any, **_kwargs: Any) -> None:
        """Import once what each process that is forked from this one would import for itself.

        No listener's ``on_starting``: where there is a listener, Airflow refuses DAGs whose triggers end their tasks.
        """
        preload.preload()
