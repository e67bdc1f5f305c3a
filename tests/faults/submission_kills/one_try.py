"""One try of a delegated step, in the process that was forked for it: the operator as it is, and points to die at.

What it is told (its ``spec``) is plain JSON:

- ``stage``: ``execute``, ``wait``, ``collect`` or ``answered``, with that stage's arguments in ``given``;
- ``system`` (see :mod:`.systems`), ``step``, ``work``, ``rules``, ``connection`` (Airflow's JSON): what the step is;
- ``store``, ``owner``, ``try_number``, ``max_tries``: the task instance as Airflow sees it;
- ``at``: per point what to do there: ``kill``, ``stop`` (and wait to be told), ``sigterm``, or what becomes of the
  next write: ``refuse_write``, ``refuse_written`` (it lands, and the answer is an error), ``stall_write`` (it lands
  later, and this process is dead by then);
- ``mutation``: what of the package to break, see :mod:`.mutations`.

It reports one JSON line per point, per thing that it says to people, and one that tells Airflow how it ended.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from . import fast_time, mutations
from .store import Store
from .systems import SYSTEMS

CONNECTION = "killed_conn"
DAG, RUN, TASK = "kills", "run-1", "step"
LOOKED_AT = 3.0
"""Fast seconds after which a trigger that waits is struck: it has polled by then."""

LATER = (
    "_strptime",
    "airflow.sdk.execution_time.hitl",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "anyio._backends._asyncio",
    "asgiref.sync",
    "encodings.idna",
    "multiprocessing.reduction",
    "sniffio",
)
"""What a try would import on its way, half of its time, beside its system's clients."""


def prepare() -> None:
    """Import and patch everything once, before any try is forked."""
    logging.disable(logging.CRITICAL)
    from airflow_enterprise_orch.delegation import polling

    polling.utc_now = fast_time.now  # before others take it from there
    from airflow_enterprise_orch.delegation import operator, trigger, turns, waiting
    from airflow_enterprise_orch.delegation.system import step_types

    for module in (operator, trigger, waiting):
        if hasattr(module, "utc_now"):
            module.utc_now = fast_time.now
    operator.SystemClock = fast_time.FastClock  # type: ignore[misc,assignment]
    trigger.MIN_WAIT = timedelta(0)
    turns.PATIENCE /= fast_time.RATE  # a zombie may be stopped while it has the turn to log in
    asyncio.run = fast_time.run
    for registration, kind in step_types().values():
        kind.work_model()
        kind.operator_class()
        import_module(registration.opener.partition(":")[0])
        for name in registration.clients:
            import_module(name)
    for name in LATER:
        import_module(name)
    for adapt in dict.fromkeys(about.prepare for about in SYSTEMS.values()):  # once, for all ways into a system
        adapt()


class Process:
    """This process: its reports, its points, and its task state store."""

    def __init__(self, spec: dict[str, Any], reports: int) -> None:
        self.spec = spec
        self.store = Store(Path(spec["store"]))
        self.at = dict(spec["at"])
        self.write_fate = ""
        self.killed: Callable[[], None] = lambda: None
        self._reports = reports

    def report(self, **event: Any) -> None:
        os.write(self._reports, json.dumps({"t": time.time(), **event}, default=str).encode() + b"\n")

    def say(self, line: str, *values: Any) -> None:
        self.report(say=line % values if values else line)

    def reached(self, point: str) -> None:
        """Report a point, and do there what the plan says."""
        self.report(at=point)
        for act in self.at.pop(point, ()):
            if act == "kill":
                self.die()
            elif act == "stop":
                self.stop(point)
            elif act == "sigterm":
                self.killed()
            else:
                self.write_fate = act

    def stop(self, point: str) -> None:
        self.report(stopped=point)
        os.kill(os.getpid(), signal.SIGSTOP)

    def die(self) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody survives that")

    # Airflow's accessor of the task state store.

    def get(self, key: str, default: Any = None) -> Any:
        value = self.store.get(self.spec["owner"], key)
        return default if value is None else value

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        fate, self.write_fate = self.write_fate, ""
        if fate == "stall_write":
            self.report(stalled=key)
            self.store.set(self.spec["owner"], key, value, under_way=True)
            self.die()
        if fate:
            self.report(refused=True)
        if fate == "refuse_write" or not self.store.set(self.spec["owner"], key, value):
            raise _refused(500 if fate else 404)
        if fate == "refuse_written":
            raise _refused(500)


def _refused(status: int) -> Exception:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    return AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": status}))


def live(spec: dict[str, Any], reports: int) -> None:
    """Be one try, from its first line to what it tells Airflow."""
    process = Process(spec, reports)
    process.report(pid=os.getpid())
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  libraries tell of cut connections there
    os.dup2(sys.stderr.fileno(), 1)  # and of logins here, where a worker tells how its cases went
    fast_time.begin(spec["began"])
    random.seed(spec["seed"])
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps(spec["connection"])
    _patch(process)
    mutations.apply(spec["mutation"])
    if spec["stage"] == "wait":
        process.report(**asyncio.run(_wait(process)))
    else:
        process.report(**_work(process))


def _patch(process: Process) -> None:
    """Put the case's store, questions and points in the place of Airflow's."""
    from airflow.sdk import Variable
    from airflow.sdk.execution_time import hitl
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from airflow_enterprise_orch.delegation.operator import DelegateOperator
    from airflow_enterprise_orch.delegation.trigger import DelegateTrigger

    def variable(name: str, default: Any = None, deserialize_json: bool = False) -> Any:
        value = process.store.variable(name)
        return default if value is None else value

    def keep(name: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        process.store.keep_variable(name, value)

    def states(**_asked: Any) -> dict[str, Any]:
        state = process.store.state()
        return {RUN: {TASK: state}} if state else {}

    Variable.get = staticmethod(variable)  # type: ignore[method-assign]
    Variable.set = staticmethod(keep)  # type: ignore[method-assign,assignment]
    hitl.upsert_hitl_detail = lambda **question: process.report(question=question["body"])
    RuntimeTaskInstance.get_task_states = staticmethod(states)  # type: ignore[method-assign]
    said = SimpleNamespace(info=process.say, warning=process.say, error=process.say, debug=lambda *_: None)
    DelegateOperator.log = property(lambda _self: said)  # type: ignore[assignment,method-assign]
    DelegateTrigger.log = property(lambda _self: said)  # type: ignore[assignment,method-assign]
    original = DelegateOperator._reached

    def reached(self: DelegateOperator, point: str) -> None:
        process.killed = self.on_kill
        process.reached(point)
        original(self, point)

    DelegateOperator._reached = reached  # type: ignore[method-assign]
    about = SYSTEMS[process.spec["system"]]
    about.adapt()
    _listen_to(process, about.client_class)


def _listen_to(process: Process, system: Any) -> None:
    """Report when a system is asked for a key, and what came of a submit; ``sent`` is a point before anybody knows."""
    find, submit, declared = system.find, system.submit, system.capabilities.fget

    async def found(self: Any, key: str) -> Any:
        process.report(find=key)
        return await find(self, key)

    async def submitted(self: Any, work: Any, key: str) -> Any:
        capabilities = declared(self)
        process.report(submit=key, declares=[capabilities.protection, capabilities.settle.total_seconds()])
        answer = "answered"
        try:
            return await submit(self, work, key)
        except Exception as error:
            answer = type(error).__name__
            raise
        finally:
            process.report(submitted=key, answer=answer)
            process.reached("sent")

    system.find, system.submit = found, submitted


def _context(process: Process) -> dict[str, Any]:
    spec = process.spec
    ti = SimpleNamespace(
        id=spec["owner"],
        dag_id=DAG,
        run_id=RUN,
        task_id=TASK,
        map_index=-1,
        try_number=spec["try_number"],
        max_tries=spec["max_tries"],
        xcom_push=lambda key, value: None,
    )
    return {"ti": ti, "task_instance": ti, "task_state_store": process}


def make_operator(spec: dict[str, Any]) -> Any:
    """Make the operator, as every process parses its DAG anew."""
    from airflow_enterprise_orch.delegation.system import step_type

    _, kind = step_type(spec["step"])
    return kind.operator_class().from_step(
        task_id=TASK, step=spec["step"], connection=CONNECTION, work=dict(spec["work"]), retry=spec["rules"]
    )


def _work(process: Process) -> dict[str, Any]:
    """Run a stage that a worker runs; return what it tells Airflow."""
    from airflow.sdk.exceptions import (
        AirflowFailException,
        AirflowRescheduleException,
        AirflowSkipException,
        TaskAwaitingInput,
        TaskDeferred,
    )

    from airflow_enterprise_orch.errors import OrchestrationError

    operator, given = make_operator(process.spec), process.spec["given"]
    try:
        value = getattr(operator, process.spec["stage"])(_context(process), **given)
    except TaskDeferred as deferred:
        told = {"told": "deferred", "trigger": deferred.trigger.serialize()[1]}
    except TaskAwaitingInput as asked:
        told = {"told": "awaiting_input", "given": dict(asked.kwargs or {})}
    except AirflowFailException as error:
        told = {"told": "failed", "message": str(error)}
    except AirflowSkipException as error:
        told = {"told": "skipped", "message": str(error)}
    except AirflowRescheduleException as error:
        told = {"told": "rescheduled", "message": str(error)}
    except OrchestrationError as error:
        told = {"told": "retry", "message": f"{type(error).__name__}: {error}"}
    except Exception as error:
        # Nothing of that kind should come out of the package: the verdict takes it for a defect.
        told = {"told": "retry", "message": f"{type(error).__name__}: {error}", "crash": True}
    else:
        told = {"told": "success", "value": value}
    if told["told"] == "deferred":
        process.reached("before_defer")
    return told


async def _wait(process: Process) -> dict[str, Any]:
    """Be a triggerer's process with this one wait; return its event, or that it went away without one."""
    from airflow_enterprise_orch.delegation.trigger import DelegateTrigger

    trigger = DelegateTrigger(**json.loads(json.dumps(process.spec["given"]["trigger"])))

    async def run() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("the trigger ended without an event")

    task = asyncio.create_task(run())
    struck = process.at.get("waiting")
    if struck:
        await asyncio.wait([task], timeout=LOOKED_AT)
        if not task.done():
            process.reached("waiting")
            if process.spec["then"] == "on_kill":
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                await trigger.on_kill()
                return {"told": "moved"}
    return {"told": "event", "event": await task}
