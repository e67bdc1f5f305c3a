"""Somebody who looks at the company's pages in a real browser, and who also knows what Airflow and the lab say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import httpx
from company import Stage
from playwright.sync_api import Locator, Page, expect

from tests.chromium import alerts, chromium, serious, settle, shoot, tab_to
from tests.chromium import go as to

# The host is 7 MB of JavaScript, the feed looks every few seconds, and the whole company keeps the machine busy.
expect.set_options(timeout=60_000)

WIDE, NARROW = 1440, 420
_THEME = """theme => {
  const root = document.documentElement;
  root.classList.remove('light', 'dark');
  root.classList.add(theme);
  root.style.colorScheme = theme;
}"""


@dataclass
class Visitor:
    """A page of somebody who is logged in, and the stage of the scenario.

    :ivar theme: of the page that was looked at last.
    :ivar found: by the name of a page, what keeps somebody from using it.
    """

    here: Stage
    page: Page
    theme: str = "light"
    found: dict[str, list[Any]] = field(default_factory=dict)

    def at(self, path: str, **query: str) -> Page:
        """Go to one of our own pages and wait until it is there."""
        to(self.page, f"/plugin/streams{path}" + (f"?{urlencode(query)}" if query else ""))
        expect(self.page.locator(".eo h1").first).to_be_visible()
        settle(self.page)
        return self.page

    def instance(self, stream: str, run: str, key: str, **query: str) -> Page:
        """Go to the page of an instance."""
        page = self.at(f"/instance/{quote(stream)}/{quote(run)}", **query)
        expect(page.get_by_role("heading", level=1)).to_contain_text(key)
        return page

    def within(self, path: str, ours: str) -> Locator:
        """Go to a page of Airflow's own and wait until what is ours on it is there."""
        to(self.page, path)
        found = self.page.locator(ours).first
        expect(found).to_be_visible()
        settle(self.page)
        return found

    def looked_at(self, name: str) -> None:
        """See whether everybody can use the page, and keep a picture of it; one by day, the next by night.

        With data that is made up, tests of the browser look at each by day and by night.
        """
        self.theme = "light" if self.theme == "dark" else "dark"
        self.page.evaluate(_THEME, self.theme)
        shoot(self.page, f"real-{name}-{self.theme}")
        assert alerts(self.page).all_inner_texts() == [], name
        if findings := serious(self.page):
            self.found[name] = findings

    def looked_at_narrow(self, name: str) -> None:
        """See whether it is within a window as narrow as a telephone, and keep a picture of it."""
        self.page.set_viewport_size({"width": NARROW, "height": 900})
        settle(self.page)
        assert self.page.locator(".eo-page").evaluate("it => it.scrollWidth <= it.clientWidth + 1"), name
        shoot(self.page, f"real-{name}-narrow")
        self.page.set_viewport_size({"width": WIDE, "height": 900})

    def because(self, dialog: Locator, reason: str) -> None:
        """Type a reason into a dialog, have it done, and put away the message that says so; by the keyboard."""
        expect(dialog).to_be_visible()
        tab_to(self.page, "Reason", within=".eo-dialog")
        self.page.keyboard.type(reason)
        self.page.keyboard.press("Control+Enter")
        expect(dialog).to_have_count(0)
        expect(self.page.locator(".eo-told button")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".eo-told")).to_have_count(0)

    def find(self, key: str) -> None:
        """Find an instance by its business key, from whatever page, and open it; all by the keyboard."""
        self.page.keyboard.press("/")
        self.page.keyboard.type(key)
        self.page.keyboard.press("Enter")
        expect(self.page.locator(".eo-grid-row .eo-two a")).to_have_text([key])
        tab_to(self.page, "Instances", within=".eo-grid")
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(key)

    def rows(self, table: str) -> list[Mapping[str, str]]:
        """Return the rows of a table, each by the heads of the columns."""
        room = self.page.get_by_role("region", name=table, exact=True)
        room.locator("tbody tr").first.wait_for()
        heads, *rows = room.evaluate(
            "room => [...room.querySelectorAll('tr')].map(row =>"
            " [...row.children].map(cell => cell.innerText.replace(/\\s+/g, ' ').trim()))"
        )
        return [dict(zip(heads, row, strict=True)) for row in rows]

    def values(self, panel: Locator) -> Mapping[str, str]:
        """Return the named values that a panel shows."""
        expect(panel.locator("dl")).to_be_visible()
        return dict(zip(panel.locator("dt").all_inner_texts(), panel.locator("dd").all_inner_texts(), strict=True))

    def tile(self, title: str) -> Locator:
        """Return one of the large numbers."""
        return self.page.locator(".eo-tile").filter(has=self.page.get_by_text(title, exact=True))


@contextmanager
def visiting(here: Stage) -> Iterator[Visitor]:
    """Look in, logged in; errors that no page caught are failures."""
    airflow, errors = here.airflow, list[str]()
    body = {"username": airflow.user, "password": airflow.password}
    answer = httpx.post(f"{airflow.url}/auth/token", json=body, timeout=60, trust_env=False).raise_for_status()
    with chromium() as browser:
        context = browser.new_context(viewport={"width": WIDE, "height": 900}, timezone_id="UTC")
        context.set_default_timeout(120_000)
        context.add_init_script("localStorage.setItem('theme', 'light'); localStorage.setItem('i18nextLng', 'en');")
        context.add_cookies([{"name": "_token", "value": answer.json()["access_token"], "url": airflow.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{airflow.url}/plugin/streams")
        settle(page)
        yield Visitor(here, page)
    assert errors == []
