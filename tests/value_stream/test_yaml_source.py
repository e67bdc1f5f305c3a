"""Strict YAML: what values are, where they are, and what is refused."""

import pytest
import yaml

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream import yaml_source
from airflow_enterprise_orch.value_stream.yaml_source import MAX_BYTES, decode, read_yaml


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request, monkeypatch):
    """Everything holds with libyaml and without it."""
    monkeypatch.setattr(yaml_source, "_LOADER", getattr(yaml, request.param))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("False", False), ("yes", "yes"), ("on", "on"), ("n", "n"),
        ("~", None), ("null", None), ("", None),
        ("12", 12), ("-3", -3), ("012", "012"), ("0x1F", "0x1F"), ("0o7", "0o7"), ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1.5", 1.5), ("1e3", 1000.0), (".5", ".5"), (".inf", ".inf"), (".nan", ".nan"), ("2024-01-31", "2024-01-31"),
        ("'12'", "12"), ('"true"', "true"), ("=", "="), ("1.2.3", "1.2.3"),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_yaml_12(text, value):
    document = read_yaml(f"key: {text}", "f")
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)
    assert document.problems == []


def test_keys_are_texts():
    assert read_yaml("on: 1\n2: 3\nnull: 4\ntrue: 5", "f").data == {"on": 1, "2": 3, "null": 4, "true": 5}


def test_positions_of_keys_and_values():
    document = read_yaml("a:\n  é: [x, {b: 1}]\n", "f")
    assert document.position(("a",), key=True) == (1, 1)
    assert document.position(("a", "é"), key=True) == (2, 3)
    assert document.position(("a", "é", 0)) == (2, 7)
    assert document.position(("a", "é", 1, "b")) == (2, 14)
    assert document.position(("a", "é", 1, "missing")) == (2, 10)


@pytest.mark.parametrize(
    ("text", "line", "column", "place"),
    [
        ("k: abcdef", 1, 4, (1, 7)),
        ("k: 'abcdef'", 1, 4, (1, 8)),
        ('k: "abcdef"', 1, 4, (1, 8)),
        ('k: "a\\tbcdef"', 1, 4, (1, 4)),  # an escape: only the beginning is known
        ("k: |\n  one\n  two", 2, 2, (3, 4)),
        ("k: |2\n    one\n  two", 1, 3, (2, 5)),
        ("k: >\n  one\n  two", 1, 2, (1, 4)),  # folded: only the beginning is known
        ("k: a\n  b", 1, 2, (1, 4)),
    ],
)
def test_places_inside_a_text(text, line, column, place):
    assert read_yaml(text, "f").inside(("k",), line, column) == place


def problems(text):
    try:
        return [str(problem) for problem in read_yaml(text, "f").problems]
    except TemplateError as error:
        return str(error).split("\n")


def test_several_problems_are_found_in_one_reading():
    assert problems("a: !x 1\nb: 1\nb: 2\nc: *d\n") == [
        "f:1:4 a: the tag !x is not available in templates, remove it; put texts in quotes",
        "f:3:1 b: the key 'b' is here twice, first in line 2, remove one of them",
        "f:4:4 c: the alias *d is not available in templates, write the value out",
    ]


def test_the_billion_laughs_are_over_at_the_first():
    text = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
    assert sum("anchor" in line for line in problems(text)) == 2
    assert sum("alias" in line for line in problems(text)) == 4


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " * 1000, "- " * 5000, "{a: " * 5000])
def test_nesting_without_end_is_refused(text):
    assert len(problems(text)) == 1


def test_line_ends_of_other_systems():
    document = read_yaml("a: 1\r\nb: 2\rc: 3\n", "f")
    assert document.data == {"a": 1, "b": 2, "c": 3}
    assert document.position(("c",)) == (3, 4)


def test_a_byte_order_mark_is_nothing():
    assert read_yaml(decode(b"\xef\xbb\xbfa: 1", "f"), "f").data == {"a": 1}


def test_not_utf8_has_a_place():
    with pytest.raises(TemplateError, match=r"^f:2:4 template: the byte 0xff is not UTF-8, save the file as UTF-8$"):
        decode("é: 1\né: ".encode() + b"\xff", "f")


def test_a_file_too_large_is_refused_unread():
    assert problems("a: " + "x" * MAX_BYTES) == ["f:1:1 template: the file is larger than 512 KB, split the stream"]


def test_a_surrogate_is_no_character():
    assert problems("a: \ud800") == ["f:1:4 template: the character U+D800 is not allowed in YAML, remove it"]
