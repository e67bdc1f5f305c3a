"""What is peculiar to each system under the harness: its work, its connection, its protection, and what it cannot do.

One entry of :data:`SYSTEMS` per system and way of handing over; everything else here treats them alike.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.delegation.system import Protection, resolve
from airflow_enterprise_orch.lab.s3 import SAMPLES
from airflow_enterprise_orch.lab.stand_in import LabJob
from tests import samba

from .fast_time import RATE

SAYS = "ANSWER=42"
BAD = 12
PATIENCE = 20.0
"""Seconds, on fast time, that a client waits for an answer: one real second."""

Work = Callable[[int, float], dict[str, Any]]


class Releases(StrEnum):
    """When a submission calls ``release``."""

    ALWAYS = "always"
    """The submit leaves the job held."""
    ADOPTED = "adopted"
    """The submit starts the job itself; a job is held only when its submit died in between, and was adopted."""
    NEVER = "never"


@dataclass(frozen=True)
class System:
    """One system, as the harness knows it.

    :param stand_in: its key in the lab.
    :param client: dotted path of the class that implements ``RemoteSystem``.
    :param work: the step's work, for an exit code and how many real seconds it takes.
    :param well: what the lab says of a job that ended with 0.
    :param badly: what it says of one that ended with :data:`BAD`.
    :param protection: as the client declares it.
    :param settle: seconds, on fast time: as the client declares it.
    :param weight: how often random cases have it.
    :param share: how often the sample has it.
    :param fates: what the lab can make of a job.
    :param knows: operations that it does not have, or not at every point, and those that meet their faults instead.
    :param meets: by point, the operation that meets a fault there, where it is not the one that does elsewhere.
    :param cannot: kinds of faults that its protocol has no meaning for.
    :param after_settle: operations that may take effect long after the settle time and do no harm.
    :param waits: its job goes on after the submission.
    :param going: the lab's states of a job that comes to an end by itself.
    :param long: how many real seconds a job runs that is to be struck while it is waited for.
    :param patience: how many seconds, on fast time, a client waits for an answer.
    :param connection: changes an Airflow connection of the lab for fast time.
    :param furnish: puts into a stand-in what its work needs.
    :param busy: a stand-in still has something under way beside its jobs and late requests.
    :param results: the lab's record, where what a job came to is not on it.
    :param prepare: adapts the package to fast time in the process that tries are forked from.
    :param adapt: makes another system of it, in the process of a try.
    """

    stand_in: str
    step: str
    client: str
    work: Work
    well: str
    badly: str
    protection: Protection
    settle: float = 10.0
    weight: int = 4
    share: int = 2
    releases: Releases = Releases.NEVER
    fates: tuple[str, ...] = ("fail", "purge", "abend")
    knows: Mapping[str, str] = field(default_factory=dict)
    meets: Mapping[str, str] = field(default_factory=dict)
    cannot: frozenset[str] = frozenset()
    after_settle: frozenset[str] = frozenset({"submit", "release"})
    waits: bool = True
    going: frozenset[str] = frozenset({"waiting", "running"})
    long: float = 0.9
    patience: float = PATIENCE
    connection: Callable[[dict[str, Any]], dict[str, Any]] = lambda given: given
    furnish: Callable[[Any], None] = lambda stand_in: None
    busy: Callable[[Any], bool] = lambda stand_in: False
    results: Callable[[Any, Iterable[LabJob], bool], list[LabJob]] = lambda stand_in, jobs, good: list(jobs)
    prepare: Callable[[], None] = lambda: None
    adapt: Callable[[], None] = lambda: None

    @property
    def client_class(self) -> Any:
        """The class of :attr:`client`."""
        return resolve(self.client)

    @property
    def unprotected(self) -> bool:
        return self.protection is Protection.UNPROTECTED

    @property
    def forgets_with_the_claim(self) -> bool:
        """What a hand takes away that removes a job without a trace is also all that could prove that it ran."""
        return self.protection is Protection.ATOMIC


# z/OSMF.


def _jcl(code: int, seconds: float) -> dict[str, Any]:
    parm = f"RC={code},SLEEP={seconds},SAY={SAYS}"
    return {"jcl": f"//KILLS JOB (ACCT),'KILLS',CLASS=A\n//STEP1 EXEC PGM=LABPROG,PARM='{parm}'"}


def _impatient(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "extra": {**given["extra"], "timeout": PATIENCE}}


def _without_hold() -> None:
    from airflow_enterprise_orch.delegation.system import Capabilities
    from airflow_enterprise_orch.systems.mainframe import jcl
    from airflow_enterprise_orch.systems.mainframe.zosmf import ZosmfSystem

    ZosmfSystem.capabilities = property(lambda _self: Capabilities(Protection.UNPROTECTED))  # type: ignore[assignment,method-assign]
    jcl.held = lambda text, job_class="": text


# Control-M.


def _order(code: int, seconds: float) -> dict[str, Any]:
    return {"folder": "LAB", "job": "LABJOB", "variables": {"RC": str(code), "SLEEP": str(seconds), "SAY": SAYS}}


# UNIX.


def _script(code: int, seconds: float) -> dict[str, Any]:
    return {"script": f"sleep {seconds}; echo {SAYS}; exit {code}"}


def _impatient_commands() -> None:
    from airflow_enterprise_orch.systems.unix import hook

    place = hook._place
    hook._place = lambda *given: dataclasses.replace(place(*given), timeout=timedelta(seconds=PATIENCE))


# SAP.


def _parameters(code: int, seconds: float) -> dict[str, str]:
    return {"P_RC": str(code), "P_SLEEP": str(seconds), "P_SAY": SAYS}


# Containers.


def _container(code: int, seconds: float) -> dict[str, Any]:
    return {"image": "lab/tools:1", "command": ["sh", "-c", _script(code, seconds)["script"]], "grace": 1}


def _fast_lease() -> None:
    """Let the clock by which a start is still allowed run as fast as everything else."""
    from airflow_enterprise_orch.systems.container import engine

    real = engine._now
    engine._now = lambda: real() * RATE


def _provision(code: int, seconds: float) -> dict[str, Any]:
    end = f"exit {code}" if code else f"touch up; echo {SAYS}; sleep 60"
    command = ["sh", "-c", f"sleep {seconds}; {end}"]
    return {**_container(code, seconds), "command": command, "health": {"command": ["test", "-e", "up"], "interval": 1}}


def _coming_up(stand_in: Any) -> bool:
    return any(each.state == "running" and each.health != "healthy" for each in stand_in.engine.containers.values())


def _what_is_up(stand_in: Any, jobs: Iterable[LabJob], _good: bool) -> list[LabJob]:
    """Say what became of instances: one that is healthy is what was asked for, and goes on."""
    up = {each.record.id: each.healthy_at for each in stand_in.engine.containers.values() if each.health == "healthy"}
    return [
        dataclasses.replace(job, state="ended", ended=up[job.id], result="healthy")
        if job.state == "running" and job.id in up
        else job
        for job in jobs
    ]


INSTANCE, NO_INSTANCE = "0123456789ab", "ba9876543210"


def _removal(code: int, _seconds: float) -> dict[str, Any]:
    return {"instance": NO_INSTANCE if code else INSTANCE}  # what is gone already is removed, too


def _an_instance(stand_in: Any) -> None:
    body = {"Image": "lab/web:1", "Cmd": ["true"], "Labels": {"orch.kind": "instance"}}
    stand_in.engine.create(INSTANCE, body, [])
    stand_in.engine.records.clear()


# Shares.

PLACE, CONTENT = "kills/answer.txt", f"{SAYS}\n"
TAKEN = "samples/DISK FULL.txt"
"""Somebody else's file: a delivery there is a conflict, and must leave it as it is."""


def _delivery(code: int, _seconds: float) -> dict[str, Any]:
    return {"to": TAKEN if code else PLACE, "content": CONTENT}


def _impatient_s3(given: dict[str, Any]) -> dict[str, Any]:
    # Its client runs in threads, where time is the real one.
    return {**given, "extra": {**given["extra"], "config_kwargs": {"read_timeout": PATIENCE / RATE}}}


def _what_lies_there(stand_in: Any, jobs: Iterable[LabJob], good: bool) -> list[LabJob]:
    """Say what became of deliveries: the lab's record is of the journal only, and the bucket is what counts."""
    objects = stand_in.objects() if hasattr(stand_in, "objects") else _files(stand_in.home)
    if good:
        result = "delivered" if objects.get(PLACE) == CONTENT.encode() else "not delivered"
    else:
        result = "overwritten" if objects.get(TAKEN) == CONTENT.encode() else "left alone"
    return [dataclasses.replace(job, result=result) for job in jobs]


def _files(home: Path) -> dict[str, bytes]:
    return {name: (home / name).read_bytes() for name in (PLACE, TAKEN) if (home / name).is_file()}


def _taken(stand_in: Any) -> None:
    """Put somebody else's file there, which the lab's S3 has by itself."""
    file = stand_in.home / TAKEN
    file.parent.mkdir()
    file.write_bytes(SAMPLES[TAKEN])


def _wait(code: int, seconds: float) -> dict[str, Any]:
    # Nobody can say that a file fails to come: both of these lie there.
    pattern = "DISK*.txt" if code else "ANSWER=*.txt"
    return {"folder": "samples", "pattern": pattern, "stable": f"{round(seconds * RATE)}s"}


# Windows.

WINDOWS_PATIENCE = 60.0
"""A call of PowerShell is some ten requests, and the client has threads, where time is the real one."""
TASK = r"\Kills\Booked"


def _program(code: int, seconds: float) -> dict[str, Any]:
    return {"program": r"C:\Lab\LabProg.exe", "arguments": [f"SLEEP={seconds}", f"SAY={SAYS}", f"RC={code}"]}


def _existing_task(code: int, seconds: float) -> dict[str, Any]:
    return {"task": TASK, "arguments": [str(seconds), str(code)]}


def _register_task(stand_in: Any) -> None:
    from airflow_enterprise_orch.lab.windows_scheduler import PARALLEL

    # In parallel: a run that was deleted leaves its instance behind, and the next one's would be refused as busy.
    stand_in.host.add_task(TASK, ["SLEEP=$(Arg0)", f"SAY={SAYS}", "RC=$(Arg1)"], PARALLEL)


def _impatient_windows() -> None:
    from airflow_enterprise_orch.systems.windows import hook
    from airflow_enterprise_orch.systems.windows.psrp import PsrpHost

    vars(hook)["PsrpHost"] = functools.partial(PsrpHost, timeout=WINDOWS_PATIENCE)


ZOSMF = System(
    stand_in="zosmf",
    step="mainframe.job",
    client="airflow_enterprise_orch.systems.mainframe.zosmf:ZosmfSystem",
    work=_jcl,
    well="CC 0000",
    badly="CC 0012",
    protection=Protection.TWO_PHASE,
    weight=10,
    share=8,
    releases=Releases.ALWAYS,
    connection=_impatient,
)
WINRM = System(
    stand_in="winrm",
    step="windows.task",
    client="airflow_enterprise_orch.systems.windows.task_scheduler:WindowsTasks",
    work=_program,
    well="exit 0",
    badly=f"exit {BAD}",
    protection=Protection.ATOMIC,
    settle=30.0,
    weight=3,
    share=1,
    releases=Releases.ADOPTED,
    long=2.5,
    patience=WINDOWS_PATIENCE,
    prepare=_impatient_windows,
)

DOCKER = System(
    stand_in="docker",
    step="container.run",
    client="airflow_enterprise_orch.systems.container.engine:EngineSystem",
    work=_container,
    well="exit 0",
    badly=f"exit {BAD}",
    protection=Protection.ATOMIC,
    releases=Releases.ADOPTED,
    # An engine starts once more what has ended. So a start that arrives after the settle time would run the work
    # twice, and that none does is what the settle time promises. A late create finds its name taken.
    after_settle=frozenset({"submit"}),
    going=frozenset({"running"}),  # "waiting" was created, and only a start makes it run
    connection=_impatient,
    prepare=_fast_lease,
)
S3 = System(
    stand_in="s3",
    step="fileshare.deliver",
    client="airflow_enterprise_orch.systems.fileshare.deliveries:FileShare",
    work=_delivery,
    well="delivered",
    badly="left alone",
    protection=Protection.ATOMIC,
    weight=3,
    share=1,
    fates=("purge",),
    # A delivery is over when it is on record: nothing is released, and polling looks for that record.
    knows={"release": "submit", "poll": "find", "output": "find"},
    waits=False,
    connection=_impatient_s3,
    results=_what_lies_there,
)

SMB = dataclasses.replace(
    S3,
    stand_in="smb",
    weight=1,
    # No HTTP there; and its client, in threads with the real time, gives up long after everything else.
    cannot=frozenset({"html_503", "timeout", "timeout_committed", "late", "too_late"}),
    connection=lambda given: given,
)
"""A real server, see :mod:`tests.smb_stand_in`; only root can start it, see :func:`played_on`."""

SYSTEMS: Mapping[str, System] = {
    "zosmf": ZOSMF,
    "ssh": System(
        stand_in="ssh",
        step="unix.script",
        client="airflow_enterprise_orch.systems.unix.ssh_jobs:SshJobs",
        work=_script,
        well="exit 0",
        badly=f"exit {BAD}",
        protection=Protection.ATOMIC,
        weight=8,
        share=6,
        knows={"release": "submit"},
        cannot=frozenset({"html_503"}),  # no HTTP there
        busy=lambda stand_in: bool(stand_in.busy),
        prepare=_impatient_commands,
    ),
    # What z/OSMF would be without the hold.
    "zosmf_unprotected": dataclasses.replace(
        ZOSMF,
        protection=Protection.UNPROTECTED,
        weight=4,
        share=5,
        releases=Releases.NEVER,
        knows={"release": "submit"},
        adapt=_without_hold,
    ),
    "controlm": System(
        stand_in="controlm",
        step="mainframe.scheduler_job",
        client="airflow_enterprise_orch.systems.mainframe.controlm:ControlmSystem",
        work=_order,
        well="Ended OK",
        badly="Ended Not OK",
        protection=Protection.TWO_PHASE,
        releases=Releases.ALWAYS,
        # Its submit asks for the order's jobs, which is "find" in the lab: were that lost, so were its answer.
        meets={"after_answer": "poll"},
        connection=_impatient,
    ),
    "sap_xbp": System(
        stand_in="sap_soap_rfc",
        step="sap.background_job",
        client="airflow_enterprise_orch.systems.sap.xbp:XbpSystem",
        work=lambda code, seconds: {"program": "ZLABPROG", "parameters": _parameters(code, seconds)},
        well="F",
        badly=f"F RC {BAD}",
        protection=Protection.TWO_PHASE,
        releases=Releases.ALWAYS,
        connection=_impatient,
    ),
    "sap_odata": System(
        stand_in="sap_odata",
        step="sap.application_job",
        client="airflow_enterprise_orch.systems.sap.application_jobs:ApplicationJobs",
        work=lambda code, seconds: {"template": "ZLAB_PROGRAM", "parameters": _parameters(code, seconds)},
        well="F",
        badly=f"F RC {BAD}",
        protection=Protection.UNPROTECTED,
        settle=30.0,
        knows={"release": "submit"},
        connection=_impatient,
    ),
    "docker": DOCKER,
    "provision": dataclasses.replace(
        DOCKER,
        step="container.provision",
        work=_provision,
        well="healthy",
        weight=1,
        share=1,
        fates=("fail", "abend"),
        going=frozenset(),  # an instance goes on
        busy=_coming_up,
        results=_what_is_up,
    ),
    "remove": dataclasses.replace(
        DOCKER,
        step="container.remove",
        work=_removal,
        well="removed",
        badly="removed",
        weight=1,
        share=1,
        releases=Releases.NEVER,  # its submit goes all the way
        fates=("fail",),  # has no meaning for it
        knows={"release": "cancel", "poll": "find", "output": "find"},
        waits=False,
        furnish=_an_instance,
    ),
    "s3": S3,
    "sftp": dataclasses.replace(
        S3,
        stand_in="ssh",
        weight=1,
        cannot=frozenset({"html_503"}),
        busy=lambda stand_in: bool(stand_in.busy),
        connection=lambda given: given,
        furnish=_taken,
    ),
    "await": dataclasses.replace(
        S3,
        step="fileshare.await",
        work=_wait,
        well="arrived",
        badly="arrived",
        weight=1,
        knows={"release": "submit", "output": "find"},
        waits=True,
        going=frozenset(),  # it ends when somebody looks
        results=lambda stand_in, jobs, good: list(jobs),
    ),
    "winrm": WINRM,
    "winrm_task": dataclasses.replace(
        WINRM,
        work=_existing_task,
        weight=2,
        releases=Releases.NEVER,  # the script that claims is the one that starts
        fates=("fail", "abend"),  # nobody removes a task that exists
        knows={"release": "submit"},
        furnish=_register_task,
    ),
    "smb": SMB,
}
"""By the name that a case has. The first three stand for one class of protection each; every other one is a system that
is delegated to."""


def played_on(system: str) -> str:
    """Return the system on which a case of ``system`` is played: a share by SFTP where no Samba can be started.

    So a seed is the same case everywhere, and no blow of a case is left out.
    """
    return "sftp" if system == "smb" and not samba.HERE else system
