"""Promise 4 under changes at random: a template is a DAG that Airflow keeps, or refused with a mistake of its own.

From the text through the check, the plan and the DAG to what Airflow's serializer makes of it, with profiles, shared
files, calendars and tables beside it, and through the loader. It would be fake if the documents that are changed did
not hold every key, or if nearly all changes were refused by the first check.

``FUZZ=50 pytest tests/value_stream/test_fuzz.py`` tries fifty times as many, others each time;
``python -m tests.value_stream.fuzzing --seconds 600`` goes on for as long as you like.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_enterprise_orch.value_stream.schema import template_schema
from tests.value_stream.fuzzing import (
    ALLOWED,
    ODD_TEXTS,
    WHOLE,
    Changer,
    all_of_a_folder,
    all_the_way,
    beside_files,
    examples,
    templates,
)

TEMPLATES = templates()
BESIDE = beside_files()
CHANGER = Changer(random.Random(0), [*TEMPLATES.values(), *BESIDE.values()])
ALONE = ("files", "marked", "assets", "often")
"""The streams of ``WHOLE`` that use nothing that lies beside them."""


@pytest.fixture(autouse=True, scope="module")
def _setting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setenv(*ALLOWED)
        patch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", folder)
        patch.delenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", raising=False)
        yield


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: "/".join(Path(path).parts[-2:]))
def test_what_is_changed_is_right_before(path: str) -> None:
    folder = Path(path).parent
    assert all_the_way(Path(path).read_text(), folder if folder.name != "examples" else WHOLE, file=Path(path))


def test_what_is_changed_holds_every_key() -> None:
    """A key that is added to the vocabulary is to be changed here too; what systems' work has is in their examples."""
    schema = template_schema()
    kinds = schema["properties"]["steps"]["additionalProperties"]["anyOf"]
    schema["properties"]["steps"] = [kind for kind in kinds if "." not in kind["required"][0]]
    known = set(_keys(schema["properties"], schema["$defs"], set()))
    assert len(known) > 100
    assert known - set(CHANGER.keys) == set()


def _keys(part: Any, definitions: dict[str, Any], seen: set[str]) -> Iterator[str]:
    """Yield every key that a part of the schema knows, and the definitions that it refers to."""
    if isinstance(part, dict):
        properties = part.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        for key, value in part.items():
            if key == "$ref" and value not in seen:
                seen.add(value)
                value = definitions[value.removeprefix("#/$defs/")]
            yield from _keys(value, definitions, seen)
    elif isinstance(part, list):
        for value in part:
            yield from _keys(value, definitions, seen)


@examples(60)
@given(st.randoms(), st.sampled_from(sorted(TEMPLATES)), st.booleans())
def test_any_change_of_a_template_is_a_dag_or_a_mistake_of_its_own(
    chance: random.Random, path: str, ascii_only: bool
) -> None:
    CHANGER.chance = chance
    tree = CHANGER.changed(TEMPLATES[path])
    all_the_way(json.dumps(tree, ensure_ascii=ascii_only))  # JSON is YAML


def test_many_changes_are_right_and_go_all_the_way() -> None:
    changer = Changer(random.Random(7), [*TEMPLATES.values(), *BESIDE.values()])
    made = [all_the_way(json.dumps(changer.changed(TEMPLATES[path], 1))) for path in sorted(TEMPLATES)]
    assert len([one for one in made if one is not None]) >= len(made) // 8
    assert len([one for one in made if one is None]) >= len(made) // 8


TEXTS = [path.read_text() for path in sorted(WHOLE.glob("*.yaml")) if path.stem.isidentifier()]


@examples(60)
@given(
    st.sampled_from(TEXTS),
    st.integers(0, 2**16),
    st.integers(0, 40),
    st.one_of(st.text(max_size=8), st.sampled_from(ODD_TEXTS)),
)
def test_any_edit_of_a_text_is_a_dag_or_a_mistake_of_its_own(text: str, at: int, length: int, put: str) -> None:
    at %= len(text)
    all_the_way(text[:at] + put + text[at + length :])


@examples(6)
@given(st.randoms(), st.sampled_from([*sorted(BESIDE), "tables/rates.csv"]))
def test_any_change_of_what_lies_beside_hurts_only_who_uses_it(chance: random.Random, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "streams"
        shutil.copytree(WHOLE, place)
        if name in BESIDE and chance.random() < 0.8:
            CHANGER.chance = chance
            (place / name).write_text(json.dumps(CHANGER.changed(BESIDE[name])))
        else:
            whole = (place / name).read_bytes()
            at = chance.randrange(len(whole))
            put = chance.choice((b"\xff", b"\x00", b'"', b"\n", b",", b":", *(one.encode() for one in ODD_TEXTS)))
            (place / name).write_bytes(whole[:at] + put + whole[at + chance.choice((0, 1, 30)) :])
        all_of_a_folder(place, ALONE)


@examples(6)
@given(st.randoms(), st.sampled_from([path for path in sorted(WHOLE.glob("*.yaml")) if path.stem.isidentifier()]))
def test_any_change_of_one_template_leaves_the_others(chance: random.Random, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "streams"
        shutil.copytree(WHOLE, place)
        CHANGER.chance = chance
        (place / path.name).write_text(json.dumps(CHANGER.changed(TEMPLATES[str(path)])))
        others = tuple(one.stem for one in place.glob("*.yaml") if one.stem.isidentifier() and one.name != path.name)
        changed = (place / path.name).read_bytes()
        # One that now declares another stream's id takes that away: both files are refused.
        taken = tuple(one for one in others if f'"value_stream": "{one}"'.encode() in changed)
        all_of_a_folder(place, tuple(one for one in others if one not in taken))
