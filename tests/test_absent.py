"""A run on a machine without the real servers must not look like one with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_with_server(number):
    pytest.skip("no server here (apt-get install server)")

def test_without():
    pass
"""


def run(place: Path, root: Path, testers: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-n", testers, "-p", "tests.absent", "-rfE", str(place)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), **more}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("testers", ["0", "1"])
def test_a_run_where_all_must_be_there_fails_for_what_it_skipped(tmp_path: Path, root: Path, testers: str):
    (tmp_path / "test_one.py").write_text("def test_without():\n    pass\n")
    assert run(tmp_path, root, testers, REQUIRE_ALL_SERVERS="1").returncode == 0
    (tmp_path / "test_one.py").write_text(MODULE)
    done = run(tmp_path, root, testers, REQUIRE_ALL_SERVERS="1")
    assert done.returncode == 1
    assert "nothing may be skipped: the run has failed" in done.stdout


@pytest.mark.parametrize("testers", ["0", "1"])
def test_the_end_says_once_what_was_absent(tmp_path: Path, root: Path, testers: str):
    (tmp_path / "test_one.py").write_text(MODULE)
    (tmp_path / "test_two.py").write_text(
        "import pytest\npytest.importorskip('no_such_module_here', reason='no client')\n"
    )
    done = run(tmp_path, root, testers)
    assert done.returncode == 0
    told = [line for line in done.stdout.splitlines() if " skipped: " in line]
    assert told == ["1 skipped: no client", "2 skipped: no server here (apt-get install server)"]


def test_all_tests_here_say_it(request: pytest.FixtureRequest):
    from tests import absent

    names = [
        plugin.pytest_terminal_summary
        for plugin in request.config.pluginmanager.get_plugins()
        if hasattr(plugin, "pytest_terminal_summary")
    ]
    assert absent.pytest_terminal_summary in names
