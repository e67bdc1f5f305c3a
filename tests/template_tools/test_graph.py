"""The picture: well-formed, every step and lane once, nothing over anything else, the same bytes every time."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from airflow_enterprise_orch.template_tools.graph import draw
from airflow_enterprise_orch.template_tools.layout import BOX_HEIGHT, BOX_WIDTH, Layout
from airflow_enterprise_orch.template_tools.shape import lane
from airflow_enterprise_orch.value_stream.model import ValueStream
from tests.template_tools.samples import BRANCHING, SHIPPED, shipped, small, streams

SVG = "{http://www.w3.org/2000/svg}"


def parsed(stream: ValueStream) -> ElementTree.Element:
    return ElementTree.fromstring(draw(stream))


def check(stream: ValueStream) -> None:
    """Hold everything that must hold for the picture of any stream."""
    picture = parsed(stream)
    steps = [group.get("data-step") for group in picture.iter(f"{SVG}g") if group.get("data-step")]
    assert sorted(steps) == sorted(stream.steps)
    lanes = [group.get("data-lane") for group in picture.iter(f"{SVG}g") if group.get("data-lane")]
    assert sorted(lanes) == sorted({lane(step) for step in stream.steps.values()})
    layout = Layout(stream)
    boxes = list(layout.boxes.values())
    for one, other in combinations(boxes, 2):
        apart = abs(one.x - other.x) >= BOX_WIDTH or abs(one.y - other.y) >= BOX_HEIGHT
        assert apart, f"{one} lies over {other}"
    for box in boxes:
        top, height = layout.lane_tops[lane(stream.steps[box.step])]
        assert top < box.y and box.y + BOX_HEIGHT < top + height, f"{box} leaves its lane"
        assert box.x + BOX_WIDTH < layout.width
    for edge in layout.edges:
        for start, end in pairwise(layout.route(edge)):
            assert start[0] <= end[0], f"{edge} runs backwards"
            for box in boxes:
                assert not crosses(start, end, box.x, box.y), f"{edge} runs through {box}"
        assert {edge.start, edge.end} <= stream.steps.keys()
    assert len(layout.edges) == sum(len(before) for before in stream.upstream.values())


def crosses(start: tuple[float, float], end: tuple[float, float], x: float, y: float) -> bool:
    """Tell whether an upright or level line meets the inside of a box."""
    (left, right), (top, bottom) = sorted((start[0], end[0])), sorted((start[1], end[1]))
    return left < x + BOX_WIDTH and right > x and top < y + BOX_HEIGHT and bottom > y


def test_the_shipped_stream() -> None:
    check(shipped())


@settings(max_examples=40, deadline=None)
@given(streams())
def test_any_stream(stream: ValueStream) -> None:
    check(stream)


def test_a_line_past_a_box_in_its_own_row() -> None:
    """All four stand in one lane, so the long lines need a track above it."""
    check(small("  a: {J}\n  b: {J, after: [a]}\n  c: {J, after: [b]}\n  d: {J, after: [a, b, c]}\n"))
    layout = Layout(small("  a: {J}\n  b: {J, after: [a]}\n  c: {J, after: [b]}\n  d: {J, after: [a, b, c]}\n"))
    assert [(edge.start, edge.end) for edge in layout.tracks] == [("a", "d"), ("b", "d")]


def test_it_is_accessible_and_loads_nothing() -> None:
    text = draw(shipped())
    picture = ElementTree.fromstring(text)
    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby") == "title desc"
    assert (picture[0].tag, picture[0].text) == (f"{SVG}title", "Order to certificate of completion")
    assert picture[1].tag == f"{SVG}desc"
    assert "approve (People) after route" in (picture[1].text or "")
    assert "prefers-color-scheme: dark" in text
    lowered = text.lower()
    assert not re.search(r"<script|<foreignobject|<image|\bhref|\bon[a-z]+=|@import|url\(", lowered)
    assert lowered.count("http") == 1  # the name space


@pytest.mark.parametrize(
    "title",
    [
        "</text><script>alert(1)</script>",
        "a & b",
        "\"quoted\" 'twice'",
        "a > b < c",
        "見積書の承認を待つ長い表題ですからね本当に",
    ],
)
def test_texts_are_escaped(title: str) -> None:
    quoted = "'" + title.replace("'", "''") + "'"
    head = f"value_stream: s\ntitle: {quoted}\nbusiness: {{domain: D, owner: o}}\nsteps:\n"
    stream = small(f"  a: {{J, title: {quoted}}}\n", head)
    check(stream)
    assert parsed(stream)[0].text == title
    assert not list(parsed(stream).iter(f"{SVG}script"))
    titles = [one.text for one in parsed(stream).iter(f"{SVG}title")]
    assert any((text or "").startswith(f"a: {title} ") for text in titles)


def test_the_rules_stand_below_in_words() -> None:
    said = ["".join(text.itertext()) for text in parsed(small(BRANCHING)).iter(f"{SVG}text")]
    assert "route 1: if Amount is more than 10 → ask" in said
    assert 'route 2: if grade of book is "B" → check' in said
    assert "route otherwise → send" in said


def test_the_same_bytes_in_every_process() -> None:
    program = (
        "import sys; from pathlib import Path; from airflow_enterprise_orch.value_stream.model import ValueStream; "
        "from airflow_enterprise_orch.template_tools.graph import draw; "
        "sys.stdout.write(draw(ValueStream.load(Path(sys.argv[1]))))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program, str(SHIPPED)],
            capture_output=True, timeout=120, check=True, env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert texts == {draw(shipped()).encode()}
