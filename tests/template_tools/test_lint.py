"""Hints of lint: what is told, what is not, and how it is silenced."""

import json
import re
from pathlib import Path

import pytest

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.template_tools.lint import RULES, hints
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.template_folder import find_templates

ROOT = Path(__file__).parents[2]
HEAD = """\
value_stream: small
title: Small
business: {domain: D, owner: o, key: "{{ params.id }}"}
params:
  id: {type: string}
  amount: {type: number, minimum: 0}
  grade: {type: string, choices: [A, B, C]}
  count: {type: integer, minimum: 1, maximum: 10}
  urgent: {type: boolean}
"""
ARGS = "{{ params.amount }}{{ params.grade }}{{ params.count }}{{ params.urgent }}"
STEP = f"{{unix.script: {{connection: c, command: /run, args: ['{ARGS}']}}}}"
QUIET = HEAD + f"steps:\n  first: {STEP}\n"


def told(tmp_path, text, *rules):
    """Return the hints of these rules as ``where`` -> message."""
    path = tmp_path / "small.yaml"
    path.write_text(text, encoding="utf-8")
    found = hints(path, ValueStream.load(path))
    return {hint.problem.where: hint.problem.what for hint in found if not rules or hint.rule in rules}


def branch(rules, more=""):
    """Return a stream whose branch has these rules; a, b and c are its targets."""
    steps = "".join(f"  {name}: {STEP}\n" for name in "abc" if re.search(rf"[\[, ]{name}[\],]", rules))
    return f"{HEAD}steps:\n  route:\n    branch:\n{rules}{steps}{more}"


def test_a_quiet_template_has_no_hints(tmp_path):
    assert told(tmp_path, QUIET) == {}


LIST = "airflow.providers.amazon.aws.operators.s3.S3ListOperator"
AIRFLOW = f"{{operator: {LIST}, arguments: {{bucket: '{{{{ params.grade }}}}'}}}}"


def test_an_operator_of_airflow_may_run_twice_and_what_it_leaves_may_be_read_by_nobody(tmp_path):
    text = QUIET + f"  look: {{after: [first], airflow: {AIRFLOW}, outputs: {{rows: {{}}}}}}\n"
    assert told(tmp_path, text) == {
        "steps.look.airflow": "an operator of Airflow may run twice: after a worker that dies, a retry or a clear",
        "steps.look.outputs.rows": "no step reads the output 'rows'",
    }


# ------------------------------------------------------------------------------------------- params, outputs, the key


def test_a_param_that_nothing_reads(tmp_path):
    text = QUIET.replace("params:\n", "params:\n  spare: {type: string, default: x}\n")
    assert told(tmp_path, text) == {
        "params.spare": "nothing reads the param 'spare', but whoever starts a run is asked for it"
    }


@pytest.mark.parametrize("use", ["{{ params.spare }}", "{{ 1 if params . spare else 2 }}"])
def test_a_param_in_jinja_is_used(tmp_path, use):
    text = QUIET.replace("params:\n", "params:\n  spare: {type: string, default: x}\n")
    assert told(tmp_path, text.replace("command: /run", f"command: /run, env: {{X: '{use}'}}")) == {}


def test_an_output_that_no_step_reads(tmp_path):
    output = "outputs: {grade: {log: log, match: 'G=(.)'}}"
    text = f"{QUIET}  second:\n    after: [first]\n    unix.script: {{connection: c, command: /x}}\n    {output}\n"
    assert told(tmp_path, text) == {"steps.second.outputs.grade": "no step reads the output 'grade'"}
    reader = "{connection: c, command: /x, args: ['{{ steps.second.grade }}']}"
    read = f"{text}  third:\n    after: [second]\n    unix.script: {reader}\n"
    assert told(tmp_path, read) == {}


def test_a_value_of_a_table_that_no_step_reads(tmp_path):
    text = QUIET + (
        "  table:\n    decision:\n      inputs: {g: params.grade}\n      outputs: {risk: string}\n"
        "      rows: [{when: {g: A}, then: {risk: low}}, {otherwise: {risk: high}}]\n"
    )
    assert told(tmp_path, text) == {"steps.table.decision.outputs.risk": "no step reads the output 'risk'"}


@pytest.mark.parametrize(
    ("key", "schedule", "says"),
    [
        ("fixed", "", "all runs have the same business key: it holds neither a param nor a date"),
        ("{{ params.id }}", "schedule: {cron: '0 4 * * *'}\n", "all runs that the schedule starts have the same"),
        ("{{ params.id }}-{{ ds }}", "schedule: {cron: '0 4 * * *'}\n", ""),
        ("{{ ds }}", "", ""),
        ("{{ params.id }}", "schedule: {file_arrival: {connection: c, pattern: x, params: {id: path}}}\n", ""),
        ("{{ params.id }}", "schedule: {file_arrival: {connection: c, pattern: x}}\n", "all runs that the schedule"),
        ("{{ business_date }}", "schedule: {cron: '0 4 * * *'}\n", ""),
        ("{{ params.id }}", "", ""),
    ],
)
def test_a_key_that_is_always_the_same(tmp_path, key, schedule, says):
    text = QUIET.replace("{{ params.id }}", key).replace("steps:", f"{schedule}steps:")
    defaults = {"string}": "x", "number": 1, "string, choices": "A", "integer": 1, "boolean": "true"}
    for kind, default in defaults.items():
        text = text.replace(f"type: {kind}", f"default: {default}, type: {kind}")
    found = told(tmp_path, text, "constant-key")
    assert list(found) == (["business.key"] if says else [])
    assert all(what.startswith(says) for what in found.values())


# ------------------------------------------------------------------------------------------------ branches and paths


@pytest.mark.parametrize(
    ("first", "second", "dead"),
    [
        ("params.amount > 10.0", "params.amount > 20.0", [1]),
        ("params.amount > 20.0", "params.amount > 10.0", []),
        ("params.amount > 20.0 && params.amount < 10.0", "params.urgent", [0]),
        ("params.amount < 0.0", "params.urgent", [0]),
        ("params.count > 10", "params.count >= 10", [0]),
        ("params.count > 3 && params.count < 4", "params.urgent", [0]),
        ("params.count > 3 && params.count < 5", "params.urgent", []),
        ("params.grade == 'D'", "params.grade == 'A'", [0]),
        ("params.grade in ['A', 'B']", "params.grade == 'B' && params.urgent", [1]),
        ("params.grade != 'A'", "params.grade != 'B'", []),
        ("params.urgent", "!params.urgent", []),
        ("params.urgent || !params.urgent", "params.amount > 1.0", [1]),
        ("params.urgent && !params.urgent", "params.amount > 1.0", [0]),
        ("params.id.startsWith('x')", "params.id.startsWith('x') && params.urgent", [1]),
        ("params.id.startsWith('x')", "params.id == 'xy'", []),
        ("params.amount * 2.0 > 1.0", "params.amount > 20.0", []),
    ],
)
def test_rules_that_are_never_taken(tmp_path, first, second, dead):
    both = "".join(f'      - {{when: "{rule}", then: [{name}]}}\n' for rule, name in ((first, "a"), (second, "b")))
    rules = f"{both}      - otherwise: [c]\n"
    found = told(tmp_path, branch(rules), "dead-rule")
    assert list(found) == [f"steps.route.branch[{number}].when" for number in dead]


TWO = """\
      - when: params.grade == "A"
        then: [a]
      - otherwise: [b]
"""


def test_where_all_rules_count_only_what_cannot_hold_is_dead(tmp_path):
    rules = "{when: params.amount > 10.0, then: [a]}, {when: params.amount > 20.0, then: [b]}"
    never = "{when: params.amount < 0.0, then: [c]}"
    text = f"{HEAD}steps:\n  route: {{branch: {{match: all, rules: [{rules}, {never}], otherwise: []}}}}\n"
    text += "".join(f"  {name}: {STEP}\n" for name in "abc")
    assert told(tmp_path, text, "dead-rule") == {
        "steps.route.branch.rules[2].when": "rule 3 is never taken: it cannot hold"
    }
    text = text.replace(f", {never}", "").replace(f"  c: {STEP}\n", "") + f"  join: {STEP[:-1]}, after: [a, b]}}\n"
    assert told(tmp_path, text, "dead-rule", "unreachable-step") == {}


def test_a_step_that_no_path_reaches_because_two_branches_contradict_each_other(tmp_path):
    more = (
        "  again:\n    after: [b]\n    branch:\n      - when: params.grade == 'A'\n        then: [late]\n"
        f"      - otherwise: []\n  late: {STEP}\n  later: {STEP[:-1]}, after: [late]}}\n"
    )
    found = told(tmp_path, branch(TWO, more), "unreachable-step", "dead-rule")
    assert found == {
        "steps.again.branch[0].when": "rule 1 is never taken: "
        "it cannot hold, or wherever it does a rule above it is taken",
        "steps.late": "no rule leads here: it runs only where a person overrides a branch",
    }


def test_a_meeting_of_paths_that_never_comes(tmp_path):
    rules = TWO.replace('params.grade == "A"', 'params.grade == "D"')
    other = "      - when: params.count > 10\n        then: [x]\n      - otherwise: []\n"
    more = f"  second:\n    branch:\n{other}  x: {STEP}\n  meet: {STEP[:-1]}, after: [a, x]}}\n"
    found = told(tmp_path, branch(rules, more), "unreachable-step")
    assert list(found) == ["steps.a", "steps.x"]  # of what only follows, nothing more is told
    both = TWO.replace('params.grade == "A"', 'params.grade == "D"').replace("then: [a]", "then: [a, meet]")
    more = f"  second:\n    branch:\n{other.replace('[x]', '[meet]')}  meet: {STEP}\n"
    found = told(tmp_path, branch(both, more), "unreachable-step")
    assert found["steps.meet"].startswith("the paths that meet here never come")


def test_what_a_table_can_give_counts(tmp_path):
    table = (
        "  table:\n    decision:\n      inputs: {g: params.grade}\n      outputs: {risk: string}\n"
        "      rows: [{when: {g: A}, then: {risk: low}}, {otherwise: {risk: high}}]\n"
    )
    rules = TWO.replace('params.grade == "A"', 'steps.table.risk == "medium"')
    text = branch(rules, table).replace("  route:\n", "  route:\n    after: [table]\n")
    assert list(told(tmp_path, text, "dead-rule")) == ["steps.route.branch[0].when"]
    assert told(tmp_path, text.replace('"medium"', '"high"'), "dead-rule") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ steps.a.code }}", "'meet' runs although 'a' does not when params.grade = 'B': then it fails, because "
         "steps.a.code has no value"),
        ("{{ steps.a.code | default('none') }}", ""),
        ("{% if params.grade == 'A' %}{{ steps.a.code }}{% endif %}", ""),
    ],
)  # fmt: skip
def test_a_value_that_is_not_there_on_every_path(tmp_path, text, says):
    more = f'  meet:\n    after: [a, b]\n    unix.script: {{connection: c, command: /x, args: ["{text}"]}}\n'
    found = told(tmp_path, branch(TWO, more), "missing-value")
    assert found == ({"steps.meet.unix.script.args[0]": says} if says else {})


def test_the_paths_of_the_shipped_templates_are_all_possible():
    shipped = [path for _name, path in find_templates(ROOT / "dag_templates")]
    assert shipped
    for path in shipped:
        found = {hint.rule for hint in hints(path, ValueStream.load(path))}
        assert not found & {"dead-rule", "unreachable-step", "missing-value"}


def test_nothing_is_said_of_the_shipped_templates():
    """Who copies one starts without a warning, and finds out what is missing in the own part."""
    for _name, path in find_templates(ROOT / "dag_templates"):
        assert [hint.rule for hint in hints(path, ValueStream.load(path))] == []


def test_with_too_many_combinations_each_branch_is_looked_at_alone(tmp_path):
    params = "".join(f"  n{number}: {{type: integer}}\n" for number in range(12))
    rules = "".join(f"      - when: params.n{number} == 1\n        then: [a]\n" for number in range(12))
    text = branch(f"{rules}      - otherwise: [b]\n").replace("params:\n", f"params:\n{params}")
    alone = "      - {when: params.n1 > 1 && params.n1 < 2, then: [x]}\n      - otherwise: []\n"
    dead = f"  alone:\n    branch:\n{alone}  x: {STEP}\n"
    found = told(tmp_path, text + dead, "dead-rule", "unreachable-step")
    assert list(found) == ["steps.alone.branch[0].when", "steps.x"]


# ------------------------------------------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    ("env", "where"),
    [
        ("DB_PASSWORD: hunter22", "env.DB_PASSWORD"),
        ("URL: 'postgresql://scott:tiger99@db/x'", "env.URL"),
        ("AUTH: 'Bearer q8Zr1LmW0xT5vB2nK7yH4cJ9dS6fG3aP'", "env.AUTH"),
        ("OPTIONS: '--user x --password=hunter22'", "env.OPTIONS"),
    ],
)
def test_what_looks_like_a_secret_is_told_without_showing_it(tmp_path, env, where, capsys):
    text = QUIET.replace("command: /run", f"command: /run, env: {{{env}}}")
    assert list(told(tmp_path, text)) == [f"steps.first.unix.script.{where}"]
    assert main(["lint", str(tmp_path)]) == 0
    assert not re.search("hunter22|tiger99|q8Zr1", "".join(capsys.readouterr()))


@pytest.mark.parametrize(
    "env",
    [
        "DB_PASSWORD: '{{ params.id }}'", "PASSWORD_FILE: /run/secrets/db", "DIGEST: 'sha256:4f5e4f5e4f5e4f5e4f5e4f5e'",
        "TEXT: 'the key is under the mat'", "OPTIONS: '--password=$PASSWORD'", "URL: 'https://host/x:y@z'", "TOKEN: ''",
        "OPTIONS: 'token=%TOKEN%'",
    ],
)  # fmt: skip
def test_what_is_no_secret_is_not_told(tmp_path, env):
    assert told(tmp_path, QUIET.replace("command: /run", f"command: /run, env: {{{env}}}")) == {}


# ---------------------------------------------------------------------------------------------------------- silencing

SPARE = QUIET.replace("params:\n", "params:\n  spare: {type: string, default: x} # @\n")


@pytest.mark.parametrize(
    "text",
    [
        SPARE.replace("# @", "# lint: allow unused-param: old callers give it"),
        SPARE.replace("# @", "# lint: allow unread-output, unused-param: old callers give it"),
        SPARE.replace("  spare", "  # lint: allow unused-param: old callers give it\n  spare"),
        SPARE.replace("title: Small", "title: Small\n# lint-file: allow unused-param: old callers give it"),
    ],
)
def test_a_comment_with_a_reason_silences_a_rule(tmp_path, text):
    assert told(tmp_path, text, "unused-param") == {}


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("lint: allow unused-param", "the comment does not say why unused-param is allowed here"),
        ("lint: allow unused-parm: why", "there is no rule 'unused-parm'"),
        ("lint: allow unread-output: why", "nothing here is silenced by this: there is no hint unread-output"),
    ],
)
def test_a_comment_that_silences_nothing_is_told(tmp_path, comment, says):
    path = tmp_path / "small.yaml"
    path.write_text(SPARE.replace("@", comment))
    found = hints(path, ValueStream.load(path))
    assert sorted(hint.rule for hint in found) == ["unused-param", "wrong-comment"]
    wrong = next(hint for hint in found if hint.rule == "wrong-comment")
    assert wrong.problem.what == says
    assert path.read_text().splitlines()[wrong.problem.line - 1][wrong.problem.column - 1] == "#"


def test_a_comment_on_another_line_silences_nothing(tmp_path):
    text = SPARE.replace("title: Small", "title: Small # lint: allow unused-param: old callers give it")
    assert "params.spare" in told(tmp_path, text)


def test_a_comment_makes_no_other_dag(tmp_path):
    silenced = SPARE.replace("# @", "# lint: allow unused-param: old callers give it")
    assert ValueStream.load(silenced).digest() == ValueStream.load(SPARE).digest()


# -------------------------------------------------------------------------------------------------------- the command


def test_warnings_are_no_mistakes_unless_strict(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SPARE)
    assert main(["lint", str(tmp_path)]) == 0
    said = capsys.readouterr()
    place = f"{tmp_path}/small.yaml:5:3 params.spare"
    assert said.out.startswith(f"{place}: warning (unused-param): nothing reads the param 'spare'")
    assert said.err == "1 template checked, no problems, 1 warning\n"
    assert main(["lint", "--strict", str(tmp_path)]) == 1
    (tmp_path / "small.yaml").write_text(QUIET)
    assert main(["lint", "--strict", str(tmp_path)]) == 0


def test_tools_get_severity_and_rule(tmp_path, capsys):
    (tmp_path / "small.yaml").write_text(SPARE)
    (tmp_path / "wrong.yaml").write_text("value_stream: wrong\n")
    assert main(["lint", "--format", "json", str(tmp_path)]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(one["severity"], one["rule"]) for one in found} == {("error", ""), ("warning", "unused-param")}
    assert all(one["line"] >= 1 and one["what"] and one["remedy"] for one in found)


def test_every_rule_is_in_the_guide():
    text = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule.about} |" in text
