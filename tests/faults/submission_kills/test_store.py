"""The model of Airflow's task state store has the fence that the real one has."""

from __future__ import annotations

from pathlib import Path

import pytest

from .store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store.db")
    made.create()
    return made


def test_the_owner_reads_what_it_wrote(store: Store):
    owner = store.begin_try()
    assert store.set(owner, "key", {"a": 1})
    assert store.get(owner, "key") == {"a": 1}


def test_the_next_try_has_what_was_written_and_the_one_before_writes_and_reads_nothing_more(store: Store):
    before = store.begin_try()
    store.set(before, "key", 1)
    owner = store.begin_try()
    assert not store.set(before, "key", 2)
    assert store.get(before, "key") is None
    assert store.get(owner, "key") == 1


def test_a_deleted_run_takes_its_store_with_it(store: Store):
    before = store.begin_try()
    store.set(before, "key", 1)
    store.delete()
    assert not store.set(before, "key", 2)
    assert store.get(store.begin_try(), "key") is None


def test_a_write_that_was_under_way_lands_after_the_next_try_began(store: Store):
    before = store.begin_try()
    assert store.set(before, "key", "old", under_way=True)
    owner = store.begin_try()
    assert store.get(owner, "key") is None
    store.set(owner, "key", "new")
    assert store.land() == 1
    assert store.get(owner, "key") == "old"


def test_nothing_lands_in_another_run(store: Store):
    store.set(store.begin_try(), "key", "old", under_way=True)
    store.delete()
    owner = store.begin_try()
    assert store.land() == 0
    assert store.get(owner, "key") is None
