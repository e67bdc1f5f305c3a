"""Answers that all get who ask the same and may see the same, without anybody's turn.

Whoever looks at the overview asks every few seconds, and fifty people who do are told the same, as long as they may see
the same streams and nothing was written. Such an answer is worked out once and goes out from the loop itself: it takes
no thread, no connection and no turn. Who is asking, Airflow says each time; an answer is kept by the streams that its
viewer may see (and, where it tells what is within them, by what of that they may read), by what was asked, word for
word, and by the last write, and is good for no other. When the feed has written, who asks gets the answer from before
while the new one is worked out behind them, a second at most, unless somebody has acted.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from inspect import unwrap
from time import monotonic
from typing import Any, TypeVar
from weakref import WeakSet

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from airflow_enterprise_orch.executive_view import last_write
from airflow_enterprise_orch.executive_view.access import logged_in, rights_of
from airflow_enterprise_orch.executive_view.answering import answered, as_written, sent, to_be_packed
from airflow_enterprise_orch.executive_view.answers import Answer, Written
from airflow_enterprise_orch.executive_view.flights import Flights
from airflow_enterprise_orch.executive_view.last_write import Write
from airflow_enterprise_orch.executive_view.turns import AT_ONCE, InTurn

log = logging.getLogger(__name__)

MOST_KEPT = 20_000_000
"""Bytes of answers; the largest, a page of 500 instances, has some 400 KB."""

BEFORE = 1.0
"""Seconds for which the answer from before a write of the feed goes to who asks while the next one is worked out."""
BEHIND = AT_ONCE - 1
"""How many answers are worked out at once that nobody waits for: a place is left for who does."""

F = TypeVar("F", bound=Callable[..., Response])
_shared: WeakSet[Callable[..., Any]] = WeakSet()
_shared_within: WeakSet[Callable[..., Any]] = WeakSet()


@dataclass(frozen=True)
class Kept:
    """An answer that more than one may get.

    :param until: when it is good no more though nothing was written, on the monotonic clock.
    """

    written: Written
    until: float

    @property
    def size(self) -> int:
        """Return about how many bytes it takes, packed or not."""
        return 2 * len(self.written.body)


@dataclass(frozen=True)
class Moment:
    """When somebody asked.

    :param acts: how often people had acted by this process: what they did, whoever comes after it sees.
    :param write: the last write that was known then, or right afterwards.
    """

    acts: int
    write: Write

    def is_before(self, other: Moment) -> bool:
        """Tell whether it is earlier. A number that begins anew, as tables do that were made anew, is not."""
        if self.acts != other.acts:
            return self.acts < other.acts
        mine, others = self.write, other.write
        fed_later = mine.fed_at is not None and others.fed_at is not None and mine.fed_at > others.fed_at
        return mine.revision < others.revision and not fed_later


class Answers:
    """The answers since the last write, and those from before it. Only the loop reads and writes them.

    :param most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._since = Moment(-1, Write(-1, None))
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._before: Mapping[Hashable, Kept] = {}
        self._written = 0.0

    def get(self, moment: Moment, key: Hashable) -> Kept | None:
        """Return what is good still.

        :param moment: when the asker came.
        """
        if moment != self._since:
            if moment.is_before(self._since):
                return None  # who came before all that is kept here
            # What one server's people did another one knows by the number alone: the feed tells when it has looked.
            fed = moment.acts == self._since.acts and moment.write.fed_at != self._since.write.fed_at
            self._before = self._kept if fed else {}
            self._since, self._kept, self._size, self._written = moment, OrderedDict(), 0, monotonic()
        kept = self._kept.get(key)
        if kept is None or kept.until <= monotonic():
            return None
        self._kept.move_to_end(key)
        return kept

    def before(self, key: Hashable) -> Kept | None:
        """Return what was good before the last write of the feed, for who would have to wait for what is good now."""
        now = monotonic()
        if self._before and now >= self._written + BEFORE:
            self._before = {}
        kept = self._before.get(key)
        return kept if kept is not None and now < kept.until else None

    def put(self, moment: Moment, key: Hashable, kept: Kept) -> None:
        """Keep an answer for whose asker this was the moment."""
        if moment != self._since:
            return
        self._size += kept.size - (old.size if (old := self._kept.pop(key, None)) else 0)
        self._kept[key] = kept
        while self._size > self._most:
            self._size -= self._kept.popitem(last=False)[1].size


_answers = Answers(MOST_KEPT)
_making: Flights[Kept] = Flights()


def shared(endpoint: F) -> F:
    """Mark the function of an address whose answers hang on the question, on the viewer's streams and on time alone.

    It answers with :func:`answered_to_all`.
    """
    _shared.add(endpoint)
    return endpoint


def shared_within(endpoint: F) -> F:
    """Mark the function of an address as :func:`shared` whose answers hang on :attr:`~.access.Rights.within` too."""
    _shared_within.add(endpoint)
    return endpoint


def answered_to_all(request: Request, answer: Answer, until: float) -> Response:
    """Return the answer, and let others have it.

    :param until: when it is good no more though nothing was written, on the monotonic clock.
    """
    request.state.kept = Kept(as_written(answer), until)
    return answered(request, answer)


class Sharing(InTurn):
    """An address in a turn, whose answers are shared where its function is marked so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer, endpoint = super().get_route_handler(), unwrap(self.endpoint)
        within = endpoint in _shared_within
        return _sharing(answer, within=within) if within or endpoint in _shared else answer


def _sharing(
    work_out: Callable[[Request], Coroutine[Any, Any, Response]], *, within: bool
) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def answer(request: Request) -> Response:
        rights = await rights_of(request, await logged_in(request), within=within)
        acts = last_write.acts()  # first: what is done from now on need not be in the answer
        moment = Moment(acts, await last_write.fresh())
        key = request.scope["path"], request.scope["query_string"], rights.streams, rights.within
        mine: list[Response] = []

        async def make() -> Kept:
            mine.append(await work_out(request))
            made: Kept = request.state.kept
            _answers.put(moment, key, made)
            return made

        kept = _answers.get(moment, key)
        if kept is None:
            kept = _answers.before(key)
            if kept is not None and len(_making) < BEHIND:
                _making.begin((moment, key), make).add_done_callback(_failed)
        if kept is None:
            kept = await _making.join((moment, key), make)
            if mine:
                return mine[0]
        written = kept.written
        if to_be_packed(request, written):
            await run_in_threadpool(lambda: written.packed)
        return sent(request, written)

    return answer


def _failed(making: asyncio.Future[Kept]) -> None:
    """Take note of an answer that nobody waits for and that was not to be had: who asks next is told why."""
    if not making.cancelled() and (error := making.exception()) is not None:
        log.debug("an answer was not worked out beforehand", exc_info=error)
