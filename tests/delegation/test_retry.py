"""How long the next try waits, and that Airflow itself follows the policy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.retry_policy import RetryAction

from airflow_enterprise_orch.delegation.operator import DelegateOperator
from airflow_enterprise_orch.delegation.retry import (
    FIRST_DELAY,
    INFRASTRUCTURE_RETRIES,
    LONGEST_DELAY,
    DelegationRetryPolicy,
    RunAgain,
)
from airflow_enterprise_orch.errors import ConnectionInvalid, SystemBusy, SystemUnreachable

POLICY = DelegationRetryPolicy()


def test_a_job_runs_again_when_its_rule_says() -> None:
    decision = POLICY.evaluate(RunAgain("failed", timedelta(minutes=7)), 1, 13)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(minutes=7))


def test_what_a_person_must_change_is_not_tried_again() -> None:
    assert POLICY.evaluate(ConnectionInvalid("c", "r", "m"), 1, 10).action is RetryAction.FAIL


def test_trouble_on_the_way_waits_longer_each_time_and_never_for_ever() -> None:
    for max_tries in (INFRASTRUCTURE_RETRIES, INFRASTRUCTURE_RETRIES + 3):
        delays = [
            POLICY.evaluate(SystemUnreachable("x"), number, max_tries).retry_delay for number in range(1, max_tries + 1)
        ]
        assert all(delay is not None for delay in delays)
        assert delays == sorted(delays)  # type: ignore[type-var]
        assert delays[0] == FIRST_DELAY
        assert delays[-1] == LONGEST_DELAY


def test_delays_start_over_after_a_clear() -> None:
    assert POLICY.evaluate(SystemUnreachable("x"), 8, 7 + INFRASTRUCTURE_RETRIES).retry_delay == FIRST_DELAY


def test_a_busy_system_is_given_the_time_it_asked_for() -> None:
    busy = SystemBusy("x", timedelta(hours=1))
    assert POLICY.evaluate(busy, 1, 10).retry_delay == timedelta(hours=1)
    assert POLICY.evaluate(SystemBusy("x"), 1, 10).retry_delay == FIRST_DELAY


@pytest.mark.usefixtures("world")
def test_the_scheduler_sees_only_that_there_is_a_policy() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("stream", schedule=None) as dag:
        DelegateOperator(task_id="step", step="fake.job", connection="fake_one", work={"command": "go"})
    (task,) = DagSerialization.to_dict(dag)["dag"]["tasks"]
    told = task["__var"]
    assert told["has_retry_policy"] is True
    assert told["retries"] == INFRASTRUCTURE_RETRIES
    assert "execution_timeout" not in told
    assert "DelegationRetryPolicy" not in str(told)
