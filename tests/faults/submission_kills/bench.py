"""What the cases of one worker share: the process that tries are forked from, and two labs, so that a connection can be
pointed to another system."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import LabJob

from .plan import Case
from .zygote import Silent, Try, Zygote

LOOK = 0.01
PATIENCE = 30.0


class Bench:
    """A context manager; serves one case at a time."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # First the process that forks: this one has threads as soon as a lab runs in it.
            self.zygote = Zygote()
            stack.enter_context(self.zygote)
            self.labs = [stack.enter_context(LabThread(["zosmf", "ssh"])) for _ in range(2)]
            self.place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="enterprise-orch-kills-")))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def reset(self, case: Case) -> None:
        """Make both systems as new, and plan what becomes of the jobs."""
        for lab in self.labs:
            lab.reset(case.stand_in)
        for fate in case.fates:
            self.fault(case, {"do": fate, "on": "submit"})

    def fault(self, case: Case, fault: Mapping[str, Any]) -> None:
        """Plan a fault on the system that the step uses."""
        self.labs[0].fault(case.stand_in, **dict(fault))

    def forget_faults(self, case: Case) -> None:
        """Make no more of the faults that are still planned."""
        stand_in = self.labs[0].stand_in(case.stand_in)

        async def forget() -> None:
            stand_in.faults.clear()

        self.labs[0].run(forget())

    def unmet(self, case: Case) -> list[tuple[str, str]]:
        """Return the faults that nobody met: operation and what was planned for it."""
        stand_in = self.labs[0].stand_in(case.stand_in)

        async def read() -> list[tuple[str, str]]:
            return [(fault.on, fault.do) for fault in stand_in.faults.faults]

        return self.labs[0].run(read())

    def jobs(self, case: Case) -> list[LabJob]:
        """Return what both systems say was ever handed over."""
        return [job for lab in self.labs for job in lab.jobs(case.stand_in)]

    def committed(self, case: Case, key: str) -> dict[str, list[str]]:
        """Return when the jobs of a key came that are still to be found, by key; of every key for ""."""
        found: dict[str, list[str]] = {}
        for job in self.jobs(case):
            if key in ("", job.key) and job.state not in ("purged", "discarded"):
                found.setdefault(job.key, []).append(job.submitted)
        return found

    def settle(self, case: Case) -> None:
        """Wait until nothing is on its way any more and no job runs."""
        deadline = time.monotonic() + PATIENCE
        for lab in self.labs:
            stand_in: Any = lab.stand_in(case.stand_in)
            while (
                stand_in.late
                or (case.stand_in == "ssh" and stand_in.busy)
                or any(job.state in ("waiting", "running") for job in lab.jobs(case.stand_in))
            ):
                if time.monotonic() > deadline:
                    raise Silent
                time.sleep(LOOK)

    def start(self, case: Case, *, elsewhere: bool, number: int, owner: str, **more: Any) -> Try:
        """Start one process of the case's step."""
        endpoint = self.labs[1 if elsewhere else 0].endpoints[case.stand_in]
        connection = endpoint["connection"]
        if case.stand_in == "zosmf":
            # A second, on fast time.
            connection = {**connection, "extra": {**connection["extra"], "timeout": 20}}
        started = self.zygote.start(
            {
                **more,
                "owner": owner,
                "step": "unix.script" if case.stand_in == "ssh" else "mainframe.job",
                "work": _work(case),
                "rules": list(case.rules),
                "connection": connection,
                "unprotected": case.unprotected,
                "store": str(self.place / "store.db"),
                "seed": f"{case.seed}:{number}",
            }
        )
        started.owner = owner
        return started


def _work(case: Case) -> dict[str, Any]:
    code = 0 if case.good else 12
    if case.stand_in == "ssh":
        return {"script": f"sleep {case.seconds}; echo ANSWER=42; exit {code}"}
    parm = f"RC={code},SLEEP={case.seconds},SAY=ANSWER=42"
    return {"jcl": f"//KILLS JOB (ACCT),'KILLS',CLASS=A\n//STEP1 EXEC PGM=LABPROG,PARM='{parm}'"}
