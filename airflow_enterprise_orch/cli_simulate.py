"""``enterprise-orch simulate``: what an instance is started with and what its steps come to, given or recorded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    from airflow_enterprise_orch.template_tools.given import Params, Results
    from airflow_enterprise_orch.template_tools.walked import Walk
    from airflow_enterprise_orch.value_stream.model import ValueStream
    from airflow_enterprise_orch.value_stream.yaml_source import Document


@dataclass(frozen=True)
class _Record:
    """What is known of an instance before anything is given: nothing, where none is named."""

    params: Params = field(default_factory=dict)
    results: Results = field(default_factory=dict)
    day: datetime = field(default_factory=lambda: datetime.now(UTC))


def simulated(stream: ValueStream, options: argparse.Namespace) -> Walk:
    """Return the path of the instance that the options describe.

    :raises OrchestrationError: when what is given or recorded is wrong, or not enough.
    """
    from airflow_enterprise_orch.template_tools.walk import walk

    if options.recorded is None and (options.run_id or options.url or options.ca_file):
        raise OrchestrationError("--run, --url and --ca-file are about a recorded instance: name it with --recorded")
    record = _record(stream, options) if options.recorded is not None else _Record()
    params, results = _given(stream, options, record)
    return walk(stream, params, results, day=options.date or record.day)


def _record(stream: ValueStream, options: argparse.Namespace) -> _Record:
    """Return what Airflow's API server has of the instance that is named."""
    from airflow_enterprise_orch.operate import client
    from airflow_enterprise_orch.template_tools.recorded import recorded

    url = options.url or os.environ.get(client.URL, "")
    if not url:
        raise OrchestrationError(f"nobody says where Airflow is: give --url, or set {client.URL}")
    with client.ActionsApi(url, ca_file=options.ca_file) as api:
        told = api.newest(options.recorded, stream.id, options.run_id)
    params, results = recorded(stream, told)
    day = told["instance"]["business_date"]
    if day is None:
        return _Record(params, results)
    zone = ZoneInfo(stream.schedule.timezone if stream.schedule is not None else "UTC")
    return _Record(params, results, datetime.combine(date.fromisoformat(day), time(12), zone))


def _given(stream: ValueStream, options: argparse.Namespace, record: _Record) -> tuple[Params, Results]:
    """Read and check what is given for an instance, over what is recorded of it."""
    from airflow_enterprise_orch.template_tools import given
    from airflow_enterprise_orch.value_stream.problems import template_error

    needed = [name for name, param in stream.params.items() if param.required and name not in record.params]
    if needed and options.params is None:
        raise OrchestrationError(
            f"{stream.id} starts with {', '.join(needed)}; write them to a file and name it: --params"
        )
    started = _sheet(options, "params", record.params)
    came_to = _sheet(options, "results", record.results)
    problems = [
        *given.check_params(stream, started, (), started.data),
        *given.check_required(stream, started, (), started.data),
        *given.check_results(stream, came_to, (), came_to.data),
    ]
    if problems:
        raise template_error(problems)
    return started.data, came_to.data


def _sheet(options: argparse.Namespace, name: str, record: Mapping[str, Any]) -> Document:
    """Read the file that an option names, if it names one, and lay it over what is recorded."""
    from airflow_enterprise_orch.template_tools.given import read_sheet
    from airflow_enterprise_orch.value_stream.yaml_source import Document

    path = vars(options)[name]
    if path is None:
        return Document(
            f"--{name}" if options.recorded is None else f"--recorded {options.recorded}", data=dict(record)
        )
    document = read_sheet(path)
    document.data = {**record, **document.data}
    return document
