"""Two hundred value streams in three shapes, and how one instance of each would have gone. Pure.

``orders`` decides by a rule and asks a person; ``settlements`` works through a list and decides by a table; ``batches``
is a nightly chain that forks once. Their templates are compiled by our own compiler; the instances are thrown by dice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

DOMAINS = ("Sales", "Claims", "Payments", "Lending", "Treasury", "Human resources", "Logistics", "Regulatory reporting")
CRITICALITY = ("critical", "high", "normal", "low")

HEAD = """value_stream: {id}
title: "{title}"
business:
  {{domain: "{domain}", owner: {owner}, criticality: {criticality}, key: "{{{{ params.key }}}}", duplicates: allow}}
params:
  key: {{type: string, title: Business key, default: "none"}}
  amount: {{type: number, minimum: 0, default: 100}}
  accounts: {{type: list, items: string, default: [A]}}
due: {{within: {within}m}}
limits: {{instances: 500, steps: 20}}
"""

ORDERS = """steps:
  check: {title: Check the credit, mainframe.job: {connection: zos_prod, dataset: PROD.JCL(CREDCHK)}}
  book: {title: Book, after: [check], mainframe.scheduler_job: {connection: controlm_prod, folder: BOOKING, job: BOOK}}
  invoice: {title: Post the invoice, after: [book], sap.background_job: {connection: sap_erp, program: ZPOST}}
  route:
    title: Is a release needed?
    after: [invoice]
    branch: [{when: params.amount > 10000.0, then: [approve]}, {otherwise: [provision]}]
  approve: {title: Release it, approval: {subject: "Release {{ params.key }}?"}}
  provision: {title: Provision it, after: [approve], unix.script: {connection: virtual_server, command: /opt/provision}}
  deliver:
    title: Deliver the letter
    after: [provision]
    fileshare.deliver: {connection: customer_share, to: "customers/{{ params.key }}.txt", content: Dear customer}
  close: {title: Close it, after: [deliver], windows.task: {connection: dynamics, task: '\\Dynamics\\Import'}}
"""

SETTLEMENTS = """steps:
  collect: {title: Collect the positions, mainframe.job: {connection: zos_prod, dataset: PROD.JCL(COLLECT)}}
  post:
    title: Post each account
    after: [collect]
    for_each: {item: params.accounts, max: 20, at_once: 5}
    sap.background_job: {connection: sap_erp, program: ZPOST, parameters: {P_ACC: "{{ item }}"}}
  treatment:
    title: How is it treated?
    after: [post]
    decision:
      hit: first
      inputs: {amount: params.amount}
      outputs: {treatment: string}
      rows: [{when: {amount: "> 10000"}, then: {treatment: release}}, {otherwise: {treatment: book}}]
  report: {title: Report, after: [treatment], container.run: {connection: container_host, image: "lab/report:1"}}
  deliver:
    title: Deliver the report
    after: [report]
    fileshare.deliver: {connection: customer_share, to: "reports/{{ params.key }}.txt", content: Report}
"""

BATCHES = """schedule: {cron: "0 20 * * *", timezone: Europe/Berlin}
steps:
  extract: {title: Extract, mainframe.job: {connection: zos_prod, dataset: PROD.JCL(EXTRACT)}}
  transfer:
    title: Transfer
    after: [extract]
    fileshare.deliver: {connection: customer_share, to: "in/{{ params.key }}.csv", content: Rows}
  load: {title: Load into SAP, after: [transfer], sap.background_job: {connection: sap_erp, program: ZLOAD}}
  check: {title: Check the totals, after: [load], unix.script: {connection: virtual_server, command: /opt/check}}
  figures: {title: Figures, after: [check], container.run: {connection: container_host, image: "lab/figures:1"}}
  archive: {title: Archive, after: [check], unix.script: {connection: virtual_server, command: /opt/archive}}
  transform: {title: Form, after: [figures, archive], mainframe.job: {connection: zos_prod, dataset: PROD.JCL(SHAPE)}}
  take_in: {title: Import, after: [transform], windows.task: {connection: dynamics, task: '\\Dynamics\\Import'}}
  verify: {title: Verify, after: [take_in], unix.script: {connection: virtual_server, command: /opt/verify}}
  publish:
    title: Publish
    after: [verify]
    fileshare.deliver: {connection: customer_share, to: "out/{{ params.key }}.csv", content: Rows}
  close: {title: Close, after: [publish], mainframe.scheduler_job: {connection: controlm_prod, folder: EOD, job: EN}}
"""


@dataclass(frozen=True)
class Work:
    """One task of a shape.

    :param minutes: how long it usually takes.
    :param system: identity of the system that a delegated one goes to; "" of all others.
    """

    task: str
    minutes: float
    system: str = ""
    kind: str = ""


def _on(system: str, task: str, minutes: float) -> Work:
    return Work(task, minutes, system)


ZOS, CONTROLM, SAP = "zosmf://zos.example:443", "controlm://ctm.example:8443", "sap://erp.example/100"
UNIX, WINDOWS = "ssh://server.example:22", "winrm://dynamics.example:5986"
DOCKER, SHARE = "docker://host.example", "s3://customer-share"

SHAPES: dict[str, tuple[str, tuple[tuple[Work, ...], ...]]] = {
    "orders": (
        ORDERS,
        (
            (_on(ZOS, "check", 4),),
            (_on(CONTROLM, "book", 6),),
            (_on(SAP, "invoice", 9),),
            (Work("route", 0.02, kind="branch"),),
            (Work("approve", 45, kind="approval"), Work("route-provision", 0.01, kind="helper")),
            (_on(UNIX, "provision", 8),),
            (_on(SHARE, "deliver", 1),),
            (_on(WINDOWS, "close", 3),),
        ),
    ),
    "settlements": (
        SETTLEMENTS,
        (
            (_on(ZOS, "collect", 12),),
            (Work("post-items", 0.02, kind="helper"),),
            (Work("post-each", 10, SAP, "each"),),
            (Work("post", 0.02, kind="helper"),),
            (Work("treatment", 0.02, kind="decision"),),
            (_on(DOCKER, "report", 5),),
            (_on(SHARE, "deliver", 1),),
        ),
    ),
    "batches": (
        BATCHES,
        (
            (_on(ZOS, "extract", 15),),
            (_on(SHARE, "transfer", 2),),
            (_on(SAP, "load", 20),),
            (_on(UNIX, "check", 2),),
            (_on(DOCKER, "figures", 6), _on(UNIX, "archive", 4)),
            (_on(ZOS, "transform", 12),),
            (_on(WINDOWS, "take_in", 5),),
            (_on(UNIX, "verify", 2),),
            (_on(SHARE, "publish", 1),),
            (_on(CONTROLM, "close", 1),),
        ),
    ),
}
"""By shape its steps' text, and its tasks one after the other; those beside one another run at the same time."""


@dataclass(frozen=True)
class Stream:
    """One of the streams.

    :param weight: how often it runs, over the others.
    """

    id: str
    shape: str
    title: str
    domain: str
    owner: str
    criticality: str
    weight: float

    def template(self, version: int = 1) -> str:
        """Return the YAML; each version differs from the one before."""
        head = HEAD.format(
            id=self.id,
            title=self.title if version == 1 else f"{self.title}, version {version}",
            domain=self.domain,
            owner=self.owner,
            criticality=self.criticality,
            within=self.within,
        )
        return head + SHAPES[self.shape][0]

    @property
    def within(self) -> int:
        """Minutes in which an instance must be over."""
        return round(1.35 * sum(max(work.minutes for work in beside) for beside in SHAPES[self.shape][1]))


def streams(number: int) -> list[Stream]:
    """Return the streams; a few of them run often, most seldom."""
    shapes = list(SHAPES)
    return [
        Stream(
            f"{shapes[index % 3]}_{index:03}",
            shapes[index % 3],
            f"{DOMAINS[index % len(DOMAINS)]}: {shapes[index % 3]} {index}",
            DOMAINS[index % len(DOMAINS)],
            f"team-{index % 25:02}",
            CRITICALITY[index % len(CRITICALITY)],
            1 / (index // 3 + 3) ** 0.7,
        )
        for index in range(number)
    ]


@dataclass(frozen=True, slots=True)
class Task:
    """One task instance as it went.

    :param begins: seconds after the instance began.
    :param attempts: how many jobs a delegated one needed.
    :param ends: its state when it is over.
    """

    work: Work
    map_index: int
    begins: float
    lasts: float
    ends: str = "success"
    attempts: int = 1


@dataclass(frozen=True)
class Course:
    """How one instance goes, to its end.

    :param large: which way its deciding step takes.
    """

    tasks: tuple[Task, ...]
    large: bool
    items: int
    failed: bool
    lasts: float


def course(stream: Stream, dice: random.Random) -> Course:
    """Throw how an instance goes: 3 in 100 fail, 2 in 100 need a job again."""
    slots = SHAPES[stream.shape][1]
    large, items = dice.random() < 0.15, dice.randint(2, 7)
    fails = dice.random() < 0.03
    delegated = [number for number, beside in enumerate(slots) if beside[0].system]
    at_fault = dice.choice(delegated) if fails else -1
    again = dice.choice(delegated) if dice.random() < 0.02 else -1
    found: list[Task] = []
    at = 0.0
    for number, beside in enumerate(slots):
        if fails and number > at_fault:
            found += [Task(work, -1, at, 0.0, "upstream_failed") for work in beside]
            continue
        longest = 0.0
        for work in beside:
            if work.task in ("approve", "route-provision") and large != (work.task == "approve"):
                found.append(Task(work, -1, at, 0.0, "skipped"))
                continue
            for index in range(items) if work.kind == "each" else (-1,):
                lasts = work.minutes * 60 * dice.lognormvariate(0, 0.45)
                bad = number == at_fault and index in (-1, 0)
                attempts = 2 if number == again and index in (-1, 0) else 1
                found.append(Task(work, index, at, lasts, "failed" if bad else "success", attempts))
                longest = max(longest, lasts)
        at += longest + dice.uniform(0.5, 3)
    return Course(tuple(found), large, items, fails, at)


def held_up(going: Course, at: float, longer: float) -> Course:
    """Return a course in which what was at work at a moment goes on for longer, and the rest begins later."""
    tasks = tuple(
        replace(task, begins=task.begins + longer)
        if task.begins > at
        else replace(task, lasts=task.lasts + longer)
        if task.begins + task.lasts > at
        else task
        for task in going.tasks
    )
    return replace(going, tasks=tasks, lasts=going.lasts + longer)


def shares(chosen: list[Stream], number: int) -> Iterator[tuple[Stream, int]]:
    """Divide a number of instances among streams by their weights; exactly, and at least one each."""
    whole, left = sum(stream.weight for stream in chosen), number
    for place, stream in enumerate(chosen):
        rest = len(chosen) - place - 1
        some = left if not rest else min(left - rest, max(1, round(number * stream.weight / whole)))
        left -= some
        yield stream, some
