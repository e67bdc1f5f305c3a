"""A template as it was written -> the template as it is meant: shared defaults, fragments, values and groups put in.

In this order: fragments become steps; each step and the stream get the defaults that they do not say otherwise;
``{{ values.x }}`` becomes the value of the chosen profile; names of groups become names of steps. A template that uses
none of it stays the document that it is.
"""

from __future__ import annotations

from typing import Any

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.composed import Node, document_of, wrap
from airflow_enterprise_orch.value_stream.fragments import Expander
from airflow_enterprise_orch.value_stream.grouping import expand, named
from airflow_enterprise_orch.value_stream.problems import Problem, closest, dotted, listed, problems_of, template_error
from airflow_enterprise_orch.value_stream.profiles import Values
from airflow_enterprise_orch.value_stream.shared import Defaults, Shared, read_shared
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from airflow_enterprise_orch.value_stream.template_folder import MAX_BYTES
from airflow_enterprise_orch.value_stream.values import GROUP, PutIn
from airflow_enterprise_orch.value_stream.yaml_source import Document

MAX_FILES = 20
"""How many shared files one template may use."""


def compose(document: Document, surroundings: Surroundings) -> Document:
    """Return the document that a template means.

    :param document: the template's own; its data are keys and values.
    :raises TemplateError: when what it uses is wrong: what follows could not be told from that.
    """
    if not _is_composed(document.data, document.lines):
        return document
    root = wrap(document, document.data)
    shared = _shared(root, surroundings, document)
    expander = Expander(shared)
    root = expander.into(root)
    if expander.problems:
        raise template_error([*document.problems, *expander.problems])
    defaults = Defaults(shared)
    if defaults:
        root = defaults.for_stream(root)
        steps = root.child("steps")
        if steps is not None and isinstance(steps.value, dict):
            filled = steps.at({name: defaults.for_step(step) for name, step in steps.value.items()})
            root = root.at({**root.value, "steps": filled})
    put_in = PutIn(Values(surroundings))
    try:
        root = put_in.into(root)
    except TemplateError as error:
        raise template_error([*document.problems, *problems_of(error)]) from error
    found = document_of(document, expand(root), [*document.problems, *put_in.problems])
    found.unreadable |= {dotted(node.path) for node in put_in.refused}
    return found


def _is_composed(data: dict[str, Any], lines: list[str]) -> bool:
    steps = data.get("steps")
    each = steps.values() if isinstance(steps, dict) else ()
    return (
        bool(data.keys() & {"use", "groups"})
        or any(isinstance(step, dict) and "use" in step for step in each)
        or GROUP in "\n".join(lines)
    )


def _shared(root: Node, surroundings: Surroundings, document: Document) -> list[Shared]:
    """Return the shared files that a template uses, in its order."""
    use = root.child("use")
    names = list(named(use)) if use is not None and isinstance(use.value, list) else []
    problems: list[Problem] = []
    found: list[Shared] = []
    size = 0
    if len(names) > MAX_FILES and use is not None:
        problem = use.problem(f"names more than {MAX_FILES} shared files", "put some together")
        raise template_error([*document.problems, problem])
    for number, node in enumerate(names):
        if node.value in (other.value for other in names[:number]):
            problems.append(node.problem(f"{node.value!r} is here twice", "remove one of them"))
            continue
        file, content = next(surroundings.shared(node.value), ("", b""))
        size += len(content)
        if not file:
            known = surroundings.known_shared()
            remedy = f"known are {listed(known)}" if known else f"write {node.value}.shared.yaml beside the template"
            suggestion = closest(node.value, known)
            problems.append(node.problem(f"there is no shared file {node.value!r}", remedy, suggestion=suggestion))
        elif size > MAX_BYTES:
            what = f"the shared files are together larger than {MAX_BYTES // 1024} KB"
            problems.append(node.problem(what, "use fewer"))
            break
        else:
            try:
                found.append(read_shared(content, file, node.value))
            except TemplateError as error:
                problems += problems_of(error)
    if problems:
        raise template_error([*document.problems, *problems])
    return found
