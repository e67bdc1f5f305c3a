"""The reference says what the models say, of every key, and shows each in an example that works.

How a user would notice that it is fake: a key is explained and nowhere shown; an example is copied and refused, or
works and makes ``lint`` frown.
"""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.template_tools import reference
from airflow_enterprise_orch.template_tools.lint import hints
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.loader import load_value_streams
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.steps import ApprovalStep, ChoiceStep
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from airflow_enterprise_orch.value_stream.template_folder import find_templates
from tests.value_stream.fuzzing import parsed

PAGES = Path(__file__).parents[2] / "docs" / "reference"
ENTRIES = reference.entries()


def test_the_committed_pages_are_what_the_models_make():
    old = reference.stale(PAGES)
    assert not old, f"docs/reference is not up to date ({', '.join(old)}); run: {reference.WRITE}"


def test_there_is_a_page_for_each_kind_of_file_for_what_all_steps_have_and_for_each_step():
    general = [reference.STREAM, *reference.FILES, reference.STEP, reference.WORK]
    steps = [*sorted([*OWN_KINDS, reference.USE]), *sorted(step_types())]
    assert [entry.name for entry in ENTRIES] == [*general, *steps]
    assert reference.reference().keys() == {f"{entry.name}.md" for entry in ENTRIES} | {reference.INDEX}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_key_is_explained(entry):
    silent = [key.name for key in entry.keys if not key.description.strip()]
    assert not silent, f"{entry.name}: give these keys of the model a description: {', '.join(silent)}"
    assert all(key.type for key in entry.keys)
    names = [key.name for key in entry.keys]
    assert len(names) == len(set(names))


def staged(entry, folder):
    """Write the examples of a page as somebody would who tries them; return the templates among them."""
    for path, text in entry.examples.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return [path for _name, path in find_templates(folder)]


def loaded(template, folder):
    """Return a template, with the values of the first profile beside it."""
    profile = next((path.name.partition(".")[0] for path in sorted(folder.glob("*.profile.yaml"))), "")
    beside = Surroundings.on_disk(template, folder, profile)
    return ValueStream.load(template, beside=Beside.of(template, folder), surroundings=beside)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_example_is_right_and_nothing_about_it_is_doubtful(entry, tmp_path, capsys):
    templates = staged(entry, tmp_path)
    assert templates
    assert main(["lint", "--strict", str(tmp_path)]) == 0, capsys.readouterr().out
    for template in templates:
        assert [str(hint) for hint in hints(template, loaded(template, tmp_path))] == []
    for path, text in entry.examples.items():
        assert f"```{'csv' if path.endswith('.csv') else 'yaml'}\n{text}```" in entry.page()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_example_becomes_a_dag_and_can_be_started_as_it_is(entry, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    folder = tmp_path / "templates"
    templates = staged(entry, folder)
    streams = [loaded(template, folder) for template in templates]
    profile = next((path.name.partition(".")[0] for path in sorted(folder.glob("*.profile.yaml"))), "")
    namespace = {}
    load_value_streams(folder, namespace, profile=profile)
    assert sorted(namespace) == sorted(stream.id for stream in streams)
    if cases := list(folder.glob("*.cases.yaml")):
        assert main(["test", *map(str, cases)]) == 0, capsys.readouterr().out
        return
    for stream in streams:
        assert [name for name, param in stream.params.items() if param.required] == []
        answers = {
            name: {"answer": "approved"} for name, step in stream.steps.items() if isinstance(step, ApprovalStep)
        }
        answers |= {
            name: {"answer": next(iter(step.options))}
            for name, step in stream.steps.items()
            if isinstance(step, ChoiceStep)
        }
        assert walk(stream, {}, answers).ends == "success"


# ------------------------------------------------------------------------------------------------------ every key


def described(entry, folder):
    """Return the parts of a page's examples that its keys are about."""
    staged(entry, folder)
    files = {path: parsed(path) for path in folder.rglob("*.yaml")}
    streams = [data for data in files.values() if "value_stream" in data]
    if entry.name == reference.STREAM:
        return streams
    if entry.name in reference.FILES:
        return [
            data for path, data in files.items() if path.parent.name == "calendars" or f".{entry.name}." in path.name
        ]
    steps = [step for data in streams for step in data["steps"].values()]
    if entry.name == reference.STEP:
        return steps
    kinds = step_types() if entry.name == reference.WORK else (entry.name,)
    return [step for step in steps if any(kind in step for kind in kinds)]


def shows(data, parts):
    """Tell whether a part of an example holds a key: ``["params", "<name>", "type"]``, ``["rows", "[]", "when"]``."""
    if not parts:
        return True
    first, *rest = parts
    if first == "[]":
        return isinstance(data, list) and any(shows(one, rest) for one in data)
    if not isinstance(data, dict):
        return False
    if first == "<name>":
        return any(shows(one, rest) for one in data.values())
    if first == "<step type>":
        return any(kind in data for kind in step_types())
    return first in data and shows(data[first], rest)


def parts_of(name, entry):
    """Split the name of a key; the key of a step type holds a dot itself."""
    own = [entry] if "." in entry and name.startswith(entry) else []
    rest = name.removeprefix(own[0]) if own else name
    return [*own, *(part for part in rest.replace("[]", ".[]").split(".") if part)]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_key_is_in_an_example_of_its_page(entry, tmp_path):
    there = described(entry, tmp_path)
    hidden = [key.name for key in entry.keys if not any(shows(data, parts_of(key.name, entry.name)) for data in there)]
    assert not hidden, f"{entry.name}: show these keys in an example: {', '.join(hidden)}"


def test_a_key_that_no_example_shows_is_found():
    step = {"unix.script": {"args": ["x"]}, "outputs": {"a": {"log": "log"}}, "retry": [{"on": ["lost"]}]}
    names = [
        "unix.script.args",
        "outputs.<name>.log",
        "retry[].on",
        "unix.script.env",
        "outputs.<name>.type",
        "retry[].x",
    ]
    assert [shows(step, parts_of(name, "unix.script")) for name in names] == [True] * 3 + [False] * 3


def test_the_examples_lie_beside_the_code_and_no_other_does():
    own = files("airflow_enterprise_orch.value_stream").joinpath("examples")
    names = {entry.name for entry in ENTRIES if entry.name not in step_types()}
    assert {path.name.removesuffix(".yaml") for path in own.iterdir()} == names
    package = Path(str(files("airflow_enterprise_orch")))
    there = {path.name.removesuffix(".yaml") for path in package.glob("systems/*/examples/*")}
    assert there == set(step_types())


def key(entry, name):
    return next(key for found in ENTRIES if found.name == entry for key in found.keys if key.name == name)


def test_a_page_tells_type_default_and_limits():
    times = key("work", "retry[].times")
    assert (times.type, times.default, times.limits) == ("whole number", "`1`", "at least 1; at most 100")
    assert key("work", "time_limit").type == "duration"
    assert key("calendar", "closed").type == "list of date"
    assert key("value_stream", "params.<name>.type").type == "`string`, `integer`, `number`, `boolean`, `list`"
    assert key("value_stream", "params.<name>.type").default == "required"
    assert key("value_stream", "business.criticality").default == "`normal`"
    assert key("mainframe.job", "outputs.<name>.spool").default == "required"
    assert key("branch", "branch[].otherwise").default == "required in this form"


def test_what_a_text_must_be_once_its_jinja_is_rendered_is_a_limit_too():
    assert "a variant of at most 14 characters" in key("sap.background_job", "sap.background_job.variant").limits


def test_the_command_writes_the_pages_and_says_which_are_old(tmp_path, capsys):
    folder = tmp_path / "reference"
    assert main(["reference", "--output", str(folder)]) == 0
    assert main(["reference", "--output", str(folder), "--check"]) == 0
    (folder / "branch.md").write_text("old")
    (folder / "gone.step.md").write_text((folder / "approval.md").read_text())
    capsys.readouterr()
    assert main(["reference", "--output", str(folder), "--check"]) == 1
    assert [line.partition(":")[0].rpartition("/")[2] for line in capsys.readouterr().out.splitlines()] == [
        "branch.md",
        "gone.step.md",
    ]
    assert (folder / "branch.md").read_text() == "old"
    assert main(["reference", "--output", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == reference.reference().keys()


def test_a_folder_with_other_pages_is_left_alone(tmp_path, capsys):
    (tmp_path / "notes.md").write_text("mine")
    assert main(["reference", "--output", str(tmp_path)]) == 2
    assert "choose a folder of its own" in capsys.readouterr().err
    assert (tmp_path / "notes.md").read_text() == "mine"


def test_a_step_type_without_an_example_has_a_page_all_the_same():
    page = reference.Entry("acme.job", "Acme job", "One job.", (key("value_stream", "title"),)).page()
    assert "## Example" not in page
    assert "`title`" in page


def test_the_schema_tells_editors_the_same(capsys):
    assert main(["schema"]) == 0
    assert "a variant of at most 14 characters" in str(json.loads(capsys.readouterr().out))
