"""The reference says what the models say, of every key, with an example that works for each step."""

import json
from importlib.resources import files
from pathlib import Path

import pytest

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.delegation.system import step_types
from airflow_enterprise_orch.template_tools import reference
from airflow_enterprise_orch.template_tools.walk import walk
from airflow_enterprise_orch.value_stream.loader import build
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.steps import ApprovalStep, ChoiceStep

PAGES = Path(__file__).parents[2] / "docs" / "reference"
ENTRIES = reference.entries()
KINDS = ENTRIES[1:]


def test_the_committed_pages_are_what_the_models_make():
    old = reference.stale(PAGES)
    assert not old, f"docs/reference is not up to date ({', '.join(old)}); run: {reference.WRITE}"


def test_there_is_a_page_for_the_stream_for_each_own_step_and_for_each_step_type():
    assert [entry.name for entry in ENTRIES] == [reference.STREAM, *sorted(OWN_KINDS), *sorted(step_types())]
    assert reference.reference().keys() == {f"{entry.name}.md" for entry in ENTRIES} | {reference.INDEX}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_key_is_explained(entry):
    silent = [key.name for key in entry.keys if not key.description.strip()]
    assert not silent, f"{entry.name}: give these keys of the model a description: {', '.join(silent)}"
    assert all(key.type for key in entry.keys)
    names = [key.name for key in entry.keys]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_example_is_a_right_template_that_uses_what_it_shows(entry):
    stream = ValueStream.load(entry.example, name=f"{entry.name}.yaml")
    assert entry.name == reference.STREAM or f"    {entry.name}:" in entry.example
    assert build(entry.example.encode(), f"{entry.name}.yaml").dag_id == stream.id
    assert f"```yaml\n{entry.example}```" in entry.page()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_example_can_be_started_as_it_is(entry):
    stream = ValueStream.load(entry.example)
    assert [name for name, param in stream.params.items() if param.required] == []
    answers = {name: {"answer": "approved"} for name, step in stream.steps.items() if isinstance(step, ApprovalStep)}
    answers |= {
        name: {"answer": next(iter(step.options))}
        for name, step in stream.steps.items()
        if isinstance(step, ChoiceStep)
    }
    assert walk(stream, {}, answers).ends == "success"


def test_the_examples_lie_beside_the_code_and_no_other_does():
    own = files("airflow_enterprise_orch.value_stream").joinpath("examples")
    assert {path.name for path in own.iterdir()} == {f"{name}.yaml" for name in (reference.STREAM, *OWN_KINDS)}
    package = Path(str(files("airflow_enterprise_orch")))
    there = {path.stem for path in package.glob("systems/*/examples/*")}
    assert there == set(step_types())


def key(entry, name):
    return next(key for found in ENTRIES if found.name == entry for key in found.keys if key.name == name)


def test_a_page_tells_type_default_and_limits():
    times = key("unix.script", "retry[].times")
    assert (times.type, times.default, times.limits) == ("whole number", "`1`", "at least 1; at most 100")
    assert key("unix.script", "time_limit").type == "duration"
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
    page = reference.Entry("acme.job", "Acme job", "One job.", (key("value_stream", "title"),), "").page()
    assert "## Example" not in page
    assert "`title`" in page


def test_the_schema_tells_editors_the_same(capsys):
    assert main(["schema"]) == 0
    assert "a variant of at most 14 characters" in str(json.loads(capsys.readouterr().out))
