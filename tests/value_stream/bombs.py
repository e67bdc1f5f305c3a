"""Templates that are made to hurt: far too large, too deep, too many, or with texts that keep a checker busy.

Each is refused at once, in a line that says why. ``tests.bench.bombs`` measures them.
"""

from __future__ import annotations

from collections.abc import Callable

K = 1024
HEAD = """\
value_stream: a
title: A
business: {domain: d, owner: o, key: "{{ params.p }}"}
params: {p: {type: string}}
"""
JOB = "unix.script: {connection: c, command: /x}"
STEP = f"steps: {{s: {{{JOB}}}}}\n"


def many(number: int, text: Callable[[int], str], between: str = "") -> str:
    """Return a text once for each number."""
    return between.join(text(index) for index in range(number))


def steps(number: int, more: Callable[[int], str]) -> str:
    """Return a template with so many steps."""
    return HEAD + "steps:\n" + many(number, lambda index: f"  s{index}: {{{more(index)}}}\n")


def argument(text: str) -> str:
    """Return a template whose step has this argument."""
    return f"{HEAD}steps:\n  s: {{unix.script: {{connection: c, command: /x, args: ['{text}']}}}}\n"


def match(pattern: str) -> str:
    """Return a template that reads a value by this regular expression."""
    return f"{HEAD}steps:\n  s: {{{JOB}, outputs: {{o: {{log: log, match: '{pattern}'}}}}}}\n"


def param(more: str) -> str:
    """Return a template whose param says more."""
    return HEAD.replace("{type: string}", f"{{type: string, {more}}}") + STEP


def table(cell: Callable[[int], str], number: int, hit: str = "first") -> str:
    """Return a template with a table of so many rows."""
    rows = many(number, lambda index: f"        - {{when: {{a: {cell(index)}}}, then: {{x: y}}}}\n")
    return (
        f"{HEAD}steps:\n  d:\n    decision:\n      hit: {hit}\n      inputs: {{a: params.p}}\n"
        f"      outputs: {{x: string}}\n      rows:\n{rows}        - otherwise: {{x: z}}\n"
    )


def branch(number: int, when: Callable[[int], str]) -> str:
    """Return a template whose branch has so many rules."""
    rules = many(number, lambda index: f'{{when: "{when(index)}", then: [s]}}, ')
    return f"{HEAD}steps:\n  b: {{branch: [{rules}{{otherwise: []}}]}}\n  s: {{{JOB}}}\n"


MANY = "there are 100 problems or more"
FOREVER = "the regular expression could run forever"

BOMBS: dict[str, tuple[str, str]] = {
    # ------------------------------------------------------------------------------------------ anchors, depth, size
    "a billion laughs": (
        "a0: &a0 [x, x]\n" + many(500, lambda index: f"a{index + 1}: &a{index + 1} [*a{index}, *a{index}]\n"),
        "the anchor &a0 is not available",
    ),
    "anchors": (steps(20_000, lambda index: f"t: &a{index} x"), MANY),
    "aliases": (f"{HEAD}tags: [&a x{', *a' * 100_000}]\n", "the alias *a is not available"),
    "merge keys": (f"{HEAD}" + "<<: {a: b}\n" * 40_000, "the merge key << is not available"),
    "deep lists": (f"{HEAD}tags: {'[' * 200_000}", "nests more than 24 levels"),
    "deep keys": (f"{HEAD}tags: {'{a: ' * 100_000}", "nests more than 24 levels"),
    "deep blocks": (many(900, lambda index: f"{' ' * index}k{index}:\n"), "nests more than 24 levels"),
    "deep dashes": (f"{HEAD}tags:\n{'- ' * 240_000}", "nests more than 24 levels"),
    "10 MB": (HEAD + "x" * 10 * K * K, "the file is larger than 512 KB"),
    "10 MB of comments": (HEAD + "# x\n" * (10 * K * K // 4) + STEP, "the file is larger than 512 KB"),
    "directives": ("%TAG ! x\n" * 40_000, "this is no YAML"),
    "duplicate keys": (HEAD + "steps:\n" + "  s: 1\n" * 60_000, MANY),
    # ------------------------------------------------------------------------------------------------ too many things
    "10,000 steps": (steps(10_000, lambda _: "fail: x"), "there are 10,000 steps, more than 1,000"),
    "10,000 jobs": (steps(8_000, lambda _: JOB), "there are 8,000 steps, more than 1,000"),
    "a circle of 6,000": (steps(6_000, lambda at: f"after: [s{(at - 1) % 6_000}], {JOB}"), "6,000 steps, more than"),
    "a circle of 1,000": (steps(1_000, lambda at: f"after: [s{(at - 1) % 1_000}], {JOB}"), "go round in a circle"),
    "all after all": (steps(400, lambda at: f"after: [{many(at, 's{}'.format, ', ')}]"), "more than 50,000 values"),
    "after the unknown": (f"{HEAD}steps:\n  s: {{after: [{many(20_000, 'x{}'.format, ', ')}]}}\n", MANY),
    "unknown keys": (HEAD + many(20_000, "key{}: 1\n".format), MANY),
    "unknown step types": (steps(1_000, lambda _: "unix.scrpt: {a: 1}"), MANY),
    "tags": (f"{HEAD}tags: [{many(60_000, 'c{}'.format, ', ')}]\n{STEP}", "more than 50,000 values"),
    "params": (
        HEAD.replace("params: {", "params: {" + many(10_000, "p{}: {{type: string}}, ".format)) + STEP,
        "there are 10,001 params, more than 500",
    ),
    "choices": (param(f"choices: [{'c, ' * 40_000}c]"), "the choice 'c' is here twice"),
    "rows": (table("v{}".format, 6_000), "too many rows, to check for gaps"),
    "the same row": (table(lambda _: "v", 6_000, "unique"), "and 5992 more all fit a = 'v'"),
    "one cell": (table(lambda _: f"[{many(40_000, 'v{}'.format, ', ')}]", 1), "too many rows, to check for gaps"),
    "rules": (branch(7_000, lambda at: f"params.q == {at}"), MANY),
    # --------------------------------------------------------------------------------------------------- large things
    "a large title": (HEAD.replace("title: A", f"title: {'x' * 500 * K}") + STEP, "longer than 250 characters"),
    "a large key": (f"{HEAD}? {'k' * 400_000}\n: 1\n{STEP}", "a key has more than 500 characters"),
    "a large number": (f"{HEAD}limits: {{steps: {'9' * 400_000}}}\n{STEP}", "the number is too large"),
    "a large fraction": (f"{HEAD}limits: {{steps: 1{'0' * 400_000}.5}}\n{STEP}", "the number is too large"),
    "a large exponent": (f"{HEAD}limits: {{steps: 1e999999999}}\n{STEP}", "the number is too large"),
    "a long duration": (f"{HEAD}steps: {{s: {{{JOB}, time_limit: {'1h' * 200_000}}}}}\n", "is no duration"),
    "an open quote": (f"{HEAD}description: '{chr(39) * 400_000}", "a quoted text is not closed"),
    "a long condition": (branch(1, lambda _: "params.p == 'a' || " * 20_000 + "true"), "longer than 4000 characters"),
    "a deep condition": (branch(1, lambda _: "(" * 1_900 + "true" + ")" * 1_900), "nested too deeply"),
    "a time zone": (
        param("default: x") + f"schedule: {{cron: '1 * * * *', timezone: '{'../' * 80}etc/passwd'}}\n",
        "there is no time zone",
    ),
    # ---------------------------------------------------------------------------------------------------------- Jinja
    "Jinja": (argument("{{ params.p }}" * 36_000), "more than 5,000 expressions of Jinja"),
    "open Jinja": (argument("{{ " * 4_900), "more than 500 expressions"),
    "deep Jinja": (argument("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}"), "longer than 2000 characters"),
    "deep ifs": (argument("{% if params.p %}" * 4_900), "more than 500 expressions"),
    "a long name in Jinja": (argument("{{ params.p" + ".a" * 200_000 + " }}"), "longer than 2000 characters"),
    "filters": (argument("{{ params.p" + "|upper" * 300 + " }}"), "nested too deeply"),
    "sums": (argument("{{ 1" + "+1" * 900 + " }}"), "nested too deeply"),
    # -------------------------------------------------------------------------------------------- regular expressions
    "a pattern that never ends": (param(f"pattern: '^(a+)+$', default: {'a' * 40}b"), FOREVER),
    "a match that never ends": (match(r"(?:\w+\s?)*x(.)"), FOREVER),
    "counted repetitions": (match("((?:(?:a{1,1000}){1,1000}){1,1000})"), FOREVER),
    "alternatives": (match("(" + "a|b|" * 80_000 + "c)"), "longer than 1,000 characters"),
    "groups": (match("(" * 100_000), "longer than 1,000 characters"),
    # ------------------------------------------------------------------------------------------------- odd characters
    "NUL": (f"{HEAD}description: a\0b\n{STEP}", "U+0000 is not allowed"),
    "a byte order mark inside": (f"\ufeff{HEAD}description: a\ufeffb\n{STEP}", "U+FEFF is not allowed"),
    "half a character": (f"{HEAD}description: a\ud800b\n{STEP}", "U+D800 is not allowed"),
    "half a character, escaped": (f'{HEAD}description: "\\ud800"\n{STEP}', "invalid Unicode"),
    "turned text": (HEAD.replace("title: A", "title: A\u202etxt.exe") + STEP, "U+202E makes a text look different"),
    "isolated text": (f"{HEAD}# \u2066 a comment\n{STEP}", "U+2066 makes a text look different"),
    "NEL": (f"{HEAD}description: a\x85tags\x85{STEP}", "a key has no colon"),
    "a line separator": (f"{HEAD}description: a\u2028tags\u2029{STEP}", "a key has no colon"),
    "a letter that looks like another": (HEAD.replace("title", "t\u0456tle") + STEP, "did you mean 'title'"),
}
"""By what each is about: the text, and what its message says."""

HARMLESS: dict[str, str] = {
    "a large description": f"{HEAD}description: {'x' * 500 * K}\n{STEP}",
    "many comments": f"{HEAD}{'# x' * 3}\n{'#' * 100}\n" + "# x\n" * 100_000 + STEP,
    "blank lines": HEAD + "\n" * 500_000 + STEP,
    "what begins as a token": f"{HEAD}description: '{'eyJ-' * 120_000}'\n{STEP}",
    "what begins as a key": f"{HEAD}description: '{'-----BEGIN ' * 45_000}'\n{STEP}",
}
"""Large, but right."""
