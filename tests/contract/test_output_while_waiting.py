"""What a job writes reaches the log of the task that waits for it, on every system."""

from __future__ import annotations

from contract_world import World
from subjects import OTHER_STEP

LIVE = {
    "unix": {"script": "printf '\\033[1mfirst line\\n'; printf 'half'; sleep 9; echo ' and half'; sleep 2"},
    "mainframe": {"jcl": "//LIVE JOB (ACCT),'LIVE',CLASS=A,MSGCLASS=H\n//STEP1 EXEC PGM=LABPROG,PARM='RC=0,SLEEP=9'"},
    "windows": {"program": r"C:\Lab\LabProg.exe", "arguments": ["SAY=first line", "SLEEP=9"]},
    "container": {"image": "lab/tools:1", "command": ["sh", "-c", "echo first line; sleep 9; echo last line"]},
    "sap": {"program": "ZLABPROG", "parameters": {"P_SAY": "first line", "P_SLEEP": "9"}},
    "sap_odata": {"template": "ZLAB_PROGRAM", "parameters": {"P_SAY": "first line", "P_SLEEP": "9"}},
}
FIRST = {"unix": "\\x1b[1mfirst line", "mainframe": "IEF403I LIVE", "container": "first line"}
LIVE["mainframe_scheduler"] = {"folder": "LAB", "job": "LABJOB", "variables": {"SLEEP": "9"}}
FIRST |= {"mainframe_scheduler": "STARTED AT"}
FIRST |= {"windows": "first line"}
LIVE["fileshare"] = {OTHER_STEP: "fileshare.await", "folder": "samples", "pattern": "ANSWER=*", "stable": "9s"}
FIRST |= {"fileshare": "waiting for 1 file(s) samples/ANSWER=*"}
FIRST |= {"sap": "first line", "sap_odata": "first line"}


def lines_of(world: World, job_id: str) -> list[str]:
    mark = f"{job_id} | "
    return [record.getMessage().removeprefix(mark) for record in world.caplog.records if mark in record.getMessage()]


def test_what_a_job_wrote_is_in_the_log_before_its_end_is(world: World) -> None:
    task = world.task(world.subject.brief)
    trigger = task.submit()
    event = task.wait(trigger)
    lines = lines_of(world, trigger.wait.handle.job_id)
    assert any("ANSWER=42" in line for line in lines)
    assert not any("cannot be read" in line or "not shown" in line for line in lines)
    assert task.collect(event)["rc"] == 0


def test_lines_come_while_the_job_still_runs(world: World) -> None:
    task = world.task(LIVE[world.subject.system])
    trigger = task.submit()
    task.wait(trigger)
    told = [record.getMessage() for record in world.caplog.records]
    first = next(number for number, line in enumerate(told) if FIRST[world.subject.system] in line)
    ended = next(number for number, line in enumerate(told) if line.endswith(": ended"))
    assert first < ended, "the line came only when the job had ended"
    if world.subject.system == "unix":
        assert "half and half" in lines_of(world, trigger.wait.handle.job_id), "a line was torn"
