"""The pages of the executive view: what the host is told of them, how their files are served, and how heavy they are.

How a user would notice that it is fake: the navigation item leads to nothing, a new version is never loaded, or the
page takes seconds to appear.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
from pathlib import Path

import httpx
import pytest

from airflow_enterprise_orch.executive_view import pages
from airflow_enterprise_orch.executive_view.plugin import EnterpriseOrchPlugin

BUDGET = {"first paint": 60_000, "graph": 75_000, "charts": 35_000, "all": 180_000}
"""Bytes, compressed."""


def ask(app: pages.StaticApp, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture(scope="module")
def room(root: Path) -> Path:
    return root / "plugins" / "executive_view_ui"


def test_the_host_finds_every_component_by_the_name_that_it_was_told(room: Path):
    source = (room / "src" / "names.ts").read_text()
    names = set(re.findall(r'^export const \w+ = "([^"/]+)";$', source, re.MULTILINE))
    assert {app["name"] for app in EnterpriseOrchPlugin.react_apps} == names
    (route,) = (app["url_route"] for app in EnterpriseOrchPlugin.react_apps if app["destination"] == "nav")
    assert f'"/plugin/{route}"' in source


def test_the_pages_stand_in_the_navigation_a_dag_a_run_and_the_home_page():
    assert [app["destination"] for app in EnterpriseOrchPlugin.react_apps] == ["nav", "dag", "dag_run", "dashboard"]
    assert len({app["url_route"] for app in EnterpriseOrchPlugin.react_apps}) == 4


def test_addresses_are_relative_so_that_they_hold_below_any_base_path():
    for app in EnterpriseOrchPlugin.react_apps:
        for name in ("bundle_url", "icon", "icon_dark_mode"):
            assert app[name].startswith("enterprise-orch/static/")
            assert (pages.STATIC / app[name].removeprefix("enterprise-orch/static/")).is_file()


# Airflow's API, which the plugin's application is made of, imports Starlette's test client.
@pytest.mark.filterwarnings("ignore:Using `httpx` with `starlette.testclient`")
def test_the_files_are_mounted_before_the_api_which_would_swallow_their_address():
    assert [app["url_prefix"] for app in EnterpriseOrchPlugin.fastapi_apps] == [
        "/enterprise-orch/static",
        "/enterprise-orch",
    ]


def test_without_a_bundle_nothing_is_registered_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert pages.react_apps("/enterprise-orch", tmp_path) == []
    with caplog.at_level(logging.WARNING):
        pages.tell_when_missing(tmp_path)
    assert "not registered" in caplog.text
    assert str(tmp_path / "main.js") in caplog.text
    assert ask(pages.StaticApp(tmp_path), "/main.js").status_code == 404


def test_with_a_bundle_the_log_says_nothing(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        pages.tell_when_missing()
    assert caplog.text == ""


def test_browsers_ask_whether_the_bundle_has_changed_and_keep_what_it_loads():
    app = pages.StaticApp()
    main = ask(app, "/main.js")
    assert main.headers["content-type"].startswith("text/javascript")
    assert main.headers["cache-control"] == "no-cache"
    assert ask(app, "/main.js", {"If-None-Match": main.headers["etag"]}).status_code == 304
    chunk = next((pages.STATIC / "chunks").iterdir()).name
    assert "immutable" in ask(app, f"/chunks/{chunk}").headers["cache-control"]
    assert ask(app, "/../pages.py").status_code == 404
    assert ask(app, "/%2e%2e/pages.py").status_code == 404


def _imports(path: Path) -> set[Path]:
    """Return what a file loads at once, with itself; what it loads later is not part of it."""
    found, ahead = set(), [path]
    while ahead:
        here = ahead.pop().resolve()
        if here in found:
            continue
        found.add(here)
        names = re.findall(r'(?:import|from)\s*["\'`](\.[^"\'`]+\.js)["\'`]', here.read_text())
        ahead += [here.parent / name for name in names]
    return found


def _weight(paths: set[Path]) -> int:
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths)


def test_the_bundle_is_within_its_budget():
    def chunk(name: str) -> Path:
        (found,) = (pages.STATIC / "chunks").glob(f"{name}-*.js")
        return found

    # Named by chance after one of the modules in it, so it is known by what it says.
    (charts,) = (path for path in (pages.STATIC / "chunks").iterdir() if "On time by day" in path.read_text())
    first = _imports(pages.STATIC / "main.js") | _imports(chunk("app"))
    weights = {
        "first paint": _weight(first),
        "graph": _weight(_imports(chunk("instance")) - first),
        "charts": _weight(_imports(charts) - _imports(pages.STATIC / "main.js")),
        "all": _weight(set(pages.STATIC.rglob("*.js"))),
    }
    assert not {name: weight for name, weight in weights.items() if weight > BUDGET[name]}
    # Had the host's copies been built in, this would be React alone.
    assert "react.production" not in "".join(path.read_text() for path in pages.STATIC.rglob("*.js"))


def test_what_was_built_names_no_place_of_the_machine_that_built_it(root: Path):
    for path in pages.STATIC.rglob("*.js"):
        assert str(root) not in path.read_text()


def test_no_effect_hands_on_what_it_calls(room: Path):
    """React takes what an effect returns for a function to clean up with.

    Newer browsers answer ``scrollTo`` with a promise. What a clean-up throws when the host takes our page away reaches
    the host, whose page then is an error: no boundary of ours is left to catch it.
    """
    for path in (room / "src").rglob("*.tsx"):
        assert not re.search(r"Effect\(\(\) => [^{\s]", path.read_text()), path.name


def test_the_lock_file_names_no_address_to_download_from(room: Path):
    lock = json.loads((room / "package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or "integrity" in package, name


def test_airflow_imports_nothing_of_the_front_ends_folder(room: Path):
    patterns = (room.parent / ".airflowignore").read_text().splitlines()
    assert "*" in patterns
    assert ".*" in patterns
