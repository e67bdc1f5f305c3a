"""A step that is another value stream: started once, waited for without a worker, read when it ends.

It is a delegated step whose system is this Airflow: the ledger, the retry rules, holds and the batched polling are
those of all delegated steps.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_enterprise_orch.delegation.completing import checked_step_outputs
from airflow_enterprise_orch.delegation.operator import ConnectedSite, DelegateOperator
from airflow_enterprise_orch.delegation.outcome import OutcomeRules, OutputRule
from airflow_enterprise_orch.delegation.system import StepType, SystemRegistration
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger
from airflow_enterprise_orch.errors import OutputMissing
from airflow_enterprise_orch.restricted_jinja import render_tree
from airflow_enterprise_orch.value_stream.airflow_streams import BUSINESS_KEY, RUN_ID, AirflowStreams, Parent
from airflow_enterprise_orch.value_stream.handed_on import value_itself

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.conduct_types import Site
    from airflow_enterprise_orch.delegation.ledger_store import LedgerStore
    from airflow_enterprise_orch.delegation.system import RemoteSystem

STREAM_STEP = "stream"

REGISTRATION = SystemRegistration(
    name="airflow",
    stack="Value streams",
    connection_type="",
    opener=f"{__name__}:watched",
    steps=(
        StepType(
            name=STREAM_STEP,
            title="Value stream",
            work="airflow_enterprise_orch.value_stream.airflow_streams:StreamWork",
            operator=f"{__name__}:StreamStep",
            output_key="source",
        ),
    ),
)
"""This Airflow as a system. It is not among those that packages bring: it has no connection."""


@asynccontextmanager
async def watched(_connection: str) -> AsyncIterator[AirflowStreams]:
    """Open the streams of this Airflow for a trigger, whose event loop must not wait for an answer."""
    from airflow.sdk.execution_time import task_runner
    from asgiref.sync import sync_to_async

    yield AirflowStreams(sync_to_async(lambda message: task_runner.SUPERVISOR_COMMS.send(message)))


@dataclass(frozen=True, slots=True)
class ChildValue(OutputRule):
    """One value of the other instance, taken as it is."""

    def extract(self, text: str, job: str) -> Any:
        """Return the value, None of a step that did not run; :raises OutputMissing: when it is of another type."""
        value = json.loads(text)
        if value is None:
            return None
        right = {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        }
        if not right[self.type]:
            raise OutputMissing(
                f"{job}: output {self.name!r} ({self.source}) is {text:.60}, which is no {self.type}; correct the "
                f"template and clear the step to read it once more"
            )
        return value


class StreamTrigger(DelegateTrigger):
    """Waits for the end of one instance of another stream."""

    def registration(self) -> SystemRegistration:
        """Return this Airflow."""
        return REGISTRATION


class StreamStep(DelegateOperator):
    """Starts another value stream, waits for it without a worker slot, and brings its values home.

    :param run: the other stream.
    :param params: what it is started with; a text that is one value, ``{{ params.amount }}``, hands that value on with
        its type.
    :param outputs: by name ``{"step": ..., "value": ..., "type": ...}``.
    :param retry: rules for starting another instance when one failed.
    :param time_limit: seconds after which the step fails; the instance goes on.
    :param stream: what ``params`` may see.
    """

    cancels: ClassVar[bool] = False
    trigger_class = StreamTrigger

    def __init__(
        self,
        *,
        run: str,
        given: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        work = {"run": run, "params": dict(given or {})}
        super().__init__(step=STREAM_STEP, connection="", work=work, outputs=outputs, stream=stream or {}, **kwargs)

    def _fill_in(self, names: Mapping[str, Any]) -> None:
        given = {name: _handed_on(value, names) for name, value in self.work["params"].items()}
        self.work = {**self.work, "params": given}
        self._business_key = ""  # what it leaves under this name is the other instance's

    def kind(self) -> tuple[SystemRegistration, StepType]:
        """Return this Airflow."""
        return REGISTRATION, REGISTRATION.steps[0]

    def checked_rules(self, consequence: str) -> tuple[OutcomeRules, list[OutputRule]]:
        """Return what is read of an ended instance."""
        rules: list[OutputRule] = [ChildValue("run_id", RUN_ID, ""), ChildValue("business_key", BUSINESS_KEY, "")]
        rules += [
            ChildValue(name, f"{output['step']}.{output['value']}", "", output.get("type", "string"))
            for name, output in self.outputs.items()
        ]
        return OutcomeRules(), rules

    def completed(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a person gave as the values of the other instance."""
        from airflow_enterprise_orch.value_stream.model_types import STREAM_FACTS  # no other start of a task needs it

        _, kind = self.kind()
        return {"run_id": None, "business_key": None, **checked_step_outputs(given, self.outputs, kind, STREAM_FACTS)}

    def _called(self) -> str:
        return f"{STREAM_STEP} {self.work['run']}"

    def _site(self, context: Context, store: LedgerStore) -> Site:
        return _StreamSite(self, store.cells, context, store)


@dataclass(frozen=True)
class _StreamSite(ConnectedSite):
    """This Airflow, from within a task."""

    context: Context
    store: LedgerStore

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RemoteSystem]:
        ti = self.context["ti"]
        parent = Parent(ti.dag_id, ti.run_id, ti.task_id)
        yield AirflowStreams(_ask_now, self.operator.work["run"], parent, self.store.ledger.attempts)


async def _ask_now(message: Any) -> Any:
    """Ask from within a task, which has nothing else to do meanwhile."""
    from airflow.sdk.execution_time import task_runner

    return task_runner.SUPERVISOR_COMMS.send(message)


def _handed_on(value: Any, names: Mapping[str, Any]) -> Any:
    """Return a param of the other stream with its texts filled in."""
    path = value_itself(value)
    if path is None:
        return render_tree(value, names)
    render_tree(value, names)  # a name without a value is the same error everywhere
    found: Any = names
    for part in path:
        found = found[part]
    return found
