"""What the contract suite needs to know of each system: its stand-in in the lab, and how to say five kinds of work.

A new system adds one subject here; a test fails while a registered system has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def _jcl(parm: str) -> dict[str, Any]:
    return {"jcl": f"//CONTRACT JOB (ACCT),'CONTRACT',CLASS=A,MSGCLASS=H\n//STEP1 EXEC PGM=LABPROG,PARM='{parm}'"}


def _script(body: str) -> dict[str, Any]:
    return {"script": body}


@dataclass(frozen=True)
class Subject:
    """One system under the contract.

    :param stand_in: its key in the lab.
    :param good: work that ends well and says ``ANSWER=42``.
    :param bad: work that ends with return code 12 and says ``DISK FULL``.
    :param long: work that runs for a minute.
    :param brief: work that runs for about a second.
    :param output: the ``outputs`` rule that reads the answer.
    :param bad_code: how the system words the bad result.
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
    )
}
