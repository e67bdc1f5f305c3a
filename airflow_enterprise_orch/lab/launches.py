"""The independent record of what a UNIX host really launched: a ``setsid`` that writes itself down.

It does not trust the client of the host: whatever that believes, each execution is one line of a journal.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

SHIM = """#!{python} -IS
# The lab's setsid: writes down that it was run, then becomes the real one. One write to a file opened for appending,
# so that launches at the same moment do not mix.
import json, os, secrets, sys, time
launch = secrets.token_hex(8)
program = next((word for word in sys.argv[1:] if word.endswith("/run")), "")
directory = os.path.dirname(program)
submit = os.environ.pop("ENTERPRISE_ORCH_LAB_SUBMIT", "")
fates = json.loads(os.environ.pop("ENTERPRISE_ORCH_LAB_FATES", "[]"))
line = dict(time=time.time(), argv=sys.argv[1:], cwd=os.getcwd(), pid=os.getpid(), launch=launch, directory=directory,
            submit=submit)
body = ""
for fate in fates:
    if fate["do"] == "fail":
        body += "echo 'lab: this job was told to fail'; exit 1\\n"
    elif fate["do"] == "abend":
        body += "echo 'lab: this job was told to break'; kill -9 $$\\n"
    elif fate["do"] == "run":
        body = "sleep %s\\n" % fate["seconds"] + body
    elif fate["do"] == "purge":
        line["purge"] = True
if body:
    with open(directory + "/interpreter") as file:
        interpreter = file.read().strip()
    os.rename(directory + "/script", directory + "/script.told")
    with open(directory + "/script", "w") as file:
        file.write(body + 'exec "$ENTERPRISE_ORCH_LAB_INTERPRETER" "$0.told" "$@"\\n')
    with open(directory + "/interpreter", "w") as file:
        file.write("/bin/sh\\n")
    os.environ["ENTERPRISE_ORCH_LAB_INTERPRETER"] = interpreter
os.environ["ENTERPRISE_ORCH_LAB_LAUNCH"] = launch
journal = os.open({journal!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(journal, (json.dumps(line) + "\\n").encode())
os.close(journal)
os.execv({setsid!r}, ["setsid", *sys.argv[1:]])
"""


def install(shims: Path, journal: Path) -> None:
    """Make the directory ``shims``, to come first on the host's PATH, with a setsid that writes to ``journal``."""
    setsid = shutil.which("setsid")
    if setsid is None:
        raise RuntimeError("the lab's SSH host needs the program setsid (util-linux) on PATH")
    shims.mkdir()
    program = shims / "setsid"
    program.write_text(SHIM.format(python=sys.executable, journal=str(journal), setsid=setsid))
    program.chmod(0o700)


def read(journal: Path) -> list[dict[str, Any]]:
    """Return the launches of jobs, oldest first; other uses of setsid are none."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [line for line in map(json.loads, lines) if line["directory"]]
