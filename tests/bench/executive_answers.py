"""What clients ask of the executive view in its benchmark, and what Airflow's own pages ask beside it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import sqlalchemy as sa

from tests.api_server import API, ApiServer
from tests.bench.executive_load import Load, Told, ask, asking

SAMPLE = 40
"""Instances, keys and streams that are asked for, each in its turn."""
WARM_UP = 1.0
ALONE, MANY, MOST = 1, 20, 50
"""Clients at once."""


@dataclass(frozen=True)
class Question:
    """One kind of thing that is asked.

    :param paths: asked in turn.
    :param promised: by how many clients ask, the milliseconds that 95 of 100 answers may take.
    """

    name: str
    paths: Sequence[str]
    promised: dict[int, float]


@dataclass
class Answered:
    """What a question came to.

    :param rounds: one after the other.
    :param cpu: milliseconds of the API server for an answer.
    """

    question: Question
    clients: int
    rounds: list[Told] = field(default_factory=list)
    cpu: float = 0.0
    load: float = 0.0

    @property
    def p95(self) -> float:
        """Of the round in the middle; others on the machine disturb single ones."""
        return statistics.median(told.p95 for told in self.rounds)

    @property
    def failures(self) -> list[str]:
        return [failure for told in self.rounds for failure in told.failures]

    def line(self) -> str:
        """Return the row of the table."""
        middle = sorted(self.rounds, key=lambda told: told.p95)[len(self.rounds) // 2]
        worst = max(told.p95 for told in self.rounds)
        promised = self.question.promised.get(self.clients)
        return (
            f"| {self.question.name} | {self.clients} | {middle.p50:.1f} | **{middle.p95:.1f}** | {worst:.1f} | "
            f"{middle.at(1):.0f} | {f'{promised:.0f}' if promised else ''} | {middle.rate:.0f} | {self.cpu:.1f} | "
            f"{middle.bytes / max(1, len(middle.took)) / 1024:.0f} | {len(self.failures)} | {self.load:.1f} |"
        )


HEAD = (
    "| asked | clients | p50 ms | p95 ms | p95 of the worst round | worst ms | promised p95 | answers/s | "
    "server's CPU ms/answer | KB | errors | load average |\n|" + "---|" * 12
)


def questions(engine: sa.Engine) -> list[Question]:
    """Return everything that is asked, of instances and streams that are there."""
    with engine.connect() as connection:
        live, ended = (
            connection.execute(
                sa.text(
                    f"SELECT dag_id, run_id, business_key FROM orch_instance WHERE {which} "
                    f"ORDER BY md5(run_id) LIMIT {SAMPLE}"
                )
            ).all()
            for which in ("live", "NOT live")
        )
    streams = sorted({row.dag_id for row in live})[:12]
    of_live, of_ended = ([f"{API}/dags/{row.dag_id}/dagRuns/{quote(row.run_id, safe='')}" for row in rows]
                         for rows in (live, ended))  # fmt: skip
    front, interactive = {ALONE: 25.0, MANY: 200.0, MOST: 250.0}, {MANY: 200.0}

    def listed(**query: object) -> str:
        return f"{API}/instances?{urlencode({**query, 'limit': 200})}"

    keys = [row.business_key for row in ended]
    return [
        Question("overview", [f"{API}/overview"], front),
        Question(
            "list of instances",
            [listed(), listed(live="true"), listed(order="newest"), listed(health="late", live="true")],
            front,
        ),
        Question("list of one stream", [listed(stream=name) for name in streams], interactive),
        Question(
            "key begins with", [listed(q=key[:cut]) for key in keys for cut in (5, 7, 11)], {ALONE: 50.0, **interactive}
        ),
        Question(
            "key contains",
            [listed(q=key[cut : cut + 4], match="contains") for key in keys for cut in (4, 5, 7)],
            {ALONE: 50.0, **interactive},
        ),
        Question("instance, live", of_live, interactive),
        Question("instance, ended", of_ended, interactive),
        Question("remote jobs of an instance", [f"{path}/jobs" for path in of_live], interactive),
        Question("streams", [f"{API}/streams"], interactive),
        Question("stream", [f"{API}/streams/{name}" for name in streams], interactive),
        Question("statistics of a stream", [f"{API}/streams/{name}/statistics" for name in streams], interactive),
        Question("versions of a stream", [f"{API}/streams/{name}/versions" for name in streams], interactive),
        Question("runs ahead", [f"{API}/streams/{name}/runs-ahead" for name in streams], interactive),
        Question("audit", [f"{API}/events?limit=100", f"{API}/events?limit=100&kind=decision"], interactive),
        Question("facets", [f"{API}/facets"], interactive),
    ]


def airflows() -> list[Question]:
    """Return what Airflow's own home page asks, and the least that any answer of this server costs."""
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    month = (datetime.now(UTC) - timedelta(days=31)).isoformat()

    def metrics(begin: str) -> str:
        return f"/ui/dashboard/historical_metrics_data?{urlencode({'start_date': begin})}"

    return [
        Question("Airflow's historical metrics, a day", [metrics(since)], {}),
        Question("Airflow's historical metrics, 31 days", [metrics(month)], {}),
        Question("Airflow's list of runs", ["/api/v2/dags/~/dagRuns?limit=100&order_by=-run_after"], {}),
        Question("Airflow's /ui/auth/me", ["/ui/auth/me"], {}),
    ]


def measure(
    server: ApiServer, question: Question, clients: int, *, rounds: int, seconds: float, limit: int = 0
) -> Answered:
    """Ask, some rounds one after the other.

    :param limit: questions of a round; 0: as many as there is time for.
    """
    told = Answered(question, clients)
    load = Load(server.port, question.paths, server.cookies, clients, seconds, limit)
    ask(Load(server.port, question.paths, server.cookies, min(clients, 4), WARM_UP))
    used = server.cpu_seconds()
    told.rounds = [ask(load) for _ in range(rounds)]
    answers = sum(len(one.took) for one in told.rounds)
    told.cpu = 1000 * (server.cpu_seconds() - used) / max(1, answers)
    told.load = os.getloadavg()[0]
    return told


def compare(
    server: ApiServer,
    engine: sa.Engine,
    *,
    rounds: int,
    seconds: float,
    only: str = "",
) -> Iterator[Answered]:
    """Measure everything, ours and then Airflow's, or what has ``only`` in its name."""
    for question in questions(engine):
        if only in question.name:
            for clients in sorted({ALONE, *question.promised}):
                yield measure(server, question, clients, rounds=rounds, seconds=seconds)
    for question in airflows():
        if only in question.name:
            yield measure(server, question, ALONE, rounds=rounds, seconds=seconds)
            # Twenty at once may take it half a minute each.
            yield measure(server, question, MANY, rounds=1, seconds=seconds, limit=2 * MANY)


def polling(server: ApiServer, *, seconds: float) -> Told:
    """Let fifty people look at the overview and a list, as our pages ask: every five seconds, with the ETag."""
    paths = [f"{API}/overview", f"{API}/instances?live=true&limit=200"]
    return ask(Load(server.port, paths, server.cookies, MOST, seconds, pause=5.0, remember=True))


@contextmanager
def many_ask(server: ApiServer) -> Iterator[None]:
    """Have twenty clients ask without a pause for as long as the block lasts."""
    paths = [f"{API}/overview", f"{API}/instances?live=true&limit=200"]
    with asking(Load(server.port, paths, server.cookies, MANY, 3600)):
        yield
