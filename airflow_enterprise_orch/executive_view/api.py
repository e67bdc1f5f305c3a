"""The read API as an application that Airflow's API server mounts."""

from __future__ import annotations

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import auth_manager_from_app
from fastapi import FastAPI

from airflow_enterprise_orch.executive_view.action_routes import router as action_router
from airflow_enterprise_orch.executive_view.answering import tell_problems
from airflow_enterprise_orch.executive_view.plugin import PREFIX
from airflow_enterprise_orch.executive_view.routes import router

DESCRIPTION = """How the value streams are: for the pages of the executive view, and for whoever reports on them.

Every answer holds what the user may see by Airflow's own permissions, and nothing else: rows, counts and totals. An
answer has an ETag; given back as `If-None-Match` it saves the answer when nothing changed. Errors are `Problem`s."""


def make_app() -> FastAPI:
    """Return the application that the plugin mounts."""
    app = FastAPI(
        title="Enterprise orchestration",
        description=DESCRIPTION,
        version="1",
        docs_url="/docs",
        openapi_url="/openapi.json",
        servers=[{"url": PREFIX}],
        root_path_in_servers=False,
        generate_unique_id_function=lambda route: route.name,
    )
    # In a mounted application `request.app` is ours and has no auth manager of its own.
    app.dependency_overrides[auth_manager_from_app] = get_auth_manager
    app.include_router(router)
    app.include_router(action_router)
    tell_problems(app)
    return app
