"""An XMI session: what every XBP function needs first, once per connection.

XMI binds its logon to the connection (SAP, *BC-XBP*, "XMI logon"). Another connection is answered ``XM/028 Not logged
on``, which proves that the function did nothing; still only functions that read are called again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from airflow_enterprise_orch.errors import ConnectionInvalid, OrchestrationError, SystemUnreachable
from airflow_enterprise_orch.systems.sap.rfc import (
    READS,
    Answer,
    FunctionRefused,
    Rfc,
    SessionGone,
    XbpSettings,
    judge,
)

log = logging.getLogger(__name__)

NOT_LOGGED_ON = "XM/028"


class Xmi:
    """Calls XBP functions over one connection, logged on when it has to be; calls follow one another."""

    def __init__(self, rfc: Rfc, settings: XbpSettings) -> None:
        self._rfc = rfc
        self._settings = settings
        self._one_at_a_time = asyncio.Lock()
        self._logged_on = False

    async def call(self, function: str, **parameters: Any) -> Answer:
        """Call a function; :raises FunctionRefused: with SAP's message when its RETURN says E or A."""
        async with self._one_at_a_time:
            try:
                return await self._once(function, parameters)
            except SessionGone:
                self._logged_on = False
                await self._rfc.fresh()
            except FunctionRefused as refused:
                if refused.message_id != NOT_LOGGED_ON:
                    raise
                self._logged_on = False
            if function not in READS:
                raise SystemUnreachable(
                    f"{self._settings.where} had ended the XMI session before {function}; nothing was done"
                )
            try:
                return await self._once(function, parameters)
            except FunctionRefused as refused:
                if refused.message_id == NOT_LOGGED_ON:
                    raise SystemUnreachable(
                        f"{self._settings.where} forgets the XMI logon between two calls; is there a load balancer "
                        f"without sticky sessions before it?"
                    ) from refused
                raise

    async def plain(self, function: str, **parameters: Any) -> Answer:
        """Call a function that is none of XBP's."""
        async with self._one_at_a_time:
            return await self._rfc.call(function, **parameters)

    async def close(self) -> None:
        """Log off, as XMI asks for; that it fails is no harm, since the session ends with the connection."""
        if not self._logged_on:
            return
        self._logged_on = False
        try:
            await self._rfc.call("BAPI_XMI_LOGOFF", INTERFACE="XBP")
        except OrchestrationError as error:
            log.debug("%s: the XMI session was not closed: %s", self._settings.where, error)

    async def _once(self, function: str, parameters: dict[str, Any]) -> Answer:
        if not self._logged_on:
            await self._log_on()
        user = {"EXTERNAL_USER_NAME": self._settings.external_user}
        answer = await self._rfc.call(function, **user, **parameters)
        judge(self._settings.where, function, answer)
        return answer

    async def _log_on(self) -> None:
        settings = self._settings
        answer = await self._rfc.call(
            "BAPI_XMI_LOGON",
            EXTCOMPANY=settings.company,
            EXTPRODUCT=settings.product,
            INTERFACE="XBP",
            VERSION="3.0",
        )
        try:
            judge(settings.where, "BAPI_XMI_LOGON", answer)
        except FunctionRefused as refused:
            raise ConnectionInvalid(
                settings.connection,
                f"{refused}",
                f"give user {settings.login} the authorization S_XMI_PROD for company {settings.company}, product "
                f"{settings.product}, interface XBP",
            ) from refused
        self._logged_on = True
