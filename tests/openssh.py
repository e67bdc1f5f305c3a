"""A real OpenSSH server with keys of its own, which a test can kill and start again."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

SSHD = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
ABSENT = "no OpenSSH server here (apt-get install openssh-server)"
HERE = SSHD is not None and shutil.which("ssh-keygen") is not None


class OpenSsh:
    """One sshd at one port of this machine, which takes one key and no password; files in ``place``."""

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / name], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        (place / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {place}/host_key\nPidFile {place}/sshd.pid\n"
            f"AuthorizedKeysFile {place}/user_key.pub\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
            f"PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # sshd(8): its privilege separation directory
        self.start()

    def connection(self, conn_type: str, **extra: Any) -> dict[str, Any]:
        """Return the fields of an Airflow connection to it."""
        host_key = " ".join((self.place / "host_key.pub").read_text().split()[:2])
        login = {"conn_type": conn_type, "host": "127.0.0.1", "port": self.port, "login": getpass.getuser()}
        return {**login, "extra": {"key_file": str(self.place / "user_key"), "host_key": host_key, **extra}}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen([str(SSHD), "-D", "-E", self.place / "log", "-f", self.place / "config"])
        while True:
            assert self.process.poll() is None, (self.place / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)

    def kill(self) -> None:
        """``kill -9`` the server, and the processes that serve its connections, each in a session of its own."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
