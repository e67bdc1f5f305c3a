"""From an Airflow connection of type ``winrm`` to the tasks of that host.

The connection is read as the winrm provider reads it (its ``extra``: ``endpoint``, ``remote_port``, ``transport`` and
so on), so one that works for other WinRM steps works here, with two differences: the connection's own ``port`` counts
where the extra has none, and nothing is sent over plain HTTP that is not encrypted by itself. Of our own there are
optional fields in the extra: ``job_root``, ``keep_days``, ``task_folder``, ``task_account`` and
``configuration_name``.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_enterprise_orch.delegation.connection_check import in_words
from airflow_enterprise_orch.delegation.connection_fields import read_connection
from airflow_enterprise_orch.errors import ConnectionInvalid, OrchestrationError
from airflow_enterprise_orch.systems.windows.psrp import Endpoint, PsrpHost
from airflow_enterprise_orch.systems.windows.task_scheduler import Place, WindowsTasks, windows_tasks

if TYPE_CHECKING:
    from airflow.sdk import Connection

AUTH = {
    "plaintext": "basic",
    "basic": "basic",
    "ssl": "basic",
    "ntlm": "ntlm",
    "kerberos": "kerberos",
    "credssp": "credssp",
    "certificate": "certificate",
}
"""The provider's ``transport`` (pywinrm's words) in pypsrp's."""
SERVICE_ACCOUNTS = re.compile(r"(?i)(NT AUTHORITY\\)?(SYSTEM|LOCAL ?SERVICE|NETWORK ?SERVICE)")


@asynccontextmanager
async def open_windows(connection_id: str) -> AsyncIterator[WindowsTasks]:
    """Open the Windows host behind an Airflow connection; see :class:`~.delegation.system.OpenSystem`."""
    connection, extra = await _read(connection_id)
    host = PsrpHost(_endpoint(connection_id, connection, extra))
    async with windows_tasks(host, _place(connection_id, extra)) as tasks:
        yield tasks


async def test_windows_connection(connection_id: str) -> tuple[bool, str]:
    """Log in and look at the host's set-up; return whether jobs can run there, and in words what is missing."""
    try:
        async with open_windows(connection_id) as tasks:
            told = await tasks.check()
            where = f"connection {connection_id!r}: logged in to {tasks.identity} as {told['user']}"
            missing = []
            if told["state"] != "checked":
                missing.append(f"the Task Scheduler does not answer: {told['message']}")
            if not told["root"]:
                missing.append("the job root is not there")
            if not told["administrator"]:
                missing.append("the user is no administrator, and sees no instances of other accounts")
            if not told["log"]:
                missing.append(
                    "the event log Microsoft-Windows-TaskScheduler/Operational is off, so the end of an existing task "
                    "can never be proven: an administrator runs `wevtutil sl Microsoft-Windows-TaskScheduler/"
                    "Operational /e:true`"
                )
            return not missing, f"{where}; {'; '.join(missing)}" if missing else where
    except OrchestrationError as error:
        return False, in_words(error)


async def _read(connection_id: str) -> tuple[Connection, Mapping[str, Any]]:
    from airflow.providers.common.compat.connection import get_async_extra_dejson

    connection = await read_connection(connection_id)
    if connection is None:
        raise ConnectionInvalid(
            connection_id,
            "Airflow has no connection of that name",
            "add one of type 'winrm' under Admin > Connections",
        )
    return connection, await get_async_extra_dejson(connection) if connection.extra else {}


def _endpoint(connection_id: str, connection: Connection, extra: Mapping[str, Any]) -> Endpoint:
    def wrong(reason: str, remedy: str = "correct it in the connection's extra") -> ConnectionInvalid:
        return ConnectionInvalid(connection_id, reason, remedy)

    if connection.conn_type != "winrm":
        raise wrong(f"its type is {connection.conn_type!r}", "a Windows step needs one of type 'winrm'")
    transport = str(extra.get("transport", "plaintext"))
    auth = AUTH.get(transport)
    if auth is None:
        raise wrong(f"its transport {transport!r} is none of {', '.join(AUTH)}")
    if transport == "ssl" and extra.get("cert_pem"):
        auth = "certificate"
    try:
        place = urlsplit(str(extra["endpoint"])) if extra.get("endpoint") else None
        port = (place.port if place else None) or int(extra.get("remote_port") or connection.port or 0)
        times = {
            "read_timeout": int(extra.get("read_timeout_sec", 30)),
            "operation_timeout": int(extra.get("operation_timeout_sec", 20)),
        }
    except ValueError as error:
        raise wrong(str(error)) from error
    tls = place.scheme == "https" if place else transport == "ssl" or auth == "certificate" or port == 5986
    if not tls and auth not in ("ntlm", "kerberos", "credssp"):
        raise wrong(
            f"its transport {transport!r} would send the password over plain HTTP",
            "set its extra's endpoint to https://HOST:5986/wsman, or its transport to kerberos",
        )
    host = (place.hostname if place else None) or connection.host
    if not host or not (connection.login or auth == "certificate"):
        raise wrong(f"it has no {'login' if host else 'host'}", "fill that field in")
    if str(extra.get("message_encryption", "auto")) == "never" and not tls:
        raise wrong("its extra switches the encryption of messages off, and the endpoint is no https")
    return Endpoint(
        connection=connection_id,
        host=host,
        port=port or (5986 if tls else 5985),
        tls=tls,
        path=(place.path.lstrip("/") if place else "") or "wsman",
        auth=auth,
        user=connection.login or "certificate",
        password=connection.password or "",
        trust=_trust(extra),
        configuration=str(extra.get("configuration_name") or "Microsoft.PowerShell"),
        options=_options(auth, extra),
        **times,
    )


def _trust(extra: Mapping[str, Any]) -> bool | str:
    if str(extra.get("server_cert_validation", "validate")) == "ignore":
        return False
    path = extra.get("ca_trust_path")
    return str(path) if path and path != "legacy_requests" else True


def _options(auth: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a way of logging in needs beside, in pypsrp's words."""
    if auth == "certificate":
        return {"certificate_pem": extra.get("cert_pem"), "certificate_key_pem": extra.get("cert_key_pem")}
    if auth in ("ntlm", "kerberos"):
        options: dict[str, Any] = {
            "negotiate_delegate": str(extra.get("kerberos_delegation", False)).lower() == "true",
            "negotiate_send_cbt": str(extra.get("send_cbt", True)).lower() == "true",
            "negotiate_service": str(extra.get("service") or "HTTP"),
        }
        if extra.get("kerberos_hostname_override"):
            options["negotiate_hostname_override"] = str(extra["kerberos_hostname_override"])
        return options
    return {}


def _place(connection_id: str, extra: Mapping[str, Any]) -> Place:
    default = Place()
    account = str(extra.get("task_account") or "")
    if SERVICE_ACCOUNTS.fullmatch(account):
        logon = 5
    elif account.endswith("$"):
        logon = 1
    elif account:
        raise ConnectionInvalid(
            connection_id,
            f"its task_account {account!r} is neither SYSTEM, LOCAL SERVICE, NETWORK SERVICE nor a group managed "
            f"service account (DOMAIN\\name$)",
            "another account would need its password on the host; leave it empty for the login itself",
        )
    else:
        logon = 2
    try:
        keep_days = int(extra.get("keep_days", default.keep_days))
        if keep_days < 1:
            raise ValueError(f"keep_days is {keep_days}, and must be at least 1")
        return Place(
            str(extra.get("job_root") or default.root).rstrip("\\"),
            str(extra.get("task_folder") or default.folder).rstrip("\\"),
            account,
            logon,
            keep_days,
        )
    except ValueError as error:
        raise ConnectionInvalid(connection_id, str(error), "correct it in the connection's extra") from error
