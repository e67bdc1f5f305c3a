"""A client of the actions API: logged in as Airflow's own API wants it, one line for whatever goes wrong."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from airflow_enterprise_orch.errors import OrchestrationError

if TYPE_CHECKING:
    import httpx

URL, USER, PASSWORD, TOKEN = (f"ENTERPRISE_ORCH_{name}" for name in ("URL", "USER", "PASSWORD", "TOKEN"))
API = "/enterprise-orch/api/v1"
TIMEOUT = 60.0


class ApiUnusable(OrchestrationError):
    """The API server cannot be reached, or does not let the user in."""


class ActionRefused(OrchestrationError):
    """The API server says no, and why.

    :param status: as HTTP has it.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class ActionsApi:
    """The actions API of one Airflow.

    :param url: of Airflow's API server, with the path below which it is served, if any.
    :param ca_file: whose certificates are trusted beside the system's; verification is never off.
    :param transport: what carries the requests, for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        import httpx  # the other commands start without it

        self._environment = os.environ if environment is None else environment
        self.url = url.rstrip("/")
        self._lost = httpx.TransportError
        self._known_token = ""
        verify: Any = True if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
        self._client = httpx.Client(base_url=self.url, timeout=TIMEOUT, verify=verify, transport=transport)

    def __enter__(self) -> Self:
        """Return the client itself; it logs in when first used."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """Ask; :raises ActionRefused: when there is no such thing for this user."""
        return self._send("GET", path, params=params)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Act; :raises ActionRefused: with the server's line."""
        return self._send("POST", path, json=dict(body))

    def instances(self, key: str, stream: str | None, run_id: str | None) -> Iterator[dict[str, Any]]:
        """Yield the instances of a business key, the newest first."""
        asked: dict[str, Any] = {"q": key, "match": "prefix", "order": "newest", "limit": 500}
        if stream is not None:
            asked["stream"] = stream
        while True:
            page = self.get("instances", **asked)
            for row in page["items"]:
                if row["key"].casefold() == key.casefold() and run_id in (None, row["run_id"]):
                    yield row
            if not page["next_cursor"]:
                return
            asked["cursor"] = page["next_cursor"]

    def newest(self, key: str, stream: str, run_id: str | None) -> dict[str, Any]:
        """Return all that the page shows of the newest instance of a stream with a business key.

        :raises ActionRefused: when there is none that this user may see.
        """
        row = next(self.instances(key, stream, run_id), None)
        if row is None:
            raise ActionRefused(
                404, f"there is no instance of {stream} with the business key {key!r}, or you may not see it"
            )
        return self.get(f"dags/{part(row['dag_id'])}/dagRuns/{part(row['run_id'])}")

    def _send(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token()}"}
        answer = self._raw(method, f"{API}/{path}", headers=headers, **given)
        if answer.status_code == 401:
            raise ApiUnusable(
                f"{self.url} does not take the login: it may have expired; set {TOKEN} or {PASSWORD} anew"
            )
        told = _json(answer)
        if answer.is_success and isinstance(told, dict):
            return told
        if isinstance(told, dict) and "detail" in told:
            raise ActionRefused(answer.status_code, str(told["detail"]))
        raise ApiUnusable(
            f"{answer.request.url} answered {answer.status_code} with no answer of ours: is {self.url} Airflow's API "
            f"server, and is airflow-enterprise-orch installed there?"
        )

    def _token(self) -> str:
        if not self._known_token:
            self._known_token = self._environment.get(TOKEN) or self._log_in()
        return self._known_token

    def _log_in(self) -> str:
        user, password = self._environment.get(USER), self._environment.get(PASSWORD)
        if not user or not password:
            raise ApiUnusable(
                f"nobody says who acts: set {TOKEN} to a token of Airflow's, or {USER} and {PASSWORD} to a login"
            )
        answer = self._raw("POST", "/auth/token", json={"username": user, "password": password})
        told = _json(answer)
        if not answer.is_success or not isinstance(told, dict) or "access_token" not in told:
            raise ApiUnusable(
                f"{self.url} refused the login of {user!r} ({answer.status_code}): check {USER} and {PASSWORD}; it is "
                f"not tried again"
            )
        return str(told["access_token"])

    def _raw(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, **given)
        except self._lost as error:
            raise ApiUnusable(f"{self.url} cannot be reached: {error}; is the URL right, and is Airflow up?") from error


def part(text: str) -> str:
    """Return a part of an address."""
    return quote(text, safe="")


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
