"""How soon the pages are there in a real Chromium, and whether a hundred thousand rows can be scrolled without a hitch.

The browser shares the processors with the API server, the database and whoever else is on the machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from playwright.sync_api import Browser, BrowserContext, Page

from tests.api_server import ApiServer
from tests.bench.executive_changes import Changes

STREAMS = "/plugin/streams"
SOON = {
    "overview": (STREAMS, ".eo-tile-value"),
    "list of instances": (f"{STREAMS}/instances?order=newest", ".eo-grid-row .eo-two a"),
    "Airflow's home": ("/", "text=Pool Slots"),
    "Airflow's list of runs": ("/dag_runs", "table tbody tr td a"),
}
"""By page its address, and what a person came for."""

WATCH = """
window.watched = {longtasks: [], wheel: [], keys: [], frames: []};
const entries = (told, type, more = {}) => new PerformanceObserver(list => list.getEntries().forEach(told))
  .observe({type, buffered: true, ...more});
entries(one => watched.longtasks.push(one.duration), 'longtask');
entries(one => one.name === 'keydown' && watched.keys.push(one.duration), 'event', {durationThreshold: 16});
addEventListener('wheel', event => requestAnimationFrame(() => watched.wheel.push(performance.now() - event.timeStamp)),
  {capture: true, passive: true});
let last = 0;
const frame = now => { if (last) watched.frames.push(now - last); last = now; requestAnimationFrame(frame); };
requestAnimationFrame(frame);
"""
PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
"""What is there now is painted with the frame after the next one."""
DROPPED = 200.0
"""Milliseconds from an interaction to what is shown for it, above which people notice (INP calls up to 200 good)."""
WHEEL = 640
KEYS_EVERY = 10


@dataclass(frozen=True)
class Soon:
    """Milliseconds from the beginning of a navigation until what a person came for was painted.

    :param cold: with an empty cache; each in a profile of its own.
    :param warm: in a profile that has been here before.
    """

    name: str
    cold: list[float]
    warm: list[float]
    load: float

    def line(self) -> str:
        cold, warm = self.cold, self.warm
        return (
            f"| {self.name} | **{statistics.median(warm):.0f}** | {max(warm):.0f} | {statistics.median(cold):.0f} | "
            f"{max(cold):.0f} | {self.load:.1f} |"
        )


HEAD = "| page | seen before: median ms | worst | never seen before: median ms | worst | load average |\n|" + "---|" * 6


def context_of(browser: Browser, server: ApiServer) -> BrowserContext:
    """Return a profile of its own that is logged in."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": "_token", "value": server.token, "url": server.url}])
    return context


def soon(browser: Browser, server: ApiServer, name: str, rounds: int) -> Soon:
    """Measure how soon a page is there."""
    path, selector = SOON[name]
    cold, warm = [], []
    for _ in range(rounds):
        context = context_of(browser, server)
        cold.append(_until_painted(context.new_page(), server.url + path, selector))
        warm += [_until_painted(context.new_page(), server.url + path, selector) for _ in range(2)]
        context.close()
    return Soon(name, cold, warm, os.getloadavg()[0])


def _until_painted(page: Page, url: str, selector: str) -> float:
    page.goto(url, wait_until="commit")
    page.wait_for_selector(selector, timeout=120_000)
    return float(page.evaluate(PAINTED))


@dataclass(frozen=True)
class Scrolled:
    """What scrolling came to: rows that were passed, and milliseconds."""

    rows: int
    seconds: float
    told: Mapping[str, list[Any]]
    in_page: int
    memory: float
    load: float

    @property
    def dropped(self) -> int:
        """Interactions that were not answered in time."""
        return sum(one > DROPPED for one in (*self.told["wheel"], *self.told["keys"]))

    def __str__(self) -> str:
        wheel, frames = sorted(self.told["wheel"]), sorted(self.told["frames"])
        keys, tasks = self.told["keys"], self.told["longtasks"]
        return (
            f"{self.rows} rows in {self.seconds:.0f} s, {len(wheel)} turns of the wheel: to the next frame p95 "
            f"{_p95(wheel):.0f}, worst {max(wheel):.0f} ms; {len(keys)} keys that took over 16 ms, worst "
            f"{max(keys, default=0):.0f} ms; {self.dropped} dropped (over {DROPPED:.0f} ms); frames p95 "
            f"{_p95(frames):.0f}, worst {max(frames):.0f} ms; {len(tasks)} long tasks, worst "
            f"{max(tasks, default=0):.0f} ms; {self.in_page} rows in the page, {self.memory:.0f} MB of JavaScript; "
            f"load average {self.load:.1f}"
        )


def _p95(ranked: list[float]) -> float:
    return ranked[int(len(ranked) * 0.95)] if ranked else 0.0


def shown_after(browser: Browser, server: ApiServer, engine: sa.Engine, changes: int) -> list[float]:
    """Look at the list of instances while they end in Airflow; return the seconds until each is shown to have failed.

    The page asks by itself, as it does for people: every five seconds while it is in sight.
    """
    context = context_of(browser, server)
    page, found = context.new_page(), []
    with Changes(engine) as made:
        for one in made.waiting(changes):
            query = urlencode({"q": one.business_key, "stream": one.dag_id})
            page.goto(f"{server.url}{STREAMS}/instances?{query}")
            row = page.locator(".eo-grid-row").filter(has_text=one.business_key)
            row.wait_for(timeout=120_000)
            began = time.monotonic()
            made.ends(one)
            row.filter(has_text="Failed").wait_for(timeout=120_000)
            found.append(time.monotonic() - began)
    context.close()
    return found


def scroll(browser: Browser, server: ApiServer, rows: int, shoot: Path | None = None) -> Scrolled:
    """Turn the wheel over the list of all instances until so many rows were passed, pressing keys in between."""
    context = context_of(browser, server)
    page = context.new_page()
    page.goto(f"{server.url}{STREAMS}/instances?order=newest")
    page.wait_for_selector(".eo-grid-row .eo-two a", timeout=120_000)
    page.wait_for_timeout(2000)
    page.evaluate(WATCH)
    page.get_by_role("grid").hover()
    page.keyboard.press("Tab")
    began, turns, last, stands = page.evaluate("performance.now()"), 0, 0, 0
    while last < rows and stands < 400:
        page.mouse.wheel(0, WHEEL)
        turns += 1
        if turns % KEYS_EVERY == 0:
            page.keyboard.press("Shift")
            now = int(page.locator(".eo-grid-row").last.get_attribute("aria-rowindex") or 0)
            stands = stands + 1 if now == last else 0
            last = now
    seconds = (page.evaluate("performance.now()") - began) / 1000
    told = page.evaluate("watched")
    memory = page.evaluate("performance.memory ? performance.memory.usedJSHeapSize / 1e6 : 0")
    if shoot is not None:
        page.screenshot(path=str(shoot))
    in_page = page.locator(".eo-grid-row").count()
    context.close()
    return Scrolled(last, seconds, told, in_page, memory, os.getloadavg()[0])
