"""Write the read API's description, from which the front end's typed client is generated.

Run it after a change of the API: ``python scripts/dump_openapi.py``. With ``--check`` it only tells whether the file is
what the API says now.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

TARGET = Path(__file__).parents[1] / "plugins" / "executive_view_ui" / "openapi.json"


def described() -> str:
    """Return the description as the file has it."""
    from airflow_enterprise_orch.executive_view.api import make_app

    return json.dumps(make_app().openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file, or compare; return the exit status."""
    with tempfile.TemporaryDirectory() as home:
        # Airflow makes its configuration when it is imported: not in somebody's home.
        os.environ.setdefault("AIRFLOW_HOME", home)
        os.environ.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{home}/airflow.db")
        text = described()
    if "--check" not in sys.argv:
        TARGET.parent.mkdir(parents=True, exist_ok=True)
        TARGET.write_text(text)
        return 0
    if TARGET.is_file() and TARGET.read_text() == text:
        return 0
    sys.stderr.write(f"{TARGET.name} is not what the API says now: run python scripts/dump_openapi.py\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
