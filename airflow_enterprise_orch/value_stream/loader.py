"""The loader door into Airflow: templates as DAGs of a Python file.

Teams with a DAG bundle of their own put two small files beside their templates; :class:`~.bundle.TemplateBundle` writes
one file per template instead. Both come here.

Airflow lists the import errors by file and drops *all* DAGs of a file that raises. So the valid templates come from one
file, and a second one says what is wrong with the others::

    # value_streams.py
    from airflow_enterprise_orch.value_stream.loader import load_value_streams  # makes the Airflow DAGs
    load_value_streams(Path(__file__).parent / "value_streams", globals())

    # value_streams_errors.py
    from airflow_enterprise_orch.value_stream.loader import report_template_errors  # no Airflow DAG is made here
    report_template_errors(Path(__file__).parent / "value_streams", globals())

**This door pins nothing.** Each task that starts reads the template as it is at that moment: an instance that began
before an edit goes on with the edited template, and one whose template is gone stops. Only where the bundle that holds
the files has versions, as a Git bundle has, a run keeps what it began with. Each DAG that is made this way says so.
"""

from __future__ import annotations

import gc
import logging
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import DAG, get_parsing_context

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.plan import StreamPlan, beside_template, keep, kept
from airflow_enterprise_orch.value_stream.plan_store import stored_plan
from airflow_enterprise_orch.value_stream.problems import one_line
from airflow_enterprise_orch.value_stream.template_folder import (
    SUFFIXES,
    by_stream,
    declared_stream,
    duplicate_message,
    find_templates,
    read_file,
    read_templates,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

    from airflow_enterprise_orch.value_stream.surroundings import Surroundings

NOT_PINNED = (
    "**not pinned**: it comes through a loader file, so an instance goes on with the template as it is when its next "
    "step starts; only a bundle with versions, such as Git, keeps what an instance began with"
)
"""What the documentation of a DAG says that comes through this door."""

log = logging.getLogger(__name__)


class RejectedTemplate(DAG):
    """Stands in a DAG file for a template that is wrong, so that its import error is the template's message alone.

    Airflow validates each DAG that it finds before it takes it, and shows what ``validate`` raises without a stack
    trace; what a file raises while it is imported is shown with one, whose lines mean nothing to a template's author.
    """

    def validate(self) -> NoReturn:
        """Raise the template's problems; such a DAG never gets into Airflow."""
        raise TemplateError(self.description or self.dag_id)


def build(text: bytes, name: str, *, beside: Beside | None = None, surroundings: Surroundings | None = None) -> DAG:
    """Turn a template's text into its DAG.

    :param name: the file's name in messages.
    :param beside: the files that it may refer to.
    :param surroundings: the profiles and shared files that it may use; without it there are none.
    :raises TemplateError: with every problem found.
    """
    return plan(text, name, beside=beside, surroundings=surroundings).build()


def plan(
    text: bytes, name: str, *, beside: Beside | None = None, surroundings: Surroundings | None = None
) -> StreamPlan:
    """Turn a template's text into the plan of its DAG; as :func:`build`."""
    with ours_if_unforeseen(name):
        # Not at the top: a worker that finds the plan, or a file that only reports errors, needs no compiler.
        from airflow_enterprise_orch.value_stream.compile import plan_stream
        from airflow_enterprise_orch.value_stream.model import ValueStream
        from airflow_enterprise_orch.value_stream.yaml_source import decode

        model = ValueStream.load(decode(text, name), name=name, beside=beside, surroundings=surroundings)
        return plan_stream(model, source=one_line(name))


def load_template(
    path: Path | str,
    namespace: MutableMapping[str, Any],
    *,
    name: str | None = None,
    removed: str = "",
    profile: str | None = None,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Put the DAG of one template into ``namespace``, or its problems, as the file's import error.

    Of a template in a snapshot that is wrong, the last one that was right is served for its running instances, and
    :func:`~.served_on.report_broken_edits` has the problems.

    :param path: the template.
    :param namespace: ``globals()`` of the DAG file.
    :param name: its name in messages; by default the file's own.
    :param removed: the day on which the template was taken away; only its running instances need it.
    :param profile: the environment whose values count; by default that of the setting.
    :param beside: in a snapshot the profiles and shared files that it may use: path below the root to the file's name
        in the snapshot. By default those in the template's own folder.
    """
    path = Path(path)
    try:
        dag = template_dag(path, name or path.name, profile, beside, _stopped_since(removed) if removed else None)
    except TemplateError as error:
        if removed or not _served_as_before(path, namespace):
            reject_template(str(error), namespace, stream=path.stem)
    else:
        namespace[dag.dag_id] = dag


def _stopped_since(day: str) -> Callable[[StreamPlan], StreamPlan]:
    from airflow_enterprise_orch.value_stream.served_on import Why, stop

    return stop(Why.REMOVED, day)


def _served_as_before(template: Path, namespace: MutableMapping[str, Any]) -> bool:
    from airflow_enterprise_orch.value_stream.served_on import serve_last_good

    return serve_last_good(template, namespace)


def template_dag(
    path: Path,
    name: str,
    profile: str | None,
    beside: Mapping[str, str] | None,
    change: Callable[[StreamPlan], StreamPlan] | None = None,
) -> DAG:
    """Return the DAG of a template in a snapshot, or of one that lies alone; see :func:`load_template`.

    :param change: what is made of its plan before it is built.
    :raises TemplateError: whatever goes wrong.
    """

    def surroundings() -> Surroundings:
        from airflow_enterprise_orch.value_stream.surroundings import Surroundings

        if beside is None:
            return Surroundings.on_disk(path, profile=profile)
        return Surroundings.given(name, {key: path.with_name(file) for key, file in beside.items()}, profile or "")

    return _dag(beside_template(path), path.parent, read_file(path, name), name, surroundings, change)


def _dag(
    place: Path | None,
    folder: Path,
    text: bytes,
    name: str,
    surroundings: Callable[[], Surroundings],
    change: Callable[[StreamPlan], StreamPlan] | None = None,
) -> DAG:
    """Return the DAG: where a task starts, from the plan that was kept when the DAG was last read here.

    :param place: where the plan is kept.
    :param folder: the folder of all templates, or the snapshot.
    :raises TemplateError: whatever goes wrong: no template's DAG file ends with anything else.
    """
    with ours_if_unforeseen(name), _collector_paused():
        ready = None
        if get_parsing_context().dag_id is not None:
            ready = kept(place, text, name=name, folder=folder, surroundings=surroundings)
            if ready is None:
                log.info("no plan of %s is kept here: it is compiled", name)
        around = None if ready is not None else surroundings()
        made = ready or plan(text, name, beside=Beside.named(folder, name), surroundings=around)
        dag = (change(made) if change is not None else made).build()
        # Only now: that a plan is kept says that its template is right.
        if ready is None and not keep(made, place, text, name=name, surroundings=around):
            log.info("no plan of %s can be kept here: each task start compiles it", name)
        return dag


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python's cyclic garbage collector from looking for garbage where nearly all is to stay.

    One template's size is limited, so this is short; the collector took a fifth of the time to build a DAG.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def reject_template(message: str, namespace: MutableMapping[str, Any], *, stream: str) -> None:
    """Make ``message`` the import error of the DAG file whose ``globals()`` are given."""
    dag_id = "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in stream)[:200] or "template"
    namespace[f"rejected_{dag_id}"] = RejectedTemplate(dag_id=dag_id, description=message, auto_register=False)


def load_value_streams(folder: Path | str, namespace: MutableMapping[str, Any], *, profile: str | None = None) -> None:
    """Put the DAG of every valid template below ``folder`` into ``namespace``; broken ones are left out.

    When a task starts, Airflow needs one DAG only: just that one is built. It is found at once when the file is named
    as its stream: ``order_to_certificate.yaml``.

    :param folder: where the templates are, e.g. ``Path(__file__).parent / "value_streams"``.
    :param namespace: ``globals()`` of the DAG file.
    :param profile: the environment whose values count; by default that of the setting.
    """
    folder = _existing(folder)
    wanted = get_parsing_context().dag_id
    if wanted is not None:
        _load_one(folder, wanted, namespace, profile)
        return
    templates = read_templates(folder)
    groups = by_stream(templates)
    for template in templates:
        if template.unreadable or len(groups.get(template.stream, ())) > 1:
            continue  # report_template_errors names them all
        try:
            dag = _stored(folder, template.name, template.text, profile)
        except TemplateError as error:
            log.warning("left out: %s", error)
            continue
        namespace[dag.dag_id] = dag


def report_template_errors(
    folder: Path | str, namespace: MutableMapping[str, Any] | None = None, *, profile: str | None = None
) -> None:
    """Make the problems of all broken templates below ``folder`` the import error of this DAG file.

    :param namespace: ``globals()`` of the DAG file; with it the import error holds no stack trace.
    :param profile: the environment whose values count; by default that of the setting.
    :raises TemplateError: with every problem, when no ``namespace`` is given.
    """
    if get_parsing_context().dag_id is not None:
        return  # a task starts: nobody looks at import errors now
    folder = _existing(folder)
    problems = find_problems(folder, profile=profile)
    if not problems:
        return
    message = "\n".join(problems)
    if namespace is None:
        raise TemplateError(message)
    reject_template(message, namespace, stream=f"{folder.name}_errors")


def find_problems(folder: Path, *, profile: str | None = None) -> tuple[str, ...]:
    """Return what is wrong with the templates below ``folder``, one text per broken file, sorted by file."""
    templates = read_templates(folder)
    groups = by_stream(templates)
    problems = []
    for template in templates:
        group = groups.get(template.stream, ())
        if template.unreadable or len(group) > 1:
            problems.append(template.unreadable or duplicate_message(template, group))
            continue
        try:
            with ours_if_unforeseen(template.name):
                build(
                    template.text,
                    template.name,
                    beside=Beside.named(folder, template.name),
                    surroundings=_surroundings(folder, template.name, profile),
                )
        except TemplateError as error:
            problems.append(str(error))
    return tuple(problems)


def _surroundings(folder: Path, name: str, profile: str | None) -> Surroundings:
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings

    return Surroundings.on_disk(folder / name, folder, profile, shown=str)


def _stored(folder: Path, name: str, text: bytes, profile: str | None) -> DAG:
    """Return the DAG of a template that lies in a folder which is not ours to write."""
    place = stored_plan(folder / name)
    return _dag(place, folder, text, name, lambda: _surroundings(folder, name, profile), _not_pinned)


def _not_pinned(made: StreamPlan) -> StreamPlan:
    """Let the documentation of a stream say that its instances are not pinned to the template that they began with."""
    return replace(made, dag={**made.dag, "doc_md": made.dag["doc_md"] + f"- {NOT_PINNED}\n"})


def _existing(folder: Path | str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise TemplateError(f"{folder}: there is no such folder; name the folder that holds the templates")
    return folder


def _load_one(folder: Path, stream: str, namespace: MutableMapping[str, Any], profile: str | None) -> None:
    """Build ``stream`` alone: from the file of its name, else from the one that declares it."""
    for suffix in SUFFIXES:
        path = folder / f"{stream}{suffix}"
        if path.is_file():
            text = read_file(path, path.name)
            if declared_stream(text) == stream:
                namespace[stream] = _stored(folder, path.name, text, profile)
                return
    for name, path in find_templates(folder):
        try:
            text = read_file(path, name)
            # Where no id can be read without understanding YAML, only building it tells.
            if declared_stream(text) not in (stream, ""):
                continue
            dag = _stored(folder, name, text, profile)
        except TemplateError as error:
            log.warning("left out: %s", error)
            continue
        if dag.dag_id == stream:
            namespace[stream] = dag
            return
