"""``python -m airflow_enterprise_orch`` is ``enterprise-orch``."""

from __future__ import annotations

import sys

from airflow_enterprise_orch.cli import main

if __name__ == "__main__":
    sys.exit(main())
