"""``enterprise-orch demo``: the lab and real Airflow, twenty instances, a summary and the proof."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import newest_ledger
from airflow_enterprise_orch.demo import certificates, report, story
from airflow_enterprise_orch.demo.airflow import LocalAirflow
from airflow_enterprise_orch.demo.api import AirflowApi
from airflow_enterprise_orch.demo.lab import LabProcess
from airflow_enterprise_orch.demo.processes import ProcessGroup, adopt_orphans, raise_on_sigterm
from airflow_enterprise_orch.demo.proof import StepAttempt, recovery, violations
from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from rich.console import Console

LOAD_TIMEOUT = 120.0
DEFAULT_TIMEOUT = 900.0
READING_TIME = 5.0
"""Seconds before an approval is answered. Nobody reads faster, and Airflow takes a task that goes on before its worker
has ended for one that died."""


BY_HAND: Mapping[str, str] = {"AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "False"}
"""No stream starts by itself: the proof knows the instances that were asked for, and another stream's hour may come."""


class DemoFailed(OrchestrationError):
    """The demo did not show what it promises."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``enterprise-orch demo``; return its exit status: 0 only when all that it claims is true."""
    options = _options(argv)
    try:
        out = report.console()
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"enterprise-orch demo: the module {error.name!r} is missing; "
            "pip install 'airflow-enterprise-orch[all,lab]'\n"
        )
        return 1
    raise_on_sigterm()
    adopt_orphans()
    home = Path(tempfile.mkdtemp(prefix="enterprise-orch-demo-"))
    keep_files = False
    try:
        return _demo(out, home, options)
    except OrchestrationError as error:
        keep_files = True
        out.print(f"The demo failed: {error}", style="bold red", markup=False)
        out.print(f"Everything it wrote is kept in {home}", markup=False)
        return 1
    except KeyboardInterrupt:
        out.print("Stopped.")
        return 130
    finally:
        if not keep_files:
            shutil.rmtree(home, ignore_errors=True)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="enterprise-orch demo",
        description="Run a value stream on real Airflow against the lab, and prove that nothing ran twice.",
    )
    parser.add_argument("--keep", action="store_true", help="stay up afterwards and print the URL and the login")
    parser.add_argument(
        "--instances", type=int, default=story.DEFAULT_INSTANCES, help="how many orders (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=DEFAULT_TIMEOUT, help="seconds for all of them (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if options.instances < 1:
        parser.error(f"--instances: {options.instances} is not at least 1")
    return options


@contextmanager
def stage(
    home: Path,
    templates: Path,
    database: str = "",
    connections: Mapping[str, str] = story.CONNECTIONS,
    settings: Mapping[str, str] = MappingProxyType({}),
    lab_words: Sequence[str] = (),
) -> Iterator[tuple[LabProcess, LocalAirflow]]:
    """Start the lab and Airflow with a folder of templates; stop both at the end, whatever happens.

    :param database: SQLAlchemy URL; SQLite without one.
    :param connections: Airflow connection to stand-in.
    :param settings: more AIRFLOW__ variables.
    :param lab_words: more words of the lab's command line.
    """
    processes = ProcessGroup(home / "process-logs")
    lab = LabProcess(processes, {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}, lab_words)
    try:
        lab.start()
        airflow = LocalAirflow(
            home / "airflow",
            bundles=[template_bundle(templates)],
            connections={name: lab.connection(stand_in) for name, stand_in in connections.items()},
            database=database,
            settings=settings,
        )
        with airflow:
            yield lab, airflow
    finally:
        processes.stop()


def template_bundle(folder: Path) -> dict[str, Any]:
    """Return the entry of ``dag_bundle_config_list`` that serves a folder of templates."""
    return {
        "name": "value_streams",
        "classpath": "airflow_enterprise_orch.value_stream.bundle.TemplateBundle",
        "kwargs": {"path": str(folder)},
    }


def _demo(out: Console, home: Path, options: argparse.Namespace) -> int:
    began = time.monotonic()
    out.print("Starting the lab and Airflow (api-server, scheduler, dag-processor, triggerer) on this machine ...")
    with stage(home, story.templates(), settings=BY_HAND) as (lab, airflow), airflow.api() as api:
        out.print(f"Up after {time.monotonic() - began:.0f} s. Loading the value stream {story.STREAM} ...")
        wait_for_stream(api, airflow, story.STREAM)
        orders = story.instances(options.instances)
        for mishap in story.MISHAPS:
            lab.fault(mishap.stand_in, mishap.fault)
        out.print(
            f"Starting {len(orders)} instances. A submission to z/OSMF and one to Control-M lose their answers after "
            f"the job was taken; a job in SAP breaks off once, and a script fails once.",
            soft_wrap=True,
        )
        for order in orders:
            api.trigger(story.STREAM, order.run_id, order.params)
        with report.Progress(out, len(orders)) as progress:
            run_to_the_end(api, airflow, progress, options.timeout)
        outcomes = [outcome_of(api, order) for order in orders]
        report.summary(out, outcomes)
        problems = check(outcomes, lab) + _show_recoveries(out, outcomes, lab)
        problems += _show_certificates(out, api, lab, airflow, orders)
        _conclude(out, outcomes, problems, lab, time.monotonic() - began)
        if options.keep:
            _stay(out, airflow, lab)
        return 1 if problems else 0


def wait_for_stream(api: AirflowApi, airflow: LocalAirflow, stream: str) -> None:
    """Wait until Airflow knows a DAG; :raises DemoFailed: with its import errors when it never does."""
    deadline = time.monotonic() + LOAD_TIMEOUT
    while stream not in api.dag_ids():
        airflow.processes.check()
        errors = [
            f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in api.import_errors()
        ]
        if errors or time.monotonic() > deadline:
            reason = "; ".join(errors) or f"it was not there after {LOAD_TIMEOUT:.0f} s"
            raise DemoFailed(f"Airflow does not load the value stream {stream}: {reason}")
        time.sleep(0.5)


def run_to_the_end(api: AirflowApi, airflow: LocalAirflow, progress: report.Progress, timeout: float) -> None:
    """Answer approvals until all instances are over; :raises DemoFailed: when they are not in time."""
    deadline = time.monotonic() + timeout
    while True:
        for question in api.questions(story.STREAM):
            where = question["task_instance"]
            if where["state"] == "awaiting_input" and seconds_since(question["created_at"]) > READING_TIME:
                api.answer(story.STREAM, where["dag_run_id"], where["task_id"], "Approve")
        runs = api.runs(story.STREAM)
        progress.show(runs, api.task_instances(story.STREAM))
        if all(run["state"] in ("success", "failed") for run in runs.values()):
            return
        airflow.processes.check()
        if time.monotonic() > deadline:
            left = sorted(run_id for run_id, run in runs.items() if run["state"] not in ("success", "failed"))
            raise DemoFailed(f"after {timeout:.0f} s these instances are not over: {', '.join(left)}")
        time.sleep(2)


def seconds_since(moment: str) -> float:
    """Return how long ago something was, as Airflow's API writes moments."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def outcome_of(api: AirflowApi, order: story.Instance) -> report.Outcome:
    """Collect how one instance went, from Airflow's API alone."""
    run = api.runs(story.STREAM)[order.run_id]
    tasks = api.task_instances(story.STREAM, order.run_id)
    attempts: list[StepAttempt] = []
    for step in (step for _heading, steps in story.STAGES for step in steps):
        stored = api.state_store(story.STREAM, order.run_id, step)
        attempts += [StepAttempt(order.key, step, one) for one in Ledger.from_json(newest_ledger(stored)).attempts]
    states = {task["task_id"]: str(task["state"]) for task in tasks}
    answer = (
        api.xcoms(story.STREAM, order.run_id, "approve").get("return_value")
        if states.get("approve") == "success"
        else None
    )
    return report.Outcome(
        instance=order,
        state=run["state"],
        started=run["start_date"] or "",
        ended=run["end_date"] or "",
        states=states,
        attempts=attempts,
        approved_by=str((answer or {}).get("by", "")),
    )


def check(outcomes: Sequence[report.Outcome], lab: LabProcess) -> list[str]:
    """Return everything that is not as promised; empty when all is."""
    problems = [f"{one.instance.key} ended as {one.state}" for one in outcomes if one.state != "success"]
    problems += [
        f"{one.instance.key} took {sorted(one.taken)} instead of {sorted(one.instance.expected)}"
        for one in outcomes
        if one.taken != one.instance.expected
    ]
    for one in outcomes:
        steps = {attempt.step for attempt in one.attempts}
        missing = [heading for heading, of_stage in story.STAGES if not steps & set(of_stage)]
        problems += [f"{one.instance.key} has no attempt for {heading!r}" for heading in missing]
    problems += violations((attempt for one in outcomes for attempt in one.attempts), lab.jobs())
    if len(outcomes) >= story.DEFAULT_INSTANCES:
        untaken = set(story.CHOICES) - {step for one in outcomes for step in one.taken}
        problems += [f"no instance took {step}" for step in sorted(untaken)]
    return problems


def _show_recoveries(out: Console, outcomes: Sequence[report.Outcome], lab: LabProcess) -> list[str]:
    """Tell what went wrong and what came of it; return what is not as it must be."""
    attempts = [attempt for one in outcomes for attempt in one.attempts]
    jobs = lab.jobs()
    problems = []
    out.print("What went wrong, and what came of it:")
    for mishap in story.MISHAPS:
        done = recovery(mishap, lab.made_faults(mishap.stand_in), attempts, jobs[mishap.stand_in])
        if done is not None:
            out.print(f"  {done.told}", markup=False, highlight=False, soft_wrap=True)
            problems += [done.problem] if done.problem else []
        elif len(outcomes) >= story.DEFAULT_INSTANCES:
            problems.append(f"it never happened: {mishap.told}")
    return problems


def _show_certificates(
    out: Console, api: AirflowApi, lab: LabProcess, airflow: LocalAirflow, orders: Sequence[story.Instance]
) -> list[str]:
    """Show that the certificates are in the share and genuine; return what is wrong."""
    got = certificates.fetch(api, lab, story.STREAM, [(order.run_id, order.key) for order in orders])
    problems = [one.problem for one in got if one.problem]
    good = [one for one in got if not one.problem]
    out.print(f"{len(good)} of {len(got)} certificates lie in the share as their manifests say.")
    if good:
        file = airflow.home / f"{good[0].order}.pdf"
        file.write_bytes(good[0].pdf)
        genuine, said = certificates.verify(airflow, file)
        out.print(f"The first: {good[0].address}", markup=False, highlight=False, soft_wrap=True)
        out.print(f"enterprise-orch verify {said}", markup=False, highlight=False, soft_wrap=True)
        if not genuine:
            problems.append(f"the certificate of {good[0].order} is not genuine")
    return problems


def _conclude(
    out: Console, outcomes: Sequence[report.Outcome], problems: Sequence[str], lab: LabProcess, took: float
) -> None:
    attempts = sum(len(one.attempts) for one in outcomes)
    ran = sum(job["ran"] for jobs in lab.jobs().values() for job in jobs)
    for problem in problems:
        out.print(f"NOT AS PROMISED: {problem}", style="bold red", markup=False, soft_wrap=True)
    done = sum(one.state == "success" for one in outcomes)
    verdict = (
        "every attempt reached its system exactly once"
        if not problems
        else f"{len(problems)} things are not as promised"
    )
    out.print(
        f"{done} of {len(outcomes)} instances completed; {attempts} attempts, {ran} remote jobs ran; {verdict}. "
        f"Took {took:.0f} s.",
        style="bold red" if problems else "bold green",
        highlight=False,
        soft_wrap=True,
    )


def _stay(out: Console, airflow: LocalAirflow, lab: LabProcess) -> None:
    out.print(f"\nAirflow is at {airflow.url}", markup=False)
    out.print(f"  user {airflow.user}   password {airflow.password}", markup=False, highlight=False)
    for name, endpoint in lab.endpoints.items():
        out.print(f"The lab's {name}: control API at {endpoint['control']}", markup=False)
    out.print("Ctrl-C stops everything.")
    while True:
        airflow.processes.check()
        time.sleep(1)


if __name__ == "__main__":
    raise SystemExit(main())
