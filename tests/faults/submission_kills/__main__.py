"""Run the harness: ``python -m tests.faults.submission_kills --cases 1000``."""

from __future__ import annotations

from .runner import main

if __name__ == "__main__":
    raise SystemExit(main())
