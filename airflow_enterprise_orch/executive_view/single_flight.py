"""Something that many ask for at once and that is costly to make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Something that is made anew at most every so often, and by one thread while the others wait for it.

    :param lifetime: seconds for which it is good.
    """

    def __init__(self, lifetime: float) -> None:
        self._lifetime = lifetime
        self._lock = threading.Lock()
        self._made: tuple[float, T] | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return it; an error of ``make`` is its asker's alone."""
        made = self._made
        if made is not None and monotonic() - made[0] < self._lifetime:
            return made[1]
        with self._lock:
            made = self._made
            if made is None or monotonic() - made[0] >= self._lifetime:
                self._made = made = (monotonic(), make())
            return made[1]

    @property
    def last(self) -> T | None:
        """What was made last, however long ago; None before, or when it was forgotten."""
        return self._made[1] if self._made is not None else None

    def forget(self) -> None:
        """Make it anew the next time."""
        self._made = None
