"""A mail server and an HTTP server that keep what they get, and can be told to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from airflow_enterprise_orch.demo.processes import free_ports


class Mailbox:
    """Handles what a mail server gets.

    :ivar refuse: how many messages to refuse before one is taken.
    """

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuse = 0
        self.refused = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # aiosmtpd's name
        if self.refuse:
            self.refuse -= 1
            self.refused += 1
            return "451 4.3.0 try again later"
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), mail))
        return "250 OK"


def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"open sesame")
    return AuthResult(success=right)


@contextmanager
def mail_server() -> Iterator[tuple[Mailbox, str]]:
    """Yield the mailbox and the JSON of an Airflow connection to it, which must log in."""
    box = Mailbox()
    (port,) = free_ports(1)
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        authenticator=login,
        auth_required=True,
        auth_require_tls=False,
    )
    controller.start()
    try:
        connection = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": port,
            "login": "ops",
            "password": "open sesame",
            "extra": {"from_email": "airflow@example.com", "disable_tls": True, "disable_ssl": True},
        }
        yield box, json.dumps(connection)
    finally:
        controller.stop()


class Desk:
    """What an incident desk got.

    :ivar answers: the status codes of the next answers; 200 when there are none.
    :ivar silent: it takes the connection and says nothing until it is told to stop.
    """

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.tokens: list[str | None] = []
        self.answers: list[int] = []
        self.silent = threading.Event()
        self.stop = threading.Event()


@contextmanager
def incident_desk() -> Iterator[tuple[Desk, str]]:
    """Yield what the desk got and the JSON of an Airflow connection to it."""
    desk = Desk()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if desk.silent.is_set():
                desk.stop.wait(60)
                return
            code = desk.answers.pop(0) if desk.answers else 200
            if code == 200:
                desk.tokens.append(self.headers.get("Authorization"))
                desk.posts.append((self.path, json.loads(body)))
            answer = b'{"ok": true}'
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        port = server.server_address[1]
        connection = {
            "conn_type": "http",
            "host": f"http://127.0.0.1:{port}",
            "login": "desk",
            "password": "a secret of the desk",
        }
        yield desk, json.dumps(connection)
    finally:
        desk.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()
