"""The thin Airflow shell round the submission: every delegated step of every system is this operator.

``execute`` brings the job out and defers; ``collect`` brings its result home; ``answered`` goes on after a person was
asked. All state is in the ledger, so any of them may die at any line and the next try goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)
from airflow.sdk.execution_time.context import NEVER_EXPIRE
from pydantic import ValidationError

from airflow_enterprise_orch.delegation import control, guard, parking
from airflow_enterprise_orch.delegation.ledger import (
    LEDGER_KEY,
    AskAgain,
    Attach,
    Attempt,
    AttemptState,
    Begin,
    Continue,
    FailAgain,
    Ledger,
    RetryRule,
    Reuse,
    Verdict,
    closed,
    new_key,
    opened,
    succeeded,
)
from airflow_enterprise_orch.delegation.outcome import OutcomeRules, OutputRule
from airflow_enterprise_orch.delegation.polling import utc_now
from airflow_enterprise_orch.delegation.retry import INFRASTRUCTURE_RETRIES, DelegationRetryPolicy, RunAgain
from airflow_enterprise_orch.delegation.submission import Parked, Submission, SystemClock, sweep
from airflow_enterprise_orch.delegation.system import Protection, RemoteSystem, step_type
from airflow_enterprise_orch.delegation.task_run import TaskRun, failure_line, repointed, told_in_one_line
from airflow_enterprise_orch.delegation.trigger import WAITING_KEY, DelegateTrigger, Wait
from airflow_enterprise_orch.errors import (
    JobFailed,
    LoginRefused,
    OutcomeUnknown,
    OutputMissing,
    OwnershipLost,
    RequestRejected,
    TemplateError,
)
from airflow_enterprise_orch.expressions import ExpressionError
from airflow_enterprise_orch.instance import visible_names
from airflow_enterprise_orch.restricted_jinja import render_tree

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.job import JobResult
    from airflow_enterprise_orch.delegation.work import Work

T = TypeVar("T")

HOLD_LOOK = timedelta(seconds=60)
"""How often a held step looks whether it is released; it holds no worker slot in between."""
MESSAGE_TAIL_LINES = 12
ASKED_KEY = "orch.asked"
"""Where the task state store keeps what a person was asked, and in which try."""


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
    :param stream: set by the compiler of value-stream templates: what the restricted Jinja of ``work`` may see. None in
        hand-written DAGs, where ``work`` is rendered by Airflow as usual.

    The task returns ``rc``, ``code``, ``job_id``, ``outcome`` (``success`` or ``warning``), ``system``, ``started``,
    ``ended`` and the outputs. Airflow's own ``execution_timeout`` is refused: it would end the wait, not the job.
    """

    template_fields: Sequence[str] = ("work",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"work": "json"}
    ui_color = "#e8eef7"

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
        self._rules = rules
        self._stopped = False
        self._unrendered: TemplateError | None = None

    @classmethod
    def from_step(cls, **kwargs: Any) -> DelegateOperator:
        """Return the operator of a compiled template's step: the arguments of :class:`DelegateOperator` itself."""
        made = cls.__new__(cls)
        DelegateOperator.__init__(made, **kwargs)
        return made

    # What Airflow calls.

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Render ``work``: restricted Jinja in a compiled stream, Airflow's own otherwise."""
        if self.stream is None:
            super().render_template_fields(context, jinja_env)
            return
        try:
            self.work = render_tree(self.work, visible_names(context, self.stream))
        except TemplateError as error:
            # Airflow renders before every resume too, and a job that is out there needs no more than its handle.
            self._unrendered = error

    def execute(self, context: Context) -> Any:
        """Bring the job out, then wait for it."""
        with told_in_one_line():
            self._obey_wishes(context)
            return self._go_on(context)

    def collect(self, context: Context, event: dict[str, Any]) -> Any:
        """Bring the result of the ended job home."""
        with told_in_one_line():
            run = TaskRun(context, self.retries or 0)
            attempt = run.ledger.last
            if attempt is None or attempt.key != event.get("key"):
                raise AirflowFailException(
                    f"the ended job carries key {event.get('key')!r}, which is not the ledger's newest attempt; "
                    f"nothing was done: look at the task's state store"
                )
            if attempt.state is AttemptState.CLOSED:
                # A try before this one read the result and died before Airflow heard of it.
                return self._go_on(context)
            if event.get("elsewhere"):
                self._ask(run, repointed(attempt, str(event["elsewhere"])), parking.AFTER_RESULT)
            return self._bring_home(run, timed_out=bool(event.get("timed_out")))

    def answered(self, context: Context, event: dict[str, Any], asked: list[str], key: str = "") -> Any:
        """Go on with what a person answered."""
        with told_in_one_line():
            run = TaskRun(context, self.retries or 0)
            attempt = run.ledger.last
            if attempt is None:
                raise AirflowFailException(
                    "a person was asked about a job that the ledger does not know; clear the step"
                )
            if key and key != attempt.key:
                self.log.warning("the answer is about an attempt that is not the newest any more: it is not followed")
                return self._go_on(context)
            try:
                answer = parking.Answer.from_event(event)
                if answer.option not in asked:
                    raise parking.AnswerInvalid(f"{answer.option!r} was not asked")
                self.log.info("%s answered %r: %s", answer.by, answer.option, answer.reason or "no reason given")
                return self._act_on(run, attempt, answer)
            except parking.AnswerInvalid as invalid:
                self._ask(run, f"{invalid}. Before: {attempt.parked}", tuple(asked))

    def on_kill(self) -> None:
        """Stop before the next step of the hand-over.

        No person has spoken: Airflow calls this also when a pod is evicted. The job is not touched; the next try
        attaches to it.
        """
        self._stopped = True

    # The steps of the way.

    def _obey_wishes(self, context: Context) -> None:
        registration, _ = step_type(self.step)
        wishes = control.read_wishes(
            context["task_state_store"].get(control.CONTROL_KEY),
            control.read_variable(control.HOLDS_VARIABLE),
            stream=self.dag_id,
            system=registration.name,
            connection=self.connection,
            now=utc_now(),
        )
        ledger = Ledger.from_json(context["task_state_store"].get(LEDGER_KEY))
        if ledger.last is not None and ledger.is_open and (ledger.last.sends or ledger.last.handle is not None):
            # Its job may be out there: whatever people wish for a step that has not started does not apply.
            return
        if wishes.skip is not None:
            raise AirflowSkipException(str(wishes.skip))
        if wishes.hold is not None:
            self.log.info("nothing is handed over: %s", wishes.hold)
            raise AirflowRescheduleException(utc_now() + HOLD_LOOK)  # type: ignore[no-untyped-call]  # Airflow's

    def _go_on(self, context: Context) -> Any:
        run = TaskRun(context, self.retries or 0)
        move = run.ledger.next_move(run.now, self._rules)
        if isinstance(move, Reuse):
            self.log.info("attempt %s ended as %s and nobody cleared it: its result is reused", *_told(move.attempt))
            return dict(move.attempt.value)
        if isinstance(move, FailAgain):
            raise AirflowFailException(move.attempt.message)
        if isinstance(move, AskAgain):
            self._ask(
                run,
                f"attempt {move.attempt.number} ended as {move.attempt.verdict}; the template's retries were changed "
                f"since, so Airflow cannot say whether somebody cleared the step: should the work run again?",
                parking.AFTER_EDIT,
            )
        if isinstance(move, Begin):
            attempt = opened(move, run.now, new_key(), utc_now())
            run.ledger = run.ledger.with_attempt(attempt)
        else:
            attempt = move.attempt
        if isinstance(move, Attach):
            return self._attach(run, attempt)
        if isinstance(move, (Begin, Continue)):
            return self._hand_over(run, attempt)
        raise AssertionError(move)

    def _hand_over(self, run: TaskRun, attempt: Attempt) -> Any:
        work = self._checked_work()
        self._checked_rules("nothing was handed over")

        async def hand_over(system: RemoteSystem) -> Ledger:
            return await self._submission(run, system).hand_over(run.ledger, attempt, work)

        try:
            run.ledger = self._with_system(hand_over)
        except Parked as parked:
            run.ledger = parked.ledger
            self._ask(run, parked.question, parking.AFTER_SUBMIT)
        except JobFailed as failed:
            raise AirflowFailException(f"{self._who(run)} refused it: {failed}") from failed
        return self._defer(run)

    def _attach(self, run: TaskRun, attempt: Attempt) -> Any:
        self.log.info("attempt %s is out there as %s: attached, nothing is sent", attempt.number, attempt.handle)

        async def let_run(system: RemoteSystem) -> Ledger:
            if attempt.system != system.identity:
                raise Parked(repointed(attempt, system.identity), run.ledger)
            return await self._submission(run, system).let_run(run.ledger)

        try:
            run.ledger = self._with_system(let_run)
        except Parked as parked:
            self._ask(run, parked.question, parking.AFTER_RESULT)
        return self._defer(run)

    def _defer(self, run: TaskRun) -> Any:
        attempt = run.ledger.last
        if attempt is None or attempt.handle is None:
            raise AssertionError("a job without a handle cannot be waited for")
        ti = run.context["ti"]
        deadline = attempt.sent_at + timedelta(seconds=self.time_limit) if self.time_limit and attempt.sent_at else None
        self.log.info(
            "attempt %s is %s%s on %s, key %s; waiting without a worker slot",
            attempt.number,
            f"{attempt.handle.name} " if attempt.handle.name else "",
            attempt.handle.job_id,
            attempt.system,
            attempt.key,
        )
        wait = Wait(
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
        )
        told = {"try_number": ti.try_number, "job_id": attempt.handle.job_id, "system": attempt.system}
        ti.xcom_push(key=WAITING_KEY, value=told)
        self.defer(trigger=DelegateTrigger(wait), method_name="collect")

    def _bring_home(self, run: TaskRun, *, timed_out: bool) -> Any:
        attempt = run.ledger.last
        if attempt is None or attempt.handle is None:
            raise AirflowFailException("the ledger's newest attempt has no job; clear the step")
        handle = attempt.handle
        outcome, outputs = self._checked_rules("the job ended and is not run again: correct them and clear the step")

        async def fetch(system: RemoteSystem) -> tuple[JobResult, Any, str, dict[str, Any]]:
            if system.identity != attempt.system:
                raise Parked(repointed(attempt, system.identity), run.ledger)
            await sweep(system, attempt, self.log.info)
            result = await system.result(handle)
            judgement = outcome.judge(result)
            if judgement.verdict is Verdict.FAILURE:
                return result, judgement, await system.read_tail(handle, lines=MESSAGE_TAIL_LINES), {}
            texts = {source: await system.read_source(handle, source) for source in {rule.source for rule in outputs}}
            values = {rule.name: rule.extract(texts[rule.source], self._who(run)) for rule in outputs}
            return result, judgement, "", values

        try:
            result, judgement, tail, values = self._with_system(fetch)
        except Parked as parked:
            self._ask(run, parked.question, parking.AFTER_RESULT)
        except OutcomeUnknown as unknown:
            self._ask(run, f"{self._who(run)}: {unknown}. Did it succeed?", parking.AFTER_RESULT)
        except (OutputMissing, RequestRejected) as error:
            # The job is done; the attempt stays open, so that a clear reads again instead of running again.
            raise AirflowFailException(str(error)) from error
        who = self._who(run)
        if judgement.verdict is Verdict.FAILURE:
            kind = "timed_out" if timed_out and judgement.kind == "cancelled" else judgement.kind
            self._fail(run, attempt, kind, failure_line(who, kind, result, self.time_limit, tail))
        value: dict[str, Any] = {
            "rc": result.rc,
            "code": result.code,
            "job_id": handle.job_id,
            "outcome": judgement.verdict.value,
            "system": attempt.system,
            "started": result.started.isoformat() if result.started else None,
            "ended": result.ended.isoformat() if result.ended else None,
            **values,
        }
        run.save(succeeded(attempt, run.now, judgement.verdict, value, utc_now()))
        if judgement.verdict is Verdict.WARNING:
            self.log.warning("%s: ended with a warning: %s", who, result.code)
        else:
            self.log.info("%s: ended well: %s", who, result.code)
        return value

    def _fail(self, run: TaskRun, attempt: Attempt, kind: str, message: str, by: str = "system") -> None:
        failed = closed(attempt, Verdict.FAILURE, at=utc_now(), by=by, kind=kind, message=message)
        run.save(failed)
        move = run.ledger.next_move(run.now, self._rules)
        if isinstance(move, Begin):
            rule = run.ledger.rule_for(failed, self._rules) if move.generation == failed.generation else None
            why = f"retry rule on {kind}" if rule else "the step was cleared meanwhile"
            raise RunAgain(f"{message}\n({why}: it runs again)", timedelta(seconds=rule.delay if rule else 0))
        raise AirflowFailException(message)

    def _act_on(self, run: TaskRun, attempt: Attempt, answer: parking.Answer) -> Any:
        person = f"person:{answer.by}"
        said = f" ({answer.reason})" if answer.reason else ""
        if answer.option == parking.FAIL:
            message = f"{self._who(run)}: failed by {answer.by}{said}"
            run.save(
                closed(attempt, Verdict.FAILURE, at=utc_now(), by=person, kind="failed_by_person", message=message)
            )
            raise AirflowFailException(message)
        if answer.option == parking.SUCCEEDED:
            value = {
                "rc": None,
                "code": f"declared by {answer.by}",
                "job_id": attempt.handle.job_id if attempt.handle else None,
                "outcome": Verdict.SUCCESS.value,
                "system": attempt.system,
                "started": None,
                "ended": None,
            }
            done = succeeded(attempt, run.now, Verdict.SUCCESS, value, utc_now())
            run.save(replace(done, closed_by=person, message=answer.reason))
            return value
        if answer.option == parking.SUBMIT:
            # A named person closes the attempt; what leaves next carries a new key.
            message = f"{answer.by} says that it did not run{said}"
            run.ledger = run.ledger.with_attempt(
                closed(attempt, Verdict.FAILURE, at=utc_now(), by=person, kind="did_not_run", message=message)
            )
            return self._begin_next(run)
        if answer.option == parking.RUN_AGAIN:
            return self._begin_next(run)
        if answer.option == parking.KEEP:
            if attempt.verdict == Verdict.FAILURE:
                raise AirflowFailException(attempt.message)
            return dict(attempt.value)
        if answer.option == parking.ADOPT:
            return self._adopt(run, attempt, answer)
        return self._go_on(run.context)

    def _begin_next(self, run: TaskRun) -> Any:
        last = run.ledger.last
        move = Begin(len(run.ledger.attempts) + 1, last.generation + 1 if last else 1)
        attempt = opened(move, run.now, new_key(), utc_now())
        # One write for what the person said and what follows from it: a death in between would forget the answer.
        run.save(attempt)
        self._obey_wishes(run.context)
        return self._hand_over(run, attempt)

    def _adopt(self, run: TaskRun, attempt: Attempt, answer: parking.Answer) -> Any:
        if not answer.job_id:
            raise parking.AnswerInvalid("the id of the job to adopt is missing")

        async def identify(system: RemoteSystem) -> Attempt:
            handle = await system.identify(answer.job_id, attempt.key)
            return replace(
                attempt,
                state=AttemptState.SUBMITTED,
                handle=handle,
                # It may be one of our own copies, still held; a release of one that runs does nothing.
                released=system.capabilities.protection is not Protection.TWO_PHASE,
                system=system.identity,
                parked="",
                message=f"adopted by {answer.by}: {answer.reason}",
            )

        try:
            run.save(self._with_system(identify))
        except RequestRejected as error:
            raise parking.AnswerInvalid(f"{answer.job_id!r} cannot be adopted: {error}") from error
        return self._go_on(run.context)

    def _ask(self, run: TaskRun, question: str, options: tuple[str, ...]) -> None:
        last = run.ledger.last
        if last is not None:
            run.save(replace(last, parked=question))
        asked: dict[str, Any] = {"version": 1, "ti": str(run.context["ti"].id), "options": list(options)}
        before = run.cells.get(ASKED_KEY)
        if isinstance(before, dict) and before.get("ti") == asked["ti"] and before.get("options") != asked["options"]:
            # Airflow freezes text and options of the first question of a try, and would show that one.
            raise RunAgain(f"{question} (the next try asks a person)", timedelta(0))
        run.cells.set(ASKED_KEY, asked, retention=NEVER_EXPIRE)
        self.log.warning("a person must answer in Required Actions: %s", question)
        parking.park(
            run.context,
            subject=f"{self.task_id}: {self._who(run)}",
            question=question,
            options=options,
            key=last.key if last is not None else "",
        )

    # Small things.

    def _checked_work(self) -> Work:
        if self._unrendered is not None:
            raise AirflowFailException(
                f"step {self.task_id!r}: {self._unrendered}; nothing was handed over"
            ) from self._unrendered
        _, kind = step_type(self.step)
        try:
            return kind.work_model().rendered(self.work)
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, problem['loc'])) or 'work'}: {problem['msg']}" for problem in error.errors()
            )
            raise AirflowFailException(
                f"step {self.task_id!r} ({self.step}): {told}; nothing was handed over"
            ) from None

    def _checked_rules(self, consequence: str) -> tuple[OutcomeRules, list[OutputRule]]:
        _, kind = step_type(self.step)
        try:
            return OutcomeRules(**self.outcome), [
                OutputRule.from_json(name, rule, kind.output_key) for name, rule in self.outputs.items()
            ]
        except (ExpressionError, TypeError, ValueError) as error:
            raise AirflowFailException(
                f"step {self.task_id!r} ({self.step}): its outcome or outputs are wrong: {error}; {consequence}"
            ) from error

    def _submission(self, run: TaskRun, system: RemoteSystem) -> Submission:
        def reached(_point: str) -> None:
            if self._stopped:
                raise OwnershipLost("Airflow stopped this try; the next one goes on from the ledger")

        return Submission(system, run, SystemClock(), self.log.info, reached)

    def _with_system(self, action: Callable[[RemoteSystem], Coroutine[Any, Any, T]]) -> T:
        """Open the system, do one thing, close it; a refused login blocks the connection for everybody."""
        registration, _ = step_type(self.step)

        async def session() -> T:
            await guard.refuse_blocked(self.connection)
            try:
                async with registration.open(self.connection) as system:
                    return await action(system)
            except LoginRefused as refused:
                await guard.block(self.connection, refused)
                raise

        return asyncio.run(session())

    def _who(self, run: TaskRun) -> str:
        """Name system and job, for messages."""
        last = run.ledger.last
        if last is None or last.handle is None:
            return f"{self.step} on connection {self.connection!r}"
        return f"{self.step} {last.handle.name} {last.handle.job_id} on {last.system}".replace("  ", " ")


def _told(attempt: Attempt) -> tuple[int, str]:
    return attempt.number, attempt.verdict
