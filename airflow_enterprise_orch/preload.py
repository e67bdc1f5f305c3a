"""Imports made once in a process of Airflow's, for those that it forks.

Airflow forks a process for every start of a task, and for every reading of a DAG file, and what is imported there is
imported anew each time: 0.1 CPU seconds for any delegated step, 0.3 for one over SSH, 0.2 for reading a template. A
process that is forked finds what its parent has imported. So a scheduler with the LocalExecutor imports what delegated
steps need before it forks its workers, and a DAG processor what templates need. Elsewhere (Celery, Kubernetes) nothing
is imported: there tasks are no children of the scheduler.
"""

from __future__ import annotations

import logging
import sys
from functools import cache
from importlib import import_module

log = logging.getLogger(__name__)

STEPS = (
    "airflow.providers.standard.operators.empty",
    "airflow_enterprise_orch.delegation.operator",
    "airflow_enterprise_orch.value_stream.loader",
    "airflow_enterprise_orch.value_stream.admission",
    "airflow_enterprise_orch.value_stream.airflow_step",
    "airflow_enterprise_orch.value_stream.approval",
    "airflow_enterprise_orch.value_stream.branch",
    "airflow_enterprise_orch.value_stream.choice",
    "airflow_enterprise_orch.value_stream.compensating",
    "airflow_enterprise_orch.value_stream.decision",
    "airflow_enterprise_orch.value_stream.for_each",
    "airflow_enterprise_orch.value_stream.fail",
    "airflow_enterprise_orch.value_stream.wait_until",
)
"""What a DAG needs with delegated steps, whatever their system, and with those that are done here: a task that starts
builds its whole DAG, and the operators of its neighbours with it."""
TEMPLATES = (
    *STEPS,
    "airflow_enterprise_orch.value_stream.compile",
    "airflow_enterprise_orch.value_stream.reading",
    "airflow_enterprise_orch.value_stream.substream",
    "airflow_enterprise_orch.value_stream.wait_for",
    "cel_expr_python",
    "holidays",
)
"""What reading and compiling a template needs."""


def preload() -> tuple[str, ...]:
    """Import what the children of this process will need, by what process of Airflow's it is; return the modules.

    Airflow loads its plugins once more in each child: what is forked from here remembers that this was done.
    """
    from airflow.configuration import conf

    command = sys.argv[1:2]
    if command == ["scheduler"] and "LocalExecutor" in conf.get("core", "executor", fallback=""):
        return imported(STEPS, clients=True)
    if command == ["dag-processor"]:
        return imported(TEMPLATES, clients=False)
    return ()


@cache
def imported(core: tuple[str, ...], *, clients: bool) -> tuple[str, ...]:
    """Import modules and those of all registered systems; one that cannot be imported is left to who needs it.

    :param clients: also those with which the systems are talked to.
    :return: what was imported.
    """
    from airflow_enterprise_orch.delegation.system import registrations

    names = list(core)
    for system in registrations():
        paths = [path for step in system.steps for path in (step.work, step.operator)]
        paths += [system.opener, *system.clients] if clients else []
        names += [path.partition(":")[0] for path in paths]
    found = []
    for name in dict.fromkeys(names):
        try:
            import_module(name)
        except Exception as error:
            # An extra that is not installed, or somebody else's package: only the steps that use it may fail.
            log.info("%s is not imported ahead: %r", name, error)
        else:
            found.append(name)
    return tuple(found)
