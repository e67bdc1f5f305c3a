"""The thin Airflow shell round the submission: every delegated step of every system is this operator.

``execute`` brings the job out and defers; ``collect`` brings its result home; ``answered`` goes on after a person was
asked. All state is in the ledger, so any of them may die at any line and the next try goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, assert_never

from airflow.sdk import BaseOperator, XComArg
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)
from pydantic import ValidationError

from airflow_enterprise_orch.delegation import control, entrance, parking, trigger
from airflow_enterprise_orch.delegation.completing import checked_step_outputs
from airflow_enterprise_orch.delegation.conduct import Conduct
from airflow_enterprise_orch.delegation.conduct_types import (
    Again,
    Asked,
    Done,
    Failed,
    Held,
    Next,
    Site,
    Skipped,
    Wait,
)
from airflow_enterprise_orch.delegation.ledger import RetryRule, TaskTry
from airflow_enterprise_orch.delegation.ledger_store import Cells, LedgerStore
from airflow_enterprise_orch.delegation.obeying import HOLD_LOOK
from airflow_enterprise_orch.delegation.outcome import OutcomeRules, OutputRule
from airflow_enterprise_orch.delegation.polling import utc_now
from airflow_enterprise_orch.delegation.retry import INFRASTRUCTURE_RETRIES, DelegationRetryPolicy, RunAgain
from airflow_enterprise_orch.delegation.submission import SystemClock
from airflow_enterprise_orch.delegation.system import RemoteSystem, StepType, SystemRegistration, step_type
from airflow_enterprise_orch.delegation.task_run import StateStoreCells, told_in_one_line
from airflow_enterprise_orch.delegation.trigger import DelegateTrigger
from airflow_enterprise_orch.errors import OwnershipLost, TemplateError
from airflow_enterprise_orch.expressions import ExpressionError
from airflow_enterprise_orch.instance import visible_names
from airflow_enterprise_orch.restricted_jinja import ITEM, render_tree

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import DAG, Context

    from airflow_enterprise_orch.delegation.work import Work


class DelegateOperator(BaseOperator):
    """Hands one job to a remote system, waits for it without a worker slot, and brings its result home.

    :param step: the step type, as in a template: ``mainframe.job``.
    :param connection: the Airflow connection of the system.
    :param work: what is to be done: the fields of the step type's model. Templated.
    :param outcome: CEL rules ``success`` and ``warning`` over ``rc``, ``code`` and ``ending``.
    :param outputs: values to read from the job's output; by name ``{<source key>: SOURCE, match: regex, type:
        string}``.
    :param retry: rules ``{"on": [kinds], "times": n, "delay": seconds}`` for running a failed job again.
    :param time_limit: seconds from the hand-over after which the job is cancelled and the step fails.
    :param item: of a step that is mapped over a list the item that this one is for.
    :param stream: set by the compiler of value-stream templates: what the restricted Jinja of ``work`` may see. None in
        hand-written DAGs, where ``work`` is rendered by Airflow as usual.

    The task returns ``rc``, ``code``, ``job_id``, ``outcome`` (``success`` or ``warning``), ``system``, ``started``,
    ``ended`` and the outputs. Airflow's own ``execution_timeout`` is refused: it would end the wait, not the job.
    """

    template_fields: Sequence[str] = ("work",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"work": "json"}
    ui_color = "#e8eef7"
    cancels: ClassVar[bool] = True
    """Its jobs can be ended from here."""
    trigger_class: ClassVar[type[DelegateTrigger]] = DelegateTrigger

    def __init__(
        self,
        *,
        step: str,
        connection: str,
        work: Mapping[str, Any],
        outcome: Mapping[str, str] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
        retry: Sequence[Mapping[str, Any]] | None = None,
        time_limit: float | None = None,
        stream: Mapping[str, Any] | None = None,
        item: Any = None,
        **kwargs: Any,
    ) -> None:
        rules = tuple(RetryRule.from_json(rule) for rule in retry or ())
        # Airflow merges a DAG's default_args below this class, so they are looked at here too.
        if {**(kwargs.get("default_args") or {}), **kwargs}.get("execution_timeout") is not None:
            raise ValueError(
                "execution_timeout ends the wait and leaves the job running; use time_limit, which cancels the job"
            )
        kwargs["execution_timeout"] = None  # the site's default ends waits as well
        kwargs.setdefault("retries", INFRASTRUCTURE_RETRIES + sum(rule.times for rule in rules))
        kwargs.setdefault("retry_policy", DelegationRetryPolicy())
        super().__init__(**kwargs)
        self.step = step
        self.connection = connection
        self.work = dict(work)
        self.outcome = dict(outcome or {})
        self.outputs = {name: dict(output) for name, output in (outputs or {}).items()}
        self.retry = [dict(rule) for rule in retry or ()]
        self.time_limit = time_limit
        self.stream = dict(stream) if stream is not None else None
        self.item = item
        self.retry_rules = rules
        self._stopped = False
        self._asked = False
        self._unrendered: TemplateError | None = None
        self._business_key = ""

    @classmethod
    def from_step(cls, **kwargs: Any) -> DelegateOperator:
        """Return the operator of a compiled template's step: the arguments of :class:`DelegateOperator` itself."""
        made = cls.__new__(cls)
        # What Airflow wraps round each __init__ looks up the DAG's defaults; that of BaseOperator does it anyway.
        plain: Callable[..., None] = getattr(DelegateOperator.__init__, "__wrapped__", DelegateOperator.__init__)
        plain(made, **kwargs)
        return made

    @classmethod
    def for_each(cls, dag: DAG, items: str, *, retry: Sequence[Mapping[str, Any]] | None, **kwargs: Any) -> Any:
        """Return the operator mapped over the list that task ``items`` leaves; see :class:`DelegateOperator`."""
        # The scheduler looks at a mapped operator without making one, so what __init__ adds is said here.
        times = sum(RetryRule.from_json(rule).times for rule in retry or ())
        mapped = cls.partial(
            dag=dag,
            retry=retry,
            retries=INFRASTRUCTURE_RETRIES + times,
            retry_policy=DelegationRetryPolicy(),
            execution_timeout=None,
            map_index_template="{{ task.item | string | truncate(100) }}",
            **kwargs,
        )
        return mapped.expand(item=XComArg(dag.get_task(items)))

    # What Airflow calls.

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        """Render ``work``: restricted Jinja in a compiled stream, Airflow's own otherwise.

        Of a mapped operator Airflow calls this and not ``render_template_fields``.
        """
        if self.stream is None:
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
            return
        try:
            names = visible_names(context, self.stream)
            self._business_key = names["business"]["key"]
            self._fill_in(names if self.item is None else {**names, ITEM: self.item})
        except TemplateError as error:
            # Airflow renders before every resume too, and a job that is out there needs no more than its handle.
            self._unrendered = error

    def _fill_in(self, names: Mapping[str, Any]) -> None:
        """Render what is to be done; :raises TemplateError: when a name has no value."""
        self.work = render_tree(self.work, names)

    def execute(self, context: Context) -> Any:
        """Bring the job out, then wait for it."""
        return self._live(context, lambda conduct: conduct.start())

    def collect(self, context: Context, event: dict[str, Any]) -> Any:
        """Bring the result of the ended job home."""
        return self._live(
            context,
            lambda conduct: conduct.collect(
                str(event.get("key")),
                timed_out=bool(event.get("timed_out")),
                elsewhere=str(event.get("elsewhere") or ""),
                look=bool(event.get("look")),
            ),
        )

    def answered(self, context: Context, event: dict[str, Any], asked: list[str], key: str = "") -> Any:
        """Go on with what a person answered."""
        self._asked = True
        return self._live(context, lambda conduct: conduct.answered(event, asked, key))

    def on_kill(self) -> None:
        """Stop before the next step of the hand-over.

        No person has spoken: Airflow calls this also when a pod is evicted. The job is not touched; the next try
        attaches to it.
        """
        self._stopped = True

    # What the conduct is told, and what becomes of its answer.

    def _live(self, context: Context, act: Callable[[Conduct], Coroutine[Any, Any, Next]]) -> Any:
        with told_in_one_line():
            return self._answer(context, asyncio.run(act(self._conduct(context))))

    def _conduct(self, context: Context) -> Conduct:
        ti = context["ti"]
        cells = StateStoreCells(context["task_state_store"])
        store = LedgerStore(cells, TaskTry(ti.try_number, ti.max_tries, self.retries or 0))
        return Conduct(
            name=self._called(),
            step=_Template(self),
            site=self._site(context, store),
            store=store,
            clock=SystemClock(),
            try_id=str(ti.id),
            say=self.log.info,
            reached=self._reached,
            cancels=self.cancels,
        )

    def _called(self) -> str:
        """Return the step and what it is done with, for people."""
        return f"{self.step} on connection {self.connection!r}"

    def _site(self, context: Context, store: LedgerStore) -> Site:
        """Return what one try reaches beyond its ledger."""
        return ConnectedSite(self, store.cells)

    def kind(self) -> tuple[SystemRegistration, StepType]:
        """Return the system that does the step, and the step's type."""
        return step_type(self.step)

    def _reached(self, _point: str) -> None:
        if self._stopped:
            raise OwnershipLost("Airflow stopped this try; the next one goes on from the ledger")

    def _answer(self, context: Context, comes_next: Next) -> Any:
        match comes_next:
            case Done(value, warning):
                if warning:
                    self.log.warning("%s", warning)
                # A stream that runs this one sees by this which business case the instance is.
                return {**value, "business_key": self._business_key} if self._business_key else dict(value)
            case Wait():
                if self._asked and self._watched:
                    told = self._told()
                    told.released(context, told.alerts_of(context), "a person answered, and the step waits for its job")
                self.defer(trigger=self.trigger_class(self._waiting(context, comes_next)), method_name="collect")
            case Asked(subject, question, options, key):
                self.log.warning("a person must answer in Required Actions: %s", question)
                subject = f"{self.task_id}: {subject}"
                if self._watched:
                    self._told().parked(context, question, key)
                parking.park(context, subject=subject, question=question, options=options, key=key)
            case Held(reason, until):
                self.log.info("nothing is handed over: %s", reason)
                look = utc_now() + HOLD_LOOK
                look = look if until is None else min(look, until)
                raise AirflowRescheduleException(look)  # type: ignore[no-untyped-call]  # Airflow's
            case Skipped(reason):
                raise AirflowSkipException(reason)
            case Again(message, delay):
                raise RunAgain(message, delay)
            case Failed(message):
                raise AirflowFailException(message)
        assert_never(comes_next)

    @property
    def _watched(self) -> bool:
        # What people want told rides in a callback; see alerts.callbacks, which few steps need.
        return bool(self.on_failure_callback)

    def _told(self) -> Any:
        from airflow_enterprise_orch.alerts import callbacks

        return callbacks

    def _waiting(self, context: Context, wait: Wait) -> trigger.Wait:
        ti, attempt, deadline = context["ti"], wait.attempt, wait.deadline
        if attempt.handle is None:
            raise AssertionError("a job without a handle cannot be waited for")
        return trigger.Wait(
            step=self.step,
            connection=self.connection,
            handle=attempt.handle,
            identity=attempt.system,
            deferred=utc_now().isoformat(),
            deadline=deadline.isoformat() if deadline else "",
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            map_index=ti.map_index if ti.map_index is not None else -1,
            try_number=ti.try_number,
            cancels=self.cancels,
            look=wait.look.isoformat() if wait.look else "",
            stands=wait.stands,
        )

    def checked_work(self) -> Work:
        """Return what is to be done; :raises TemplateError: when that cannot be told."""
        if self._unrendered is not None:
            raise TemplateError(
                f"step {self.task_id!r}: {self._unrendered}; nothing was handed over"
            ) from self._unrendered
        _, kind = self.kind()
        try:
            return kind.work_model().rendered(self.work)
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'work'}: {problem['msg']}" for problem in error.errors()
            )
            raise TemplateError(f"step {self.task_id!r} ({self.step}): {told}; nothing was handed over") from None

    def completed(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the outputs that a person gave for the step; :raises OutputsInvalid: when they are not right."""
        return checked_step_outputs(given, self.outputs, self.kind()[1])

    def checked_rules(self, consequence: str) -> tuple[OutcomeRules, list[OutputRule]]:
        """Return how a result is read; :raises TemplateError: when that cannot be told, and the consequence."""
        _, kind = self.kind()
        try:
            return OutcomeRules(**self.outcome), [
                OutputRule.from_json(name, rule, kind.output_key) for name, rule in self.outputs.items()
            ]
        except (ExpressionError, TypeError, ValueError) as error:
            raise TemplateError(
                f"step {self.task_id!r} ({self.step}): its outcome or outputs are wrong: {error}; {consequence}"
            ) from error


@dataclass(frozen=True)
class _Template:
    """What the operator's arguments say of the step."""

    operator: DelegateOperator

    @property
    def rules(self) -> Sequence[RetryRule]:
        return self.operator.retry_rules

    @property
    def time_limit(self) -> float | None:
        return self.operator.time_limit

    def work(self) -> Work:
        return self.operator.checked_work()

    def judge(self, consequence: str) -> tuple[OutcomeRules, list[OutputRule]]:
        return self.operator.checked_rules(consequence)

    def completed(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.operator.completed(given)


@dataclass(frozen=True)
class ConnectedSite:
    """The system behind the step's Airflow connection, and what people wish."""

    operator: DelegateOperator
    cells: Cells

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RemoteSystem]:
        """Open the system; a refused login blocks the connection for everybody."""
        registration, _ = self.operator.kind()
        async with entrance.entered(registration, self.operator.connection) as system:
            yield system

    def wishes(self, *, holds: bool = True) -> control.Wishes:
        """Return what people want of this step now."""
        registration, _ = self.operator.kind()
        return control.read_wishes(
            self.cells.get(control.CONTROL_KEY),
            control.read_variable(control.HOLDS_VARIABLE) if holds else None,
            stream=self.operator.dag_id,
            system=registration.name,
            connection=self.operator.connection,
            now=utc_now(),
        )
