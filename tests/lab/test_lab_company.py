"""The lab's company: that its programs are reached through each system, and always answer the same."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from airflow_enterprise_orch.lab import company
from airflow_enterprise_orch.lab.jes import Jes, JesJob, read_jcl
from airflow_enterprise_orch.lab.sap_jobs import SapJob, SapJobs, Step
from airflow_enterprise_orch.lab.sap_odata import TEMPLATES
from airflow_enterprise_orch.lab.zosmf import LIBRARY
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import DelegatedStep
from airflow_enterprise_orch.value_stream.template_folder import find_templates

SHIPPED = [path for _name, path in find_templates(Path(__file__).parents[2] / "dag_templates")]


@pytest.mark.parametrize("member", sorted(company.LIBRARY))
def test_every_member_is_right_jcl_that_passes_all_its_symbols_on(member: str):
    symbols = re.search(r"SYMBOLS: (.*)", company.LIBRARY[member])
    assert symbols is not None
    values = {name: f"v{number}" for number, name in enumerate(symbols[1].split())}
    job = read_jcl(company.LIBRARY[member], values)
    assert job.error == ""
    (step,) = job.steps
    assert step.program in company.MAINFRAME
    assert dict(record.split("=") for record in step.data["SYSIN"]) == values


def test_a_program_of_the_company_ends_with_its_return_code_and_prints():
    symbols = {"ENTITY": "AT01", "BDATE": "20261123"}

    async def run() -> JesJob:
        job = Jes("IBMUSER").submit(LIBRARY["PROD.JCL(EODRECN)"], symbols=symbols, correlator="", fates=[])
        assert job.task is not None
        await job.task
        return job

    job = asyncio.run(run())
    assert job.retcode == "CC 0004"
    assert job.spool[-1].records == ["DIFFERENCE=37.50 BREAKS=3"]
    assert job.record.given == symbols


def test_an_abap_program_of_the_company_warns_and_breaks_off():
    async def run(program: str, values: dict[str, str]) -> SapJob:
        sap = SapJobs("AIRFLOW", lambda _job: "")
        job = sap.open(program)
        sap.add(job, Step(program, values), [])
        sap.release(job)
        assert job.task is not None
        await job.task
        return job

    warned = asyncio.run(run("ZICMR_MATCH", {"P_PERIOD": "2026-11"}))
    broken = asyncio.run(run("ZMM_VENDOR_RELEASE", {}))
    assert (warned.seen, broken.seen) == ("W", "A")
    assert warned.record.given == {"program": "ZICMR_MATCH", "P_PERIOD": "2026-11"}
    assert "no vendor given" in [line.text for line in broken.log]


def test_a_wait_is_answered_with_what_it_asks_for_and_only_where_somebody_answers():
    assert list(company.answers("payroll/2026-11", "payroll-*.csv", 1, ".done")) == [
        "payroll/2026-11/payroll-001.csv",
        "payroll/2026-11/payroll-001.csv.done",
    ]
    assert list(company.answers("suppliers/SUP-1/signed", "*.pdf", 2, "")) == [
        "suppliers/SUP-1/signed/001.pdf",
        "suppliers/SUP-1/signed/002.pdf",
    ]
    assert company.answers("in", "*.csv", 1, "") == {}
    assert company.answers("claims-of-others", "*.csv", 1, "") == {}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_lab_knows_all_that_the_shipped_streams_ask_for(path: Path):
    for step in ValueStream.load(path).steps.values():
        if not isinstance(step, DelegatedStep):
            continue
        work = {name: str(value) for name, value in step.work.items()}
        match step.step:
            case "mainframe.job":
                assert work["dataset"] in LIBRARY
            case "mainframe.scheduler_job" if work["folder"] != "BOOKING":
                assert work["job"] in company.SCHEDULED[work["folder"]]
            case "sap.background_job" if work["program"] != "ZPOST_INVOICE":
                assert work["program"] in company.ABAP
            case "sap.application_job":
                assert work["template"] in TEMPLATES
            case "windows.task" if work["task"] != r"\Dynamics\ImportOrders":
                assert work["task"] in company.WINDOWS_TASKS
            case "fileshare.await":
                assert work["folder"].startswith(company.ANSWERED)
