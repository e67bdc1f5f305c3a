"""What one poll of 500 waiting jobs costs, by each stand-in's own count of the requests that reached it.

The jobs are put into the stand-in. Their handles must be those that the client finds there by the system's protocol,
and one poll must tell the state of all 500. Looks at single jobs and logins are counted like everything else. The table
in docs/architecture.md says the same numbers.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from airflow_enterprise_orch.delegation.job import JobHandle, JobStatus, Phase
from airflow_enterprise_orch.delegation.system import Found, RemoteSystem, registrations
from airflow_enterprise_orch.lab.controlm_server import FolderDefinition, JobDefinition
from airflow_enterprise_orch.lab.sap_jobs import Step
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import Fault
from airflow_enterprise_orch.lab.windows_host import Process, encoded, stamp
from airflow_enterprise_orch.systems.fileshare.journal import OPEN, End
from airflow_enterprise_orch.systems.fileshare.steps import JOURNAL
from airflow_enterprise_orch.systems.fileshare.waits import Wait
from airflow_enterprise_orch.systems.mainframe.controlm_orders import order_document
from airflow_enterprise_orch.systems.mainframe.steps import SchedulerJob
from airflow_enterprise_orch.systems.unix.steps import UnixScript
from airflow_enterprise_orch.systems.windows.task_scheduler import Place

T = TypeVar("T")
WAITING = 500
RUNS_LONG = Fault("submit", "run", seconds=3600.0)
STANDS = Fault("submit", "hold")
CONNECTION = "calls"


def new_keys(count: int = WAITING) -> list[str]:
    return [f"K{number:05d}{secrets.token_hex(7).upper()}" for number in range(count)]


class World:
    """One stand-in, and the connection by which Airflow reaches it."""

    def __init__(self, lab: LabThread, stand_in: str, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lab = lab
        self.stand_in: Any = lab.stand_in(stand_in)
        self.registration = next(each for each in registrations() if each.name == system)
        lab.reset(stand_in)
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONNECTION.upper()}", json.dumps(lab.endpoints[stand_in]["connection"]))

    def there(self, act: Callable[[], T]) -> T:
        """Do something in the stand-in's own event loop."""

        async def acting() -> T:
            return act()

        return self.lab.run(acting())

    def run(self, scenario: Callable[[RemoteSystem], Awaitable[T]]) -> T:
        """Run a scenario with a client that is opened as every process opens it."""

        async def main() -> T:
            async with self.registration.open(CONNECTION) as system:
                return await scenario(system)

        return asyncio.run(main())

    def counted(self) -> dict[str, int]:
        """Return what reached the stand-in since this was asked last: function, operation, command or request."""

        def take() -> dict[str, int]:
            counts: Counter[str] = Counter()
            for name in ("functions", "calls", "commands", "requests"):
                found = getattr(self.stand_in, name, None)
                if found is None:
                    continue
                if not counts:
                    counts.update(map(kind_of_request, found) if isinstance(found, list) else found)
                found.clear()
            return {name: count for name, count in counts.items() if count}

        return self.there(take)

    def cost(
        self, handles: Sequence[JobHandle], polls: int = 1, *, gone: int = 0, by_id: bool = False
    ) -> list[dict[str, int]]:
        """Return what each of some polls of all jobs cost, by a client that has been at work before.

        :param gone: so many of the jobs are not there.
        :param by_id: the client finds the jobs by their ids first; by their keys otherwise.
        """

        async def scenario(system: RemoteSystem) -> list[dict[str, int]]:
            for handle in (handles[0], handles[WAITING // 2]):
                if by_id:
                    assert await system.identify(handle.job_id, handle.key) == handle
                    continue
                sighting = await system.find(handle.key)
                assert isinstance(sighting, Found)
                assert sighting.candidates[0].handle == handle
            self.counted()
            counts = []
            for _ in range(polls):
                states = await polled(system, handles)
                counts.append(self.counted())
                alive = [state for state in states.values() if state.phase in (Phase.RUNNING, Phase.WAITING)]
                assert len(alive) == len(handles) - gone
            return counts

        return self.run(scenario)


def kind_of_request(line: str) -> str:
    """Return ``LIST``, ``HEAD``, ``GET`` or ``PUT`` of a line of S3."""
    return "LIST" if "list-type" in line else line.partition(" ")[0]


async def polled(system: RemoteSystem, handles: Sequence[JobHandle]) -> dict[str, JobStatus]:
    """Poll with as many calls as the poller makes: no more jobs together than the system takes."""
    states: dict[str, JobStatus] = {}
    for start in range(0, len(handles), system.capabilities.batch):
        states |= await system.poll(handles[start : start + system.capabilities.batch])
    return states


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread() as running:
        yield running


@pytest.fixture
def world(lab: LabThread, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], World]:
    return lambda stand_in, system: World(lab, stand_in, system, monkeypatch)


Worlds = Callable[[str, str], World]


# z/OSMF.


def zos_jobs(world: World, keys: Sequence[str], name: str = "WAITING", *, ended: bool = False) -> list[JobHandle]:
    jcl = f"//{name:<8} JOB (ACCT),CLASS=A\n//STEP1    EXEC PGM=IEFBR14\n"

    def fill() -> list[JobHandle]:
        made = []
        for number, key in enumerate(keys):
            fates = [] if ended else [RUNS_LONG if number % 2 else STANDS]
            job = world.stand_in.jes.submit(jcl, symbols={}, correlator=key, fates=fates)
            fields = {"correlator": job.correlator, "owner": job.owner}
            made.append(JobHandle(key, job.id, job.name, fields))
        return made

    return world.there(fill)


def test_zosmf_is_asked_once(world: Worlds):
    zos = world("zosmf", "mainframe")
    assert zos.cost(zos_jobs(zos, new_keys()), polls=2) == [{"poll": 1}, {"poll": 1}]


def test_zosmf_whose_page_is_full_of_ended_jobs_is_asked_once_more_per_job_name(world: Worlds):
    zos = world("zosmf", "mainframe")
    zos_jobs(zos, new_keys(1000), "ENDED", ended=True)
    waiting = zos_jobs(zos, new_keys(WAITING // 2), "NIGHTLY") + zos_jobs(zos, new_keys(WAITING // 2), "HOURLY")
    assert zos.cost(waiting) == [{"poll": 3}]


# Control-M.


def controlm_orders(world: World, keys: Sequence[str], folder: str, job: str = "LABJOB") -> list[JobHandle]:
    work = SchedulerJob(folder=folder, job=job)

    def fill() -> list[JobHandle]:
        server, made = world.stand_in.server, []
        for number, key in enumerate(keys):
            order = {**order_document(work, "lab", key), "hold": False}
            run = server.order(order, [RUNS_LONG if number % 50 else STANDS])
            top, tracked = (server.entry(job_id) for job_id in server.runs[run])
            fields = {"folder": folder, "kind": "job", "folder_id": top.id}
            made.append(JobHandle(key, tracked.id, tracked.name, fields))
        return made

    return world.there(fill)


def test_controlm_is_asked_for_one_list_and_two_reasons(world: Worlds):
    controlm = world("controlm", "mainframe_scheduler")
    orders = controlm_orders(controlm, new_keys(), "LAB")
    assert controlm.cost(orders, polls=2, by_id=True) == [{"poll": 3}, {"poll": 3}]


def test_controlm_that_cuts_its_list_off_is_asked_for_each_folder(world: Worlds):
    """1,000 entries are what it tells at once, and it has no next page: its pages are the folders."""
    controlm = world("controlm", "mainframe_scheduler")
    names = [f"NIGHT{number}" for number in range(5)]
    more = {name: FolderDefinition(name, (JobDefinition("LABJOB"),)) for name in names}
    controlm.there(lambda: controlm.stand_in.server.folders.update(more))
    controlm_orders(controlm, new_keys(), "LAB")  # somebody else's: they fill the first list
    orders = [handle for name in names for handle in controlm_orders(controlm, new_keys(WAITING // 5), name)]
    try:
        assert controlm.cost(orders, by_id=True) == [{"poll": 1 + 5 + 2}]
    finally:
        controlm.there(lambda: [controlm.stand_in.server.folders.pop(name) for name in names])


@pytest.mark.parametrize(("shows", "pages"), [(10_000, 2), (1_000, 4)])
def test_controlm_with_more_than_a_thousand_in_one_folder_is_asked_for_that_folder(
    world: Worlds, shows: int, pages: int
):
    """And where it never shows more than 1,000: for each name that was not seen whole, the folder's own among them."""
    controlm = world("controlm", "mainframe_scheduler")
    folder = FolderDefinition("NIGHT", (JobDefinition("BOOK"), JobDefinition("POST")))
    controlm.there(lambda: controlm.stand_in.server.folders.update({"NIGHT": folder}))
    orders = [
        handle for job in ("BOOK", "POST") for handle in controlm_orders(controlm, new_keys(WAITING), "NIGHT", job)
    ]
    controlm.there(lambda: setattr(controlm.stand_in, "shows", shows))
    try:
        assert controlm.cost(orders, by_id=True) == [{"poll": pages + 2}]
    finally:
        controlm.there(lambda: setattr(controlm.stand_in, "shows", 10_000))
        controlm.there(lambda: controlm.stand_in.server.folders.pop("NIGHT"))


# SAP.


def sap_jobs(world: World, keys: Sequence[str]) -> list[JobHandle]:
    def fill() -> list[JobHandle]:
        made = []
        for key in keys:
            job = world.stand_in.sap.open(f"{key}_NIGHTLY")
            world.stand_in.sap.add(job, Step("ZLABPROG", {"P_SLEEP": "3600"}), [])
            world.stand_in.sap.release(job)
            made.append(JobHandle(key, job.count, job.name))
        return made

    return world.there(fill)


def test_sap_is_asked_once(world: Worlds):
    sap = world("sap_soap_rfc", "sap")
    assert sap.cost(sap_jobs(sap, new_keys())) == [{"BAPI_XBP_JOBLIST_STATUS_GET": 1}]


def test_sap_is_asked_five_times_at_worst(world: Worlds):
    """In one poll: a job that a person named and that is gone, and one that has been running for long."""
    sap = world("sap_soap_rfc", "sap")
    named = JobHandle(new_keys(1)[0], "04300100", "ZSOMEBODYS")
    counts = sap.cost([*sap_jobs(sap, new_keys(WAITING - 1)), named], polls=20, gone=1)
    usual = {"BAPI_XBP_JOBLIST_STATUS_GET": 1, "BAPI_XBP_JOB_SELECT": 2, "BAPI_XBP_JOB_COUNT": 1}
    assert counts[:19] == [usual] * 19
    assert counts[19] == {**usual, "BAPI_XBP_JOB_STATUS_CHECK": 1}


def test_the_first_poll_of_a_session_with_sap_logs_on(world: Worlds):
    sap = world("sap_soap_rfc", "sap")
    handles = sap_jobs(sap, new_keys())
    assert len(sap.run(lambda system: polled(system, handles))) == WAITING
    assert sap.counted() == {"BAPI_XMI_LOGON": 1, "BAPI_XBP_JOBLIST_STATUS_GET": 1, "BAPI_XMI_LOGOFF": 1}


def application_jobs(world: World, keys: Sequence[str]) -> list[JobHandle]:
    def fill() -> list[JobHandle]:
        made = []
        for key in keys:
            job = world.stand_in.sap.open(secrets.token_hex(16).upper(), text=key)
            job.template = "ZLAB_PROGRAM"
            world.stand_in.sap.add(job, Step("ZLABPROG", {"P_SLEEP": "3600"}), [])
            world.stand_in.sap.release(job)
            since = f"{job.created:%Y%m%d%H%M%S}"
            made.append(JobHandle(key, f"{job.name}/{job.count}", job.template, {"since": since}))
        return made

    return world.there(fill)


@pytest.mark.parametrize(("page", "pages"), [(1000, 1), (100, 5)])
def test_odata_is_asked_for_its_pages(world: Worlds, page: int, pages: int):
    sap = world("sap_odata", "sap_odata")
    handles = application_jobs(sap, new_keys())
    sap.there(lambda: setattr(sap.stand_in, "page", page))
    try:
        assert sap.cost(handles) == [{"poll": pages}]
        gone = [JobHandle(key, f"{key}/04300100", "ZLAB_PROGRAM", handles[0].fields) for key in new_keys(3)]
        assert sap.cost([*handles, *gone], gone=3) == [{"poll": pages + 2}]
    finally:
        sap.there(lambda: setattr(sap.stand_in, "page", 1000))


# Container engine.


def test_an_engine_is_asked_once(world: Worlds):
    docker = world("docker", "container")
    keys = new_keys()

    def fill() -> list[JobHandle]:
        made = []
        for key in keys:
            body = {"Labels": {"orch.key": key, "orch.kind": "run"}, "Image": "lab/tools:1", "Cmd": ["sleep", "3600"]}
            container = docker.stand_in.engine.create(key, body, [])
            container.state = "running"
            made.append(JobHandle(key, container.id[:12], key, {"id": container.id, "kind": "run"}))
        return made

    assert docker.cost(docker.there(fill)) == [{"poll": 1}]


# Windows.


def test_a_windows_host_is_asked_once(world: Worlds):
    windows = world("winrm", "windows")
    keys, place = new_keys(), Place()

    def fill() -> list[JobHandle]:
        host, made = windows.stand_in.host, []
        for key in keys:
            directory = f"{place.root}\\{key}"
            process = Process(host.scheduler.new_pid(), stamp())
            host.processes[process.pid] = process
            boot = host.scheduler.boot.isoformat()
            for name, words in (
                ("job", {"v": 1}),
                ("started", {"v": 1, "at": stamp(), "pid": process.pid, "boot": boot}),
                ("process", {"v": 1, "pid": process.pid, "born": process.born}),
            ):
                host.files[f"{directory}\\{name}.json"] = encoded(words)
            fields = {"directory": directory, "mode": "own"}
            made.append(JobHandle(key, key, f"{place.folder}\\{key}", fields))
        return made

    assert windows.cost(windows.there(fill)) == [{"poll": 1}]


# UNIX.


def test_a_unix_host_is_asked_once(world: Worlds):
    unix = world("ssh", "unix")
    keys = new_keys()
    started = unix.run(lambda system: system.submit(UnixScript(script="sleep 3600"), keys[0]))
    root = unix.stand_in.home / ".enterprise-orch" / "jobs"
    handles = [started]
    for key in keys[1:]:  # the same process, as far as anybody can see
        shutil.copytree(root / keys[0], root / key)
        fields = {**started.fields, "directory": started.fields["directory"].replace(keys[0], key)}
        handles.append(JobHandle(key, started.job_id, key, fields))
    assert unix.cost(handles) == [{"poll": 1}]


# File share.


@pytest.mark.parametrize("folders", [1, 5])
def test_a_share_is_asked_for_its_records_and_for_each_folder(world: Worlds, folders: int):
    share = world("s3", "fileshare")
    keys = new_keys()

    def fill() -> list[JobHandle]:
        made = []
        for number, key in enumerate(keys):
            wait = Wait(f"in/{number % folders}", f"order{number}.*", 1, 10.0, "", "2026-01-01T00:00:00.000+00:00")
            record = {"version": 1, "key": key, **wait.to_fields()}
            share.stand_in._files.put_bytes(f"{OPEN}/{key}.json", json.dumps(record).encode())
            made.append(JobHandle(key, key, wait.place, wait.to_fields()))
        return made

    assert share.cost(share.there(fill)) == [{"LIST": 1 + folders}]


def test_a_delivery_is_over_when_it_was_handed_over_and_is_looked_at_once(world: Worlds):
    share = world("s3", "fileshare")
    keys = new_keys(20)
    end = End("delivered", 0, "", "", ("delivered",))

    def fill() -> None:
        for key in keys:
            share.stand_in._files.put_bytes(f"{JOURNAL}/ended/{key}.json", end.to_bytes(key))

    share.there(fill)
    handles = [JobHandle(key, key, "out.txt", {"kind": "delivery"}) for key in keys]
    states = share.run(lambda system: polled(system, handles))
    assert {state.phase for state in states.values()} == {Phase.ENDED}
    assert share.counted() == {"HEAD": len(keys)}
