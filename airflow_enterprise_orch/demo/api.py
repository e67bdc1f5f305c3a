"""A small client of Airflow's own REST API: what the demo and the end-to-end tests ask of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from airflow_enterprise_orch.errors import OrchestrationError


class ApiFailed(OrchestrationError):
    """Airflow's API did not answer, or refused."""


class AirflowApi:
    """Airflow's REST API v2, logged in with a name and a password.

    :param url: where the API server is.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        import httpx

        self._user, self._password = user, password
        self._errors = httpx.HTTPError
        # Loopback only: no proxy from the environment may get between.
        self._client = httpx.Client(base_url=url, timeout=60.0, trust_env=False)

    def __enter__(self) -> Self:
        """Return the client itself; it logs in when first used."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def health(self) -> dict[str, Any]:
        """Return what ``monitor/health`` says; needs no login."""
        return dict(self._send("GET", "/api/v2/monitor/health", login=False))

    def execution_health(self) -> None:
        """Ask the part of the API that tasks talk to, which may be a server of its own; needs no login."""
        self._send("GET", "/execution/health", login=False)

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the import errors of all files."""
        return list(self._send("GET", "/api/v2/importErrors?limit=100")["import_errors"])

    def dag_ids(self) -> set[str]:
        """Return the ids of all DAGs that can run."""
        return {dag["dag_id"] for dag in self._send("GET", "/api/v2/dags?limit=100")["dags"]}

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> None:
        """Start an instance."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        self._send("POST", f"/api/v2/dags/{_part(dag_id)}/dagRuns", body)

    def runs(self, dag_id: str) -> dict[str, dict[str, Any]]:
        """Return the instances of a DAG by run id."""
        answer = self._send("GET", f"/api/v2/dags/{_part(dag_id)}/dagRuns?limit=100")
        return {run["dag_run_id"]: run for run in answer["dag_runs"]}

    def task_instances(self, dag_id: str, run_id: str = "~") -> list[dict[str, Any]]:
        """Return the task instances of one instance, or of all instances of the DAG."""
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances"
        found: list[dict[str, Any]] = []
        while True:
            answer = self._send("GET", f"{path}?limit=100&offset={len(found)}&order_by=id")
            found += answer["task_instances"]
            if len(found) >= answer["total_entries"] or not answer["task_instances"]:
                return found

    def questions(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the approvals of a DAG that nobody has answered."""
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/~/hitlDetails?response_received=false&limit=100"
        return list(self._send("GET", path)["hitl_details"])

    def answer(self, dag_id: str, run_id: str, task_id: str, choice: str) -> None:
        """Answer one approval."""
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/-1/hitlDetails"
        self._send("PATCH", path, {"chosen_options": [choice], "params_input": {}})

    def state_store(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return the task state store of one task instance: key to value."""
        path = (
            f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/state-store?limit=100"
        )
        return {entry["key"]: entry["value"] for entry in self._send("GET", path)["task_state_store"]}

    def xcoms(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """Return every XCom of one task instance: key to value."""
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/xcomEntries"
        keys = [entry["key"] for entry in self._send("GET", f"{path}?limit=100")["xcom_entries"]]
        return {key: self._send("GET", f"{path}/{_part(key)}?stringify=false")["value"] for key in keys}

    def log(self, dag_id: str, run_id: str, task_id: str, attempt: int) -> str:
        """Return the whole log of one try."""
        path = f"/api/v2/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/logs/{attempt}"
        return json.dumps(self._send("GET", f"{path}?full_content=true")["content"])

    def _send(self, method: str, path: str, body: Any = None, *, login: bool = True) -> Any:
        try:
            if login and "Authorization" not in self._client.headers:
                self._login()
            response = self._client.request(method, path, json=body)
            if response.status_code == 401 and login:
                self._login()
                response = self._client.request(method, path, json=body)
        except self._errors as error:
            raise ApiFailed(f"Airflow's API does not answer {method} {path}: {error!r}") from error
        if response.is_error:
            raise ApiFailed(f"Airflow's API answered {response.status_code} to {method} {path}: {response.text[:500]}")
        return response.json() if response.content else None

    def _login(self) -> None:
        answer = self._client.post("/auth/token", json={"username": self._user, "password": self._password})
        if answer.is_error:
            raise ApiFailed(
                f"Airflow's API answered {answer.status_code} to the login of {self._user!r}: {answer.text[:500]}"
            )
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _part(text: str) -> str:
    """Quote one part of a path."""
    return quote(text, safe="~")
