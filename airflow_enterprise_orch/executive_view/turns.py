"""Connections that are given back before it is anybody else's turn.

Airflow's API server asks the database for each request in the loop that serves all of them (is the login revoked?), and
stands still until the pool has a connection for that. A request that keeps one from one step of it to the next waits
for the loop meanwhile, and the loop waits for the connection: with as many requests at once as the pool has
connections, 15 by default, nobody gets on until the pool gives up after 30 seconds, and errors are what comes then.

So whatever reads or writes here does so in one go, in a thread, and has given its connection back before the loop is
asked for anything. Few go at once: under one interpreter more would not be faster, and some auth managers take a
connection of their own beside the request's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any
from weakref import WeakSet

from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

AT_ONCE = 5
"""Of the 15 connections that Airflow has for a process by default, these take ten at the most."""

_room = threading.BoundedSemaphore(AT_ONCE)
_turns: WeakSet[Callable[..., Any]] = WeakSet()
"""The functions of addresses that are one turn already: whoever has one and waits for another may wait for ever."""


@contextmanager
def turn(session: Session) -> Iterator[None]:
    """Use a session, commit what was written, and give its connection back; it can be used again later."""
    with _room:
        try:
            yield
            session.commit()
        finally:
            session.close()  # rolls back what was not committed


class InTurn(APIRoute):
    """An address whose function, with its ``session``, is one turn."""

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
