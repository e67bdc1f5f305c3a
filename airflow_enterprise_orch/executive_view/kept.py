"""What many ask for at the same time, made once and kept as long as it is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from airflow_enterprise_orch.executive_view.single_flight import SingleFlight

T = TypeVar("T")


class Kept(Generic[T]):
    """Answers by all that they hang on: whoever asks for the same while it is made waits for it.

    :param most: how many are kept; those that were asked for least lately go first.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, SingleFlight[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept for ``key``, or make it; an error of ``make`` is its asker's alone.

        :param key: names the last write, too, of what it is made of.
        """
        with self._lock:
            one = self._kept.setdefault(key, SingleFlight(float("inf")))
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return one.get(make)
