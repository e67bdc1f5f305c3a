"""The engine's log stream: frames, lines with time stamps, and where to go on reading. Pure.

``ContainerAttach`` of the Docker Engine API defines the frame: one byte for the stream (1 stdout, 2 stderr), three zero
bytes, four bytes of length, big endian. With ``timestamps`` each frame is one log entry: stamp, blank, text.

Entries are not in the order of their stamps where a program writes to both streams, ``since`` is inclusive, and Podman
stamps whole seconds. But all entries since a fixed moment are a list that only grows at its end. So a cursor is a
moment and how many entries since then were given: ``1732370000.123456789 2``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

STDOUT, STDERR = 1, 2
SECOND = 1_000_000_000
DISORDER = 2 * SECOND
"""How much later than its stamp an entry may be written."""
_HEADER = 8
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")


@dataclass(frozen=True, slots=True)
class Entry:
    """One log entry: a line, or 16 KiB of a longer one.

    :param stamp: nanoseconds since the epoch.
    :param text: with its line end, if it has one.
    """

    stream: int
    stamp: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where to go on reading.

    :param since: nanoseconds since the epoch; 0 is the beginning.
    :param given: how many entries since then were given already.
    """

    since: int = 0
    given: int = 0

    @classmethod
    def read(cls, text: str) -> Cursor:
        """Read what :meth:`__str__` wrote; anything else is the beginning."""
        found = re.fullmatch(r"(\d+)\.(\d{9}) (\d+)", text)
        return cls(int(found[1] + found[2]), int(found[3])) if found else cls()

    def __str__(self) -> str:
        return f"{self.moment} {self.given}" if self.given else ""

    @property
    def moment(self) -> str:
        """As the engine's ``since`` takes it: seconds with nine decimals."""
        return f"{self.since // SECOND}.{self.since % SECOND:09d}"


class Progress:
    """Leaves out the entries that were given already, and says where to go on."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._left = cursor.given
        self._stamps: list[int] = []

    def is_new(self, entry: Entry) -> bool:
        """False for an entry that was given already; every entry is asked for, in order."""
        if self._left:
            self._left -= 1
            self._stamps.append(entry.stamp)
            return False
        return True

    def give(self, entry: Entry) -> None:
        """Note that a new entry is given."""
        self._stamps.append(entry.stamp)

    @property
    def cursor(self) -> Cursor:
        """Where to go on: the moment moves along, with some room for entries that come late."""
        if self._left or not self._stamps:
            return self._cursor  # the log is shorter than it was: it was rotated, and a later read will tell
        since = max(self._cursor.since, max(self._stamps) - DISORDER)
        return Cursor(since, sum(stamp >= since for stamp in self._stamps))


class FrameReader:
    """Turns the pieces of a log stream into entries; a piece may end anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[Entry]:
        """Take a piece, return the entries that are whole now; :raises ValueError: when it is no log stream."""
        data, first = self._rest + piece, 0
        found: list[Entry] = []
        while len(data) - first >= _HEADER:
            stream, begin = data[first], first + _HEADER
            if stream not in (0, STDOUT, STDERR) or data[first + 1 : first + 4] != b"\0\0\0":
                raise ValueError("the log is not in the engine's frames; was the container made with a terminal?")
            end = begin + int.from_bytes(data[first + 4 : begin], "big")
            if len(data) < end:
                break
            found.append(entry_of(stream, data[begin:end]))
            first = end
        self._rest = data[first:]
        return found


def entry_of(stream: int, body: bytes) -> Entry:
    """Read one frame's content; :raises ValueError: when it has no time stamp."""
    found = _STAMP.match(body)
    if found is None:
        raise ValueError(f"a log entry begins with {body[:40]!r} and not with its time")
    zone = "+00:00" if found[3] == b"Z" else found[3].decode()
    seconds = int(datetime.fromisoformat(found[1].decode() + zone).timestamp())
    fraction = int(f"{(found[2] or b'').decode():0<9}")
    return Entry(stream, seconds * SECOND + fraction, body[found.end() :])


def frame(stream: int, body: bytes) -> bytes:
    """Return one frame, as an engine sends it."""
    return bytes((stream, 0, 0, 0)) + len(body).to_bytes(4, "big") + body
