"""Which instances are live, with which version they began, and what is new: all that a bundle asks of Airflow's tables.

They are no public interface: what changes there is met here alone. The questions ride on the partial indexes of live
runs and take a bounded list of keys. Where nobody can say - a worker may not ask, the database does not answer - the
answer is None, and whoever asked keeps what it might have removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session

LIVE = ("running", "queued")
"""The states of a run that goes on; each has an index of its own."""
CHUNK = 400
"""How many keys one question takes."""

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


def live_streams(streams: Collection[str]) -> frozenset[str] | None:
    """Return those of some streams that have a live instance; None where nobody can say."""

    def ask(session: Session) -> frozenset[str]:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        found: set[str] = set()
        for some in _chunks(sorted(streams)):
            for state in LIVE:
                where = (DagRun.state == state, DagRun.dag_id.in_(some))
                found.update(session.scalars(select(DagRun.dag_id).where(*where).distinct()))
        return frozenset(found)

    return _asked(ask) if streams else frozenset()


def written_since(streams: Collection[str], moment: datetime) -> frozenset[str] | None:
    """Return those of some streams of which Airflow wrote a version after a moment; None where nobody can say."""

    def ask(session: Session) -> frozenset[str]:
        from airflow.models.serialized_dag import SerializedDagModel as Written
        from sqlalchemy import select

        found: set[str] = set()
        for some in _chunks(sorted(streams)):
            where = (Written.dag_id.in_(some), Written.last_updated > moment)
            found.update(session.scalars(select(Written.dag_id).where(*where).distinct()))
        return frozenset(found)

    return _asked(ask) if streams else frozenset()


def live_versions() -> frozenset[str] | None:
    """Return the versions of bundles that live instances began with; None where nobody can say.

    What Airflow last saw of the same version of the DAG counts, too: its callbacks run from there.
    """

    def ask(session: Session) -> frozenset[str]:
        from airflow.models.dag_version import DagVersion
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        found: set[str | None] = set()
        for state in LIVE:
            question = (
                select(DagRun.bundle_version, DagVersion.bundle_version)
                .outerjoin(DagVersion, DagRun.created_dag_version_id == DagVersion.id)
                .where(DagRun.state == state, DagRun.bundle_version.is_not(None))
                .distinct()
            )
            found.update(one for row in session.execute(question) for one in row)
        return frozenset(one for one in found if one)

    return _asked(ask)


def versions_in_use(bundle: str) -> Mapping[str, str] | None:
    """Return by stream of a bundle the version that its newest live instance began with; None where nobody can say."""

    def ask(session: Session) -> Mapping[str, str]:
        from airflow.models.dag import DagModel
        from airflow.models.dagrun import DagRun
        from sqlalchemy import func, select

        newest: list[int] = []
        for state in LIVE:
            newest += session.scalars(
                select(func.max(DagRun.id))
                .join(DagModel, DagModel.dag_id == DagRun.dag_id)
                .where(DagRun.state == state, DagRun.bundle_version.is_not(None), DagModel.bundle_name == bundle)
                .group_by(DagRun.dag_id)
            )
        found: dict[str, str] = {}
        for some in _chunks(sorted(newest)):
            rows = session.execute(
                select(DagRun.dag_id, DagRun.bundle_version).where(DagRun.id.in_(some)).order_by(DagRun.id)
            )
            found.update({dag_id: version for dag_id, version in rows if version is not None})
        return found

    return _asked(ask)


def _asked(question: Callable[[Session], Answer]) -> Answer | None:
    from airflow.utils.session import create_session
    from sqlalchemy.exc import SQLAlchemyError

    try:
        # A session of its own: the caller's is not to be committed here.
        with create_session(scoped=False) as session:
            return question(session)
    except SQLAlchemyError as error:
        log.warning("Airflow's database does not say which instances are live (%s)", type(error).__name__)
    except RuntimeError:
        log.debug("no question to Airflow's database is allowed in this process")
    return None


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
