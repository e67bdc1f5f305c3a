"""What the cases of one worker share: the process that tries are forked from, and two labs, so that a connection can be
pointed to another system."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest.mock import patch

from airflow_enterprise_orch.lab import server
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import LabJob

from .plan import Case
from .systems import BAD, System
from .zygote import Silent, Try, Zygote

T = TypeVar("T")
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
            self._labs: dict[str, list[LabThread]] = {}
            self.place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="enterprise-orch-kills-")))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def labs(self, case: Case) -> list[LabThread]:
        """Return the two labs with the case's stand-in, starting them when they are first needed."""
        name = case.about.stand_in
        if name not in self._labs:
            with patch.dict(server.STAND_INS, {"smb": "tests.smb_stand_in:SmbStandIn"}):
                self._labs[name] = [self._stack.enter_context(LabThread([name])) for _ in range(2)]
        return self._labs[name]

    def reset(self, case: Case) -> None:
        """Make both systems as new, and plan what becomes of the jobs."""
        for lab in self.labs(case):
            lab.reset(case.about.stand_in)
            lab.run(_do(functools.partial(case.about.furnish, lab.stand_in(case.about.stand_in))))
        for fate in case.fates:
            self.fault(case, {"do": fate, "on": "submit"})

    def fault(self, case: Case, fault: Mapping[str, Any]) -> None:
        """Plan a fault on the system that the step uses."""
        self.labs(case)[0].fault(case.about.stand_in, **dict(fault))

    def forget_faults(self, case: Case) -> None:
        """Make no more of the faults that are still planned."""
        lab = self.labs(case)[0]
        lab.run(_do(lab.stand_in(case.about.stand_in).faults.clear))

    def unmet(self, case: Case) -> list[tuple[str, str]]:
        """Return the faults that nobody met: operation and what was planned for it."""
        lab = self.labs(case)[0]
        stand_in = lab.stand_in(case.about.stand_in)
        return lab.run(_do(lambda: [(fault.on, fault.do) for fault in stand_in.faults.faults]))

    def jobs(self, case: Case) -> list[LabJob]:
        """Return what both systems say was ever handed over."""
        about = case.about
        found: list[LabJob] = []
        for lab in self.labs(case):
            stand_in = lab.stand_in(about.stand_in)
            found += lab.run(_do(functools.partial(_record, about, stand_in, case.good)))
        return found

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
        about = case.about
        for lab in self.labs(case):
            stand_in: Any = lab.stand_in(about.stand_in)
            while (
                stand_in.late
                or about.busy(stand_in)
                or any(job.state in about.going for job in lab.jobs(about.stand_in))
            ):
                if time.monotonic() > deadline:
                    raise Silent
                time.sleep(LOOK)

    def start(self, case: Case, *, elsewhere: bool, number: int, owner: str, **more: Any) -> Try:
        """Start one process of the case's step."""
        about = case.about
        endpoint = self.labs(case)[1 if elsewhere else 0].endpoints[about.stand_in]
        started = self.zygote.start(
            {
                **more,
                "owner": owner,
                "system": case.system,
                "step": about.step,
                "work": about.work(0 if case.good else BAD, case.seconds),
                "rules": list(case.rules),
                "connection": about.connection(endpoint["connection"]),
                "store": str(self.place / "store.db"),
                "seed": f"{case.seed}:{number}",
            }
        )
        started.owner = owner
        return started


def _record(about: System, stand_in: Any, good: bool) -> list[LabJob]:
    # Copies: a job that goes on would change under the eyes of who judges.
    return about.results(stand_in, [dataclasses.replace(job) for job in stand_in.jobs()], good)


async def _do(act: Callable[[], T]) -> T:
    """Act in the lab's event loop."""
    return act()
