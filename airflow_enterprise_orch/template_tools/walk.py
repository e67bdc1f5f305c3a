"""Which path an instance takes, told without Airflow: nothing is started, and no system is touched.

The tasks and whom they wait for come from the code that makes the DAG (:mod:`..value_stream.paths`), what a branch or a
table chooses from the code that runs in Airflow (:mod:`..value_stream.choosing`), whether a job's result is a success
from the outcome rules, and texts from the restricted Jinja. Only Airflow's scheduler is played here: its four trigger
rules that a stream uses, and whom a branch or a rejection skips.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time
from typing import Any, Literal

from airflow_enterprise_orch.business_date import business_date
from airflow_enterprise_orch.delegation.attempt import Verdict
from airflow_enterprise_orch.delegation.job import Ending, JobResult
from airflow_enterprise_orch.delegation.outcome import OutcomeRules
from airflow_enterprise_orch.errors import OrchestrationError, OutcomeUnknown, TemplateError
from airflow_enterprise_orch.expressions import compile_expression
from airflow_enterprise_orch.restricted_jinja import ITEM, inspect, render, run_names, texts
from airflow_enterprise_orch.template_tools.given import Params, Results, with_defaults
from airflow_enterprise_orch.template_tools.scheduler import behind, verdict
from airflow_enterprise_orch.template_tools.shape import Shape, texts_of
from airflow_enterprise_orch.template_tools.walked import Choice, State, Walk, WalkedStep
from airflow_enterprise_orch.undoing import HELPER
from airflow_enterprise_orch.value_stream.choosing import ChoiceImpossible, row_that_counts, rules_that_hold
from airflow_enterprise_orch.value_stream.conditions import condition_variables
from airflow_enterprise_orch.value_stream.decision_record import RULES, Decision, Fired, Override, ways_of_rules
from airflow_enterprise_orch.value_stream.decision_table import OTHERWISE
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.paths import Paths, Task, TaskKind
from airflow_enterprise_orch.value_stream.schedule import dates_of
from airflow_enterprise_orch.value_stream.steps import (
    ApprovalStep,
    BranchStep,
    ChoiceStep,
    DecisionStep,
    DelegatedStep,
    FailStep,
    Step,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

ANY_DAY = datetime(2000, 1, 3, tzinfo=UTC)
"""The day of an instance where none is given, so that its texts are the same every time."""

_TASK_STATES: Mapping[str, State] = {
    "success": "ran",
    "failed": "failed",
    "skipped": "skipped",
    "upstream_failed": "stopped",
}


class NotGiven(OrchestrationError):
    """What comes next depends on a value that the author did not give."""


def walk(stream: ValueStream, params: Params, results: Results, *, day: datetime | None = None) -> Walk:
    """Tell the path of one instance.

    :param params: checked; those not given have their defaults.
    :param results: checked; a job that is not named succeeds, and leaves only what is said of it.
    :param day: when it runs; without it :data:`ANY_DAY`, or the first working day of the stream's calendar.
    :raises NotGiven: when a decision needs a value that was not given.
    """
    return _Walker(stream, with_defaults(stream, params), results, day or _any_day(stream)).walk()


def _any_day(stream: ValueStream) -> datetime:
    """Return a day that the stream's calendar tells of; noon, so that it is that day in most time zones."""
    calendar = stream.schedule.calendar if stream.schedule is not None else None
    days = stream.calendars.get(calendar) if calendar is not None else None
    found = days.next_open(days.first) if days is not None and not days.knows(ANY_DAY.date()) else None
    return datetime.combine(found, time(12), UTC) if found is not None else ANY_DAY


class _Failure(Exception):  # an ending of a step, told in the walk, never an error of this program
    """The step fails; its text says why."""


class _Walker:
    """Plays one instance."""

    def __init__(self, stream: ValueStream, params: Params, results: Results, day: datetime) -> None:
        self.stream, self.params = stream, params
        # A recorded result says null where there was nothing.
        self.results = {
            step: {key: value for key, value in result.items() if value is not None} for step, result in results.items()
        }
        self.paths = Paths(stream)
        self.states: dict[str, str] = {}
        self.whys: dict[str, str] = {}
        self.left: dict[str, dict[str, Any]] = {}
        self.day = day
        self.undone: list[str] = []
        self.choices: list[Choice] = []
        self.unfilled: dict[str, list[str]] = {}
        self.behind = behind(self.paths.tasks)
        try:
            dated = business_date(day, params, dates_of(stream.schedule, stream.calendars))
        except TemplateError as error:
            raise NotGiven(str(error)) from error
        run = run_names(run_id="simulated", run_after=day, business_date=dated)
        self.names: dict[str, Any] = {"params": dict(params), **run}
        business = stream.business
        self.key = run["run_id"]
        if business.key is not None:
            try:
                self.key = render(business.key, self.names)
            except TemplateError as error:
                raise NotGiven(f"business.key: {error}") from error
        self.names["business"] = {
            "domain": business.domain,
            "owner": business.owner,
            "criticality": business.criticality,
            "key": self.key,
        }

    def walk(self) -> Walk:
        for task in self.paths.tasks:
            if task.task_id not in self.states:  # a branch or a rejection before it may have skipped it
                self.states[task.task_id] = verdict(task, self.states)
            if self.states[task.task_id] == "success":
                self._run(task)
        order = [self.stream.steps[name] for name in Shape(self.stream).order]
        steps = tuple(
            WalkedStep(step.id, _TASK_STATES[self.states[step.id]], self._why(step), self.left.get(step.id, {}))
            for step in order
        )
        # An instance ends as its last tasks do: Airflow looks at those that nothing follows.
        last = [self.states[task.task_id] for task in self.paths.tasks if not self.behind[task.task_id]]
        ends: Literal["success", "failed"] = "failed" if {"failed", "upstream_failed"} & {*last} else "success"
        unfilled = {name: tuple(who) for name, who in self.unfilled.items()}
        key = self.key if self.stream.business.key is not None else ""
        return Walk(self.stream.id, key, steps, tuple(self.choices), ends, unfilled, tuple(self.undone))

    def _run(self, task: Task) -> None:
        try:
            if task.kind is TaskKind.ADMIT and not self.key.strip():
                raise _Failure(f"the business key {self.stream.business.key!r} came out empty")
            if task.kind is TaskKind.UNDO:
                self._undo(task.step)
            if task.kind is TaskKind.STEP:
                self._step(self.stream.steps[task.step], self.results.get(task.step, {}))
        except _Failure as failure:
            self.states[task.task_id] = "failed"
            if task.kind is TaskKind.UNDO:
                self.whys[task.step] = f"it could not be undone: {failure}"
                return
            self.whys[task.step] = str(failure)
            self.left.pop(task.step, None)

    def _undo(self, step: str) -> None:
        work = self.stream.steps[step].compensation
        if work is not None:
            self._fill(f"{step} (undone)", work.work)
        self.undone.append(step)

    def _step(self, step: Step, result: Mapping[str, Any]) -> None:
        if isinstance(step, BranchStep):
            self._branch(step, result)
        elif isinstance(step, ApprovalStep):
            self._approval(step, result)
        elif isinstance(step, ChoiceStep):
            self._choice(step, result)
        elif isinstance(step, DecisionStep):
            self._decision(step)
        elif isinstance(step, WaitStep):
            self._fill(step.id, step.at)
            self.left[step.id] = dict(result)
        elif isinstance(step, WaitForStep):
            self._fill(step.id, step.key)
            state = result.get("state", "success")
            if state != "success" and (step.within is None or step.on_timeout == "fail"):
                raise _Failure(f"the wait for {step.stream} ended, and its state was: {state}")
            self.left[step.id] = {"state": state, **result}
        elif isinstance(step, FailStep):
            raise _Failure(self._fill(step.id, step.message))
        else:
            self._job(step, result)

    # --------------------------------------------------------------------------------------------------- the steps

    def _branch(self, step: BranchStep, result: Mapping[str, Any]) -> None:
        variables = condition_variables(self.stream, step.id)
        rules = [{"when": rule.when, "then": list(rule.then)} for rule in step.rules]
        fired: tuple[Fired, ...]
        by_rule: list[str]
        problem = ""
        try:
            fired, by_rule = rules_that_hold(
                step.id, step.match, rules, step.otherwise, variables, self._values(variables)
            )
        except ChoiceImpossible as error:
            if "chooses" not in result:
                self._not_given(error.missing, str(error))
                raise _Failure(str(error)) from error
            fired, by_rule, problem = (), [], str(error)
        chosen, override = by_rule, None
        if "chooses" in result:
            wanted = result["chooses"]
            chosen = [wanted] if isinstance(wanted, str) else list(wanted)
            override = Override(result.get("by", "a person"), result.get("reason", "given"), tuple(by_rule))
        decision = Decision(
            "branch",
            step.match,
            ways_of_rules(rules, list(step.otherwise)),
            self._seen(step, fired),
            fired,
            RULES if override is None else override.by,
            self.day,
            chosen=tuple(chosen),
            overridden=override,
            problem=problem,
        )
        self.whys[step.id] = decision.sentence()
        self._route(step, fired if override is None else (), chosen)

    def _route(self, step: Step, fired: tuple[Fired, ...], chosen: Iterable[str]) -> None:
        """Skip what comes right after a step that chose, but for what it chose."""
        chosen = tuple(chosen)
        self.choices.append(Choice(step.id, fired, chosen))
        routes = self.paths.routes(step.id)
        follow = {routes[target] for target in chosen}
        follow |= {other for one in follow for other in self.behind[one]}
        direct = [task.task_id for task in self.paths.tasks if step.id in task.upstream]
        self._skip([name for name in direct if name not in follow])

    def _seen(self, step: BranchStep, fired: tuple[Fired, ...]) -> dict[str, Any]:
        """Return the values that the rules looked at, up to the one that fired if it is the first that counts."""
        first = fired[0] if fired and step.match == "first" else None
        asked = step.rules[:first] if isinstance(first, int) else step.rules
        variables = condition_variables(self.stream, step.id)
        read = {name for rule in asked for name in compile_expression(rule.when, variables).references}
        return {name: value for name, value in sorted(self._values(read).items()) if value is not None}

    def _decision(self, step: DecisionStep) -> None:
        kinds = condition_variables(self.stream, step.id)
        values = self._values(step.inputs.values())
        for name, value in values.items():
            if value is None:
                self._not_given(name, f"decision {step.id!r} reads {name}")
                raise _Failure(f"decision {step.id!r}: {name} has no value")
        inputs = {name: values[reads] for name, reads in step.inputs.items()}
        rows = [row.model_dump(mode="json") for row in step.rows]
        try:
            fired, outputs = row_that_counts(
                step.id,
                step.hit,
                {name: kinds[reads] for name, reads in step.inputs.items()},
                rows,
                step.otherwise,
                inputs,
            )
        except ChoiceImpossible as error:
            raise _Failure(str(error)) from error
        seen = ", ".join(f"{name} = {value!r}" for name, value in inputs.items())
        self.whys[step.id] = f"{'no row fits, so otherwise' if fired == OTHERWISE else f'row {fired} fits'} ({seen})"
        self.left[step.id] = outputs

    def _approval(self, step: ApprovalStep, result: Mapping[str, Any]) -> None:
        answer, by = self._answer(step, "approval", ("approved", "rejected"), result)
        if answer == "nobody":
            answer, by = ("approved" if step.on_timeout == "approve" else "rejected"), "nobody"
        self.whys[step.id] = f"{answer} by {by}"
        if answer == "rejected" and step.on_reject == "fail":
            raise _Failure(f"rejected by {by}")
        self.left[step.id] = {"outcome": answer, "by": by}
        if answer == "rejected":
            self._skip(self.behind[step.id], f"{step.id} was rejected")

    def _choice(self, step: ChoiceStep, result: Mapping[str, Any]) -> None:
        answer, by = self._answer(step, "choice", tuple(step.options), result)
        if answer == "nobody":
            answer = step.on_timeout
        option = step.options[answer]
        self.whys[step.id] = f"{option.title} by {by}"
        self.left[step.id] = {"outcome": answer, "by": by}
        self._route(step, (answer,), option.then)

    def _answer(
        self, step: ApprovalStep | ChoiceStep, kind: str, answers: tuple[str, ...], result: Mapping[str, Any]
    ) -> tuple[str, str]:
        """Return the answer that a person is given to have given, and who; ``nobody`` only where that is no failure."""
        self._fill(step.id, {"subject": step.subject, "body": step.body})
        answer = result.get("answer", result.get("outcome"))
        if answer is None:
            raise NotGiven(
                f"the path comes to the {kind} {step.id!r}, and its answer is not given; "
                f"add it to the results: {step.id}: {{answer: {answers[0]}}}, or {', or '.join(answers[1:])}, or nobody"
            )
        if answer != "nobody":
            return str(answer), str(result.get("by", "somebody"))
        if step.within is None:
            raise NotGiven(f"the {kind} {step.id!r} has no time limit, so somebody must answer it")
        if step.on_timeout == "fail":
            raise _Failure("nobody answered in time")
        return "nobody", "nobody"

    def _job(self, step: Step, result: Mapping[str, Any]) -> None:
        for names in self._names_of(step):
            self._fill(step.id, step.work if isinstance(step, DelegatedStep) else texts_of(step), names)
        if result.get("outcome") == "failed":
            raise _Failure("given as failed")
        outcome = result.get("outcome", "success")
        # Without a return code the record counts: a person may have declared the step done.
        proven = {"rc", "ending"} & result.keys() or ("code" in result and "outcome" not in result)
        if isinstance(step, DelegatedStep) and proven:
            outcome = self._judged(step, result)
        values = {name: value for name, value in result.items() if name in step.facts}
        self.left[step.id] = (
            self.left.get(step.id, {}) | values | dict(result.get("outputs", {})) | {"outcome": outcome}
        )

    def _judged(self, step: DelegatedStep, result: Mapping[str, Any]) -> str:
        """Return ``success`` or ``warning``, as the step's own rules say."""
        rules = OutcomeRules(
            step.outcome.success if step.outcome else "", (step.outcome.warning or "") if step.outcome else ""
        )
        for rule in (rules.success, rules.warning):
            if rule is not None and "code" in rule.references and "code" not in result:
                raise NotGiven(
                    f"step {step.id!r}: its outcome rule ({rule.text}) reads code, which is not given; "
                    f"add code: to its result, or give outcome: instead of rc"
                )
        ending = Ending(result.get("ending", Ending.COMPLETED))
        shown = ", ".join(f"{key} {result[key]}" for key in ("rc", "code", "ending") if key in result)
        try:
            judged = rules.judge(JobResult(ending, result.get("code", ""), result.get("rc")))
        except OutcomeUnknown as error:
            raise NotGiven(f"step {step.id!r}: {error}; add rc: to its result") from error
        if judged.verdict is Verdict.FAILURE:
            raise _Failure(f"{judged.kind} ({shown})")
        return "warning" if judged.verdict is Verdict.WARNING else "success"

    # --------------------------------------------------------------------------------------------------- helpers

    def _values(self, names: Iterable[str]) -> dict[str, object]:
        """Return values by qualified name; None for one that is not there."""
        found: dict[str, object] = {}
        for name in names:
            group, _, rest = name.partition(".")
            step, _, value = rest.partition(".")
            found[name] = self.params.get(rest) if group == "params" else self.left.get(step, {}).get(value)
        return found

    def _ran(self, step: str) -> bool:
        return self.states.get(step) == "success"

    def _not_given(self, name: str, who: str) -> None:
        """Tell that ``name`` was not given, if that and not the path is why it has no value."""
        group, _, rest = name.partition(".")
        step, _, value = rest.partition(".")
        if group == "steps" and self._ran(step):
            raise NotGiven(
                f"{who.partition(': step ')[0]} needs {name}, which is not given; "
                f"add it to the results: {step}: {{{value}: ...}}"
            )

    def _names_of(self, step: Step) -> list[dict[str, Any]]:
        """Return the names beside the usual ones for each time that the work is done; :raises _Failure: never begun."""
        if not isinstance(step, DelegatedStep) or step.for_each is None:
            return [{}]
        items = self.params.get(step.for_each.item.removeprefix("params.")) or ()
        if len(items) > step.for_each.max:
            raise _Failure(f"{step.for_each.item} has {len(items)} items, for_each takes {step.for_each.max} at most")
        if len(set(map(repr, items))) < len(items):
            raise _Failure(f"{step.for_each.item} has an item more than once")
        self.left[step.id] = {"count": len(items), "done": len(items)}
        return [{ITEM: item} for item in items]

    def _fill(self, step: str, tree: Any, more: Mapping[str, Any] | None = None) -> str:
        """Fill in the texts of a step as Airflow would, where all their values are known.

        :return: the last of them.
        :raises _Failure: when a text needs a value of a step that did not run.
        """
        filled = ""
        for _, text in texts(tree):
            filled, missing = text, []
            for reference in inspect(text)[0]:
                group, *rest = reference.path
                if (
                    group == "steps"
                    and len(rest) > 1
                    and self._ran(rest[0])
                    and rest[1] not in self.left.get(rest[0], {})
                ):
                    missing.append(".".join(("steps", *rest[:2])))
            for name in missing:
                who = self.unfilled.setdefault(name, [])
                who += [step] if step not in who else []
            if missing:
                continue
            left = {name: self.left.get(name) for name in self.stream.steps}
            try:
                filled = render(text, {**self.names, **(more or {}), "steps": left})
            except TemplateError as error:
                raise _Failure(str(error)) from error
        return filled

    def _skip(self, tasks: Iterable[str], why: str = "") -> None:
        for name in tasks:
            if HELPER in name:
                continue
            self.states.setdefault(name, "skipped")
            if why:
                self.whys.setdefault(name, why)

    def _why(self, step: Step) -> str:
        """Return why a step did not run, or what is known of how it ran."""
        if step.id in self.whys:
            return self.whys[step.id]
        before = self.stream.upstream[step.id]
        if self.states[step.id] == "upstream_failed":
            failed = sorted(name for name in self.stream.ancestors(step.id) if self.states[name] == "failed")
            return f"{', '.join(failed)} failed" if failed else f"the instance was not let in: {self.whys['']}"
        if self.states[step.id] == "skipped":
            deciders = [name for name in before if self.stream.steps[name].targets and self._ran(name)]
            return f"not chosen by {', '.join(deciders)}" if deciders else "its path was not taken"
        return ""
