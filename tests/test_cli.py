"""The command: lint and schema, and how it reaches the others."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_enterprise_orch import cli

HERE = Path(__file__).parent / "value_stream"


def test_lint_of_good_templates(capsys):
    assert cli.main(["lint", str(HERE / "good")]) == 0
    captured = capsys.readouterr()
    good = len(list((HERE / "good").glob("*.yaml")))
    assert captured.err.startswith(f"{good} templates checked, no problems, ")
    assert all(": warning (" in line for line in captured.out.splitlines())


def test_lint_of_a_bad_template(capsys):
    path = HERE / "bad" / "graph_self.yaml"
    assert cli.main(["lint", str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == (
        f"{path}:7:13 steps.book_order.after[0]: step 'book_order' cannot come after itself, name another step\n"
    )
    assert captured.err == "1 template checked, 1 with problems: 1 in all\n"


def test_lint_for_tools(capsys):
    path = HERE / "bad" / "graph_unknown_step.yaml"
    assert cli.main(["lint", "--format", "json", str(path)]) == 1
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {
            "severity": "error",
            "rule": "",
            "file": str(path),
            "line": 8,
            "column": 13,
            "where": "steps.notify.after[0]",
            "what": "there is no step 'book_ordr'",
            "suggestion": "book_order",
            "remedy": "name a step of this stream",
        }
    ]


def test_lint_finds_two_files_for_one_stream(tmp_path, capsys):
    text = (HERE / "good" / "smallest.yaml").read_text(encoding="utf-8")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert cli.main(["lint", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        f"{tmp_path / 'a.yaml'}:1:1 value_stream: 'hello' is also declared by {tmp_path / 'b.yaml'}, "
        "give each file a value stream of its own, or remove all but one"
    )


@pytest.mark.parametrize("content", [None, "folder"])
def test_lint_of_nothing_is_no_success(tmp_path, capsys, content):
    path = tmp_path if content else tmp_path / "missing.yaml"
    assert cli.main(["lint", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"enterprise-orch: {path}: there is no ")
    assert error.count("\n") == 1


def test_schema(tmp_path, capsys):
    assert cli.main(["schema"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["title"] == "Value stream"
    assert cli.main(["schema", "--output", str(tmp_path / "schema.json")]) == 0
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize("name", ["lab", "demo", "doctor"])
def test_others_get_their_arguments_untouched(monkeypatch, name):
    seen = []
    module = SimpleNamespace(main=lambda argv: seen.append(argv) or 7)
    monkeypatch.setitem(sys.modules, cli.OTHERS[name][0], module)
    assert cli.main([name, "--json", "--only", "ssh", "--help"]) == 7
    assert seen == [["--json", "--only", "ssh", "--help"]]


def test_an_extra_that_is_not_installed_is_one_line(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")

    monkeypatch.setattr(cli, "import_module", missing)
    assert cli.main(["lab"]) == 2
    assert capsys.readouterr().err == (
        "enterprise-orch: lab needs the package 'aiohttp', which is not installed; "
        "pip install 'airflow-enterprise-orch[lab]'\n"
    )


def test_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    help_text = capsys.readouterr().out
    assert all(name in help_text for name in ("lint", "schema", "lab", "demo", "doctor"))


def test_lint_as_a_module_needs_no_airflow():
    """A template author's laptop or a CI job checks templates in no time: Airflow itself is not imported."""
    program = (
        "import sys; from airflow_enterprise_orch.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or 10 * any(name.partition('.')[0] == 'airflow' for name in sys.modules))"
    )
    command = [sys.executable, "-c", program, "lint", str(HERE / "good" / "scheduled_by_nobody.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "1 template checked, no problems, 2 warnings\n")
