"""Who is asking, and what they may see, by Airflow's own permissions.

A stream is seen by whoever may read its DAG and its runs in Airflow. Every query and every sum takes the ids of these
streams, and takes nothing else: what is not among them does not exist for the viewer, and cannot be told from what does
not exist at all. That holds for streams that Airflow has deleted too: the auth manager is asked for their ids as well.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN, BaseAuthManager
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, auth_manager_from_app, bearer_scheme, get_user
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from airflow_enterprise_orch.executive_view.flights import Flights
from airflow_enterprise_orch.executive_view.tables import STREAM
from airflow_enterprise_orch.executive_view.turns import SessionDep, made, turn

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session


RIGHTS_FOR = 1.0
"""Seconds for which it is remembered what a login may see: a page asks for more than one thing at once."""
WITHIN = (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM, DagAccessEntity.HITL_DETAIL)
"""What is within a stream and has a permission of its own: all that the page of an instance tells."""


@dataclass(frozen=True)
class Rights:
    """What somebody may see.

    :param streams: the ids of the streams.
    :param teams: the team of each stream, where Airflow has teams.
    :param within: the ids of the streams of which they may read each of :data:`WITHIN`; none where nobody asked.
    """

    streams: frozenset[str]
    teams: Mapping[str, str | None]
    within: tuple[frozenset[str], ...] = ()


class _Remembered:
    """The rights of logins, for a moment. Each is remembered by the token itself: no login gets those of another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rights: dict[tuple[bytes, bool], tuple[float, Rights]] = {}

    def get(self, login: bytes | None, *, within: bool = False) -> Rights | None:
        found = self._rights.get((login, within)) if login is not None else None
        return found[1] if found is not None and monotonic() < found[0] else None

    def put(self, login: bytes | None, rights: Rights) -> None:
        if login is None:
            return
        now = monotonic()
        with self._lock:
            self._rights = {one: kept for one, kept in self._rights.items() if now < kept[0]}
            self._rights[login, bool(rights.within)] = now + RIGHTS_FOR, rights


_remembered = _Remembered()
_asking: Flights[Rights] = Flights()


@dataclass(frozen=True)
class Viewer:
    """Who is asking. What they may see is asked for when it is needed first: in the turn of what asks.

    :param _login: by what their rights are remembered; None: by nothing.
    :param _asked: their rights, where they were asked for already.
    """

    name: str
    _manager: Any
    _user: Any
    _session: Session
    _login: bytes | None = None
    _asked: Rights | None = None

    @property
    def streams(self) -> frozenset[str]:
        """The ids of the streams that they may see."""
        return self._rights.streams

    @property
    def _rights(self) -> Rights:
        # Not cached_property: before Python 3.12 that has one lock for all viewers, which who is in a turn would wait
        # for, and who has it for a turn.
        found: Rights | None = self.__dict__.get("rights")
        if found is None:
            found = self._asked or _remembered.get(self._login)
            if found is None:
                found = _ask(self._session, self._manager, self._user)
                _remembered.put(self._login, found)
            self.__dict__["rights"] = found
        return found

    def ask(self) -> None:
        """Ask for their rights now, where nobody waits for this transaction: an auth manager may take long."""
        _ = self._rights

    def may(self, entity: DagAccessEntity, dag_id: str) -> bool:
        """Tell whether they may read one kind of thing of a stream."""
        if self._rights.within and entity in WITHIN:
            return dag_id in self._rights.within[WITHIN.index(entity)]
        return dag_id in self.streams and self._allowed("GET", dag_id, entity)

    def may_act(self, dag_id: str) -> bool:
        """Tell whether they may change a stream's instances."""
        entities = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)
        return dag_id in self.streams and all(self._allowed("PUT", dag_id, entity) for entity in entities)

    def only(self, entity: DagAccessEntity, of: Collection[str] | None = None) -> frozenset[str]:
        """Return those of their streams, and of ``of``, of which they may read one kind of thing."""
        streams = self.streams if of is None else self.streams.intersection(of)
        if self._rights.within and entity in WITHIN:
            return streams & self._rights.within[WITHIN.index(entity)]
        return _readable(self._manager, self._user, entity, streams, self._rights.teams)

    def _allowed(self, method: str, dag_id: str, entity: DagAccessEntity) -> bool:
        return _allowed(self._manager, self._user, method, entity, dag_id, self._rights.teams)


async def viewer(
    request: Request,
    user: GetUserDep,
    manager: Annotated[BaseAuthManager[Any], Depends(auth_manager_from_app)],
    session: SessionDep,
) -> Viewer:
    """Return who is asking; Airflow refuses who is not logged in."""
    # Whoever acts is asked for anew.
    login = _login(request, user) if request.method == "GET" else None
    return Viewer(user.get_name(), manager, user, session, login, getattr(request.state, "rights", None))


async def logged_in(request: Request) -> Any:
    """Return who is asking, as Airflow knows them.

    :raises HTTPException: 401 when nobody is logged in.
    """
    return await get_user(request, None, await bearer_scheme(request))


async def rights_of(request: Request, user: Any, *, within: bool = False) -> Rights:
    """Return what somebody may see, and have the request's :class:`Viewer` see that and nothing else.

    The auth manager is asked in a thread: it may have to ask over the network.

    :param within: ask for :attr:`Rights.within` too.
    """
    login = _login(request, user)

    def ask() -> Rights:
        manager = get_auth_manager()
        asked = _ask(made(), manager, user)
        if within:
            of = (_readable(manager, user, entity, asked.streams, asked.teams) for entity in WITHIN)
            asked = replace(asked, within=tuple(of))
        _remembered.put(login, asked)
        return asked

    found = _remembered.get(login, within=within)
    if found is None:
        found = await (_asking.run((login, within), ask) if login is not None else run_in_threadpool(ask))
    request.state.rights = found
    return found


def _login(request: Request, user: Any) -> bytes | None:
    """Name the login of a request by who it is and all that can be its token; None where there is none such."""
    given = request.headers.get("authorization", ""), request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    named = "\0".join((str(user.get_id()), *given))
    return hashlib.blake2b(named.encode(), digest_size=32).digest() if any(given) else None


def _ask(session: Session, manager: Any, user: Any) -> Rights:
    with turn(session):
        known = set(session.scalars(select(STREAM.c.dag_id).distinct()))
        teams = _teams(session, known)
        seen: set[str] = set()
        for team in {teams.get(dag_id) for dag_id in known}:
            of_team = {dag_id for dag_id in known if teams.get(dag_id) == team}
            seen |= manager.filter_authorized_dag_ids(dag_ids=of_team, user=user, method="GET", team_name=team)
        return Rights(_readable(manager, user, DagAccessEntity.RUN, frozenset(seen & known), teams), teams)


def _readable(
    manager: Any, user: Any, entity: DagAccessEntity, streams: frozenset[str], teams: Mapping[str, str | None]
) -> frozenset[str]:
    """Return those of some streams of which somebody may read one kind of thing."""
    asked = [
        IsAuthorizedDagRequest(
            method="GET", access_entity=entity, details=DagDetails(id=dag_id, team_name=teams.get(dag_id))
        )
        for dag_id in sorted(streams)
    ]
    # Most may see all of theirs, and some auth managers ask over the network.
    if asked and manager.batch_is_authorized_dag(asked, user=user):
        return streams
    return frozenset(dag_id for dag_id in streams if _allowed(manager, user, "GET", entity, dag_id, teams))


def _allowed(
    manager: Any, user: Any, method: str, entity: DagAccessEntity, dag_id: str, teams: Mapping[str, str | None]
) -> bool:
    details = DagDetails(id=dag_id, team_name=teams.get(dag_id))
    return bool(manager.is_authorized_dag(method=method, access_entity=entity, details=details, user=user))


def _teams(session: Session, dag_ids: set[str]) -> dict[str, str | None]:
    if not dag_ids or not conf.getboolean("core", "multi_team"):
        return {}
    return DagModel.get_dag_id_to_team_name_mapping(sorted(dag_ids), session=session)


ViewerDep = Annotated[Viewer, Depends(viewer)]


def seen(viewer: Viewer, dag_id: str, entity: DagAccessEntity = DagAccessEntity.RUN) -> str:
    """Return the id of a stream that the viewer may see.

    :raises HTTPException: 404 when they may not, whether it exists or not.
    """
    if not viewer.may(entity, dag_id):
        raise HTTPException(404, f"there is no stream {dag_id!r}, or you may not see it")
    return dag_id
