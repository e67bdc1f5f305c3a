"""The Jinja of templates: what it renders, and that nothing else can be reached."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.restricted_jinja import inspect, render, render_tree, run_names, texts

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTEXT = {
    "params": {"order": "ORD-1", "amount": 12.5, "express": True, "none": None, "items": "x"},
    "steps": {"book": {"rc": 0, "code": "CC 0000"}},
    "business": {"key": "ORD-1", "owner": "ops"},
    **run_names(run_id="manual__1", run_after=NOON),
}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("no jinja {# at all %}", "no jinja {# at all %}"),
        ("{{ params.order }}/{{ steps.book.rc }}/{{ business.owner }}", "ORD-1/0/ops"),
        ("{{ params['order'] | lower }}", "ord-1"),
        ("{{ params.items }}", "x"),  # a name, never the method of a dict
        ("{{ params.express }} {{ params.amount }}", "true 12.5"),
        ("{% if params.amount > 10 %}big{% else %}small{% endif %}", "big"),
        ("{{ steps.other.by | default('nobody') }}", "nobody"),
        ("{{ params.none | default('nothing') }}", "nothing"),
        ("{{ 'ran' if steps.book.rc is defined else 'skipped' }}", "ran"),
        (
            "{{ logical_date | date('%y%j') }} {{ ds }} {{ ds_nodash }} {{ run_id }}",
            "26060 2026-03-01 20260301 manual__1",
        ),
        ("line {{ params.order }}\n", "line ORD-1\n"),
        ("${#array[@]} {{ params.order }}", "${#array[@]} ORD-1"),  # shell, no comment
        ("{% raw %}{{ .State }}{% endraw %}", "{{ .State }}"),
    ],
)
def test_renders(text, result):
    assert inspect(text)[1] == ()
    assert render(text, CONTEXT) == result


def test_renders_a_tree_and_leaves_everything_but_texts():
    tree = {"{{ x }}": ["{{ params.order }}", 1, None, True, {"a": "{{ steps.book.code }}"}]}
    assert render_tree(tree, CONTEXT) == {"{{ x }}": ["ORD-1", 1, None, True, {"a": "CC 0000"}]}


def test_texts_finds_jinja_with_its_path():
    assert list(texts({"a": ["x", {"b": "{{ y }}"}], "c": "{% if %}"})) == [
        (("a", 1, "b"), "{{ y }}"),
        (("c",), "{% if %}"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ steps.other.rc }}", "step 'other' left no value 'rc': it did not run, or was skipped"),
        ("{{ steps.book.size }}", "step 'book' left no value 'size': it did not run, or was skipped"),
        ("{{ params.missing }}", "param 'missing' has no value, start the run with one"),
        ("{{ params.none }}", "param 'none' has no value"),
        ("{{ params }}", "'params' is a group of values, name one of them"),
        ("{{ params.order | date('%Y') }}", "cannot be rendered"),
        ("{{ params.order - 1 }}", "cannot be rendered"),
    ],
)
def test_what_has_no_value_is_an_error_never_an_empty_text(text, message):
    with pytest.raises(TemplateError) as caught:
        render(text, CONTEXT)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{{ conn.x.password }}",
        "{{ var.value.x }}",
        "{{ self }}",
        "{{ self.__init__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum() }}",
        "{{ ''.__class__ }}",
        "{{ ().__class__.__bases__ }}",
        "{{ params.order.upper() }}",
        "{{ params.items() }}",
        "{{ params | attr('items') }}",
        "{{ params.order | map('upper') }}",
        "{{ params['ord' ~ 'er'] }}",
        "{{ params.order[0] }}",
        "{{ 'a' * 999999999 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ {'a': 1} }}",
        "{% for x in params %}{{ x }}{% endfor %}",
        "{% set x = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{% include 'x' %}",
        "{% import 'x' as x %}",
        "{% extends 'x' %}",
        "{% block b %}{% endblock %}",
        "{% filter upper %}x{% endfilter %}",
        "{% call x() %}{% endcall %}",
        "{{ x",
        "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
        "{{ " + "9" * 9000 + " }}",
        "{{ " + "not " * 200 + "params.order }}",
    ],
)
def test_everything_else_is_refused_at_load_and_at_run_time(text):
    assert inspect(text)[1]
    with pytest.raises(TemplateError):
        render(text, CONTEXT)


@pytest.mark.parametrize(
    "text", ["{{ params.order.__class__ }}", "{{ params.__class__ }}", "{{ steps.book.__dict__ }}"]
)
def test_an_attribute_of_a_python_object_does_not_exist(text):
    with pytest.raises(TemplateError, match=r"(has|left) no value"):
        render(text, CONTEXT)


def test_a_result_without_end_is_refused():
    with pytest.raises(TemplateError, match="becomes longer"):
        render("{{ params.order }}", {"params": {"order": "x" * 2_000_000}})


def test_references_carry_their_place():
    references, _ = inspect("first\n  {{ params.order }}-{{ steps.book.rc }}")
    assert [(one.path, one.line, one.column) for one in references] == [
        (("params", "order"), 2, 6),
        (("steps", "book", "rc"), 2, 25),
    ]


def test_run_names_are_utc_and_always_there():
    berlin = timezone(timedelta(hours=1))
    names = run_names(run_id="r", run_after=NOON, logical_date=datetime(2026, 3, 1, 0, 30, tzinfo=berlin))
    assert names["logical_date"] == "2026-02-28T23:30:00+00:00"
    assert names["ds"] == "2026-02-28"
    assert names["data_interval_end"] == names["logical_date"]
    assert run_names(run_id="r", run_after=NOON)["logical_date"] == NOON.isoformat()


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["{{", "}}", "{%", "%}", " if ", "params.order", "|", "(", "'", "1", ".", "endif", "\n"])
    ).map(" ".join)
)
def test_any_text_renders_or_is_a_template_error(text):
    try:
        assert isinstance(render(text, CONTEXT), str)
    except TemplateError as error:
        assert "\n" not in str(error)
