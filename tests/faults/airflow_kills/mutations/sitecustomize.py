"""Breaks the package on purpose in every Airflow process that finds this folder on PYTHONPATH; see ``--mutation``.

Python imports ``sitecustomize`` when it starts. The package is patched when it is imported, not before: Airflow reads
its configuration first.
"""

import importlib.abc
import importlib.util
import os
import sys


def trust_on_kill(waiting):
    """Take every ``on_kill`` of a trigger for a person's wish, though Airflow also calls it when triggers move."""
    waiting.kill_cancels = lambda _state: True


MUTATIONS = {"trust_on_kill": ("airflow_enterprise_orch.delegation.waiting", trust_on_kill)}


class Patcher(importlib.abc.MetaPathFinder):
    """Patches one module right after it was imported."""

    def __init__(self, name, patch):
        self.name, self.patch = name, patch

    def find_spec(self, name, path, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load, patch = spec.loader.exec_module, self.patch

        def exec_module(module):
            load(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("KILLS_MUTATION"):
    sys.meta_path.insert(0, Patcher(*MUTATIONS[os.environ["KILLS_MUTATION"]]))
