"""What an alert says, also when those whose words it repeats are hostile.

How a user would notice that it is fake: mail to strangers because a business key held a line break, a link in a mail
that a remote system wrote, a subject that nobody can read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.alerts.message import (
    LONGEST_REASON,
    LONGEST_SUBJECT,
    NEXT,
    NEXT_UNDOING,
    WORDS,
    WORDS_UNDOING,
    Alert,
    render,
)

ALERT = Alert(
    event="failed",
    severity="high",
    stream="order_to_certificate",
    title="Order to certificate",
    domain="Customer onboarding",
    owner="customer-operations",
    key="ORD-100017",
    run_id="manual__1",
    reason="JOB00042 BOOKORD ended with CC 0012",
    since=datetime(2026, 7, 1, 6, 5, tzinfo=UTC),
    alert_id="order_to_certificate/manual__1/book/failed/1",
    step="book",
    step_title="Book the order",
    system="mainframe.job",
    connection="zos_prod",
    job_id="JOB00042",
    due=datetime(2026, 7, 1, 10, 0, tzinfo=UTC),
    timezone="Europe/Berlin",
    link="https://airflow.example.com/dags/order_to_certificate/runs/manual__1/tasks/book",
)


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.text += data


def test_a_business_owner_reads_what_they_need_in_the_mail():
    message = render(ALERT)
    assert message.subject == "[high] Order to certificate ORD-100017: Book the order failed"
    assert message.text == (
        "Order to certificate ORD-100017: Book the order failed.\n"
        "\n"
        "Business key: ORD-100017\n"
        "Stream:       Order to certificate (Customer onboarding; owner customer-operations)\n"
        "Step:         Book the order\n"
        "System:       mainframe.job, connection zos_prod\n"
        "Remote job:   JOB00042\n"
        "Reason:       JOB00042 BOOKORD ended with CC 0012\n"
        "Since:        2026-07-01 08:05 Europe/Berlin (06:05 UTC)\n"
        "Due:          2026-07-01 12:00 Europe/Berlin (10:00 UTC)\n"
        f"What to do:   {NEXT['failed']}\n"
        f"In Airflow:   {ALERT.link}\n"
    )
    page = Tags(message.html)
    assert page.links == [ALERT.link]
    assert all(word in page.text for word in ("ORD-100017", "Book the order", "CC 0012", "JOB00042"))


def test_a_webhook_gets_documented_json():
    data = json.loads(json.dumps(render(ALERT).data))
    assert data == {
        "version": 1,
        "id": ALERT.alert_id,
        "event": "failed",
        "severity": "high",
        "summary": "Order to certificate ORD-100017: book failed",
        "stream": {
            "id": "order_to_certificate",
            "title": "Order to certificate",
            "domain": "Customer onboarding",
            "owner": "customer-operations",
        },
        "instance": {"key": "ORD-100017", "run_id": "manual__1"},
        "step": {
            "id": "book",
            "title": "Book the order",
            "system": "mainframe.job",
            "connection": "zos_prod",
            "job_id": "JOB00042",
            "undoing": False,
        },
        "open_jobs": [],
        "reason": "JOB00042 BOOKORD ended with CC 0012",
        "since": "2026-07-01T06:05:00+00:00",
        "due": "2026-07-01T10:00:00+00:00",
        "override_until": None,
        "next": NEXT["failed"],
        "link": ALERT.link,
    }


@pytest.mark.parametrize("event", WORDS)
def test_every_event_has_words_and_something_to_do(event: str):
    message = render(replace(ALERT, event=event, step="", step_title="", system="", job_id="", due=None, link=""))
    assert message.subject == f"[high] Order to certificate ORD-100017 {WORDS[event]}"
    assert NEXT[event] in message.text
    assert message.data["step"] is None
    assert message.data["due"] is None
    assert "In Airflow:" not in message.text


HOSTILE = st.one_of(
    st.text(max_size=400),
    st.sampled_from([
        "x\r\nBcc: everybody@example.com\r\n\r\nhello", "x\u2028Bcc: a@b", "\x00\x1b[2Jx", "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>', "{{ conn.zos_prod.password }}", "\u202egnp.exe",
        "a" * 100_000, "\ud800", "<a href='https://evil.example.com'>ok</a>", "https://evil.example.com", "",
    ]),
)  # fmt: skip


@settings(deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_hostile_words_stay_words(key, reason, title, job):
    message = render(replace(ALERT, key=key, reason=reason, title=title, job_id=job))
    assert len(message.subject) <= LONGEST_SUBJECT
    mail = EmailMessage()
    mail["Subject"] = message.subject  # this policy refuses line breaks
    assert set(mail.keys()) == {"Subject"}
    message.text.encode()
    names = {line.partition(":")[0] for line in message.text.splitlines()[2:]}
    assert names <= {
        *("Business key", "Stream", "Step", "System", "Remote job", "Reason", "Since", "Due", "What to do"),
        "In Airflow",
    }
    page = Tags(message.html)
    assert set(page.tags) == {"p", "strong", "table", "tr", "th", "td", "a"}
    assert page.links == [ALERT.link]
    assert len(message.data["reason"]) <= LONGEST_REASON
    assert len(message.html) < 40_000


@pytest.mark.parametrize("event", WORDS_UNDOING)
def test_an_undoing_has_words_of_its_own(event: str):
    message = render(replace(ALERT, event=event, undoing=True))
    assert message.subject == f"[high] Order to certificate ORD-100017: Book the order {WORDS_UNDOING[event]}"
    assert (NEXT_UNDOING if event == "failed" else NEXT[event]) in message.text
