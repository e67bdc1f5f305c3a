"""What the contract suite needs to know of each system: its stand-in in the lab, and how to say five kinds of work.

A new system adds one subject here; a test fails while a registered system has none. A system that is reached in more
than one way (another protocol, another kind of job) has one for each further way, in :data:`WAYS`: they are put to the
part of the contract that is marked ``every_way``, which is what depends on the client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_enterprise_orch.lab.s3 import SAMPLES

OTHER_STEP = "__step__"
"""In a kind of work: the step type, where it is not the subject's own."""


def _jcl(parm: str) -> dict[str, Any]:
    return {"jcl": f"//CONTRACT JOB (ACCT),'CONTRACT',CLASS=A,MSGCLASS=H\n//STEP1 EXEC PGM=LABPROG,PARM='{parm}'"}


def _order(**variables: str) -> dict[str, Any]:
    return {"folder": "LAB", "job": "LABJOB", "variables": variables}


def _script(body: str) -> dict[str, Any]:
    return {"script": body}


def _container(body: str) -> dict[str, Any]:
    return {"image": "lab/tools:1", "command": ["sh", "-c", body], "grace": 1}


def _program(**parameters: str) -> dict[str, Any]:
    return {"program": "ZLABPROG", "parameters": {f"P_{name.upper()}": value for name, value in parameters.items()}}


def _template(**parameters: str) -> dict[str, Any]:
    return {"template": "ZLAB_PROGRAM", "parameters": _program(**parameters)["parameters"]}


def _lab_program(*arguments: str) -> dict[str, Any]:
    return {"program": r"C:\Lab\LabProg.exe", "arguments": list(arguments)}


def _waiting(pattern: str, stable: str) -> dict[str, Any]:
    return {"folder": "samples", "pattern": pattern, "stable": stable}


def _await(pattern: str, stable: str) -> dict[str, Any]:
    return {OTHER_STEP: "fileshare.await", **_waiting(pattern, stable)}


def _delivery(to: str) -> dict[str, Any]:
    return {"to": to, "content": "done"}


def _samples(stand_in: Any) -> None:
    """Put there what the lab's S3 has by itself."""
    folder = stand_in.home / "samples"
    folder.mkdir()
    for name, content in SAMPLES.items():
        (stand_in.home / name).write_bytes(content)


def _instance(body: str, health: str = "true") -> dict[str, Any]:
    return {**_container(body), "health": {"command": [health], "interval": 1}}


INSTANCE = "0123456789ab"


def _an_instance(stand_in: Any) -> None:
    """Make what there is to remove."""
    stand_in.engine.create(INSTANCE, {"Image": "lab/web:1", "Cmd": ["true"], "Labels": {"orch.kind": "instance"}}, [])
    stand_in.engine.records.clear()


@dataclass(frozen=True)
class Subject:
    """One system under the contract.

    :param stand_in: its key in the lab.
    :param good: work that ends well and says ``ANSWER=42``.
    :param bad: work that ends with return code 12 and says ``DISK FULL``.
    :param long: work that runs for a minute.
    :param brief: work that runs for about a second.

    A way may have no ``bad``, ``long`` or ``brief`` work; what needs it is not asked of it.
    :param output: the ``outputs`` rule that reads the answer.
    :param bad_code: how the system words the bad result.
    :param furnish: puts into the stand-in what its work needs.
    :param unprotected: what was sent, never answered and is not found is a question for a person.
    """

    system: str
    step: str
    stand_in: str
    good: Mapping[str, Any]
    bad: Mapping[str, Any]
    long: Mapping[str, Any]
    brief: Mapping[str, Any]
    output: Mapping[str, str]
    bad_code: str
    furnish: Callable[[Any], None] = lambda stand_in: None
    unprotected: bool = False
    secrets: tuple[str, ...] = field(default=("password", "private_key"))


SUBJECTS = {
    subject.system: subject
    for subject in (
        Subject(
            system="mainframe",
            step="mainframe.job",
            stand_in="zosmf",
            good=_jcl("RC=0,SAY=ANSWER=42"),
            bad=_jcl("RC=12,SAY=DISK FULL"),
            long=_jcl("RC=0,SLEEP=60"),
            brief=_jcl("RC=0,SLEEP=1,SAY=ANSWER=42"),
            output={"spool": "SYSPRINT", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="CC 0012",
        ),
        Subject(
            system="mainframe_scheduler",
            step="mainframe.scheduler_job",
            stand_in="controlm",
            good=_order(SAY="ANSWER=42"),
            bad=_order(SAY="DISK FULL", RC="12"),
            long=_order(SLEEP="60"),
            brief=_order(SLEEP="1", SAY="ANSWER=42"),
            output={"read": "output", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="Ended Not OK, completion code 12",
        ),
        Subject(
            system="unix",
            step="unix.script",
            stand_in="ssh",
            good=_script("echo ANSWER=42"),
            bad=_script("echo DISK FULL; exit 12"),
            long=_script("sleep 60"),
            brief=_script("sleep 1; echo ANSWER=42"),
            output={"log": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="exit 12",
        ),
        Subject(
            system="fileshare",
            step="fileshare.deliver",
            stand_in="s3",
            good=_delivery("contract/ANSWER=42.txt"),
            bad=_delivery("samples/DISK FULL.txt"),  # somebody else's file lies there
            long=_await("never comes.*", "0s"),
            brief=_await("ANSWER=*.txt", "1s"),
            output={"from": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="conflict",
        ),
        Subject(
            system="windows",
            step="windows.task",
            stand_in="winrm",
            good=_lab_program("SAY=ANSWER=42"),
            bad=_lab_program("SAY=DISK FULL", "RC=12"),
            long=_lab_program("SLEEP=60"),
            brief=_lab_program("SLEEP=1", "SAY=ANSWER=42"),
            output={"log": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="exit 12",
        ),
        Subject(
            system="container",
            step="container.run",
            stand_in="docker",
            good=_container("echo ANSWER=42"),
            bad=_container("echo DISK FULL; exit 12"),
            long=_container("sleep 60"),
            brief=_container("sleep 1; echo ANSWER=42"),
            output={"log": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="exit 12",
        ),
        Subject(
            system="sap",
            step="sap.background_job",
            stand_in="sap_soap_rfc",
            good=_program(say="ANSWER=42"),
            bad=_program(say="DISK FULL", rc="12"),
            long=_program(sleep="60"),
            brief=_program(sleep="1", say="ANSWER=42"),
            output={"source": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="RC 12",
        ),
        Subject(
            system="sap_odata",
            step="sap.application_job",
            stand_in="sap_odata",
            good=_template(say="ANSWER=42"),
            bad=_template(say="DISK FULL", rc="12"),
            long=_template(sleep="60"),
            brief=_template(sleep="1", say="ANSWER=42"),
            output={"source": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
            bad_code="return code 12",
            unprotected=True,
        ),
    )
}

WAYS = {
    "sftp": replace(SUBJECTS["fileshare"], stand_in="ssh", furnish=_samples),
    "smb": replace(SUBJECTS["fileshare"], stand_in="smb"),
    "await": Subject(
        system="fileshare",
        step="fileshare.await",
        stand_in="s3",
        good=_waiting("ANSWER=*.txt", "0s"),
        bad={},
        long=_waiting("never comes.*", "0s"),
        brief=_waiting("ANSWER=*.txt", "1s"),
        output={"from": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
        bad_code="",
    ),
    "provision": Subject(
        system="container",
        step="container.provision",
        stand_in="docker",
        good=_instance("echo ANSWER=42; sleep 60"),
        bad=_instance("echo DISK FULL; exit 12"),
        long=_instance("sleep 60", health="false"),
        brief=_instance("echo ANSWER=42; sleep 60"),
        output={"instance": "log", "match": r"ANSWER=(\d+)", "type": "integer"},
        bad_code="exit 12",
    ),
    "remove": Subject(
        system="container",
        step="container.remove",
        stand_in="docker",
        good={"instance": INSTANCE},
        bad={},
        long={},
        brief={},
        output={},
        bad_code="",
        furnish=_an_instance,
    ),
}
