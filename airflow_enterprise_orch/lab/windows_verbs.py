"""What our PowerShell files do, done in Python: the lab has no PowerShell.

A script is recognised by the SHA-256 of its whole text. One that differs in a single character is not run. So this
proves the client, its protocol and its decisions; it does not prove that the PowerShell does what its Python twin does.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.lab.windows_host import USER, encoded, stamp
from airflow_enterprise_orch.lab.windows_scheduler import (
    ALREADY_RUNNING,
    IGNORE_NEW,
    STOP_EXISTING,
    Event,
    Instance,
    SchedulerError,
    State,
    Task,
)
from airflow_enterprise_orch.systems.windows import powershell

if TYPE_CHECKING:
    from airflow_enterprise_orch.lab.stand_in import Fault
    from airflow_enterprise_orch.lab.windows_host import WindowsHost

OPERATIONS: Mapping[str, str] = {
    "claim": "submit",
    "start_existing": "submit",
    "start": "release",
    "adopt": "release",
    "look": "poll",
    "cancel": "cancel",
    "read_log": "output",
    "check": "any",
    "clean": "any",
}
"""The operation of each verb, as faults name it; a ``look`` for one key with the purpose ``find`` is ``find``."""
REFUSALS = (0x80041326, 0x8004131F, 0x80070005, 0x80070002, 0x800710E0)


class UnknownScript(LookupError):
    """A script that is none of ours: the lab cannot run PowerShell."""


def recognise(text: str) -> str:
    """Return the verb whose text this is; :raises UnknownScript: for every other text."""
    for verb in powershell.VERBS:
        if powershell.script(verb) == text:
            return verb
    raise UnknownScript("the lab runs no PowerShell: it knows the scripts of this package only, by their whole text")


def operation(verb: str, values: Mapping[str, Any]) -> str:
    """Return the operation as faults name it."""
    return "find" if verb == "look" and values.get("Purpose") == "find" else OPERATIONS[verb]


class Verbs:
    """Runs the verbs on one host.

    :ivar start_dies: ``before`` or ``after``: the next start of an existing task dies right before, or right after the
        task was started, and before its GUID was written down.
    """

    def __init__(self, host: WindowsHost, fates: Callable[[str], list[Fault]]) -> None:
        self._host = host
        self._fates = fates
        self.start_dies = ""

    def run(self, verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a verb's answer."""
        root = str(values["Root"])
        doing: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
            "claim": self._claim,
            "start": self._start,
            "start_existing": self._start_existing,
            "look": self._look,
            "adopt": self._adopt,
            "cancel": self._cancel,
            "read_log": self._read_log,
            "check": self._check,
            "clean": self._clean,
        }
        return doing[verb](root, values)

    def _claim(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        host, key = self._host, str(values["Key"])
        due = f"{root}\\.cleaned" not in host.files
        answer = {"v": 1, "key": key, "state": "claimed", "message": "", "due": due}
        if root not in host.folders:
            return {**answer, "state": "noroot"}
        if host.is_folder(f"{root}\\{key}") or f"{root}\\ended\\{key}.json" in host.files:
            return {**answer, "state": "exists"}
        if str(values["Runner"]) != powershell.script("run"):
            raise UnknownScript("the action of an own task is not run.ps1 of this package")
        host.files[f"{root}\\{key}\\job.json"] = str(values["Job"]).encode()
        host.files[f"{root}\\{key}\\run.ps1"] = str(values["Runner"]).encode()
        host.fates[key] = self._fates(f"{key} {values['Job']}")
        host.handed_over(key, key, key)
        return answer

    def _start(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        host, key = self._host, str(values["Key"])
        directory = f"{root}\\{key}"
        answer = {"v": 1, "key": key, "state": "started", "code": 0, "message": "", "guid": ""}
        if f"{directory}\\run.ps1" not in host.files:
            return {**answer, "state": "none"}
        if f"{directory}\\started.json" in host.files:
            return answer
        path = f"{values['Folder']}\\{key}"
        try:
            account = str(values.get("User") or USER)
            if account.lower().startswith("nosuch"):
                raise SchedulerError(0x80070534, "No mapping between account names and security IDs was done.")

            async def action(instance: Instance) -> int:
                return await host.run_action(directory, instance)

            if path.lower() not in host.scheduler.tasks:
                host.scheduler.register(Task(path, action, IGNORE_NEW, account=account))
            instance = host.scheduler.run(host.scheduler.task(path), USER)
        except SchedulerError as error:
            if error.code == ALREADY_RUNNING:  # another starter was faster
                return answer
            return {**answer, "state": "error", "code": _signed(error.code), "message": str(error)}
        answer["guid"] = f"{{{instance.guid.upper()}}}" if instance else ""
        host.files[f"{directory}\\asked.json"] = encoded({"v": 1, "guid": answer["guid"], "at": stamp()})
        return answer

    def _start_existing(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        host, key, path = self._host, str(values["Key"]), str(values["Path"])
        directory, scheduler = f"{root}\\{key}", self._host.scheduler
        answer: dict[str, Any] = {"v": 1, "key": key, "state": "started", "code": 0, "message": "", "guid": ""}
        if root not in host.folders:
            return {**answer, "state": "noroot"}
        if f"{directory}\\intent.json" in host.files or f"{root}\\ended\\{key}.json" in host.files:
            return {**answer, "state": "exists"}
        try:
            task = scheduler.task(path)
        except SchedulerError as error:
            message = f"the task cannot be read: {error}"
            return {**answer, "state": "refused", "code": _signed(error.code), "message": message}
        if not task.enabled:
            return {**answer, "state": "refused", "message": "the task is disabled"}
        if not task.allow_demand:
            return {**answer, "state": "refused", "message": "the task does not allow to be started on demand"}
        if task.policy == STOP_EXISTING:
            return {**answer, "state": "refused", "message": "the task stops its running instance"}
        if task.policy == IGNORE_NEW and task.state in (State.RUNNING, State.QUEUED):
            return {**answer, "state": "busy", "message": "an instance of the task runs already"}
        log = scheduler.log
        host.files[f"{directory}\\intent.json"] = encoded(
            {
                "v": 1,
                "path": path,
                "record": (log.newest or 0) if log.enabled else 0,
                "anchor": _time(log.records[-1]) if log.enabled and log.records else "",
                "log": log.enabled,
                "at": stamp(),
                "user": USER,
                "boot": scheduler.boot.isoformat(),
                "policy": task.policy,
            }
        )
        dies, self.start_dies = self.start_dies, ""
        if dies == "before":
            raise StarterDied
        host.fates[path.lower()] = self._fates(f"{key} {path}")
        try:
            instance = scheduler.run(task, USER, tuple(values.get("Values") or ()))
        except SchedulerError as error:
            answer |= {"state": "failed", "code": _signed(error.code), "message": str(error)}
            if error.code in REFUSALS:
                answer["state"] = "refused"
                result = {"v": 1, "ending": "rejected", "code": _signed(error.code), "message": str(error)}
                host.files[f"{directory}\\result.json"] = encoded({**result, "at": stamp()})
            return answer
        if instance is None:
            return {**answer, "state": "failed", "message": "Task Scheduler named no instance"}
        host.handed_over(key, instance.guid, path)
        if dies == "after":
            raise StarterDied
        answer["guid"] = f"{{{instance.guid.upper()}}}"
        host.files[f"{directory}\\started.json"] = encoded(
            {"v": 1, "guid": answer["guid"], "at": stamp(), "adopted": ""}
        )
        return answer

    def _look(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        scheduler = self._host.scheduler
        answer: dict[str, Any] = {
            "v": 1,
            "state": "seen",
            "message": "",
            "now": "",
            "boot": "",
            "log": None,
            "jobs": [],
        }
        if root not in self._host.folders:
            return {**answer, "state": "noroot"}
        log: dict[str, Any] = {"enabled": scheduler.log.enabled, "oldest": None, "newest": None}
        if scheduler.log.enabled:
            log |= {"oldest": scheduler.log.oldest, "newest": scheduler.log.newest}
        jobs = [self._job(root, str(values["Folder"]), str(key)) for key in values["Keys"]]
        return {**answer, "now": stamp(), "boot": scheduler.boot.isoformat(), "log": log, "jobs": jobs}

    def _job(self, root: str, folder: str, key: str) -> dict[str, Any]:
        host, scheduler = self._host, self._host.scheduler
        directory = f"{root}\\{key}"
        job: dict[str, Any] = {
            "key": key,
            "mode": "none",
            "locked": f"{directory}\\intent.json" in host.open_files,
            "begun": f"{directory}\\started.json" in host.files,
            "task_state": None,
            "last_result": None,
            "live": None,
            "alive": None,
            "events": [],
            "triggered": [],
            "anchor": "",
        }
        own = scheduler.tasks.get(f"{folder}\\{key}".lower())
        if own is not None:
            job |= {"task_state": int(own.state), "last_result": _signed(own.last_result)}
        for name in ("intent", "asked", "started", "process", "cancel", "result"):
            job[name] = host.words(f"{directory}\\{name}.json")
        if f"{directory}\\job.json" in host.files:
            job["mode"] = "own"
        elif job["intent"] is not None:
            job["mode"] = "task"
        else:
            job["ended"] = host.words(f"{root}\\ended\\{key}.json")
            job["mode"] = "ended" if job["ended"] else "broken" if host.is_folder(directory) else "none"
        if job["mode"] == "own" and job["result"] is None and job["process"] is not None:
            process = host.processes.get(int(job["process"]["pid"]))
            job["alive"] = process is not None and process.born == job["process"]["born"]
        if job["mode"] == "task":
            self._existing(job)
        return job

    def _existing(self, job: dict[str, Any]) -> None:
        scheduler, intent = self._host.scheduler, job["intent"]
        if job["started"] is not None:
            guid = str(job["started"]["guid"]).strip("{}").lower()
            live = {instance.guid: int(instance.state) for instance in scheduler.running()}
            job["live"] = live.get(guid)
            if job["live"] is None and scheduler.log.enabled:
                job["events"] = [_told(event) for event in scheduler.log.records if event.activity == guid]
        elif scheduler.log.enabled and intent["log"]:
            anchor = [_time(event) for event in scheduler.log.records if event.record == intent["record"]]
            job["anchor"] = anchor[0] if anchor else ""
            job["triggered"] = [
                _told(event)
                for event in scheduler.log.records
                if event.id in (100, 110) and event.record > intent["record"] and event.task == intent["path"]
            ]
        task = scheduler.tasks.get(str(intent["path"]).lower())
        job["task_state"] = int(task.state) if task else None

    def _adopt(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        key, guid = str(values["Key"]), str(values["Guid"])
        content = json.dumps({"v": 1, "guid": guid, "at": stamp(), "adopted": str(values["Reason"])})
        state = "adopted" if self._host.create(f"{root}\\{key}\\started.json", content) else "exists"
        for job in self._host.journal:
            if job.id == guid and not job.key:
                job.key = key
        return {"v": 1, "key": key, "state": state, "message": ""}

    def _cancel(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        host, key, ending = self._host, str(values["Key"]), str(values["Ending"])
        directory = f"{root}\\{key}"
        answer = {"v": 1, "key": key, "state": "asked", "message": ""}
        words = encoded({"v": 1, "at": stamp()})
        if f"{directory}\\result.json" in host.files:
            return {**answer, "state": "ended"}
        if f"{directory}\\job.json" in host.files:
            if ending == "cancelled":
                host.files[f"{directory}\\cancel.json"] = words
            if not host.create(f"{directory}\\started.json", ""):
                return answer
            result = {"v": 1, "ending": ending, "code": None, "message": str(values.get("Message") or "")}
            host.files[f"{directory}\\result.json"] = encoded(
                {**result, "cancelled": ending == "cancelled", "at": stamp()}
            )
            host.stopped(key)
            return {**answer, "state": "sealed"}
        begun = host.words(f"{directory}\\started.json")
        if begun is not None:
            guid = str(begun["guid"]).strip("{}").lower()
            us = str((host.words(f"{directory}\\intent.json") or {}).get("user"))
            starters = [
                event.user
                for event in host.scheduler.log.records
                if not begun["adopted"]
                and host.scheduler.log.enabled
                and event.id == 110
                and event.activity == guid
                and event.user
            ]
            for instance in host.scheduler.running():
                if instance.guid == guid and starters and us.lower() not in (user.lower() for user in starters):
                    return {**answer, "state": "unknown", "message": f"{starters[-1]} started the instance"}
                if instance.guid == guid:
                    host.files[f"{directory}\\cancel.json"] = words
                    host.scheduler.stop(instance, USER)
                    host.stopped(guid)
                    return answer
            return {**answer, "state": "gone"}
        return {**answer, "state": "unknown" if f"{directory}\\intent.json" in host.files else "none"}

    def _read_log(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        directory = f"{root}\\{values['Key']}"
        answer = {"v": 1, "key": str(values["Key"]), "state": "read", "message": "", "out": "", "err": ""}
        if f"{directory}\\job.json" not in self._host.files:
            return {**answer, "state": "none"}
        limit = int(values.get("Limit", 65536))
        for name, offset in (("out", int(values.get("Out", 0))), ("err", int(values.get("Err", 0)))):
            data = self._host.files.get(f"{directory}\\{name}.log", b"")
            begin = max(0, len(data) - limit) if values.get("Tail") else offset
            answer[name] = base64.b64encode(data[begin : begin + limit]).decode()
        return answer

    def _check(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "v": 1,
            "state": "checked",
            "message": "",
            "user": USER,
            "administrator": self._host.administrator,
            "powershell": "5.1.20348.2849",
            "log": self._host.scheduler.log.enabled,
            "root": root in self._host.folders,
        }

    def _clean(self, root: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Remove what has ended; the lab's files have no age, so every number of days but 0 keeps them."""
        host, cleaned = self._host, 0
        host.files[f"{root}\\.cleaned"] = stamp().encode()
        for path in [name for name in host.files if name.endswith("\\result.json")]:
            directory = path.removesuffix("\\result.json")
            if int(values["Days"]) == 0:
                key = directory.rpartition("\\")[2]
                host.files[f"{root}\\ended\\{key}.json"] = host.files[path]
                host.scheduler.delete(f"{values['Folder']}\\{key}")
                host.remove(directory)
                cleaned += 1
        return {"v": 1, "state": "cleaned", "message": "", "count": cleaned}


class StarterDied(Exception):
    """The script was killed half way, as a test told the lab."""


def _told(event: Event) -> dict[str, Any]:
    code = None if event.code is None else str(event.code)
    return {
        "id": event.id,
        "record": event.record,
        "at": _time(event),
        "task": event.task,
        "user": event.user or None,
        "code": code,
        "guid": event.instance,
    }


def _time(event: Event) -> str:
    return event.at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def _signed(code: int) -> int:
    return code - (1 << 32) if code & 0x80000000 else code
