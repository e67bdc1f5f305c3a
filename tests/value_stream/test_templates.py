"""The corpus: what templates mean, and the exact messages for those that are wrong."""

import copy
import json
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.yaml_source import read_yaml
from tests.value_stream.fuzzing import examples, refused_well

HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
EXAMPLES = Path(str(files("airflow_enterprise_orch.value_stream"))) / "examples"
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
    assert len(BAD) >= 150
    assert {path.stem for path in BAD} == {path.stem for path in (HERE / "bad").glob("*.expected")}


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_template_means_what_it_meant_before(path):
    stream = ValueStream.load(path)
    meaning = stream.model_dump(mode="json", by_alias=True)
    assert meaning == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))


SPINE = (HERE / "good" / "order_to_certificate.yaml").read_text(encoding="utf-8")


def load_or_refuse(text):
    """Anything but a stream or a TemplateError of the template itself fails the test."""
    try:
        ValueStream.load(text)
    except TemplateError as error:
        refused_well(error, text)


@examples(150)
@given(st.text(max_size=300))
def test_any_text_is_a_stream_or_a_template_error(text):
    load_or_refuse(text)


YAML_WORDS = st.sampled_from([
    "value_stream: a\n", "title: x\n", "steps:\n", "  a:\n", "    branch:\n", "      - when: ", "{", "}", "[", "]", ":",
    "- ", "&a ", "*a", "!!python/x ", "!x ", "<<: ", "'", '"', "|\n", "\t", "---\n", "{{ params.x }}", "{% ", "~", "é",
    "params.x > 1", "approval: ", "mainframe.job: ", "unix.script: ", "connection: c", "\n", "  ", "1e999", "9" * 30,
    "\x00", "on: ",
])  # fmt: skip


@examples(150)
@given(st.lists(YAML_WORDS, max_size=40).map("".join))
def test_any_pieces_of_yaml_are_a_stream_or_a_template_error(text):
    load_or_refuse(text)


@examples(150)
@given(st.integers(0, len(SPINE)), st.integers(0, 60), st.one_of(st.text(max_size=12), YAML_WORDS))
def test_any_edit_of_a_good_template_is_a_stream_or_a_template_error(at, length, text):
    load_or_refuse(SPINE[:at] + text + SPINE[at + length :])


def all_keys(data):
    """Yield every key of a tree."""
    for part in all_parts(data):
        if isinstance(part, dict):
            yield from part


def all_parts(data):
    """Yield a tree and everything below it."""
    yield data
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from all_parts(part)


TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
SLOTS = ["business", "params", "schedule", "limits", "tags", "steps"]
STEP_KEYS = ["after", "title", "mainframe.job", "unix.script", "branch", "approval", "outcome", "outputs", "retry"]


FOLDERS = (HERE / "good", HERE.parents[1] / "dag_templates", EXAMPLES, *EXAMPLES.parents[1].glob("systems/*/examples"))
GOOD_DATA = [
    read_yaml(path.read_text(encoding="utf-8"), path.name).data
    for folder in FOLDERS
    for path in sorted(folder.glob("*.yaml"))
    if not path.name.endswith(".cases.yaml")
]
KEYS = sorted({key for data in GOOD_DATA for key in all_keys(data)})
PARTS = [part for data in GOOD_DATA for part in all_parts(data)]
ODD = st.one_of(
    TREE,
    st.sampled_from(PARTS),
    st.sampled_from(["", "  ", "{{", "{{ params.x }}", "{% if %}", "> 1", "[1..", "1h", "(a+)+", "\u202e", "a" * 3000]),
    st.sampled_from([-1, 0, 1e308, 10**18]),
)


@examples(200)
@given(st.data())
def test_any_change_of_the_parts_of_a_good_template_is_a_stream_or_a_template_error(data):
    """Values, keys and whole parts are taken away, exchanged, doubled and moved: in each step kind and each key."""
    tree = copy.deepcopy(data.draw(st.sampled_from(GOOD_DATA), label="template"))
    for _ in range(data.draw(st.integers(1, 4), label="changes")):
        parents = [part for part in all_parts(tree) if isinstance(part, (dict, list)) and part]
        if not parents:
            break
        parent = data.draw(st.sampled_from(parents), label="where")
        places = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        place = data.draw(st.sampled_from(places), label="what")
        change = data.draw(st.sampled_from(["odd", "drop", "rename", "move", "double"]), label="change")
        if change == "odd":
            parent[place] = copy.deepcopy(data.draw(ODD))
        elif change == "drop" or isinstance(parent, list):
            parent.insert(0, parent[place]) if change == "double" else parent.pop(place)
        elif change == "rename":
            parent[data.draw(st.sampled_from(KEYS))] = parent.pop(place)
        elif change == "double":
            parent[f"{place}_2"] = copy.deepcopy(parent[place])
        else:
            other = data.draw(st.sampled_from([part for part in parents if isinstance(part, dict)]))
            other[place] = copy.deepcopy(parent[place])
    load_or_refuse(json.dumps(tree))


@examples(150)
@given(st.dictionaries(st.sampled_from(SLOTS), TREE), st.dictionaries(st.sampled_from(STEP_KEYS), TREE))
def test_any_values_in_the_right_keys_are_a_stream_or_a_template_error(top, step):
    data = {"value_stream": "a", "title": "A", "business": {"domain": "d", "owner": "o"}, "steps": {"one": step}} | top
    load_or_refuse(json.dumps(data))  # JSON is YAML
