"""What ``simulate`` and ``test`` tell people."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_enterprise_orch.template_tools.cases import FileReport
from airflow_enterprise_orch.template_tools.walked import Walk
from airflow_enterprise_orch.template_tools.words import counted

_SAID = {"ran": "runs", "failed": "FAILS", "skipped": "skipped", "stopped": "stopped"}


def walk_lines(walk: Walk) -> Iterator[str]:
    """Tell an instance's path: each step, and why."""
    yield walk.stream + (f", instance {walk.key}" if walk.key else "")
    width = max(len(step.id) for step in walk.steps)
    for step in walk.steps:
        left = ", ".join(f"{name} = {value!r}" for name, value in step.values.items()) if not step.why else step.why
        yield f"  {_SAID[step.state]:8} {step.id:{width}}  {left}".rstrip()
    if walk.compensates:
        yield f"undone, in this order: {', '.join(walk.compensates)}"
    yield f"ends: {walk.ends}"
    if walk.unfilled:
        yield "not given, so the texts that need them were not filled in:"
        yield from (f"  {name}, for {', '.join(steps)}" for name, steps in walk.unfilled.items())


def case_lines(report: FileReport) -> Iterator[str]:
    """Tell what came of a template's cases: those that fail, how, and what none covers."""
    failed = [case for case in report.cases if not case.passed]
    for case in failed:
        yield f"{report.file}:{case.line} FAILED {case.name}"
        yield from (f"  {difference}" for difference in case.differences)
        yield from (f"    ({decision})" for decision in case.decisions)
    yield from (f"{report.template}: hint: {hint}" for hint in report.hints)
    told = f"{len(failed)} failed" if failed else "all passed"
    yield f"{report.template}: {counted(len(report.cases), 'case')}, {told}"
