"""A sample of the simulation, and the simulation itself: would it notice?

A simulation is fake if it passes because it never reaches the dangerous moments, if it believes the ledger instead of
the remote system, or if a broken protocol passes too. Hence the coverage that is demanded here, and the mutations.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from .campaign import Report, run_range
from .mutations import MUTATIONS, mutated
from .polling_schedule import poll
from .schedule import WORKER_FATES, shrunk, simulate

ROOT = Path(__file__).parents[3]
CHUNKS = 20
CHUNK = 1000
POLLING_CHUNKS = 4
POLLING_CHUNK = 50

POINTS = ("before_claim", "after_claim", "before_send", "after_answer", "after_persist", "after_release_sent",
          "after_release", "before_result", "after_result", "after_close", "before_obeyed", "after_obeyed")  # fmt: skip


@cache
def sample(chunk: int) -> Report:
    return run_range(chunk * CHUNK, CHUNK)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_promise_is_kept_in_every_schedule(chunk: int) -> None:
    report = sample(chunk)

    assert report.schedules == CHUNK
    assert not report.broken, [(outcome.seed, outcome.detail) for outcome in report.broken]


def test_the_dangerous_moments_are_reached() -> None:
    counts = run_range(0, 6 * CHUNK).counts
    at_least_once = [
        *(f"worker {fate}" for fate in set(WORKER_FATES)),
        *(f"point: {point}" for point in POINTS),
        *(f"part: {part}" for part in ("start", "collect", "answered")),
        *(f"act: clear while {state}" for state in ("running", "deferred", "success", "failed", "up_for_retry")),
        *(f"act: {act} while deferred" for act in ("mark failed", "mark success", "delete run", "repoint")),
        *(f"store set: {fault}" for fault in ("refused", "fails after the write", "stalls", "said twice")),
        *(f"submit: {fault}" for fault in ("lost before commit", "lost after commit", "500 after commit", "half answer",
                                           "lands late", "lands after the settle time", "rejected", "busy 429")),
        *(f"release: {fault}" for fault in ("lost before commit", "lost after commit", "takes effect later")),
        *(f"find: {fault}" for fault in ("cannot tell", "unreachable")),
        "trigger moves", "triggerer dies", "on_kill: while deferred", "on_kill: while none", "on_kill: while failed",
        "trigger: dropped before it started", "act: restart system while deferred", "report: refused",
        "answer: It did not run: hand it over", "answer: The job succeeded", "answer: Look again",
        "answer: Fail the step", "answer: It did not run", "fault: listed late",
        *(f"act: {act} while {state}" for act in ("hold", "skip", "complete", "complete, leave the job", "cancel")
          for state in ("none", "queued", "running", "deferred", "failed", "up_for_retry")),
        *(f"act: {act} while awaiting_input" for act in ("skip", "complete")),
        *(f"act: {act} while deferred" for act in ("hold over there", "release over there", "foreign hold")),
        *(f"hold: {fault}" for fault in ("unreachable", "lost before commit", "lost after commit", "rejected")),
        "looks: True",
    ]  # fmt: skip
    assert [name for name in at_least_once if not counts[name]] == []
    assert any(counts[f"act: {act} while up_for_reschedule"] for act in ("skip", "complete", "cancel"))
    assert [
        point for point in POINTS if not any(counts[f"worker {fate} at {point}"] for fate in set(WORKER_FATES))
    ] == []


def test_each_kind_of_question_comes_up_and_none_without_a_fault() -> None:
    report = sample(0)

    assert {
        "no answer, and no job shows the key",
        "connection repointed while the job was out there",
        "the job's end cannot be proven",
    } <= set(report.parks)
    assert report.calm > CHUNK // 20, "schedules without any fault are the proof that none of them parks"


def test_a_seed_replays_exactly_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from tests.faults.simulation.schedule import simulate\n"
        "for seed in (3, 44): print('\\n'.join(simulate(seed, trace=True).trace))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert "submit" in told[0]


def test_the_recorded_choices_alone_bring_the_same_schedule() -> None:
    for seed in range(200, 260):
        drawn = simulate(seed, trace=True)
        replayed = simulate(seed, json.loads(json.dumps(drawn.script)), trace=True)
        assert replayed.trace == drawn.trace


PROMISES = {
    "skip_find": ("one job per attempt", "no resend before the settle time"),
    "no_second_claim": ("one job per attempt", "nothing is lost", "no attempt while the one before is open",
                        "no failure of a job that succeeded", "closed only by proof"),
    "no_read_back": ("one job per attempt", "nothing is lost"),
    "no_recall": ("one job per attempt", "nothing is lost", "no attempt while the one before is open",
                  "closed only by proof"),
    "trust_on_kill": ("no job is cancelled unless somebody wants it",),
    "no_settle": ("no resend before the settle time", "parked only when nobody can know"),
    "release_any": ("one job per attempt", "no attempt while the one before is open"),
    "retry_unprotected": ("one job per attempt", "no resend before the settle time"),
    "believe_release": ("every step comes to an end", "nothing is lost"),
    "believe_the_best": ("no success without proof",),
    "no_fence": ("one job per attempt", "no attempt while the one before is open", "nothing is lost"),
    "clear_is_forgotten": ("a clear runs the work again",),
    "begin_while_open": ("nothing is lost", "no attempt while the one before is open"),
    "end_without_cancel": ("no wish parts a step from its job", "nothing is lost"),
    "believe_cancel": ("closed only by proof", "no failure of a job that succeeded"),
    "absent_is_never": ("closed only by proof",),
    "hold_is_late": ("a held step hands nothing over",),
    "obey_for_ever": ("a clear runs the work again",),
    "obey_once": ("a step that is to end hands nothing over",),
    "hold_is_a_clear": ("no job is cancelled unless somebody wants it",),
    "clear_kills": ("no job is cancelled unless somebody wants it",),
    "believe_hold": ("confirmed is what the job itself says", "what is held does not run"),
    "lift_any_hold": ("nobody's hold over there is lifted from here",),
    "hold_for_ever": ("nothing stays held that nobody holds", "nothing is lost"),
    "unsigned": ("each wish that is obeyed is written down", "a clear runs the work again"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_broken_protocol_is_noticed_within_the_sample(mutation: str) -> None:
    report = run_range(0, CHUNKS * CHUNK, mutation, stop_at_first=True)
    while report.broken and report.broken[0].promise.startswith("raises"):
        # The broken code stumbled over itself. It is to be noticed by what it does.
        begin = report.broken[0].seed + 1
        report = run_range(begin, CHUNKS * CHUNK - begin, mutation, stop_at_first=True)

    assert report.broken, f"{mutation} went unnoticed in {report.schedules} schedules"
    print(f"{mutation}: noticed after {report.schedules} schedules")
    assert report.broken[0].promise in PROMISES[mutation], report.broken[0].detail


def test_a_failing_schedule_is_shrunk_to_what_matters() -> None:
    with mutated("no_read_back"):
        broken = run_range(0, CHUNKS * CHUNK, stop_at_first=True).broken[0]
        small = shrunk(broken)
        again = simulate(broken.seed, small)

    assert again.promise == broken.promise
    assert len(small) < len(broken.script)
    for name in small:
        with mutated("no_read_back"):
            fewer = {other: value for other, value in small.items() if other != name}
            assert simulate(broken.seed, fewer).promise != broken.promise, f"{name} is not needed"
    assert not simulate(broken.seed, small).broken, "the unbroken code survives the same schedule"


def test_a_failing_seed_is_told_with_how_to_see_it() -> None:
    found = subprocess.run(
        [sys.executable, "-m", "tests.faults.simulation", "--schedules", "500", "--workers", "1",
         "--mutation", "begin_while_open"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1
    first = re.search(r"BROKEN seed (\d+):", found.stdout)
    assert first
    assert f"--seed {first[1]} --mutation begin_while_open --trace --shrink" in found.stdout


@pytest.mark.parametrize("chunk", range(POLLING_CHUNKS))
def test_every_wait_on_a_sick_connection_ends_once_and_in_time(chunk: int) -> None:
    broken = {seed: poll(seed) for seed in range(chunk * POLLING_CHUNK, (chunk + 1) * POLLING_CHUNK)}

    assert {seed: what for seed, what in broken.items() if what} == {}
