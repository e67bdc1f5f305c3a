"""YAML text -> checked model: reads a template part by part, and reports everything that is wrong at once."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from pydantic import BaseModel, ValidationError

from airflow_enterprise_orch.delegation.system import StepType, step_types
from airflow_enterprise_orch.value_stream import checks
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep, Link
from airflow_enterprise_orch.value_stream.messages import kind_of, missing_key, translate, unknown_key
from airflow_enterprise_orch.value_stream.model import (
    APPROVAL_FACTS,
    CEL_TYPES,
    ID_PATTERN,
    ApprovalStep,
    BaseStep,
    BranchRule,
    BranchStep,
    DecisionRow,
    DecisionStep,
    DelegatedStep,
    Header,
    Output,
    Param,
    Step,
    ValueStream,
    output_model,
)
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest, listed, template_error
from airflow_enterprise_orch.value_stream.yaml_source import MAX_BYTES, Document, decode, read_yaml

COMMON_KEYS = ("title", "after")
DELEGATED_KEYS = ("outcome", "outputs", "retry", "time_limit")
APPROVAL_KEYS = tuple(name for name in ApprovalStep.model_fields if name not in BaseStep.model_fields)
DECISION_KEYS = ("hit", "inputs", "outputs", "rows")
OWN_KINDS = ("approval", "branch", "decision")
"""What a step can do that no connected system does."""

RESERVED = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
    "namespace", "null", "package", "return", "true", "var", "void", "while",
})  # fmt: skip
"""CEL's words (language definition, "Syntax"): no id can be one of them, because conditions could not name it."""

_NO_RULE = {"when": "true", "then": []}
_NO_ROW: dict[str, Any] = {"when": {}, "then": {}}


def load(source: FilePath | str, *, name: str | None = None) -> ValueStream:
    """Read and check a template; see :meth:`ValueStream.load`."""
    if isinstance(source, FilePath):
        file = name or str(source)
        try:
            with source.open("rb") as stream:
                text = decode(stream.read(MAX_BYTES + 4), file)
        except OSError as error:
            what = f"the file cannot be read ({error.strerror or type(error).__name__})"
            raise template_error([Problem(file, 1, 1, "template", what, "", "check path and permissions")]) from error
    else:
        file, text = name or "<text>", source
    document = read_yaml(text, file)
    if not isinstance(document.data, dict):
        what = f"a template must hold keys, not {kind_of(document.data)}"
        problem = document.problem((), what, "begin with value_stream: and a name")
        raise template_error([*document.problems, problem])
    return _Reader(document).read()


class _Reader:
    """Reads one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.data: dict[str, Any] = document.data
        self.problems: list[Problem] = list(document.problems)
        self.meant: set[Path] = set()

    def read(self) -> ValueStream:
        """Return the stream; :raises TemplateError: with everything that is wrong."""
        header = {key: value for key, value in self.data.items() if key != "steps"}
        self._validate(Header, header, {}, (), extra_keys=("steps",))
        params = self._params()
        draft = Draft(self.document, self._param_types(), self._steps())
        for check in (
            checks.check_params(draft, params),
            checks.check_business(draft),
            checks.check_schedule(draft, params),
            checks.check_graph(draft),
            checks.check_steps(draft),
        ):
            self.problems.extend(check)
        if self.problems:
            raise template_error(problem for problem in self.problems if self._is_news(problem))
        return ValueStream.model_validate({**header, "steps": {name: step.model for name, step in draft.steps.items()}})

    # ------------------------------------------------------------------------------------------------- helpers

    def _validate(
        self,
        model: type[BaseModel],
        data: Mapping[str, Any],
        places: Mapping[str, Path],
        default: Path,
        extra_keys: Iterable[str] = (),
    ) -> Any:
        """Return an instance of ``model``, or None after noting what is wrong."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            self.problems.extend(translate(self.document, model, errors, places, default, self.meant, extra_keys))
        except RecursionError:
            self._add(default, "nests too deeply", "make it flatter")
        return None

    def _add(self, path: Path, what: str, remedy: str, *, suggestion: str = "", key: bool = False) -> None:
        self.problems.append(self.document.problem(path, what, remedy, suggestion=suggestion, key=key))

    def _is_news(self, problem: Problem) -> bool:
        """Say no to what only follows from a tag or an alias that was refused already."""
        if problem in self.document.problems:
            return True
        parts = problem.where.replace("[", ".[").split(".")
        parents = {".".join(parts[:end]).replace(".[", "[") for end in range(1, len(parts) + 1)}
        return not parents & self.document.unreadable

    def _check_id(self, path: Path, what: str) -> None:
        name = str(path[-1])
        if name in RESERVED or keyword.iskeyword(name):
            self._add(path, f"{name!r} is a reserved word", f"choose another name for the {what}", key=True)

    # -------------------------------------------------------------------------------------------------- params

    def _params(self) -> dict[str, Param]:
        """Return the params that are right by themselves; what is wrong with others is noted already."""
        found: dict[str, Param] = {}
        raw = self.data.get("params")
        for name, value in (raw if isinstance(raw, dict) else {}).items():
            self._check_id(("params", name), "param")
            try:
                found[name] = Param.model_validate(value)
            except ValidationError:
                continue
        return found

    def _param_types(self) -> dict[str, str]:
        raw = self.data.get("params")
        found = {}
        for name, value in (raw if isinstance(raw, dict) else {}).items():
            if re.match(ID_PATTERN, name):
                kind = value.get("type") if isinstance(value, dict) else None
                found[name] = CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"
        return found

    # --------------------------------------------------------------------------------------------------- steps

    def _steps(self) -> dict[str, DraftStep]:
        raw = self.data.get("steps")
        if raw is None or raw == {}:
            remedy = "add one, such as 'book: {mainframe.job: {...}}'"
            if "steps" in self.data:
                self._add(("steps",), "there are no steps", remedy, key=True)
            else:
                self.problems.append(missing_key(self.document, (), "steps", "add it, with at least one step"))
            return {}
        if not isinstance(raw, dict):
            self._add(("steps",), f"must hold keys, not {kind_of(raw)}", "write each step as 'name: {...}'")
            return {}
        return {name: self._step(name, value) for name, value in raw.items()}

    def _step(self, name: str, raw: Any) -> DraftStep:
        path: Path = ("steps", name)
        if not re.match(ID_PATTERN, name) or len(name) > 100:
            self._add(path, f"{name!r} is no id", "use a-z, 0-9 and _, beginning with a letter, at most 100", key=True)
        self._check_id(path, "step")
        step = DraftStep(name)
        if not isinstance(raw, dict):
            self._add(
                path,
                f"a step must hold keys, not {kind_of(raw)}",
                "say what it does, such as mainframe.job: {...}",
                key=True,
            )
            return step
        step.links = _links((*path, "after"), raw.get("after"))
        kinds = [key for key in raw if key in OWN_KINDS or key in step_types()]
        if len(kinds) > 1:
            self._add(
                (*path, kinds[1]),
                f"a step does one thing, this one has {listed(kinds)}",
                "make a step of each",
                key=True,
            )
        elif not kinds:
            self._no_kind(path, raw)
        elif kinds[0] == "branch":
            step.kind, step.facts = "branch", {}
            step.model = self._branch(step, path, raw)
        elif kinds[0] == "decision":
            step.kind, step.facts = "decision", _decided_types(raw["decision"])
            step.model = self._decision(step, path, raw)
        elif kinds[0] == "approval":
            step.kind, step.facts = "approval", APPROVAL_FACTS
            step.model = self._approval(step, path, raw)
        else:
            step.kind, step.type = "delegated", kinds[0]
            step_type = step_types()[kinds[0]][1]
            step.facts = {**_output_types(raw.get("outputs")), **step_type.facts}
            step.model = self._delegated(step, path, raw, step_type)
        return step

    def _no_kind(self, path: Path, raw: dict[str, Any]) -> None:
        kinds = sorted((*step_types(), *OWN_KINDS))
        others = [key for key in raw if key not in (*COMMON_KEYS, *DELEGATED_KEYS)]
        told = False
        for key in others:
            suggestion = closest(key, kinds)
            if suggestion or "." in key or isinstance(raw[key], dict):
                told = True
                what = f"there is no step type {key!r}"
                self._add((*path, key), what, f"known are {listed(kinds)}", suggestion=suggestion, key=True)
            else:
                self.problems.append(unknown_key(self.document, (*path, key), (*COMMON_KEYS, *DELEGATED_KEYS)))
        if not told:
            self._add(path, "the step does not say what to do", f"add one of {listed(kinds, 'or')}", key=True)

    def _unknown_keys(self, path: Path, raw: Mapping[str, Any], known: Iterable[str], below: Mapping[str, str]) -> bool:
        """Note the keys that ``raw`` must not have; ``below`` says where those belong that stand too high."""
        known, clean = tuple(known), True
        for key in raw:
            if key not in known:
                remedy = f"move it below {below[key]}" if key in below else ""
                problem = unknown_key(self.document, (*path, key), known, remedy)
                self.problems.append(problem)
                self.meant.add((*path, problem.suggestion))
                clean = False
        return clean

    def _delegated(self, step: DraftStep, path: Path, raw: dict[str, Any], step_type: StepType) -> Step | None:
        kind, body = step_type.name, raw[step_type.name]
        model = step_type.work_model()
        below = dict.fromkeys((*model.model_fields, "connection"), kind)
        clean = self._unknown_keys(path, raw, (*COMMON_KEYS, *DELEGATED_KEYS, kind), below)
        if not isinstance(body, dict):
            self._add(
                (*path, kind),
                f"must hold keys, not {kind_of(body)}",
                "write connection: and what to do",
                key=body is None,
            )
            body, clean = {}, False
            connection: Any = "unknown"
        else:
            connection = body.get("connection", "unknown")
            work = {key: value for key, value in body.items() if key != "connection"}
            clean = self._validate(model, work, {}, (*path, kind), extra_keys=("connection",)) is not None and clean
            if "connection" not in body:
                clean = False
                if (*path, kind, "connection") not in self.meant:
                    self.problems.append(
                        missing_key(self.document, (*path, kind), "connection", "name an Airflow connection")
                    )
            body = work
        outputs = self._outputs(raw.get("outputs", {}), (*path, "outputs"), step_type.output_key)
        data = {key: raw[key] for key in (*COMMON_KEYS, *DELEGATED_KEYS) if key in raw and key != "outputs"}
        places: dict[str, Path] = {key: (*path, key) for key in data}
        places["connection"] = (*path, kind, "connection")
        data |= {"id": "step", "step": kind, "connection": connection, "work": {}}
        found: DelegatedStep | None = self._validate(DelegatedStep, data, places, path)
        if found is None or outputs is None or not clean:
            return None
        return found.model_copy(update={"id": step.id, "work": body, "outputs": outputs})

    def _outputs(self, raw: Any, path: Path, output_key: str) -> dict[str, Output] | None:
        """Return the outputs; None after noting what is wrong. Every system calls their source differently."""
        if not isinstance(raw, dict):
            self._add(path, f"must hold keys, not {kind_of(raw)}", f"write 'name: {{{output_key}: ..., match: ...}}'")
            return None
        found: dict[str, Output] = {}
        for name, value in raw.items():
            here = (*path, name)
            self._check_id(here, "output")
            if not re.match(ID_PATTERN, name):
                self._add(here, f"{name!r} is no id", "use a-z, 0-9 and _, beginning with a letter", key=True)
            output = self._validate(output_model(output_key), value, {}, here)
            if output is not None:
                found[name] = Output(source=output.source, match=output.match, type=output.type)
        return found if len(found) == len(raw) else None

    def _approval(self, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
        body = raw["approval"]
        clean = self._unknown_keys(path, raw, (*COMMON_KEYS, "approval"), dict.fromkeys(APPROVAL_KEYS, "approval"))
        if not isinstance(body, dict):
            self._add(
                (*path, "approval"),
                f"must hold keys, not {kind_of(body)}",
                "write subject: and the question",
                key=body is None,
            )
            return None
        clean = self._unknown_keys((*path, "approval"), body, APPROVAL_KEYS, {}) and clean
        data = {key: raw[key] for key in COMMON_KEYS if key in raw}
        places = {key: (*path, key) for key in data}
        data |= {key: value for key, value in body.items() if key in APPROVAL_KEYS} | {"id": "step"}
        found: ApprovalStep | None = self._validate(ApprovalStep, data, places, (*path, "approval"))
        return found.model_copy(update={"id": step.id}) if found and clean else None

    def _branch(self, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
        here, body = (*path, "branch"), raw["branch"]
        before = len(self.problems)
        self._unknown_keys(path, raw, (*COMMON_KEYS, "branch"), {})
        if not isinstance(body, list) or not body:
            self._add(
                here,
                f"a branch must be a list of rules, not {kind_of(body) if body != [] else 'an empty list'}",
                "write '- when: ...' with then, and '- otherwise: [...]' at the end",
                key=body is None,
            )
            return None
        rules: list[Any] = []
        otherwise: tuple[int, Any] | None = None
        for index, rule in enumerate(body):
            place = (*here, index)
            if not isinstance(rule, dict):
                self._add(place, f"a rule must hold keys, not {kind_of(rule)}", "write when: and then:, or otherwise:")
                continue
            self._unknown_keys(place, rule, ("otherwise",) if "otherwise" in rule else ("when", "then"), {})
            if "otherwise" in rule:
                step.targets += _links((*place, "otherwise"), rule["otherwise"])
                if index < len(body) - 1:
                    self._add(place, "rules after 'otherwise' are never reached", "put otherwise last")
                otherwise = (index, rule["otherwise"])
            else:
                step.targets += _links((*place, "then"), rule.get("then"))
                rules.append((index, {key: value for key, value in rule.items() if key in ("when", "then")}))
        if otherwise is None:
            self._add(
                here,
                "the branch does not say what happens otherwise",
                "add '- otherwise: [...]' at the end; [] ends the stream",
                key=True,
            )
        if not rules:
            self._add(here, "the branch has no rule", "add '- when: ...' with then", key=True)
        for index, rule in rules:
            self._validate(BranchRule, rule, {}, (*here, index))
        data = {key: raw[key] for key in COMMON_KEYS if key in raw} | {"id": "step", "rules": [_NO_RULE]}
        places: dict[str, Path] = {key: (*path, key) for key in COMMON_KEYS}
        index, data["otherwise"] = otherwise or (0, [])
        places["otherwise"] = (*here, index, "otherwise")
        found: BranchStep | None = self._validate(BranchStep, data, places, here)
        if found is None or len(self.problems) > before:
            return None
        checked = tuple(BranchRule.model_validate(rule) for _, rule in rules)
        return found.model_copy(update={"id": step.id, "rules": checked})

    def _decision(self, step: DraftStep, path: Path, raw: dict[str, Any]) -> Step | None:
        here, body = (*path, "decision"), raw["decision"]
        before = len(self.problems)
        self._unknown_keys(path, raw, (*COMMON_KEYS, "decision"), dict.fromkeys(DECISION_KEYS, "decision"))
        if not isinstance(body, dict):
            remedy = "write inputs:, outputs: and rows:"
            self._add(here, f"must hold keys, not {kind_of(body)}", remedy, key=body is None)
            return None
        self._unknown_keys(here, body, DECISION_KEYS, {})
        for group in ("inputs", "outputs"):
            for name in body[group] if isinstance(body.get(group), dict) else ():
                self._check_id((*here, group, name), group[:-1])
        rows = body.get("rows")
        data = {key: value for key, value in body.items() if key in DECISION_KEYS} | {"id": "step"}
        places: dict[str, Path] = {key: (*path, key) for key in COMMON_KEYS}
        if isinstance(rows, list):
            data |= self._rows(rows, (*here, "rows"))
        data |= {key: raw[key] for key in COMMON_KEYS if key in raw}
        found: DecisionStep | None = self._validate(DecisionStep, data, places, here)
        return found.model_copy(update={"id": step.id}) if found and len(self.problems) == before else None

    def _rows(self, rows: list[Any], here: Path) -> dict[str, Any]:
        """Return the rows that are right by themselves, and what is otherwise; the places of the others are noted."""
        good: list[DecisionRow] = []
        otherwise: dict[str, Any] = {}
        for index, row in enumerate(rows):
            place = (*here, index)
            if not isinstance(row, dict):
                self._add(place, f"a row must hold keys, not {kind_of(row)}", "write when: and then:, or otherwise:")
            elif "otherwise" in row:
                self._unknown_keys(place, row, ("otherwise",), {})
                if index < len(rows) - 1:
                    self._add(place, "rows after 'otherwise' are never reached", "put otherwise last")
                last = self._validate(DecisionRow, {"then": row["otherwise"]}, {"then": (*place, "otherwise")}, place)
                otherwise = {} if last is None else {"otherwise": dict(last.then)}
            else:
                found = self._validate(DecisionRow, row, {}, place)
                good += [] if found is None else [found]
        if not good and not any(isinstance(row, dict) and "otherwise" not in row for row in rows):
            self._add(here, "the table has no row", "add '- when: {...}' with then", key=True)
        return {"rows": [row.model_dump() for row in good] or [_NO_ROW], **otherwise}


def _decided_types(body: Any) -> dict[str, str] | None:
    outputs = body.get("outputs") if isinstance(body, dict) else None
    if not isinstance(outputs, dict):
        return None
    return {name: CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn" for name, kind in outputs.items()}


def _links(path: Path, raw: Any) -> list[Link]:
    """Return the step names below ``path``, as far as they are names."""
    if isinstance(raw, str):
        return [(path, raw)]
    if not isinstance(raw, list):
        return []
    return [((*path, index), name) for index, name in enumerate(raw) if isinstance(name, str)]


def _output_types(raw: Any) -> dict[str, str]:
    found = {}
    for name, output in (raw if isinstance(raw, dict) else {}).items():
        kind = output.get("type", "string") if isinstance(output, dict) else None
        found[name] = CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"
    return found
