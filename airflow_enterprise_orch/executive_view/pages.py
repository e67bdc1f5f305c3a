"""The pages of the executive view within Airflow's own: what the host is told of them, and the files that it loads.

The front end (``plugins/executive_view_ui``) is built into ``static/`` when the package is built or installed. Without
it nothing is registered: the rest of Airflow, and our API, are as they would be.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

STATIC = Path(__file__).parent / "static"
BUNDLE = "main.js"
MISSING = (
    "The pages of the executive view are not registered: %s is missing. "
    "Install a built package, or run `make dev` in a checkout."
)

log = logging.getLogger(__name__)


def is_built(static: Path = STATIC) -> bool:
    """Tell whether there are pages."""
    return (static / BUNDLE).is_file()


def react_apps(prefix: str, static: Path = STATIC) -> list[dict[str, Any]]:
    """Return what Airflow is told: where each part appears. Empty without a bundle.

    The names are those under which the bundle leaves its components (``src/names.ts``). The addresses are relative, so
    that they hold below any base path.
    """
    if not is_built(static):
        return []
    files = f"{prefix.removeprefix('/')}/static"
    shared = {
        "bundle_url": f"{files}/{BUNDLE}",
        "icon": f"{files}/icon.svg",
        "icon_dark_mode": f"{files}/icon-dark.svg",
    }
    return [
        {**shared, "name": "Streams", "url_route": "streams", "destination": "nav", "nav_top_level": True},
        {**shared, "name": "Value stream", "url_route": "value-stream", "destination": "dag"},
        {**shared, "name": "Stream instance", "url_route": "stream-instance", "destination": "dag_run"},
        {**shared, "name": "Streams at a glance", "url_route": "streams-at-a-glance", "destination": "dashboard"},
    ]


def tell_when_missing(static: Path = STATIC) -> None:
    """Log that there are no pages; only the API server asks, once."""
    if not is_built(static):
        log.warning(MISSING, static / BUNDLE)


class StaticApp:
    """Serves the bundle: an ASGI application that is built when the first request comes.

    Browsers ask each time whether ``main.js`` has changed, which costs them an ETag; what it loads carries a hash in
    its name and never changes.
    """

    def __init__(self, static: Path = STATIC) -> None:
        self._static = static
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._app is None:
            self._app = _make_app(self._static)
        await self._app(scope, receive, send)


def _make_app(static: Path) -> ASGIApp:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    class Files(StaticFiles):
        def file_response(
            self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
        ) -> Response:
            response = super().file_response(full_path, stat_result, scope, status_code)
            hashed = Path(full_path).parent.name == "chunks"
            response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if hashed else "no-cache"
            response.headers["X-Content-Type-Options"] = "nosniff"
            return response

    return Starlette(routes=[Mount("/", Files(directory=static, check_dir=False))])
