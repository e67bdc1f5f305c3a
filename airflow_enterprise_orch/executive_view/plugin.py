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
    from starlette.types import Receive, Scope, Send

PREFIX = "/enterprise-orch"


class LazyApp:
    """An ASGI application that is built when the first request comes: only the API server pays for it."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._app is None:
            from airflow_enterprise_orch.executive_view.api import make_app

            pages.tell_when_missing()
            self._app = make_app()
        await self._app(scope, receive, send)


class LazyTimetables(list[type]):
    """Our timetables, imported when Airflow first asks for them: where a task starts nobody does."""

    def __iter__(self) -> Iterator[type]:
        """Yield each."""
        from airflow_enterprise_orch.value_stream.timetable import WorkingDayTimetable

        yield WorkingDayTimetable


class EnterpriseOrchPlugin(AirflowPlugin):
    """Registered by the entry point ``airflow.plugins``."""

    name = "enterprise_orch"
    # The files first: whoever mounts the shorter address first never hears of the longer one.
    fastapi_apps = [  # noqa: RUF012
        {"app": pages.StaticApp(), "url_prefix": f"{PREFIX}/static", "name": "Enterprise orchestration, pages"},
        {"app": LazyApp(), "url_prefix": PREFIX, "name": "Enterprise orchestration"},
    ]
    react_apps = pages.react_apps(PREFIX)
    timetables = LazyTimetables()
    deadline_references = [DueReference]  # noqa: RUF012

    @classmethod
    def on_load(cls, *_args: Any, **_kwargs: Any) -> None:
        """Import once what each process that is forked from this one would import for itself.

        No listener's ``on_starting``: where there is a listener, Airflow refuses DAGs whose triggers end their tasks.
        """
        preload.preload()
