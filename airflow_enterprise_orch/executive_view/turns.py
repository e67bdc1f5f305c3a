"""Connections that are given back before it is anybody else's turn.

Airflow's API server asks the database for each request in the loop that serves all of them (is the login revoked?), and
stands still until the pool has a connection for that. A request that keeps one from one step of it to the next waits
for the loop meanwhile, and the loop waits for the connection: with as many requests at once as the pool has
connections, 15 by default, nobody gets on until the pool gives up after 30 seconds, and errors are what comes then.

So whatever reads or writes here does so in one go, in a thread, and has given its connection back before the loop is
asked for anything. Few go at once: under one interpreter more would not be faster and would keep the loop from going
on, and some auth managers take a connection of their own beside the request's. They go in the order in which they came,
so that nobody waits much longer than the others.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, TypeVar
from weakref import WeakSet

from airflow import settings
from fastapi import Depends
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

AT_ONCE = 3
"""Of the 15 connections that Airflow has for a process by default, these take six at the most."""


class Room:
    """Places for so many threads. Who waits is called in the order of coming, which no semaphore promises."""

    def __init__(self, places: int) -> None:
        self._free, self._lock = places, threading.Lock()
        self._waiting: deque[threading.Lock] = deque()

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            called = threading.Lock()
            called.acquire()
            self._waiting.append(called)
        called.acquire()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


_room = Room(AT_ONCE)
_mine = threading.local()
_turns: WeakSet[Callable[..., Any]] = WeakSet()
"""The functions of addresses that are one turn already, or take theirs."""
F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def turn(session: Session) -> Iterator[None]:
    """Use a session, commit what was written, and give its connection back; it can be used again later.

    Within a turn of the same session it is a part of that one.
    """
    if getattr(_mine, "session", None) is session:
        yield
        return
    with _room:
        _mine.session = session
        try:
            yield
            session.commit()
        finally:
            _mine.session = None
            session.close()  # rolls back what was not committed


def made() -> Session:
    """Make a session, which has no connection before its turn."""
    make: Any = settings.NonScopedSession
    session: Session = make()
    return session


async def _made() -> Session:
    return made()  # in the loop: nobody has to change threads for that


SessionDep = Annotated[Session, Depends(_made)]
"""A session for one turn, of an address in :class:`InTurn` or of :func:`turn`."""


def takes_turns(endpoint: F) -> F:
    """Mark the function of an address that takes its turns itself: it waits for something else beside the database."""
    _turns.add(endpoint)
    return endpoint


class InTurn(APIRoute):
    """An address whose function, with its ``session``, is one turn, where it is not marked as :func:`takes_turns`."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        # An application that takes a router in makes each of its routes anew, of what is there already.
        super().__init__(path, endpoint if endpoint in _turns else _in_turn(endpoint), **more)


def _in_turn(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    def one_turn(**given: Any) -> Any:
        session = given.get("session")
        if session is None:  # a file: each of its batches opens a session of its own
            return endpoint(**given)
        with turn(session):
            return endpoint(**given)

    _turns.add(one_turn)
    return one_turn
