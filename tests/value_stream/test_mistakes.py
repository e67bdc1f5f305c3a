"""When this package fails on a template, that template alone is hurt, and everybody sees whose mistake it is.

Something is made to raise what nobody foresaw, through each door. It would be fake if the other template were gone, if
the message sent its author looking for a mistake that is not there, or if the traceback were nowhere.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.errors import OrchestrationError, ProgramMistake, TemplateError
from airflow_enterprise_orch.template_tools import lint
from airflow_enterprise_orch.value_stream import compile as compiler
from airflow_enterprise_orch.value_stream import neighbours, plan, reading, writing
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.loader import (
    RejectedTemplate,
    find_problems,
    load_template,
    load_value_streams,
    report_template_errors,
)
from airflow_enterprise_orch.value_stream.mistakes import ours_if_unforeseen
from airflow_enterprise_orch.value_stream.model import ValueStream

ASKED_FOR = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
TEXT = (
    "value_stream: {0}\ntitle: T\nbusiness: {{domain: D, owner: o}}\nsteps:\n  a: {{approval: {{subject: Go on?}}}}\n"
)
WAITS = "  b: {after: [a], wait_for: {stream: good, elsewhere: true}}\n"
SECRET = "hunter2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(ASKED_FOR, raising=False)
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    path = tmp_path / "value_streams"
    path.mkdir()
    for name in ("fragile", "good"):
        (path / f"{name}.yaml").write_text(TEXT.format(name))
    return path


def fail_for(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, is_fragile: Any) -> None:
    """Let a function of the package fail for one template."""
    whole = getattr(place, name)

    def failing(*arguments: Any, **more: Any) -> Any:
        if is_fragile(*arguments):
            raise ZeroDivisionError(f"a password {SECRET}")
        return whole(*arguments, **more)

    monkeypatch.setattr(place, name, failing)


PHASES = {
    "reading": (reading, "compose", lambda document, _: "fragile" in document.file),
    "checking": (reading.checks, "check_steps", lambda draft: "fragile" in draft.document.file),
    "compiling": (compiler, "plan_stream", lambda stream: stream.id == "fragile"),
    "building": (plan.StreamPlan, "build", lambda made: made.dag["dag_id"] == "fragile"),
    "keeping": (plan.StreamPlan, "to_json", lambda made: made.dag["dag_id"] == "fragile"),
}


@pytest.fixture(params=PHASES)
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for(monkeypatch, *PHASES[request.param])


def assert_told(message: str, caplog: pytest.LogCaptureFixture, file: str = "fragile.yaml") -> None:
    [line] = [line for line in message.splitlines() if line]
    assert line.startswith(f"{file}:1:1 template: this package failed on the template: ZeroDivisionError in ")
    assert line.endswith("that is our mistake and none of the template; report it with the traceback in the log")
    assert SECRET not in line
    logged = [record for record in caplog.records if record.exc_info]
    assert logged and logged[0].levelno == logging.ERROR
    assert isinstance(logged[0].exc_info[1], ZeroDivisionError)


@pytest.mark.usefixtures("broken")
class TestThroughTheDoors:
    def test_the_loader_keeps_the_other_streams(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert list(namespace) == ["good"]
        [warned] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("left out")]
        assert_told(warned.removeprefix("left out: "), caplog)

    def test_a_task_of_another_stream_starts(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ASKED_FOR, "good")
        namespace: dict[str, Any] = {}
        load_value_streams(folder, namespace)
        assert list(namespace) == ["good"]

    def test_a_file_of_a_snapshot_is_rejected_without_a_stack_trace(
        self, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
        bundle.initialize()
        namespace: dict[str, Any] = {}
        for stream in ("fragile", "good"):
            load_template(bundle.path / f"{stream}.yaml", namespace)
        assert sorted(namespace) == ["good", "rejected_fragile"]
        rejected = namespace["rejected_fragile"]
        assert isinstance(rejected, RejectedTemplate)
        with pytest.raises(TemplateError) as told:
            rejected.validate()
        assert_told(str(told.value), caplog)


@pytest.mark.parametrize("phase", ["reading", "checking", "compiling", "building"])
def test_the_list_of_errors_names_it(
    folder: Path, phase: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail_for(monkeypatch, *PHASES[phase])
    [problem] = find_problems(folder)
    assert_told(problem, caplog)
    with pytest.raises(TemplateError, match="that is our mistake"):
        report_template_errors(folder)


@pytest.mark.parametrize(
    ("place", "name", "is_fragile"),
    [
        PHASES["reading"],
        PHASES["checking"],
        (lint, "reach", lambda stream: stream.id == "fragile"),
        (neighbours, "_check_wait", lambda stream, *_: stream.id == "fragile"),
    ],
)
def test_lint_goes_on_with_the_others(
    folder: Path,
    place: Any,
    name: str,
    is_fragile: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    (folder / "fragile.yaml").write_text(TEXT.format("fragile") + WAITS)
    (folder / "wrong.yaml").write_text(TEXT.format("wrong").replace("owner", "ownr"))
    fail_for(monkeypatch, place, name, is_fragile)
    assert main(["lint", str(folder)]) == 1
    told = capsys.readouterr()
    assert_told(
        "\n".join(line for line in told.out.splitlines() if "fragile" in line), caplog, f"{folder}/fragile.yaml"
    )
    assert f"{folder}/wrong.yaml:3:23 business.ownr: " in told.out
    assert told.err.startswith("3 templates checked, 2 with problems: ")
    main(["lint", "--format", "json", str(folder)])
    files = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert f"{folder}/fragile.yaml" in files


def test_the_message_says_where_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "check_due", lambda _: 1 / 0)
    with pytest.raises(ProgramMistake, match=r"ZeroDivisionError in value_stream/reading\.py line [0-9]+") as caught:
        ValueStream.load(TEXT.format("a"), name="a.yaml")
    [problem] = caught.value.problems
    assert str(problem) == str(caught.value)


def test_what_the_environment_has_wrong_is_told_as_it_is() -> None:
    told = r"^a\.yaml:1:1 template: the setting is wrong$"
    with pytest.raises(TemplateError, match=told) as caught, ours_if_unforeseen("a.yaml"):
        raise OrchestrationError("the setting\nis wrong")
    assert not isinstance(caught.value, ProgramMistake)
    assert len(caught.value.problems) == 1


# ----------------------------------------------------------------------------------- what lies in the folder beside it

UNREADABLE = Path("/proc/self/mem")
"""A file that is there and that nobody can read from its beginning, whoever asks."""


def test_a_file_that_nobody_can_read_hurts_itself_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "unreadable.yaml").symlink_to(UNREADABLE)
    (folder / "calendars").mkdir()
    (folder / "calendars" / "office.yaml").symlink_to(UNREADABLE)
    (folder / "bank.shared.yaml").symlink_to(UNREADABLE)
    namespace: dict[str, Any] = {}
    load_value_streams(folder, namespace)
    assert sorted(namespace) == ["fragile", "good"]
    [problem] = find_problems(folder)
    assert problem.startswith("unreadable.yaml:1:1 template: the file cannot be read (")
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
    bundle.initialize()
    [stub] = bundle.path.glob("unreadable-*.py")
    assert "the file cannot be read" in stub.read_text()
    assert (bundle.path / "good.py").exists()


def test_lint_tells_of_a_file_that_nobody_can_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "unreadable.yaml").symlink_to(UNREADABLE)
    assert main(["lint", str(folder)]) == 1
    assert f"{folder}/unreadable.yaml:1:1 template: the file cannot be read (" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    [b"odd \xff\xfe.yaml", b"line\nbreak.yaml", "\u202eodd.yaml".encode()],
    ids=["no text", "two lines", "turned"],
)
@pytest.mark.parametrize("text", [TEXT.format("odd"), "x: ["], ids=["right", "wrong"])
def test_an_odd_file_name_hurts_nobody(folder: Path, tmp_path: Path, name: bytes, text: str) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text(text)
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
    bundle.initialize()
    assert (bundle.path / "good.py").exists()
    for problem in find_problems(folder):
        assert problem.isprintable()
    namespace: dict[str, Any] = {}
    load_value_streams(folder, namespace)
    assert sorted(namespace) == (["fragile", "good", "odd"] if text.startswith("value_stream") else ["fragile", "good"])
    for dag in namespace.values():
        dag.doc_md.encode()  # Airflow keeps it in its database


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"version": 1}', b"\xff\xfe"])
def test_half_a_plan_is_no_plan(folder: Path, tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
    bundle.initialize()
    (bundle.path / ".good.yaml.plan.json").write_bytes(text)
    (folder / "fragile.yaml").write_text(TEXT.format("fragile") + "description: x\n")
    bundle.refresh()
    (bundle.path / ".good.yaml.plan.json").write_bytes(text)
    monkeypatch.setenv(ASKED_FOR, "good")
    namespace: dict[str, Any] = {}
    load_template(bundle.path / "good.yaml", namespace)
    assert list(namespace) == ["good"]


def test_a_full_disk_costs_the_plan_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
    bundle.initialize()

    def full(handle: int, data: bytes) -> int:
        if len(data) > 100:
            return os_write(handle, data[:100])
        raise OSError(28, "No space left on device")

    os_write = os.write
    monkeypatch.setattr(writing.os, "write", full)
    namespace: dict[str, Any] = {}
    load_template(bundle.path / "good.yaml", namespace)
    assert list(namespace) == ["good"]
    assert "the plan cannot be written ([Errno 28] No space left on device)" in caplog.text
    assert not [path for path in bundle.path.iterdir() if path.name.startswith(".")]
