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


@pytest.mark.parametrize("testers", ["0", "1"])
def test_the_end_says_once_what_was_absent(tmp_path: Path, root: Path, testers: str):
    (tmp_path / "test_one.py").write_text(MODULE)
    (tmp_path / "test_two.py").write_text(
        "import pytest\npytest.importorskip('no_such_module_here', reason='no client')\n"
    )
    command = [sys.executable, "-m", "pytest", "-n", testers, "-p", "tests.absent", "-rfE", str(tmp_path)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
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
