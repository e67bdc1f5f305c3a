"""People act in Airflow's own UI: real dialogs, a real API behind them, and real tables that change.

How a user would notice that it is fake: the dialog promises what does not happen, the page goes on to show what was,
two people overwrite each other, the keyboard gets stuck, or somebody is offered what is then refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acting import DAG, PAGE, WATCHER, House, server
from playwright.sync_api import Browser, BrowserContext, Page, expect
from stage import FakeApi

from tests.api_server import USER
from tests.chromium import serious, settle, shoot, tab_to

pytestmark = pytest.mark.e2e

RUNS = ("by-keyboard", "by-two", "many-1", "many-2", "many-3", "looked-at")
REASON = "the host is patched until six"
INSTANCE = "/plugin/streams/instance/order_to_certificate/manual__42"
# What each dialog is opened by: the step, if it is about one, and the button.
DIALOGS = {
    "skip": ("post_invoice", "Skip"),
    "complete": ("post_invoice", "Complete by hand"),
    "cancel": ("post_invoice", "Cancel"),
    "restart": ("book_order", "Restart here"),
    "override": ("route", "Override"),
    "hold": ("provision", "Hold"),
    "acknowledge": ("", "Acknowledge"),
    "params": ("", "Params"),
    "due": ("", "Due time"),
    "priority": ("", "Priority"),
}
Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def house(migrated: Path, tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[House]:
    with server(tmp_path_factory.mktemp("people-act"), migrated, RUNS) as up:
        yield House(up, chromium)


@pytest.fixture
def enter(house: House) -> Iterator[Callable[[str, str], Page]]:
    """Return what opens an instance as somebody sees it. Errors that no page caught are failures."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def opened(user: str, run_id: str) -> Page:
        contexts.append(house.context(user))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{house.server.url}{PAGE}/{run_id}")
        settle(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


Enter = Callable[[str, str], Page]


def test_with_the_keyboard_alone_a_step_is_held_and_the_page_shows_it(enter: Enter, house: House):
    page = enter(USER, "by-keyboard")
    tab_to(page, "Book it", within=".eo")
    page.keyboard.press("Enter")
    step = page.get_by_role("complementary", name="Book it")
    expect(step.get_by_role("button", name="Hold")).to_be_visible()
    expect(page.locator("[data-step=book]")).to_be_focused()
    tab_to(page, "Hold", within=".eo-step-actions")
    page.keyboard.press("Enter")

    dialog = page.get_by_role("dialog", name="Hold “Book it”")
    expect(dialog).to_be_visible()
    expect(dialog.locator(":focus")).to_have_count(1)
    expect(dialog.get_by_text(re.compile("^“Book it” is held"))).to_be_visible()
    assert serious(page) == []
    for key in ("Tab", "Shift+Tab"):
        for _ in range(25):
            page.keyboard.press(key)
            assert dialog.locator(":focus").count() == 1, "the keyboard left the dialog"
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(step.get_by_role("button", name="Hold")).to_be_focused()
    assert house.acts("by-keyboard") == [], "nothing is done by looking"

    page.keyboard.press("Enter")
    expect(dialog.get_by_text(re.compile("^“Book it” is held"))).to_be_visible()
    page.keyboard.press("Control+Enter")
    expect(dialog.get_by_role("textbox", name="Reason")).to_be_focused()
    expect(dialog.get_by_text("Say why, in a few words")).to_be_visible()
    page.keyboard.type(REASON)
    page.keyboard.press("Control+Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator(".eo-told")).to_contain_text("“Book it” is held")
    expect(step.get_by_role("button", name="Release")).to_be_visible()
    expect(page.get_by_role("region", name="Why")).to_contain_text(REASON)
    assert house.acts("by-keyboard") == ["hold"]
    shoot(page, "acted-held")

    page.keyboard.press("Enter")  # the message has the focus, and goes
    expect(page.locator(".eo-told")).to_have_count(0)
    page.get_by_role("tab", name="Audit").click()
    event = page.get_by_role("row").filter(has_text=REASON)
    expect(event).to_contain_text(USER)
    expect(event).to_contain_text("Hold")


def test_of_two_people_the_slower_one_sees_what_the_faster_one_did(enter: Enter, house: House):
    page = enter(USER, "by-two")
    page.get_by_role("button", name="Book it").click()
    step = page.get_by_role("complementary", name="Book it")
    step.get_by_role("button", name="Complete by hand").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="total").fill("7")
    expect(dialog.get_by_text(re.compile("^“Book it” counts as done"))).to_be_visible()
    dialog.get_by_role("textbox", name="Reason").fill("booked by hand")
    done = house.act(USER, "by-two", id="the-faster-one", action="skip", step="book", reason="not needed any more")
    assert done.status_code == 200, done.text
    dialog.get_by_role("button", name="Complete by hand").click()
    expect(dialog.get_by_text("Somebody was faster: KEY-by-two has changed since you looked")).to_be_visible()
    expect(dialog.get_by_role("textbox", name="Reason")).to_have_value("booked by hand")
    assert house.acts("by-two") == ["skip"], "what was decided on what was is not done"
    expect(dialog.get_by_text(re.compile("^“Book it” counts as done"))).to_be_visible()
    shoot(page, "acted-somebody-was-faster")
    dialog.get_by_role("button", name="Complete by hand").click()
    expect(dialog).to_have_count(0)
    assert house.acts("by-two") == ["skip", "complete"], "on what is, it can be decided again"


def test_with_the_keyboard_alone_several_are_selected_and_held_and_no_others(enter: Enter, house: House):
    page = enter(USER, "many-1")
    page.goto(f"{house.server.url}/plugin/streams/instances?q=KEY-many")
    settle(page)
    expect(page.get_by_role("checkbox", name="Select KEY-many-3")).to_be_visible()
    tab_to(page, "Instances", within=".eo-grid")
    page.keyboard.press("Home")
    keys = page.locator(".eo-grid-row .eo-two a").all_inner_texts()
    for key in "xjx":
        page.keyboard.press(key)
    expect(page.get_by_text("2 selected")).to_be_visible()
    assert serious(page) == []
    shoot(page, "many-selected")
    page.keyboard.press("h")
    dialog = page.get_by_role("dialog", name="Hold: many instances")
    expect(dialog.get_by_text("It concerns 2 instances.")).to_be_visible()
    tab_to(page, "Yes, hold: 2 instances", within=".eo-dialog")
    page.keyboard.press("Space")
    tab_to(page, "Reason", within=".eo-dialog")
    page.keyboard.type(REASON)
    assert serious(page) == []
    shoot(page, "many-dialog")
    page.keyboard.press("Control+Enter")
    progress = page.get_by_role("dialog", name="Hold: 2 instances")
    expect(progress.get_by_role("progressbar")).to_have_attribute("aria-valuetext", "2 of 2, all through")
    expect(progress.get_by_role("row").filter(has_text=keys[1])).to_contain_text("Done")
    assert serious(page) == []
    shoot(page, "many-done")
    page.keyboard.press("Escape")
    expect(progress).to_have_count(0)
    done = {key: house.acts(key.removeprefix("KEY-")) for key in keys}
    assert done == {keys[0]: ["hold"], keys[1]: ["hold"], keys[2]: []}


def test_who_may_only_look_sees_no_button_and_the_api_refuses_anyway(enter: Enter, house: House):
    page = enter(WATCHER, "looked-at")
    page.get_by_role("button", name="Book it").click()
    step = page.get_by_role("complementary", name="Book it")
    expect(step.get_by_role("heading", name="End of the log")).to_be_visible()
    settle(page)
    page.wait_for_load_state("networkidle")
    assert page.get_by_role("group", name="Actions").count() == 0
    assert step.locator(".eo-step-actions").count() == 0
    assert page.locator(".eo [aria-haspopup=dialog]").count() == 0
    page.goto(f"{house.server.url}/plugin/streams/instances")
    settle(page)
    page.wait_for_load_state("networkidle")
    assert page.locator(".eo-grid").get_by_role("checkbox").count() == 0
    assert page.locator(".eo-many").count() == 0
    asked = {"id": "looked-at-0001", "action": "hold", "step": "book", "reason": REASON}
    refused = house.act(WATCHER, "looked-at", **asked)
    assert refused.status_code == 403
    assert "not act on it" in refused.json()["detail"]
    assert house.act(USER, "looked-at", **asked).status_code == 200, f"{DAG} can be acted on at all"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_dialog_and_what_became_of_a_hold_can_be_used_by_everybody(visit: Visit, fake: FakeApi, theme: str):
    fake.override["actions"] = {**fake.data["actions"], "held_jobs": {"post_invoice": [fake.data["heldJob"]]}}
    page = visit(f"{INSTANCE}?step=post_invoice", theme=theme)
    expect(page.get_by_role("region", name="Hold of its remote job")).to_contain_text("Hold requested over there")
    expect(page.locator("[data-step=post_invoice]")).to_contain_text("Hold requested")
    settle(page)
    found = {"held": findings} if (findings := serious(page)) else {}
    shoot(page, f"held-over-there-{theme}")
    for name, (step, button) in DIALOGS.items():
        dialog = _open(page, step, button)
        findings = serious(page)
        if findings:
            found[name] = findings
        shoot(page, f"dialog-{name}-{theme}")
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    assert found == {}


def test_a_dialog_fits_a_narrow_window(visit: Visit):
    page = visit(INSTANCE, width=420)
    for name in ("cancel", "complete", "override"):
        dialog = _open(page, *DIALOGS[name])
        body = dialog.locator(".eo-dialog-body")
        assert body.evaluate("it => it.scrollWidth <= it.clientWidth + 1"), name
        box = dialog.bounding_box()
        assert box is not None
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= 420, name
        expect(dialog.locator("footer .eo-primary")).to_be_in_viewport()
        shoot(page, f"dialog-{name}-narrow")
        page.keyboard.press("Escape")


def _open(page: Page, step: str, button: str):
    """Open a dialog and fill in what it needs before it can say what would happen."""
    address = f"{INSTANCE}?step={step}" if step else INSTANCE
    page.evaluate("path => { history.pushState({}, '', path); dispatchEvent(new PopStateEvent('popstate')); }", address)
    settle(page)
    room = page.get_by_role("complementary") if step else page.get_by_role("group", name="Actions")
    if not step and not room.get_by_role("button", name=button).count():
        room.get_by_role("button", name="More").click()
        room.get_by_role("menuitem", name=re.compile(f"^{button}")).click()
    else:
        room.get_by_role("button", name=button).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for label, text in {"document": "90012345", "lines": "4", "Priority": "900", "Region": "south"}.items():
        field = dialog.get_by_role("textbox", name=label)
        if field.count():
            field.fill(text)
    if button == "Override":
        dialog.get_by_role("checkbox", name="Provision with the partner").check()
    settle(page)
    return dialog
