"""Fragments: a step that uses one is replaced by the fragment's steps, as a group of the step's name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_enterprise_orch.value_stream.checks import wrong_value
from airflow_enterprise_orch.value_stream.composed import Node, Run, count
from airflow_enterprise_orch.value_stream.grouping import Groups, named, targets, with_names
from airflow_enterprise_orch.value_stream.jinja_names import Block, Name, blocks, names_in
from airflow_enterprise_orch.value_stream.messages import kind_of, unknown_key
from airflow_enterprise_orch.value_stream.model import Param
from airflow_enterprise_orch.value_stream.model_types import ID_PATTERN
from airflow_enterprise_orch.value_stream.patterns import compiled
from airflow_enterprise_orch.value_stream.problems import Problem, closest, listed
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.shared import Fragment, Shared
from airflow_enterprise_orch.value_stream.values import stands_for, written

USE_KEYS = ("title", "after", "group", "use")
"""What a step that uses a fragment can say."""
CONDITION_KEYS = ("when",)
"""Below a step that Airflow itself does: the keys that hold conditions; so do the entries of ``inputs``."""

MAX_DEPTH = 8
MAX_STEPS = 1000
MAX_VALUES = 100_000
MAX_PUT_IN = 512 * 1024
MAX_ID = 100

_ALL = "*"
"""Stands for a fragment as a group; no group can be called so."""


class _Refused(Exception):  # no error by itself: the problem is noted already
    """The fragment cannot be put in."""


@dataclass(slots=True)
class _Argument:
    """What a fragment's param stands for.

    :param name: the one name that it reads, when it is nothing but that: ``params.customer_id``.
    """

    node: Node
    param: Param
    name: str = ""

    @property
    def is_text(self) -> bool:
        """It holds Jinja, and not one name alone."""
        return (
            not self.name
            and isinstance(self.node.value, str)
            and "{" in self.node.value
            and any(blocks(self.node.value))
        )


@dataclass(slots=True)
class Expander:
    """Puts the fragments of shared files into a template.

    :param shared: the files that the template uses; of two fragments of a name the later file's counts.
    :ivar groups: the groups that were made, for the template's ``groups``.
    :ivar problems: what is wrong.
    """

    shared: Sequence[Shared]
    problems: list[Problem] = field(default_factory=list)
    _steps: int = 0
    _values: int = 0
    _room: int = MAX_PUT_IN
    _top: Node | None = None
    _too_much: bool = False

    def into(self, root: Node) -> Node:
        """Return a template with steps instead of fragments."""
        steps = root.child("steps")
        if steps is None or not isinstance(steps.value, dict):
            return root
        found, made = self._expanded(steps.value, self.shared, (), _types(root.child("params")))
        if not made:
            return root
        groups = root.child("groups")
        declared = groups.value if groups is not None and isinstance(groups.value, dict) else {}
        for name, node in made.items():
            if name in declared:
                what = f"{name!r} is the name of a group and of a step that uses a fragment"
                self.problems.append(node.problem(what, "rename one of them", key=True))
        together = (groups or root).at({**declared, **made})
        return root.at({**root.value, "groups": together, "steps": steps.at(found)})

    def _expanded(
        self, steps: Mapping[str, Node], scope: Sequence[Shared], way: tuple[str, ...], types: Mapping[str, str]
    ) -> tuple[dict[str, Node], dict[str, Node]]:
        """Return steps without uses, and the groups that these became.

        :param way: the fragments that lead here.
        :param types: of the params that the steps read.
        """
        found: dict[str, Node] = {}
        groups: dict[str, Node] = {}
        for name, step in steps.items():
            if step.child("use") is None:
                found[name] = step
                continue
            if self._too_much:
                break
            if not way:
                self._top = step
            try:
                inner, made = self._one(name, step, scope, way, types)
            except _Refused:
                continue
            for other in (*inner, *made):
                if (other in steps and other != name) or other in found or other in groups:
                    what = f"the fragment's step would be called {other!r}, as another step is"
                    self.problems.append(step.problem(what, "rename one of them", key=True))
            found |= inner
            groups |= made
        return found, groups

    def _refuse(self, problem: Problem) -> _Refused:
        self.problems.append(problem)
        return _Refused()

    def _one(
        self, name: str, step: Node, scope: Sequence[Shared], way: tuple[str, ...], types: Mapping[str, str]
    ) -> tuple[dict[str, Node], dict[str, Node]]:
        if not re.match(ID_PATTERN, name):
            remedy = "use a-z, 0-9 and _, beginning with a letter, at most 100"
            raise self._refuse(step.problem(f"{name!r} is no id", remedy, key=True))
        fragment, given = self._named(step, scope)
        if fragment.name in way:
            circle = " -> ".join([*way[way.index(fragment.name) :], fragment.name])
            raise self._refuse(
                step.value["use"].problem(f"the fragments go round in a circle: {circle}", "remove one of these uses")
            )
        if len(way) >= MAX_DEPTH:
            what = f"fragments use fragments more than {MAX_DEPTH} deep"
            raise self._refuse(step.value["use"].problem(what, "make it flatter"))
        arguments = self._arguments(fragment, step.value["use"], given, types)
        own = [one for one in self.shared if one.name == fragment.shared]
        inner, groups = self._expanded(fragment.steps, own, (*way, fragment.name), _declared(fragment))
        self._spend(step, inner)
        edit = _Edit(self, fragment, name, {*inner, *groups}, arguments)
        first = _first(inner, groups)
        found: dict[str, Node] = {}
        for one, body in inner.items():
            changed = edit.step(body)
            if one in first and "after" in step.value:
                changed = changed.at({**changed.value, "after": step.value["after"]})
            group = body.child("group")
            inside = f"{name}_{group.value}" if group is not None and group.value in groups else name
            if group is not None and group.value not in groups:
                what = f"the fragment {fragment.name!r} has no group {group.value!r}"
                self.problems.append(group.problem(what, "remove it: its steps are a group already", key=True))
            if len(name) + len(one) >= MAX_ID:
                what = f"the fragment's step would be called {f'{name}_{one}'!r}, which is too long"
                raise self._refuse(step.problem(what, "choose a shorter name", key=True))
            found[f"{name}_{one}"] = changed.at({**changed.value, "group": (group or step).at(inside)})
        made = {name: step.at({key: step.value[key] for key in ("title", "group") if key in step.value})}
        for one, body in groups.items():
            above = body.child("group")
            inside = f"{name}_{above.value}" if above is not None else name
            made[f"{name}_{one}"] = body.at({**body.value, "group": (above or body).at(inside)})
        return found, made

    def _named(self, step: Node, scope: Sequence[Shared]) -> tuple[Fragment, Node]:
        """Return the fragment that a step uses, and what it gives it."""
        document, path, use = step.document, step.path, step.value["use"]
        before = len(self.problems)
        for key in step.value:
            if key not in USE_KEYS:
                remedy = "make a step of its own of it" if key in OWN_KINDS or "." in key else ""
                self.problems.append(unknown_key(document, (*path, key), USE_KEYS, remedy))
        if not isinstance(use.value, dict):
            what = f"must hold keys, not {kind_of(use.value)}"
            raise self._refuse(use.problem(what, "write {fragment: <name>, with: {...}}", key=use.value is None))
        for key in use.value:
            if key not in ("fragment", "with"):
                self.problems.append(unknown_key(document, (*use.path, key), ("fragment", "with")))
        name = use.child("fragment")
        if name is None or not isinstance(name.value, str):
            place = name or use
            raise self._refuse(place.problem("names no fragment", "write fragment: and its name", key=name is None))
        known = {one: fragment for shared in scope for one, fragment in shared.fragments.items()}
        if name.value not in known:
            remedy = (
                f"known are {listed(sorted(known))}" if known else "use: names the shared files that have fragments"
            )
            what = f"there is no fragment {name.value!r}"
            raise self._refuse(name.problem(what, remedy, suggestion=closest(name.value, known)))
        given = use.child("with") or use.at({})
        if not isinstance(given.value, dict):
            raise self._refuse(given.problem(f"must hold keys, not {kind_of(given.value)}", "write 'param: value'"))
        if len(self.problems) > before:
            raise _Refused
        return known[name.value], given

    def _spend(self, step: Node, inner: Mapping[str, Node]) -> None:
        self._steps += len(inner)
        self._values += sum(map(count, inner.values()))
        if self._steps > MAX_STEPS or self._values > MAX_VALUES:
            raise self._enough(step, f"fragments make more than {MAX_STEPS} steps or {MAX_VALUES} values")

    def spend_text(self, node: Node, text: str) -> None:
        """Note it once when more is put into texts than anybody needs."""
        self._room -= len(text)
        if self._room < 0:
            raise self._enough(node, f"more than {MAX_PUT_IN // 1024} KB are put into the texts of fragments")

    def _enough(self, node: Node, what: str) -> _Refused:
        self._too_much = True
        return self._refuse((self._top or node).problem(what, "use less of them, or split the stream", key=True))

    # --------------------------------------------------------------------------------------------------- arguments

    def _arguments(self, fragment: Fragment, use: Node, given: Node, types: Mapping[str, str]) -> dict[str, _Argument]:
        before = len(self.problems)
        found: dict[str, _Argument] = {}
        for name, node in given.value.items():
            param = fragment.params.get(name)
            if param is None:
                known = f"it has {listed(list(fragment.params))}" if fragment.params else "it has none"
                what = f"the fragment {fragment.name!r} has no param {name!r}"
                self.problems.append(node.problem(what, known, suggestion=closest(name, fragment.params), key=True))
            else:
                found[name] = self._argument(param, node, types)
        for name, param in fragment.params.items():
            if name in found:
                continue
            if param.required:
                what = f"the fragment's param {name!r} is not given"
                where = use.child("with") or use
                self.problems.append(where.problem(what, f"add {name}: below with", key=True))
            else:
                found[name] = _Argument(fragment.defaults[name], param)
        if len(self.problems) > before:
            raise _Refused
        return found

    def _argument(self, param: Param, node: Node, types: Mapping[str, str]) -> _Argument:
        value = node.value
        read = list(blocks(value)) if isinstance(value, str) else []
        if read:
            only = read[0].names
            if len(read) == 1 and (read[0].start, read[0].end) == (0, len(value)) and len(only) == 1:
                name = only[0]
                if read[0].is_only(value, name) and name.parts[0] != "values":
                    kind = types.get(name.parts[1]) if name.parts[0] == "params" and len(name.parts) == 2 else None
                    if kind is not None and param.type not in (kind, "string"):
                        what = f"the param's type is {param.type!r}, that of 'params.{name.parts[1]}' is {kind!r}"
                        self.problems.append(node.problem(what, "hand over one of the same type", offset=name.start))
                    return _Argument(node, param, ".".join(name.parts))
            if param.type == "string" or all(name.parts[0] == "values" for block in read for name in block.names):
                return _Argument(node, param)
            what = f"the param's type is {param.type!r}, this is a text"
            self.problems.append(node.problem(what, "give a value, or one name such as {{ params.amount }}"))
            return _Argument(node, param)
        wrong = wrong_value(param, value, compiled(param.pattern)[0] if param.pattern is not None else None)
        if wrong is None and param.choices is not None and value not in param.choices:
            wrong = f"{value!r} is none of the choices", f"use {listed([str(one) for one in param.choices], 'or')}"
        if wrong is not None:
            self.problems.append(node.problem(*wrong, key=value is None))
        return _Argument(node, param)


@dataclass(slots=True)
class _Edit:
    """Rewrites the steps of one fragment for the place where it is used.

    :param prefix: the id of the step that uses it.
    :param own: the fragment's steps, and the groups among them.
    """

    expander: Expander
    fragment: Fragment
    prefix: str
    own: set[str]
    arguments: Mapping[str, _Argument]

    def step(self, step: Node) -> Node:
        """Return a step with the names that it has in the template, and its params filled in."""
        for one in (*named(step.child("after")), *targets(step)):
            if one.value not in self.own:
                self._unknown(one, one.value, None, "")
        found = with_names(step, {name: (f"{self.prefix}_{name}",) for name in self.own})
        return found.at({key: self._tree(node, key in OWN_KINDS, condition=False) for key, node in found.value.items()})

    def _tree(self, node: Node, own_kind: bool, *, condition: bool) -> Node:
        if isinstance(node.value, dict):
            return node.at(
                {
                    key: self._tree(item, own_kind, condition=own_kind and (condition or key in CONDITION_KEYS))
                    if key != "inputs"
                    else self._inputs(item, own_kind)
                    for key, item in node.value.items()
                }
            )
        if isinstance(node.value, list):
            return node.at([self._tree(item, own_kind, condition=condition) for item in node.value])
        return self._text(node, condition=condition) if isinstance(node.value, str) else node

    def _inputs(self, node: Node, own_kind: bool) -> Node:
        if not isinstance(node.value, dict):
            return self._tree(node, own_kind, condition=False)
        return node.at({key: self._tree(item, own_kind, condition=own_kind) for key, item in node.value.items()})

    def _text(self, node: Node, *, condition: bool) -> Node:
        text: str = node.value
        changes: list[tuple[int, int, tuple[Run, ...]]] = []
        if condition:
            for name in names_in(text):
                changes += self._name(node, name, double=True)
        for block in blocks(text) if not condition else ():
            whole = self._whole(node, block)
            if isinstance(whole, Node):
                return whole
            if whole is not None:
                changes.append((block.start, block.end, whole))
                continue
            for name in block.names:
                changes += self._name(node, name, double=False)
        if not changes:
            return node
        found = node.with_changes(changes)
        self.expander.spend_text(node, found.value)
        return found

    def _whole(self, node: Node, block: Block) -> Node | tuple[Run, ...] | None:
        """Return what ``{{ params.x }}`` by itself stands for; a node where it is all of the text."""
        if len(block.names) != 1 or not block.is_only(node.value, block.names[0]):
            return None
        name = block.names[0]
        argument = self.arguments.get(name.parts[1]) if name.parts[0] == "params" and len(name.parts) == 2 else None
        if argument is None:
            return None
        if (block.start, block.end) == (0, len(node.value)):
            self.expander.spend_text(node, str(argument.node.value))
            return argument.node
        if isinstance(argument.node.value, str):
            return argument.node.pieces()
        return (stands_for(written(argument.node.value), argument.node, 0),)

    def _name(self, node: Node, name: Name, *, double: bool) -> Iterator[tuple[int, int, tuple[Run, ...]]]:
        """Yield what stands for a name inside a condition or an expression."""
        group, *rest = name.parts
        if group == "steps" and rest:
            if rest[0] not in self.own:
                self._unknown(node, rest[0], name, "steps.")
                return
            new = ".".join([group, f"{self.prefix}_{rest[0]}", *rest[1:]])
            yield name.start, name.end, (stands_for(new, node, name.start),)
        elif group == "params" and rest:
            argument = self.arguments.get(rest[0])
            if argument is None:
                params = self.fragment.params
                close = closest(rest[0], params)
                what = f"the fragment {self.fragment.name!r} has no param {rest[0]!r}"
                remedy = "correct it" if close else "declare it under the fragment's params, and hand it over by with"
                suggestion = close and f"params.{close}"
                self.expander.problems.append(node.problem(what, remedy, suggestion=suggestion, offset=name.start))
            elif argument.is_text:
                what = f"param {rest[0]!r} is given as a text with Jinja, which cannot stand inside an expression"
                self.expander.problems.append(argument.node.problem(what, "give a value, or one name"))
            else:
                new = ".".join([argument.name or _literal(argument, double=double), *rest[1:]])
                yield name.start, name.end, (stands_for(new, argument.node, 0),)

    def _unknown(self, node: Node, step: str, name: Name | None, prefix: str) -> None:
        close = closest(step, self.own)
        what = f"the fragment {self.fragment.name!r} has no step {step!r}"
        remedy = "correct it" if close else "a fragment sees its own steps only: hand the value over by with"
        suggestion = close and prefix + close
        offset = name.start if name is not None else None
        self.expander.problems.append(node.problem(what, remedy, suggestion=suggestion, offset=offset))


def _types(params: Node | None) -> dict[str, str]:
    """Return the types of a template's params, as far as they can be told."""
    found = {}
    for name, body in (params.value if params is not None and isinstance(params.value, dict) else {}).items():
        kind = body.child("type")
        if kind is not None and isinstance(kind.value, str):
            found[name] = kind.value
    return found


def _declared(fragment: Fragment) -> dict[str, str]:
    return {name: param.type for name, param in fragment.params.items()}


def _first(steps: Mapping[str, Node], groups: Mapping[str, Node]) -> tuple[str, ...]:
    """Return the steps of a fragment that come after no other of it."""
    inside = {name: step if "group" in step.value else step.at({**step.value, "group": step.at(_ALL)})
              for name, step in steps.items()}  # fmt: skip
    above = {name: _group(node) or _ALL for name, node in groups.items()}
    return Groups(inside, {_ALL: "", **above}).first(_ALL)


def _group(node: Node) -> str:
    group = node.child("group")
    return group.value if group is not None and isinstance(group.value, str) else ""


def _literal(argument: _Argument, *, double: bool) -> str:
    """Write a value as a condition (CEL) or an expression (Jinja) does."""
    value: Any = argument.node.value
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if double and argument.param.type == "number" and isinstance(value, int):
        return str(float(value))
    return written(value)
