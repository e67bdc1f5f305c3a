"""A real Chromium for tests of the pages, and what they all do with it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
UI = Path(__file__).parents[1] / "plugins" / "executive_view_ui"
_GO = """path => {
  if (new URL(path, location).pathname !== location.pathname) {
    document.querySelectorAll('.eo h1').forEach(one => { one.dataset.left = ''; });
  }
  history.pushState({}, '', path);
  dispatchEvent(new PopStateEvent('popstate'));
}"""
_AXE = """async () => (await axe.run('.eo', {resultTypes: ['violations']})).violations
  .filter(({impact}) => impact === 'serious' || impact === 'critical')
  .flatMap(({id, nodes}) => nodes.map(({html, failureSummary}) => `${id}: ${html.slice(0, 150)} ${failureSummary}`))"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    if not CHROMIUM.exists():
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def alerts(page: Page) -> Locator:
    """Return what is told as an alert. The editor that Airflow loads behind its pages brings some that say nothing."""
    return page.get_by_role("alert").filter(has_text=re.compile(r"\S"))


def settle(page: Page) -> None:
    """Wait until nothing of ours is being loaded."""
    page.wait_for_selector(".eo", timeout=60_000)
    page.wait_for_function("!document.querySelector('.eo [aria-busy]')")


def go(page: Page, path: str) -> None:
    """Go to a page of ours within the host, as a link does: what is loaded stays."""
    page.evaluate(_GO, path)
    page.wait_for_function("!document.querySelector('.eo h1[data-left]')")  # the page before must be gone
    page.wait_for_load_state("networkidle")  # and the code of this one be there


def tab_to(page: Page, name: str, *, within: str = "body", key: str = "Tab", most: int = 150) -> None:
    """Go on by the Tab key until what is called ``name`` has the focus, within what ``within`` selects.

    :param key: ``Shift+Tab`` goes back.
    """
    here = f"""() => {{
      const at = document.activeElement;
      const named = at?.getAttribute('aria-label') ?? at?.labels?.[0]?.innerText ?? at?.innerText ?? '';
      return at?.closest({json.dumps(within)}) ? named.trim() : '';
    }}"""
    passed = []
    for _ in range(most):
        page.keyboard.press(key)
        passed.append(page.evaluate(here))
        if passed[-1].startswith(name):
            return
    raise AssertionError(f"the Tab key never leads to {name!r}, but to {passed}")


def serious(page: Page) -> list[Any]:
    """Return what keeps somebody from using what is ours on a page, as axe finds it."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=str(UI / "node_modules" / "axe-core" / "axe.min.js"))
    return list(page.evaluate(_AXE))


def shoot(page: Page, name: str) -> None:
    """Keep a picture of a page where a person wants to look: in ``SCREENSHOTS``, if that is set."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(Path(folder, f"{name}.png")))
