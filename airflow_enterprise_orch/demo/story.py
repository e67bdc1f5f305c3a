"""What the demo tells: twenty orders that together take every path of ``order_to_certificate``, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError

STREAM = "order_to_certificate"
DEFAULT_INSTANCES = 20

CONNECTIONS: Mapping[str, str] = {
    "zos_prod": "zosmf",
    "controlm_prod": "controlm",
    "sap_erp": "sap_soap_rfc",
    "sap_s4": "sap_odata",
    "virtual_server": "ssh",
    "container_host": "docker",
    "customer_share": "s3",
    "clearing_share": "s3",
    "regulator_share": "s3",
    "claims_share": "s3",
    "finance_share": "s3",
    "supplier_share": "s3",
    "print_shop": "ssh",
    "dynamics": "winrm",
    "incident_desk": "desk",
}
"""The Airflow connections that the shipped templates name, and the stand-in of the lab that each leads to."""

STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Credit", ("check_credit",)),
    ("Booked", ("book_order",)),
    ("Invoiced", ("post_invoice",)),
    ("Provisioned", ("provision_standard", "provision_large")),
    ("Certified", ("certify",)),
    ("Delivered", ("deliver_share", "deliver_post")),
    ("Completed", ("update_crm",)),
)
"""The delegated steps as the columns of the summary; of several in one column, an instance takes one."""

CHOICES: Mapping[str, str] = {
    "approve": "released by a person",
    "provision_standard": "standard",
    "provision_large": "large",
    "deliver_share": "by share",
    "deliver_post": "by post",
}
"""The steps that a branch chooses, in the words of the summary and in their order."""

CUSTOMERS = ("Adler GmbH", "Brook & Sons", "Cobalt Ltd", "Deltawerke AG", "Eastport Inc")


@dataclass(frozen=True, slots=True)
class Instance:
    """One order.

    :param expected: the steps that branches choose for it; the demo fails when it took other ones.
    """

    run_id: str
    params: Mapping[str, Any]
    expected: frozenset[str]

    @property
    def key(self) -> str:
        """The business key."""
        return str(self.params["order_id"])


_CASES: tuple[tuple[int, str], ...] = ((450, "A"), (4_200, "A"), (4_800, "B"), (18_000, "A"), (900, "C"))
"""Amount and credit class: small; medium and safe; medium and risky (a release); large (a release); small and risky."""


def instances(count: int = DEFAULT_INSTANCES) -> list[Instance]:
    """Return the orders; from the first twenty on every path is taken."""
    # Five cases, times two sizes, times two deliveries: twenty different orders.
    combinations = [(case, size, way) for size in ("standard", "large") for way in ("share", "post") for case in _CASES]
    return [
        _instance(number, amount, credit_class, size, way)
        for number, ((amount, credit_class), size, way) in enumerate(islice(cycle(combinations), count), start=1)
    ]


def _instance(number: int, amount: int, credit_class: str, size: str, way: str) -> Instance:
    order = f"ORD-{100000 + number:06d}"
    released = amount > 10_000 or (amount > 1_000 and credit_class != "A")
    expected = {f"provision_{size}", f"deliver_{way}"} | ({"approve"} if released else set())
    params = {
        "order_id": order,
        "amount": amount,
        "customer": CUSTOMERS[number % len(CUSTOMERS)],
        "proposed_class": credit_class,
        "size": size,
        "delivery": way,
    }
    return Instance(run_id=order.lower(), params=params, expected=frozenset(expected))


class Recovery(StrEnum):
    """What must come of a mishap."""

    ADOPTED = "adopted"
    """The one job is there, and was found again: no second one left."""
    RUN_AGAIN = "run again"
    """The job failed, and a second one, of a second attempt, succeeded."""


@dataclass(frozen=True, slots=True)
class Mishap:
    """Something that shall go wrong once.

    :param stand_in: where.
    :param do: the fault, as the lab's control API names it.
    :param step: the step that shall meet it.
    :param told: where and what, in words.
    :param match: what the lab looks for in what is handed over: the order, and what only that step has.
    """

    stand_in: str
    do: str
    step: str
    recovery: Recovery
    told: str
    match: str = ""

    @property
    def fault(self) -> dict[str, Any]:
        """What the lab's control API is asked for."""
        return {"on": "submit", "do": self.do, "times": 1, "match": self.match}


LOST = "answer was lost after the job was taken"
MISHAPS: tuple[Mishap, ...] = (
    Mishap("zosmf", "cut_after_commit", "check_credit", Recovery.ADOPTED, f"z/OSMF: the {LOST}"),
    Mishap("controlm", "cut_after_commit", "book_order", Recovery.ADOPTED, f"Control-M: the {LOST}"),
    Mishap(
        "sap_soap_rfc",
        "abend",
        "post_invoice",
        Recovery.RUN_AGAIN,
        "SAP: the job broke off",
        match="ZPOST_INVOICE .*ORD-100003",
    ),
    Mishap(
        "ssh",
        "fail",
        "provision_standard",
        Recovery.RUN_AGAIN,
        "UNIX: the script failed",
        match=r"(?s)(?=.*ORD-100002)(?=.*size: standard)",
    ),
)
"""What goes wrong, each thing once. Each needs a recovery of its own: one for all would hide the others."""


def templates() -> Path:
    """Return the folder of the shipped templates: in a checkout, or in the installed package."""
    package = Path(__file__).parents[1]
    for folder in (package.parent / "dag_templates", package / "dag_templates"):
        if (folder / f"{STREAM}.yaml").is_file():
            return folder
    raise OrchestrationError(
        f"the template {STREAM}.yaml is not beside the package in {package}; install the package anew"
    )
