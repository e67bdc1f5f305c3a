"""Sending a message through Airflow's own notifiers: bounded, tried again once or twice, and never an exception.

A notifier renders its fields with Airflow's Jinja, connections and variables in reach, when it is *called*. What is
sent here holds words of remote systems, so only ``notify`` is used, which renders nothing that it was given.

Each notifier works in a thread of its own: a mail server that does not answer must hold up neither a worker for long
nor a triggerer at all. Its connection is fetched before, because a triggerer answers only its own event loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow_enterprise_orch.alerts.message import Message

log = logging.getLogger(__name__)

TRIES = 3
PAUSE = 2.0
"""Seconds before the second try; twice as long before the third."""
ANSWER_WITHIN = 10.0
"""Seconds that one try may take."""

PACKAGES: Mapping[str, tuple[str, str]] = {
    "email": ("airflow.providers.smtp.notifications.smtp", "apache-airflow-providers-smtp"),
    "webhook": ("airflow.providers.http.notifications.http", "apache-airflow-providers-http"),
    "slack": ("airflow.providers.slack.notifications.slack", "apache-airflow-providers-slack"),
}
"""By kind of target the module that Airflow's notifier is in, and the package that brings it."""
SLACK_WEBHOOK = "airflow.providers.slack.notifications.slack_webhook"


class AlertNotSent(OrchestrationError):
    """A target cannot be used; trying again would not help."""


async def send(message: Message, targets: Sequence[Mapping[str, Any]]) -> int:
    """Send a message to each target at the same time; return how many got it. What goes wrong is in the log.

    :param targets: ``{"kind": "email", "connection": ..., ...}``, as rules compile to.
    """
    return sum(await asyncio.gather(*(_persist(message, target) for target in targets)))


async def _persist(message: Message, target: Mapping[str, Any]) -> bool:
    where = f"{target['kind']} on connection {target['connection']!r}"
    for number in range(1, TRIES + 1):
        try:
            # Not timed: a first import may take seconds, and tells nothing of the server.
            await in_thread(lambda: _module(target))
            await asyncio.wait_for(_once(message, target), ANSWER_WITHIN)
        except AlertNotSent as error:
            log.error("ALERT NOT SENT to %s: %s. It said: %s", where, error, message.subject)  # noqa: TRY400
            return False
        except Exception as error:
            told = "no answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
            if number == TRIES:
                # Loud, in one line: a stack trace of a mail client says less than what was not told.
                log.error("ALERT NOT SENT to %s after %s tries: %s. It said: %s", where, TRIES, told, message.subject)  # noqa: TRY400
                return False
            log.warning("an alert to %s is tried again: %s", where, told)
            await asyncio.sleep(PAUSE * number)
        else:
            log.info("alert sent to %s: %s", where, message.subject)
            return True
    raise AssertionError("every try returns or goes on")


async def _once(message: Message, target: Mapping[str, Any]) -> None:
    from airflow.sdk.bases.hook import BaseHook

    connection = await BaseHook.aget_connection(target["connection"])
    await in_thread(lambda: MAKERS[target["kind"]](message, target, connection).notify({}))


async def in_thread(work: Callable[[], object]) -> None:
    """Do something that blocks; a thread that never ends holds nobody up, not even the end of the process."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # handed on to whoever waits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, name="alert", daemon=True).start()
    await done


def _module(target: Mapping[str, Any]) -> Any:
    """Return the module of a target's notifier."""
    module, package = PACKAGES[target["kind"]]
    if target["kind"] == "slack" and not target.get("channel"):
        module = SLACK_WEBHOOK
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise AlertNotSent(f"the package {package} is not installed where this runs; install it") from error


def _known(hook: Any, connection: Any) -> Any:
    """Give a hook the connection that it would fetch."""
    hook.get_connection = lambda *_args, **_kwargs: connection
    return hook


def _email(message: Message, target: Mapping[str, Any], connection: Any) -> Any:
    mail = import_module("airflow_enterprise_orch.alerts.mail")
    hook = _known(mail.TextAndHtml(smtp_conn_id=target["connection"], text=message.text), connection)
    return mail.notifier(hook, to=list(target["to"]), subject=message.subject, html=message.html)


def _webhook(message: Message, target: Mapping[str, Any], connection: Any) -> Any:
    notifier = _module(target).HttpNotifier(
        http_conn_id=target["connection"],
        endpoint=target.get("path"),
        json=message.data,
        extra_options={"timeout": ANSWER_WITHIN},
    )
    _known(notifier.hook, connection)
    return notifier


def _slack(message: Message, target: Mapping[str, Any], connection: Any) -> Any:
    # Slack reads <, > and & as its own marks (mentions, links): https://api.slack.com/reference/surfaces/formatting
    text = message.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if target.get("channel"):
        notifier = _module(target).SlackNotifier(
            slack_conn_id=target["connection"], text=text, channel=target["channel"]
        )
    else:
        notifier = _module(target).SlackWebhookNotifier(slack_webhook_conn_id=target["connection"], text=text)
    _known(notifier.hook, connection)
    return notifier


MAKERS: Mapping[str, Callable[[Message, Mapping[str, Any], Any], Any]] = {
    "email": _email,
    "webhook": _webhook,
    "slack": _slack,
}
