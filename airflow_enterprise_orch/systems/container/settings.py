"""Where an engine is and which way leads to it."""

from __future__ import annotations

import socket as sockets
from dataclasses import dataclass, field
from enum import StrEnum


class Way(StrEnum):
    """How the engine's API is reached."""

    UNIX = "unix"
    """A socket of this machine."""
    TLS = "tls"
    """TCP, with certificates on both sides."""
    SSH = "ssh"
    """A socket of another machine, through SSH; the engine listens on no network."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """One engine.

    :param connection: the Airflow connection's id, for messages.
    :param host: the machine; "" for this one.
    :param socket: the engine's socket on its host, for :attr:`Way.UNIX` and :attr:`Way.SSH`.
    :param ca_file: PEM file of the authority that signed the engine's certificate; "" for the machine's own list.
    :param registry: whose images are pulled with the login that follows.
    :param timeout: seconds for one answer.
    :param pull_timeout: seconds without any progress of a pull.
    :param settle: seconds after which a request that was sent has arrived or never will.
    :param keep_days: how long the container of an ended job stays.
    """

    connection: str
    way: Way = Way.UNIX
    host: str = ""
    port: int = 0
    login: str = ""
    socket: str = "/var/run/docker.sock"
    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""
    registry: str = ""
    registry_user: str = ""
    registry_password: str = field(default="", repr=False)
    timeout: float = 60.0
    pull_timeout: float = 300.0
    settle: float = 10.0
    keep_days: int = 30

    @property
    def address(self) -> str:
        """The engine as a URL that tells it from every other: a local socket belongs to one machine."""
        if self.way is Way.UNIX:
            return f"docker+unix://{sockets.gethostname()}{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.way is Way.TLS:
            return f"docker+tls://{host}:{self.port}"
        return f"docker+ssh://{self.login}@{host}:{self.port}{self.socket}"

    @property
    def serves_at(self) -> str:
        """The host name under which published ports are reached."""
        return self.host or "127.0.0.1"
