"""The commands: what they print, for people and for tools, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from airflow_enterprise_orch import cli
from tests.template_tools.samples import SHIPPED, SHIPPED_CASES

GOOD = str(SHIPPED)


@pytest.fixture
def params(tmp_path: Path) -> str:
    path = tmp_path / "params.yaml"
    path.write_text("{order_id: ORD-000001, amount: 500}\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def broken(tmp_path: Path) -> str:
    path = tmp_path / "broken.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace("params.amount >", "params.amout >"), encoding="utf-8")
    return str(path)


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", GOOD]) == 0
    assert "├─ check_credit: Check the customer's credit" in capsys.readouterr().out
    assert cli.main(["explain", "--format", "json", GOOD]) == 0
    assert len(json.loads(capsys.readouterr().out)["steps"]) == 13


def test_explain_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.svg"
    assert cli.main(["explain", GOOD, "--graph", str(target)]) == 0
    assert ElementTree.fromstring(target.read_bytes()).tag.endswith("svg")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"{target} drawn\n")
    assert cli.main(["explain", GOOD, "--graph", str(tmp_path / "no" / "out.svg")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_explain_on_a_terminal_that_draws_no_lines() -> None:
    command = [sys.executable, "-m", "airflow_enterprise_orch", "explain", GOOD]
    done = subprocess.run(
        command, capture_output=True, timeout=120, check=False, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"|- check_credit: Check the customer's credit" in done.stdout


def test_a_title_cannot_move_the_terminals_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "evil.yaml", tmp_path / "evil.svg"
    text = SHIPPED.read_text(encoding="utf-8")
    text = text.replace("title: Book the order", r'title: "a\e[2Jb\u202Ec\x85d"').replace("minimum: 0", "minimum: 0.0")
    path.write_text(text.replace('pattern: "^ORD', r'pattern: "\n^ORD'), encoding="utf-8")
    for command in (["explain", str(path)], ["diff", GOOD, str(path)]):
        cli.main(command)
        out = capsys.readouterr().out
        assert "a\ufffd[2Jb\ufffdc\ufffdd" in out or r"\x1b[2J" in out
        assert not {"\x1b", "\u202e", "\x85"} & set(out)
    assert cli.main(["explain", str(path), "--graph", str(target)]) == 0
    titles = [one.text for one in ElementTree.fromstring(target.read_bytes()).iter("{http://www.w3.org/2000/svg}title")]
    assert any("a\ufffd[2Jb\ufffdc\ufffdd" in (title or "") for title in titles)


def test_simulate(params: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", GOOD, "--params", params]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "order_to_certificate, instance ORD-000001"
    assert "  skipped  approve             not chosen by route" in lines
    assert "ends: success" in lines


def test_simulate_an_instance_that_fails(tmp_path: Path, params: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.json"
    results.write_text('{"post_invoice": {"outcome": "failed"}}', encoding="utf-8")
    assert cli.main(["simulate", GOOD, "--params", params, "--results", str(results), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ends"] == "failed"
    assert told["takes"] == ["check_credit", "book_order", "post_invoice"]
    assert {step["state"] for step in told["steps"]} == {"ran", "failed", "stopped"}


def test_simulate_dates_its_texts(params: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "dated.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8").replace('key: "{{ params.order_id }}"', 'key: "{{ ds }}"'))
    assert cli.main(["simulate", str(path), "--params", params, "--date", "2026-12-31"]) == 0
    assert capsys.readouterr().out.startswith("order_to_certificate, instance 2026-12-31\n")
    with pytest.raises(SystemExit) as caught:
        cli.main(["simulate", GOOD, "--date", "31.12.2026"])
    assert caught.value.code == 2
    assert "'31.12.2026' is no date; write it as 2026-12-31" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "amount: 5\n",
            "params.yaml:1:1 order_id: param 'order_id' is needed and not given, add order_id: and a string\n",
        ),
        ("order_id: ORD-000001\namount: 5000\n", "needs steps.check_credit.credit_class, which is not given"),
        (
            "order_id: [1]\namount: 1\n",
            "params.yaml:1:11 order_id: param 'order_id': the param's type is 'string', this is a list",
        ),
    ],
)
def test_simulate_without_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, says: str
) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(given, encoding="utf-8")
    assert cli.main(["simulate", GOOD, "--params", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert captured.err.count("\n") == 1


def test_simulate_without_params(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", GOOD]) == 2
    assert capsys.readouterr().err == (
        "enterprise-orch: order_to_certificate starts with order_id, amount; "
        "write them to a file and name it: --params\n"
    )


def test_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The file is named, and lies in the folder that is named: its cases run once.
    assert cli.main(["test", GOOD, str(SHIPPED.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{GOOD}: 13 cases, all passed"
    assert len(lines) == len({line.partition(":")[0] for line in lines}) == 5
    (tmp_path / "o.yaml").write_bytes(SHIPPED.read_bytes())
    cases = SHIPPED_CASES.read_text(encoding="utf-8").replace("amount: 10000.01", "amount: 9999")
    (tmp_path / "o.cases.yaml").write_text(cases, encoding="utf-8")
    assert cli.main(["test", str(tmp_path), "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [case["name"] for case in told["cases"] if not case["passed"]] == ["a large order is released by a person"]


def test_test_goes_on_after_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_bytes(SHIPPED.read_bytes())
        (tmp_path / f"{name}.cases.yaml").write_bytes(SHIPPED_CASES.read_bytes())
    (tmp_path / "a.cases.yaml").write_text("cases: {one: {takes: [none]}}\n", encoding="utf-8")
    assert cli.main(["test", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'b.yaml'}: 13 cases, all passed\n"
    assert captured.err.startswith(f"{tmp_path / 'a.cases.yaml'}:1:")


def test_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["diff", GOOD, GOOD]) == 0
    assert capsys.readouterr().out == ""
    new = tmp_path / "new.yaml"
    new.write_text(SHIPPED.read_text(encoding="utf-8").replace("zos_prod", "zos_new"), encoding="utf-8")
    assert cli.main(["diff", GOOD, str(new)]) == 1
    assert capsys.readouterr().out == "step check_credit: connection changed from 'zos_prod' to 'zos_new'\n"
    assert cli.main(["diff", "--format", "json", GOOD, str(new)]) == 1
    assert [change["kind"] for change in json.loads(capsys.readouterr().out)] == ["changed"]


def test_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "month_end", "--folder", str(tmp_path)]) == 0
    template, cases = (Path(line) for line in capsys.readouterr().out.splitlines())
    assert (template.name, cases.name) == ("month_end.yaml", "month_end.cases.yaml")
    assert cli.main(["lint", str(tmp_path)]) == 0
    assert cli.main(["test", str(template)]) == 0
    assert capsys.readouterr().out == f"{template}: 3 cases, all passed\n"
    before = template.read_bytes()
    template.write_bytes(before + b"# mine\n")
    cases.unlink()
    assert cli.main(["new", "month_end", "--folder", str(tmp_path)]) == 2
    assert template.read_bytes() == before + b"# mine\n"
    assert not cases.exists()
    assert "is there already, and is left as it is" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Month End", "../up", "1st", "", "a\nb: c", "null", "x" * 101, "naïve", "a: b"])
def test_new_with_a_name_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert cli.main(["new", name, "--folder", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "is no name for a value stream" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_new_without_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new", "month_end", "--folder", str(tmp_path / "none")]) == 2
    assert "cannot be written: No such file or directory; check the folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["explain"], ["simulate"], ["test"], ["diff", GOOD]])
def test_a_broken_template_says_what_lint_says(
    broken: str, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    cases = Path(broken).with_name("broken.cases.yaml")
    cases.write_bytes(SHIPPED_CASES.read_bytes())
    assert cli.main([*command, broken]) == 2
    told = capsys.readouterr()
    assert cli.main(["lint", broken]) == 1
    assert told.out == ""
    assert told.err == capsys.readouterr().out


@pytest.mark.parametrize("command", [["explain"], ["simulate"], ["test"], ["diff", GOOD]])
def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert cli.main([*command, str(tmp_path / "none.yaml")]) == 2
    error = capsys.readouterr().err
    assert "none.yaml" in error
    assert error.count("\n") == 1


def test_lint_of_a_file_of_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["lint", str(SHIPPED_CASES)]) == 2
    assert "holds cases and is no template; enterprise-orch test checks and runs it" in capsys.readouterr().err


def test_none_of_them_needs_airflow(tmp_path: Path, params: str) -> None:
    """On an analyst's laptop or in a CI job: neither Airflow nor the client of any system is imported."""
    program = (
        "import sys; from airflow_enterprise_orch.cli import main\n"
        "codes = [main(line.split('|')) for line in sys.argv[1:]]\n"
        "heavy = {'airflow', 'httpx', 'boto3', 'asyncssh', 'pypsrp', 'sqlalchemy'}\n"
        "print(codes, sorted(heavy & {name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    lines = [
        f"explain|{GOOD}",
        f"explain|{GOOD}|--graph|{tmp_path / 'o.svg'}",
        f"simulate|{GOOD}|--params|{params}",
        f"test|{GOOD}",
        f"diff|{GOOD}|{GOOD}",
        f"new|fresh|--folder|{tmp_path}",
    ]
    command = [sys.executable, "-c", program, *lines]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stderr.splitlines()[-1] == "[0, 0, 0, 0, 0, 0] []"
