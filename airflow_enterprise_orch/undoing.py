"""The names of the tasks that undo steps: for the compiler, the alerts and every worker, so nothing else is here."""

from __future__ import annotations

HELPER = "--"
"""In the ids of the tasks that undo, which no branch and no rejection skips; no step and no choice has two hyphens."""
UNDO = "--undo"
UNDO_TITLE = "undo: "
