"""Counts are equal to SQL truth whatever happens to Airflow's tables; and what Airflow forgets, ours do not.

How a user would notice that it is fake: after a night of clears, retries and deletions a number differs from what a
query on Airflow's tables says; an answer stands in the audit trail twice, because another API server took over; last
quarter's instances are gone, or stand there without their steps, because somebody ran ``airflow db clean``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.executive_view.databases import database, environment

# A retry is due at once, so that a storm of some seconds sees some.
AT_ONCE = {"AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "0", "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"}


@pytest.fixture(scope="module", params=[("sqlite", 3), ("postgresql", 4)], ids=lambda one: one[0])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Any:
    """Play a storm, then ``airflow db clean``, then the retention, on one database; return what came of each."""
    kind, seed = request.param
    home = tmp_path_factory.mktemp(f"storm-{kind}")
    with database(kind, home, migrated) as url:
        done = subprocess.run(
            [sys.executable, "-m", "tests.executive_view.storm_feeds", str(seed)],
            env={**environment(home, url), **AT_ONCE},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_every_count_is_what_airflows_tables_say_at_every_look(played: Any):
    assert played["storm"]["wrong"] == []
    assert played["storm"]["leaders"] > 1
    ended, truth = played["storm"]["ended"]
    assert ended == truth > 0


def test_what_happened_is_told_once_whoever_leads_and_however_often_it_was_there_to_be_seen(played: Any):
    assert played["storm"]["told"] == played["storm"]["seen"]
    assert all(played["storm"]["seen"].values()), "the storm was too weak to show anything"


def test_a_run_that_somebody_deleted_is_told_once_also_when_its_name_was_given_again(played: Any):
    told, deleted = played["storm"]["deleted"]
    assert told == deleted > 0


def test_db_clean_takes_nothing_of_ours_nor_does_a_rebuild_after_it(played: Any):
    clean = played["clean"]
    assert clean["left"] == ["scheduled"], "Airflow keeps the newest scheduled run, and purges its task instances"
    assert clean["gone"] == [f"old-{number}" for number in range(6)]
    gave = {"book": {"rc": 0, "rate": "NaN", "log": '"' + "x" * 1999 + "..."}}
    assert (clean["xcoms"], clean["outputs"]) == (0, dict.fromkeys([*clean["gone"], "scheduled"], gave))
    seen = {"steps.book.rate": "NaN"}
    assert (clean["records"], clean["decisions"]) == (0, dict.fromkeys([*clean["gone"], "scheduled"], seen))
    # After a look, the comparison of a day, another look, a rebuild.
    assert clean["differs"] == [[], [], [], []]


def test_the_retention_takes_old_instances_with_their_events_and_leaves_the_sums_of_their_days(played: Any):
    retain = played["retain"]
    assert retain["old"] == []
    before, after = retain["events"]
    assert before - after == 14, "each of the seven that ended long ago had two: a decision, and its end"
    assert retain["days"]
    assert retain["counted"] > 0
