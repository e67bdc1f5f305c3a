"""The control API, as any HTTP client sees it."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from datetime import datetime

import pytest

from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.lab.stand_in import Fault, FaultPlan


def call(lab, path, data=None, method=None, *, raw=None):
    """Return status and JSON; ``path`` as it is joined to the control URL."""
    body = raw if raw is not None else None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(lab.endpoints["ssh"]["control"] + path, body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_desk_keeps_the_alerts_of_those_who_may_post_them():
    with LabThread(["desk"]) as lab:
        desk = lab.endpoints["desk"]
        opener = urllib.request.build_opener(urllib.request.HTTPHandler)

        def post(password: str, body: bytes) -> int:
            login = base64.b64encode(f"{desk['user']}:{password}".encode()).decode()
            request = urllib.request.Request(desk["url"] + "/hooks/x", body, {"Authorization": f"Basic {login}"})
            try:
                with opener.open(request, timeout=10) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert post("wrong", b"{}") == 401
        assert post(desk["password"], b"{") == 400
        lab.fault("desk", "error_500", on="any")
        assert post(desk["password"], b"{}") == 500
        assert post(desk["password"], b'{"event": "failed"}') == 202
        with urllib.request.urlopen(desk["control"] + "/messages", timeout=10) as answer:
            (kept,) = json.load(answer)
        assert (kept["path"], kept["data"]) == ("/hooks/x", {"event": "failed"})
        with urllib.request.urlopen(desk["control"] + "/logins", timeout=10) as answer:
            assert json.load(answer) == {"accepted": 2, "refused": 1}
        with urllib.request.urlopen(desk["control"] + "/jobs", timeout=10) as answer:
            assert json.load(answer) == []


def test_messages_of_a_stand_in_that_keeps_none(lab):
    assert call(lab, "/messages") == (404, {"error": "ssh keeps no messages"})


def test_the_control_url_is_loopback_only(lab):
    assert lab.endpoints["ssh"]["control"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("path", ["/jobs", "//jobs"])
def test_jobs_is_a_list(lab, path):
    assert call(lab, path) == (200, [])


def test_one_fault_or_a_list_of_them_is_planned(lab):
    status, planned = call(lab, "/faults", {"on": "submit", "do": "cut_after_commit", "times": 1})
    assert (status, planned[0]["do"]) == (200, "cut_after_commit")
    assert call(lab, "/faults", [{"do": "fail"}, {"do": "slow", "on": "any", "seconds": 2}])[0] == 200
    assert [fault["do"] for fault in call(lab, "/faults")[1]] == ["cut_after_commit", "fail", "slow"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"do": "explode"}, "do: 'explode' is none of"),
        ({"do": "fail", "on": "sumbit"}, "on: 'sumbit' is none of"),
        ({"do": "fail", "on": "poll"}, "goes with on: submit"),
        ({"do": "hold"}, "ssh cannot make 'hold'"),
        ({"do": "html_503"}, "ssh cannot make 'html_503'"),
        ({"do": "fail", "time": 1}, "unknown ['time']"),
        ({"do": "fail", "times": "many"}, "times is a whole number"),
        ({"do": "fail", "times": 0}, "not at least 1"),
        ({"do": "fail", "match": "("}, "match:"),
        ("fail", "a fault is an object"),
        ([{"do": "fail"}, {"do": "hold"}], "ssh cannot make 'hold'"),
    ],
)
def test_a_wrong_fault_is_refused_in_one_line_and_nothing_is_planned(lab, data, said):
    status, answer = call(lab, "/faults", data)
    assert status == 400
    assert said in answer["error"]
    assert "\n" not in answer["error"]
    assert call(lab, "/faults") == (200, [])


def test_what_is_no_json_is_refused(lab):
    status, answer = call(lab, "/faults", raw=b"{do: fail}")
    assert status == 400
    assert "no JSON" in answer["error"]


def test_a_fault_that_was_made_is_told_with_the_request_that_met_it(lab):
    call(lab, "/faults", {"do": "error_500", "on": "any", "match": "twice", "times": 2})
    assert call(lab, "/made") == (200, [])
    plan = lab.stand_in("ssh").faults
    assert plan.disruption("poll", "once") is None
    assert plan.disruption("poll", "twice, KEY1") is not None
    (made,) = call(lab, "/made")[1]
    assert (made["on"], made["do"], made["subject"]) == ("poll", "error_500", "twice, KEY1")
    assert datetime.fromisoformat(made["at"]).tzinfo is not None
    call(lab, "/reset", method="POST")
    assert call(lab, "/made") == (200, [])


def test_a_fate_that_no_job_met_is_not_told():
    plan = FaultPlan()
    plan.add(Fault("submit", "fail", times=2))
    first, second = plan.fate("first"), plan.fate("second")
    plan.put_back(second[0], "second")
    assert [made.subject for made in plan.made] == ["first"]
    assert [(fault.do, fault.times) for fault in plan.faults] == [("fail", 1)]
    assert first == second


def test_logins_are_counted_and_reset_forgets(lab):
    call(lab, "/faults", {"do": "fail"})
    assert call(lab, "/logins") == (200, {"accepted": 0, "refused": 0})
    assert call(lab, "/reset", method="POST") == (200, {})
    assert call(lab, "/faults") == (200, [])
