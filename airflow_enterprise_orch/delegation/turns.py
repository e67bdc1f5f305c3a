"""One login at a time on this machine, for as long as nobody on it knows that a connection's login works.

Fifty steps that begin at the same moment all find the connection unblocked, and would each try a wrong password once.
So who finds no recent proof that it works takes a turn: one process tries, the others wait for what comes of it. Right
after a login that worked (:data:`FRESH`) nobody waits.

What is known stands in files of a private folder, one lock and one record for each connection. The lock is
``flock(2)``, which the kernel takes back from a process that dies. From one that is stopped it does not: who has waited
too long for one and the same process makes the next lock file, exactly one of them, and from then on that one counts.
The record holds no secret: 16 bits of a salted digest say whether the connection has changed since, which is far too
little to search for a password.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import hmac
import json
import logging
import os
import random
import secrets
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.errors import ConnectionInvalid

log = logging.getLogger(__name__)
_clock = time.monotonic

FRESH = 10.0
"""Seconds for which a login that worked is taken for one that works. Short, because a password that is changed on the
system alone is tried by all who log in within them; and longer would save next to nothing, because who waits does so
for one login of somebody else."""
PATIENCE = 120.0
"""Seconds after which whoever has the turn is passed over: it may be stopped for ever. Longer than a login takes and,
as a rule, the first call with it, for which the turn is kept, too. Who is passed over and goes on has logged in once
more than there had to be."""
LOOKS = 0.02, 0.2
"""Seconds between two looks for the turn, the first and the longest."""
_BITS = 16
_VERSION = 1
WORKS, REFUSED, UNREACHABLE = "works", "refused", "unreachable"


@dataclass(frozen=True, slots=True)
class Known:
    """What came of the newest login that somebody tried on this machine.

    :param what: :data:`WORKS`, :data:`REFUSED` or :data:`UNREACHABLE`.
    :param salt: of the digest.
    :param digest: of the connection that was used.
    :param at: nanoseconds since 1970.
    :param why: of a login that did not work.
    :param told: every machine can know it: the block stands in Airflow.
    """

    what: str
    salt: str
    digest: str
    at: int
    why: str = ""
    told: bool = False

    @classmethod
    def read(cls, text: bytes) -> Known | None:
        """Read a record; None when there is none that this version can read, which proves nothing."""
        try:
            data: Any = json.loads(text)
            if data.pop("version") != _VERSION:
                return None
            return cls(**data)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


class LoginTurns:
    """The turns of one connection on this machine.

    :param connection_id: Airflow's id of it.
    :param told: all that the connection says now: two logins with the same are the same login.
    :param folder: where the files are; that of this machine's user outside of tests.
    :raises ConnectionInvalid: when no folder can be used.
    """

    def __init__(self, connection_id: str, told: str, folder: Path | None = None) -> None:
        self.connection_id = connection_id
        self._told = told.encode()
        name = hashlib.sha256(connection_id.encode()).hexdigest()[:32]
        place = folder or login_folder(connection_id)
        self._place, self._name, self._record = place, name, place / f"{name}.json"
        self._renewed = 0.0

    def works(self) -> bool:
        """Tell whether somebody on this machine has just logged in with what the connection says now."""
        known = self._known()
        if known is None or known.what != WORKS:
            return False
        try:
            age = time.time() - self._record.stat().st_mtime
        except FileNotFoundError:
            return False
        return 0 <= age < FRESH  # a clock that was set back proves nothing

    def refused(self) -> Known | None:
        """Return the refusal of what the connection says now, None when the newest login was none."""
        known = self._known()
        return known if known is not None and known.what == REFUSED else None

    def unreachable_since(self, moment: int) -> str:
        """Return why whoever had the turn after ``moment`` did not reach the system; "" when that is not so."""
        known = self._known()
        return known.why if known is not None and known.what == UNREACHABLE and known.at >= moment else ""

    def note(self, what: str, why: str = "", *, told: bool = False) -> None:
        """Write down what came of a login with what the connection says."""
        salt = secrets.token_hex(8)
        self._write(Known(what, salt, self._digest(salt), time.time_ns(), why, told))

    def renew(self) -> None:
        """Say that the login still works: a call of a session that is logged in was answered.

        What somebody else has noted meanwhile stays: only the time of the record changes.
        """
        now = time.monotonic()
        if now - self._renewed > FRESH / 10:
            self._renewed = now
            known = self._known()
            if known is not None and known.what == WORKS:
                with suppress(FileNotFoundError):
                    os.utime(self._record)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """Wait for the turn and have it; yield since when it was waited for, in nanoseconds since 1970."""
        began = time.time_ns()
        had = False
        while not had:
            number = self._newest_lock()
            with self._opened_lock(number) as lock:
                had = await self._waited(lock, number)
                if had:
                    os.pwrite(lock, f"{os.getpid():<10} {began:<20}".encode(), 0)
                    yield began

    async def _waited(self, lock: int, number: int) -> bool:
        """Wait until the lock is ours; return False once another one counts."""
        pause, longest = LOOKS
        holder, end = b"", 0.0
        while self._newest_lock() == number:
            if _locked(lock):
                return self._newest_lock() == number
            if (now_has := os.pread(lock, 64, 0)) != holder or not end:
                holder, end = now_has, _clock() + PATIENCE
            elif _clock() > end:
                log.warning(
                    "connection %r: process %s of this machine has been logging in for %g s and is passed over; end it "
                    "if it hangs",
                    *(self.connection_id, holder[:10].decode(errors="replace").strip() or "?", PATIENCE),
                )
                with suppress(FileExistsError):  # somebody else has passed over it
                    os.close(os.open(self._lock(number + 1), os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
                return False
            await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311 - no secret hangs on it
            pause = min(pause * 1.5, longest)
        return False

    # The files.

    def _lock(self, number: int) -> Path:
        return self._place / f"{self._name}.{number}.lock"

    def _newest_lock(self) -> int:
        """Return the number of the lock file that counts."""
        numbers = [path.name.split(".")[1] for path in self._place.glob(f"{self._name}.*.lock")]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    @contextmanager
    def _opened_lock(self, number: int) -> Iterator[int]:
        lock = os.open(self._lock(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            yield lock
        finally:
            # Not left to closing: a process that was forked meanwhile has the file open, too.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    def _known(self) -> Known | None:
        """Return what is known of what the connection says now."""
        try:
            known = Known.read(self._record.read_bytes())
        except FileNotFoundError:
            return None
        return known if known is not None and hmac.compare_digest(known.digest, self._digest(known.salt)) else None

    def _write(self, known: Known) -> None:
        data = {"version": _VERSION, **{name: getattr(known, name) for name in known.__slots__}}
        new = self._record.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
        new.touch(0o600, exist_ok=False)
        new.write_text(json.dumps(data), "utf-8")
        new.rename(self._record)

    def _digest(self, salt: str) -> str:
        return hmac.new(salt.encode(), self._told, "sha256").hexdigest()[: _BITS // 4]


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def login_folder(connection_id: str) -> Path:
    """Return the private folder of this machine's user.

    It is in Airflow's home or, where nothing can be written there, in the temporary folder.

    :raises ConnectionInvalid: when neither can be used, in the name of the connection that is to be opened.
    """
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    user = os.geteuid()
    tried: list[str] = []
    for place in (home / "enterprise_orch" / "logins", Path(tempfile.gettempdir(), f"enterprise-orch-{user}")):
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = place.lstat()
        except OSError as error:
            tried.append(f"{place}: {error.strerror}")
            continue
        # Somebody else's could hold our lock for ever, or say that every login works.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077:
            if os.access(place, os.W_OK):
                return place
            tried.append(f"{place}: it cannot be written")
        else:
            tried.append(f"{place}: it is no private folder of user {user}")
    raise ConnectionInvalid(
        connection_id,
        f"no process may log in, because the processes of this machine cannot take turns: {'; '.join(tried)}",
        "make one of these folders private and writable (chmod 700)",
    )
