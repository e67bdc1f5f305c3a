"""Who is asking, and what they may see, by Airflow's own permissions.

A stream is seen by whoever may read its DAG and its runs in Airflow. Every query and every sum takes the ids of these
streams, and takes nothing else: what is not among them does not exist for the viewer, and cannot be told from what does
not exist at all. That holds for streams that Airflow has deleted too: the auth manager is asked for their ids as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, auth_manager_from_app
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException
from sqlalchemy import select

from airflow_enterprise_orch.executive_view.tables import STREAM
from airflow_enterprise_orch.executive_view.turns import SessionDep, turn

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Viewer:
    """Who is asking. What they may see is asked for when it is needed first: in the turn of what asks."""

    name: str
    _manager: Any
    _user: Any
    _session: Session
    _teams: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def streams(self) -> frozenset[str]:
        """The ids of the streams that they may see."""
        with turn(self._session):
            known = set(self._session.scalars(select(STREAM.c.dag_id).distinct()))
            self._teams.update(_teams(self._session, known))
            seen: set[str] = set()
            for team in {self._teams.get(dag_id) for dag_id in known}:
                of_team = {dag_id for dag_id in known if self._teams.get(dag_id) == team}
                seen |= self._manager.filter_authorized_dag_ids(
                    dag_ids=of_team, user=self._user, method="GET", team_name=team
                )
            return self._readable(DagAccessEntity.RUN, seen & known)

    def may(self, entity: DagAccessEntity, dag_id: str) -> bool:
        """Tell whether they may read one kind of thing of a stream."""
        return dag_id in self.streams and self._allowed("GET", dag_id, entity)

    def may_act(self, dag_id: str) -> bool:
        """Tell whether they may change a stream's instances."""
        entities = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)
        return dag_id in self.streams and all(self._allowed("PUT", dag_id, entity) for entity in entities)

    def only(self, entity: DagAccessEntity, of: Collection[str] | None = None) -> frozenset[str]:
        """Return those of their streams, and of ``of``, of which they may read one kind of thing."""
        return self._readable(entity, self.streams if of is None else self.streams.intersection(of))

    def _readable(self, entity: DagAccessEntity, streams: Collection[str]) -> frozenset[str]:
        asked = [
            IsAuthorizedDagRequest(
                method="GET", access_entity=entity, details=DagDetails(id=dag_id, team_name=self._teams.get(dag_id))
            )
            for dag_id in sorted(streams)
        ]
        # Most may see all of theirs, and some auth managers ask over the network.
        if asked and self._manager.batch_is_authorized_dag(asked, user=self._user):
            return frozenset(streams)
        return frozenset(dag_id for dag_id in streams if self._allowed("GET", dag_id, entity))

    def _allowed(self, method: str, dag_id: str, entity: DagAccessEntity) -> bool:
        details = DagDetails(id=dag_id, team_name=self._teams.get(dag_id))
        return bool(
            self._manager.is_authorized_dag(method=method, access_entity=entity, details=details, user=self._user)
        )


async def viewer(
    user: GetUserDep, manager: Annotated[BaseAuthManager[Any], Depends(auth_manager_from_app)], session: SessionDep
) -> Viewer:
    """Return who is asking; Airflow refuses who is not logged in."""
    return Viewer(user.get_name(), manager, user, session)


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
