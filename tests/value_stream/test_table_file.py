"""Decision tables in CSV: the rows of a file are those of the template, wrong files say where.

How a user would notice that it is fake: a postal code loses its zero; a table from a spreadsheet with semicolons, a
byte order mark or quotes is read differently from what the spreadsheet shows; a gap is found in YAML and not in CSV;
somebody changes a rate, and instances go on with the old one; in a snapshot the file is missing, or a running instance
loses it with its template; a link or a name with ``..`` reads what is none of the template's business.
"""

from __future__ import annotations

import csv
import io
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.compile import plan_stream
from airflow_enterprise_orch.value_stream.loader import find_problems, load_template
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import beside_template, kept
from airflow_enterprise_orch.value_stream.table_file import cell_value

BAD = Path(__file__).parent / "bad_tables"

HEAD = """\
value_stream: {stream}
title: Rates
business: {{domain: D, owner: o}}
params:
  amount: {{type: number, default: 50}}
  code: {{type: string, default: "01067"}}
  count: {{type: integer, default: 1}}
  flag: {{type: boolean, default: false}}
"""
STEPS = """\
steps:
  rate:
    decision:
      inputs: {amount: params.amount, code: params.code, count: params.count, flag: params.flag}
      outputs: {fee: number, name: string, days: integer, ask: boolean}
"""
SEND = """\
  send:
    after: [rate]
    unix.script: {connection: c, command: /x, args: ["{{ steps.rate.name }}", "{{ steps.rate.fee }}"]}
"""
NAMES = ("amount", "code", "count", "flag", "fee", "name", "days", "ask")
OTHERWISE: dict[str, Any] = {"fee": 0, "name": "none", "days": 0, "ask": False}
TABLE = """\
amount,code,count,flag,fee,name,days,ask
> 100,01067,,,2.5,Dresden,1,true
<= 100,"[01067, 01069]",[1..10],TRUE,3,"Dresden, small",2,false
,,,,4,all others,007,FALSE
"""


def template(stream: str = "rates", table: str = "rates.csv", more: str = "") -> str:
    return HEAD.format(stream=stream) + STEPS + f"      table: {table}\n{more}" + SEND


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    root = tmp_path / "templates"
    root.mkdir()
    (root / "rates.yaml").write_text(template())
    (root / "rates.csv").write_text(TABLE.replace("007", "7"))
    return root


def load(folder: Path, name: str = "rates.yaml") -> ValueStream:
    return ValueStream.load(folder / name, name=name)


def rows(stream: ValueStream) -> list[dict[str, Any]]:
    return [row.model_dump() for row in stream.steps["rate"].rows]  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("path", sorted(BAD.glob("*.csv")), ids=lambda path: path.stem)
def test_a_bad_table_says_exactly_what_is_wrong(path: Path) -> None:
    text = (BAD / "template.yaml").read_text().replace("TABLE", path.stem)
    with pytest.raises(TemplateError) as caught:
        ValueStream.load(text, name="template.yaml", beside=Beside.named(BAD, "template.yaml"))
    assert str(caught.value) + "\n" == path.with_suffix(".expected").read_text(encoding="utf-8")
    lines = path.read_bytes().decode("utf-8-sig", "replace").splitlines() or [""]
    for problem in caught.value.problems:
        assert problem.file == path.name
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.remedy


def test_a_text_without_a_file_has_no_table_beside_it() -> None:
    with pytest.raises(TemplateError, match=r"no file 'rates.csv' beside the template, load the template from a file"):
        ValueStream.load(template())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"amount,code,count,flag,fee,name,days,ask\n" + b",,,,1,x,1,true\n" * 40_000, "is larger than 512 KB"),
        (b"amount,code,count,flag,fee,name,days,ask\n" + b",,,,1,x,1,true\n" * 7_000, "more than 50,000 cells"),
        (b'"' + b"x" * 500_000, "a cell in quotes is not closed"),
        (b'"' * 500_001, "a cell in quotes is not closed"),
        (b"amount,code,count,flag,fee,name,days,ask\n" + b"x,,x,x,x,x,x,x\n" * 5_000, "there are 100 problems or more"),
        (
            "".join([TABLE.splitlines()[0], *(f"\n{n},,,,1,x,1,true" for n in range(900))]).encode(),
            "too many rows, to check for gaps",
        ),
    ],
)
def test_a_table_that_is_made_to_hurt_is_refused_in_a_clear_line(folder: Path, content: bytes, says: str) -> None:
    (folder / "rates.csv").write_bytes(content)
    with pytest.raises(TemplateError) as caught:
        load(folder)
    assert says in str(caught.value)
    assert len(caught.value.problems) <= 101


def test_one_table_cannot_be_used_so_often_that_checking_it_takes_minutes(folder: Path) -> None:
    (folder / "t.csv").write_text("amount,fee\n" + "".join(f"{n},1\n" for n in range(490)))
    one = "inputs: {amount: params.amount}, outputs: {fee: number}, table: t.csv, otherwise: {fee: 1}"
    many = "".join(f"  s{n}: {{decision: {{{one}}}}}\n" for n in range(900))
    (folder / "many.yaml").write_text(HEAD.format(stream="many") + "steps:\n" + many)
    with pytest.raises(TemplateError) as caught:
        load(folder, "many.yaml")
    assert "the tables of the stream hold more than 50,000 cells together" in str(caught.value)
    assert "the tables of the stream are together too large to check for gaps" in str(caught.value)


# ------------------------------------------------------------------------------------------------------ what it means


def test_a_cell_means_what_it_means_in_a_template(folder: Path) -> None:
    assert rows(load(folder)) == [
        {
            "when": {"amount": "> 100", "code": "01067"},
            "then": {"fee": 2.5, "name": "Dresden", "days": 1, "ask": True},
        },
        {
            "when": {"amount": "<= 100", "code": ["01067", "01069"], "count": "[1..10]", "flag": True},
            "then": {"fee": 3, "name": "Dresden, small", "days": 2, "ask": False},
        },
        {"when": {}, "then": {"fee": 4, "name": "all others", "days": 7, "ask": False}},
    ]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("[1..10]", "string", ["1..10"]),
        ("[1..10]", "int", "[1..10]"),
        ("(1..10]", "double", "(1..10]"),
        ("[1, 2.5]", "double", [1, 2.5]),
        ("['1', \"2\"]", "int", ["1", "2"]),
        ("[A, 'B, C', \"D \"\"E\"\"\", 'it''s', O'Neil]", "string", ["A", "B, C", 'D "E"', "it's", "O'Neil"]),
        ("[A,]", "string", ["A"]),
        ("[]", "string", []),
        ("true", "string", "true"),
        ("true", "bool", True),
        ("FALSE", "bool", False),
        ("007", "int", "007"),
        ("null", "int", "null"),
        ("1e3", "double", 1000.0),
        ("5", "dyn", 5),
    ],
)
def test_the_type_of_a_column_says_what_a_cell_is(text: str, kind: str, value: Any) -> None:
    found = cell_value(text, kind)
    assert (type(found), found) == (type(value), value)


CODES = st.sampled_from(["01067", "A", "true", "> 5", "with, comma", 'with "quote"', "5", "mit ß", "[x]"])
NUMBERS = st.one_of(st.integers(-5, 200), st.sampled_from([0.5, 99.75]))
TESTS = st.one_of(
    NUMBERS,
    st.tuples(st.sampled_from(["<", "<=", ">", ">=", "!="]), st.integers(0, 100)).map(lambda one: f"{one[0]} {one[1]}"),
    st.integers(0, 50).map(lambda low: f"[{low}..{low + 7})"),
    st.lists(NUMBERS, min_size=1, max_size=3),
)
ROWS = st.fixed_dictionaries(
    {
        "when": st.fixed_dictionaries(
            {},
            optional={
                "amount": TESTS,
                "code": st.one_of(CODES.filter(lambda one: one != "[x]"), st.lists(CODES, min_size=1, max_size=3)),
                "count": st.one_of(st.integers(0, 9), st.lists(st.integers(0, 9), min_size=1, max_size=2)),
                "flag": st.booleans(),
            },
        ),
        "then": st.fixed_dictionaries({"fee": NUMBERS, "name": CODES, "days": st.integers(0, 9), "ask": st.booleans()}),
    }
)


def written(value: Any) -> str:
    """Return what an analyst types into a cell of a spreadsheet."""
    if isinstance(value, list):
        quoted = [f"'{one}'" if isinstance(one, str) else str(one) for one in value]
        return f"[{', '.join(quoted)}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(ROWS, min_size=1, max_size=6),
    st.sampled_from([",", ";"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["first", "unique"]),
    st.permutations(NAMES),
)
def test_a_file_of_any_spreadsheet_is_the_same_table_as_in_yaml(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[dict[str, Any]],
    separator: str,
    quoting: Any,
    end: str,
    hit: str,
    columns: list[str],
) -> None:
    """The other side is Python's own writer of CSV: same rows, same findings, same hash of the stream."""
    folder = tmp_path_factory.mktemp("tables", numbered=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerow(columns)
    for row in table:
        cells = {**row["when"], **row["then"]}
        writer.writerow([written(cells[name]) if name in cells else "" for name in columns])
    (folder / "rates.csv").write_bytes(text.getvalue().encode("utf-8-sig" if end == "\r\n" else "utf-8"))
    steps = STEPS.replace("    decision:\n", f"    decision:\n      hit: {hit}\n")
    inline = (
        HEAD.format(stream="rates") + steps + f"      rows: {json.dumps([*table, {'otherwise': OTHERWISE}])}\n" + SEND
    )
    (folder / "rates.yaml").write_text(
        HEAD.format(stream="rates")
        + steps
        + f"      table: rates.csv\n      otherwise: {json.dumps(OTHERWISE)}\n"
        + SEND
    )
    expected: Any
    try:
        expected = ValueStream.load(inline)
    except TemplateError as error:
        with pytest.raises(TemplateError) as caught:
            load(folder)
        assert len(caught.value.problems) == len(error.problems)
        for other, problem in zip(caught.value.problems, error.problems, strict=True):
            told = [one.what.partition(" fit ")[2].partition(" is never ")[0] for one in (problem, other)]
            assert told[0] == told[1]
        return
    found = load(folder)
    assert rows(found) == rows(expected)
    assert found.digest() == expected.digest()
    mine, its = plan_stream(found, source="x").to_json(), plan_stream(expected, source="x").to_json()
    assert {**mine, "seen": {}} == its, "Airflow gets the same task"
    assert diff(expected, found) == ()


def test_a_changed_cell_is_another_version_and_other_spaces_are_not(folder: Path) -> None:
    before = load(folder)
    (folder / "rates.csv").write_text(TABLE.replace("007", "7").replace("> 100,", " > 100 ,").replace("\n", "\r\n"))
    assert load(folder).digest() == before.digest()
    (folder / "rates.csv").write_text(TABLE.replace("007", "8"))
    assert load(folder).digest() != before.digest()
    (change,) = diff(before, load(folder))
    assert change.where.startswith("steps.rate.decision.rows")


def test_the_name_may_come_from_a_profile_and_the_file_lie_above(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "prod.profile.yaml").write_text("profile: prod\nvalues: {market: rates}\n")
    (folder / "sub" / "other.yaml").write_text(template("other", '"{{ values.market }}.csv"'))
    from airflow_enterprise_orch.value_stream.surroundings import Surroundings

    around = Surroundings.on_disk(folder / "sub" / "other.yaml", folder, "prod")
    stream = ValueStream.load(
        folder / "sub" / "other.yaml", surroundings=around, beside=Beside.named(folder, "sub/other.yaml")
    )
    assert rows(stream) == rows(load(folder))
    # In the template's own folder it counts before that.
    (folder / "sub" / "rates.csv").write_text(TABLE.replace("007", "9"))
    stream = ValueStream.load(
        folder / "sub" / "other.yaml", surroundings=around, beside=Beside.named(folder, "sub/other.yaml")
    )
    assert rows(stream)[2]["then"]["days"] == 9


def test_a_link_that_leads_out_of_the_folder_is_no_table(folder: Path) -> None:
    outside = folder.parent / "passwd.csv"
    outside.write_text(TABLE)
    (folder / "rates.csv").unlink()
    (folder / "rates.csv").symlink_to(outside)
    assert find_problems(folder) == (
        "rates.yaml:14:14 steps.rate.decision.table: 'rates.csv' is a link to a place outside of the templates' "
        "folder, put the file itself there",
    )
    # One that stays inside, as a mounted ConfigMap has them, is.
    (folder / "rates.csv").unlink()
    (folder / "data").mkdir()
    (folder / "data" / "v1.csv").write_text(TABLE.replace("007", "7"))
    (folder / "rates.csv").symlink_to(folder / "data" / "v1.csv")
    assert find_problems(folder) == ()


# ------------------------------------------------------------------------------------------------------- into Airflow


def bundle(folder: Path) -> TemplateBundle:
    made = TemplateBundle(name="streams", path=str(folder), store=str(folder.parent / "store"))
    made.initialize()
    return made


def built(snapshot: Path, stream: str, name: str) -> Any:
    namespace: dict[str, Any] = {}
    load_template(snapshot / f"{stream}.yaml", namespace, name=name)
    return namespace.get(stream)


def served_by(snapshot: Path, stream: str) -> Any:
    """Return the DAG that a snapshot's own file gives."""
    return runpy.run_path(str(snapshot / f"{stream}.py"))[stream]


def test_a_snapshot_holds_the_tables_that_templates_name(folder: Path) -> None:
    sub = folder / "sub"
    (sub / "tables").mkdir(parents=True)
    (sub / "own.yaml").write_text(template("own", "tables/rates.csv"))
    (sub / "above.yaml").write_text(template("above"))
    (sub / "tables" / "rates.csv").write_text(TABLE.replace("007", "1"))
    (folder / "customers.csv").write_text("no table of any template")
    (folder / ".rates.csv").write_text("hidden")
    served = bundle(folder)
    assert sorted(path.relative_to(served.path).as_posix() for path in served.path.rglob("*.csv")) == [
        "rates.csv",
        "sub/tables/rates.csv",
    ]
    for stream, name, days in (("rates", "rates.yaml", 7), ("own", "sub/own.yaml", 1), ("above", "sub/above.yaml", 7)):
        assert built(served.path, stream, name).get_task("rate").rows[2]["then"]["days"] == days


def test_a_change_of_the_table_alone_is_a_new_version_and_seen_at_once(folder: Path) -> None:
    (folder / "other.yaml").write_text(template("other", "other.csv"))
    (folder / "other.csv").write_text(TABLE.replace("007", "7"))
    served = bundle(folder)
    first = served.path
    before = {stream: built(first, stream, f"{stream}.yaml") for stream in ("rates", "other")}
    (folder / "rates.csv").write_text(TABLE.replace("007", "8"))
    served.refresh()
    assert served.path != first
    assert (served.path / "other.py").samefile(first / "other.py"), "who sees no change is not read again"
    assert not (served.path / "rates.py").samefile(first / "rates.py")
    after = built(served.path, "rates", "rates.yaml")
    assert after.doc_md != before["rates"].doc_md, "which makes a new DAG version"
    assert after.get_task("rate").rows[2]["then"]["days"] == 8
    again = built(first, "rates", "rates.yaml")
    assert again.get_task("rate").rows[2]["then"]["days"] == 7, "an instance goes on with what it began with"


def test_a_plan_counts_only_while_the_table_is_the_same(folder: Path) -> None:
    assert built(folder, "rates", "rates.yaml") is not None
    place, text = beside_template(folder / "rates.yaml"), (folder / "rates.yaml").read_bytes()
    assert kept(place, text, name="rates.yaml", folder=folder) is not None
    (folder / "rates.csv").write_text(TABLE.replace("007", "8"))
    assert kept(place, text, name="rates.yaml", folder=folder) is None
    (folder / "rates.csv").unlink()
    assert kept(place, text, name="rates.yaml", folder=folder) is None


def test_a_template_that_was_taken_away_with_its_table_still_serves_its_runs(folder: Path) -> None:
    served = bundle(folder)
    (folder / "other.yaml").write_text(template("other", "other.csv"))
    (folder / "other.csv").write_text(TABLE.replace("007", "7"))
    for name in ("rates.yaml", "rates.csv"):
        (folder / name).unlink()
    served.refresh()
    first = served.path
    assert served_by(first, "rates").get_task("rate").rows[2]["then"]["days"] == 7
    (folder / "other.csv").write_text(TABLE.replace("007", "8"))
    served.refresh()
    assert served.path != first
    assert served_by(served.path, "rates").get_task("rate").rows[2]["then"]["days"] == 7
    served.refresh()
    assert served.path == bundle(folder).path, "the same state is the same version"


def test_a_broken_table_hurts_only_the_streams_that_use_it(folder: Path) -> None:
    (folder / "other.yaml").write_text(template("other", "other.csv"))
    (folder / "other.csv").write_text(TABLE)
    assert find_problems(folder) == (
        "other.csv:4:18 rows[2].then.days: the output's type is 'integer', this is the text '007', "
        "write a whole number",
    )


# -------------------------------------------------------------------------------------------------------------- tools


def test_the_tools_see_the_rows_of_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(folder / "rates.yaml")
    assert main(["lint", "--strict", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "(unread-output)" in said
    assert main(["explain", file]) == 0
    assert "the table rates.csv, 3 rows, over params.amount" in capsys.readouterr().out
    (folder / "params.yaml").write_text("{amount: 50, code: '01069', flag: true}")
    assert main(["simulate", file, "--params", str(folder / "params.yaml"), "--format", "json"]) == 0
    (rate, _) = json.loads(capsys.readouterr().out)["steps"]
    assert rate["values"] == {"fee": 3, "name": "Dresden, small", "days": 2, "ask": False}
    other = folder / "new"
    other.mkdir()
    (other / "rates.yaml").write_text(template())
    (other / "rates.csv").write_text(TABLE.replace("2.5", "2.75").replace("007", "7"))
    assert main(["diff", file, str(other / "rates.yaml")]) == 1
    assert "2.75" in capsys.readouterr().out


def test_a_secret_in_a_table_is_told_without_showing_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rates.csv").write_text(TABLE.replace("007", "7").replace("Dresden,1", "password=hunter22,1"))
    assert main(["lint", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "rates.yaml:14:14 steps.rate.decision.table: warning (possible-secret): " in said
    assert "rates.csv:2:19: a password or key is written here" in said
    assert "hunter22" not in said
