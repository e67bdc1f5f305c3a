"""A real dockerd with everything of its own: socket, data, an image made from busybox. No registry, no network."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
from contextlib import suppress
from pathlib import Path

from airflow_enterprise_orch.systems.container.engine import EngineSystem
from airflow_enterprise_orch.systems.container.settings import EngineSettings

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
IMAGE = "lab/tools:1"


def missing() -> str:
    """Return why there can be no engine here, "" when there can."""
    if os.geteuid() != 0:
        return "a real dockerd needs root"
    for program, package in (("dockerd", "docker.io"), ("docker", "docker.io"), ("busybox", "busybox-static")):
        if shutil.which(program, path=PATH) is None:
            return f"no {program} here (apt-get install {package})"
    return ""


def unmount_below(*places: Path) -> None:
    """Undo what a killed dockerd left mounted: its data directory onto itself, and network namespaces."""
    for line in Path("/proc/mounts").read_text().splitlines():
        where = Path(line.split()[1])
        if any(where.is_relative_to(place) for place in places):
            subprocess.run(["umount", "-l", str(where)], check=True)


CONTAINERD = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'


class RealEngine:
    """dockerd with live-restore beside a containerd of its own, as packages run it: killing one leaves the other."""

    def __init__(self, place: Path) -> None:
        self.place = place
        # A socket's path may have 107 characters, and pytest's directories are deep.
        self.run = Path(f"/run/orch-tests-{os.getpid()}")
        self.socket = self.run / "docker.sock"
        self.containerd_socket = self.run / "containerd.sock"
        self.containerd: subprocess.Popen[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def _start_containerd(self) -> None:
        self.run.mkdir(mode=0o700, exist_ok=True)
        (self.place / "containerd.toml").write_text(CONTAINERD)
        command = [
            *("containerd", "--config", str(self.place / "containerd.toml"), "--address", str(self.containerd_socket)),
            *("--root", str(self.place / "containerd"), "--state", str(self.run / "containerd")),
        ]
        with (self.place / "containerd.log").open("ab") as log:
            self.containerd = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PATH": PATH})

    def start(self) -> None:
        """Start it and wait until it answers."""
        if self.containerd is None:
            self._start_containerd()
        command = [
            *("dockerd", "--host", f"unix://{self.socket}", "--data-root", str(self.place / "data")),
            *("--exec-root", str(self.run / "exec"), "--pidfile", str(self.run / "pid"), "--live-restore"),
            *("--containerd", str(self.containerd_socket), "--iptables=false", "--ip6tables=false", "--bridge=none"),
            "--storage-driver=vfs",
        ]
        (self.run / "pid").unlink(missing_ok=True)
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, "PATH": PATH}, start_new_session=True
            )
        while self.docker("version", check=False).returncode != 0:
            if self.process.poll() is not None:
                raise RuntimeError(f"dockerd did not start: {(self.place / 'log').read_text()[-800:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill dockerd, and only it, as the kernel would."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def docker(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the docker command line: an administrator beside us."""
        command = ["docker", "-H", f"unix://{self.socket}", *words]
        return subprocess.run(command, check=check, capture_output=True, text=True, env={**os.environ, "PATH": PATH})

    def make_image(self) -> None:
        """Import an image: busybox and links to it."""
        busybox = Path(shutil.which("busybox", path=PATH) or "")
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            programs = tarfile.TarInfo("bin")
            programs.type, programs.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(programs)
            tar.add(busybox, "bin/busybox")
            for name in (
                "sh",
                "sleep",
                "echo",
                "cat",
                "id",
                "env",
                "true",
                "false",
                "test",
                "tail",
                "yes",
                "head",
                "kill",
            ):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            place = tarfile.TarInfo("tmp")
            place.type, place.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(place)
        command = ["docker", "-H", f"unix://{self.socket}", "import", "-", IMAGE]
        subprocess.run(
            command, input=content.getvalue(), check=True, capture_output=True, env={**os.environ, "PATH": PATH}
        )

    def client(self) -> EngineSystem:
        """Return a client, to be entered."""
        return EngineSystem(EngineSettings("real", socket=str(self.socket), settle=0.5, timeout=30.0))

    def stop(self) -> None:
        """End the containers, then the engine."""
        if self.process is None:
            return
        if self.process.poll() is None:
            ids = self.docker("ps", "-aq", check=False).stdout.split()
            if ids:
                self.docker("rm", "-f", *ids, check=False)
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            self.process.wait()
        if self.containerd is not None:
            self.containerd.terminate()
            self.containerd.wait()
        self._kill_what_is_left()
        unmount_below(self.run, self.place)
        shutil.rmtree(self.run, ignore_errors=True)

    def _kill_what_is_left(self) -> None:
        """Kill the shims of containers that a failed test left: processes that name our own directory."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(word.startswith(os.fsencode(self.run) + b"/") for word in words):
                    os.kill(int(entry.name), signal.SIGKILL)
