"""A job as files: what is to be done travels as it is, in a tar archive, and is never part of any command line."""

from __future__ import annotations

import io
import tarfile
import time
from typing import TYPE_CHECKING

from airflow_enterprise_orch.systems.unix import far_side

if TYPE_CHECKING:
    from airflow_enterprise_orch.systems.unix.steps import UnixScript


def archive(work: UnixScript) -> bytes:
    """Return the job's files as a tar archive (POSIX ustar); ``complete`` comes last and proves the rest."""
    if work.script is not None:
        script, args = work.script, list(work.args)
    else:
        script, args = 'exec "$@"\n', [work.command or "", *work.args]
    files: dict[str, str] = {
        "launch": far_side.LAUNCH,
        "run": far_side.RUN,
        "interpreter": work.interpreter + "\n",
        "directory": (work.directory or "") + "\n",
        "script": script if script.endswith("\n") else script + "\n",
        **{f"args/{number:05d}": value for number, value in enumerate(args)},
        **{f"env/{name}": value for name, value in work.env.items()},
        "complete": "",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in ("args", "env"):
            tar.addfile(_member(folder, tarfile.DIRTYPE, 0o700))
        for name, text in files.items():
            data = text.encode()
            member = _member(name, tarfile.REGTYPE, 0o600)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, mode, int(time.time())
    return member
