"""An independent client works against the OData stand-in unmodified: SAP's own pyodata."""

import asyncio
import time

import pytest
import requests
from sap_for_tests import new_key

pyodata = pytest.importorskip("pyodata", reason="pyodata is not installed: pip install pyodata")

SERVICE = "/sap/opu/odata/SAP/BC_EXT_APPJOB_MANAGEMENT;v=0002/"


@pytest.fixture
def client(odata):
    """Return what runs a test with a pyodata client, in a thread beside the stand-in."""

    def run(test):
        def in_thread(s):
            told = s.endpoint["connection"]
            with requests.Session() as session:
                session.trust_env = False  # the machine may name other authorities
                session.auth = (told["login"], told["password"])
                session.verify = s.endpoint["ca_file"]
                url = s.endpoint["url"] + SERVICE
                fetched = session.get(url, headers={"x-csrf-token": "Fetch"})
                session.headers["x-csrf-token"] = fetched.headers["x-csrf-token"]
                test(pyodata.Client(url, session), s)

        async def scenario(s):
            await asyncio.to_thread(in_thread, s)

        odata(scenario)

    return run


def called(client, function, **parameters):
    request = getattr(client.functions, function)
    for name, value in parameters.items():
        request = request.parameter(name, value)
    return request.execute()


def scheduled(client, values="", text=None):
    told = called(
        client, "JobSchedule", JobTemplateName="ZLAB_PROGRAM", JobText=text or new_key(), JobParameterValues=values
    )
    assert told.ReturnCode == 0
    return {"JobName": told.JobName, "JobRunCount": told.JobRunCount}


def until(client, job, *letters):
    deadline = time.monotonic() + 20
    while (letter := called(client, "JobStatusGet", **job).JobStatus) not in letters:
        assert time.monotonic() < deadline, letter
        time.sleep(0.05)
    return letter


def value(name, text):
    return f'{{"NAME":"{name}","T_VALUE":[{{"SIGN":"I","OPTION":"EQ","LOW":"{text}","HIGH":""}}]}}'


def test_schedule_status_and_details(client):
    def test(client, s):
        job = scheduled(client, f'{{"VALUES":[{value("P_WARN", "X")},{value("P_RC", "4")}]}}', "O'BRIEN")
        assert until(client, job, "F", "W") == "W"
        (info,) = called(client, "JobinfoGet", **job)
        assert (info.JobStatus, info.JobAppRC, info.StepCount) == ("W", 4, 1)
        assert info.JobEndDateTime >= info.JobStartDateTime
        found = called(client, "JobListGet", JobText="O'BRIEN")
        assert [one.JobRunCount for one in found] == [job["JobRunCount"]]
        assert called(client, "JobListGet", JobText="NOBODY") == []

    client(test)


def test_headers_filter_and_expand(client):
    def test(client, s):
        job = scheduled(client)
        until(client, job, "F")
        headers = client.entity_sets.JobHeaderSet.get_entities().filter("JobPlannedStartDateTime ge '20200101000000'")
        assert [one.JobStatus for one in headers.select("JobName,JobRunCount,JobStatus").execute()] == ["F"]
        later = client.entity_sets.JobHeaderSet.get_entities().filter("JobPlannedStartDateTime ge '29990101000000'")
        assert later.execute() == []
        header = client.entity_sets.JobHeaderSet.get_entity(**job).expand("JobStepSet").execute()
        assert [step.StepNumber for step in header.JobStepSet] == [1]

    client(test)


def test_check_abort_and_errors(client):
    def test(client, s):
        bad = called(
            client,
            "JobScheduleCheck",
            JobTemplateName="ZLAB_PROGRAM",
            JobParameterValues=f'{{"VALUES":[{value("P_X", "1")}]}}',
        )
        assert bad.SuccessfulInd is False
        assert "P_X" in bad.ErrMessages
        job = scheduled(client, f'{{"VALUES":[{value("P_SLEEP", "60")}]}}')
        until(client, job, "R")
        assert called(client, "JobAbort", **job).ReturnCode == 0
        assert until(client, job, "C", "A") == "C"
        with pytest.raises(pyodata.exceptions.HttpError) as refused:
            called(client, "JobSchedule", JobTemplateName="ZNOPE", JobText="X")
        assert refused.value.response.status_code == 400

    client(test)
