"""The pages in Airflow's own UI, in a real browser.

How a user would notice that it is fake: a page is blank or unreadable in the dark, a link shows somebody else something
else, the keyboard gets stuck, or Airflow's home page dies with ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from stage import FakeApi

from tests.chromium import alerts, go, serious, settle, shoot

pytestmark = pytest.mark.e2e

STREAMS = "/plugin/streams"
INSTANCE = f"{STREAMS}/instance/order_to_certificate/manual__42"
STREAM = f"{STREAMS}/stream/order_to_certificate"
EVERY = {
    "overview": STREAMS,
    "instances": f"{STREAMS}/instances?live=true",
    "instance": INSTANCE,
    "step": f"{INSTANCE}?step=post_invoice",
    "timeline": f"{INSTANCE}?tab=timeline",
    "decisions": f"{INSTANCE}?tab=decisions",
    "jobs": f"{INSTANCE}?tab=jobs",
    "data": f"{INSTANCE}?tab=data",
    "instance-audit": f"{INSTANCE}?tab=audit",
    "stream": STREAM,
    "statistics": f"{STREAM}?tab=statistics",
    "versions": f"{STREAM}?tab=versions&from=6&to=7",
    "ahead": f"{STREAM}?tab=ahead",
    "audit": f"{STREAMS}/audit",
    "print": f"{STREAMS}/print",
}
Visit = Callable[..., Page]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_shows_and_can_be_used_by_everybody(visit: Visit, theme: str):
    page = visit(STREAMS, theme=theme)
    found: dict[str, list[str]] = {}
    for name, path in EVERY.items():
        go(page, path)
        expect(page.locator(".eo h1").first).to_be_visible()
        settle(page)
        assert alerts(page).all_inner_texts() == [], name
        findings = serious(page)
        if findings:
            found[name] = findings
        shoot(page, f"{name}-{theme}")
    assert found == {}


def test_a_link_shows_whoever_opens_it_the_same(visit: Visit, fake: FakeApi):
    page = visit(f"{STREAMS}/instances?health=late&stream=bank_end_of_day&q=EOD")
    settle(page)
    asked = [line for line in fake.asked if line.startswith("instances?")]
    assert asked[0] == "instances?q=EOD&stream=bank_end_of_day&health=late&limit=100"
    expect(page.get_by_role("searchbox", name="Business key", exact=True)).to_have_value("EOD")
    expect(page.get_by_role("button", name="Stream Bank end of day")).to_be_visible()


def test_a_dag_that_is_no_stream_says_so_in_its_tab(visit: Visit, fake: FakeApi):
    fake.override["streamDetail"] = 404
    page = visit("/dags/order_to_certificate/plugin/value-stream")
    expect(page.get_by_role("heading", name="This is no value stream")).to_be_visible()


def _rows_asked_for(fake: FakeApi) -> list[str]:
    return [line.removeprefix("instances?") for line in fake.asked if line.startswith("instances?")]


def test_a_hundred_thousand_rows_are_scrolled_with_a_few_in_the_page(visit: Visit, fake: FakeApi):
    page = visit(f"{STREAMS}/instances")
    settle(page)
    expect(page.get_by_text("100,000 instances")).to_be_visible()
    grid = page.get_by_role("grid")
    height = grid.evaluate("grid => grid.scrollHeight")
    assert height > 100_000 * 40, "the scrollbar does not tell how long the list is"
    seen: list[int] = []
    for top in range(0, 40_000, 600):
        grid.evaluate("(grid, top) => grid.scrollTo(0, top)", top)
        # A busy machine draws the rows a while after it has scrolled.
        page.locator(f'.eo-grid-row[aria-rowindex="{top // 46 + 2}"]').wait_for(state="attached")
        page.wait_for_function("!document.querySelector('.eo [aria-busy]')")
        keys = page.locator(".eo-grid-row .eo-two a").all_inner_texts()
        numbers = [int(key.removeprefix("ORD-")) for key in keys]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        seen += numbers
        assert page.locator(".eo-grid-row").count() < 50
    assert set(seen) == set(range(1, max(seen) + 1))
    assert max(seen) > 800
    assert not [line for line in _rows_asked_for(fake) if "row=" in line], "who only scrolls goes by cursor"
    shoot(page, "hundred-thousand")


def test_the_scrollbar_and_the_keys_lead_anywhere_in_the_list(visit: Visit, fake: FakeApi):
    page = visit(f"{STREAMS}/instances")
    settle(page)
    grid = page.get_by_role("grid")
    grid.focus()
    page.keyboard.press("End")
    expect(page.get_by_text("ORD-100000")).to_be_in_viewport()
    assert grid.get_attribute("aria-activedescendant") == "eo-row-100000"
    shoot(page, "instances-end")
    grid.evaluate("grid => grid.scrollTo(0, grid.scrollHeight / 2)")
    expect(page.get_by_text("ORD-050000")).to_be_attached()
    page.keyboard.press("Home")
    expect(page.get_by_text("ORD-000001")).to_be_in_viewport()
    jumps = {line for line in _rows_asked_for(fake) if "row=" in line}
    assert len(jumps) <= 4, jumps


def test_a_list_is_renewed_wherever_one_is_in_it(visit: Visit, fake: FakeApi):
    page = visit(f"{STREAMS}/instances")
    settle(page)
    grid = page.get_by_role("grid")
    for top in range(0, 60_000, 2_000):
        grid.evaluate("(grid, top) => grid.scrollTo(0, top)", top)
        page.wait_for_function("!document.querySelector('.eo [aria-busy]')")
    fake.rows["owner"] = "somebody-else"
    expect(page.get_by_role("gridcell", name="somebody-else").first).to_be_visible()
    passed = len(set(_rows_asked_for(fake)))
    assert passed > 10
    fake.asked.clear()
    page.evaluate("dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(1_000)
    assert len(_rows_asked_for(fake)) <= 6, "a return to the tab asks for what is in sight, not for all that was passed"


def test_a_language_from_right_to_left_turns_the_page_round(visit: Visit):
    page = visit(STREAMS, language="ar")
    settle(page)
    # The host learns its language, and turns itself, when it has fetched the words, which may be after our pages came.
    expect(page.locator(".eo").first).to_have_css("direction", "rtl")
    heading, printing = page.locator(".eo h1").bounding_box(), page.locator(".eo-head .eo-button").last.bounding_box()
    assert heading is not None
    assert printing is not None
    assert heading["x"] > printing["x"]
    shoot(page, "overview-right-to-left")


def test_the_board_gets_one_page(visit: Visit, fake: FakeApi):
    streams = fake.data["overview"]["streams"]
    fake.override["overview"] = {**fake.data["overview"], "streams": streams * 5}
    page = visit(f"{STREAMS}/print", theme="dark")
    settle(page)
    for size in ("A4", "Letter"):
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(format=size))) == 1, size
    expect(page.get_by_text("The 14 that need most attention, of 30.")).to_be_visible()


def test_nothing_yet_says_what_will_be_there(visit: Visit, fake: FakeApi):
    fake.override["overview"] = {**fake.data["overview"], "streams": []}
    page = visit(STREAMS)
    expect(page.get_by_role("heading", name="There is no stream yet")).to_be_visible()
    shoot(page, "overview-empty")


def test_an_error_is_told_and_never_a_zero(visit: Visit, fake: FakeApi):
    fake.override["overview"] = 503
    page = visit(STREAMS)
    expect(page.get_by_text("The database does not answer.")).to_be_visible()
    assert page.locator(".eo-tile").count() == 0
    shoot(page, "overview-error")
    del fake.override["overview"]
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".eo-tile")).to_have_count(5)


def test_who_may_not_see_an_instance_is_told_so(visit: Visit, fake: FakeApi):
    fake.override["instance"] = 403
    page = visit(INSTANCE)
    expect(page.get_by_role("heading", name="You may not see this")).to_be_visible()
    shoot(page, "instance-forbidden")
