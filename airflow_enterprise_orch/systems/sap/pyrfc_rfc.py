"""Function modules over classic RFC with SAP's own connector ``pyrfc``, where a customer has it and SAP's SDK.

SAP archived pyrfc in 2024 and withdrew its releases, so this package cannot depend on it. What it raises is told apart
by the names of its exception classes (pyrfc, ``_exception.pyx``).
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow_enterprise_orch.errors import ConnectionInvalid, LoginRefused, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.sap.rfc import Answer, XbpSettings, about_rights, unclear

if TYPE_CHECKING:
    from types import ModuleType, TracebackType


class PyRfc:
    """SAP over classic RFC; implements :class:`~.rfc.Rfc`. One connection, so calls follow one another.

    :param module: what has ``Connection``; pyrfc by default.
    """

    def __init__(self, settings: XbpSettings, module: ModuleType | None = None) -> None:
        self.settings = settings
        self._module = module
        self._connection: Any = None
        self._one_at_a_time = asyncio.Lock()
        self._refused: LoginRefused | None = None

    async def __aenter__(self) -> Self:
        if self._module is None:
            try:
                self._module = await asyncio.to_thread(import_module, "pyrfc")
            except ImportError as error:
                raise ConnectionInvalid(
                    self.settings.connection,
                    f"its backend is pyrfc, which cannot be used here ({error})",
                    "install pyrfc and SAP's NetWeaver RFC SDK on every worker and triggerer, or set backend to soap",
                ) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.fresh()

    async def fresh(self) -> None:
        """Close the connection; the next call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await asyncio.to_thread(connection.close)

    async def call(self, function: str, /, **parameters: Any) -> Answer:
        """Call a function module, in a thread: pyrfc blocks."""
        async with self._one_at_a_time:
            if self._refused is not None:
                raise self._refused
            if self._connection is None:
                self._connection = await self._open()
            call = asyncio.to_thread(self._connection.call, function, **parameters)
            try:
                answer: Answer = await asyncio.wait_for(call, self.settings.timeout)
            except TimeoutError as error:
                self._connection = None  # the thread still has it; it ends when SAP answers
                unclear(self.settings.where, function, f"gave no answer within {self.settings.timeout:g} s", error)
            except asyncio.CancelledError:
                self._connection = None  # the thread goes on; the next call must not share its connection
                raise
            except Exception as error:
                await self._told(function, error)
            return answer

    async def _open(self) -> Any:
        settings = self.settings
        try:
            return await asyncio.to_thread(
                self._module.Connection,  # type: ignore[union-attr]  # entered
                ashost=settings.host,
                sysnr=settings.system_number,
                client=settings.client,
                user=settings.login,
                passwd=settings.password,
                lang=settings.language,
            )
        except Exception as error:
            # pyrfc's texts quote the parameters of the connection, so they are not repeated.
            if type(error).__name__ == "LogonError":
                self._refused = LoginRefused(
                    settings.connection,
                    f"{settings.where} refused the login of {settings.login}",
                    "correct user, password and client (wrong, expired or locked?) before anything is tried again",
                )
                raise self._refused from None
            raise SystemUnreachable(
                f"{settings.where} cannot be reached ({type(error).__name__}); nothing was sent; check connection "
                f"{settings.connection!r} and the gateway"
            ) from None

    async def _told(self, function: str, error: Exception) -> NoReturn:
        kind, message = type(error).__name__, " ".join(str(error).split())
        if about_rights(message):
            raise RequestRejected(f"{self.settings.where} refused {function}: {message}") from error
        if kind == "CommunicationError":
            await self.fresh()
        unclear(self.settings.where, function, f"answered with {kind} ({message[:200]})", error)
