r"""The PowerShell that runs on the Windows host: one small file per verb, to be read and approved as it is.

Layout, below the job root (``C:\ProgramData\EnterpriseOrch\jobs`` unless the connection says otherwise)::

    <KEY>\                  one job; its name is the delegation key
      job.json run.ps1      own task: what is to be done, and the task's action, which does it
      asked.json            own task: the task was told to run
      intent.json           existing task: whoever created this file may start the task, once
      started.json          own task: the program's one start; existing task: the GUID of our instance
      process.json          own task: the program's process, to be told from another with the same number
      cancel.json           somebody asked for its end
      result.json           how it ended; appears by rename, so it is whole
      out.log err.log       own task: what the program wrote
    ended\<KEY>.json        one file per job whose directory was cleaned away: the key stays taken
    .cleaned                when ended jobs were cleaned away last
    .stage.<TOKEN>\         a job that is being handed over; nobody's job yet

Why every crash point of an own task is safe:

1. ``claim`` writes everything below ``.stage.<TOKEN>`` and renames that to ``<KEY>``. A rename onto a directory that
   exists fails, so of several claims exactly one wins. *Dies before:* nobody looks at a stage again.
2. ``start`` registers the task ``<folder>\<KEY>`` create-only and runs it. *Dies before, or in between:* the key is
   found "claimed, not started", and whoever finds it starts it. Twice is harmless:
3. the action ``run`` creates ``started.json`` anew or ends. So the program starts once, whoever starts the task, and
   however often.
4. It leaves ``result.json``. *Dies without:* the machine was booted again, or neither the action nor the program lives:
   lost. Where the program cannot be told (it has no ``process.json``): unknown.

And of an existing task, which cannot be made to tell our start from another's:

1. ``start_existing`` creates ``intent.json`` anew and keeps it open while it works. Only who created it may start the
   task. *Dies before the start, or right after it:* the intent has no GUID. Exactly one start of that task by our user
   since then in the event log is ours, and is adopted; anything else is unknown, and the task is never started again.
2. It starts the task and writes the GUID of the instance. From then on the instance is told from every other one.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

VERBS = ("adopt", "cancel", "check", "claim", "clean", "look", "read_log", "start", "start_existing")


@cache
def script(name: str) -> str:
    """Return the text of a verb, or of ``run``."""
    return (files(__name__) / f"{name}.ps1").read_text(encoding="ascii")


@cache
def digest(name: str) -> str:
    """Return the SHA-256 of a verb's text, as an administrator approves it."""
    return hashlib.sha256(script(name).encode()).hexdigest()
