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
