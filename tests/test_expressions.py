"""Conditions: what compiles, what it gives, and what is said about the rest."""

import builtins

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch import expressions
from airflow_enterprise_orch.expressions import ExpressionError, compile_expression, find_problems

NAMES = {
    "params.amount": "double",
    "params.name": "string",
    "params.flag": "bool",
    "steps.book.rc": "int",
    "rc": "int",
    "anything": "dyn",
}

TWO_VALUES = "give it a condition and two values of the same type"
NOT_RUN = "step 'book' left no value 'rc': it did not run, or was skipped, ask only steps that ran on every way to here"


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("rc <= 4", {"rc": 4}, True),
        ("rc <= 4", {"rc": 4.0}, True),  # JSON has lost the difference
        ("params.amount > 10.5", {"params.amount": 11}, True),
        ("params.name == 'Zoë' && !params.flag", {"params.name": "Zoë", "params.flag": False}, True),
        ("steps.book.rc in [0, 4]", {"steps.book.rc": 8}, False),
        ("params.name.startsWith('A')", {"params.name": "ABC"}, True),
        ("params.flag || steps.book.rc == 0", {"params.flag": True}, True),  # the rest has no value and needs none
        ("anything > 3", {"anything": 4.5}, True),
        ("double(rc) > params.amount", {"rc": 4, "params.amount": 3.5}, True),
    ],
)
def test_evaluates(text, values, result):
    assert compile_expression(text, NAMES).evaluate(values) is result


def test_other_types_can_be_expected():
    assert compile_expression("rc + 1", NAMES, expects="int").evaluate({"rc": 1}) == 2


def test_references_are_the_names_it_reads_and_no_text():
    text = "params.amount > 1.0 || params.name.size() == 3 || params.name == 'rc params.flag'"
    assert compile_expression(text, NAMES).references == {"params.amount", "params.name"}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("params.amount > 10000", 1, 15, "'>' compares number with integer, write 10000.0"),
        ("10 < params.amount", 1, 4, "'<' compares integer with number, write 10.0"),
        ("rc < 4.0", 1, 4, "'<' compares integer with number, write 4"),
        ("rc > params.amount", 1, 4, "'>' compares integer with number, put double(...) round the integer"),
        ("rc == 'a'", 1, 4, "'==' compares integer with string, compare values of the same type"),
        ("rc = 4", 1, 4, "'=' means nothing here, did you mean '==', conditions are CEL"),
        ("rc <> 4", 1, 4, "'<>' means nothing here, did you mean '!=', conditions are CEL"),
        ("rc =< 4", 1, 4, "'=<' means nothing here, did you mean '<=', conditions are CEL"),
        ("rc == 1 and params.flag", 1, 9, "'and' means nothing here, did you mean '&&', conditions are CEL"),
        ("not params.flag", 1, 1, "'not' means nothing here, did you mean '!', conditions are CEL"),
        ("params.flag == True", 1, 16, "'True' is no CEL, did you mean 'true', correct it"),
        ("params.nam == 'x'", 1, 1, "there is no 'params.nam', did you mean 'params.name', use a declared name"),
        ("foo(1)", 1, 1, "there is no function 'foo', use one of CEL's functions"),
        ("rc +", 1, 5, "ends too early, complete the condition"),
        ("", 1, 1, "is empty, write a condition such as rc <= 4"),
        ("rc", 1, 1, "gives an integer, not a boolean, compare it with something"),
        ("anything", 1, 1, "gives a value of unknown type, not a boolean, compare it with something, such as == true"),
        ('params.name == "x', 1, 16, "a text has no closing quote, close it on the same line"),
        ("size(rc) > 1", 1, 5, "size() cannot be used with (integer), give it what it takes"),
        ("!params.name", 1, 1, "'!' meets a string, give it a condition, such as x == 1"),
        ("params.flag ? rc : 'x'", 1, 13, f"'?:' meets boolean, integer, string, {TWO_VALUES}"),
        ("rc.x == 1", 1, 3, "an integer has no parts, remove what follows the dot"),
        ("rc > 99999999999999999999", 1, 6, "the number is too large for an integer, add .0"),
        ("params.name in 'abc'", 1, 13, "'in' meets string and string, write a list on its right: x in ['a', 'b']"),
        ("while == 1", 1, 1, "'while' is a reserved word, use another name"),
        ("rc == 1 \ud800", 1, 9, "holds a character that is no text, remove it"),
        ("(" * 50 + "rc == 1" + ")" * 50, 1, 1, "is nested too deeply, split the rule"),
        ("rc == 1 || " * 400 + "rc == 2", 1, 1, "is longer than 4000 characters, split the rule"),
        ("rc == 1\n && params.name > 3", 2, 17, "'>' compares string with integer, compare values of the same type"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(text, line, column, message):
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, NAMES)
    assert (caught.value.line, caught.value.column, str(caught.value)) == (line, column, message)


def test_all_type_errors_are_found_at_once():
    found = find_problems("params.name > 3 && rc == 'x' && params.other", NAMES)
    assert [error.column for error in found] == [13, 23, 33]


def test_two_failures_of_one_condition_are_two_exceptions():
    caught = []
    for _ in range(2):
        with pytest.raises(ExpressionError) as one:
            compile_expression("rc ==", NAMES)
        caught.append(one.value)
    assert caught[0] is not caught[1]


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("steps.book.rc == 0", {}, NOT_RUN),
        ("steps.book.rc == 0", {"steps.book.rc": None}, NOT_RUN),
        ("params.flag", {}, "param 'flag' has no value, start the run with one"),
        ("rc == 0", {}, "'rc' has no value, do not rely on it"),
        ("rc == 0", {"rc": "zero"}, "'rc' is 'zero', not an integer, check where the value comes from"),
        ("rc == 0", {"rc": True}, "'rc' is True, not an integer, check where the value comes from"),
        ("rc / 0 == 1", {"rc": 1}, "cannot be evaluated (divide by zero), correct the condition"),
        ("rc + 9223372036854775807 > 1", {"rc": 1}, "cannot be evaluated (integer overflow), correct the condition"),
    ],
)  # fmt: skip
def test_a_value_that_is_missing_or_wrong_is_no_result(text, values, message):
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, NAMES).evaluate(values)
    assert str(caught.value) == message


def test_a_number_too_large_for_cel_is_an_error():
    with pytest.raises(ExpressionError, match="cannot be evaluated"):
        compile_expression("rc == 0", NAMES).evaluate({"rc": 2**70})


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from([*NAMES, "==", "&&", "(", ")", "'a", "1", "1.0", "\n", ".", "not ", "="])).map(" ".join)
)
def test_any_text_compiles_or_has_problems_inside_itself(text):
    lines = text.split("\n")
    for error in find_problems(text, NAMES):
        assert "\n" not in str(error)
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 2


MANY = NAMES | {f"steps.s{number}.{fact}": kind for number in range(40) for fact, kind in (("rc", "int"), ("a", "dyn"))}
GIVEN = dict.fromkeys(MANY, 4) | {"params.name": "A", "params.flag": True, "params.amount": 3.5}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    "params.amount",
                    "params . flag",
                    "params",
                    ".amount",
                    "steps.s7.rc",
                    "steps.s7.rx",
                    "steps.s7",
                    ".rc",
                ),
                *(
                    "anything",
                    "anything.rc",
                    ".rc",
                    "rc",
                    "steps.s9.a.b",
                    "rcs",
                    "double(",
                    "size(",
                    "[1].exists(rc, ",
                    ")",
                ),
                *("==", "<", "&&", "!", "+", "4", "3.5", "true", "'params.name'", "'", "// rc\n", "\n", "[", "]"),
                *("[1].exists(rc, ", ")"),
            ]
        ),
        max_size=9,
    ).map(" ".join)
)
@example("params // rc\n .amount > 1.0 && params.flag")
@example("[1].exists(rc, rc == 1) && steps.s7.rc == 4")
@example("steps.s7.rx > 1")
@example("'steps.s7.rc' == params.name")
def test_names_that_a_condition_cannot_mean_make_no_difference(text):
    assert _result(lambda: compile_expression(text, MANY)) == _result(lambda: _with_all(text))
    assert [_told(error) for error in find_problems(text, MANY)] == [
        _told(error) for error in expressions._compile(text, tuple(sorted(MANY.items())), "bool")[1]
    ]


def _with_all(text):
    compiled, errors = expressions._compile(text, tuple(sorted(MANY.items())), "bool")
    if compiled is None:
        raise errors[0]
    return compiled


def _result(compiling):
    """Return what a condition reads and comes to, or all that is said of it; with values for all names and for none."""
    try:
        compiled = compiling()
    except ExpressionError as error:
        return _told(error)
    found = [compiled.references]
    for values in (GIVEN, {}):
        try:
            found.append(compiled.evaluate(values))
        except ExpressionError as error:
            found.append(_told(error))
    return found


def _told(error):
    return str(error), error.line, error.column, error.remedy, error.suggestion, error.name


def test_of_many_names_those_alone_cost_that_a_text_can_mean(monkeypatch):
    asked = []
    environment = expressions._environment
    monkeypatch.setattr(expressions, "_environment", lambda names: asked.append(names) or environment(names))
    assert compile_expression("double(steps.s7.rc) > params.amount * 2.0", MANY).evaluate(GIVEN) is False
    assert {names for names in asked if names} == {(("params.amount", "double"), ("steps.s7.rc", "int"))}
    # What is wrong is guessed at with all of them.
    (problem,) = find_problems("double(steps.s7.rx) > params.amount * 2.0", MANY)
    assert problem.suggestion == "steps.s7.rc"


def test_without_its_package_one_line_says_so(monkeypatch):
    expressions._cel.cache_clear()
    expressions._compile.cache_clear()
    expressions._environment.cache_clear()
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "cel_expr_python":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", refuse)
        with pytest.raises(ExpressionError, match="conditions need the package cel-expr-python, which is not here"):
            compile_expression("rc == 0", {"rc": "int"})
    expressions._compile.cache_clear()
    assert compile_expression("rc == 0", {"rc": "int"}).evaluate({"rc": 0}) is True
