"""Which files of a folder are templates, and what lies beside them for them to use."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.value_stream.template_folder import (
    _DECLARATION,
    declared_stream,
    find_templates,
    read_companions,
    read_named,
    read_side_files,
)


def test_what_lies_where_in_a_folder_of_templates(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "templates", tmp_path / "elsewhere"
    here = ["b.yml", "sub/a.yaml", "sub/a.cases.yaml", "prod.profile.yaml", "sub/calendars/own.yaml", "sub/rates.csv"]
    out = [
        "_old/a.yaml",
        ".git/a.yaml",
        "_a.yaml",
        ".a.yaml",
        "a.yaml.bak",
        "_old/calendars/own.yaml",
        "_old/rates.csv",
    ]
    for path in (*(root / name for name in (*here, *out)), elsewhere / "shared.yaml", elsewhere / "rates.csv"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a: b\n")
    (root / "calendars").symlink_to(elsewhere)
    (root / "linked").symlink_to(elsewhere)
    (root / "gone.yaml").symlink_to(tmp_path / "nowhere.yaml")
    (root / "folder.yaml").mkdir()
    assert [name for name, _ in find_templates(root)] == ["b.yml", "sub/a.yaml"]
    assert dict(find_templates(root))["sub/a.yaml"] == root / "sub" / "a.yaml"
    assert [name for name, _ in read_companions(root)] == ["calendars/shared.yaml", "sub/calendars/own.yaml"]
    assert [name for name, _ in read_named(root, [b"table: rates.csv"])] == ["sub/rates.csv"]
    assert list(read_side_files(root)) == ["prod.profile.yaml"]
    assert [*find_templates(tmp_path / "missing"), *read_companions(tmp_path / "missing")] == []


@pytest.mark.parametrize(
    ("text", "stream"),
    [
        (b"value_stream: a\n", "a"),
        (b"# value_stream: b\nvalue_stream: 'value_stream' # c\r\ntitle: value_stream: x\n", "value_stream"),
        (b'"value_stream" : a', "a"),
        (b"  value_stream: a\n", ""),
        (b"value_stream: a\nvalue_stream: b\n", ""),
        (b"value_streams: a\nmy_value_stream: b\n", ""),
        (b"", ""),
    ],
)
def test_the_id_is_read_off_the_line_that_declares_it(text: bytes, stream: str) -> None:
    assert declared_stream(text) == stream


PIECES = [
    b"value_stream",
    b"value_stream: a",
    b"'value_stream'",
    b'"value_stream": "b"',
    b": c",
    b"\n",
    b"\r\n",
    b" ",
    b"'",
    b'"',
    b"#",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join))
def test_the_id_is_what_an_expression_finds_in_all_lines(text: bytes) -> None:
    found = _DECLARATION.findall(text)
    assert declared_stream(text) == (found[0][2].decode() if len(found) == 1 else "")
