"""Groups of steps: who is first and last in one, and what it means to come after it; on a template not yet checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from airflow_enterprise_orch.value_stream.composed import Node
from airflow_enterprise_orch.value_stream.draft import Draft
from airflow_enterprise_orch.value_stream.problems import Path, Problem, closest
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS

TARGET_KEYS = ("then", "otherwise")
"""Below a step that chooses: the keys that hold the steps which it can choose."""


def named(node: Node | None) -> Iterator[Node]:
    """Yield the names that a value holds: one, or a list of them."""
    for one in node.value if node is not None and isinstance(node.value, list) else [node]:
        if one is not None and isinstance(one.value, str):
            yield one


def targets(step: Node) -> Iterator[Node]:
    """Yield the names of the steps that a step can choose."""
    for kind in OWN_KINDS:
        body = step.child(kind)
        if body is not None:
            yield from _targets(body)


def _targets(node: Node) -> Iterator[Node]:
    if isinstance(node.value, list):
        for item in node.value:
            yield from _targets(item)
    elif isinstance(node.value, dict):
        for key, item in node.value.items():
            if key in TARGET_KEYS:
                yield from named(item)
            if isinstance(item.value, (dict, list)):
                yield from _targets(item)


def with_names(step: Node, names: Mapping[str, Collection[str]]) -> Node:
    """Return a step in which other names stand for some: in its ``after``, and where it chooses."""
    if not isinstance(step.value, dict):
        return step
    changed = {key: _with_targets(node, names) for key, node in step.value.items() if key in OWN_KINDS}
    if "after" in step.value:
        changed["after"] = _replaced(step.value["after"], names)
    return step.at({key: changed.get(key, node) for key, node in step.value.items()})


def _with_targets(node: Node, names: Mapping[str, Collection[str]]) -> Node:
    if isinstance(node.value, list):
        return node.at([_with_targets(item, names) for item in node.value])
    if not isinstance(node.value, dict):
        return node
    return node.at({
        key: _replaced(item, names) if key in TARGET_KEYS and not isinstance(item.value, dict)
        else _with_targets(item, names)
        for key, item in node.value.items()
    })  # fmt: skip


def _replaced(node: Node, names: Mapping[str, Collection[str]]) -> Node:
    if isinstance(node.value, str):
        new = names.get(node.value)
        return node if new is None else node.at(next(iter(new))) if len(new) == 1 else node.at([*map(node.at, new)])
    if not isinstance(node.value, list):
        return node
    here = {one.value for one in node.value if isinstance(one.value, str) and one.value not in names}
    found: list[Node] = []
    for one in node.value:
        new = names.get(one.value) if isinstance(one.value, str) else None
        if new is None:
            found.append(one)
            continue
        # What a group stands for may be named beside it as well.
        found += [one.at(name) for name in new if name not in here]
        here.update(new)
    return node.at(found)


class Groups:
    """The groups of some steps.

    :param steps: step to what it says.
    :param parents: group to the group that it stands in, "" for none.
    """

    def __init__(self, steps: Mapping[str, Node], parents: Mapping[str, str]) -> None:
        self._steps, self._parents = steps, parents

    @cached_property
    def members(self) -> Mapping[str, tuple[str, ...]]:
        """The steps in each group, those of the groups in it included."""
        found: dict[str, list[str]] = {name: [] for name in self._parents}
        for name, step in self._steps.items():
            group = step.child("group")
            above = group.value if group is not None and isinstance(group.value, str) else ""
            seen: set[str] = set()
            while above in found and above not in seen:
                found[above].append(name)
                seen.add(above)
                above = self._parents[above]
        return {name: tuple(steps) for name, steps in found.items()}

    def last(self, group: str) -> tuple[str, ...]:
        """Return the steps of a group that no other step of it comes after; all of them where they go in a circle."""
        inside = set(self.members[group])
        followed: set[str] = set()
        for step in inside:
            for before in self._before[step]:
                followed |= inside & ({before} | set(self.members.get(before, ()))) - {step}
            if self._chosen[step] & inside:
                followed.add(step)
        return tuple(step for step in self.members[group] if step not in followed) or self.members[group]

    def first(self, group: str) -> tuple[str, ...]:
        """Return the steps of a group that come after no other step of it; all of them where they go in a circle."""
        inside = set(self.members[group])
        chosen = {target for step in inside for target in self._chosen[step]}
        found = tuple(
            step
            for step in self.members[group]
            if step not in chosen
            and not any(inside & ({one} | set(self.members.get(one, ()))) - {step} for one in self._before[step])
        )
        return found or self.members[group]

    @cached_property
    def _before(self) -> Mapping[str, frozenset[str]]:
        return {name: frozenset(one.value for one in named(step.child("after"))) for name, step in self._steps.items()}

    @cached_property
    def _chosen(self) -> Mapping[str, frozenset[str]]:
        """Of each step those that it can choose, the steps of groups included."""
        found = {}
        for name, step in self._steps.items():
            chosen = {one.value for one in targets(step)} if isinstance(step.value, dict) else set()
            inside = [step for group in chosen for step in self.members.get(group, ())]
            found[name] = frozenset((chosen | set(inside)) - {name})
        return found


def parents(groups: Node | None) -> dict[str, str]:
    """Return each group with the group that it stands in, "" for none."""
    found = {}
    for name, body in (groups.value if groups is not None and isinstance(groups.value, dict) else {}).items():
        above = body.child("group")
        found[name] = above.value if above is not None and isinstance(above.value, str) else ""
    return found


def expand(root: Node) -> Node:
    """Return a template in which steps stand for groups: to come after a group is to come after its last steps.

    A branch that chooses a group chooses its first steps.
    """
    steps = root.child("steps")
    above = parents(root.child("groups"))
    if steps is None or not isinstance(steps.value, dict) or not above:
        return root
    groups = Groups(steps.value, above)
    # A name that is a step as well stands for the step; what is wrong with it is told by the checks.
    names = [name for name in above if name not in steps.value and groups.members[name]]
    last = {name: groups.last(name) for name in names}
    first = {name: groups.first(name) for name in names}
    found = {name: _expanded(step, last, first) for name, step in steps.value.items()}
    return root.at({**root.value, "steps": steps.at(found)})


def _expanded(step: Node, last: Mapping[str, tuple[str, ...]], first: Mapping[str, tuple[str, ...]]) -> Node:
    if not isinstance(step.value, dict):
        return step
    after = step.child("after")
    found = with_names(step, first)
    return found if after is None else found.at({**found.value, "after": _replaced(after, last)})


def check_groups(draft: Draft) -> Iterator[Problem]:
    """Check the names of groups, which step is in which, and that no group is in itself or empty."""
    document = draft.document
    groups = document.get(("groups",))
    groups = groups if isinstance(groups, dict) else {}
    used: set[str] = set()
    places: list[tuple[Path, str]] = [(("steps", name, "group"), name) for name in draft.steps]
    places += [(("groups", name, "group"), name) for name in groups]
    for path, owner in places:
        group = document.get(path)
        if not isinstance(group, str):
            continue
        used.add(group)
        if group not in groups:
            remedy = "correct it" if closest(group, groups) else "declare it under groups"
            yield document.problem(path, f"there is no group {group!r}", remedy, suggestion=closest(group, groups))
        elif path[0] == "groups" and owner in _above(document.get(("groups",)), owner):
            yield document.problem(path, f"group {owner!r} stands in itself", "let one of the groups stand in no other")
    for name in groups:
        path = ("groups", name)
        if name in draft.steps:
            what = f"{name!r} is the name of a step and of a group"
            yield document.problem(path, what, "rename one of them", key=True)
        elif name not in used:
            what = f"no step is in the group {name!r}"
            yield document.problem(path, what, f"write group: {name} in a step, or remove it", key=True)


def _above(groups: Mapping[str, object], name: str) -> set[str]:
    """Return the groups that a group stands in, directly or not."""
    found: set[str] = set()
    while True:
        body = groups.get(name)
        above = body.get("group") if isinstance(body, dict) else None
        if not isinstance(above, str) or above in found:
            return found
        found.add(above)
        name = above
