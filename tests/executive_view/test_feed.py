"""The feed on a real Airflow database: what it tells is what Airflow's own tables hold, and more once these forget.

How a user would notice that it is fake: a count differs from Airflow's after clears and deletions, a run that somebody
deleted is gone without a word, two API servers write one after the other's back, or ``airflow db clean`` takes history.
"""

# ruff: noqa: E501 - the program below is one text
from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_enterprise_orch.executive_view import airflow_tables
from airflow_enterprise_orch.executive_view.feed import COMPARED, LOOKS, Feed
from tests.executive_view.databases import KINDS, database, run

PROGRAM = r"""
import json, random, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from airflow.utils.db import initdb
initdb()
import sqlalchemy as sa
from airflow import settings
from airflow.models.dag import DagModel
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.task_state_store import TaskStateStoreModel as Cell
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType, DagRunTriggeredByType
from airflow_enterprise_orch.delegation.attempt import Attempt, AttemptState
from airflow_enterprise_orch.delegation.job import JobHandle
from airflow_enterprise_orch.delegation.ledger import Ledger
from airflow_enterprise_orch.delegation.ledger_store import ledger_cell
from airflow_enterprise_orch.executive_view import feed as reading
from airflow_enterprise_orch.executive_view.feed import Feed
from airflow_enterprise_orch.executive_view.lease import LeaseLost
from airflow_enterprise_orch.executive_view.tables import EVENT, INSTANCE, JOB, LEASE, ROLLUP_DAY, STREAM
from airflow_enterprise_orch.value_stream.compile import compile_stream
from airflow_enterprise_orch.value_stream.model import ValueStream

T = '''
value_stream: orders
title: Orders
business: {domain: Sales, owner: sales, criticality: high, key: "{{ params.order }}"}
params: {order: {type: string}}
due: {within: 1h}
steps:
  ask: {approval: {subject: "Release {{ params.order }}?"}}
  route: {after: [ask], branch: [{when: 'params.order == "A"', then: [stop]}, {otherwise: []}]}
  stop: {fail: {message: "no"}}
'''
dag = compile_stream(ValueStream.load(T))
with create_session() as session:
    session.add(DagBundleModel(name="b"))
    session.flush()
    lazy = LazyDeserializedDAG.from_dag(dag)
    update_dag_parsing_results_in_db("b", None, [lazy], {}, None, set(), session)

NOW = datetime.now(UTC)
dice = random.Random(7)
feed = Feed(settings.engine, "one")
other = Feed(settings.engine, "two")
I = INSTANCE.c

def add(session, number, state):
    version = session.scalar(sa.select(DagVersion).where(DagVersion.dag_id == "orders"))
    one = DagRun(dag_id="orders", run_id=f"r{number}", run_type=DagRunType.MANUAL, state=state, conf={"order": f"Key-{number}"},
                 run_after=NOW - timedelta(minutes=10), start_date=NOW - timedelta(minutes=9), triggered_by=DagRunTriggeredByType.TEST)
    one.created_dag_version_id = version.id
    if state in ("success", "failed"):
        one.end_date = NOW
    session.add(one)
    session.flush()
    loaded = SerializedDagModel.get_dag("orders", session=session)
    for name in ("ask", "route", "stop"):
        for index in ([-1] if name != "route" else [0, 1]):
            ti = TaskInstance(loaded.get_task(name), dag_version_id=version.id, run_id=one.run_id, map_index=index, state=None)
            ti.dag_id, ti.try_number = "orders", 1
            if state == "success":
                ti.state, ti.start_date, ti.end_date = "success", NOW - timedelta(minutes=5), NOW
            session.add(ti)
    session.flush()
    return one

def truth():
    with settings.engine.connect() as c:
        airflow = dict(c.execute(sa.select(DagRun.__table__.c.state, sa.func.count()).group_by(DagRun.__table__.c.state)).all())
        mine = dict(c.execute(sa.select(I.state, sa.func.count()).where(I.in_airflow.is_(True)).group_by(I.state)).all())
        failed = c.scalar(sa.select(sa.func.count()).select_from(TaskInstance.__table__).where(TaskInstance.__table__.c.state == "failed"))
        told = sum(row.failed_steps for row in c.execute(sa.select(I.failed_steps).where(I.in_airflow.is_(True))))
    return [airflow, mine, failed, told]

answer = {}
with create_session() as session:
    for number in range(60):
        add(session, number, dice.choice(["queued", "running", "running", "success", "failed"]))
while feed.look():
    pass
answer["first"] = truth()
answer["refused"] = other.look()
with settings.engine.connect() as c:
    answer["stream"] = [list(row) for row in c.execute(sa.select(STREAM.c.dag_id, STREAM.c.version, STREAM.c.domain, STREAM.c.is_current))]
    row = c.execute(sa.select(INSTANCE).where(I.run_id == "r3")).mappings().one()
    answer["key"] = [row["business_key"], row["business_key_lower"], str(row["due_at"] - row["run_after"])]
    answer["revision"] = c.scalar(sa.select(LEASE.c.revision))

storms = []
made = 60
deleted = 0
for storm in range(12):
    with create_session() as session:
        for one in dice.sample(session.scalars(sa.select(DagRun)).all(), 12):
            what = dice.choice(["end", "fail", "clear", "step", "delete", "new", "again"])
            if what == "end":
                one.state, one.end_date = "success", datetime.now(UTC)
            elif what == "fail":
                one.state, one.end_date = "failed", datetime.now(UTC)
            elif what == "clear":
                one.state, one.end_date = "queued", None
                for ti in one.get_task_instances(session=session):
                    ti.state, ti.try_number = None, ti.try_number + 1
            elif what == "step" and one.state == "running":
                for ti in one.get_task_instances(session=session):
                    if ti.task_id == "stop":
                        ti.state, ti.start_date = dice.choice(["running", "failed", "up_for_retry", "awaiting_input"]), datetime.now(UTC)
            elif what == "delete":
                deleted += 1
                session.add(Log(event="delete_dag_run", dag_id="orders", run_id=one.run_id, owner="ann"))
                session.delete(one)
            elif what == "again":
                run_id, order = one.run_id, one.conf
                deleted += 1
                session.add(Log(event="delete_dag_run", dag_id="orders", run_id=run_id, owner="ann"))
                session.delete(one)
                session.flush()
                add(session, int(run_id[1:]), "running")
            elif what == "new":
                add(session, made, dice.choice(["running", "success"]))
                made += 1
    # An ended run that somebody marks is known from Airflow's log.
        for one in session.scalars(sa.select(DagRun)):
            session.add(Log(event="patch_dag_run", dag_id="orders", run_id=one.run_id, owner="ann"))
    while feed.look():
        pass
    storms.append(truth())
answer["storms"] = storms
with settings.engine.connect() as c:
    answer["deleted"] = [deleted, c.scalar(sa.select(sa.func.count()).where(I.state == "deleted")),
                         c.scalar(sa.select(sa.func.count()).select_from(EVENT).where(EVENT.c.kind == "deleted", EVENT.c.actor == "ann"))]
    live_truth = c.scalar(sa.select(sa.func.count()).where(DagRun.__table__.c.state.in_(["queued", "running"])))
    answer["live"] = [live_truth, c.scalar(sa.select(sa.func.count()).where(I.live.is_(True)))]
    day = c.execute(sa.select(sa.func.sum(ROLLUP_DAY.c.ended), sa.func.sum(ROLLUP_DAY.c.failed), sa.func.sum(ROLLUP_DAY.c.on_time))).one()
    ended = c.execute(sa.select(I.state, I.health).where(I.live.is_(False), I.state != "deleted")).all()
    answer["days"] = [list(day), [len(ended), sum(r.health == "failed" for r in ended), sum(r.health == "on_time" for r in ended)]]

# Who answers in the same process hears of each look at once.
from airflow_enterprise_orch.executive_view import last_write
last_write.GOOD_FOR = 1e9
with create_session() as session:
    answer["heard"] = [last_write.current(session).revision]
feed.look()
with create_session() as session:
    answer["heard"] += [last_write.current(session).revision, session.scalar(sa.select(LEASE.c.revision))]

# Nothing happens: nothing is written but the stamp.
with settings.engine.connect() as c:
    before = c.scalar(sa.select(sa.func.max(I.revision)))
feed.look()
with settings.engine.connect() as c:
    answer["quiet"] = [before, c.scalar(sa.select(sa.func.max(I.revision)))]

# A remote job, whose step somebody fails: an orphan.
with create_session() as session:
    one = add(session, 900, "running")
    out = Attempt(1, "K" * 20, state=AttemptState.SUBMITTED, system="zosmf://host", handle=JobHandle("K" * 20, "JOB00042", "BOOK"))
    session.add(Cell(dag_run_id=one.id, dag_id="orders", run_id="r900", task_id="stop", map_index=-1, key=ledger_cell(1),
                     value=json.dumps(Ledger((out,)).to_json())))
feed.look()
with create_session() as session:
    ti = session.scalar(sa.select(TaskInstance).where(TaskInstance.run_id == "r900", TaskInstance.task_id == "stop"))
    ti.state = "failed"
jobs = []
for _ in range(2):
    with settings.engine.connect() as c:
        jobs.append([list(row) for row in c.execute(sa.select(JOB.c.job_id, JOB.c.state, JOB.c.orphan))])
    feed.look()
answer["jobs"] = jobs

# Time alone makes an instance late.
feed.look(NOW + timedelta(hours=2))
with settings.engine.connect() as c:
    answer["late"] = [c.scalar(sa.select(sa.func.count()).where(I.live.is_(True))),
                      c.scalar(sa.select(sa.func.count()).where(I.live.is_(True), I.health.in_(["late", "failed"])))]

# The leader dies: the other takes over after the lease, and what the first one still writes is refused.
later = NOW + timedelta(hours=3)
# It looks again at what may have been committed late, which is more than one look takes, and not at all that ever ran.
kept = reading.BATCH, reading.OVERLAP
reading.BATCH, reading.OVERLAP = 5, 20
with settings.engine.connect() as c:
    answer["reached"] = [c.scalar(sa.select(LEASE.c.cursor))["run"]]
while other.look(later) and len(answer["reached"]) < 50:
    with settings.engine.connect() as c:
        answer["reached"].append(c.scalar(sa.select(LEASE.c.cursor))["run"])
reading.BATCH, reading.OVERLAP = kept
with settings.engine.connect() as c:
    answer["leader"] = c.scalar(sa.select(LEASE.c.holder))
try:
    with settings.engine.begin() as c:
        feed._lease.stamp(c, {}, later)
    answer["fenced"] = False
except LeaseLost:
    answer["fenced"] = True

# What Airflow purges stays, and rebuilding forgets none of it.
with create_session() as session:
    for one in session.scalars(sa.select(DagRun).where(DagRun.__table__.c.state == "success")):
        session.delete(one)
with settings.engine.connect() as c:
    before = dict(c.execute(sa.select(I.state, sa.func.count()).group_by(I.state)).all())
with settings.engine.begin() as c:
    c.execute(sa.update(LEASE).values(cursor={}, until=NOW))
other.look()
Feed(settings.engine, "three").rebuild()
with settings.engine.connect() as c:
    answer["kept"] = [before, dict(c.execute(sa.select(I.state, sa.func.count()).group_by(I.state)).all())]
    answer["gone"] = c.scalar(sa.select(sa.func.count()).where(I.state == "success", I.in_airflow.is_(True)))
print(json.dumps(answer))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_tells_is_what_airflow_knows_and_stays_when_airflow_forgets(
    tmp_path: Path, migrated: Path, kind: str
) -> None:
    with database(kind, tmp_path, migrated) as url:
        answer = json.loads(run(PROGRAM, tmp_path, url))
    for airflow, ours, failed, told in [answer["first"], *answer["storms"]]:
        assert ours == airflow
        assert told == failed
    assert answer["refused"] is False
    assert answer["stream"] == [["orders", 1, "Sales", True]]
    assert answer["key"] == ["Key-3", "key-3", "1:00:00"]
    deletions, rows, events = answer["deleted"]
    assert deletions > 5
    assert rows == events == deletions
    assert answer["live"][0] == answer["live"][1]
    assert answer["days"][0] == answer["days"][1]
    assert answer["quiet"][0] == answer["quiet"][1]
    before, heard, written = answer["heard"]
    assert before < heard == written
    assert answer["jobs"] == [[["JOB00042", "submitted", False]], [["JOB00042", "submitted", True]]]
    live, late = answer["late"]
    assert live == late > 0
    assert answer["leader"] == "two"
    assert 1 < len(answer["reached"]) < 5
    assert len(set(answer["reached"])) == 1
    assert answer["fenced"]
    assert answer["kept"][0] == answer["kept"][1]
    assert answer["gone"] == 0


@pytest.mark.parametrize("newest", [7, 1000, 100_000, 1_000_000])
def test_all_is_compared_within_hours_and_no_look_takes_much_more_than_another(
    monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    def run_ids(_connection: object, above: int, most: int) -> list[int]:
        return list(range(above + 1, min(above + most, newest) + 1))

    monkeypatch.setattr(airflow_tables, "run_ids", run_ids)
    cursor = {"run": newest, "compare": 0}
    looks: list[list[int]] = []
    while cursor["compare"] is not None:
        looks.append(Feed._to_compare(None, cursor))  # type: ignore[arg-type]
    assert [number for look in looks for number in look] == list(range(1, newest + 1))
    assert len(looks) <= LOOKS + 1
    assert max(len(look) for look in looks) <= max(COMPARED, newest // LOOKS + 1)
