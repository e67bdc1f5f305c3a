"""An order as BMC's "run order" wants it, and whether what came of it can be watched to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_enterprise_orch.systems.mainframe import controlm_documents as documents

if TYPE_CHECKING:
    from airflow_enterprise_orch.systems.mainframe.controlm_documents import Document
    from airflow_enterprise_orch.systems.mainframe.steps import SchedulerJob


def order_document(work: SchedulerJob, server: str, key: str) -> dict[str, object]:
    """Return the body of ``run order``; BMC, "Run Service", "run order": its parameters."""
    variables = {
        **work.variables,
        documents.KEY_VARIABLE: key,
        documents.WHAT_VARIABLE: "job" if work.job else "folder",
    }
    order: dict[str, object] = {
        "ctm": server,
        "folder": work.folder,
        "hold": True,
        "ignoreCriteria": work.ignore_criteria,
        "createDuplicate": True,
        "variables": [{name: value} for name, value in variables.items()],
    }
    if work.job:
        order |= {"jobs": work.job, "orderIntoFolder": work.into}
    if work.order_date:
        order["orderDate"] = work.order_date
    if work.library:
        order["library"] = work.library
    return order


def tracked(entries: list[Document], work: SchedulerJob) -> list[Document]:
    """Return the entries that the step could wait for; one, where all is well."""
    if work.job:
        return [entry for entry in entries if not documents.is_folder(entry) and documents.text(entry, "jobId")]
    ids = {documents.text(entry, "jobId") for entry in entries}
    return [entry for entry in entries if documents.is_folder(entry) and documents.is_order(entry, ids)]


def problem(entries: list[Document], work: SchedulerJob) -> str:
    """Return why an order cannot be watched to its end, "" if it can."""
    found = tracked(entries, work)
    if len(found) != 1:
        if work.job:
            return f"{work.job!r} names {len(found)} jobs; name exactly one"
        return f"{work.folder!r} is no SMART folder, so its jobs have no common end; name one of them as job"
    cyclic = [documents.text(entry, "name") for entry in entries if documents.flag(entry, "cyclic")]
    return f"{', '.join(cyclic)} is cyclic and has no end" if cyclic else ""
