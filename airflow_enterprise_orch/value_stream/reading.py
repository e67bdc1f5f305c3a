"""YAML text -> checked model: reads a template part by part, and reports everything that is wrong at once."""

from __future__ import annotations

import re
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from airflow_enterprise_orch.delegation.system import StepType, step_types
from airflow_enterprise_orch.undoing import UNDO
from airflow_enterprise_orch.value_stream import checks
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.composing import compose
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.due_checks import check_due
from airflow_enterprise_orch.value_stream.grouping import check_groups
from airflow_enterprise_orch.value_stream.messages import kind_of, missing_key, unknown_key
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.model import Header, Param, ValueStream
from airflow_enterprise_orch.value_stream.model_types import CEL_TYPES, FOR_EACH_FACTS, ID_PATTERN
from airflow_enterprise_orch.value_stream.notes import COMMON_KEYS, COMPENSATE_KEYS, Notes, links
from airflow_enterprise_orch.value_stream.problems import Path, TooMany, closest, listed, template_error
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.schedule_checks import check_schedule
from airflow_enterprise_orch.value_stream.secret_texts import refuse_secrets, without_secrets
from airflow_enterprise_orch.value_stream.steps import (
    DelegatedStep,
    Output,
    Step,
    output_model,
)
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from airflow_enterprise_orch.value_stream.template_folder import read_file
from airflow_enterprise_orch.value_stream.yaml_source import Document, decode, read_yaml

MAX_STEPS = 1_000
"""How many steps a stream may have: each is a task of one Airflow DAG."""
MAX_PARAMS = 500
MAX_JINJA = 5_000
DELEGATED_KEYS = tuple(
    ["outcome", "outputs", "retry", "time_limit", "resource", "at_once", "for_each", "publishes", "compensate"]
)
_BESIDE_WORK = (*COMMON_KEYS, *DELEGATED_KEYS)
_KNOWN_KEYS = frozenset(_BESIDE_WORK)
_OWN_KEYS = _KNOWN_KEYS - {"outputs", "compensate"}
"""Those of them that stand in the step as they are written; the others are read apart."""
_ID = re.compile(ID_PATTERN)


def load(
    source: FilePath | str,
    *,
    name: str | None = None,
    beside: Beside | None = None,
    surroundings: Surroundings | None = None,
) -> ValueStream:
    """Read and check a template; see :meth:`ValueStream.load`."""
    if isinstance(source, FilePath):
        if beside is None:
            beside = Beside.of(source)
            beside.shown = FilePath(name).parent if name else beside.shown
        file = name or str(source)
        text = decode(read_file(source, file), file)
    else:
        file, text = name or "<text>", source
    with ours_if_unforeseen(file):
        if surroundings is None:
            surroundings = Surroundings.on_disk(source) if isinstance(source, FilePath) else Surroundings()
        return _read(text, file, beside, surroundings)


def _read(text: str, file: str, beside: Beside | None, surroundings: Surroundings) -> ValueStream:
    document = read_yaml(text, file)
    if not isinstance(document.data, dict):
        what = f"a template must hold keys, not {kind_of(document.data)}"
        problem = document.problem((), what, "begin with value_stream: and a name")
        raise template_error([*document.problems, problem])
    return _Reader(compose(document, surroundings), beside).read()


class _Reader(Notes):
    """Reads one document."""

    def __init__(self, document: Document, beside: Beside | None) -> None:
        super().__init__(document)
        self.beside = beside
        self.data: dict[str, Any] = document.data

    def read(self) -> ValueStream:
        """Return the stream; :raises TemplateError: with everything that is wrong."""
        try:
            stream = self._stream()
        except TooMany:
            stream = None
        if stream is None:
            raise template_error(without_secrets(problem) for problem in self.problems if self.is_news(problem))
        return stream

    def _stream(self) -> ValueStream | None:
        """Return the stream; None when something is wrong, which is noted."""
        if not self._is_of_a_size_to_read():
            return None
        refuse_secrets(self.document)
        self.problems.extend(problem for problem in self.document.problems if problem not in self.problems)
        header = {key: value for key, value in self.data.items() if key != "steps"}
        self.validate(Header, header, {}, (), extra_keys=("steps",))
        params = self._params()
        draft = Draft(self.document, self._param_types(), self._steps(), self.beside)
        for check in (
            checks.check_params(draft, params),
            checks.check_business(draft),
            check_schedule(draft, params),
            check_groups(draft),
            checks.check_graph(draft),
            checks.check_steps(draft),
            check_due(draft),
        ):
            self.problems.extend(check)
        if self.problems:
            return None
        steps = {name: step.model for name, step in draft.steps.items()}
        seen = dict(sorted(self.beside.seen.items())) if self.beside is not None else {}
        return ValueStream.model_validate({**header, "steps": steps, "calendars": draft.calendars, "seen": seen})

    def _is_of_a_size_to_read(self) -> bool:
        """Note what is so much of that checking it would take too long."""
        for group, many in (("steps", MAX_STEPS), ("params", MAX_PARAMS)):
            found = self.data.get(group)
            if isinstance(found, dict) and len(found) > many:
                what = f"there are {len(found):,} {group}, more than {many:,}"
                self.add((group, list(found)[many]), what, "split the stream", key=True)
        file = "\n".join(self.document.lines)
        if file.count("{{") + file.count("{%") > MAX_JINJA:
            what = f"the template holds more than {MAX_JINJA:,} expressions of Jinja"
            self.add((), what, "hand the data over in files")
        return not self.problems

    # -------------------------------------------------------------------------------------------------- params

    def _params(self) -> dict[str, Param]:
        """Return the params that are right by themselves; what is wrong with others is noted already."""
        found: dict[str, Param] = {}
        raw = self.data.get("params")
        for name, value in (raw if isinstance(raw, dict) else {}).items():
            self.check_id(("params", name), "param")
            try:
                found[name] = Param.model_validate(value)
            except ValidationError:
                continue
        return found

    def _param_types(self) -> dict[str, str]:
        raw = self.data.get("params")
        found = {}
        for name, value in (raw if isinstance(raw, dict) else {}).items():
            if _ID.fullmatch(name):
                kind = value.get("type") if isinstance(value, dict) else None
                found[name] = CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"
        return found

    # --------------------------------------------------------------------------------------------------- steps

    def _steps(self) -> dict[str, DraftStep]:
        raw = self.data.get("steps")
        if raw is None or raw == {}:
            remedy = "add one, such as 'book: {mainframe.job: {...}}'"
            if "steps" in self.data:
                self.add(("steps",), "there are no steps", remedy, key=True)
            else:
                self.problems.append(missing_key(self.document, (), "steps", "add it, with at least one step"))
            return {}
        if not isinstance(raw, dict):
            self.add(("steps",), f"must hold keys, not {kind_of(raw)}", "write each step as 'name: {...}'")
            return {}
        return {name: self._step(name, value) for name, value in raw.items()}

    def _step(self, name: str, raw: Any) -> DraftStep:
        path: Path = ("steps", name)
        if not _ID.fullmatch(name) or len(name) > 100:
            self.add(path, f"{name!r} is no id", "use a-z, 0-9 and _, beginning with a letter, at most 100", key=True)
        self.check_id(path, "step")
        step = DraftStep(name)
        if not isinstance(raw, dict):
            self.add(
                path,
                f"a step must hold keys, not {kind_of(raw)}",
                "say what it does, such as mainframe.job: {...}",
                key=True,
            )
            return step
        step.links = links((*path, "after"), raw.get("after"))
        types = step_types()
        kinds = [key for key in raw if key in OWN_KINDS or key in types]
        if len(kinds) > 1:
            self.add(
                (*path, kinds[1]),
                f"a step does one thing, this one has {listed(kinds)}",
                "make a step of each",
                key=True,
            )
        elif not kinds:
            self._no_kind(path, raw)
        elif kinds[0] in OWN_KINDS:
            own = OWN_KINDS[kinds[0]]
            step.kind, step.facts = kinds[0], own.facts(raw)
            step.model = own.read(self, step, path, raw)
        else:
            step.kind, step.type = "delegated", kinds[0]
            step_type = types[kinds[0]][1]
            step.facts = {**_output_types(raw.get("outputs")), **step_type.facts}
            if "for_each" in raw:
                step.facts = FOR_EACH_FACTS
            step.model = self._delegated(step, path, raw, step_type)
        return step

    def _no_kind(self, path: Path, raw: dict[str, Any]) -> None:
        kinds = sorted((*step_types(), *OWN_KINDS))
        others = [key for key in raw if key not in _BESIDE_WORK]
        told = False
        for key in others:
            suggestion = closest(key, kinds)
            if suggestion or "." in key or isinstance(raw[key], dict):
                told = True
                what = f"there is no step type {key!r}"
                self.add((*path, key), what, f"known are {listed(kinds)}", suggestion=suggestion, key=True)
            else:
                self.problems.append(unknown_key(self.document, (*path, key), _BESIDE_WORK))
        if not told:
            self.add(path, "the step does not say what to do", f"add one of {listed(kinds, 'or')}", key=True)

    def _delegated(self, step: DraftStep, path: Path, raw: dict[str, Any], step_type: StepType) -> Step | None:
        kind, body = step_type.name, raw[step_type.name]
        model = step_type.work_model()
        clean = True
        if raw.keys() - _KNOWN_KEYS != {kind}:
            below = dict.fromkeys((*model.model_fields, "connection"), kind)
            clean = self.unknown_keys(path, raw, (*_BESIDE_WORK, kind), below)
        if not isinstance(body, dict):
            self.add(
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
            clean = self.validate(model, work, {}, (*path, kind), extra_keys=("connection",)) is not None and clean
            if "connection" not in body:
                clean = False
                if (*path, kind, "connection") not in self.meant:
                    self.problems.append(
                        missing_key(self.document, (*path, kind), "connection", "name an Airflow connection")
                    )
            body = work
        outputs = self._outputs(raw.get("outputs", {}), (*path, "outputs"), step_type.output_key)
        data = {key: value for key, value in raw.items() if key in _OWN_KEYS}
        places: dict[str, Path] = {key: (*path, key) for key in data}
        places["connection"] = (*path, kind, "connection")
        data |= {"id": "step", "step": kind, "connection": connection, "work": {}}
        found: DelegatedStep | None = self.validate(DelegatedStep, data, places, path)
        undo = self._compensation(step, (*path, "compensate"), raw["compensate"]) if "compensate" in raw else None
        if found is None or outputs is None or not clean or ("compensate" in raw and undo is None):
            return None
        more = {} if undo is None else {"compensate": undo}
        return found.model_copy(update={"id": step.id, "work": body, "outputs": outputs, **more})

    def _compensation(self, step: DraftStep, path: Path, raw: Any) -> Step | None:
        """Read the work that undoes a step."""
        if not isinstance(raw, dict):
            remedy = "say what undoes the step, such as mainframe.job: {...}"
            self.add(path, f"must hold keys, not {kind_of(raw)}", remedy, key=raw is None)
            return None
        kinds = [key for key in raw if key in step_types()]
        if len(kinds) != 1:
            known = listed(sorted(step_types()), "or")
            what = f"one work undoes a step, this has {listed(kinds) or 'none'}"
            close = "" if kinds else next((found for key in raw if (found := closest(key, step_types()))), "")
            self.add(path, what, f"write one of {known}", suggestion=close, key=True)
            return None
        kind, before = kinds[0], len(self.problems)
        self.unknown_keys(path, raw, (*COMPENSATE_KEYS, kind), {})
        known_keys = {key: value for key, value in raw.items() if key in (*COMPENSATE_KEYS, kind)}
        step.undo = DraftStep(f"{step.id}{UNDO}", "delegated", kind, links=[(path, step.id)])
        step.undo.model = self._delegated(DraftStep(step.id), path, known_keys, step_types()[kind][1])
        return step.undo.model if len(self.problems) == before else None

    def _outputs(self, raw: Any, path: Path, output_key: str) -> dict[str, Output] | None:
        """Return the outputs; None after noting what is wrong. Every system calls their source differently."""
        if not isinstance(raw, dict):
            self.add(path, f"must hold keys, not {kind_of(raw)}", f"write 'name: {{{output_key}: ..., match: ...}}'")
            return None
        found: dict[str, Output] = {}
        for name, value in raw.items():
            here = (*path, name)
            self.check_id(here, "output")
            if not _ID.fullmatch(name):
                self.add(here, f"{name!r} is no id", "use a-z, 0-9 and _, beginning with a letter", key=True)
            output = self.validate(output_model(output_key), value, {}, here)
            if output is not None:
                # Each field has been checked; only the word for the source was the system's own.
                found[name] = Output.model_construct(source=output.source, match=output.match, type=output.type)
        return found if len(found) == len(raw) else None


def _output_types(raw: Any) -> dict[str, str]:
    found = {}
    for name, output in (raw if isinstance(raw, dict) else {}).items():
        kind = output.get("type", "string") if isinstance(output, dict) else None
        found[name] = CEL_TYPES.get(kind, "dyn") if isinstance(kind, str) else "dyn"
    return found
