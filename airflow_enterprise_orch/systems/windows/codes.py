"""Windows result codes in words.

Two kinds of number must not be mixed up. A process leaves 32 bits (:func:`from_exit`). The event record 201 of the Task
Scheduler shows them as an HRESULT: exit code 12 becomes 0x8007000C, HRESULT_FROM_WIN32(12), and only the low 16 bits of
a larger one remain (:func:`from_record`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_enterprise_orch.delegation.job import Ending

WORDS: Mapping[int, str] = {
    # Task Scheduler Error and Success Constants
    0x41301: "it is still running",
    0x41303: "it has not run yet",
    0x41306: "it was terminated by a user",
    0x41325: "it is queued",
    0x8004130F: "no account information is set for the task",
    0x8004131F: "an instance of the task is running already",
    0x80041326: "the task is disabled",
    # Win32 errors as HRESULTs
    0x80070002: "a file was not found",
    0x80070003: "a path was not found",
    0x80070005: "access is denied",
    0x800700C1: "it is not a Windows program",
    0x8007010B: "the directory name is not valid",
    0x800702E4: "it needs elevation",
    0x8007052E: "the account's name or password is wrong",
    0x80070532: "the account's password has expired",
    0x80070533: "the account is disabled",
    0x80070534: "there is no such account",
    0x80070569: "the account may not log on as a batch job",
    0x80070775: "the account is locked out",
    0x800710E0: "an operator or administrator has refused the request",
    # NTSTATUS: how a process breaks
    0x40010004: "ended by a shutdown or a logoff",
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC00000FD: "stack overflow",
    0xC0000135: "a DLL was not found",
    0xC000013A: "ended by Ctrl-C",
    0xC0000142: "a DLL could not be initialized",
    0xC0000374: "heap corruption",
    0xC0000409: "stack buffer overrun, or abort()",
    0xE0434352: "unhandled .NET exception",
}
TERMINATED = 0x41306


@dataclass(frozen=True, slots=True)
class Code:
    """A result code, read.

    :param text: in words: ``exit 12``, ``0xC0000005 (access violation)``.
    :param rc: the exit code as an unsigned number, so that ``rc <= 4`` is never true for -1.
    """

    ending: Ending
    text: str
    rc: int | None


def in_words(code: int) -> str:
    """Return an HRESULT or NTSTATUS with its meaning, e.g. ``0x80070005 (access is denied)``."""
    number = code & 0xFFFFFFFF
    meaning = WORDS.get(number)
    return f"0x{number:08X} ({meaning})" if meaning else f"0x{number:08X}"


def from_exit(code: int) -> Code:
    """Read the exit code of a process, signed or unsigned."""
    number = code & 0xFFFFFFFF
    # Severity "error" of an NTSTATUS, and 0xE.... of language runtimes; -1 and its neighbours are programs' own.
    if 0xC0000000 <= number < 0xF0000000 or number == 0x40010004:
        return Code(Ending.ABENDED, in_words(number), number)
    shown = number - (1 << 32) if number >= 0xF0000000 else number
    return Code(Ending.COMPLETED, f"exit {shown}", number)


def from_record(code: int) -> Code:
    """Read the ResultCode of event record 201."""
    number = code & 0xFFFFFFFF
    if number == TERMINATED:
        return Code(Ending.CANCELLED, in_words(number), None)
    if number >> 16 == 0x8007:
        low = number & 0xFFFF
        if low == 0:
            # Some multiple of 65536, which is no success, and cannot be told from another one.
            return Code(Ending.UNKNOWN, in_words(number), None)
        return Code(Ending.COMPLETED, f"exit {low}", low)
    return from_exit(number)
