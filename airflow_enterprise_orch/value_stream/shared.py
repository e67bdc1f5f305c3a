"""Shared files: ``bank.shared.yaml`` holds defaults and fragments for the templates that say ``use: [bank]``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.value_stream.checks import check_param
from airflow_enterprise_orch.value_stream.composed import Node, merged, wrap
from airflow_enterprise_orch.value_stream.draft import Draft
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.model import Header, Param
from airflow_enterprise_orch.value_stream.model_types import ID_PATTERN
from airflow_enterprise_orch.value_stream.notes import COMPENSATE_KEYS, Notes
from airflow_enterprise_orch.value_stream.problems import Path, closest, listed, template_error
from airflow_enterprise_orch.value_stream.secret_texts import refuse_secrets
from airflow_enterprise_orch.value_stream.side_source import read_side_file
from airflow_enterprise_orch.value_stream.step_parts import BaseStep
from airflow_enterprise_orch.value_stream.steps import ApprovalStep, DelegatedStep
from airflow_enterprise_orch.value_stream.yaml_source import Document

STEPS, STREAM = "steps", "stream"
"""Below ``defaults``: what holds for all steps that do work, and for the stream itself."""

WORK_KEYS = tuple(
    name
    for name in DelegatedStep.model_fields
    if name not in ("id", "title", "after", "group", "step", "connection", "work", "compensate")
)
"""What stands in a step beside its work and can be the same in others; what undoes a step is its own."""
STEPS_KEYS = tuple(name for name in WORK_KEYS if name != "outputs")
"""What can be the same for all steps; outputs cannot, each system has its own word for where they stand."""
STREAM_KEYS = tuple(
    field.alias or name
    for name, field in Header.model_fields.items()
    if name not in ("id", "title", "params", "use", "groups")
)
OWN_BODIES: Mapping[str, tuple[str, ...]] = {
    "approval": tuple(name for name in ApprovalStep.model_fields if name not in BaseStep.model_fields)
}
"""The steps that Airflow itself does and that can have defaults, with their keys."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A few steps that templates can use as one.

    :param steps: step to what it says, with the places in the shared file.
    """

    shared: str
    name: str
    params: Mapping[str, Param]
    defaults: Mapping[str, Node]
    steps: Mapping[str, Node]


@dataclass(frozen=True, slots=True)
class Shared:
    """One shared file.

    :param defaults: by what they hold for: ``steps``, ``stream``, a step type.
    """

    name: str
    defaults: Mapping[str, Node]
    fragments: Mapping[str, Fragment]


@lru_cache(maxsize=128)
def read_shared(content: bytes, file: str, name: str) -> Shared:
    """Return what a shared file says; :raises TemplateError: with everything that is wrong with it."""
    document = read_side_file(content, file, "shared", name)
    reader = _Reader(document, name)
    found = reader.read()
    if reader.problems:
        raise template_error(reader.problems)
    return found


class _Reader(Notes):
    def __init__(self, document: Document, name: str) -> None:
        super().__init__(document)
        self.name = name
        self.root = wrap(document, document.data)

    def read(self) -> Shared:
        data = self.document.data
        refuse_secrets(self.document)
        self.problems.extend(self.document.problems)
        self.unknown_keys((), data, ("shared", "defaults", "fragments"), {})
        for key in ("defaults", "fragments"):
            if key in data and not isinstance(data[key], dict):
                self.add((key,), f"must hold keys, not {kind_of(data[key])}", "write key: value", key=data[key] is None)
        if not data.keys() & {"defaults", "fragments"} and not self.problems:
            self.add((), "the file shares nothing", "add defaults: or fragments:")
        defaults, fragments = self._keys("defaults"), self._keys("fragments")
        for name, node in defaults.items():
            self._default(name, node)
        return Shared(
            self.name,
            defaults,
            {name: fragment for name, node in fragments.items() if (fragment := self._fragment(name, node))},
        )

    def _keys(self, key: str) -> dict[str, Node]:
        node = self.root.child(key)
        return node.value if node is not None and isinstance(node.value, dict) else {}

    def _default(self, name: str, node: Node) -> None:
        path: Path = ("defaults", name)
        known = _default_keys(name)
        if known is None:
            names = [STEPS, STREAM, *OWN_BODIES, *step_types()]
            what = f"there are no defaults for {name!r}"
            remedy = f"known are {listed(sorted(names))}"
            self.add(path, what, remedy, suggestion=closest(name, names), key=True)
        elif not isinstance(node.value, dict):
            self.add(path, f"must hold keys, not {kind_of(node.value)}", "write key: value", key=node.value is None)
        else:
            self.unknown_keys(path, node.value, known, {})

    def _fragment(self, name: str, node: Node) -> Fragment | None:
        path: Path = ("fragments", name)
        self._check_name(path, "fragment")
        if not isinstance(node.value, dict):
            what = f"must hold keys, not {kind_of(node.value)}"
            self.add(path, what, "write steps: and what they do", key=node.value is None)
            return None
        self.unknown_keys(path, node.value, ("params", "steps"), {})
        params = self._params(node.child("params"), (*path, "params"))
        steps = node.child("steps")
        if steps is None or not isinstance(steps.value, dict) or not steps.value:
            if (*path, "steps") not in self.meant:
                self.add((*path, "steps"), "a fragment has steps", "add steps: and what they do", key=True)
            return None
        for step, body in steps.value.items():
            self._check_name((*path, "steps", step), "step")
            if not isinstance(body.value, dict):
                what = f"a step must hold keys, not {kind_of(body.value)}"
                self.add((*path, "steps", step), what, "say what it does, such as mainframe.job: {...}", key=True)
        given = node.child("params")
        defaults = {
            param: default
            for param, body in (given.value if given is not None and isinstance(given.value, dict) else {}).items()
            if (default := body.child("default")) is not None
        }
        return Fragment(self.name, name, params, defaults, steps.value)

    def _params(self, node: Node | None, path: Path) -> dict[str, Param]:
        if node is None:
            return {}
        if not isinstance(node.value, dict):
            self.add(path, f"must hold keys, not {kind_of(node.value)}", "write 'name: {type: string}'")
            return {}
        found: dict[str, Param] = {}
        for name in node.value:
            self._check_name((*path, name), "param")
            raw = self.document.get((*path, name))
            param = self.validate(Param, raw, {}, (*path, name)) if isinstance(raw, dict) else None
            if not isinstance(raw, dict):
                what = f"must hold keys, not {kind_of(raw)}"
                self.add((*path, name), what, "write type: and which it is", key=raw is None)
            if param is not None:
                self.problems += check_param(Draft(self.document, {}, {}), (*path, name), param)
                found[name] = param
        return found

    def _check_name(self, path: Path, what: str) -> None:
        name = str(path[-1])
        if not re.match(ID_PATTERN, name) or len(name) > 100:
            remedy = "use a-z, 0-9 and _, beginning with a letter, at most 100"
            self.add(path, f"{name!r} is no id", remedy, key=True)
        self.check_id(path, what)


def _default_keys(name: str) -> tuple[str, ...] | None:
    """Return the keys that defaults for something can have; None when there is no such thing."""
    if name == STEPS:
        return STEPS_KEYS
    if name == STREAM:
        return STREAM_KEYS
    if name in OWN_BODIES:
        return OWN_BODIES[name]
    if name in step_types():
        fields = step_types()[name][1].work_model().model_fields
        return ("connection", *(field.alias or key for key, field in fields.items()), *WORK_KEYS)
    return None


class Defaults:
    """The defaults of all shared files that a template uses; a later file's before an earlier one's."""

    def __init__(self, files: Iterable[Shared]) -> None:
        self._found: dict[str, Node | None] = {}
        for shared in files:
            for name, node in shared.defaults.items():
                self._found[name] = merged(self._found.get(name), node)

    def __bool__(self) -> bool:
        return bool(self._found)

    def for_stream(self, root: Node) -> Node:
        """Return a template with what it does not say itself."""
        found = merged(self._found.get(STREAM), root)
        return root if found is None else found

    def for_step(self, step: Node) -> Node:
        """Return a step with what it does not say itself: its type's defaults, then those of all steps.

        So does the work that undoes it.
        """
        if not isinstance(step.value, dict):
            return step
        kinds = [key for key in step.value if key in step_types() or key in OWN_BODIES]
        if len(kinds) != 1 or not isinstance(step.value[kinds[0]].value, dict):
            return step
        kind = kinds[0]
        own = self._found.get(kind)
        beside: dict[str, Node] = {}
        body: dict[str, Node] = {}
        for key, node in (own.value if own is not None else {}).items():
            (beside if kind not in OWN_BODIES and key in WORK_KEYS else body)[key] = node
        everywhere = self._found.get(STEPS) if kind not in OWN_BODIES else None
        laid: Any = merged(everywhere, step.at(beside))
        if body:
            laid = merged(laid, step.at({kind: step.value[kind].at(body)}))
        found = merged(laid, step) or step
        undo = found.child("compensate")
        if undo is None or not isinstance(undo.value, dict):
            return found
        known = {*undo.value, *step_types(), *COMPENSATE_KEYS}
        told = {key: node for key, node in self.for_step(undo).value.items() if key in known}
        return found.at({**found.value, "compensate": undo.at(told)})
