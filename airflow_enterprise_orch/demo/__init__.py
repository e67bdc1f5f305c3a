"""``enterprise-orch demo``: a value stream on real Airflow against the lab, with the proof that nothing ran twice."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    from airflow_enterprise_orch.demo.run import main as run

    return run(argv)
