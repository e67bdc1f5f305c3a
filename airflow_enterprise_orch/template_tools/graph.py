"""A template as a picture: SVG with one lane for each system, steps from left to right.

The same template gives the same bytes. The picture holds no script, loads nothing, and follows the light or dark scheme
of whatever shows it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from airflow_enterprise_orch.template_tools.layout import ARRIVAL, BOX_HEIGHT, BOX_WIDTH, LABELS, PAD, Box, Edge, Layout
from airflow_enterprise_orch.template_tools.shape import DECISIONS, PEOPLE, lane, ways
from airflow_enterprise_orch.template_tools.words import harmless
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    ChoiceStep,
    DecisionStep,
    DelegatedStep,
    FailStep,
    Step,
    SubStreamStep,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitForStep, WaitStep

CHARACTER = 6.4
"""The width of a narrow letter at 12 pixels, on the safe side for the usual sans-serif fonts."""
BOLD = 7.5
"""The same of a bold one."""

_STYLE = """
svg { background: #ffffff; }
text { font-family: system-ui, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif; font-size: 12px; fill: #1b2733; }
.paper { fill: #ffffff; }
.title { font-size: 17px; font-weight: 600; }
.note, .detail { font-size: 11px; fill: #566573; }
.lane { fill: #f3f6f9; stroke: #d5dde5; }
.odd { fill: #fafbfc; }
.stack { font-weight: 600; }
.box { fill: #ffffff; stroke: #3d6a9e; stroke-width: 1.4; }
.person .box { stroke: #9a5b13; fill: #fff8ee; }
.branch .box { stroke: #6a4c93; fill: #f8f4fd; }
.step-title { font-weight: 600; }
.line { fill: none; stroke: #7b8a99; stroke-width: 1.4; }
.chosen { stroke: #6a4c93; stroke-dasharray: 5 3; }
.tip { fill: #7b8a99; }
.label { font-size: 11px; font-weight: 600; fill: #6a4c93; }
@media (prefers-color-scheme: dark) {
svg { background: #14191f; }
text { fill: #e6ebf0; }
.paper { fill: #14191f; }
.note, .detail { fill: #9fb0c0; }
.lane { fill: #1b222a; stroke: #323d49; }
.odd { fill: #181e25; }
.box { fill: #202a35; stroke: #7fb0e6; }
.person .box { stroke: #e0a55c; fill: #2b241a; }
.branch .box { stroke: #b798e0; fill: #261f31; }
.line { stroke: #8796a5; }
.chosen { stroke: #b798e0; }
.tip { fill: #8796a5; }
.label { fill: #c9b1ec; }
}
"""


_DONE_BY: Mapping[type[Step], str] = {
    AirflowStep: "an operator of Airflow",
    ApprovalStep: "a person decides",
    BranchStep: "rules decide",
    ChoiceStep: "a person chooses",
    DecisionStep: "a table decides",
    WaitStep: "waits",
    WaitForStep: "waits for a value stream",
    FailStep: "ends as failed",
}


def draw(stream: ValueStream) -> str:
    """Return the picture."""
    layout = Layout(stream)
    legend = list(_legend(layout))
    widest = max((PAD * 2 + _wide(f"{name} {text}") * CHARACTER for name, text in legend), default=0)
    width = max(layout.width + PAD, widest, 480)
    height = layout.bottom + PAD + (20 * len(legend) + PAD if legend else 0)
    said = f"{stream.title}: {len(stream.steps)} steps on {', '.join(layout.shape.lanes)}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="title desc" '
        f'width="{_number(width)}" height="{_number(height)}" viewBox="0 0 {_number(width)} {_number(height)}">',
        f'<title id="title">{_text(stream.title)}</title>',
        f'<desc id="desc">{_text(said)}. {_text(_told(layout))}</desc>',
        f"<style>{_STYLE}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        f'<text class="title" x="{PAD}" y="28">{_text(_fitted(stream.title, width - 2 * PAD, 9.2))}</text>',
        f'<text class="note" x="{PAD}" y="46">{_text(f"{stream.business.domain}, {stream.business.owner}")}</text>',
    ]
    for number, stack in enumerate(layout.shape.lanes):
        top, tall = layout.lane_tops[stack]
        odd = " odd" if number % 2 else ""
        parts.append(
            f'<g class="swimlane" data-lane="{_text(stack)}"><rect class="lane{odd}" x="{PAD}" y="{_number(top)}" '
            f'width="{_number(layout.width - PAD)}" height="{_number(tall)}"/>'
            f'<text class="stack" x="{PAD + 10}" y="{_number(top + tall / 2 + 4)}">'
            f"{_text(_fitted(stack, LABELS - 12))}</text></g>"
        )
    parts += [_line(layout, edge) for edge in layout.edges]
    parts += [_box(stream.steps[name], box) for name, box in layout.boxes.items()]
    parts += [_label(layout, edge) for edge in layout.edges if edge.label]
    for number, (name, text) in enumerate(legend):
        y = layout.bottom + PAD + 14 + 20 * number
        parts.append(
            f'<text class="note" x="{PAD}" y="{_number(y)}">'
            f'<tspan class="stack">{_text(name)}</tspan> {_text(text)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _told(layout: Layout) -> str:
    """Say the picture in words, for those who cannot see it."""
    said = []
    for name in layout.shape.order:
        after = ", ".join(layout.stream.upstream[name])
        said.append(f"{name} ({lane(layout.stream.steps[name])})" + (f" after {after}" if after else ""))
    return "; ".join(said)


def _legend(layout: Layout) -> Iterator[tuple[str, str]]:
    """Yield each branch with its rules, in words."""
    for name in layout.shape.order:
        step = layout.stream.steps[name]
        every = isinstance(step, BranchStep) and step.match == "all"
        for way in ways(step):
            words = way.words(layout.stream)
            condition = f"{way.label}: if {words}" if words else way.label
            targets = [_title(layout.stream.steps[target]) for target in way.then]
            condition += " (all that hold)" if every and way.when else ""
            yield _title(step), f"{condition} → {', '.join(targets) or 'the path ends here'}"


def _box(step: Step, box: Box) -> str:
    kind = {PEOPLE: "person", DECISIONS: "branch"}.get(lane(step), "work")
    details = [_DONE_BY.get(type(step), step.id), ""]
    if isinstance(step, DelegatedStep):
        told = ", for each item" if step.for_each else ", can be undone" if step.compensate is not None else ""
        details = [step.step, f"{step.connection}{told}"]
    elif isinstance(step, SubStreamStep):
        details = ["value stream", step.run]
    full = f"{step.id}: {_title(step)} ({' on '.join(filter(None, details))})"
    lines = _wrapped(_title(step), BOX_WIDTH - 16)
    x, first = _number(box.x + 8), box.y + 18
    texts = [
        f'<text class="step-title" x="{x}" y="{_number(first + 14 * number)}">{_text(line)}</text>'
        for number, line in enumerate(lines)
    ]
    texts += [
        f'<text class="detail" x="{x}" y="{_number(box.y + BOX_HEIGHT - 22 + 13 * number)}">'
        f"{_text(_fitted(detail, BOX_WIDTH - 16, 6.1))}</text>"
        for number, detail in enumerate(details)
        if detail
    ]
    radius = 14 if kind != "work" else 4
    return (
        f'<g class="step {kind}" data-step="{_text(step.id)}"><title>{_text(full)}</title>'
        f'<rect class="box" x="{_number(box.x)}" y="{_number(box.y)}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" '
        f'rx="{radius}"/>{"".join(texts)}</g>'
    )


def _title(step: Step) -> str:
    return step.title or step.id


def _line(layout: Layout, edge: Edge) -> str:
    points = layout.route(edge)
    path = "M" + " L".join(f"{_number(x)} {_number(y)}" for x, y in points)
    x, y = points[-1]
    chosen = " chosen" if edge.chosen else ""
    tip = f"M{_number(x + 1)} {_number(y)} l-7 -4 v8 z"
    said = f"{edge.start} to {edge.end}" + (f" ({edge.label})" if edge.label else "")
    return f'<g><title>{_text(said)}</title><path class="line{chosen}" d="{path}"/><path class="tip" d="{tip}"/></g>'


def _label(layout: Layout, edge: Edge) -> str:
    """Put the numbers of the rules where the line comes to its step."""
    (x, y) = layout.route(edge)[-1]
    text = _fitted(edge.label.replace("otherwise", "else"), ARRIVAL - 10, 6.1)
    return f'<text class="label" text-anchor="end" x="{_number(x - 8)}" y="{_number(y - 5)}">{_text(text)}</text>'


def _wrapped(text: str, width: float) -> list[str]:
    """Break a title into at most two lines."""
    if _wide(text) * BOLD <= width:
        return [text]
    first, rest = "", text.split(" ")
    while rest and _wide(f"{first} {rest[0]}") * BOLD <= width:
        first = f"{first} {rest.pop(0)}".strip()
    if not first:
        return [_fitted(text, width, BOLD)]
    return [first, _fitted(" ".join(rest), width, BOLD)]


def _fitted(text: str, width: float, character: float = CHARACTER) -> str:
    """Shorten a text to a width."""
    if _wide(text) * character <= width:
        return text
    while text and (_wide(text) + 1) * character > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _wide(text: str) -> int:
    """Return how many narrow letters a text is wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    """Escape a text for XML."""
    return escape(harmless(text).replace("\n", " "), {'"': "&quot;", "'": "&apos;"})
