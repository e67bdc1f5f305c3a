"""The command line of those who run streams, against the real API: the same code path as the pages.

How a user would notice that it is fake: it says "done" and nothing is held; a second call holds twice; it acts on
another instance than the one that was named; a password stands in the process list.
"""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_enterprise_orch.cli import main as enterprise_orch
from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.operate import client, command
from tests.executive_view.acting import REASON, Instance
from tests.executive_view.acting_seed import ORDERS
from tests.executive_view.served import Served

URL = "https://airflow.example.com"
_numbers = itertools.count(1)


class Line:
    """Somebody at a terminal. Their token is their name here: the served API has the real one."""

    def __init__(self, acting: Served, capsys: pytest.CaptureFixture[str]) -> None:
        self.acting, self.capsys = acting, capsys

    def carry(self, request: httpx.Request) -> httpx.Response:
        user = request.headers["Authorization"].removeprefix("Bearer ")
        asked = {
            "user": user, "method": request.method, "path": request.url.path, "params": dict(request.url.params),
            "headers": {}, "body": json.loads(request.content) if request.content else None,
        }  # fmt: skip
        told = self.acting._send(asked)
        if request.method == "GET" and request.url.path.split("/")[-2:-1] == ["bulk"]:
            self.acting.do("work")
        return httpx.Response(told["status"], text=told["text"], headers={"Content-Type": "application/json"})

    def says(self, *arguments: str, user: str = "boss") -> tuple[int, str]:
        environment = {client.TOKEN: user}
        api = client.ActionsApi(URL, environment=environment, transport=httpx.MockTransport(self.carry))
        code = command.main([*arguments, "--reason", REASON, "--url", URL], api)
        told = self.capsys.readouterr()
        return code, told.out + told.err


@pytest.fixture
def line(acting: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr(command, "PAUSE", 0.0)
    return Line(acting, capsys)


def test_a_step_is_held_and_released_by_the_business_key(acting: Served, line: Line) -> None:
    one = Instance(acting, states={"book": "up_for_reschedule"})
    code, told = line.says("hold", one.key.lower(), "book", "--until", "2099-01-01T06:00+00:00")
    assert (code, told.splitlines()[0]) == (
        0,
        "“Book it” is held until 2099-01-01 06:00 UTC: nothing of it is handed over, and it takes no worker.",
    )
    assert one.look()["wishes"]["book"]["hold"]["by"] == "boss"
    assert line.says("release", one.key, "book")[0] == 0
    assert "hold" not in one.look()["wishes"]["book"]


def test_what_is_refused_exits_1_with_the_one_line_that_says_why(acting: Served, line: Line) -> None:
    one = Instance(acting, states={"book": "success"})
    code, told = line.says("hold", one.key, "book")
    assert (code, told) == (
        1, "refused: “Book it” cannot be held: it is done; hold a step that comes after it\n",
    )  # fmt: skip
    code, told = line.says("hold", one.key, "book", user="viewer")
    assert code == 1 and "and not act on it" in told
    code, told = line.says("hold", one.key, "book", user="clerk")
    assert code == 1 and "there is no instance with the business key" in told


def test_what_must_be_confirmed_is_named_with_its_token(acting: Served, line: Line) -> None:
    one = Instance(acting, states={"book": "deferred"})
    one.job("book")
    code, told = line.says("skip", one.key, "book", "--leave-job")
    assert code == 1 and told.endswith("and I take it to be over; add --confirm leave:book:-1\n")
    assert one.look()["wishes"] == {}
    assert line.says("skip", one.key, "book", "--leave-job", "--confirm", "leave:book:-1")[0] == 0
    assert one.look()["wishes"]["book"]["skip"]["leave_job"] is True


def test_a_dry_run_says_what_would_happen_and_changes_nothing(acting: Served, line: Line) -> None:
    one = Instance(acting, states={"book": "deferred"})
    code, told = line.says("complete", one.key, "book", "--output", "total=7", "--dry-run")
    assert code == 0 and "counts as done" in told
    assert one.look()["wishes"] == {}
    assert line.says("complete", one.key, "book", "--output", "total=7")[0] == 0
    assert one.look()["wishes"]["book"]["complete"]["value"] == {"total": 7}


def test_the_same_id_again_says_that_nothing_was_changed(acting: Served, line: Line) -> None:
    one = Instance(acting, states={})
    assert line.says("override", one.key, "route", "--to", "approve", "--id", "from-a-script")[0] == 0
    code, told = line.says("override", one.key, "route", "--to", "approve", "--id", "from-a-script")
    assert code == 0 and "nothing was changed now" in told


def test_params_priority_and_due_time(acting: Served, line: Line) -> None:
    one = Instance(acting, states={})
    assert line.says("params", one.key, "--set", "amount=99.5")[0] == 0
    assert line.says("priority", one.key, "--to", "700")[0] == 0
    assert line.says("due", one.key, "--at", "2099-01-01T06:00+01:00")[0] == 0
    after = one.look()
    assert (after["conf"]["amount"], after["weights"]["book"]) == (99.5, 700)
    assert acting.get("boss", "instances", q=one.key).json["items"][0]["due_at"] == "2099-01-01T05:00:00Z"


def test_two_instances_with_one_key_are_told_apart_by_run(acting: Served, line: Line) -> None:
    key = f"TWICE-{next(_numbers)}"
    first, second = (Instance(acting, states={}, key=key) for _ in range(2))
    code, told = line.says("hold", key, "book")
    assert code == 1 and f"--stream orders --run {first.run_id}" in told
    assert line.says("hold", key, "book", "--run", second.run_id)[0] == 0
    assert (first.look()["wishes"], list(second.look()["wishes"])) == ({}, ["book"])


def test_a_system_is_held_and_released(acting: Served, line: Line) -> None:
    code, told = line.says("hold", "--system", "unix", "--until", "23:59")
    assert code == 0, told
    (held,) = acting.get("boss", "holds").json["items"]
    assert (held["scope"], held["name"]) == ("system", "unix")
    assert line.says("release", "--hold", held["id"])[0] == 0
    assert acting.get("boss", "holds").json["items"] == []


def test_many_are_acted_on_with_progress_and_each_refusal(acting: Served, line: Line) -> None:
    mark = f"LINE{next(_numbers):03}"
    ahead = [Instance(acting, states={}, key=f"{mark}-{number}") for number in range(3)]
    begun = Instance(acting, states={"book": "deferred"}, key=f"{mark}-begun")
    code, told = line.says("hold", "book", "--where", f"q={mark}", "--dry-run")
    assert (code, told) == (0, "hold step 'book' in 4 instances\n")
    code, told = line.says("hold", "book", "--where", f"q={mark}", "--where", "live=true")
    assert code == 1, "one was refused"
    assert "done: 3 done, 1 refused, 0 failed" in told and f"  {begun.key}: “Book it” cannot be held" in told
    assert all("hold" in one.look()["wishes"]["book"] for one in ahead)


def test_json_is_the_servers_answer(acting: Served, line: Line) -> None:
    one = Instance(acting, states={})
    code, told = line.says("hold", one.key, "book", "--format", "json")
    done = json.loads(told)
    assert (code, done["action"], done["by"], done["replayed"]) == (0, "hold", "boss", False)


def test_who_acts_and_where_must_be_said_and_no_password_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (client.URL, client.TOKEN, client.USER, client.PASSWORD):
        monkeypatch.delenv(name, raising=False)
    assert enterprise_orch(["hold", "KEY", "--reason", REASON]) == 2
    assert (
        capsys.readouterr().err
        == "enterprise-orch: nobody says where Airflow is: give --url, or set ENTERPRISE_ORCH_URL\n"
    )
    assert enterprise_orch(["hold", "KEY", "--reason", REASON, "--url", URL]) == 2
    assert "set ENTERPRISE_ORCH_TOKEN to a token of Airflow's" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        enterprise_orch(["hold", "KEY", "--reason", REASON, "--password", "x"])


def answering(status: int, text: str = "{}") -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(status, text=text))


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@pytest.mark.parametrize(
    ("transport", "line"),
    [
        (answering(401), "refused the login of 'ann' (401): check ENTERPRISE_ORCH_USER and ENTERPRISE_ORCH_PASSWORD"),
        (
            httpx.MockTransport(unreachable),
            "cannot be reached: connection refused; is the URL right, and is Airflow up?",
        ),
        (answering(200, "<html>"), "refused the login of 'ann' (200)"),
    ],
)
def test_a_server_that_is_not_there_or_lets_nobody_in_is_one_line(transport: httpx.MockTransport, line: str) -> None:
    environment = {client.USER: "ann", client.PASSWORD: "s3cret"}
    with (
        client.ActionsApi(URL, environment=environment, transport=transport) as api,
        pytest.raises(OrchestrationError) as told,
    ):
        api.get("holds")
    assert line in str(told.value)
    assert "s3cret" not in str(told.value)


def test_a_server_without_this_package_is_named(acting: Served) -> None:
    with (
        client.ActionsApi(URL, environment={client.TOKEN: "t"}, transport=answering(404, "<html>")) as api,
        pytest.raises(OrchestrationError, match="is airflow-enterprise-orch installed there"),
    ):
        api.get("holds")


def test_what_an_instance_came_to_is_tried_on_a_changed_template(
    acting: Served, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How a user would notice that it is fake: the amount is not the instance's; a step that failed there succeeds."""
    one = Instance(acting, states={"book": "failed"}, amount=500.0)
    two = Instance(acting, states={"book": "success"}, amount=500.0)
    given = {"environment": {client.TOKEN: "boss"}, "transport": httpx.MockTransport(line.carry)}
    monkeypatch.setattr(client, "ActionsApi", functools.partial(client.ActionsApi, **given))
    template = tmp_path / "orders.yaml"
    template.write_text(ORDERS.replace("params.amount > 100.0", "params.amount > 1000.0"))

    def simulated(*arguments: str) -> tuple[int, dict[str, Any]]:
        code = enterprise_orch(["simulate", str(template), "--url", URL, "--format", "json", *arguments])
        told = capsys.readouterr()
        assert told.out, told.err
        return code, json.loads(told.out)

    code, told = simulated("--recorded", one.key)
    assert (code, told["ends"], told["takes"]) == (1, "failed", ["book"])
    code, told = simulated("--recorded", two.key)
    assert (code, told["takes"]) == (0, ["book", "route", "pack", "label", "ship", "certify", "tell"])
    template.write_text(ORDERS)
    (tmp_path / "results.yaml").write_text("approve: {answer: approved}\n")
    by_run = ("--recorded", two.key, "--run", two.run_id, "--results", str(tmp_path / "results.yaml"))
    assert simulated(*by_run)[1]["takes"][:4] == ["book", "route", "approve", "notify"]
    # What is given outweighs what is recorded.
    (tmp_path / "params.yaml").write_text("amount: 5.0\n")
    assert "pack" in simulated("--recorded", two.key, "--params", str(tmp_path / "params.yaml"))[1]["takes"]
    template.write_text(ORDERS.replace("minimum: 0", "minimum: 0, maximum: 100"))
    assert enterprise_orch(["simulate", str(template), "--url", URL, "--recorded", two.key]) == 2
    assert capsys.readouterr().err.startswith(f"--recorded {two.key}:1:1 amount: param 'amount': 500.0 is above")
    assert enterprise_orch(["simulate", str(template), "--url", URL, "--recorded", "NOBODY"]) == 2
    assert "there is no instance of orders with the business key 'NOBODY'" in capsys.readouterr().err
    assert enterprise_orch(["simulate", str(template), "--run", two.run_id]) == 2
    assert "name it with --recorded" in capsys.readouterr().err
