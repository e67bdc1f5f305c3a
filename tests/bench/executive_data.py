"""An Airflow database of a large company: 200 value streams, 100,000 instances, 1,000,000 task instances; made once.

Airflow's own tables are filled as Airflow would have filled them over 35 days: the DAGs are compiled from templates and
serialized by Airflow, rows come by ``COPY``. The executive view's tables are filled by its own feed alone.

    python -m tests.bench.executive_data --data FOLDER
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.demo.processes import raise_on_sigterm
from tests.bench.executive_cluster import Cluster
from tests.bench.executive_streams import Stream, course, held_up, shares, streams

DAYS = 35
CHANGED = 15
"""So many days ago some of the streams got a new version."""
AT_ONCE = 4000
"""Instances whose rows are held in memory."""
SPECIAL = {"parked": 0.02, "up_for_retry": 0.015, "up_for_reschedule": 0.015, "queued": 0.02, "waiting": 0.02}


def make(cluster: Cluster, *, number_of_streams: int, instances: int, live: int, anew: bool = False) -> dict[str, Any]:
    """Make everything, and return what was made and how long it took; what is there of the same size is kept.

    :param anew: let the feed fill the executive view's own tables again.
    """
    wanted = {"streams": number_of_streams, "instances": instances, "live": live}
    made = cluster.made()
    if made is not None and {name: made[name] for name in wanted} != wanted:
        raise SystemExit(f"{cluster.folder} holds {made}: name another folder, or remove it")
    # What was made with an earlier version gets the tables of this one.
    change = ["reset", "--yes"] if made is None else ["migrate"]
    command = [sys.executable, "-m", "airflow", "db", *change]
    migrated = subprocess.run(command, capture_output=True, text=True, env=cluster.environment(), check=False)
    if migrated.returncode:
        raise SystemExit(f"airflow db {change[0]} failed:\n{migrated.stdout[-2000:]}{migrated.stderr[-2000:]}")
    if made is None:
        made = wanted | _inside(cluster, "airflow", wanted)
        cluster.ready.write_text(json.dumps(made, indent=1))
    if anew or "ours" not in made:
        made |= _inside(cluster, "feed", wanted)
        cluster.ready.write_text(json.dumps(made, indent=1))
    return made


def _inside(cluster: Cluster, part: str, wanted: Mapping[str, int]) -> dict[str, Any]:
    """Run one part in a process of this Airflow."""
    command = [sys.executable, "-m", "tests.bench.executive_data", "--inside", part, "--wanted", json.dumps(wanted)]
    environment = cluster.environment(AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL="0")
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    if ended.returncode:
        raise SystemExit(f"the data were not made:\n{ended.stdout[-2000:]}")
    told: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return told


def _airflow(wanted: Mapping[str, int]) -> dict[str, Any]:
    """Fill the tables of Airflow."""
    began, now = time.monotonic(), time.time()
    chosen = streams(wanted["streams"])
    _write_dags(chosen, 1)
    runs = sorted(_runs(chosen, wanted["instances"], wanted["live"], now), key=lambda one: one[1])
    rows = _copy(chosen, runs, now)
    took = round(time.monotonic() - began, 1)
    _say(f"Airflow's tables are filled: {took} s, {rows}")
    return {"made_at": now, "rows": rows, "airflow_seconds": took}


def _runs(chosen: list[Stream], instances: int, live: int, now: float) -> Iterator[tuple[Stream, float, str | None]]:
    """Yield stream, beginning, and of a live instance what is special of it, "" for nothing; None of an ended one."""
    dice = random.Random(1)
    for stream, some in shares(chosen, instances - live):
        for _ in range(some):
            yield stream, now - dice.uniform(0.2, DAYS) * 86400, None
    for stream in dice.choices(chosen, [one.weight for one in chosen], k=live):
        special = dice.choices([*SPECIAL, ""], [*SPECIAL.values(), 1 - sum(SPECIAL.values())])[0]
        yield stream, now, special


def _copy(chosen: list[Stream], runs: list[tuple[Stream, float, str | None]], now: float) -> dict[str, int]:
    from airflow import settings

    from tests.bench.executive_rows import COLUMNS, Run, Tables

    connection = settings.get_engine().raw_connection()
    cursor = connection.cursor()
    # No foreign key is asked for rows that are known to fit; that takes a superuser, which we are here.
    cursor.execute("SET session_replication_role = replica")
    tables, dice = Tables(now), random.Random(2)
    version = _versions()

    def send() -> None:
        for name, text in tables.taken():
            cursor.copy_expert(f"COPY {name} ({', '.join(COLUMNS[name])}) FROM STDIN", text)
        connection.commit()

    changed = False
    for number, (stream, at, special) in enumerate(runs, 1):
        if not changed and at > now - CHANGED * 86400:
            send()
            _write_dags(chosen[::10], 2)
            version, changed = _versions(), True
        going = course(stream, dice)
        while special is not None and going.failed:
            going = course(stream, dice)
        if special is None:
            run = Run(number, stream, going, at)
        else:
            elapsed = dice.random() * going.lasts
            # Some stand where they are for much longer than that usually takes.
            longer = dice.uniform(0, 3) * stream.within * 60 if dice.random() < 0.08 else 0.0
            run = Run(
                number, stream, held_up(going, elapsed, longer), now - elapsed - longer, live=True, special=special
            )
        tables.add(run, version[stream.id])
        if number % AT_ONCE == 0:
            send()
            _say(f"{number} of {len(runs)} instances")
    send()
    for name in ("dag_run", "task_state_store", "log"):
        cursor.execute(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))")
    connection.commit()
    connection.set_isolation_level(0)
    cursor.execute("VACUUM ANALYZE")
    connection.close()
    return tables.rows


def _write_dags(chosen: list[Stream], version: int) -> None:
    """Have Airflow take in the DAGs as its DAG processor does."""
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from sqlalchemy import update

    from airflow_enterprise_orch.value_stream.compile import compile_stream
    from airflow_enterprise_orch.value_stream.model import ValueStream

    dags = [LazyDeserializedDAG.from_dag(compile_stream(ValueStream.load(one.template(version)))) for one in chosen]
    with create_session() as session:
        session.merge(DagBundleModel(name="streams"))
    with create_session() as session:
        update_dag_parsing_results_in_db("streams", None, dags, {}, None, set(), session)
    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=False))


def _versions() -> dict[str, str]:
    """Return the id of the newest version of each DAG."""
    from airflow.models.dag_version import DagVersion
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        rows = session.execute(select(DagVersion.dag_id, DagVersion.id).order_by(DagVersion.version_number))
        return {row.dag_id: str(row.id) for row in rows}


def _feed() -> dict[str, Any]:
    """Let the feed read everything into empty tables, and foretell every live instance once."""
    from airflow import settings
    from sqlalchemy import delete, func, select

    from airflow_enterprise_orch.executive_view import tables
    from airflow_enterprise_orch.executive_view.feed import Feed

    with settings.get_engine().begin() as connection:
        for table in tables.metadata.tables.values():
            connection.execute(delete(table))
    feed = Feed(settings.get_engine(), "generator")
    began, used = time.monotonic(), time.process_time()
    instances = feed.rebuild()
    took = {"rebuild_seconds": time.monotonic() - began, "rebuild_cpu_seconds": time.process_time() - used}
    _say(f"the feed has read {instances} instances: {took}")
    of = tables.INSTANCE.c
    unknown = select(func.count()).select_from(tables.INSTANCE).where(of.live.is_(True), of.forecast_n.is_(None))
    with settings.get_engine().connect() as connection:
        left = connection.scalar(unknown)
    for _ in range(2 * (left or 0) // 25 + 2):
        feed.look()
    feed.release()
    with settings.get_engine().connect() as connection:
        counts = {
            name: connection.scalar(select(func.count()).select_from(table))
            for name, table in tables.metadata.tables.items()
        }
    return {"ours": counts, **{name: round(value, 1) for name, value in took.items()}}


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def options(parser: argparse.ArgumentParser) -> None:
    """Add what says how large the data are, and where."""
    parser.add_argument("--data", type=Path, help="a folder that every account may enter; kept for the next time")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--live", type=int, default=1000, help="how many of the instances are live")


def main(arguments: list[str] | None = None) -> int:
    """Make the data."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.executive_data", description=__doc__)
    options(parser)
    parser.add_argument("--anew", action="store_true", help="let the feed fill the executive view's tables again")
    parser.add_argument("--inside", choices=["airflow", "feed"], help=argparse.SUPPRESS)
    parser.add_argument("--wanted", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside:
        print(json.dumps(_airflow(chosen.wanted) if chosen.inside == "airflow" else _feed()))
        return 0
    if chosen.data is None:
        parser.error("--data is missing")
    raise_on_sigterm()
    with Cluster(chosen.data) as cluster:
        size = {"number_of_streams": chosen.streams, "instances": chosen.instances, "live": chosen.live}
        told = make(cluster, **size, anew=chosen.anew)
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
