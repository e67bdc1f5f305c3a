"""Templates that change under instances that wait, on real Airflow processes: each ends with what it began with.

How a user would notice that it is fake: somebody cleans up a folder, and an order that waits for a signature never goes
on; a step that is gone from the template is skipped, or runs as the new one; a typing mistake stops every instance of
the stream; nobody sees the typing mistake; the version that the page shows is not the one that ran.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from company import Stage, scenario

from airflow_enterprise_orch.demo.api import ApiFailed
from airflow_enterprise_orch.demo.run import READING_TIME, seconds_since

STREAM = """
value_stream: {name}
title: {name}, {word}
business: {{domain: Tests, owner: tests, criticality: low}}
steps:
  ask: {{approval: {{subject: "Go on with {word}?"}}}}
  {last}:
    after: [ask]
    unix.script: {{connection: virtual_server, script: 'echo "WORD=$WORD"', env: {{WORD: {word}}}}}
    outputs: {{word: {{log: log, match: 'WORD=(.*)'}}}}
"""
NAMES = ("v_edited", "v_broken", "v_renamed", "v_gone")


def text(name: str, word: str = "first", last: str = "old_step") -> str:
    return STREAM.format(name=name, word=word, last=last)


@scenario({name: text(name) for name in NAMES})
def test_instances_end_with_the_template_that_they_began_with(here: Stage) -> None:
    api, folder = here.api, here.templates
    for name in NAMES:
        api.trigger(name, "waiting", {})
    here.until(lambda: all(_asks(here, name, "waiting") for name in NAMES))
    began = {name: _version(here, name, "waiting") for name in NAMES}

    # While they wait: an edit that takes their next step away, a typing mistake, a new place, and no template any more.
    _replace(folder / "v_edited.yaml", text("v_edited", "second", "new_step"))
    _replace(folder / "v_broken.yaml", text("v_broken").replace("subject", "subjct"))
    (folder / "moved").mkdir()
    (folder / "v_renamed.yaml").rename(folder / "moved" / "another_name.yaml")
    (folder / "v_gone.yaml").unlink()
    titles = {
        "v_edited": "v_edited, second",
        "v_broken": "v_broken, first (broken edit)",
        "v_renamed": "v_renamed, first",
        "v_gone": "v_gone, first (removed)",
    }
    here.until(lambda: _titles(here) == titles)
    here.until(lambda: any("steps.ask.approval.subjct: " in one["stack_trace"] for one in api.import_errors()))
    (told,) = (one for one in api.import_errors() if "v_broken" in one["stack_trace"])
    assert told["stack_trace"].startswith("TemplateError: v_broken.yaml:6:"), told
    assert "no new ones are started until this is right: v_broken" in told["stack_trace"]
    assert told["filename"] == "broken-edits.py"

    # New instances: of what is right, with the new version; of the others none, and Airflow says so.
    api.trigger("v_edited", "new", {})
    api.trigger("v_renamed", "new", {})
    for name in ("v_broken", "v_gone"):
        with pytest.raises(ApiFailed, match=f"400 .*{name}.* does not allow manual runs"):
            api.trigger(name, "new", {})
    here.until(lambda: _asks(here, "v_edited", "new") and _asks(here, "v_renamed", "new"))

    for name in NAMES:
        api.answer(name, "waiting", "ask", "Approve")
    api.answer("v_edited", "new", "ask", "Approve")
    here.until(lambda: all(here.state(name, "waiting") == "success" for name in NAMES))
    here.until(lambda: here.state("v_edited", "new") == "success")
    for name in NAMES:
        ran = {task["task_id"] for task in api.task_instances(name, "waiting")}
        assert ran == {"ask", "old_step"}, name
        assert _word(here, name, "waiting", "old_step") == "first"
        assert _version(here, name, "waiting") == began[name], "the version that is shown changed under the instance"
    assert {task["task_id"] for task in api.task_instances("v_edited", "new")} == {"ask", "new_step"}
    assert _word(here, "v_edited", "new", "new_step") == "second"
    assert _version(here, "v_edited", "new")[0] == began["v_edited"][0] + 1
    assert _version(here, "v_edited", "new")[1] != began["v_edited"][1]

    # The mistake is mended: its import error goes, and new instances start.
    _replace(folder / "v_broken.yaml", text("v_broken", "mended"))
    here.until(lambda: _titles(here)["v_broken"] == "v_broken, mended")
    here.until(lambda: not any("v_broken" in one["stack_trace"] for one in api.import_errors()))
    api.trigger("v_broken", "new", {})
    here.until(lambda: _asks(here, "v_broken", "new"))
    api.answer("v_broken", "new", "ask", "Approve")
    api.answer("v_renamed", "new", "ask", "Approve")
    here.until(lambda: {here.state(name, "new") for name in ("v_broken", "v_renamed")} == {"success"})
    assert _word(here, "v_broken", "new", "old_step") == "mended"


def _replace(path: Path, content: str) -> None:
    """Change a template as an editor or a checkout does: nobody reads half of it."""
    new = path.with_name(f".{path.name}")
    new.write_text(content)
    new.replace(path)


def _asks(here: Stage, name: str, run: str) -> bool:
    """Tell whether the question stands, and stood for as long as somebody reads."""
    if not here.tables.asks(name):
        return False
    asked = [one for one in here.api.questions(name) if one["task_instance"]["dag_run_id"] == run]
    return any(
        one["task_instance"]["state"] == "awaiting_input" and seconds_since(one["created_at"]) > READING_TIME
        for one in asked
    )


def _word(here: Stage, name: str, run: str, step: str) -> str:
    return str(here.api.xcoms(name, run, step)["return_value"]["word"])


def _titles(here: Stage) -> dict[str, str]:
    dags = here.api._send("GET", "/api/v2/dags?limit=100&dag_id_pattern=v_")["dags"]
    return {dag["dag_id"]: dag["dag_display_name"] for dag in dags if dag["dag_id"] in NAMES}


def _version(here: Stage, name: str, run: str) -> tuple[int, str]:
    """Return the number of the DAG's version that Airflow shows of an instance, and the snapshot that it runs from."""
    shown = here.api.runs(name)[run]
    (version,) = shown["dag_versions"]
    return version["version_number"], shown["bundle_version"]
