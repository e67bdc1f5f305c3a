"""An explicit null in a template: where a field is optional it means "not given", elsewhere it is a template error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from airflow_enterprise_orch.delegation.system import step_type, step_types
from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.model import ValueStream

GOOD: dict[str, tuple[dict[str, Any], ...]] = {
    "mainframe.job": (
        {"dataset": "PROD.JCL(BOOKORD)", "symbols": {"ORDER": "7"}, "job_class": "A"},
        {"jcl": "//BOOK JOB (ACCT)\n//STEP1 EXEC PGM=IEFBR14\n"},
    ),
    "mainframe.scheduler_job": (
        {"folder": "LAB", "job": "LABJOB", "variables": {"A": "1"}, "order_date": "20261231", "library": "CTM.PROD"},
    ),
    "sap.background_job": (
        {"program": "ZPOST", "variant": "V1", "parameters": {"P_A": "1"}, "language": "EN", "printer": "LP01"},
        {"command": "/bin/echo", "arguments": ["one"], "host": "saphost", "user": "BATCH", "job_class": "C"},
    ),
    "sap.application_job": ({"template": "ZLAB_PROGRAM", "user": "MARIA", "parameters": {"P_A": ["1"]}},),
    "unix.script": (
        {"script": "echo $1", "args": ["one"], "env": {"A": "1"}, "directory": "/tmp"},
        {"command": "/usr/bin/true"},
    ),
    "windows.task": (
        {"program": r"C:\Apps\import.exe", "arguments": ["one"], "env": {"A": "1"}, "directory": r"C:\Apps"},
        {"task": r"\Dynamics\ImportOrders", "arguments": ["one"]},
    ),
    "fileshare.deliver": ({"to": "a.txt", "content": "text"}, {"to": "a.txt", "file": "/srv/a.txt"}),
    "fileshare.certificate": (
        {"to": "a.pdf", "instance": "7", "issuer": "Sales", "recipient": "Maria", "facts": {"a": "b"}},
    ),
    "fileshare.await": ({"pattern": "*.csv", "folder": "in", "marker": ".done"},),
    "container.run": (
        {
            "image": "lab/tools:1",
            "command": ["true"],
            "entrypoint": ["/bin/sh"],
            "env": {"A": "1"},
            "directory": "/data",
            "mounts": [{"source": "/srv", "target": "/data"}],
            "memory_mb": 64,
            "cpus": 1.5,
        },
    ),
    "container.provision": ({"image": "lab/web:1", "health": {"command": ["true"]}, "publish": [{"container": 80}]},),
    "container.remove": ({"instance": "0123456789ab"},),
}
"""Right work of every step type, one for each way to say it."""


def cases() -> list[Any]:
    return [
        pytest.param(name, work, field, id=f"{name}-{number}-{field}")
        for name, works in GOOD.items()
        for number, work in enumerate(works)
        for field in step_type(name)[1].work_model().model_fields
    ]


def optional(field: FieldInfo) -> bool:
    """True where null is a value of the field's type."""
    return field.default is None and NoneType in get_args(field.annotation)


def nested(value: Any) -> Iterator[Any]:
    """Yield copies of a value in each of which one part is null."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in list(parts):
        for changed in (None, *nested(part)):
            copy = value.copy()
            copy[place] = changed
            yield copy


def test_every_step_type_is_looked_at():
    assert set(GOOD) == set(step_types())


@pytest.mark.parametrize(("name", "work", "field"), cases())
def test_null_is_as_good_as_nothing_where_a_field_is_optional(name: str, work: dict[str, Any], field: str):
    model = step_type(name)[1].work_model()
    without = {key: value for key, value in work.items() if key != field}
    given = {**without, field: None}
    try:
        plain = model.model_validate(without)
    except ValidationError:
        plain = None  # what is left is not enough
    if plain is not None and optional(model.model_fields[field]):
        assert model.model_validate(given).digest() == plain.digest()
        assert model.rendered(given).digest() == plain.digest()
    else:
        with pytest.raises(ValidationError):
            model.model_validate(given)


@pytest.mark.parametrize(("name", "work"), [(name, work) for name, works in GOOD.items() for work in works])
def test_null_inside_a_field_is_a_validation_error(name: str, work: dict[str, Any]):
    model = step_type(name)[1].work_model()
    inside = [{**work, field: changed} for field, value in work.items() for changed in nested(value)]
    for changed in inside:
        with pytest.raises(ValidationError):
            model.model_validate(changed)


@pytest.mark.parametrize(("name", "work", "field"), cases())
def test_a_template_with_null_loads_or_says_where_it_is_wrong(
    tmp_path: Path, name: str, work: dict[str, Any], field: str
):
    stream = {
        "value_stream": "nulls",
        "title": "Nulls",
        "business": {"domain": "Tests", "owner": "tests", "criticality": "low", "key": "{{ run_id }}"},
        "steps": {"one": {name: {"connection": "somewhere", **work, field: None}}},
    }
    path = tmp_path / "nulls.yaml"
    path.write_text(yaml.safe_dump(stream, sort_keys=False))
    try:
        loaded = ValueStream.load(path, name="nulls.yaml")
    except TemplateError as error:
        assert "nulls.yaml:" in str(error)
        assert "steps.one" in str(error)
    else:
        assert loaded.steps["one"].step == name  # type: ignore[union-attr]
