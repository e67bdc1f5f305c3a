"""Whatever makes a new version of a stream is told by ``diff``, and what makes none is not.

How a user would notice that it is fake: a new version of a stream lies in Airflow, and ``diff`` of the two files says
that nothing changed; or the other way round.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from tests.value_stream.fuzzing import ALLOWED, WHOLE, Changer, beside_files, examples, parts, templates

TEMPLATES = templates()
SMALL = [path for path, data in sorted(TEMPLATES.items()) if len(json.dumps(data)) < 2_500]


def load(data: Any, name: str = "changed.yaml", folder: Path = WHOLE) -> ValueStream:
    beside = Surroundings.on_disk(folder / name, folder, "prod", shown=str)
    return ValueStream.load(json.dumps(data), name=name, beside=Beside.named(folder, name), surroundings=beside)


@pytest.fixture(autouse=True, scope="module")
def _setting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*ALLOWED)
        yield


def changed(chance: random.Random, tree: Any, changer: Changer) -> Any:
    """Return a copy with one change that is often right: another order, a little more, what stands there elsewhere."""
    tree = copy.deepcopy(tree)
    parents = [part for part in parts(tree) if isinstance(part, (dict, list)) and part]
    parent = chance.choice(parents)
    place = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    value = parent[place]
    how = chance.choice(("near", "near", "like", "like", "drop", "turn"))
    if how == "turn" and isinstance(parent, list):
        parent.reverse()
    elif how == "drop":
        parent.pop(place)
    elif how == "like" and isinstance(parent, dict):
        parent[place] = copy.deepcopy(chance.choice(changer.by_key[place]))
    elif isinstance(value, bool):
        parent[place] = not value
    elif isinstance(value, (int, float)):
        parent[place] = chance.choice((value + 1, float(value), value + 0.5))
    elif isinstance(value, str):
        parent[place] = chance.choice((f"{value}x", value.title(), "30m", "{{ ds }}", "1"))
    return tree


def test_a_template_differs_from_its_change_exactly_when_it_is_another_version() -> None:
    changer = Changer(random.Random(0), [*TEMPLATES.values(), *beside_files().values()])
    loaded: dict[str, ValueStream] = {}
    others = sames = 0
    for seed in range(examples(400).max_examples):
        chance = random.Random(seed)
        path = chance.choice(SMALL)
        tree = changed(chance, TEMPLATES[path], changer)
        try:
            old = loaded[path] if path in loaded else loaded.setdefault(path, load(TEMPLATES[path]))
            new = load(tree)
        except TemplateError:
            continue
        found = diff(old, new)
        assert bool(found) is (old.digest() != new.digest()), (path, json.dumps(tree), [one.text for one in found])
        assert all("\n" not in one.text and one.where for one in found)
        json.dumps([one.to_json() for one in found])
        others, sames = others + bool(found), sames + (not found)
    assert others >= 60
    assert sames >= 5
