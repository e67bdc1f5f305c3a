"""The settings of this package in Airflow's configuration: section ``[enterprise_orch]``, or the environment.

Every option is declared here, so that ``airflow config list`` and the reference of Airflow's own settings know it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

SECTION = "enterprise_orch"
AIRFLOW_OPERATORS = "airflow_operators"
FEED_INTERVAL = "feed_interval"
HISTORY_DAYS = "history_days"
BULK_RATE = "bulk_rate"
JOB_LINKS = "job_links"

DECLARED: dict[str, Any] = {
    SECTION: {
        "description": "Value streams (airflow-enterprise-orch).",
        "options": {
            AIRFLOW_OPERATORS: {
                "description": (
                    "Operators that the step 'airflow' of a template may run: class paths, or their beginnings with "
                    "'*' at the end, separated by commas. Whoever may change a template can run these with any "
                    "arguments; without a value there is none."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": "airflow.providers.amazon.aws.operators.s3.*",
                "default": "",
            },
            FEED_INTERVAL: {
                "description": (
                    "Seconds between two looks of the executive view at Airflow's tables. 0: this API server never "
                    "looks, and another one has to."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "5",
                "default": "3",
            },
            HISTORY_DAYS: {
                "description": (
                    "For how many days the executive view keeps ended instances; the sums of each day stay for ever. "
                    "0: for ever."
                ),
                "version_added": "0.1.0",
                "type": "integer",
                "example": "90",
                "default": "400",
            },
            BULK_RATE: {
                "description": (
                    "How many instances a second an action on many of them is carried out on, by all API servers "
                    "together. 0: this API server carries none out, and another one has to."
                ),
                "version_added": "0.1.0",
                "type": "float",
                "example": "50",
                "default": "20",
            },
            JOB_LINKS: {
                "description": (
                    "Where connected systems show their jobs: JSON, by connection the address of a page, with "
                    "{job_id} and {job_name} in it. The executive view links to it."
                ),
                "version_added": "0.1.0",
                "type": "string",
                "example": '{"zos_prod": "https://zosmf.example.com/jobs?id={job_id}"}',
                "default": "",
            },
        },
    }
}
"""As ``airflow/provider_info.schema.json`` wants it."""


def setting(option: str) -> str:
    """Return the value of one option; its default without one."""
    # Imported when asked: the tools for templates need Airflow's configuration for such templates only.
    conf = import_module("airflow.sdk.configuration").conf
    default = DECLARED[SECTION]["options"][option]["default"]
    return str(conf.get(SECTION, option, fallback=default) or "").strip()


def variable(option: str) -> str:
    """Return the environment variable that sets an option."""
    return f"AIRFLOW__{SECTION.upper()}__{option.upper()}"
