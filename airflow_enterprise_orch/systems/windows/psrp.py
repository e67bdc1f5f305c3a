"""One PowerShell script on one Windows host: PSRP over WS-Man, by pypsrp, in a thread that nobody waits for for ever.

pypsrp is synchronous. Every call has a runspace pool of its own, opened and closed again: Windows allows a user few
shells, and a shell that is held outlives whoever held it. A call is bounded three times: by pypsrp's own time-outs, by
ours, and by the number of threads.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.windows.powershell import script

log = logging.getLogger(__name__)

THREADS = 4
"""Calls at once on one host: Windows lets a user have 30 shells (winrm/config/winrs, MaxShellsPerUser)."""
CALL_TIMEOUT = 120.0
"""Seconds for one call, whatever the host does."""
IDLE_SECONDS = 180
"""A shell that we could not close is closed by the host after that."""
ACCESS_DENIED = 5
"""The WS-Man fault of a user who logged in and may not open a session."""

Value = str | int | bool | list[str]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the host is and how to log in; what an Airflow connection of type ``winrm`` says.

    :param auth: ``basic``, ``ntlm``, ``kerberos``, ``credssp`` or ``certificate``.
    :param trust: True for the machine's own authorities, or the path of a file with others; False checks nothing.
    :param options: what the way of logging in needs beside, in pypsrp's words.
    """

    connection: str
    host: str
    port: int
    tls: bool
    path: str
    auth: str
    user: str
    password: str = field(repr=False)
    trust: bool | str = True
    configuration: str = "Microsoft.PowerShell"
    read_timeout: int = 30
    operation_timeout: int = 20
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """Return where the host is, for people: no secret in it."""
        return f"winrm://{self.user}@{self.host}:{self.port}"


class CallLost(Exception):
    """No whole answer came. ``begun``: the script may have run."""

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


class PsrpHost:
    """Runs our scripts on one host.

    :ivar calls: how many scripts were sent.
    """

    def __init__(self, endpoint: Endpoint, *, timeout: float = CALL_TIMEOUT) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="winrm")
        self._problem: LoginRefused | None = None
        self.calls = 0
        for name in ("pypsrp", "spnego"):
            quiet = logging.getLogger(name)
            if quiet.level == logging.NOTSET:
                quiet.setLevel(logging.CRITICAL)  # ten lines per call, and what goes wrong is said by our errors

    @property
    def endpoint(self) -> Endpoint:
        """Return where this leads."""
        return self._endpoint

    def close(self) -> None:
        """Take no more calls; one that hangs ends by its own time-outs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, verb: str, values: Mapping[str, Value]) -> dict[str, Any]:
        """Run a verb's script and return its one JSON answer.

        :raises ConnectionProblem: login refused, certificate not trusted, no right to open a session.
        :raises CallLost: no whole answer came.
        """
        if self._problem is not None:
            raise self._problem  # a refused login is not tried again: that could lock the account
        token = secrets.token_hex(8)
        self.calls += 1
        call = _Call(self._endpoint, script(verb), {"Token": token, **values})
        try:
            async with asyncio.timeout(self._timeout):
                output = await asyncio.get_running_loop().run_in_executor(self._threads, call.run)
        except TimeoutError as error:
            raise CallLost(
                f"{self._endpoint.address}: no answer to {verb!r} within {self._timeout:.0f} s", begun=call.begun
            ) from error
        except LoginRefused as error:
            self._problem = error
            raise
        return self._answer(verb, token, output, call.errors)

    def _answer(self, verb: str, token: str, output: list[str], errors: str) -> dict[str, Any]:
        mark = f"@{token}"
        try:
            begin = output.index(mark)
            answer = json.loads(output[begin + 1])
            if output[begin + 2] == mark and isinstance(answer, dict):
                return answer
        except (ValueError, IndexError):
            pass  # said below: no whole answer, whatever is wrong with it
        said = one_line(errors or " ".join(output)) or "nothing"
        raise CallLost(f"{self._endpoint.address} did not answer {verb!r} as our script does: {said}", begun=True)


class _Call:
    """One script, one pool, one thread.

    :ivar begun: the script may have reached the host.
    :ivar errors: what the script wrote to its error stream.
    """

    def __init__(self, endpoint: Endpoint, text: str, values: Mapping[str, Value]) -> None:
        self._endpoint = endpoint
        self._text = text
        self._values = values
        self.begun = False
        self.errors = ""

    def run(self) -> list[str]:
        """Return what the script wrote, as texts; everything that goes wrong is one of our errors."""
        from xml.etree.ElementTree import ParseError

        from pypsrp.exceptions import AuthenticationError, WinRMError, WSManFaultError
        from spnego.exceptions import SpnegoError

        where, connection = self._endpoint.address, self._endpoint.connection
        try:
            return self._converse()
        except AuthenticationError as error:
            if self.begun:
                raise CallLost(f"{where} refused the login in the middle of a call", begun=True) from error
            raise LoginRefused(
                connection,
                f"{where} refused the login ({self._endpoint.auth})",
                "correct user, password or transport in it",
            ) from error
        except WSManFaultError as error:
            if error.code == ACCESS_DENIED and not self.begun:
                raise ConnectionInvalid(
                    connection,
                    f"{where} lets {self._endpoint.user} log in, but not open a session",
                    "make it a member of Administrators there",
                ) from error
            raise CallLost(f"{where}: {one_line(str(error))}", begun=self.begun) from error
        except (WinRMError, ParseError, OSError, EOFError) as error:  # an error of requests is an OSError
            # By its words: a connection that is cut under TLS is an SSLError, too.
            if "CERTIFICATE_VERIFY_FAILED" in str(error) and not self.begun:
                raise ConnectionUntrusted(
                    connection,
                    f"the certificate of {where} cannot be verified ({one_line(str(error), 160)})",
                    "put the authority's certificate file into its extra as ca_trust_path",
                ) from error
            reason = one_line(str(error)) or type(error).__name__
            raise CallLost(
                f"{where} cannot be reached, or the connection was lost: {reason}", begun=self.begun
            ) from error
        except (SpnegoError, ValueError, ImportError) as error:
            if self.begun:
                raise CallLost(f"{where}: {one_line(str(error))}", begun=True) from error
            raise ConnectionInvalid(
                connection,
                f"logging in to {where} by {self._endpoint.auth} is not possible from here ({one_line(str(error))})",
                "use another transport, or install what it needs",
            ) from error

    def _converse(self) -> list[str]:
        from pypsrp.exceptions import AuthenticationError
        from pypsrp.powershell import PowerShell, RunspacePool
        from pypsrp.wsman import WSMan

        end = self._endpoint
        wsman = WSMan(
            end.host,
            port=end.port,
            ssl=end.tls,
            path=end.path,
            auth=end.auth,
            username=end.user,
            password=end.password,
            cert_validation=cast("bool", end.trust),  # or the path of a file, as its documentation says
            read_timeout=end.read_timeout,
            operation_timeout=end.operation_timeout,
            reconnection_backoff=0.2,
            **end.options,
        )
        with wsman:
            pool = RunspacePool(wsman, configuration_name=end.configuration, idle_timeout=IDLE_SECONDS)
            pool.open()
            shell = PowerShell(pool)
            shell.add_script(self._text)
            for name, value in self._values.items():
                shell.add_parameter(name, value)
            self.begun = True
            try:
                shell.begin_invoke()
            except AuthenticationError:
                self.begun = False  # the script comes whole, or it is not run: the refused part never came
                raise
            output = [str(line) for line in shell.end_invoke()]
            self.errors = " ".join(str(record) for record in shell.streams.error)
            try:
                pool.close()
            except Exception as error:  # the answer is here: a goodbye that fails must not lose it
                log.debug("%s: the shell is left to its idle time-out: %s", end.address, error)
            return output


def one_line(text: str, limit: int = 300) -> str:
    """Return a text as one line that is not too long."""
    words = " ".join(text.split())
    return words if len(words) <= limit else words[: limit - 3] + "..."


def lost(error: CallLost) -> SystemUnreachable:
    """Return what a lost call means that changes nothing."""
    return SystemUnreachable(str(error))
