"""Finding orders among everybody's active jobs: by their ids, and by the key that one was made with.

The Automation API filters by name, folder, state and description, not by variables (BMC, "Run Service",
``run jobs:status::get``: the filters; nothing that an order may set is among them, as an order sets variables, and no
description). So the key is a variable of the order, and is read with ``run job::get`` from each order that may carry
it. What was read once is not read again; held orders come first, then the newest. Where that leaves an order unread
that could carry the key, the answer is "cannot tell", never "absent".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_enterprise_orch.delegation.https import Call
from airflow_enterprise_orch.delegation.system import Absent, Candidate, Found, Sighting, Unknown
from airflow_enterprise_orch.errors import SystemUnreachable
from airflow_enterprise_orch.systems.mainframe import controlm_documents as documents
from airflow_enterprise_orch.systems.mainframe.controlm_documents import Mark
from airflow_enterprise_orch.systems.mainframe.session import JobAbsent

if TYPE_CHECKING:
    from airflow_enterprise_orch.delegation.job import JobHandle
    from airflow_enterprise_orch.systems.mainframe.controlm_documents import Document
    from airflow_enterprise_orch.systems.mainframe.controlm_session import ControlmSession

PAGE = 1000
"""BMC, ``run jobs:status::get``: how many entries an answer has where ``limit`` asks for no other number. There is no
next page."""
WIDE = 10_000
"""How many are asked for where :data:`PAGE` were not all. How many a server gives at most is not documented."""
PAGES = 100
"""How many pages of folders, and how many of names in them, one poll asks for at most."""
READS = 100
"""How many orders that are not held one look reads."""
AT_ONCE = 6
FORGET = 100_000
"""How many orders a long-lived client remembers to have read."""


class Lookup:
    """The active jobs of one Control-M/Server, and what is known of their keys."""

    def __init__(self, session: ControlmSession) -> None:
        self._session = session
        self._marks: dict[str, Mark] = {}
        self._before: dict[str, set[str]] = {}
        self._sent: dict[str, str] = {}

    async def entries(self, folder: str = "", **filters: str) -> tuple[list[Document], bool]:
        """Return one page of the active jobs, and whether there are more than it shows; :data:`PAGE`, or ``limit``."""
        params = {"ctm": self._session.settings.server, "limit": str(PAGE), **filters}
        if folder:
            params["folder"] = folder
        answer = await self._session.document(Call("list of jobs", "GET", "/run/jobs/status", params=params))
        found = answer.get("statuses") or []
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            raise SystemUnreachable(f"{self._server} answered a list of jobs with something else")
        total = answer.get("total")
        if isinstance(total, int):
            return found, total > len(found)
        return found, len(found) >= PAGE  # a server may show fewer than it is asked for

    async def shown(self, handles: Sequence[JobHandle]) -> tuple[dict[str, Document], list[JobHandle]]:
        """Return the entries that lists show, by id, and the handles that must be asked for one by one.

        Ended jobs stay among the active ones until the new day and can fill an answer. Then each folder is listed by
        itself, with a higher limit; and where a server cuts that off, too, each name in it: those of its jobs, and the
        folder's own, because a job is held when the folder around it is.
        """
        shown: dict[str, Document] = {}

        async def page(folder: str, **filters: str) -> bool:
            entries, more = await self.entries(folder, **filters)
            shown.update({documents.text(entry, "jobId"): entry for entry in entries})
            return more

        def hidden() -> list[JobHandle]:
            # A folder's own entry tells whether it is held.
            ids = ((handle, handle.job_id, handle.fields.get("folder_id", handle.job_id)) for handle in handles)
            return [handle for handle, job_id, folder_id in ids if job_id not in shown or folder_id not in shown]

        folders = {handle.fields.get("folder", "") for handle in handles}
        if not await page(folders.pop() if len(folders) == 1 else ""):
            return shown, [handle for handle in handles if handle.job_id not in shown]
        cut_off = set()
        for folder in sorted({handle.fields.get("folder", "") for handle in hidden()} - {""})[:PAGES]:
            if await page(folder, limit=str(WIDE)):
                cut_off.add(folder)
        places = {(handle.fields.get("folder", ""), name) for handle in hidden() for name in (handle.name, "")}
        for folder, name in sorted(place for place in places if place[0] in cut_off)[:PAGES]:
            await page(folder, limit=str(WIDE), jobname=name or folder)
        return shown, hidden()

    def sends(self, key: str, folder: str) -> None:
        """Note that the key is about to leave for ``folder``: what was there before does not carry it."""
        self._sent[key] = folder

    async def find(self, key: str) -> Sighting:
        """Look for the orders that carry ``key``."""
        folder = self._sent.get(key)
        entries, hidden = await self._page([folder] if folder else self._session.settings.folders)
        found = await self._carriers(entries, key)
        if found and hidden:
            # A copy of what was found lies in the same folder; the whole of that folder is looked through.
            entries, hidden = await self._page([found[0].handle.fields["folder"]])
            found = await self._carriers(entries, key)
        unread = [order for order in self._orders(entries) if documents.text(order, "jobId") not in self._marks]
        earlier = self._before.get(key, set()) if folder else set()
        unread = [order for order in unread if documents.text(order, "jobId") not in earlier]
        if found:
            names = {candidate.handle.fields["folder"] for candidate in found}
            await self._read([order for order in unread if _folder_name(order) in names], _inside(entries))
            found = await self._carriers(entries, key, read=False)
            return Found(tuple(sorted(found, key=lambda candidate: candidate.order)))
        if not folder:
            self._before[key] = {documents.text(entry, "jobId") for entry in entries}
        if hidden or unread:
            return Unknown(
                f"{self._server} has more active orders than can be looked through; name the folders that connection "
                f"{self._session.settings.connection!r} orders in its extra 'folders'"
            )
        return Absent()

    async def _page(self, folders: Sequence[str]) -> tuple[list[Document], bool]:
        """Return the entries of some folders, and the held ones in any case."""
        by_id: dict[str, Document] = {}
        hidden = False
        for folder in folders or [""]:
            page, more = await self.entries(folder)
            if more:
                page = [*page, *(await self.entries(folder, held="true"))[0]]
                hidden = True
            by_id.update({documents.text(entry, "jobId"): entry for entry in page})
        return list(by_id.values()), hidden

    def _orders(self, entries: Iterable[Document]) -> list[Document]:
        """Return what was ordered by itself, held first, then the newest; without what was deleted before it ran."""
        entries = list(entries)
        ids = {documents.text(entry, "jobId") for entry in entries}
        orders = [
            entry
            for entry in entries
            if documents.is_order(entry, ids) and (documents.began(entry) or not documents.flag(entry, "deleted"))
        ]
        orders.sort(key=lambda entry: documents.order_of(documents.text(entry, "jobId")), reverse=True)
        return sorted(orders, key=lambda entry: not documents.flag(entry, "held"))

    async def _carriers(self, entries: list[Document], key: str, *, read: bool = True) -> list[Candidate]:
        """Return the orders that carry ``key``, reading those that may."""
        orders = self._orders(entries)
        by_id = {documents.text(entry, "jobId"): entry for entry in entries}
        inside = _inside(entries)
        if read:
            earlier = self._before.get(key, set()) if key in self._sent else set()
            unread = [order for order in orders if documents.text(order, "jobId") not in self._marks.keys() | earlier]
            # What waits in a held folder is read too: which of the two is held differs.
            wanted = [order for order in unread if self._is_held(order, inside)]
            wanted += [order for order in unread if order not in wanted][:READS]
            await self._read(wanted, inside)
        found = []
        for order in orders:
            mark = self._marks.get(documents.text(order, "jobId"), Mark("", ""))
            if mark.key != key:
                continue
            jobs = [entry for entry in inside.get(documents.text(order, "jobId"), []) if not documents.is_folder(entry)]
            tracked = jobs[0] if mark.what == "job" and documents.is_folder(order) and len(jobs) == 1 else order
            folder = by_id.get(documents.folder_id(tracked))
            found.append(
                Candidate(
                    documents.handle_of(tracked, key, _folder_name(order)),
                    held=documents.held(tracked, folder, jobs if tracked is order else ()),
                    order=documents.order_of(documents.text(tracked, "jobId")),
                )
            )
        return found

    @staticmethod
    def _is_held(order: Document, inside: dict[str, list[Document]]) -> bool:
        jobs = inside.get(documents.text(order, "jobId"), [])
        return any(documents.held(entry) for entry in (order, *jobs))

    async def _read(self, orders: Sequence[Document], inside: dict[str, list[Document]]) -> None:
        """Read the variables of orders, some at once."""
        if len(self._marks) > FORGET:
            self._marks.clear()
        places = asyncio.Semaphore(AT_ONCE)

        async def read(order: Document) -> None:
            async with places:
                job_id = documents.text(order, "jobId")
                mark = await self._mark(job_id)
                jobs = inside.get(job_id, [])
                if mark == Mark("", "") and jobs:
                    # Which of folder and job gets an order's variables differs between versions.
                    mark = await self._mark(documents.text(jobs[0], "jobId"))
                if mark is not None:
                    self._marks[job_id] = mark

        # No task group: that would cut the others off in the middle of a TLS handshake when one fails.
        for outcome in await asyncio.gather(*map(read, orders), return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def _mark(self, job_id: str) -> Mark | None:
        """Return what an order says about itself; None when it is gone."""
        path = f"/run/job/{quote(job_id, safe='')}/get"
        try:
            return documents.mark_of(await self._session.json(Call(f"definition of {job_id}", "GET", path)))
        except JobAbsent:
            return None

    @property
    def _server(self) -> str:
        return f"Control-M/Server {self._session.settings.server} at {self._session.settings.address}"


def _inside(entries: Iterable[Document]) -> dict[str, list[Document]]:
    """Return the entries by the id of the folder that they are in."""
    inside: dict[str, list[Document]] = {}
    for entry in entries:
        inside.setdefault(documents.folder_id(entry), []).append(entry)
    return inside


def _folder_name(order: Document) -> str:
    """Return the name of the folder that was ordered, or that a lone job is from."""
    return documents.text(order, "name") if documents.is_folder(order) else documents.text(order, "folder")
