"""The reference tells of every key, and its example is right."""

import re
from pathlib import Path

import pytest
import yaml

from airflow_enterprise_orch.delegation.outcome import OUTCOME_VARIABLES
from airflow_enterprise_orch.restricted_jinja import BUSINESS_NAMES, FILTERS, RUN_NAMES
from airflow_enterprise_orch.value_stream.calendars import CalendarFile, Holidays, check_calendar
from airflow_enterprise_orch.value_stream.model import Business, Header, Limits, Param, Schedule, ValueStream
from airflow_enterprise_orch.value_stream.reading_own import OWN_KINDS
from airflow_enterprise_orch.value_stream.recurrence import Recurrence
from airflow_enterprise_orch.value_stream.schedule import FileArrival, NthWorkingDay, recurrence
from airflow_enterprise_orch.value_stream.step_parts import BaseStep, ForEach, Resource
from airflow_enterprise_orch.value_stream.steps import (
    AirflowStep,
    ApprovalStep,
    BranchStep,
    ChoiceOption,
    ChoiceStep,
    DecisionStep,
    DelegatedStep,
    FailStep,
    RetryRule,
    StreamValue,
    SubStreamStep,
    XcomOutput,
)
from airflow_enterprise_orch.value_stream.steps_waiting import WaitStep
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from airflow_enterprise_orch.value_stream.watching import (
    AlertRule,
    AlertTargets,
    Due,
    EmailTarget,
    SlackTarget,
    WebhookTarget,
)

TEXT = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
MODELS = (
    Header,
    Business,
    Param,
    Schedule,
    FileArrival,
    Limits,
    BaseStep,
    DelegatedStep,
    ForEach,
    RetryRule,
    ApprovalStep,
    DecisionStep,
    FailStep,
    WaitStep,
    BranchStep,
    StreamValue,
    SubStreamStep,
    ChoiceStep,
    ChoiceOption,
    CalendarFile,
    Holidays,
    NthWorkingDay,
    AirflowStep,
    XcomOutput,
    Resource,
    Due,
    AlertRule,
    AlertTargets,
    EmailTarget,
    WebhookTarget,
    SlackTarget,
)
KEYS = {field.alias or name for model in MODELS for name, field in model.model_fields.items()}
INTERNAL = {"id", "step", "work"}
WORDS = {*(KEYS - INTERNAL), *FILTERS, *RUN_NAMES, *OUTCOME_VARIABLES, "when", "then", "otherwise", "match", "type"}


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_key_is_in_the_reference(word):
    assert re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`", TEXT)


@pytest.mark.parametrize("name", BUSINESS_NAMES)
def test_every_business_name_is_in_the_reference(name):
    assert f"`business.{name}`" in TEXT


def test_defaults_are_those_of_the_model():
    limits = Limits.model_validate({})
    assert f"`limits: {{instances: {limits.instances}, steps: {limits.steps}}}`" in TEXT
    assert f"| `duplicates` | `{Business.model_fields['duplicates'].default}` |" in TEXT
    assert f"| `criticality` | `{Business.model_fields['criticality'].default}` |" in TEXT
    assert f"| `on_timeout` | `{ApprovalStep.model_fields['on_timeout'].default}` |" in TEXT
    assert f"| `on_reject` | `{ApprovalStep.model_fields['on_reject'].default}` |" in TEXT


HEAD = """\
value_stream: snippet
title: Snippet
business: {domain: Docs, owner: docs}
params:
  order_id: {type: string}
  amount: {type: number}
  country: {type: string}
  ship_date: {type: string}
steps:
"""
WORK = "  {}: {{unix.script: {{connection: c, script: x}}, outputs: {{grade: {{log: log, match: '(.)'}}}}}}\n"


SNIPPETS = [
    snippet
    for snippet in re.findall(r"```yaml\n(  .*?)```", TEXT, re.DOTALL)
    if any(isinstance(step, dict) and OWN_KINDS.keys() & step.keys() for step in yaml.safe_load(snippet).values())
]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.split(":")[0].strip())
def test_the_steps_in_the_text_are_right_among_steps_that_do_work(snippet, tmp_path):
    for name in re.findall(r"table: (\S+\.csv)", snippet):
        (rows,) = re.findall(r"```csv\n(.*?)```", TEXT, re.DOTALL)
        (tmp_path / name).write_text(rows)
    there = set(re.findall(r"^  (\w+):", snippet, re.MULTILINE))
    named = {
        name for names in re.findall(r"(?:then|after|otherwise): \[([^\[\]]*)\]", snippet) for name in names.split(", ")
    }
    others = sorted((named | set(re.findall(r"steps\.(\w+)", snippet))) - there - {""})
    (tmp_path / "snippet.yaml").write_text(HEAD + "".join(map(WORK.format, others)) + snippet)
    assert ValueStream.load(tmp_path / "snippet.yaml").steps.keys() >= there


def test_the_examples_are_right_templates(tmp_path):
    for kind, name in re.findall(r"```yaml\n(profile|shared): (\w+)\n", TEXT):
        text = next(iter(re.findall(rf"```yaml\n({kind}: {name}\n.*?)```", TEXT, re.DOTALL)))
        (tmp_path / f"{name}.{kind}.yaml").write_text(text)
    examples = re.findall(r"```yaml\n(value_stream: .*?)```", TEXT, re.DOTALL)
    beside = Surroundings.on_disk(tmp_path / "example.yaml", profile="prod")
    streams = [ValueStream.load(example, surroundings=beside) for example in examples]
    told = ["order_to_certificate", "month_end", "close_account", "close_group", "regulatory_report"]
    assert [stream.id for stream in streams] == told
    assert list(streams[2].steps) == ["settle", "letter_write", "letter_send", "archive"]


def test_the_example_of_a_calendar_is_right_and_its_schedules_run(tmp_path):
    calendar = re.search(r"```yaml\n(calendar: (\w+).*?)```", TEXT, re.DOTALL)
    assert calendar is not None
    path = tmp_path / "calendars" / f"{calendar[2]}.yaml"
    path.parent.mkdir()
    path.write_text(calendar[1])
    assert check_calendar(path).name == calendar[2]
    schedules = re.findall(r"^(schedule: .*)$", TEXT, re.MULTILINE)
    assert len(schedules) >= 4
    for text in schedules:
        template = tmp_path / "s.yaml"
        template.write_text(
            f"value_stream: s\ntitle: S\nbusiness: {{domain: D, owner: o}}\n{text}\n"
            "steps: {a: {unix.script: {connection: c, command: /bin/true}}}\n"
        )
        stream = ValueStream.load(template)
        assert stream.schedule is not None
        found = recurrence(stream.schedule, stream.calendars)
        if stream.schedule.assets or stream.schedule.file_arrival:
            assert found is None
            continue
        assert isinstance(found, Recurrence)
        assert found.after(found.start) is not None
