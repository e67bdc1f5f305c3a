"""Conditions as far as they are understood: never a claim that CEL itself would refuse."""

import itertools

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.expressions import compile_expression
from airflow_enterprise_orch.template_tools.logic import Asked, understood

KINDS = {"params.n": "int", "params.x": "double", "params.s": "string", "params.b": "bool"}
VALUES = {"params.n": [-1, 0, 1, 2, 5], "params.x": [-0.5, 0.0, 1.0, 1.5], "params.s": ["", "a", "b c"],
          "params.b": [False, True]}  # fmt: skip

ATOMS = st.sampled_from([
    "params.n > 1", "params.n <= 0", "1 < params.n", "params.n == 2", "params.n in [1, 2, -1]", "2 != params.n",
    "params.x >= 1.0", "params.x < 0.5", "-0.5 == params.x", 'params.s == "a"', "params.s != 'b c'", "params.b",
    'params.s in ["a", "b c"]', "params.b == true", "!params.b", "true", "false", "params . n == 1",
])  # fmt: skip
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||", " && ", "||\n"]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"!({text})"),
        inner.map(lambda text: f" ( {text} ) "),
    ),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(CONDITIONS)
def test_what_is_understood_answers_as_cel_does(text):
    asked = understood(text)
    assert all(one.cell is not None for one in asked.asked())
    program = compile_expression(text, KINDS)
    for some in itertools.product(*VALUES.values()):
        values = dict(zip(VALUES, some, strict=True))
        assert asked.holds(values) is program.evaluate(values), values


@pytest.mark.parametrize(
    "text",
    [
        'params.s.startsWith("a")', "params.n + 1 > 2", "params.n > params.n", 'params.s < "b"', "size(params.s) > 1",
        "params.b ? params.n > 1 : false", 'params.s == r"a\\b"', 'params.s == "a\\"b"', "params.x > 1e3",
        "params.n > 99999999999999999", "!params.b == true", "[1, 2].exists(n, n > params.n && n < 2)",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_a_riddle(text):
    assert understood(text) == Asked(text)


@pytest.mark.parametrize("text", ['params.s == "a || b"', 'params.s == "(" && params.b', "params.s == 'x?y'"])
def test_signs_inside_of_texts_join_nothing(text):
    assert all(one.cell is not None for one in understood(text).asked())


def test_the_same_riddle_has_the_same_answer():
    text = 'params.s.startsWith("a") && !(params.s.startsWith("a"))'
    names = {one.name for one in understood(text).asked()}
    assert len(names) == 1
    assert not any(understood(text).holds(dict.fromkeys(names, answer)) for answer in (False, True))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="params.nbx <>=!&|()[]\",'10?in", max_size=60))
def test_any_text_can_be_looked_at(text):
    assume(len(text) < 61)
    understood(text)
