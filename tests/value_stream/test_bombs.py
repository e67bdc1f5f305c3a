"""What is made to hurt is refused at once, and hurts nobody else."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.loader import find_problems, load_template
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.patterns import compiled
from tests.value_stream.bombs import BOMBS, HARMLESS, HEAD, STEP

MANY_SECONDS = 6.0
"""Of CPU, on a machine that others use too. Most take a tenth of one (tests.bench.bombs); others took minutes."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once_in_a_clear_line(name):
    text, says = BOMBS[name]
    before = time.process_time()
    with pytest.raises(TemplateError) as caught:
        ValueStream.load(text)
    assert time.process_time() - before < MANY_SECONDS
    assert says in str(caught.value)
    assert len(caught.value.problems) <= 101
    assert all(problem.line >= 1 and problem.column >= 1 for problem in caught.value.problems)
    assert max(map(len, str(caught.value).splitlines())) < 2_000


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_large_is_taken(name):
    before = time.process_time()
    assert ValueStream.load(HARMLESS[name]).id == "a"
    assert time.process_time() - before < MANY_SECONDS


def test_a_bundle_of_bombs_serves_its_good_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    folder = tmp_path / "templates"
    folder.mkdir()
    small = {name: text for name, (text, _) in BOMBS.items() if len(text) < 64 * 1024}
    texts = [*small.values(), BOMBS["10 MB"][0], BOMBS["10,000 steps"][0], BOMBS["aliases"][0]]
    for number, text in enumerate(texts):
        named = text.replace("value_stream: a\n", f"value_stream: bomb_{number}\n", 1)
        (folder / f"bomb_{number}.yaml").write_bytes(named.encode("utf-8", "surrogatepass"))
    (folder / "good.yaml").write_text(HEAD.replace("value_stream: a", "value_stream: good") + STEP)
    bundle = TemplateBundle(name="streams", path=str(folder), store=str(tmp_path / "store"))
    bundle.initialize()
    good, refused = {}, 0
    for template in sorted(bundle.path.glob("*.yaml")):
        namespace: dict[str, object] = {}
        load_template(template, namespace)
        (made,) = namespace.items()
        if made[0] == "good":
            good = namespace
        else:
            refused += 1
            with pytest.raises(TemplateError, match=re.escape(template.name)):
                made[1].validate()  # type: ignore[attr-defined]
    assert list(good) == ["good"]
    assert refused == len(texts)
    assert len(find_problems(folder)) == len(texts)


# -------------------------------------------------------------------------------------------------- regular expressions

FOREVER = [
    r"^(a+)+$", r"(a|aa)+$", r"(\w+\s?)*$", r"(.*a){20}", r"([a-z]+)*x", r"(a*)*b", r"(\d+|\w+)*z", r"(a+a*,)*x",
    r"(x+x+)+y", r"(.+)+", r"(?:a?b?)*c", r"(\s*\n)*x", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(a|b|ab)*c", r"(?i)(a|Ab)*c",
    r"(x)(\1a|b)*c", r"(?=(a+)+b)a",
]  # fmt: skip
FINE = [
    r"CREDIT CLASS=(\w+)", r"^ORD-[0-9]{6}$", r"(.+)", r"ENVIRONMENT=(\S+)", r"(\w+(?:,\w+)*)", r"(?:\S+\s+)*x",
    r"^(?:[A-Z]{2}-)?[0-9]+$", r"(([A-Z][0-9]+-)+)", r"^(?:\d{1,3}\.){3}\d{1,3}$", r"(?:foo|bar)+", r"(?:(?:a|b)c)*",
    r"^([a-z0-9]+(?:-[a-z0-9]+)*)$", r'"((?:[^\\"]|\\.)*)"', r"(?:[^'\n]|'')*", r"^\s*(?:key\s*=\s*)?(\w+)\s*$",
    r"(?>a+)+b", r"(?:a++)+b", r"(?:\d+\.)+\d+", r"(\d+(?:\.\d+)?)", r"(a)(?:\1)", r"(?i)total:\s*([0-9.,]+)",
]  # fmt: skip


@pytest.mark.parametrize("text", FOREVER)
def test_a_pattern_that_can_be_split_in_several_ways_is_refused(text):
    pattern, what, remedy = compiled(text)
    assert pattern is None
    assert "could run forever" in what
    assert remedy


@pytest.mark.parametrize("text", FINE)
def test_a_pattern_with_one_way_at_most_is_taken(text):
    pattern, what, _ = compiled(text)
    assert pattern is not None, what
    assert pattern.pattern == text
