# ruff: noqa: E501  # exact messages are as long as they are
"""Templates put together from profiles, shared files, fragments and groups.

How a user would notice that it is fake: a mistake in a shared file is told with the template's lines; a value is pasted
as text and loses its type; a template with other values keeps its DAG; a branch cannot choose a fragment; a fragment
reads what its author never saw; a bomb takes the DAG processor with it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import ApprovalStep, BranchStep, DelegatedStep
from airflow_enterprise_orch.value_stream.surroundings import PROFILE_SETTING, Surroundings

HERE = Path(__file__).parent / "composed"
BAD = sorted((HERE / "bad").glob("*.yaml"))
HEAD = "value_stream: s\ntitle: S\nbusiness: {domain: D, owner: o}\n"


@pytest.fixture(autouse=True)
def _no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROFILE_SETTING, raising=False)


def load(text: str, root: Path = HERE, profile: str | None = "prod", name: str = "s.yaml") -> ValueStream:
    beside = Surroundings.on_disk(root / name, root, profile, shown=str)
    return ValueStream.load(text, name=name, surroundings=beside)


def refused(text: str, root: Path = HERE, profile: str | None = "prod", name: str = "s.yaml") -> list[str]:
    with pytest.raises(TemplateError) as caught:
        load(text, root, profile, name)
    return str(caught.value).splitlines()


def work(stream: ValueStream, name: str) -> DelegatedStep:
    step = stream.steps[name]
    assert isinstance(step, DelegatedStep)
    return step


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_template_says_exactly_what_is_wrong_and_in_which_file(path: Path) -> None:
    with pytest.raises(TemplateError) as caught:
        beside = Surroundings.on_disk(path, HERE, "prod", shown=str)
        ValueStream.load(path, name=path.name, surroundings=beside)
    assert str(caught.value) + "\n" == path.with_suffix(".expected").read_text(encoding="utf-8")
    for problem in caught.value.problems:
        lines = (path if problem.file == path.name else HERE / problem.file).read_text().splitlines()
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


def test_every_bad_template_has_its_messages() -> None:
    assert {path.stem for path in BAD} == {path.stem for path in (HERE / "bad").glob("*.expected")}
    assert len(BAD) >= 20


class TestValues:
    TEXT = HEAD + (
        'limits: {instances: "{{ values.live }}"}\n'
        'params: {n: {type: number, default: "{{ values.large_order }}"}}\n'
        "steps:\n"
        "  route:\n"
        "    branch:\n"
        '      - {when: "params.n > {{ values.large_order }}", then: [ask]}\n'
        "      - otherwise: [run]\n"
        '  ask: {approval: {subject: "{{values.region}}: {{ params.n }}?", assignees: "{{ values.releasers }}"}}\n'
        "  run: {after: [route, ask], unix.script: "
        '{connection: "{{ values.zos }}", command: "/x/{{ values.region }}/{{ ds }}"}}\n'
    )

    def test_they_are_put_in_everywhere_with_their_type(self) -> None:
        stream = load(self.TEXT)
        route, ask = stream.steps["route"], stream.steps["ask"]
        assert isinstance(route, BranchStep)
        assert isinstance(ask, ApprovalStep)
        assert (stream.limits.instances, stream.params["n"].default) == (7, 10000.0)
        assert route.rules[0].when == "params.n > 10000.0"
        assert (ask.subject, ask.assignees) == ("eu: {{ params.n }}?", ("eve", "bob"))
        assert work(stream, "run").connection == "zos_prod"
        assert work(stream, "run").work == {"command": "/x/eu/{{ ds }}"}

    def test_the_environment_variable_chooses_where_nobody_else_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(PROFILE_SETTING, "test")
        assert work(load(self.TEXT, profile=None), "run").connection == "zos_test"
        assert work(load(self.TEXT, profile="prod"), "run").connection == "zos_prod"

    @pytest.mark.parametrize(
        ("profile", "said"),
        [
            (
                "",
                "no profile is chosen, so 'values.zos' has no value, "
                "name one of prod or test: --profile, the bundle's profile, or AIRFLOW__ENTERPRISE_ORCH__PROFILE",
            ),
            (
                "prdo",
                "there is no profile 'prdo', so 'values.zos' has no value, did you mean 'prod', there is prod and test",
            ),
        ],
    )
    def test_a_profile_that_is_not_there(self, profile: str, said: str) -> None:
        text = HEAD + 'steps: {a: {unix.script: {connection: "{{ values.zos }}", command: /x}}}\n'
        assert refused(text, profile=profile) == [f"s.yaml:4:43 steps.a.unix.script.connection: {said}"]

    def test_without_any_profile(self, tmp_path: Path) -> None:
        text = HEAD + 'steps: {a: {unix.script: {connection: "{{ values.zos }}", command: /x}}}\n'
        assert refused(text, root=tmp_path) == [
            "s.yaml:4:43 steps.a.unix.script.connection: no profile says what 'values.zos' is, "
            "write dev.profile.yaml with profile: and values:"
        ]

    def test_a_profile_that_can_be_no_name_is_refused(self) -> None:
        with pytest.raises(TemplateError, match=r"'\.\./prod' is no profile"):
            Surroundings.on_disk(HERE / "s.yaml", HERE, "../prod")

    def test_the_nearer_file_counts_value_by_value(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "prod.profile.yaml").write_text("profile: prod\nvalues: {zos: far, region: eu}\n")
        (tmp_path / "sub" / "prod.profile.yaml").write_text("profile: prod\nvalues: {zos: near}\n")
        (tmp_path / "beside").mkdir()
        (tmp_path / "beside" / "prod.profile.yaml").write_text("profile: prod\nvalues: {region: never}\n")
        text = HEAD + 'steps: {a: {unix.script: {connection: "{{ values.zos }}", command: "/{{ values.region }}"}}}\n'
        step = work(load(text, tmp_path, name="sub/s.yaml"), "a")
        assert (step.connection, step.work["command"]) == ("near", "/eu")

    def test_nothing_above_the_root_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "prod.profile.yaml").write_text("profile: prod\nvalues: {zos: far}\n")
        text = HEAD + 'steps: {a: {unix.script: {connection: "{{ values.zos }}", command: /x}}}\n'
        assert "no profile says" in refused(text, tmp_path / "sub")[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1:1 template: the file is empty, begin with profile: prod"),
        ("[a]\n", "1:1 template: the file must hold keys, not a list, begin with profile: prod"),
        ("values: {a: 1}\n", "1:1 template: the key 'profile' is missing, begin with profile: prod"),
        ("profile: test\nvalues: {a: 1}\n", "1:10 profile: the file is named 'prod', this says the text 'test', write profile: prod, or rename the file"),
        ("profile: prod\n", "1:1 template: the key 'values' is missing, add it, with name: value below it"),
        ("profile: prod\nvaluse: {a: 1}\n", "2:1 valuse: there is no key 'valuse' here, did you mean 'values', correct it"),
        ("profile: prod\nvalues: [a]\n", "2:9 values: must hold keys, not a list, write 'name: value'"),
        ("profile: prod\nvalues: {A-b: 1}\n", "2:10 values.A-b: 'A-b' is no id, use a-z, 0-9 and _, beginning with a letter"),
        ("profile: prod\nvalues: {a: }\n", "2:10 values.a: has no value, write one, or remove the key"),
        ("profile: prod\nvalues: {a: {b: 1}}\n", "2:13 values.a: must be a single value or a list of them, not keys and values, give each a name of its own"),
        ("profile: prod\nvalues: {a: []}\n", "2:13 values.a: the list is empty, write what is in it"),
        ('profile: prod\nvalues: {a: "{{ ds }}"}\n', "2:13 values.a: a value of a profile can hold no Jinja, write the Jinja in the template, around the value"),
        ("profile: prod\nvalues: {a: !!python/object:os.system x}\n", "2:13 values.a: the tag !!python/object:os.system is not available in templates, remove it; put texts in quotes"),
    ],
)  # fmt: skip
def test_a_bad_profile_says_exactly_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "prod.profile.yaml").write_text(content)
    text = HEAD + 'steps: {a: {unix.script: {connection: "{{ values.a }}", command: /x}}}\n'
    assert refused(text, tmp_path) == [f"prod.profile.yaml:{said}"]


@pytest.mark.parametrize(
    "value",
    [
        "db_password: hunter2",
        "api_key: abc",
        "token: abc",
        "slack: xoxb-12345-abcdef",
        "url: 'https://joe:geheim@host/x'",
        "pem: '-----BEGIN RSA PRIVATE KEY----- x'",
        "header: 'Bearer abcdefgh'",
        "random: aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW",
        "several: [fine, AKIAIOSFODNN7EXAMPLE]",
    ],
)
def test_what_looks_like_a_secret_is_refused_and_not_repeated(tmp_path: Path, value: str) -> None:
    (tmp_path / "prod.profile.yaml").write_text(f"profile: prod\nvalues: {{fine: 1, {value}}}\n")
    text = HEAD + 'steps: {a: {unix.script: {connection: "{{ values.fine }}", command: /x}}}\n'
    (line,) = refused(text, tmp_path)
    assert "looks like a password, a key or a token, keep it in an Airflow connection" in line
    assert value.partition(": ")[2].strip("'[]") not in line


@pytest.mark.parametrize("value", ["zos: zos_prod", "tokens_a_minute: 7", "image: 'sha256:" + "ab12" * 16 + "'"])
def test_what_is_no_secret_is_not_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "prod.profile.yaml").write_text(f"profile: prod\nvalues: {{fine: x, {value}}}\n")
    load(HEAD + 'steps: {a: {unix.script: {connection: "{{ values.fine }}", command: /x}}}\n', tmp_path)


class TestDefaults:
    def test_the_step_counts_then_its_type_then_all_steps(self) -> None:
        stream = load(
            HEAD + "use: [bank]\nsteps:\n"
            "  plain: {unix.script: {command: /x}}\n"
            "  own: {unix.script: {connection: c, command: /x, env: {B: own}}, time_limit: 5m, retry: []}\n"
            "  other: {mainframe.job: {connection: z, dataset: A.B}}\n"
            "  ask: {approval: {subject: Well?}}\n"
        )
        plain, own, other, ask = (stream.steps[name] for name in ("plain", "own", "other", "ask"))
        assert isinstance(plain, DelegatedStep)
        assert isinstance(own, DelegatedStep)
        assert isinstance(other, DelegatedStep)
        assert isinstance(ask, ApprovalStep)
        hours = {
            name: step.time_limit.total_seconds() / 3600
            for name, step in (("p", plain), ("o", other))
            if step.time_limit
        }
        assert hours == {"p": 1, "o": 2}, "its type before all steps"
        assert own.time_limit is not None
        assert own.time_limit.total_seconds() == 300, "the step before its type"
        assert (plain.connection, own.connection, other.connection) == ("zos_prod", "c", "z")
        assert plain.work["env"] == {"A": "1", "B": "2"}
        assert own.work["env"] == {"A": "1", "B": "own"}, "maps are merged by key"
        assert ([rule.on for rule in plain.retry], own.retry) == ([("lost",)], ()), "lists are replaced"
        assert ask.within is not None
        assert ask.within.total_seconds() == 4 * 3600

    @pytest.mark.parametrize(
        ("use", "domain", "hours", "b"), [("bank, late", "Late", 9, "late"), ("late, bank", "Bank", 2, "2")]
    )
    def test_a_later_file_counts_before_an_earlier_one(self, use: str, domain: str, hours: int, b: str) -> None:
        text = f"value_stream: s\ntitle: S\nuse: [{use}]\nsteps:\n  a: {{unix.script: {{command: /x}}}}\n"
        stream = load(text + "  z: {mainframe.job: {connection: c, dataset: A.B}}\n")
        assert (stream.business.domain, stream.business.owner) == (domain, "bank-operations")
        assert stream.tags == (domain.lower(),)
        limit = work(stream, "z").time_limit
        assert limit is not None
        assert limit.total_seconds() == hours * 3600
        assert work(stream, "a").work["env"] == {"A": "1", "B": b, "C": "late"}

    def test_the_template_counts_before_the_stream_defaults(self) -> None:
        stream = load(HEAD + "tags: [mine]\nuse: [bank]\nsteps: {a: {unix.script: {command: /x}}}\n")
        assert (stream.business.domain, stream.tags) == ("D", ("mine",))

    def test_a_mistake_in_a_default_is_told_with_the_shared_files_place(self, tmp_path: Path) -> None:
        (tmp_path / "bank.shared.yaml").write_text(
            "shared: bank\ndefaults:\n  steps:\n    time_limit: soon\n  unix.script: {connection: 'a b', env: {'A B': x}}\n"
            "  stream: {limits: {steps: 0}}\n"
        )
        assert refused(HEAD + "use: [bank]\nsteps: {a: {unix.script: {command: /x}}}\n", tmp_path) == [
            "bank.shared.yaml:4:17 defaults.steps.time_limit: 'soon' is no duration, write 90s, 15m, 2h, 1d or 1h30m",
            "bank.shared.yaml:5:29 defaults.unix.script.connection: this is no connection id, "
            "name an Airflow connection: letters, digits, _ . and -",
            "bank.shared.yaml:5:41 defaults.unix.script.env: 'A B' is not the name of an environment variable "
            "(letters, digits, _), correct it",
            "bank.shared.yaml:6:28 defaults.stream.limits.steps: must be at least 1, not 0, write a larger number",
        ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("shared: bank\n", "1:1 template: the file shares nothing, add defaults: or fragments:"),
        ("shared: bnak\ndefaults: {}\n", "1:9 shared: the file is named 'bank', this says the text 'bnak', write shared: bank, or rename the file"),
        ("shared: bank\ndefault: {}\n", "2:1 default: there is no key 'default' here, did you mean 'defaults', correct it"),
        ("shared: bank\ndefaults: {steps: {retires: []}}\n", "2:20 defaults.steps.retires: there is no key 'retires' here, did you mean 'retry', correct it"),
        ("shared: bank\ndefaults: {unix.scrip: {}}\n", None),
        ("shared: bank\ndefaults: {unix.script: {comand: x}}\n", "2:26 defaults.unix.script.comand: there is no key 'comand' here, did you mean 'command', correct it"),
        ("shared: bank\ndefaults: {stream: {title: x}}\n", None),
        ("shared: bank\nfragments: {a: {step: {}}}\n", "2:17 fragments.a.step: there is no key 'step' here, did you mean 'steps', correct it"),
        ("shared: bank\nfragments: {a: {steps: {}}}\n", "2:17 fragments.a.steps: a fragment has steps, add steps: and what they do"),
        ("shared: bank\nfragments: {a: {params: {p: {typ: string}}, steps: {b: {}}}}\n", "2:30 fragments.a.params.p.typ: there is no key 'typ' here, did you mean 'type', correct it"),
        ("shared: bank\nfragments: {a: {params: {p: {type: integer, default: x}}, steps: {b: {}}}}\n", "2:54 fragments.a.params.p.default: the param's type is 'integer', this is the text 'x', write digits only"),
        ("shared: bank\nfragments: {a: {steps: {B-1: {}}}}\n", "2:25 fragments.a.steps.B-1: 'B-1' is no id, use a-z, 0-9 and _, beginning with a letter, at most 100"),
        ("shared: bank\nfragments: {a: {steps: {for: x}}}\n", None),
    ],
)  # fmt: skip
def test_a_bad_shared_file_says_exactly_what_is_wrong(tmp_path: Path, content: str, said: str | None) -> None:
    (tmp_path / "bank.shared.yaml").write_text(content)
    lines = refused(HEAD + "use: [bank]\nsteps: {a: {unix.script: {connection: c, command: /x}}}\n", tmp_path)
    assert all(line.startswith("bank.shared.yaml:2:") or said for line in lines)
    assert said is None or lines == [f"bank.shared.yaml:{said}"]


class TestFragments:
    TEXT = HEAD + (
        "use: [bank]\nparams: {name: {type: string}, n: {type: number, default: 1}}\nsteps:\n"
        "  start: {unix.script: {command: /x}}\n"
        "  route:\n    after: [start]\n    branch:\n"
        "      - {when: params.n > 5.0, then: [letter]}\n      - otherwise: [end]\n"
        "  letter: {title: The letter, use: {fragment: notify, with: "
        '{customer: "{{ params.name }}", limit: "{{ params.n }}"}}}\n'
        '  end: {after: [route, letter], unix.script: {command: "{{ steps.letter_send.rc | default(0) }}"}}\n'
    )

    def test_its_steps_stand_for_the_step(self) -> None:
        stream = load(self.TEXT)
        assert list(stream.steps) == ["start", "route", "letter_write", "letter_check", "letter_send", "end"]
        assert work(stream, "letter_write").work["args"] == ["{{ params.name }}", "to-{{ params.name | upper }}-mail"]
        check = stream.steps["letter_check"]
        assert isinstance(check, BranchStep)
        assert check.rules[0].when == "double(steps.letter_write.rc) > params.n"
        assert check.targets == ("letter_send",)
        assert work(stream, "letter_send").work["args"] == ["{{ steps.letter_write.rc }}"]
        assert stream.upstream == {
            "start": (),
            "route": ("start",),
            "letter_write": ("route",),
            "letter_check": ("letter_write",),
            "letter_send": ("letter_check",),
            "end": ("letter_send", "route"),
        }
        assert {name: step.group for name, step in stream.steps.items() if step.group} == dict.fromkeys(
            ("letter_write", "letter_check", "letter_send"), "letter"
        )
        assert stream.groups["letter"].title == "The letter"

    def test_values_are_handed_over_as_what_they_are(self) -> None:
        text = (
            HEAD
            + 'use: [bank]\nsteps: {a: {use: {fragment: notify, with: {customer: "O\'Neill \\"x\\" }}", limit: 4}}}}\n'
        )
        stream = load(text)
        check = stream.steps["a_check"]
        assert isinstance(check, BranchStep)
        assert check.rules[0].when == "double(steps.a_write.rc) > 4.0"
        from airflow_enterprise_orch.restricted_jinja import render_tree

        rendered = render_tree(work(stream, "a_write").work["args"], {"params": {}, "steps": {}, "business": {}})
        assert rendered == ['O\'Neill "x" }}', 'to-O\'NEILL "X" }}-mail']

    def test_a_fragment_may_use_fragments(self, tmp_path: Path) -> None:
        (tmp_path / "f.shared.yaml").write_text(
            "shared: f\nfragments:\n"
            '  inner: {params: {x: {type: string}}, steps: {say: {unix.script: {connection: c, command: "/{{ params.x }}"}}}}\n'
            "  outer:\n    params: {y: {type: string}}\n    steps:\n"
            "      first: {unix.script: {connection: c, command: /x}}\n"
            '      one: {after: [first], use: {fragment: inner, with: {x: "{{ params.y }}"}}}\n'
            '      two: {after: [one], use: {fragment: inner, with: {x: "{{ steps.one_say.rc }} {{ params.y }}"}}}\n'
        )
        stream = load(HEAD + "use: [f]\nsteps: {a: {use: {fragment: outer, with: {y: Z}}}}\n", tmp_path)
        assert {name: step.after for name, step in stream.steps.items()} == {
            "a_first": (),
            "a_one_say": ("a_first",),
            "a_two_say": ("a_one_say",),
        }
        assert work(stream, "a_one_say").work["command"] == "/Z"
        assert work(stream, "a_two_say").work["command"] == "/{{ steps.a_one_say.rc }} Z"
        assert {name: group.group for name, group in stream.groups.items()} == {"a": None, "a_one": "a", "a_two": "a"}

    def test_the_steps_of_a_fragment_have_the_streams_defaults(self) -> None:
        assert work(load(self.TEXT), "letter_send").connection == "zos_prod"

    def test_a_later_files_fragment_counts(self, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / f"{name}.shared.yaml").write_text(
                f"shared: {name}\nfragments: {{f: {{steps: {{a: {{unix.script: {{connection: c, command: /{name}}}}}}}}}}}\n"
            )
        stream = load(HEAD + "use: [one, two]\nsteps: {s: {use: {fragment: f}}}\n", tmp_path)
        assert work(stream, "s_a").work["command"] == "/two"


class TestGroups:
    def test_after_a_group_is_after_its_last_steps(self) -> None:
        job = "unix.script: {connection: c, command: /x}"
        stream = load(
            HEAD + "groups: {g: {title: G}, inner: {group: g}}\nsteps:\n"
            f"  a: {{group: g, {job}}}\n  b: {{group: inner, after: [a], {job}}}\n  c: {{group: inner, after: [a], {job}}}\n"
            "  r: {group: g, after: [a], branch: [{when: steps.a.rc > 1, then: [d]}, {otherwise: []}]}\n"
            f"  d: {{group: g, {job}}}\n  e: {{after: [g, b], {job}}}\n  f: {{after: [inner], {job}}}\n"
        )
        assert stream.steps["e"].after == ("c", "d", "b")
        assert stream.steps["f"].after == ("b", "c")

    def test_a_branch_that_chooses_a_group_chooses_its_first_steps(self) -> None:
        job = "unix.script: {connection: c, command: /x}"
        stream = load(
            HEAD + "params: {n: {type: number, default: 1}}\ngroups: {g: {title: G}}\nsteps:\n"
            "  r: {branch: [{when: params.n > 1.0, then: [g]}, {otherwise: []}]}\n"
            f"  a: {{group: g, {job}}}\n  b: {{group: g, after: [a], {job}}}\n  c: {{group: g, {job}}}\n"
        )
        assert stream.steps["r"].targets == ("a", "c")


def test_the_digest_is_of_what_is_meant(tmp_path: Path) -> None:
    shared, profile = tmp_path / "bank.shared.yaml", tmp_path / "prod.profile.yaml"
    shared.write_text("shared: bank\ndefaults: {steps: {time_limit: 1h}}\n")
    profile.write_text("profile: prod\nvalues: {zos: a, other: b}\n")
    text = HEAD + 'use: [bank]\nsteps: {a: {unix.script: {connection: "{{ values.zos }}", command: /x}}}\n'
    written_out = HEAD + "steps: {a: {unix.script: {connection: a, command: /x}, time_limit: 60m}}\n"
    first = load(text, tmp_path).digest()
    assert load(written_out, tmp_path).digest() == first
    profile.write_text("# a comment\nprofile: prod\nvalues: {zos: a, other: c}\n")
    shared.write_text("shared: bank\ndefaults: {steps: {time_limit: 1h}, approval: {within: 1h}}\n")
    assert load(text, tmp_path).digest() == first
    profile.write_text("profile: prod\nvalues: {zos: z, other: c}\n")
    assert load(text, tmp_path).digest() != first


def bombs() -> dict[str, tuple[str, str, str]]:
    """Return template, shared file and profile, by what is too much in them."""
    use = HEAD + "use: [f]\nsteps:\n"
    job = "unix.script: {connection: c, command: /x}"
    many = "".join(f"      s{number}: {{{job}}}\n" for number in range(900))
    levels = "".join(
        f"  f{level}:\n    steps:\n" + "".join(f"      s{n}: {{use: {{fragment: f{level + 1}}}}}\n" for n in range(10))
        for level in range(7)
    )
    text = "x" * 100_000
    unknown = "".join(f"{{{{ values.v{number} }}}}" for number in range(20_000))
    references = "{{ values.big }}" * 10_000
    return {
        "steps": (use + "".join(f"  u{n}: {{use: {{fragment: f}}}}\n" for n in range(2000)), f"fragments:\n  f:\n    steps:\n{many}", ""),
        "levels": (use + "  u: {use: {fragment: f0}}\n", f"fragments:\n{levels}  f7: {{steps: {{a: {{{job}}}}}}}\n", ""),
        "texts": (
            use + f"  u: {{use: {{fragment: f, with: {{p: {text}}}}}}}\n",
            "fragments:\n  f:\n    params: {p: {type: string}}\n    steps:\n      a: {unix.script: {connection: c, command: \""
            + "{{ params.p }}" * 5000 + "\"}}\n",
            "",
        ),
        "values": (HEAD + f'steps: {{a: {{unix.script: {{connection: c, command: "{references}"}}}}}}\n', "", f"big: {text}"),
        "quotes": (HEAD + "steps: {a: {unix.script: {connection: c, command: '{{ values" + '\\"' * 200_000 + "'}}}\n", "", ""),
        "braces": (HEAD + "steps: {a: {unix.script: {connection: c, command: '" + "{{ values " * 40_000 + "'}}}\n", "", ""),
        "unknown": (HEAD + f'steps: {{a: {{unix.script: {{connection: c, command: "{unknown}"}}}}}}\n', "", ""),
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(bombs()))
def test_a_bomb_is_refused_soon(tmp_path: Path, kind: str) -> None:
    template, shared, value = bombs()[kind]
    (tmp_path / "f.shared.yaml").write_text("shared: f\n" + (shared or "defaults: {steps: {}}\n"))
    (tmp_path / "prod.profile.yaml").write_text(f"profile: prod\nvalues: {{zos: z, {value}}}\n".replace(", }", "}"))
    before = time.process_time()
    assert refused(template, tmp_path)
    # Not a measurement: what is not bounded takes minutes here.
    assert time.process_time() - before < 20


class TestCommands:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("prod.profile.yaml", "test.profile.yaml", "late.shared.yaml"):
            (tmp_path / name).write_text((HERE / name).read_text())
        (tmp_path / "s.yaml").write_text(TestValues.TEXT)
        return tmp_path

    def test_lint_checks_every_profile_and_says_which_lacks_a_value(self, folder: Path, capsys: Any) -> None:
        assert main(["lint", str(folder)]) == 0
        capsys.readouterr()
        (folder / "test.profile.yaml").write_text(
            "profile: test\nvalues: {zos: a, region: eu, large_order: 1.0, live: 2}\n"
        )
        assert main(["lint", str(folder)]) == 1
        assert capsys.readouterr().out.splitlines() == [
            f"{folder}/s.yaml:11:82 steps.ask.approval.assignees: profile 'test' has no value 'releasers' "
            f"({folder}/test.profile.yaml), add it there; it has large_order, live, region and zos"
        ]
        assert main(["lint", str(folder), "--profile", "prod"]) == 0

    def test_lint_checks_profiles_and_shared_files_that_nobody_uses(self, folder: Path, capsys: Any) -> None:
        (folder / "test.profile.yaml").write_text("profile: test\nvalues: {db_password: x}\n")
        (folder / "late.shared.yaml").write_text("shared: late\ndefaults: {stepps: {}}\n")
        (folder / "s.yaml").write_text(HEAD + "steps: {a: {unix.script: {connection: c, command: /x}}}\n")
        assert main(["lint", str(folder)]) == 1
        out = capsys.readouterr().out
        assert "test.profile.yaml:2:10 values.db_password: the value 'db_password' looks like a password" in out
        assert "late.shared.yaml:2:12 defaults.stepps: there are no defaults for 'stepps', did you mean 'steps'" in out

    def test_a_mistake_in_a_shared_file_is_told_once(self, folder: Path, capsys: Any) -> None:
        (folder / "late.shared.yaml").write_text("shared: late\ndefaults: {steps: {time_limit: soon}}\n")
        for name in ("x", "y"):
            text = HEAD.replace("value_stream: s", f"value_stream: {name}") + "use: [late]\n"
            (folder / f"{name}.yaml").write_text(text + "steps: {a: {unix.script: {connection: c, command: /x}}}\n")
        assert main(["lint", str(folder)]) == 1
        assert capsys.readouterr().out.count("late.shared.yaml:2:32 defaults.steps.time_limit") == 1

    def test_every_command_takes_a_profile(self, folder: Path, capsys: Any) -> None:
        file = str(folder / "s.yaml")
        assert main(["explain", file]) == 2
        assert "no profile is chosen" in capsys.readouterr().err
        assert main(["explain", file, "--profile", "test"]) == 0
        assert "connection zos_test" in capsys.readouterr().out
        assert main(["simulate", file, "--profile", "prod"]) == 0
        assert main(["diff", file, file, "--profile", "test"]) == 0
        (folder / "s.cases.yaml").write_text("cases: {small: {params: {n: 5.0}, takes: [route, run]}}\n")
        assert main(["test", file, "--profile", "prod"]) == 0
        assert main(["test", file, "--profile", "test"]) == 0

    def test_a_root_above_the_file(self, folder: Path, capsys: Any) -> None:
        (folder / "sub").mkdir()
        (folder / "s.yaml").rename(folder / "sub" / "s.yaml")
        file = str(folder / "sub" / "s.yaml")
        assert main(["lint", file]) == 1
        assert "no profile says" in capsys.readouterr().out
        assert main(["lint", file, "--root", str(folder)]) == 0
        assert main(["lint", file, "--root", str(HERE)]) == 2
