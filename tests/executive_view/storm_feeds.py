"""Feeds in a storm: some API servers that take over from one another look at Airflow while it blows.

Run as a program with the seed; prints what was compared as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from airflow import settings
from airflow.cli.cli_parser import get_parser
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.models.xcom import XComModel
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import instances, overview
from airflow_enterprise_orch.executive_view.answers import InstanceQuery, OverviewFilter
from airflow_enterprise_orch.executive_view.feed import Feed
from airflow_enterprise_orch.executive_view.last_write import Write
from airflow_enterprise_orch.executive_view.tables import EVENT, INSTANCE, LEASE, ROLLUP_DAY
from airflow_enterprise_orch.value_stream.decision_record import DECISION_KEY, RULES, Decision
from tests.executive_view.storm import DAG, Storm, truth

I = INSTANCE.c  # noqa: E741 - read as "I.run_id"
TOLD = ("asked", "answered", "decision", "ended")
SAID = ("cleared", "marked")
OLD = timedelta(days=40)


def rows(table: sa.Table, *where: Any) -> list[dict[str, Any]]:
    """Return all rows of a table of ours, in the order of their keys."""
    with settings.engine.connect() as connection:
        found = connection.execute(sa.select(table).where(*where).order_by(*table.primary_key.columns))
        return [dict(row) for row in found.mappings()]


def ours() -> dict[str, Any]:
    """Return what our tables say of the runs that Airflow has."""
    there = rows(INSTANCE, I.in_airflow.is_(True))
    return {
        "states": dict(Counter(row["state"] for row in there)),
        "live": sum(row["live"] for row in there),
        "runs": {row["run_id"]: _of_row(row) for row in there},
        "health": {row["run_id"]: _without_forecast(row) for row in there},
        "counts": counts(),
    }


def _without_forecast(row: Mapping[str, Any]) -> str:
    """Return how an instance is; one at risk as it would be without a forecast, where it is rightly at risk."""
    foretold = row["live"] and row["forecast_p90"] is not None and not row["failed_steps"]
    rightly = foretold and row["due_at"] > datetime.now(UTC) and row["forecast_p90"] > row["due_at"]
    if rightly != (row["health"] == "at_risk"):
        return f"{row['health']}, with a P90 of {row['forecast_p90']} and due at {row['due_at']}"
    return ("waiting" if row["waiting_people"] else "on_time") if rightly else str(row["health"])


def counts() -> dict[str, Any]:
    """Return what the overview counts; and say where the list behind a number has another total."""
    streams = frozenset({DAG})
    with Session(settings.engine) as session:
        taken = overview.take(session, Write(0, None), 0.0)  # nothing that was kept: what is there now
        told = overview.overview(taken, OverviewFilter(), streams).counts.model_dump()
        behind = {
            "live": {"live": True}, "late": {"live": True, "health": ["late"]},
            "at_risk": {"health": ["at_risk"]}, "failed": {"health": ["failed"]},
            "waiting_people": {"live": True, "waiting_people": True}, "parked": {"live": True, "parked": True},
        }  # fmt: skip
        for name, asks in behind.items():
            total = instances.page(session, InstanceQuery(**asks, limit=1), streams).total
            if total != told[name]:
                told[name] = f"{told[name]}, and the list has {total}"
    if told.pop("at_risk") != len(rows(INSTANCE, I.health == "at_risk", I.live.is_(True))):
        told["at_risk"] = "another number than there are"
    return told


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    steps = row["steps"]
    parked = sum(one.get("state") in ("waiting_person", "parked") for one in steps.values())
    parked += sum(one.get("undo", {}).get("state") == "parked" for one in steps.values())
    return {
        "failed": row["failed_steps"],
        "asked": parked,
        "items": steps["pay"].get("items", {}),
        "tries": {name: steps[name]["try"] for name in ("ask", "book", "ship") if steps[name].get("try")},
    }


def look(feed: Feed) -> None:
    """Look until there is no more to be read."""
    while feed.look():
        pass


def storm(seed: int) -> dict[str, Any]:
    """Let it blow, look in between, and return what differs."""
    weather, wrong, seen = Storm(seed), [], {kind: set() for kind in (*TOLD, "there")}  # type: ignore[var-annotated]
    said_of: dict[str, set[int]] = {kind: set() for kind in SAID}
    number, feed = 0, Feed(settings.engine, "server 0")
    for blow in range(14):
        weather.blow(25)
        what = weather.dice.random()
        if what < 0.35:
            # The leader is gone: at its end, or without a word and its lease ran out.
            if what < 0.15:
                feed.release()
            else:
                with settings.engine.begin() as connection:
                    connection.execute(sa.update(LEASE).values(until=datetime.now(UTC) - timedelta(seconds=1)))
            number += 1
            feed = Feed(settings.engine, f"server {number}")
        elif what < 0.45:
            feed.rebuild()
        look(feed)
        said, is_so = ours(), truth()
        for kind in seen:
            seen[kind] |= is_so[kind]
        for kind in SAID:
            said_of[kind] |= {entry for entry, run in weather.said[kind] if run in is_so["there"]}
        for what_is in said:
            if said[what_is] != is_so[what_is]:
                wrong.append([blow, what_is, said[what_is], is_so[what_is]])
    events = Counter(row["kind"] for row in rows(EVENT))
    told = {"asked": events["asked"] + events["parked"], **{kind: events[kind] for kind in (*TOLD[1:], *SAID)}}
    days = rows(ROLLUP_DAY)
    return {
        "wrong": wrong,
        "told": told,
        "seen": {**{kind: len(seen[kind]) for kind in TOLD}, **{kind: len(said_of[kind]) for kind in SAID}},
        # A run that was made and deleted between two looks was never there for anybody who looks.
        "deleted": [events["deleted"], len(seen["there"] & weather.deleted)],
        "ended": [
            sum(day["ended"] for day in days),
            sum(truth()["states"].get(state, 0) for state in ("success", "failed")),
        ],
        "leaders": number,
    }


def _long_ago(run_id: str, run_type: Any, days: float) -> None:
    """Make a run that ended well long ago."""
    began = datetime.now(UTC) - timedelta(days=days)
    with create_session() as session:
        dag = SerializedDagModel.get_dag(DAG, session=session)
        assert dag is not None
        run = dag.create_dagrun(
            run_id=run_id, run_after=began, run_type=run_type, triggered_by=DagRunTriggeredByType.TEST, state="success",
            conf={"order": f"Key-{run_id}"}, session=session, **_interval(began, run_type),
        )  # fmt: skip
        run.start_date, run.end_date = began, began + timedelta(minutes=30)
        for ti in run.get_task_instances(session=session):
            ti.state, ti.start_date, ti.end_date, ti.try_number = "success", began, run.end_date, 1
        # Airflow keeps the text of it; as JSON, PostgreSQL refuses NaN.
        gave = json.dumps({"rc": 0, "rate": float("nan"), "log": "x" * 5000})
        of = {"dag_run_id": run.id, "dag_id": DAG, "run_id": run_id, "map_index": -1}
        session.add(XComModel(**of, task_id="book", key="return_value", value=gave, timestamp=began))
        seen = {"steps.book.rate": float("nan")}
        record = Decision("branch", "first", (), seen, ("otherwise",), RULES, began, chosen=("ship",))
        session.add(Cell(**of, task_id="route", key=DECISION_KEY, value=json.dumps(record.to_json())))


def _interval(began: datetime, run_type: Any) -> dict[str, Any]:
    if run_type is DagRunType.MANUAL:
        return {}
    return {"logical_date": began, "data_interval": (began - timedelta(days=1), began)}


def kept() -> dict[str, Any]:
    """Return all of our history, without what says when it was written and whether Airflow has the run."""
    own = ("revision", "changed_at", "in_airflow", "forecast_p50", "forecast_p90", "forecast_n")
    return {
        "instances": [{name: str(row[name]) for name in row if name not in own} for row in rows(INSTANCE)],
        "events": [str(row) for row in rows(EVENT)],
        "days": [str(row) for row in rows(ROLLUP_DAY)],
    }


def _let_a_day_pass() -> None:
    """Have whoever leads compare all."""
    with settings.engine.begin() as connection:
        cursor = connection.scalar(sa.select(LEASE.c.cursor)) or {}
        connection.execute(sa.update(LEASE).values(cursor={**cursor, "compared": None}))


def clean() -> dict[str, Any]:
    """Have Airflow forget, by its own command line, and return what we forgot of it."""
    for number in range(6):
        _long_ago(f"old-{number}", DagRunType.MANUAL, 40 + number / 10)
    # Airflow keeps the newest scheduled run of a DAG, but not what it knows of its tasks.
    _long_ago("scheduled", DagRunType.SCHEDULED, 40)
    feed = Feed(settings.engine, "cleaner")
    with settings.engine.begin() as connection:
        connection.execute(sa.update(LEASE).values(until=datetime.now(UTC) - timedelta(seconds=1)))
    look(feed)
    before = kept()
    cut = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    arguments = get_parser().parse_args(["db", "clean", "--clean-before-timestamp", cut, "--yes", "--skip-archive"])
    arguments.func(arguments)
    with settings.engine.connect() as connection:
        left = set(connection.scalars(sa.select(DagRun.run_id)))
        xcoms = connection.scalar(sa.select(sa.func.count()).where(XComModel.key == "return_value"))
        of_old_ones = (Cell.key == DECISION_KEY, Cell.run_id.like("old-%"))
        records = connection.scalar(sa.select(sa.func.count()).where(*of_old_ones))
    differs = []
    for step in (lambda: look(feed), _let_a_day_pass,
                 lambda: look(feed), lambda: Feed(settings.engine, "rebuilder").rebuild()):  # fmt: skip
        step()
        after = kept()
        differs.append([what for what in before if after[what] != before[what]])
    of_old = [row for row in rows(INSTANCE) if not row["run_id"].startswith("r")]
    gone = {row["run_id"] for row in rows(INSTANCE, I.in_airflow.is_(False), I.state != "deleted")}
    return {
        "left": sorted(name for name in left if not name.startswith("r")),
        "gone": sorted(gone),
        "xcoms": xcoms,
        "outputs": {row["run_id"]: row["outputs"] for row in of_old},
        "decisions": {row["run_id"]: row["decisions"]["route"]["values"] for row in of_old},
        "records": records,
        "differs": differs,
    }


def retain() -> dict[str, Any]:
    """Keep no more than a month, and return what is left of what is older."""
    days = [str(row) for row in rows(ROLLUP_DAY)]
    many = len(rows(EVENT))
    with settings.engine.begin() as connection:
        connection.execute(sa.update(LEASE).values(until=datetime.now(UTC) - timedelta(seconds=1), cursor={}))
    feed = Feed(settings.engine, "keeper", keep_days=30)
    look(feed)
    feed.rebuild()
    return {
        "old": [
            row["run_id"] for row in rows(INSTANCE) if row["ended_at"] and row["ended_at"] < datetime.now(UTC) - OLD
        ],
        "events": [many, len(rows(EVENT))],
        "days": [str(row) for row in rows(ROLLUP_DAY)] == days,
        "counted": sum(row["ended"] for row in rows(ROLLUP_DAY, ROLLUP_DAY.c.day <= (datetime.now(UTC) - OLD).date())),
    }


if __name__ == "__main__":
    initdb()
    answer = {"storm": storm(int(sys.argv[1])), "clean": clean(), "retain": retain()}
    print(json.dumps(answer, default=str))
