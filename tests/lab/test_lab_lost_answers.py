"""Requests that take effect though their answer is late, cut in half, or never sent; seen with independent clients."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
import httpx
import pytest

from airflow_enterprise_orch.lab.server import LabThread

KEY = "T1234567890123456789"
JCL = "//LATE JOB (ACCT),CLASS=A\n//STEP1 EXEC PGM=IEFBR14\n"


@pytest.fixture(scope="module")
def shared() -> Any:
    with LabThread(["zosmf", "ssh"]) as running:
        yield running


@pytest.fixture(params=["zosmf", "ssh"])
def lab(request: pytest.FixtureRequest, shared: LabThread) -> Any:
    shared.reset(request.param)
    return shared, request.param


async def submit_zosmf(endpoint: dict[str, Any], timeout: float) -> str:
    """Hand a job over; return the answer, or how it failed."""
    async with httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=endpoint["ca_file"]), timeout=timeout, trust_env=False
    ) as client:
        headers = {"X-CSRF-ZOSMF-HEADER": "x", "X-IBM-User-Correlator": KEY, "Content-Type": "text/plain"}
        try:
            answer = await client.put(
                endpoint["url"] + "/zosmf/restjobs/jobs",
                content=JCL,
                headers=headers,
                auth=(endpoint["user"], endpoint["password"]),
            )
        except httpx.HTTPError as error:
            return type(error).__name__
        return f"answer {answer.status_code}"


async def submit_ssh(endpoint: dict[str, Any], timeout: float) -> str:
    """Launch a job; return the answer, or how it failed."""
    command = (
        f": orch:submit {KEY}; mkdir -p jobs/{KEY} && cd jobs/{KEY} && "
        "echo 'echo exit 0 >\"${0%/run}/exit\"' >run && "
        f'setsid /bin/sh "$PWD/run" && echo "launched now"'
    )
    try:
        async with asyncio.timeout(timeout):
            async with asyncssh.connect(
                endpoint["host"],
                endpoint["port"],
                username=endpoint["user"],
                client_keys=[endpoint["private_key_file"]],
                known_hosts=endpoint["known_hosts_file"],
            ) as connection:
                process = await connection.create_process(command)
                process.stdin.write_eof()
                out = await process.stdout.read()
                await process.wait_closed()
                return f"answer {process.exit_status}" if out.endswith("now\n") else f"half {process.exit_status}"
    except (asyncssh.Error, OSError, TimeoutError) as error:
        return type(error).__name__


SUBMIT: dict[str, Callable[[dict[str, Any], float], Awaitable[str]]] = {"zosmf": submit_zosmf, "ssh": submit_ssh}


def submit(lab: tuple[LabThread, str], timeout: float = 20.0) -> str:
    running, name = lab
    return asyncio.run(SUBMIT[name](running.endpoints[name], timeout))  # type: ignore[arg-type]


def keys(lab: tuple[LabThread, str]) -> list[str]:
    running, name = lab
    return [job.key for job in running.jobs(name)]


def late(lab: tuple[LabThread, str]) -> int:
    running, name = lab
    return running.stand_in(name).late  # type: ignore[attr-defined,no-any-return]


def test_half_an_answer_is_no_answer_and_the_job_is_there(lab):
    lab[0].fault(lab[1], "half_answer")
    assert submit(lab) in ("RemoteProtocolError", "ReadError", "half None")
    assert keys(lab) == [KEY]


def test_a_slow_answer_comes_after_the_job(lab):
    lab[0].fault(lab[1], "slow_answer", seconds=0.3)
    assert submit(lab) in ("answer 201", "answer 0")
    assert keys(lab) == [KEY]


def test_the_client_that_waits_no_longer_for_a_slow_answer_has_handed_its_job_over(lab):
    lab[0].fault(lab[1], "slow_answer", seconds=30)
    assert submit(lab, 3.0) in ("ReadTimeout", "TimeoutError")
    assert keys(lab) == [KEY]
    lab[0].reset(lab[1])  # and whoever still waits in the lab does not hold it up


def test_a_late_commit_takes_effect_after_the_client_was_cut_off(lab):
    lab[0].fault(lab[1], "late_commit", seconds=0.7)
    assert not submit(lab).startswith("answer")
    assert (keys(lab), late(lab)) == ([], 1)
    while not keys(lab):
        time.sleep(0.02)
    assert keys(lab) == [KEY]


def test_a_reset_forgets_what_has_yet_to_take_effect(lab):
    lab[0].fault(lab[1], "late_commit", seconds=30)
    assert not submit(lab).startswith("answer")
    assert late(lab) == 1
    lab[0].reset(lab[1])
    while late(lab):
        time.sleep(0.02)
    assert keys(lab) == []
