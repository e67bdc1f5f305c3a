"""The pages of the executive view about instances that really run, in a real browser, while the company works on.

How a user would notice that it is fake: a job id or an exit code that its system has never given; a path that looks
taken and was not; a decision without the values that it was made on, or without who had it otherwise; a hold that holds
nothing; a question that Airflow does not ask; a certificate that is not the customer's; counts that differ from
Airflow's; a page that shows what was when the job has long ended; no way to the error of a failed step without a mouse.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from urllib.parse import parse_qsl, quote, urlsplit

from company import OVER, Stage, go, scenario
from loans import ASKS, BOARD, DONE, FAILS, KEYS, LOAN, PARKED, REGISTER, STEPS, STREAM, TEMPLATES, TITLES, TURNED
from playwright.sync_api import Page, expect
from visiting import Visitor, visiting

from airflow_enterprise_orch.delegation.parking import FAIL
from airflow_enterprise_orch.demo import certificates
from airflow_enterprise_orch.value_stream.branch import DECISION_KEY
from tests.chromium import go as to
from tests.chromium import tab_to

SAID = {
    "success": "Done", "skipped": "Not taken", "deferred": "Running", "failed": "Failed", "upstream_failed":
    "Not reached", "up_for_reschedule": "Held", None: "Not yet",
}  # fmt: skip
"""What the graph says of the state of a task in Airflow; of one that waits for a person it is told by the step."""
ASKED = {"sign": "Waits for a person", "enter": "Parked"}
WAITS, TURNS = "the funds arrive at noon", "the board has granted it"
"""Why the stream is held, and why an instance goes another way."""
_API = "/enterprise-orch/api/v1/"
SHOWN = 90_000
"""Milliseconds within which a page shows what has changed, without anybody who reloads it."""


@scenario(TEMPLATES)
def test_the_pages_show_what_airflow_and_the_systems_say(here: Stage) -> None:
    paid = here.place / "paid"
    with visiting(here) as visitor:
        here.lab.fault("sap_odata", {"on": "submit", "do": "cut_before_commit", "times": 1, "match": "register LOAN-"})
        here.api.trigger(REGISTER, PARKED, {"loan": KEYS[PARKED]})
        here.api.trigger(LOAN, DONE, {"loan": KEYS[DONE], "amount": 700})
        here.api.trigger(LOAN, ASKS, {"loan": KEYS[ASKS], "amount": 80_000})
        here.api.trigger(LOAN, FAILS, {"loan": KEYS[FAILS], "amount": 900, "account": "NL42"})
        try:
            # Nothing is waited for idly: each is looked at while the others go on.
            _hold_it_send_it_another_way_and_let_it_go(visitor, until=str(paid))
            # Nobody looks at one of them before: what has ended of a stream is counted anew only after a while.
            stand = {DONE: "success", ASKS: "person", FAILS: "failed", PARKED: "person"}
            here.until(lambda: _told(here).items() >= stand.items())
            for run in stand:
                _graph(visitor, run)
            for look in (
                _jobs_that_are_over, _decisions, _data, _step, _timeline, _questions, _stream, _host, _keyboard,
            ):  # fmt: skip
                look(visitor)
            here.until(lambda: here.states(BOARD, TURNED)["pay_out"] == "deferred")
            _graph(visitor, TURNED)
            for look in (_turned, _lists, _overview, _print, _narrow):
                look(visitor)
            page = _at(visitor, TURNED)
        finally:
            go(paid)
        here.api.answer(LOAN, ASKS, "sign", "Reject")
        question = f"/api/v2/dags/{REGISTER}/dagRuns/{PARKED}/taskInstances/enter/-1/hitlDetails"
        here.api._send("PATCH", question, {"chosen_options": [FAIL], "params_input": {"reason": "SAP has no such job"}})
        # Nobody reloads it.
        expect(page.locator("[data-step=certify] .eo-step-note")).to_contain_text("Done", timeout=SHOWN)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Done", timeout=SHOWN)
        here.until(lambda: set(here.tables.states(*TEMPLATES).values()) <= set(OVER))
        _audit(visitor)
        assert visitor.found == {}


def _told(here: Stage) -> dict[str, str]:
    """Return how each instance ended, or what it waits for, as our API tells it."""
    told = here.api._send("GET", f"{_API}instances?domain=Lending")
    return {row["run_id"]: row["waits_for"] if row["live"] else row["state"] for row in told["items"]}


def _at(visitor: Visitor, run: str, **query: str) -> Page:
    return visitor.instance(STREAM[run], run, KEYS[run], **query)


def _hold_it_send_it_another_way_and_let_it_go(visitor: Visitor, until: str) -> None:
    """By the keyboard alone: the stream is held, an instance of it sent another way, and the stream released."""
    here, page = visitor.here, visitor.page
    here.until(lambda: BOARD in {row["dag_id"] for row in here.api._send("GET", _API + "streams")["items"]})
    visitor.at(f"/stream/{BOARD}")
    tab_to(page, "Hold …", within=".eo")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Hold a stream, a system or a connection")
    expect(dialog.get_by_role("combobox")).to_have_value(BOARD)
    visitor.looked_at("hold-stream")
    visitor.because(dialog, WAITS)
    held = page.get_by_role("region", name="Held now")
    expect(held.get_by_role("row").filter(has_text=WAITS)).to_contain_text(here.airflow.user)

    here.api.trigger(BOARD, TURNED, {"loan": KEYS[TURNED], "amount": 90_000, "until": until})
    here.until(lambda: here.states(BOARD, TURNED)["score"] == "up_for_reschedule")
    _at(visitor, TURNED)
    expect(page.locator("[data-step=score] .eo-step-note")).to_contain_text("Held", timeout=SHOWN)
    expect(page.get_by_role("region", name="Why")).to_contain_text(WAITS)
    assert here.keys(BOARD, TURNED) == [], "a held step was handed over"
    visitor.looked_at("held")

    tab_to(page, STEPS["route"], within=".eo-graph")
    page.keyboard.press("Enter")
    expect(
        page.get_by_role("complementary", name=STEPS["route"]).get_by_role("button", name="Override")
    ).to_be_visible()
    tab_to(page, "Override", within=".eo-step-actions")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Override “{STEPS['route']}”")
    expect(dialog).to_be_visible()
    tab_to(page, STEPS["pay_out"], within=".eo-dialog")
    page.keyboard.press("Space")
    expect(dialog.locator(".eo-foreseen-sentence")).to_be_visible()
    visitor.because(dialog, TURNS)

    visitor.at("", domain="Lending")
    here.until(lambda: _told_of_holds(visitor) == [("1", here.airflow.user, WAITS)])
    tab_to(page, f"Release {TITLES[BOARD]}", within=".eo-held")
    page.keyboard.press("Enter")
    visitor.because(page.get_by_role("dialog", name=f"Release “{TITLES[BOARD]}”"), "they have arrived")
    expect(held).to_have_count(0)


def _graph(visitor: Visitor, run: str) -> None:
    page = _at(visitor, run)
    for step in STEPS if run != PARKED else ("enter",):
        state = visitor.here.states(STREAM[run], run)[step]
        button = page.locator(f'[data-step="{step}"]')
        said = ASKED[step] if state == "awaiting_input" else SAID[state]
        expect(button.locator(".eo-step-note"), f"{run} {step}").to_have_text(re.compile(f"^{said}( ·|$)"))
        off = state in ("skipped", "upstream_failed")
        assert (button.get_attribute("data-off") is not None) == off, (run, step, state)
    visitor.looked_at(f"instance-{run}")


def _jobs_that_are_over(visitor: Visitor) -> None:
    _jobs(visitor, DONE)
    _jobs(visitor, FAILS)
    visitor.looked_at("jobs")


def _jobs(visitor: Visitor, run: str) -> None:
    here, stream = visitor.here, STREAM[run]
    _at(visitor, run, tab="jobs")
    rows = visitor.rows("Remote jobs")
    shown = {(row["Step"], row["Job"].split()[0], row["Attempt"]): row["State"] for row in rows}
    over_there = {job["key"]: job for job in here.jobs(stream, run)}
    for one in here.attempts(stream, run):
        job = over_there[one.attempt.key]
        told = shown.pop((STEPS[one.step], job["id"], str(one.attempt.number)))
        if (run, one.step) == (FAILS, "pay_out"):
            assert told == f"Failed {job['result']}" == "Failed exit 3"
        else:
            assert told.startswith("Ended well" if one.attempt.verdict else "Out there"), (run, one.step, told)
    assert shown == {}


def _decisions(visitor: Visitor) -> None:
    here = visitor.here
    for run, fired in ((ASKS, 'params.amount > 50000.0 && steps.score.grade != "A"'), (DONE, "otherwise")):
        page = _at(visitor, run, tab="decisions")
        assert [row["Rule"] for row in visitor.rows(f"Rules of {STEPS['route']}") if row["Fired"] == "Yes"] == [fired]
        shown = visitor.values(page.get_by_role("region", name=STEPS["route"], exact=True))
        kept = here.api.state_store(LOAN, run, "route")[DECISION_KEY]["values"]
        assert float(shown["params.amount"]) == kept["params.amount"]
        assert shown["steps.score.grade"] == kept["steps.score.grade"] == "B"


def _turned(visitor: Visitor) -> None:
    """One that went another way than its rules say, and that is at work."""
    user = visitor.here.airflow.user
    (job,) = [job for job in visitor.here.jobs(BOARD, TURNED) if job["state"] == "running"]
    page = _at(visitor, TURNED)
    expect(page.locator(".eo-way-label[data-kind=taken]")).to_contain_text(f"as {user} decided")
    expect(page.get_by_role("region", name="Why")).to_contain_text(job["id"])
    _jobs(visitor, TURNED)
    told = _at(visitor, TURNED, tab="decisions").get_by_role("region", name=STEPS["route"], exact=True)
    expect(told).to_contain_text(f"Goes on with “{STEPS['pay_out']}”, as {user} wants ({TURNS})")
    expect(told).to_contain_text(f"The rules would have taken {STEPS['sign']}")
    visitor.looked_at("decisions")


def _data(visitor: Visitor) -> None:
    page = _at(visitor, DONE, tab="data")
    assert visitor.values(page.get_by_role("region", name="Started with"))["loan"] == KEYS[DONE]
    given = visitor.here.api.xcoms(LOAN, DONE, "score")["return_value"]
    shown = visitor.values(page.get_by_role("region", name=STEPS["score"], exact=True))
    assert (shown["grade"], shown["job_id"]) == (given["grade"], given["job_id"])
    shown = visitor.values(page.get_by_role("region", name=STEPS["certify"], exact=True))
    (got,) = certificates.fetch(visitor.here.api, visitor.here.lab, LOAN, [(DONE, KEYS[DONE])])
    assert got.problem == ""
    assert shown["address"] == got.address
    assert shown["verification"].encode() in got.pdf, "the code on the page is not that of the customer's certificate"
    visitor.looked_at("data")


def _step(visitor: Visitor) -> None:
    page = _at(visitor, FAILS, step="pay_out")
    (job,) = [job for job in visitor.here.jobs(LOAN, FAILS) if job["result"] == "exit 3"]
    panel = page.get_by_role("complementary", name=STEPS["pay_out"])
    expect(panel.get_by_text(job["id"], exact=True)).to_be_visible()
    expect(panel.get_by_text("exit 3", exact=True)).to_be_visible()
    expect(panel.get_by_label("Log")).to_contain_text("account NL42 is closed")
    assert panel.evaluate("it => it.scrollWidth <= it.clientWidth"), "it is cut off at the side"
    assert panel.get_by_label("Log").evaluate("it => it.scrollTop + it.clientHeight >= it.scrollHeight - 1")
    address = panel.get_by_role("link", name="In Airflow").get_attribute("href") or ""
    assert address.endswith(f"/dags/{LOAN}/runs/{FAILS}/tasks/pay_out")
    visitor.looked_at("step")


def _timeline(visitor: Visitor) -> None:
    page = _at(visitor, DONE, tab="timeline")
    expect(page.locator(".eo-gantt li")).to_have_count(len(STEPS))
    expect(page.locator(".eo-due")).to_be_visible()
    visitor.looked_at("timeline")


def _questions(visitor: Visitor) -> None:
    for run in (ASKS, PARKED):
        (question,) = visitor.here.api.questions(STREAM[run])
        page = _at(visitor, run)
        told = question["subject"] if run == ASKS else question["body"].split("\n")[0]
        expect(page.get_by_role("region", name="Why")).to_contain_text(told)
        address = page.get_by_role("link", name="Required Actions").get_attribute("href") or ""
        assert address.endswith(f"/dags/{STREAM[run]}/runs/{run}/required_actions")


def _lists(visitor: Visitor) -> None:
    page, here = visitor.page, visitor.here
    keys = page.locator(".eo-grid-row .eo-two a")
    visitor.at("/instances", q=KEYS[DONE].lower(), stream=LOAN)
    expect(keys).to_have_text([KEYS[DONE]])
    for job in here.jobs(LOAN, FAILS):
        visitor.at("/instances", job=job["id"], domain="Lending")
        expect(keys).to_have_text([KEYS[FAILS]])
    states = Counter(here.tables.states(*TEMPLATES).values())
    for state, count in states.items():
        visitor.at("/instances", domain="Lending", state=state)
        expect(keys).to_have_count(count)
    visitor.at("/instances", domain="Lending")
    expect(page.locator(".eo-total")).to_have_text(f"{states.total()} instances")
    visitor.looked_at("list")
    with page.expect_download() as started:
        page.get_by_role("link", name="CSV").click()
    with started.value.path().open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert {(row["run_id"], row["state"]) for row in rows} == set(here.tables.states(*TEMPLATES).items())
    visitor.at("/instances", q="NO-SUCH-LOAN", domain="Lending")
    expect(page.get_by_role("heading", name="No instance is like that")).to_be_visible()
    visitor.looked_at("list-empty")


def _overview(visitor: Visitor) -> None:
    here, page = visitor.here, visitor.at("", domain="Lending")
    counts = {stream: Counter(here.tables.states(stream).values()) for stream in TITLES}
    told = {TITLES[stream]: (str(count["running"]), str(count["failed"])) for stream, count in counts.items()}
    # At first it shows what it knew when somebody was here last.
    here.until(lambda: _told_of_streams(visitor) == told)
    live = [state for state in here.tables.states(*TEMPLATES).values() if state not in OVER]
    expect(visitor.tile("Live").locator(".eo-tile-value")).to_have_text(str(len(live)))
    expect(visitor.tile("Live")).to_contain_text("1 failed")
    waiting = sum(len(here.api.questions(stream)) for stream in TITLES)
    expect(visitor.tile("Waiting for people").locator(".eo-tile-value")).to_have_text(str(waiting))
    expect(visitor.tile("Waiting for people")).to_contain_text("1 parked")
    colour = "() => getComputedStyle(document.querySelector('.eo .eo-panel')).backgroundColor"
    before = page.evaluate(colour)
    visitor.looked_at("overview")
    assert page.evaluate(colour) != before, "the theme is not the host's"
    # From here to the instance it takes two clicks, and back leads back.
    visitor.tile("Waiting for people").get_by_role("link", name="Waiting").click()
    page.get_by_role("link", name=KEYS[ASKS]).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(KEYS[ASKS])
    page.go_back()
    expect(page.locator(".eo-grid-row .eo-two a")).to_have_count(waiting)
    assert dict(parse_qsl(urlsplit(page.url).query)) == {"domain": "Lending", "live": "true", "waiting_people": "true"}


def _told_of_streams(visitor: Visitor) -> dict[str, tuple[str, str]]:
    """Return how many of each stream are live and how many have failed, as the overview shows it."""
    counts = {row["Stream"]: (row["Live"], row["Failed"]) for row in visitor.rows("All streams")}
    return {next((title for title in TITLES.values() if title in name), name): count for name, count in counts.items()}


def _told_of_holds(visitor: Visitor) -> list[tuple[str, str, str]]:
    """Return of each hold, as the overview shows it, how many steps wait, who wanted it, and why."""
    return [(row["Steps that wait"], row["By"], row["Why"]) for row in visitor.rows("What is held")]


def _stream(visitor: Visitor) -> None:
    page, states = visitor.page, visitor.here.tables.states(LOAN)
    ended = [state for state in states.values() if state in OVER]
    visitor.at(f"/stream/{LOAN}")
    for title in STEPS.values():
        expect(page.get_by_role("button", name=title)).to_be_visible()
    visitor.looked_at("stream")
    visitor.at(f"/stream/{LOAN}", tab="statistics")
    expect(visitor.tile("Ended").locator(".eo-tile-value")).to_have_text(str(len(ended)))
    expect(page.get_by_role("region", name=STEPS["route"], exact=True)).to_contain_text(f"{len(ended)} decisions")
    failed = {row["Step"]: row["Failed"] for row in visitor.rows("Steps")}
    assert {step: count for step, count in failed.items() if count != "0"} == {STEPS["pay_out"]: "1"}
    visitor.looked_at("statistics")
    visitor.at(f"/stream/{LOAN}", tab="versions")
    expect(page.get_by_role("region", name="Version 1")).to_contain_text(
        f"{len(states)} instances, {len(states) - len(ended)} live · runs now"
    )
    visitor.looked_at("versions")
    visitor.at(f"/stream/{LOAN}", tab="ahead")
    expect(page.get_by_role("tabpanel")).to_contain_text("No time starts it")
    visitor.looked_at("ahead")


def _print(visitor: Visitor) -> None:
    visitor.at("", domain="Lending")
    sentence = visitor.page.locator(".eo-sentence").inner_text()
    visitor.at("/print", domain="Lending")
    expect(visitor.page.locator(".eo-sentence")).to_have_text(sentence)
    assert len(visitor.rows("All streams")) == len(TITLES)
    visitor.looked_at("print")
    visitor.page.get_by_role("link", name="Back").click()


def _host(visitor: Visitor) -> None:
    """What is ours on pages of Airflow's own, and the ways between them and ours."""
    page = visitor.page
    visitor.within("/", ".eo-strip")
    expect(page.get_by_text("Pool Slots")).to_be_visible()
    expect(page.get_by_role("link", name="Streams", exact=True)).to_have_attribute("href", "/plugin/streams")
    visitor.looked_at("home")
    page.get_by_role("region", name="Streams").get_by_role("link", name="All streams").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    tab = "plugin/value-stream"
    to(page, f"/dags/{LOAN}/{tab}")
    expect(page.get_by_role("link", name="Value stream")).to_have_attribute("href", re.compile(f"/dags/{LOAN}/{tab}$"))
    expect(page.get_by_role("button", name=STEPS["pay_out"])).to_be_visible()
    page.get_by_role("tab", name="Statistics").click()
    expect(page.get_by_text("Bottleneck")).to_be_visible()
    visitor.looked_at("dag-tab")

    address = f"/dags/{LOAN}/runs/{FAILS}/plugin/stream-instance"
    to(page, address)
    expect(page.get_by_role("link", name="Stream instance")).to_have_attribute("href", re.compile(f"{address}$"))
    expect(page.get_by_role("heading", name=KEYS[FAILS], level=1)).to_be_visible()
    page.get_by_role("button", name=STEPS["pay_out"]).click()
    assert page.url.endswith(f"{address}?step=pay_out")
    panel = page.get_by_role("complementary", name=STEPS["pay_out"])
    expect(panel.get_by_label("Log")).to_contain_text("account NL42 is closed")
    visitor.looked_at("run-tab")


def _keyboard(visitor: Visitor) -> None:
    """The keyboard alone leads from anywhere to the error of the failed step, and to what the parked one asks."""
    page = visitor.at("")
    visitor.find(KEYS[FAILS])
    tab_to(page, STEPS["score"], within=".eo-graph")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-step=route]")).to_be_focused()
    tab_to(page, STEPS["pay_out"], within=".eo-graph")
    page.keyboard.press("Enter")
    panel = page.get_by_role("complementary", name=STEPS["pay_out"])
    expect(panel).to_contain_text("exit 3")
    expect(panel.get_by_label("Log")).to_be_visible()
    tab_to(page, "Log", within=".eo-side")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(page.locator("[data-step=pay_out]")).to_be_focused()
    tab_to(page, "Graph", within=".eo-tabs", key="Shift+Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Timeline")).to_be_focused()
    expect(page.locator(".eo-due")).to_be_visible()

    visitor.find(KEYS[PARKED])
    tab_to(page, "Enter it", within=".eo-graph")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Enter it")).to_contain_text("Parked")
    tab_to(page, "In Airflow", within=".eo-side")
    visitor.looked_at("step-parked")


def _narrow(visitor: Visitor) -> None:
    for name, path, query in (
        ("overview", "", {"domain": "Lending"}),
        ("list", "/instances", {"domain": "Lending"}),
        ("instance", f"/instance/{LOAN}/{quote(FAILS)}", {"step": "pay_out"}),
        ("statistics", f"/stream/{LOAN}", {"tab": "statistics"}),
        ("audit", "/audit", {"stream": LOAN}),
    ):
        visitor.at(path, **query)
        visitor.looked_at_narrow(name)


def _audit(visitor: Visitor) -> None:
    """Who did what, and why: of each instance, and of all together."""
    page, user = visitor.page, visitor.here.airflow.user
    rows = page.get_by_role("region", name="Events").get_by_role("row")

    def events(run: str) -> list[tuple[str, str, str, str]]:
        _at(visitor, run, tab="audit")
        expect(rows.filter(has_text="Ended")).to_have_count(1, timeout=SHOWN)
        return [(row["What"], row["Step"], row["Who"], row["Why"]) for row in visitor.rows("Events")]

    turned = events(TURNED)
    assert ("Override asked for", STEPS["route"], user, TURNS) in turned
    assert ("Overridden", STEPS["route"], user, TURNS) in turned
    assert "Decision" not in {what for what, *_ in turned}
    visitor.looked_at("instance-audit")
    asked = events(ASKS)
    assert [(what, step, who) for what, step, who, _ in asked if what == "Answered"] == [
        ("Answered", STEPS["sign"], user)
    ]
    assert [step for what, step, *_ in asked if what == "Asked"] == [STEPS["sign"]]
    assert ("Answered", "Enter it", user, "SAP has no such job") in events(PARKED)
    visitor.at("/audit", stream=LOAN)
    expect(rows.filter(has_text="Ended")).to_have_count(3, timeout=SHOWN)
    told = Counter(row["What"] for row in visitor.rows("Events"))
    assert (told["Started by hand"], told["Decision"], told["Ended"]) == (3, 3, 3)
    visitor.looked_at("audit")
