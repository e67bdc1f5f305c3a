"""The harness notices a package that is broken on purpose, and finds nothing wrong with the same cases otherwise."""

from __future__ import annotations

import pytest

from .bench import Bench
from .directed import DIRECTED
from .mutations import MUTATIONS
from .runner import play


def test_every_mutation_has_its_cases():
    assert set(DIRECTED) == set(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_package_is_noticed(bench: Bench, mutation: str):
    told = [play(case, bench, mutation) for case in DIRECTED[mutation]]
    assert all(each["struck"] for each in told)
    assert any(each["problems"] for each in told), f"{mutation} went unnoticed"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_package_as_it_is_passes_the_same_cases(bench: Bench, mutation: str):
    told = [play(case, bench) for case in DIRECTED[mutation]]
    assert all(each["struck"] for each in told)
    assert [each["problems"] for each in told] == [[]] * len(told)
