r"""The business programs of the lab's company: what the shipped value streams find on its systems.

Each is a function from what it was given to what it says. The same question always has the same answer, which hangs on
the data as it would in a company, so that whoever starts an instance can choose its path:

- the bank's entity ``DE01`` balances, ``AT01`` differs by 37.50, and ``CH01`` by 18,250.00;
- a policy whose number ends with 9 has lapsed, with 5 covers half, with 4 has an unpaid premium, with 0 is unknown;
  a claim whose number ends with 7 looks like fraud;
- between the companies nothing differs in the first month of a quarter, 420.00 in the second, 61,000.00 in the third;
- a supplier named ``Orlanda`` stands on a sanctions list, other names with ``Orl`` look alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program did.

    :param warned: it ended with a warning, where its system knows such an end.
    :param broken: why it broke off, "" when it did not.
    """

    lines: tuple[str, ...]
    rc: int = 0
    warned: bool = False
    broken: str = ""


Program = Callable[[Values], Ran]


def digits(text: str, count: int = 6) -> str:
    """Return a number that looks made by a system and is always the same for the same text."""
    return str(int(hashlib.sha256(text.encode()).hexdigest(), 16))[-count:]


# --- the bank, on z/OS and under Control-M

_DIFFERENCES: Mapping[str, tuple[str, int]] = {"AT01": ("37.50", 3), "CH01": ("18250.00", 12)}
_POSTED: Mapping[str, tuple[int, int]] = {"AT01": (48_211, 2), "CH01": (96_002, 61)}


def _post(values: Values) -> Ran:
    posted, rejected = _POSTED.get(values.get("ENTITY", ""), (181_540, 0))
    lines = (f"CLEARING {values.get('FILE', '')}", f"POSTED={posted} REJECTED={rejected}")
    return Ran(lines, rc=4 if rejected else 0)


def _accrue(values: Values) -> Ran:
    return Ran((f"ENTITY {values.get('ENTITY', '')} {values.get('BDATE', '')}", "ACCRUED=20417.33"))


def _reconcile(values: Values) -> Ran:
    difference, breaks = _DIFFERENCES.get(values.get("ENTITY", ""), ("0.00", 0))
    return Ran((f"DIFFERENCE={difference} BREAKS={breaks}",), rc=4 if breaks else 0)


def _suspend(values: Values) -> Ran:
    voucher = digits(f"{values.get('ENTITY')} {values.get('BDATE')}")
    return Ran((f"ACCOUNT {values.get('ACCOUNT', '')} AMOUNT {values.get('AMOUNT', '')}", f"VOUCHER=SV-{voucher}"))


def _cover(values: Values) -> Ran:
    policy = values.get("POLICY", "")
    if policy.endswith("0"):
        return Ran((f"POLICY {policy} NOT ON FILE",), rc=8)
    cover = {"9": "NONE", "5": "PARTIAL"}.get(policy[-1:], "FULL")
    lines = (f"POLICY {policy} COVER={cover} DEDUCTIBLE=150.00",)
    return Ran((*lines, "PREMIUM UNPAID"), rc=4) if policy.endswith("4") else Ran(lines)


MAINFRAME: Mapping[str, Program] = {
    "EODPOST": _post,
    "EODINTR": _accrue,
    "EODRECN": _reconcile,
    "EODSUSP": _suspend,
    "POLCOVER": _cover,
}
"""Load modules on z/OS; what they were given stands in their SYSIN, one NAME=value a line."""


def _card(member: str, title: str, names: str) -> str:
    return (
        f"//{member:<8} JOB (ACCT),'{title}',CLASS=A,MSGCLASS=H\n"
        f"//*        SYMBOLS: {' '.join(names.split())}\n"
        f"//STEP1    EXEC PGM={member}\n"
        f"//SYSIN    DD *,SYMBOLS=JCLONLY\n" + "".join(f"{name}=&{name}\n" for name in names.split()) + "/*\n"
    )


LIBRARY: Mapping[str, str] = {
    f"PROD.JCL({member})": _card(member, title, names)
    for member, title, names in (
        ("EODPOST", "POST THE LEDGER", "ENTITY BDATE BATCH FILE"),
        ("EODINTR", "ACCRUE INTEREST", "ENTITY BDATE"),
        ("EODRECN", "RECONCILE", "ENTITY BDATE"),
        ("EODSUSP", "BOOK TO SUSPENSE", "ENTITY BDATE AMOUNT ACCOUNT"),
        ("POLCOVER", "COVER OF A POLICY", "POLICY LINE LOSS"),
    )
}
"""The JCL that starts them."""

SCHEDULED: Mapping[str, Mapping[str, str]] = {
    "EODCTL": {
        "CUTOFF": "CHANNELS OF %%ENTITY CLOSED, LAST BATCH=7731",
        "FEES": "FEES=3120.00 ENTITY=%%ENTITY",
        "ROLLDATE": "%%ENTITY NOW AT THE DAY AFTER %%BDATE",
    },
    "CLAIMS": {"CLMCLOSE": "CLAIM=%%CLAIM CLOSED=%%RESULT"},
}
"""Control-M folders: their jobs, and what these say."""


# --- SAP


def _load_ledger(values: Values) -> Ran:
    if not values.get("P_BUDAT"):
        return Ran((), broken="Program ZGL_LOAD_EOD: no posting date given")
    document = digits(f"{values.get('P_BUKRS')} {values['P_BUDAT']}", 10)
    totals = f"INTEREST={values.get('P_INTR', '')} FEES={values.get('P_FEES', '')}"
    return Ran((f"DOCUMENT={document} COMPANY={values.get('P_BUKRS', '')} {totals}",))


def _pay_claim(values: Values) -> Ran:
    try:
        paid = max(float(values.get("P_AMOUNT", "")) - float(values.get("P_DEDUCT", "")), 0.0)
    except ValueError:
        return Ran((), broken="Program ZFICA_CLAIM_PAYOUT: P_AMOUNT and P_DEDUCT are numbers")
    paid /= 2 if values.get("P_COVER") == "PARTIAL" else 1
    claim = values.get("P_CLAIM", "")
    return Ran((f"PAYMENT=PY-{digits(claim)} PAID={paid:.2f} CLAIM={claim}",))


def _accruals(values: Values) -> Ran:
    company, period = values.get("P_BUKRS", ""), values.get("P_PERIOD", "")
    amount = int(digits(f"{company} {period}", 5)) + 1000
    open_orders = 3 if company == "2000" else 0
    return Ran((f"COMPANY={company} ACCRUED={amount}.00 WITHOUT ORDER={open_orders}",), rc=4 if open_orders else 0)


def _depreciate(values: Values) -> Ran:
    return Ran((f"DEPRECIATION {values.get('P_PERIOD', '')} POSTED=88120.00",))


def _value_currency(values: Values) -> Ran:
    return Ran((f"VALUATION {values.get('P_PERIOD', '')} DIFFERENCE POSTED=-1204.11",))


def _lock(values: Values) -> Ran:
    return Ran((f"PERIOD {values.get('P_PERIOD', '')} LOCKED FOR {values.get('P_TYPES', '')}",))


def _match_companies(values: Values) -> Ran:
    month = int(values.get("P_PERIOD", "")[-2:] or 1)
    difference = ("0.00", "420.00", "61000.00")[(month - 1) % 3]
    return Ran((f"INTERCOMPANY DIFFERENCE={difference}",), warned=difference != "0.00")


def _adjust_companies(values: Values) -> Ran:
    document = digits(f"IC {values.get('P_PERIOD')}", 10)
    return Ran((f"DOCUMENT={document} AMOUNT={values.get('P_AMOUNT', '')}",))


def _create_vendor(values: Values) -> Ran:
    if not values.get("P_NAME"):
        return Ran((), broken="Program ZMM_VENDOR_CREATE: no name given")
    return Ran((f"VENDOR={digits(values.get('P_EXTID', ''))} CREATED, BLOCKED FOR PAYMENT",))


def _vendor(words: str) -> Program:
    def run(values: Values) -> Ran:
        if not values.get("P_LIFNR"):
            return Ran((), broken="no vendor given")
        return Ran((f"VENDOR={values['P_LIFNR']} {words}",))

    return run


ABAP: Mapping[str, Program] = {
    "ZGL_LOAD_EOD": _load_ledger,
    "ZFICA_CLAIM_PAYOUT": _pay_claim,
    "ZFI_ACCRUALS": _accruals,
    "RAPOST2000": _depreciate,
    "FAGL_FC_VALUATION": _value_currency,
    "ZCLOSE_LOCK": _lock,
    "ZICMR_MATCH": _match_companies,
    "ZIC_ADJUST": _adjust_companies,
    "ZMM_VENDOR_CREATE": _create_vendor,
    "ZMM_VENDOR_RELEASE": _vendor("RELEASED FOR PAYMENT"),
    "ZMM_VENDOR_BLOCK": _vendor("BLOCKED AND FLAGGED FOR DELETION"),
}
"""ABAP programs; what they were given are the values of their selection screen."""

JOB_TEMPLATES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ZCLOSE_LOCK": ("ZCLOSE_LOCK", ("P_PERIOD", "P_TYPES")),
    "ZICMR_MATCH": ("ZICMR_MATCH", ("P_PERIOD", "P_BUKRS")),
}
"""Job templates of S/4HANA: their program and parameters."""


# --- containers, Windows

_FRAUD = """
score=$(( 12 + ${AMOUNT%%.*} / 1000 )); [ "$score" -gt 60 ] && score=60
case "$CLAIM" in *7) score=91 ;; esac
echo "CLAIM=$CLAIM POLICY=$POLICY SCORE=$score"
"""
_SANCTIONS = """
case "$NAME" in
  *Orlanda*) echo "NAME=$NAME COUNTRY=$COUNTRY HITS=1 BEST=97"; exit 4 ;;
  *Orl*) echo "NAME=$NAME COUNTRY=$COUNTRY HITS=2 BEST=71"; exit 4 ;;
  *) echo "NAME=$NAME COUNTRY=$COUNTRY HITS=0 BEST=0" ;;
esac
"""
_CONSOLIDATE = """
echo "CONSOLIDATED $COMPANIES FOR $PERIOD"
echo "RESULT=1284300.00 BALANCED=yes"
"""
ENTRY_POINTS: Mapping[str, tuple[str, ...]] = {
    "lab/fraud-score:1": ("/bin/sh", "-euc", _FRAUD, "fraud-score"),
    "lab/sanctions:1": ("/bin/sh", "-euc", _SANCTIONS, "sanctions"),
    "lab/consolidate:1": ("/bin/sh", "-euc", _CONSOLIDATE, "consolidate"),
}
"""Images with a program of their own, which reads its environment."""

WINDOWS_TASKS: Mapping[str, str] = {
    r"\Claims\AssignAdjuster": "SAY=CLAIM $(Arg0) $(Arg1) ASSIGNED",
    r"\Finance\RefreshReports": "SAY=REPORTS OF $(Arg0) REFRESHED",
    r"\Dynamics\ImportAccounts": "SAY=ACCOUNT $(Arg0) IMPORTED",
}
"""Tasks of the Task Scheduler, and what they say."""


# --- files that other people put on the share

ANSWERED = ("clearing/", "payroll/", "claims/", "suppliers/")
"""The top folders in which somebody answers: who waits for files there gets them a moment later."""
ANSWERED_AFTER = 2.0
"""Seconds."""


def answers(folder: str, pattern: str, count: int, marker: str) -> dict[str, bytes]:
    """Return the files that a wait asks for, by name, if it is in a folder where somebody answers."""
    if not f"{folder}/".startswith(ANSWERED):
        return {}
    files: dict[str, bytes] = {}
    for number in range(1, count + 1):
        name = re.sub(r"\[[^]]*\]", "1", pattern).replace("*", f"{number:03d}").replace("?", "1")
        files[f"{folder}/{name}"] = f"{folder}/{name}: from the lab\n".encode()
        if marker:
            files[f"{folder}/{name}{marker}"] = b""
    return files
