"""What a test run says at its end: which real servers, clients and accounts were absent, so what it did not test."""

from __future__ import annotations

from collections import Counter

import pytest


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
