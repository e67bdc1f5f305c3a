"""SAP's operators, for DAGs written in Python; value streams use the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.delegation.operator import DelegateOperator

APPLICATION_OUTCOME = {"success": 'code == "W" || rc == 0', "warning": 'code == "W"'}
"""What an application job's end means unless the step says otherwise: SAP itself says that W is a warning."""


class SapBackgroundJobOperator(DelegateOperator):
    """Runs one SAP background job through XBP: exactly once, without holding a worker while it runs.

    :param connection: an Airflow connection of type ``sap_xbp``.
    :param program: the ABAP program.
    :param variant: its variant.
    :param parameters: values of its selection screen; they may be templates.
    :param language: the language it runs in.
    :param printer: the output device of its list.
    :param command: a program of the operating system instead, with ``arguments`` and ``host``.
    :param arguments: its arguments.
    :param host: the host that runs it.
    :param user: the SAP user whose rights the step runs with.
    :param job_class: ``A``, ``B`` or ``C``.
    """

    def __init__(
        self,
        *,
        connection: str,
        program: str | None = None,
        variant: str | None = None,
        parameters: dict[str, str] | None = None,
        language: str | None = None,
        printer: str | None = None,
        command: str | None = None,
        arguments: list[str] | None = None,
        host: str | None = None,
        user: str | None = None,
        job_class: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = {
            "program": program,
            "variant": variant,
            "parameters": parameters,
            "language": language,
            "printer": printer,
            "command": command,
            "arguments": arguments,
            "host": host,
            "user": user,
            "job_class": job_class,
        }
        work = {name: value for name, value in given.items() if value is not None}
        super().__init__(step="sap.background_job", connection=connection, work=work, **kwargs)


class SapApplicationJobOperator(DelegateOperator):
    """Runs one SAP application job through OData: never twice, without holding a worker while it runs.

    :param connection: an Airflow connection of type ``sap_odata``.
    :param template: the job template's technical name.
    :param user: the business user that it runs as.
    :param parameters: values of the template's parameters; they may be templates.
    :param test_mode: ask for the test mode of templates that have one.
    :param check: let SAP check the parameters first.
    """

    def __init__(
        self,
        *,
        connection: str,
        template: str,
        user: str | None = None,
        parameters: dict[str, Any] | None = None,
        test_mode: bool | None = None,
        check: bool | None = None,
        outcome: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        given = {
            "template": template,
            "user": user,
            "parameters": parameters,
            "test_mode": test_mode,
            "check": check,
        }
        work = {name: value for name, value in given.items() if value is not None}
        rules = {**APPLICATION_OUTCOME, **(outcome or {})}
        super().__init__(step="sap.application_job", connection=connection, work=work, outcome=rules, **kwargs)

    @classmethod
    def from_step(cls, **kwargs: Any) -> DelegateOperator:
        """Return the operator of a compiled template's step."""
        return super().from_step(**{**kwargs, "outcome": {**APPLICATION_OUTCOME, **(kwargs.get("outcome") or {})}})
