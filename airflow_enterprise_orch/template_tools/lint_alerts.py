"""What is probably not meant about alerts; see :mod:`~.lint`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from airflow_enterprise_orch.value_stream.steps import ApprovalStep, BranchStep, ChoiceStep

if TYPE_CHECKING:
    from airflow_enterprise_orch.template_tools.lint import Hint, Template

NOTIFIERS: Mapping[str, tuple[str, str]] = {
    "email": ("apache-airflow-providers-smtp", "airflow.providers.smtp"),
    "webhook": ("apache-airflow-providers-http", "airflow.providers.http"),
    "slack": ("apache-airflow-providers-slack", "airflow.providers.slack"),
}
"""By kind of target the package that brings Airflow's notifier, and its module."""


def missing_alerts(template: Template) -> Iterator[Hint]:
    """Find a stream that matters and tells nobody."""
    stream = template.stream
    if not stream.alerts and stream.business.criticality in ("high", "critical"):
        what = f"nobody is told when a step fails, although its criticality is {stream.business.criticality!r}"
        yield template.hint("missing-alerts", ("value_stream",), what, "add alerts:")


def idle_alerts(template: Template) -> Iterator[Hint]:
    """Find events that can never come."""
    stream = template.stream
    due = stream.due is not None or any(step.due is not None for step in stream.steps.values())
    asked = any(isinstance(step, (ApprovalStep, ChoiceStep)) for step in stream.steps.values())
    proposes = any(isinstance(step, BranchStep) and step.override_within is not None for step in stream.steps.values())
    for number, rule in enumerate(stream.alerts):
        for place, event in enumerate(rule.on):
            path = ("alerts", number, "on", place)
            if event == "late" and not due:
                what = "nothing can be late: neither the stream nor a step has a due time"
                yield template.hint("idle-alert", path, what, "add due:, or remove it", key=False)
            # Of a branch that leaves people time it is told when that begins, and no more.
            if event == "waiting" and not asked and not (proposes and rule.after is None):
                what = "no step waits for a person"
                yield template.hint("idle-alert", path, what, "remove it", key=False)


def missing_packages(template: Template) -> Iterator[Hint]:
    """Find targets that nothing installed here can reach."""
    for number, rule in enumerate(template.stream.alerts):
        for kind, (package, module) in NOTIFIERS.items():
            if getattr(rule.to, kind) is not None and not _installed(module):
                what = f"the package {package} is not installed here, and where Airflow runs it must be"
                yield template.hint("missing-package", ("alerts", number, "to", kind), what, f"pip install {package}")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
