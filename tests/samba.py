"""A real Samba server of one share, with a user and a password of its own."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
SMBD = shutil.which("smbd", path=PATH)
HERE = SMBD is not None and os.geteuid() == 0
ABSENT = "no Samba server here, or not root (apt-get install samba)"
SHARE = "drop"


class Samba:
    """One smbd at one port of this machine; files in ``place``.

    :ivar folder: what the share shows.
    """

    def __init__(self, place: Path) -> None:
        place.chmod(0o755)
        self.place, self.folder = place, place / "share"
        self.folder.mkdir()
        self.folder.chmod(0o777)
        for folder in ("lock", "state", "cache", "pid", "private", "ncalrpc"):
            (place / folder).mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.user, self.password = getpass.getuser(), secrets.token_hex(12)
        (place / "smb.conf").write_text(
            f"[global]\nserver role = standalone server\nsmb ports = {self.port}\ninterfaces = 127.0.0.1\n"
            f"bind interfaces only = yes\nserver min protocol = SMB2\nserver signing = mandatory\n"
            f"passdb backend = tdbsam:{place}/private/passdb.tdb\nload printers = no\ndisable spoolss = yes\n"
            f"lock directory = {place}/lock\nstate directory = {place}/state\ncache directory = {place}/cache\n"
            f"pid directory = {place}/pid\nprivate dir = {place}/private\nncalrpc dir = {place}/ncalrpc\n"
            f"log file = {place}/log\n[{SHARE}]\npath = {self.folder}\nread only = no\n"
        )
        given = f"{self.password}\n{self.password}\n".encode()
        subprocess.run(
            ["smbpasswd", "-c", place / "smb.conf", "-s", "-a", self.user], input=given, check=True, capture_output=True
        )
        self.process = subprocess.Popen(
            [str(SMBD), "-F", "--no-process-group", "-s", place / "smb.conf"],
            start_new_session=True,  # smbd ends its whole process group
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            self.alive()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)

    def alive(self) -> None:
        """Show the server's log where it has gone away."""
        ended = self.process.poll()
        assert ended is None, f"smbd ended with {ended}:\n{(self.place / 'log').read_text()[-3000:]}"

    def connection(self) -> dict[str, Any]:
        """Return the fields of an Airflow connection to it."""
        login = {"host": "127.0.0.1", "port": self.port, "login": self.user, "password": self.password}
        return {"conn_type": "samba", **login, "schema": SHARE, "extra": {}}

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
