"""The one way into a connected system, for tasks, triggerers and ``doctor``: no refused login is tried again.

:func:`entered` opens a session. Before anything is sent it looks whether the connection is blocked (``guard.py``) and
takes its turn on this machine (``turns.py``) until a login is known to work. Clients log in when they open or with the
first call, so both are turns. A refused login, whenever it comes, blocks the connection before the turn goes to
anybody else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from airflow_enterprise_orch.delegation import guard
from airflow_enterprise_orch.delegation.connection_fields import handed_on, read_connection
from airflow_enterprise_orch.delegation.turns import REFUSED, UNREACHABLE, WORKS, LoginTurns
from airflow_enterprise_orch.errors import ConnectionBlocked, ConnectionChanged, LoginRefused, SystemUnreachable

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.guard import Blocks, ConnectionFields
    from airflow_enterprise_orch.delegation.system import RemoteSystem, SystemRegistration

log = logging.getLogger(__name__)

Enter = Callable[["SystemRegistration", str], AbstractAsyncContextManager["RemoteSystem"]]
"""What :func:`entered` is."""


@asynccontextmanager
async def entered(registration: SystemRegistration, connection_id: str) -> AsyncIterator[RemoteSystem]:
    """Open the system behind an Airflow connection.

    :raises ConnectionBlocked: naming the Variable to delete; nothing was sent.
    :raises LoginRefused: by this or any later call; the connection is blocked for everybody then.
    :raises ConnectionChanged: instead, when the connection was changed since the session was opened.
    :raises SystemUnreachable: also when somebody else on this machine did not reach it just now.
    """
    connection = await read_connection(connection_id) if connection_id else None
    if connection is None:
        # There is no login, or Airflow knows no such connection, which the opener says better.
        async with registration.open(connection_id) as system:
            yield system
        return
    login = Login(connection_id, connection)
    async with AsyncExitStack() as session:
        async with login.attempt():
            with handed_on(connection_id, connection):
                system = await session.enter_async_context(registration.open(connection_id))
        try:
            yield cast("RemoteSystem", _Watched(system, login))
        except LoginRefused as refused:
            await login.refuse(refused)
            raise


class Login:
    """What is known in one session of the login of its connection.

    :param connection: as it was when the session was opened.
    :param blocks: where blocks are kept.
    """

    def __init__(self, connection_id: str, connection: ConnectionFields, blocks: Blocks | None = None) -> None:
        self.connection_id = connection_id
        self._connection = connection
        self._blocks = blocks or guard.AirflowBlocks()
        self._turns = LoginTurns(connection_id, guard.meant(connection))
        self._alone = False
        self._proved = False
        self._looked = False
        self._refused: LoginRefused | None = None

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Do what may log in; others on this machine wait for what comes of it unless a login is known to work."""
        async with AsyncExitStack() as held:
            self._alone = not self._turns.works()
            if self._alone:
                began = await held.enter_async_context(self._turns.turn())
                # Whoever had the turn before has told how it went.
                why = "" if self._turns.works() else self._turns.unreachable_since(began)
                if why:
                    raise SystemUnreachable(why)
            await self._refuse_blocked()
            try:
                yield
            except LoginRefused as refused:
                await self.refuse(refused)
                raise
            except SystemUnreachable as error:
                if self._alone:
                    self._turns.note(UNREACHABLE, str(error))
                raise

    def prove(self) -> None:
        """Say that the login works."""
        if self._alone and not self._proved:
            self._turns.note(WORKS)
        else:
            self._turns.renew()
        self._proved = True

    async def call(self, method: Callable[..., Awaitable[Any]], *given: Any, **named: Any) -> Any:
        """Call a method of the open system."""
        if self._proved:
            try:
                answer = await method(*given, **named)
            except LoginRefused as refused:
                await self.refuse(refused)
                raise
            self._turns.renew()
            return answer
        async with self.attempt():
            answer = await method(*given, **named)
            self.prove()
        return answer

    async def refuse(self, refused: LoginRefused) -> None:
        """Block the connection, unless what it says has changed since.

        :raises ConnectionChanged: when it has; what it says now was not tried yet.
        """
        if refused is self._refused:
            return
        self._refused = refused
        # First where it takes microseconds and cannot fail: nobody on this machine tries the same again from here on.
        self._turns.note(REFUSED, refused.reason)
        now: ConnectionFields | None
        try:
            now = await read_connection(self.connection_id)
        except Exception:
            log.exception("connection %s cannot be read again, so it is taken for unchanged", self.connection_id)
            now = self._connection
        if now is not None and guard.meant(now) != guard.meant(self._connection):
            raise ConnectionChanged(
                f"connection {self.connection_id!r}: {refused.reason}, and the connection was changed since this "
                f"session was opened; nothing was sent; the next session uses what it says now"
            ) from refused
        await self._tell(refused)

    async def _refuse_blocked(self) -> None:
        """Raise when a refused login blocks the connection; ask Airflow once, and again when something happened."""
        known = self._turns.refused() if self._alone else None
        if known is None and self._looked:
            return
        self._looked = True
        if known is not None and not known.told:
            # Whoever was refused died, or could not tell Airflow.
            refused = LoginRefused(self.connection_id, known.why, "correct it")
            await self._tell(refused)
            raise ConnectionBlocked(
                self.connection_id, f"the login was just refused: {known.why}", guard.remedy(self.connection_id)
            )
        record = await self._blocks.read(self.connection_id)
        refusal = guard.still_blocked(self.connection_id, record, self._connection)
        if refusal is not None:
            raise refusal

    async def _tell(self, refused: LoginRefused) -> None:
        """Block the connection for every machine."""
        record = guard.block_record(self._connection, refused)
        try:
            await self._blocks.write(self.connection_id, record)
        except Exception:
            # Nobody on this machine tries it again all the same, and the next one who comes tells Airflow.
            log.exception("connection %s could not be blocked in Airflow", self.connection_id)
            return
        self._turns.note(REFUSED, refused.reason, told=True)


class _Watched:
    """An open system whose every call is watched for what it says of the login."""

    def __init__(self, system: RemoteSystem, login: Login) -> None:
        self.__system, self.__login = system, login

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__system, name)
        if not iscoroutinefunction(value):
            return value

        async def watched(*given: Any, **named: Any) -> Any:
            return await self.__login.call(value, *given, **named)

        self.__dict__[name] = watched
        return watched
