"""What the README and the installation guide promise is what there is."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path

import pytest

from airflow_enterprise_orch.cli import _parser
from airflow_enterprise_orch.delegation.system import registrations
from airflow_enterprise_orch.provider_info import get_provider_info


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


@pytest.fixture(scope="module")
def extras(root: Path) -> dict[str, str]:
    """The rows of the table of extras, by the extra."""
    rows = re.findall(r"^\| `(\w+)` \|(.*)$", (root / "docs" / "install.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def test_every_extra_is_in_the_installation_guide(root: Path, extras: dict[str, str]):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert set(extras) == set(project["optional-dependencies"])


def test_each_system_is_told_with_its_steps_and_connection_types(extras: dict[str, str]):
    for registration in registrations():
        told = set(re.findall(r"`([^`]+)`", extras[registration.name]))
        types = {registration.connection_type, *registration.other_connection_types}
        assert told == {kind.name for kind in registration.steps} | types, registration.name


def test_connection_types_of_ours_are_in_the_readme_as_the_form_names_them(readme: str):
    for connection_type in get_provider_info()["connection-types"]:
        assert f"*{connection_type['hook-name']}*" in readme


def test_every_command_is_in_the_readme(readme: str):
    (commands,) = [one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction)]
    assert len(commands.choices) > 10
    for name in commands.choices:
        assert f"enterprise-orch {name}" in readme or f"make {name}" in readme, name
