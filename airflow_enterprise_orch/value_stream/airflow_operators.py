"""Operators of Airflow's providers that a template may name: those that the deployment allows, and what they take.

Nothing is imported before the deployment has allowed it: to import a module is to run it.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.settings import AIRFLOW_OPERATORS, SECTION, setting, variable
from airflow_enterprise_orch.value_stream.problems import closest, listed

# Providers whose packages have a name of two parts.
_FAMILIES = frozenset({"apache", "atlassian", "cncf", "common", "dbt", "microsoft"})
_INSTEAD: Mapping[str, str] = {
    "task_id": "the step's name is its id",
    "pool": "write resource beside airflow",
    "pool_slots": "write resource beside airflow",
    "priority_weight": "write priority beside airflow",
    "weight_rule": "write priority beside airflow",
    "max_active_tis_per_dag": "write at_once beside airflow",
    "retries": "write retry beside airflow",
    "retry_delay": "write retry beside airflow",
    "retry_exponential_backoff": "write retry beside airflow",
    "max_retry_delay": "write retry beside airflow",
    "retry_policy": "write retry beside airflow",
    "execution_timeout": "write time_limit beside airflow",
    "trigger_rule": "write after, or a branch",
    "do_xcom_push": "write outputs beside airflow",
    "task_display_name": "write title beside airflow",
}


class OperatorRefused(OrchestrationError):
    """An operator that no template may use here, or that is not here.

    :param what: what is wrong; :param remedy: what to do; :param suggestion: what was probably meant, or "".
    """

    def __init__(self, what: str, remedy: str, suggestion: str = "") -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy, self.suggestion = what, remedy, suggestion


@dataclass(frozen=True, slots=True)
class Signature:
    """What the constructor of an operator takes beside what every operator does.

    :param names: sorted.
    :param required: those without a default.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]


def patterns() -> tuple[str, ...]:
    """Return what the deployment allows: class paths, and beginnings that end in ``*``."""
    return tuple(word for word in (part.strip() for part in setting(AIRFLOW_OPERATORS).split(",")) if word)


def is_allowed(path: str, allowed: Iterable[str]) -> bool:
    """Tell whether a class path is one of, or begins as, what is allowed."""
    return any(path.startswith(one[:-1]) if one.endswith("*") else path == one for one in allowed)


def find_operator(path: str) -> type[Any]:
    """Return the class of an operator.

    :param path: its class path.
    :raises OperatorRefused: when the deployment does not allow it, it is not here, or is no operator for a step.
    """
    allowed = patterns()
    if not is_allowed(path, allowed):
        if not allowed:
            option = f"[{SECTION}] {AIRFLOW_OPERATORS}, or {variable(AIRFLOW_OPERATORS)}"
            remedy = f"whoever runs Airflow can allow it: {option}"
            raise OperatorRefused(f"this deployment allows no operators, so not {path!r}", remedy)
        close = closest(path, [one for one in allowed if not one.endswith("*")])
        remedy = f"allowed are {listed(allowed)}"
        raise OperatorRefused(f"this deployment does not allow {path!r}", remedy, close)
    module, _, name = path.rpartition(".")
    found = getattr(_imported(module), name, None)
    base = import_module("airflow.sdk").BaseOperator
    if found is None:
        close = closest(name, _operators(import_module(module), base))
        raise OperatorRefused(f"there is no {name!r} in {module}", "correct it", close and f"{module}.{close}")
    if not isinstance(found, type) or not issubclass(found, base) or found is base:
        raise OperatorRefused(f"{path!r} is no operator", "name the class of an operator")
    home = f"{found.__module__}.{found.__qualname__}"
    if not is_allowed(home, allowed):
        # A module that is allowed may import others that are not.
        what = f"{path!r} is {home!r}, which this deployment does not allow"
        raise OperatorRefused(what, f"allowed are {listed(allowed)}")
    # On most classes the first is a property, which only their instances could answer.
    if True in (getattr(found, "inherits_from_skipmixin", False), getattr(found, "_can_skip_downstream", False)):
        what = f"{name} decides which tasks are skipped, which only a template's own steps may"
        raise OperatorRefused(what, "use branch, or approval")
    return found


def signature_of(operator: type[Any]) -> Signature:
    """Return what an operator takes, from its own constructor up to that of all operators."""
    base = import_module("airflow.sdk").BaseOperator
    names: set[str] = set()
    required: tuple[str, ...] | None = None
    for cls in operator.__mro__:
        if cls is base:
            break
        if "__init__" not in cls.__dict__:
            continue
        given = list(inspect.signature(cls.__dict__["__init__"]).parameters.values())[1:]
        named = [one for one in given if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
        names |= {one.name for one in named}
        if required is None:
            # What only a parent needs, the class itself may give to it.
            required = tuple(sorted(one.name for one in named if one.default is one.empty))
        if not any(one.kind is one.VAR_KEYWORD for one in given):
            break
    own = names - {"task_id"}
    return Signature(tuple(sorted(own)), tuple(name for name in required or () if name in own))


def is_not_for_templates(name: str) -> str:
    """Say what to do instead of an argument that no template may give; "" for one that it may."""
    if name in _INSTEAD:
        return _INSTEAD[name]
    if name in _common():
        return "remove it"
    code = "callable" in name or "callback" in name
    return "remove it: a template holds no Python" if code else ""


@cache
def _common() -> frozenset[str]:
    """Return what every operator takes: the settings of the task, which are the compiler's."""
    base = import_module("airflow.sdk").BaseOperator
    return frozenset(inspect.signature(base.__init__).parameters) - {"self", "kwargs"}


def _imported(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if not (module == missing or module.startswith(f"{missing}.")):
            what, remedy = f"{module} needs the package {missing.partition('.')[0]!r}", "install it"
            raise OperatorRefused(f"{what}, which is not installed here", remedy) from error
        raise _not_here(module, missing) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise OperatorRefused(f"{module} cannot be imported ({reason})", "repair or upgrade its package") from error


def _not_here(module: str, missing: str) -> OperatorRefused:
    package = provider_package(module)
    if package and not _is_installed(package):
        return OperatorRefused(f"{module} is not installed here", f"pip install {package}")
    parent, _, last = missing.rpartition(".")
    beside = getattr(_imported(parent), "__path__", ()) if parent else ()
    close = closest(last, [one.name for one in pkgutil.iter_modules(beside)])
    what = f"there is no module {missing!r}" + (f" in {package} {version(package)}" if package else "")
    return OperatorRefused(what, "correct it, or install what brings it", close and f"{parent}.{close}")


def provider_package(module: str) -> str:
    """Return the package that brings a module of an Airflow provider; "" for any other module."""
    parts = module.split(".")
    if parts[:2] != ["airflow", "providers"] or len(parts) < 3:
        return ""
    name = parts[2:4] if parts[2] in _FAMILIES else parts[2:3]
    return "-".join(["apache-airflow-providers", *name])


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _operators(module: Any, base: type[Any]) -> list[str]:
    kinds = [found for found in vars(module).values() if isinstance(found, type) and issubclass(found, base)]
    return [found.__name__ for found in kinds if found.__module__ == module.__name__]
