"""The corpus: what templates mean, and the exact messages for those that are wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.model import ValueStream

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = sorted((HERE / "good").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_template_says_exactly_what_is_wrong(path):
    with pytest.raises(TemplateError) as caught:
        ValueStream.load(path, name=path.name)
    assert str(caught.value) + "\n" == path.with_suffix(".expected").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_every_message_names_a_place_inside_the_file(path):
    with pytest.raises(TemplateError) as caught:
        ValueStream.load(path, name=path.name)
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    assert caught.value.problems
    for problem in caught.value.problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert "\n" not in str(problem)
        assert problem.what
        assert problem.remedy


def test_the_corpus_is_large_and_every_bad_template_has_its_messages():
    assert len(BAD) >= 45
    assert {path.stem for path in BAD} == {path.stem for path in (HERE / "bad").glob("*.expected")}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_template_means_what_it_meant_before(path):
    stream = ValueStream.load(path)
    meaning = stream.model_dump(mode="json", by_alias=True)
    assert meaning == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


SPINE = (HERE / "good" / "order_to_certificate.yaml").read_text(encoding="utf-8")


def load_or_refuse(text):
    """Anything but a stream or a TemplateError fails the test."""
    try:
        ValueStream.load(text)
    except TemplateError as error:
        assert error.problems
        assert all(str(problem) in str(error) for problem in error.problems)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_a_stream_or_a_template_error(text):
    load_or_refuse(text)


YAML_WORDS = st.sampled_from([
    "value_stream: a\n", "title: x\n", "steps:\n", "  a:\n", "    branch:\n", "      - when: ", "{", "}", "[", "]", ":",
    "- ", "&a ", "*a", "!!python/x ", "!x ", "<<: ", "'", '"', "|\n", "\t", "---\n", "{{ params.x }}", "{% ", "~", "é",
    "params.x > 1", "approval: ", "mainframe.job: ", "unix.script: ", "connection: c", "\n", "  ", "1e999", "9" * 30,
    "\x00", "on: ",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(YAML_WORDS, max_size=40).map("".join))
def test_any_pieces_of_yaml_are_a_stream_or_a_template_error(text):
    load_or_refuse(text)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(SPINE)), st.integers(0, 60), st.one_of(st.text(max_size=12), YAML_WORDS))
def test_any_edit_of_a_good_template_is_a_stream_or_a_template_error(at, length, text):
    load_or_refuse(SPINE[:at] + text + SPINE[at + length :])


TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
SLOTS = ["business", "params", "schedule", "limits", "tags", "steps"]
STEP_KEYS = ["after", "title", "mainframe.job", "unix.script", "branch", "approval", "outcome", "outputs", "retry"]


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(SLOTS), TREE), st.dictionaries(st.sampled_from(STEP_KEYS), TREE))
def test_any_values_in_the_right_keys_are_a_stream_or_a_template_error(top, step):
    data = {"value_stream": "a", "title": "A", "business": {"domain": "d", "owner": "o"}, "steps": {"one": step}} | top
    load_or_refuse(json.dumps(data))  # JSON is YAML
