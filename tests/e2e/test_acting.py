"""What people do to steps, at each phase of a step, on real Airflow processes and the lab: exact states, exact jobs.

How a user would notice that it is fake: "cancelled", and the job runs on; "held", and it runs; "skipped", and the
next step never comes; an override that delivers a second certificate; the same order booked twice because two people
clicked.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from company import JOB, OVER, Stage, go, scenario

HEAD = 'business: {domain: Tests, owner: tests, criticality: low, key: "{{ params.name }}", duplicates: allow}\n'
STEP = "unix.script: {connection: virtual_server, script: 'echo done'}"
TEMPLATES = {
    "acted": f"""
value_stream: acted
title: Acted on
{HEAD}params:
  name: {{type: string}}
  until: {{type: string, default: ""}}
  good: {{type: string, default: ""}}
  limit: {{type: integer, default: 10}}
steps:
  work:
    unix.script:
      connection: virtual_server
      script: 'echo "TOTAL=5"; {JOB}; [ -z "$GOOD" ] || [ -e "$GOOD" ] || exit 3'
      env: {{UNTIL: "{{{{ params.until }}}}", GOOD: "{{{{ params.good }}}}"}}
    outputs: {{total: {{log: log, match: 'TOTAL=([0-9]+)', type: integer}}}}
  route: {{after: [work], branch: [{{when: steps.work.total > params.limit, then: [large]}}, {{otherwise: [small]}}]}}
  large: {{{STEP}}}
  small: {{{STEP}}}
  join: {{after: [large, small], {STEP}}}
  certify: {{after: [join], restart: never, {STEP}}}
""",
    "acted_ask": f"""
value_stream: acted_ask
title: Asked and acted on
{HEAD}params: {{name: {{type: string}}}}
steps:
  ask: {{approval: {{subject: "Go on?"}}}}
  done: {{after: [ask], {STEP}}}
""",
    "acted_parked": f"""
value_stream: acted_parked
title: Parked and acted on
{HEAD}params: {{name: {{type: string}}}}
steps:
  plan:
    sap.application_job:
      connection: s4
      template: ZLAB_PROGRAM
      check: false
      parameters: {{P_SAY: "acted {{{{ params.name }}}}"}}
  done: {{after: [plan], {STEP}}}
""",
}
TEMPLATES["acted_window"] = f"""
value_stream: acted_window
title: Overridden in time
{HEAD}params: {{name: {{type: string}}}}
steps:
  route:
    branch:
      rules: [{{when: params.name == "never", then: [large]}}]
      otherwise: [small]
      override_within: 1d
  large: {{after: [route], {STEP}}}
  small: {{after: [route], {STEP}}}
"""
REASON = "because the test wants it"
_numbers = itertools.count(1)


class People:
    """Those who act, through the API of the pages."""

    def __init__(self, here: Stage) -> None:
        self.here = here

    def path(self, run: str, stream: str = "acted") -> str:
        return f"/enterprise-orch/api/v1/dags/{stream}/dagRuns/{run}/actions"

    def asks(self, run: str, action: str, step: str | None = None, *, stream: str = "acted", **more: Any) -> Any:
        """Ask for an action; return status and answer."""
        body = {"id": f"e2e-{run}-{next(_numbers):04}", "action": action, "step": step, "reason": REASON, **more}
        client = self.here.api._client
        answer = client.post(self.path(run, stream), json=body)
        if answer.status_code == 401:
            self.here.api._login()
            answer = client.post(self.path(run, stream), json=body)
        return answer.status_code, answer.json()

    def does(self, run: str, action: str, step: str | None = None, **more: Any) -> dict[str, Any]:
        status, told = self.asks(run, action, step, **more)
        assert status == 200, (run, action, told)
        return dict(told)

    def refused(self, run: str, action: str, step: str | None = None, **more: Any) -> str:
        status, told = self.asks(run, action, step, **more)
        assert status == 422, (run, action, told)
        return str(told["detail"])


class Play:
    """The instances of the play, and how they stand."""

    def __init__(self, here: Stage) -> None:
        self.here, self.people = here, People(here)

    def starts(self, run: str, stream: str = "acted", **conf: Any) -> None:
        self.here.api.trigger(stream, run, {"name": run, **conf})

    def held_open(self, run: str) -> Any:
        """Return the file for which the first job of an instance waits."""
        return self.here.place / run

    def states(self, run: str, stream: str = "acted") -> dict[str, str | None]:
        return self.here.states(stream, run)

    def comes_to(self, run: str, step: str, state: str | None, stream: str = "acted") -> None:
        self.here.until(lambda: self.states(run, stream).get(step) == state)

    def is_over(self, run: str, stream: str = "acted") -> str:
        self.here.until(lambda: self.here.state(stream, run) in OVER)
        return self.here.state(stream, run)

    def ran(self, run: str, stream: str = "acted") -> Mapping[str, list[str]]:
        """Return, by step, what became of its jobs over there: the lab's own record, not ours."""
        jobs = {job["key"]: job for job in self.here.jobs(stream, run)}
        found: dict[str, list[str]] = {}
        for one in self.here.attempts(stream, run):
            if one.attempt.key in jobs:
                result = str(jobs[one.attempt.key]["result"])
                found.setdefault(one.step, []).append("ended by us" if result.startswith("signal") else result)
        return found


ONCE = ("work", "small", "join", "certify")


def once(*steps: str) -> dict[str, list[str]]:
    """Each step had one job, which ended well."""
    return {step: ["exit 0"] for step in steps}


@scenario(TEMPLATES)
def test_people_act_at_every_phase_of_a_step(here: Stage) -> None:
    play = Play(here)
    people = play.people
    waiting = (
        "skip-waiting", "complete-waiting", "leave-waiting", "cancel-waiting", "hold-ahead", "until-ahead",
        "skip-ahead", "complete-ahead", "cancel-ahead", "preset", "params-ahead", "skip-held", "complete-held",
        "cancel-held", "two-people", "many-1", "many-2", "many-3",
    )  # fmt: skip
    for run in waiting:
        play.starts(run, until=str(play.held_open(run)))
    failing = ("retry-failed", "complete-failed", "skip-failed", "restart-failed")
    for run in failing:
        play.starts(run, good=str(here.place / f"{run}.good"))
    for run in ("restart-done", "override-done"):
        play.starts(run)
    for run in ("complete-asking", "skip-asking", "cancel-asking"):
        play.starts(run, "acted_ask")
    play.starts("in-time", "acted_window")
    here.lab.fault("sap_odata", {"on": "submit", "do": "cut_before_commit", "times": 2, "match": "acted parked-"})
    for run in ("parked-left", "parked-cancel"):
        play.starts(run, "acted_parked")

    # Waiting for a job.
    for run in waiting:
        play.comes_to(run, "work", "deferred")
    assert "cannot be held" in people.refused("skip-waiting", "hold", "work")
    people.does("skip-waiting", "skip", "work")
    people.does("complete-waiting", "complete", "work", outputs={"total": 50})
    assert "give a value for total" in people.refused("complete-waiting", "complete", "work")
    confirm = "leave:work:-1"
    assert "to be confirmed first" in people.refused(
        "leave-waiting", "complete", "work", outputs={"total": 1}, leave_job=True
    )
    people.does("leave-waiting", "complete", "work", outputs={"total": 1}, leave_job=True, confirm=[confirm])
    people.does("cancel-waiting", "cancel", "work")

    # Ahead: its turn has not come.
    for run in ("hold-ahead", "skip-held", "complete-held", "cancel-held"):
        people.does(run, "hold", "small")
    people.does("until-ahead", "hold", "small", until=_soon(25))
    people.does("skip-ahead", "skip", "join")
    people.does("complete-ahead", "complete", "small")
    people.does("cancel-ahead", "cancel", "small")
    people.does("preset", "override", "route", targets=["large"])
    people.does("params-ahead", "params", params={"limit": 1})
    people.does("params-ahead", "priority", priority=900)
    people.does("params-ahead", "due", due_at="2099-01-01T00:00:00Z")

    # Two people at the same moment, who have seen the same: one is faster, the other hears it.
    version = people.here.act(
        f"{people.path('two-people')}/preview",
        {"id": "two-people-0", "action": "hold", "step": "small", "reason": REASON},
    )["version"]
    heard: list[int] = []
    both = [
        threading.Thread(
            target=lambda action=action: heard.append(people.asks("two-people", action, "small", version=version)[0])
        )
        for action in ("skip", "complete")
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(heard) == [200, 409]

    # Many at once, in the background of the real API server.
    bulk = here.act(
        "/enterprise-orch/api/v1/bulk",
        {
            "id": "e2e-many-held", "filter": {"q": "many-", "stream": ["acted"]},
            "action": {"action": "hold", "step": "small", "reason": REASON},
        },
    )  # fmt: skip
    assert bulk["total"] == 3
    told = lambda: here.api._send("GET", "/enterprise-orch/api/v1/bulk/e2e-many-held")  # noqa: E731
    here.until(lambda: told()["state"] == "done")
    assert (told()["done"], told()["refused"], told()["failed"]) == (3, 0, 0)

    for run in waiting:
        if run not in ("skip-waiting", "complete-waiting", "cancel-waiting"):
            go(play.held_open(run))

    # Failed.
    for run in failing:
        assert play.is_over(run) == "failed"
    (here.place / "retry-failed.good").touch()
    (here.place / "restart-failed.good").touch()
    people.does("retry-failed", "retry", "work")
    people.does("restart-failed", "restart", "work")
    people.does("complete-failed", "complete", "work", outputs={"total": 5})
    people.does("skip-failed", "skip", "work")

    # A person is asked.
    for run in ("complete-asking", "skip-asking", "cancel-asking"):
        play.comes_to(run, "ask", "awaiting_input", "acted_ask")
        people.does(run, run.partition("-")[0], "ask", stream="acted_ask")
    for run in ("parked-left", "parked-cancel"):
        play.comes_to(run, "plan", "awaiting_input", "acted_parked")
    left = {"leave_job": True, "confirm": ["leave:plan:-1"]}
    people.does("parked-left", "complete", "plan", stream="acted_parked", **left)
    people.does("parked-cancel", "cancel", "plan", stream="acted_parked")
    here.until(lambda: _answered(play, "parked-cancel", "acted_parked", "plan", "It did not run"))

    # Held: no worker, no job; then each goes another way.
    for run in ("hold-ahead", "skip-held", "complete-held", "cancel-held", "many-1", "many-2", "many-3"):
        play.comes_to(run, "small", "up_for_reschedule")
        assert "small" not in play.ran(run), "a held step handed something over"
    people.does("hold-ahead", "release", "small")
    people.does("skip-held", "skip", "small")
    people.does("complete-held", "complete", "small")
    people.does("cancel-held", "cancel", "small")
    for run in ("many-1", "many-2", "many-3"):
        people.does(run, "release")

    # Proposed, and overridden in time.
    play.comes_to("in-time", "route", "up_for_reschedule", "acted_window")
    page = "/enterprise-orch/api/v1/dags/acted_window/dagRuns/in-time"
    (proposed,) = here.api._send("GET", page)["decisions"]
    assert proposed["chosen"] == ["small"]
    assert proposed["open_until"] > datetime.now(UTC).isoformat()
    people.does("in-time", "override", "route", stream="acted_window", targets=["large"])
    assert play.is_over("in-time", "acted_window") == "success"
    assert play.ran("in-time", "acted_window") == once("large")
    (decided,) = here.api._send("GET", page)["decisions"]
    assert (decided["open_until"], decided["overridden"]["instead"]) == (None, ["small"])

    # Done: restarted, or sent another way after the fact.
    assert play.is_over("restart-done") == "success"
    assert "restart: never" in people.refused("restart-done", "restart", "join")
    assert play.is_over("override-done") == "success"
    assert play.states("override-done")["large"] == "skipped"
    people.does("override-done", "override", "route", targets=["large"])
    here.until(lambda: "large" in play.ran("override-done"))

    # What it all came to: states, and the lab's own record of what ran.
    expected: dict[str, tuple[str, dict[str, str], dict[str, list[str]]]] = {
        # run: (state, states of steps, jobs by step)
        "skip-waiting": ("success", {"work": "skipped", "certify": "skipped"}, {"work": ["ended by us"]}),
        "complete-waiting": (
            "success", {"work": "success", "large": "success", "small": "skipped"},
            {"work": ["ended by us"], **once("large", "join", "certify")},
        ),
        "leave-waiting": ("success", {"work": "success", "small": "success"}, once(*ONCE)),
        "cancel-waiting": ("failed", {"work": "failed", "small": "upstream_failed"}, {"work": ["ended by us"]}),
        "hold-ahead": ("success", {"small": "success"}, once(*ONCE)),
        "until-ahead": ("success", {"small": "success"}, once(*ONCE)),
        "skip-ahead": ("success", {"join": "skipped", "certify": "skipped"}, once("work", "small")),
        "complete-ahead": ("success", {"small": "success"}, once("work", "join", "certify")),
        "cancel-ahead": ("failed", {"small": "failed", "join": "upstream_failed"}, {"work": ["exit 0"]}),
        "preset": ("success", {"large": "success", "small": "skipped"}, once("work", "large", "join", "certify")),
        "params-ahead": ("success", {"large": "success", "small": "skipped"}, once("work", "large", "join", "certify")),
        "skip-held": ("success", {"small": "skipped", "join": "skipped"}, {"work": ["exit 0"]}),
        "complete-held": ("success", {"small": "success"}, once("work", "join", "certify")),
        "cancel-held": ("failed", {"small": "failed"}, {"work": ["exit 0"]}),
        "retry-failed": ("success", {"work": "success"}, {**once(*ONCE), "work": ["exit 3", "exit 0"]}),
        "restart-failed": ("success", {"work": "success"}, {**once(*ONCE), "work": ["exit 3", "exit 0"]}),
        "complete-failed": ("success", {"work": "success"}, {**once(*ONCE), "work": ["exit 3"]}),
        "skip-failed": ("success", {"work": "skipped", "certify": "skipped"}, {"work": ["exit 3"]}),
        "restart-done": ("success", {"small": "success"}, once(*ONCE)),
        "override-done": (
            "success", {"large": "success", "small": "success", "certify": "success"}, once(*ONCE, "large"),
        ),
        "many-1": ("success", {"small": "success"}, once(*ONCE)),
        "many-2": ("success", {"small": "success"}, once(*ONCE)),
        "many-3": ("success", {"small": "success"}, once(*ONCE)),
    }  # fmt: skip
    for run, (state, states, jobs) in expected.items():
        assert play.is_over(run) == state, (run, play.states(run))
        now = play.states(run)
        assert {step: now[step] for step in states} == states, run
        assert play.ran(run) == jobs, run
    assert play.is_over("two-people") == "success"
    assert "small" not in play.ran("two-people"), "neither skipped nor completed"
    for run, state, done in (
        ("complete-asking", "success", 1),
        ("skip-asking", "success", 0),
        ("cancel-asking", "failed", 0),
    ):
        assert play.is_over(run, "acted_ask") == state, run
        assert len(here.jobs("acted_ask", run)) == done, run
    assert (play.is_over("parked-left", "acted_parked"), play.is_over("parked-cancel", "acted_parked")) == (
        "success",
        "failed",
    )
    assert play.states("parked-left", "acted_parked")["done"] == "success"

    # The whole story is told: who, why, what it was before, and what came of it.
    story = here.api._send("GET", "/enterprise-orch/api/v1/events?stream=acted&run_id=override-done&limit=100")["items"]
    told_of = {row["kind"]: row for row in story}
    assert told_of["override_asked"]["reason"] == REASON
    assert told_of["override_asked"]["before"] == {"chosen": ["small"]}
    here.until(
        lambda: (
            "override"
            in {
                row["kind"]
                for row in here.api._send("GET", "/enterprise-orch/api/v1/events?stream=acted&run_id=override-done")[
                    "items"
                ]
            }
        )
    )


def _soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _answered(play: Play, run: str, stream: str, step: str, option: str) -> bool:
    """Answer the question that has the option, each time it is asked; tell whether it has led to an end.

    A person may be asked again: an answer within the second, before the scheduler has heard that the task waits, makes
    Airflow take the task for one whose worker died, and it is tried again, without the answer.
    """
    if play.states(run, stream)[step] == "awaiting_input":
        question = f"/api/v2/dags/{stream}/dagRuns/{run}/taskInstances/{step}/-1/hitlDetails"
        asked = play.here.api._send("GET", question)
        # Until its worker has begun, Airflow shows the question of the try before.
        if option in asked["options"] and not asked["response_received"]:
            answer = {"chosen_options": [option], "params_input": {"reason": "I looked"}}
            play.here.api._send("PATCH", question, answer)
    return play.here.state(stream, run) in OVER
