"""What a test run says at its end: which real servers, clients and accounts were absent, so what it did not test.

Where all of them must be there (``REQUIRE_ALL_SERVERS=1``), a run that skipped a test fails.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

REQUIRED = "REQUIRE_ALL_SERVERS"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run when something was skipped where nothing may be."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter is not None and reporter.stats.get("skipped", ())
    if skipped and os.environ.get(REQUIRED) == "1" and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the reasons of skipped tests, each once."""
    told: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        told[reason.removeprefix("Skipped: ")] += 1
    if told:
        terminalreporter.section("skipped here, and why")
        for reason, count in sorted(told.items()):
            terminalreporter.write_line(f"{count} skipped: {reason}")
        if os.environ.get(REQUIRED) == "1":
            terminalreporter.write_line(f"{REQUIRED} is set, so nothing may be skipped: the run has failed.")
