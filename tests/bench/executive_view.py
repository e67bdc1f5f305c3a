"""The executive view on the data of a large company: answers, freshness, the feed's cost, the pages in a browser.

    python -m tests.bench.executive_view --data FOLDER [--parts answers,fresh,feed,failover,browser]

One real API server of Airflow's as it comes (one worker) on PostgreSQL; clients in a process of their own ask without a
pause, with a browser's headers. All of them share the processors of one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from airflow_enterprise_orch.demo.processes import raise_on_sigterm
from airflow_enterprise_orch.executive_view.pages import is_built
from tests.api_server import ApiServer
from tests.bench import executive_answers, executive_changes, executive_data
from tests.bench.executive_cluster import Cluster

SEEN_WITHIN, FEED_SHARE, PAINT = 10.0, 0.05, 1500.0
PARTS = ("answers", "fresh", "feed", "failover", "browser")


class Bench:
    """One run on one cluster.

    :ivar problems: what was not as promised.
    """

    def __init__(self, cluster: Cluster, options: argparse.Namespace) -> None:
        self.cluster, self.options = cluster, options
        self.engine = sa.create_engine(cluster.url)
        self.problems: list[str] = []

    def start(self, settings: dict[str, str]) -> ApiServer:
        """Return an API server that is to be started."""
        return ApiServer(self.cluster.folder / "home", self.cluster.url, settings)

    @contextmanager
    def served(self) -> Iterator[ApiServer]:
        """Start an API server, and wait until it has read what is live."""
        with self.start({}) as server:
            executive_changes.settle(server)
            yield server

    def run(self, parts: Sequence[str]) -> None:
        """Measure some parts, and print what came of it."""
        for name in parts:
            getattr(self, name)()

    def promise(self, what: str, value: float, limit: float, unit: str) -> None:
        """Write down what is not as promised."""
        if not value <= limit:
            self.problems.append(f"{what}: {value:.1f} {unit}, promised {limit:.0f}")

    def answers(self) -> None:
        """How long answers take."""
        say(f"\n{executive_answers.HEAD}")
        with self.served() as server:
            rounds, seconds = self.options.rounds, self.options.seconds
            for one in executive_answers.compare(
                server, self.engine, rounds=rounds, seconds=seconds, only=self.options.only
            ):
                say(one.line())
                limit = one.question.promised.get(one.clients)
                if limit is not None:
                    self.promise(f"{one.question.name} at {one.clients} clients, p95", one.p95, limit, "ms")
                    self.problems += [f"{one.question.name}: {failure}" for failure in one.failures[:3]]
            if not self.options.only:
                told = executive_answers.polling(server, seconds=30)
                say(f"\nFifty people who look on, each asking every 5 s with its ETag: {told}")
                self.problems += told.failures[:3]

    def fresh(self) -> None:
        """How soon a change is seen."""
        with self.served() as server:
            found = executive_changes.freshness(server, self.engine, self.options.changes)
            say(f"\nSeen after a change in Airflow: {seconds_of(found)}")
            self.promise("a change in Airflow is seen", max(found), SEEN_WITHIN, "s")
            with executive_answers.many_ask(server):
                found = executive_changes.freshness(server, self.engine, self.options.changes // 2)
            say(f"... while {executive_answers.MANY} clients ask without a pause: {seconds_of(found)}")
            self.promise("a change in Airflow is seen beside 20 clients", max(found), SEEN_WITHIN, "s")

    def feed(self) -> None:
        """What the feed uses."""
        for per_second, what in ((0.0, "nothing happens"), (3.0, "3 steps of live instances change in a second")):
            cost = executive_changes.cost_of_feed(self.cluster, self.engine, self.start, self.options.idle, per_second)
            say(
                f"\nThe feed while {what}: {100 * cost.server:.1f} % of one core in the API server, "
                f"{100 * cost.database:.1f} % in PostgreSQL; load average {cost.load:.1f}"
            )
            self.promise(f"the feed's own CPU while {what}", 100 * cost.server, 100 * FEED_SHARE, "%")

    def failover(self) -> None:
        """How long the death of an API server is felt."""
        found = executive_changes.failover(self.engine, self.start, self.options.deaths)
        say(f"\nSeen after a change while the API server that feeds is killed: {seconds_of(found)}")

    def browser(self) -> None:
        """How the pages are in a browser."""
        from tests import chromium
        from tests.bench import executive_browser

        if not is_built() or not chromium.CHROMIUM.exists():
            self.problems.append("the pages were not measured: no Chromium, or they are not built (make ui)")
            return
        say(f"\n{executive_browser.HEAD}")
        with self.served() as server, chromium.chromium() as browser:
            for name in executive_browser.SOON:
                one = executive_browser.soon(browser, server, name, self.options.rounds)
                say(one.line())
                if not name.startswith("Airflow"):
                    self.promise(f"{name}, first useful paint", statistics.median(one.warm), PAINT, "ms")
            found = executive_browser.shown_after(browser, server, self.engine, self.options.changes // 2)
            say(f"\nShown in the list of instances after a change in Airflow: {seconds_of(found)}")
            self.promise("a change in Airflow is shown", max(found), SEEN_WITHIN, "s")
            scrolled = executive_browser.scroll(browser, server, self.options.rows, self.options.shoot)
            say(f"\nScrolling: {scrolled}")
            self.promise("interactions dropped while scrolling", scrolled.dropped, 0, "")
            self.promise("rows that were not scrolled to", self.options.rows - scrolled.rows, 0, "")


def say(text: str) -> None:
    """Print now."""
    print(text, flush=True)


def seconds_of(found: Sequence[float]) -> str:
    """Return durations in words."""
    return (
        f"median {statistics.median(found):.1f}, worst {max(found):.1f} s of {len(found)}; "
        f"load average {os.getloadavg()[0]:.1f}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return the exit status: 1 when something is not as promised."""
    options = _options(argv)
    raise_on_sigterm()
    with ExitStack() as stack:
        if options.data is None:
            # Not below anybody's home: PostgreSQL does not run as root, and has to get there.
            options.data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="enterprise-orch-bench-")))
            options.data.chmod(0o755)
        cluster = stack.enter_context(Cluster(options.data))
        size = {"number_of_streams": options.streams, "instances": options.instances, "live": options.live}
        made = executive_data.make(cluster, **size)
        say(json.dumps({name: made[name] for name in ("streams", "instances", "live", "rows", "ours")}))
        bench = Bench(cluster, options)
        stack.callback(bench.engine.dispose)
        bench.run(options.parts.split(","))
    for problem in bench.problems:
        say(f"NOT AS PROMISED: {problem}")
    return 1 if bench.problems else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.executive_view", description=(__doc__ or "").splitlines()[0]
    )
    executive_data.options(parser)
    parser.add_argument("--parts", default=",".join(PARTS), help="which, in order (default: %(default)s)")
    parser.add_argument("--only", default="", help="of the answers only those whose name contains this")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round of answers (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=20, help="until each is seen (default: %(default)s)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds to measure the feed (default: %(default)s)")
    parser.add_argument("--deaths", type=int, default=3, help="of the API server that feeds (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=100_000, help="to be scrolled (default: %(default)s)")
    parser.add_argument("--shoot", type=Path, help="a file for a picture of the list, far down")
    options = parser.parse_args(argv)
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return options


if __name__ == "__main__":
    raise SystemExit(main())
