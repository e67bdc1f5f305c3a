"""The Windows operators, for people who write DAGs in Python; templates use the same steps by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_enterprise_orch.delegation.operator import DelegateOperator


class WindowsTaskOperator(DelegateOperator):
    r"""Run a program, or a task that exists, by the Task Scheduler of a Windows host: exactly once per attempt.

    :param connection: an Airflow connection of type ``winrm``.
    :param program: the absolute path of a program; it gets a task of its own. Or
    :param task: the path of a task that exists, such as ``\Dynamics\ImportOrders``.
    :param arguments: arguments, each passed on as it is; for an existing task the values of ``$(Arg0)`` ...
    :param env: environment variables, for a program.
    :param directory: where a program runs; its job's directory by default.
    """

    def __init__(
        self,
        *,
        connection: str,
        program: str | None = None,
        task: str | None = None,
        arguments: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = {"program": program, "task": task, "directory": directory}
        work: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        work |= {"arguments": list(arguments)} if arguments else {}
        work |= {"env": dict(env)} if env else {}
        super().__init__(step="windows.task", connection=connection, work=work, **kwargs)
