"""Airflow's mail notifier with a plain text beside the HTML, for those who read mail without it.

Imported only when a mail is sent.
"""

from __future__ import annotations

from email.mime.text import MIMEText
from typing import Any

from airflow.providers.smtp.hooks.smtp import SmtpHook
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

LONGEST_WAIT = 10
"""Seconds for each word with the mail server, whatever the connection says."""


class TextAndHtml(SmtpHook):
    """Sends ``multipart/alternative``; tries once, because whoever sends tries again by itself.

    :param text: the plain text.
    """

    smtp_retry_limit = 0

    def __init__(self, *, smtp_conn_id: str, text: str) -> None:
        super().__init__(smtp_conn_id=smtp_conn_id)
        self._text = text

    @property
    def timeout(self) -> int:
        """Seconds for each word with the server."""
        return min(int(self.conn.extra_dejson.get("timeout", LONGEST_WAIT)), LONGEST_WAIT)

    def _build_mime_message(self, **kwargs: Any) -> Any:  # type: ignore[override]  # called with keywords alone
        message, recipients = super()._build_mime_message(**{**kwargs, "mime_subtype": "alternative"})
        parts = message.get_payload()
        # The last part is the one that a reader who can show it takes (RFC 2046, 5.1.4).
        message.set_payload([MIMEText(self._text, "plain", "utf-8"), *parts])
        return message, recipients


def notifier(hook: TextAndHtml, *, to: list[str], subject: str, html: str) -> SmtpNotifier:
    """Return Airflow's notifier for one message."""
    made = SmtpNotifier(to=to, subject=subject, html_content=html, smtp_conn_id=hook.smtp_conn_id)
    made.hook = hook
    return made
