"""The UNIX operators, for people who write DAGs in Python; templates use the same steps by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_enterprise_orch.delegation.operator import DelegateOperator


class UnixScriptOperator(DelegateOperator):
    """Run a script or program on a UNIX host over SSH: detached, exactly once per attempt, found again after a crash.

    :param connection: an Airflow connection of type ``ssh``.
    :param script: the script's text; or
    :param command: the absolute path of a program that is on the host.
    :param args: arguments, each passed on as it is.
    :param env: environment variables.
    :param directory: where it runs; the login's home directory by default.
    :param interpreter: what runs ``script``; ``/bin/sh`` by default.
    """

    def __init__(
        self,
        *,
        connection: str,
        script: str | None = None,
        command: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        directory: str | None = None,
        interpreter: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = {"script": script, "command": command, "directory": directory, "interpreter": interpreter}
        work: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        work |= {"args": list(args)} if args else {}
        work |= {"env": dict(env)} if env else {}
        super().__init__(step="unix.script", connection=connection, work=work, **kwargs)
