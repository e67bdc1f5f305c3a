"""The mainframe's operators, for DAGs written in Python; value streams use the same ones."""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.delegation.operator import DelegateOperator


class ZosJobOperator(DelegateOperator):
    """Runs one z/OS batch job through z/OSMF: exactly once, without holding a worker while it runs.

    :param connection: an Airflow connection of type ``zosmf``.
    :param jcl: the JCL; values come in as symbols (``&NAME``).
    :param dataset: where the JCL is instead: ``HLQ.JCL(MEMBER)`` or ``/u/file.jcl``.
    :param symbols: JCL symbols; their values may be templates.
    :param job_class: put on the JOB card as ``CLASS=``.
    """

    def __init__(
        self,
        *,
        connection: str,
        jcl: str | None = None,
        dataset: str | None = None,
        symbols: dict[str, str] | None = None,
        job_class: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = {"jcl": jcl, "dataset": dataset, "symbols": symbols, "job_class": job_class}
        work = {name: value for name, value in given.items() if value is not None}
        super().__init__(step="mainframe.job", connection=connection, work=work, **kwargs)


class ControlmOrderOperator(DelegateOperator):
    """Orders one Control-M folder or job: exactly once, without holding a worker while it runs.

    :param connection: an Airflow connection of type ``controlm``.
    :param folder: the folder, as Control-M calls it.
    :param job: one job of the folder; without it the whole SMART folder is ordered.
    :param variables: variables of this order, without ``%%``; their values may be templates.
    :param order_date: ``YYYYMMDD``; Control-M's current order date by default.
    :param library: the z/OS library of the folder, on a Control-M for z/OS.
    :param ignore_criteria: order it although its scheduling criteria do not say so today.
    :param into: ``New`` (a new folder around a single job) or ``Standalone``.
    """

    def __init__(
        self,
        *,
        connection: str,
        folder: str,
        job: str | None = None,
        variables: dict[str, str] | None = None,
        order_date: str | None = None,
        library: str | None = None,
        ignore_criteria: bool | None = None,
        into: str | None = None,
        **kwargs: Any,
    ) -> None:
        given = {
            "folder": folder,
            "job": job,
            "variables": variables,
            "order_date": order_date,
            "library": library,
            "ignore_criteria": ignore_criteria,
            "into": into,
        }
        work = {name: value for name, value in given.items() if value is not None}
        super().__init__(step="mainframe.scheduler_job", connection=connection, work=work, **kwargs)
