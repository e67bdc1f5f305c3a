"""Airflow's own pages, when ours is broken, missing or old.

How a user would notice that we are bad guests: the home page of Airflow is blank because of a plugin.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from stage import FakeApi

from tests.chromium import alerts

pytestmark = pytest.mark.e2e

Visit = Callable[..., Page]
MAIN = "**/enterprise-orch/static/main.js"


def _airflow_is_there(page: Page) -> None:
    expect(page.get_by_text("Pool Slots")).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="Dags").first.click()
    expect(page.get_by_placeholder("Search Dags")).to_be_visible(timeout=30_000)


def test_a_bundle_that_throws_when_it_is_loaded(visit: Visit):
    script = "throw new Error('broken')"
    _airflow_is_there(
        visit("/", instead=(MAIN, lambda route: route.fulfill(content_type="text/javascript", body=script)))
    )


def test_a_bundle_that_is_no_javascript(visit: Visit):
    page = "<html>proxy error</html>"
    _airflow_is_there(visit("/", instead=(MAIN, lambda route: route.fulfill(content_type="text/html", body=page))))


def test_a_bundle_that_is_missing(visit: Visit):
    _airflow_is_there(visit("/", instead=(MAIN, lambda route: route.fulfill(status=404))))


def test_an_old_bundle_whose_parts_are_gone(visit: Visit):
    page = visit("/", instead=("**/enterprise-orch/static/chunks/app-*.js", lambda route: route.fulfill(status=404)))
    expect(alerts(page)).to_contain_text("The streams cannot be shown right now.")
    _airflow_is_there(page)


def test_an_answer_that_makes_our_code_throw(visit: Visit, fake: FakeApi):
    fake.override["overview"] = {**fake.data["overview"], "counts": None}
    page = visit("/")
    expect(alerts(page)).to_contain_text("The rest of Airflow is not affected")
    _airflow_is_there(page)


def test_an_answer_that_is_no_json(visit: Visit, fake: FakeApi):
    fake.override["overview"] = "<html>"
    _airflow_is_there(visit("/"))
