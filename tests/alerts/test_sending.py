"""Sending through Airflow's own notifiers, to a real mail server and a real HTTP server.

How a user would notice that it is fake: no mail comes; a password stands in one; a mail server that hangs holds up a
worker; a text from a remote system is run as a template.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from servers import Desk, Mailbox, incident_desk, mail_server
from test_message import ALERT

from airflow_enterprise_orch.alerts import sending
from airflow_enterprise_orch.alerts.message import render

# The server is on loopback; a login that it insists on is what matters here.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

MAIL = {"kind": "email", "connection": "smtp_ops", "to": ["ops@example.com", "lead@example.com"]}
HOOK = {"kind": "webhook", "connection": "incident_desk", "path": "/hooks/streams"}
MESSAGE = render(ALERT)


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    with mail_server() as (mailbox, connection):
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_OPS", connection)
        yield mailbox


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with incident_desk() as (posts, connection):
        monkeypatch.setenv("AIRFLOW_CONN_INCIDENT_DESK", connection)
        yield posts


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "PAUSE", 0.01)


def send(*targets: dict[str, object], message=MESSAGE) -> int:
    return asyncio.run(sending.send(message, targets))


def test_a_mail_comes_to_everybody_as_text_and_html(box: Mailbox):
    assert send(MAIL) == 1
    ((to, mail),) = box.mails
    assert to == MAIL["to"]
    assert mail["Subject"] == MESSAGE.subject
    assert mail["From"] == "airflow@example.com"
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    assert text.get_content().splitlines() == MESSAGE.text.splitlines()
    assert html.get_content().strip() == MESSAGE.html


def test_a_webhook_gets_the_json_once_with_its_login(desk: Desk):
    assert send(HOOK) == 1
    assert desk.posts == [("/hooks/streams", MESSAGE.data)]
    assert desk.tokens[0].startswith("Basic ")
    assert send({"kind": "webhook", "connection": "incident_desk"}) == 1
    assert desk.posts[1][0] == "/"


def test_words_of_a_remote_system_are_never_a_template(box: Mailbox, desk: Desk):
    said = "{{ conn.smtp_ops.password }} {{ var.value.x }} {% raw %} \r\nBcc: all@example.com"
    message = render(replace(ALERT, reason=said, key=said))
    assert send(MAIL, HOOK, message=message) == 2
    ((to, mail),) = box.mails
    assert to == MAIL["to"]
    assert mail["Bcc"] is None
    whole = mail.as_string() + json.dumps(desk.posts)
    assert "open sesame" not in whole
    assert desk.posts[0][1]["instance"]["key"].startswith("{{ conn.smtp_ops.password }}")


def test_what_is_refused_once_comes_at_the_next_try_and_only_once(box: Mailbox, desk: Desk):
    box.refuse, desk.answers = 2, [503, 500]
    assert send(MAIL, HOOK) == 2
    assert (len(box.mails), box.refused, len(desk.posts)) == (1, 2, 1)


def test_what_cannot_be_sent_is_loud_and_holds_up_no_other(desk: Desk, box: Mailbox, caplog: pytest.LogCaptureFixture):
    box.refuse = 99
    with caplog.at_level(logging.ERROR):
        assert send(MAIL, HOOK) == 1
    (line,) = [record.getMessage() for record in caplog.records if "ALERT NOT SENT" in record.getMessage()]
    assert "email on connection 'smtp_ops' after 3 tries" in line
    assert MESSAGE.subject in line
    assert "open sesame" not in caplog.text
    assert box.refused == sending.TRIES
    assert len(desk.posts) == 1


def test_a_server_that_never_answers_is_given_up(desk: Desk, monkeypatch, caplog):
    monkeypatch.setattr(sending, "ANSWER_WITHIN", 0.2)
    desk.silent.set()
    began = time.monotonic()
    assert send(HOOK) == 0
    assert time.monotonic() - began < 30  # the server is silent for a minute, and each try would wait for it
    assert "no answer in time" in caplog.text


def test_a_connection_that_is_not_there_is_one_line(caplog: pytest.LogCaptureFixture):
    assert send({**MAIL, "connection": "nobody"}) == 0
    assert "ALERT NOT SENT to email on connection 'nobody'" in caplog.text


def test_a_package_that_is_missing_is_named_and_not_tried_again(box: Mailbox, monkeypatch, caplog):
    monkeypatch.setitem(sending.PACKAGES, "email", ("airflow.providers.nothing", "apache-airflow-providers-nothing"))
    assert send(MAIL) == 0
    assert "the package apache-airflow-providers-nothing is not installed where this runs" in caplog.text
    assert "tried again" not in caplog.text


@pytest.mark.parametrize("channel", ["#ops", None])
def test_slack_gets_the_text_and_nobody_is_called_by_a_remote_system(monkeypatch, channel):
    pytest.importorskip("airflow.providers.slack")
    with incident_desk() as (desk, connection):
        kind = "slack" if channel else "slackwebhook"
        host = json.loads(connection)["host"] + "/"
        extra = {"base_url": host} if channel else {}
        monkeypatch.setenv(
            "AIRFLOW_CONN_SLACK_OPS",
            json.dumps({"conn_type": kind, "host": host, "password": "xoxb-secret", "extra": extra}),
        )
        message = render(replace(ALERT, reason="<!channel> & <https://evil.example.com|ok>"))
        target = {"kind": "slack", "connection": "slack_ops", **({"channel": channel} if channel else {})}
        assert send(target, message=message) == 1
        assert len(desk.posts) == 1
