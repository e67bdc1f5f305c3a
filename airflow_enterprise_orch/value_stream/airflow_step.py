"""A step that runs an operator of Airflow's providers, as the template names it.

The operator is made when the step runs, from arguments that are final by then: the template's restricted Jinja has been
rendered, and Airflow's own, which would have connections, variables and Python objects in reach, never sees them. So a
value that somebody gave an instance stays what it is, whatever braces it holds. It also means that starting any other
task of the stream does not import the provider.

None of the promises about jobs hold here: what the operator hands over is the operator's affair. A worker that dies, a
retry or a clear runs it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.instance import visible_names
from airflow_enterprise_orch.restricted_jinja import render_tree
from airflow_enterprise_orch.value_stream.acted_on import ActedOn
from airflow_enterprise_orch.value_stream.airflow_operators import OperatorRefused, find_operator

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

    from airflow_enterprise_orch.delegation.control import Wish

RETURNED = "return_value"
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class AirflowStep(ActedOn):
    """Runs another operator in its place, also over a deferral.

    :param operator: its class path, which the deployment must allow, now as when the template was loaded.
    :param arguments: of its constructor; plain JSON, texts with the template's restricted Jinja.
    :param outputs: name to ``{"xcom": key, "path": "a.b", "type": "string"}``.
    :param time_limit: seconds from the start of the try; None for no limit.
    :param stream: what the arguments may see.

    The task returns ``outcome`` and the outputs, not what the operator returned.
    """

    asks_again = True
    may_leave: ClassVar[Mapping[str, str]] = {"outcome": "string"}
    template_fields: Sequence[str] = ("arguments",)
    template_fields_renderers: ClassVar[dict[str, str]] = {"arguments": "json"}

    def __init__(
        self,
        *,
        operator: str,
        arguments: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Mapping[str, Any]] | None = None,
        time_limit: float | None = None,
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # None as well: the site's default would end what the template lets run.
        limit = timedelta(seconds=time_limit) if time_limit is not None else None
        super().__init__(**{**kwargs, "execution_timeout": limit})
        self.operator = operator
        self.arguments = dict(arguments or {})
        self.outputs = {name: dict(rule) for name, rule in (outputs or {}).items()}
        self.must_leave = {name: str(rule.get("type", "string")) for name, rule in self.outputs.items()}
        self.time_limit = time_limit
        self.stream = dict(stream or {})
        self._unrendered: TemplateError | None = None
        self._running: BaseOperator | None = None

    def render_template_fields(self, context: Context, jinja_env: jinja2.Environment | None = None) -> None:
        """Render the arguments with the template's restricted Jinja, never with Airflow's own."""
        try:
            self.arguments = render_tree(self.arguments, visible_names(context, self.stream))
        except TemplateError as error:
            self._unrendered = error  # said by execute: what fails while Airflow renders is tried again

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the operator from its beginning."""
        return self._run(context, lambda running: running.execute(context))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on where the operator deferred."""
        return self._run(context, lambda running: running.resume_execution(next_method, next_kwargs, context))

    def completed(self, context: Mapping[str, Any], end: Wish) -> dict[str, Any]:
        """Return what a person gave instead; what the operator has handed over is the operator's affair."""
        return {"outcome": "success", **super().completed(context, end)}

    def on_kill(self) -> None:
        """Let the operator end what it started, if it can."""
        if self._running is not None:
            self._running.on_kill()

    def _run(self, context: Context, act: Callable[[BaseOperator], Any]) -> dict[str, Any]:
        self._running = running = self._made()
        # Airflow warns of an operator that another one calls; this one stands in its place.
        token = ExecutorSafeguard.tracker.set(running)
        try:
            returned = act(running)
        except TaskDeferred as deferred:
            left = self._left(context)
            if left is not None and (deferred.timeout is None or deferred.timeout > left):
                deferred.timeout = left
            raise
        finally:
            ExecutorSafeguard.tracker.reset(token)
        return {"outcome": "success", **{name: self._output(context, name, returned) for name in self.outputs}}

    def _made(self) -> BaseOperator:
        """Return the operator; :raises AirflowFailException: in one line, when it cannot be made."""
        if self._unrendered is not None:
            raise AirflowFailException(f"step {self.task_id!r}: {self._unrendered}") from self._unrendered
        try:
            found = find_operator(self.operator)
        except OperatorRefused as refused:
            raise AirflowFailException(f"step {self.task_id!r}: {refused}") from refused
        try:
            # As Airflow makes the operator of a mapped task: it knows its DAG, which does not know it.
            made: BaseOperator = found(
                task_id=self.task_id,
                dag=self.dag,
                execution_timeout=self.execution_timeout,
                _airflow_from_mapped=True,
                **self.arguments,
            )
        except Exception as error:
            reason = " ".join(str(error).split())
            what = f"{found.__name__} cannot be made from its arguments ({type(error).__name__}: {reason})"
            raise AirflowFailException(f"step {self.task_id!r}: {what}; correct the template") from error
        # The values are final. An operator that renders by itself would evaluate them with all of Airflow in reach.
        made.template_fields = ()
        made.template_ext = ()
        made.render_template = lambda content, *_args, **_kwargs: content  # type: ignore[method-assign]  # on purpose
        return made

    def _left(self, context: Context) -> timedelta | None:
        if self.time_limit is None:
            return None
        now = datetime.now(UTC)
        started = getattr(context["ti"], "start_date", None) or now
        return max(timedelta(seconds=self.time_limit) - (now - started), timedelta(seconds=1))

    def _output(self, context: Context, name: str, returned: Any) -> str | int | float | bool:
        """Return one output; :raises AirflowFailException: when the operator left none that fits."""
        rule = self.outputs[name]
        key, way, kind = rule.get("xcom", RETURNED), rule.get("path"), rule.get("type", "string")
        value = returned
        if key != RETURNED:
            ti = context["ti"]
            value = ti.xcom_pull(task_ids=self.task_id, key=key, map_indexes=ti.map_index)
        for part in way.split(".") if way else ():
            value = _inside(value, part)
        types = _TYPES[kind]
        right = isinstance(value, types) and (kind == "boolean" or not isinstance(value, bool))
        if not right or (isinstance(value, float) and value - value != 0):
            where = f"XCom {key!r}" + (f", {way}" if way else "")
            found = "is not there" if value is None else f"is {value!r:.60}, which is no {kind}"
            raise AirflowFailException(
                f"step {self.task_id!r}: output {name!r} ({where}) {found}; the operator has done its work, "
                "and a clear runs it again: correct the template first"
            )
        return value if kind != "number" else float(value)


def _inside(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(part)
    if isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    return None
