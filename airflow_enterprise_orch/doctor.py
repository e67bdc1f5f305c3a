"""``enterprise-orch doctor``: does this Airflow keep what the package promises? One line per finding, with what to do.

It reads Airflow's configuration and connections as the processes of Airflow would. It logs in nowhere unless
``--test-connections`` is given, because a wrong password that is tried often enough revokes a user on a mainframe.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.connection_trial import tried
from airflow_enterprise_orch.delegation.system import ENTRY_POINT_GROUP, registrations
from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.undoing import UNDO

if TYPE_CHECKING:
    from airflow.models.connection import Connection
    from airflow.models.pool import Pool

    from airflow_enterprise_orch.delegation.system import SystemRegistration
    from airflow_enterprise_orch.value_stream.model import ValueStream

OLDEST_AIRFLOW, FIRST_UNTESTED_AIRFLOW = (3, 3), (4,)
NEEDED_CAPACITY = 1000
SMALLEST_VALUE = 16_384
"""Bytes of the task state store that a ledger needs: some forty attempts with their outputs."""
SPARE_FILES = 256
"""Open files that a triggerer needs beside one log file per waiting step."""
BUNDLE = "airflow_enterprise_orch.value_stream.bundle.TemplateBundle"
LOCAL_BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
LOADER = b"load_value_streams("
"""What stands in a loader file."""
MOST_FILES = 5_000
"""How many Python files of a bundle are looked into."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    :param remedy: what to do; "" when there is nothing to do.
    """

    level: Level
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.level.value:<5}{self.what}" + (f"; {self.remedy}" if self.remedy else "")


def check_python(version: Sequence[int], has_cel: bool) -> Iterator[Finding]:
    """Check the interpreter and the one dependency that is no pure Python."""
    said = ".".join(map(str, version[:3]))
    if tuple(version[:2]) < (3, 11):
        yield Finding(Level.FAIL, f"Python {said} is too old", "use 3.11 or newer")
    else:
        yield Finding(Level.OK, f"Python {said}")
    if has_cel:
        yield Finding(Level.OK, "conditions: cel-expr-python is installed")
    else:
        yield Finding(
            Level.FAIL,
            f"conditions: cel-expr-python is not installed ({platform.system()} {platform.machine()})",
            "pip install cel-expr-python; wheels exist for CPython 3.11 to 3.14 on Linux with glibc, macOS and Windows",
        )


def check_airflow(version: str) -> Iterator[Finding]:
    """Check Airflow's version."""
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST_AIRFLOW:
        yield Finding(
            Level.FAIL, f"Airflow {version} has no task state store, so a lost answer could run a job twice", "use 3.3"
        )
    elif parts >= FIRST_UNTESTED_AIRFLOW:
        yield Finding(Level.WARN, f"Airflow {version} is newer than any that this package was tested with", "use 3.x")
    else:
        yield Finding(Level.OK, f"Airflow {version}")


def check_systems() -> Iterator[Finding]:
    """Check that each system's client can be imported here."""
    try:
        found = registrations()
    except (ImportError, AttributeError) as error:
        remedy = f"repair or remove the package that brings it (entry-point group {ENTRY_POINT_GROUP!r})"
        yield Finding(Level.FAIL, f"a system cannot be loaded: {error}", remedy)
        return
    for registration in found:
        names = ", ".join(step.name for step in registration.steps)
        try:
            for step in registration.steps:
                step.work_model()
                step.operator_class()
        except ModuleNotFoundError as error:
            remedy = f"pip install 'airflow-enterprise-orch[{registration.name}]' if you use it"
            yield Finding(Level.WARN, f"system {registration.name} ({names}): {error.name} is missing", remedy)
        else:
            yield Finding(Level.OK, f"system {registration.name} ({names})")


def check_settings(get: Callable[[str, str], str]) -> Iterator[Finding]:
    """Check the settings of Airflow that the promises stand on.

    :param get: section and option to the value.
    """
    capacity = int(get("triggerer", "capacity"))
    if capacity < NEEDED_CAPACITY:
        remedy = f"set [triggerer] capacity to {NEEDED_CAPACITY} or more, or start more triggerers"
        yield Finding(Level.WARN, f"a triggerer watches only {capacity} waiting steps at once", remedy)
    else:
        yield Finding(Level.OK, f"a triggerer watches up to {capacity} waiting steps")
    yield from check_open_files(capacity, open_files_limit())
    yield from check_heartbeat(int(get("workers", "min_heartbeat_interval")))
    size = int(get("state_store", "max_value_storage_bytes"))
    if 0 < size < SMALLEST_VALUE:
        remedy = f"set [state_store] max_value_storage_bytes to {SMALLEST_VALUE} or more"
        yield Finding(
            Level.FAIL, f"the task state store takes only {size} bytes a value: ledgers would not fit", remedy
        )
    else:
        yield Finding(Level.OK, f"the task state store takes {size or 'any number of'} bytes a value")
    if get("state_store", "clear_on_success").lower() in ("true", "1", "yes", "on", "t", "y"):
        remedy = "set [state_store] clear_on_success to False"
        yield Finding(Level.FAIL, "the ledger of a step is thrown away when the step succeeds", remedy)
    else:
        yield Finding(Level.OK, "the ledger of a step is kept when the step succeeds")
    backend, worker = get("state_store", "backend"), get("workers", "state_store_backend")
    if not backend.endswith("MetastoreBackend") or worker:
        remedy = "make sure that every write is durable before it returns, and that every worker sees the same store"
        yield Finding(Level.WARN, f"the task state store is {worker or backend}, not Airflow's database", remedy)
    else:
        yield Finding(Level.OK, "the task state store is Airflow's database")


def open_files_limit() -> int | None:
    """Return how many files a process may have open; None where that cannot be told."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def check_open_files(capacity: int, limit: int | None) -> Iterator[Finding]:
    """Check that a triggerer can open the log file of every step that it watches."""
    if limit is not None and limit < capacity + SPARE_FILES:
        remedy = f"raise it for the triggerer: ulimit -n {capacity + SPARE_FILES}"
        yield Finding(Level.WARN, f"{limit} open files are too few for {capacity} waiting steps", remedy)


def check_heartbeat(interval: int) -> Iterator[Finding]:
    """Check that no step waits longer than it has to.

    Airflow's task supervisor sleeps up to ``interval`` seconds before it sees that its process has ended
    (``_monitor_subprocess`` in airflow/sdk/execution_time/supervisor.py), and a task that resumes before that is taken
    for dead. So no wait ends sooner (:func:`~.delegation.trigger.min_wait`).
    """
    from airflow_enterprise_orch.delegation.trigger import MIN_WAIT, shortest_wait

    shortest = shortest_wait(interval)
    if shortest > MIN_WAIT:
        what = f"workers may notice the end of a task {interval} s late, so each step takes at least "
        what += f"{shortest.total_seconds():g} s"
        yield Finding(Level.WARN, what, "set [workers] min_heartbeat_interval to 2")
    else:
        yield Finding(Level.OK, f"workers notice the end of a task within {interval} s")


def check_bundles(configured: str) -> tuple[list[Finding], list[Path]]:
    """Check which bundles serve templates; return the findings and the folders of templates on this machine."""
    try:
        bundles = json.loads(configured)
        ours = [bundle for bundle in bundles if bundle["classpath"] == BUNDLE]
    except (ValueError, TypeError, KeyError) as error:
        remedy = "correct [dag_processor] dag_bundle_config_list"
        return [Finding(Level.FAIL, f"the list of DAG bundles cannot be read: {error!r}", remedy)], []
    findings, folders = list(check_loaders(bundles)), []
    if not ours and not findings:
        remedy = "add one to [dag_processor] dag_bundle_config_list, or put a loader file into a bundle of your own"
        return [Finding(Level.WARN, "no bundle serves templates", remedy)], []
    for bundle in ours:
        path = (bundle.get("kwargs") or {}).get("path")
        if path is None:
            findings.append(Finding(Level.OK, f"bundle {bundle.get('name')!r} serves templates of another bundle"))
        elif not Path(path).is_dir():
            remedy = "correct its path, or make the folder"
            findings.append(Finding(Level.FAIL, f"bundle {bundle.get('name')!r}: there is no folder {path}", remedy))
        else:
            findings.append(Finding(Level.OK, f"bundle {bundle.get('name')!r} serves templates from {path}"))
            folders.append(Path(path))
    return findings, folders


def check_loaders(bundles: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Say which loader files lie in bundles of folders on this machine: these keep no instance's template."""
    from airflow.configuration import conf

    for bundle in bundles:
        if bundle["classpath"] != LOCAL_BUNDLE:
            continue
        folder = Path((bundle.get("kwargs") or {}).get("path") or str(conf.get("core", "dags_folder")))
        for file in islice(folder.rglob("*.py"), MOST_FILES):
            if file.is_file() and LOADER in file.read_bytes():
                what = f"loader file {file}: its instances are not pinned to the template that they began with"
                remedy = "serve the templates by a TemplateBundle, or keep these files in a bundle with versions (Git)"
                yield Finding(Level.WARN, what, remedy)


def streams_of(folder: Path) -> tuple[list[ValueStream], list[Finding]]:
    """Return the templates of a folder, and which of them are wrong."""
    from airflow_enterprise_orch.value_stream.model import ValueStream
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings
    from airflow_enterprise_orch.value_stream.template_folder import find_templates

    streams, findings = [], []
    for name, path in find_templates(folder):
        try:
            beside = Surroundings.on_disk(path, folder, shown=str)
            streams.append(ValueStream.load(path, name=name, surroundings=beside))
        except TemplateError as error:
            first = str(error).splitlines()[0]
            findings.append(Finding(Level.FAIL, f"template {first}", f"see all: enterprise-orch lint {path}"))
    return streams, findings


def connections_of(streams: Iterable[ValueStream]) -> dict[str, set[str]]:
    """Return the connections that streams name, with the systems that use them."""
    from airflow_enterprise_orch.delegation.system import step_type
    from airflow_enterprise_orch.value_stream.steps import DelegatedStep

    needed: dict[str, set[str]] = {}
    for stream in streams:
        for step in stream.steps.values():
            for work in (step, step.compensation):
                if isinstance(work, DelegatedStep):
                    needed.setdefault(work.connection, set()).add(step_type(work.step)[0].name)
    return needed


def pools_of(streams: Iterable[ValueStream]) -> dict[str, dict[str, int]]:
    """Return the pools that streams name: which step takes how many slots."""
    needed: dict[str, dict[str, int]] = {}
    for stream in streams:
        for step in stream.steps.values():
            for name, work in ((step.id, step), (f"{step.id}{UNDO}", step.compensation)):
                resource = getattr(work, "resource", None)
                if resource is not None:
                    needed.setdefault(resource.pool, {})[f"{stream.id}.{name}"] = resource.slots
    return needed


def check_operators(streams: Iterable[ValueStream]) -> Iterator[Finding]:
    """Say which operators of providers templates may run here, and which do: none of these is protected."""
    from airflow_enterprise_orch.value_stream.airflow_operators import patterns
    from airflow_enterprise_orch.value_stream.steps import AirflowStep

    allowed = patterns()
    if not allowed:
        return
    if "*" in allowed:
        remedy = "name operators, or the beginnings of their class paths, in [enterprise_orch] airflow_operators"
        yield Finding(Level.WARN, "templates may run every operator, a shell on the workers included", remedy)
    else:
        yield Finding(Level.OK, f"templates may run operators of Airflow: {', '.join(allowed)}")
    steps = [(stream.id, step) for stream in streams for step in stream.steps.values()]
    users = sorted(f"{stream}.{step.id}" for stream, step in steps if isinstance(step, AirflowStep))
    if users:
        what = f"operators of Airflow are not protected from running twice, in: {', '.join(users)}"
        yield Finding(Level.WARN, what, "use them only for what may happen twice")


def check_pools(needed: Mapping[str, Mapping[str, int]], find: Callable[[str], Pool | None]) -> Iterator[Finding]:
    """Check that pools exist, count steps that wait, and are large enough for each step by itself.

    Airflow does not refuse a DAG that names a pool which does not exist: its tasks stay scheduled for ever, and only
    the scheduler's log says why.

    :param needed: as :func:`pools_of` returns it.
    """
    for name, steps in sorted(needed.items()):
        users, largest = ", ".join(sorted(steps)), max(steps.values())
        found = find(name)
        size = largest if found is None or found.slots < largest else found.slots
        why = (found.description if found is not None else "") or "what it stands for"
        remedy = f"airflow pools set {shlex.quote(name)} {size} {shlex.quote(why)} --include-deferred"
        if found is None:
            what = f"pool {name!r} does not exist, so these steps would never start: {users}"
            yield Finding(Level.FAIL, what, f"{remedy}, with as many slots as there are")
        elif 0 <= found.slots < largest:
            greedy = ", ".join(sorted(step for step, slots in steps.items() if slots > found.slots))
            what = f"pool {name!r} has {found.slots} slots, so steps that take more would never start: {greedy}"
            yield Finding(Level.FAIL, what, f"{remedy}, or let the steps take fewer")
        elif not found.include_deferred:
            what = f"pool {name!r} does not count steps whose jobs run elsewhere, so it limits nothing for: {users}"
            yield Finding(Level.FAIL, what, remedy)
        else:
            slots = "any number of" if found.slots < 0 else found.slots
            yield Finding(Level.OK, f"pool {name!r} has {slots} slots, which steps hold until their jobs have ended")


def check_connections(
    needed: Mapping[str, set[str]], find: Callable[[str], Connection | None], *, log_in: bool
) -> Iterator[Finding]:
    """Check that connections exist, have a type that serves and, on wish, work.

    :param needed: connection id to the names of the systems that use it; an empty set when nobody said.
    """
    for name, systems in sorted(needed.items()):
        users = [registration for registration in registrations() if registration.name in systems]
        # One that two systems use must be good for both.
        types = [kind for kind in _types(users) if all(kind in user.connection_types for user in users)]
        wanted = " or ".join(types)
        found = find(name)
        if users and not types:
            theirs = "; ".join(f"{user.name} takes {' or '.join(user.connection_types)}" for user in users)
            yield Finding(
                Level.FAIL, f"connection {name!r} cannot serve all its steps: {theirs}", "use two connections"
            )
        elif found is None:
            remedy = f"make it under Admin, Connections, or set AIRFLOW_CONN_{name.upper()}"
            yield Finding(Level.FAIL, f"connection {name!r} ({wanted or 'any type'}) does not exist", remedy)
        elif types and found.conn_type not in types:
            remedy = f"give it the type {wanted}"
            yield Finding(Level.FAIL, f"connection {name!r} has the type {found.conn_type!r}", remedy)
        elif not log_in:
            yield Finding(Level.OK, f"connection {name!r} ({found.conn_type}) exists; not tried")
        else:
            yield from try_connection(name, found, users)


def _types(users: Iterable[SystemRegistration]) -> list[str]:
    return list(dict.fromkeys(kind for user in users for kind in user.connection_types))


def try_connection(name: str, found: Connection, users: Sequence[SystemRegistration]) -> Iterator[Finding]:
    """Log in as the steps will; where the connection type is another provider's, Airflow's own test is another one.

    :param users: the systems that use it; those whose usual type it is, when nobody said.
    """
    users = users or [each for each in registrations() if each.connection_type == found.conn_type]
    users = users or [each for each in registrations() if found.conn_type in each.connection_types]
    testers: list[SystemRegistration | None] = [user for user in users if user.tester]
    for tester in testers or [None]:
        works, answer = tried(name, found, tester)
        reason = " ".join(answer.split())
        what = f"connection {name!r} ({found.conn_type})" + (f" for {tester.name}" if tester else "")
        if not works:
            # Not tried for another system too: what is refused twice may lock the user.
            yield Finding(Level.FAIL, f"{what} does not work: {reason}", "correct it")
            return
        yield Finding(Level.OK, f"{what} works: {reason}")


def examine(connections: Iterable[str], folders: Sequence[Path], *, log_in: bool) -> Iterator[Finding]:
    """Yield every finding about this Airflow."""
    from airflow.configuration import conf

    yield from check_python(sys.version_info[:3], find_spec("cel_expr_python") is not None)
    yield from check_airflow(importlib.metadata.version("apache-airflow-core"))
    yield from check_systems()
    yield from check_settings(lambda section, option: str(conf.get(section, option) or ""))
    findings, served = check_bundles(conf.get("dag_processor", "dag_bundle_config_list"))
    yield from findings
    needed: dict[str, set[str]] = {name: set() for name in connections}
    streams: list[ValueStream] = []
    for folder in folders or served:
        of_folder, findings = streams_of(folder)
        yield from findings
        streams += of_folder
    for name, systems in connections_of(streams).items():
        needed.setdefault(name, set()).update(systems)
    yield from check_operators(streams)
    yield from check_connections(needed, find_connection, log_in=log_in)
    yield from check_pools(pools_of(streams), find_pool)


def find_connection(name: str) -> Connection | None:
    """Return a connection from wherever Airflow keeps them; None when there is none."""
    from airflow.models.connection import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return Connection.get_connection_from_secrets(name)
    except AirflowNotFoundException:
        return None


def find_pool(name: str) -> Pool | None:
    """Return a pool from Airflow's database; None when there is none."""
    from airflow.models.pool import Pool

    return Pool.get_pool(name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``enterprise-orch doctor``; return its exit status: 1 when something fails."""
    parser = argparse.ArgumentParser(prog="enterprise-orch doctor", description="Check this Airflow for value streams.")
    parser.add_argument(
        "connections", nargs="*", metavar="CONNECTION", help="connections to check beside the templates'"
    )
    parser.add_argument(
        "--templates", action="append", default=[], type=Path, metavar="FOLDER", help="instead of the bundles' folders"
    )
    parser.add_argument("--test-connections", action="store_true", help="log in with each of them")
    options = parser.parse_args(argv)
    for folder in options.templates:
        if not folder.is_dir():
            raise OrchestrationError(f"{folder}: there is no such folder; check the path")
    worst: list[Any] = []
    for finding in examine(options.connections, options.templates, log_in=options.test_connections):
        sys.stdout.write(f"{finding}\n")
        worst.append(finding.level)
    failed, warned = worst.count(Level.FAIL), worst.count(Level.WARN)
    sys.stdout.write(f"{len(worst)} checks: {failed} failed, {warned} with a warning\n")
    return 1 if failed else 0
