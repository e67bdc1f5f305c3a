"""An independent client works against the SOAP-RFC stand-in unmodified: zeep, with the stand-in's own WSDL."""

import asyncio
import time

import pytest
import requests

zeep = pytest.importorskip("zeep", reason="zeep is not installed: pip install zeep")

FUNCTIONS = [
    "BAPI_XMI_LOGON",
    "BAPI_XMI_LOGOFF",
    "BAPI_XBP_JOB_OPEN",
    "BAPI_XBP_JOB_ADD_ABAP_STEP",
    "BAPI_XBP_JOB_CLOSE",
    "BAPI_XBP_JOB_START_ASAP",
    "BAPI_XBP_JOB_START_IMMEDIATELY",
    "BAPI_XBP_JOB_STATUS_GET",
    "BAPI_XBP_JOBLIST_STATUS_GET",
    "BAPI_XBP_JOB_SELECT",
    "BAPI_XBP_JOB_JOBLOG_READ",
    "BAPI_XBP_JOB_SPOOLLIST_READ",
    "BAPI_XBP_JOB_ABORT",
    "RFC_SYSTEM_INFO",
]
WHO = {"EXTERNAL_USER_NAME": "ZEEP"}
LOGON = {"EXTCOMPANY": "TEST", "EXTPRODUCT": "ZEEP", "INTERFACE": "XBP", "VERSION": "3.0"}


@pytest.fixture
def soap(xbp):
    """Return what runs a test with a zeep service, in a thread beside the stand-in."""

    def run(test):
        def in_thread(s):
            told = s.endpoint["connection"]
            with requests.Session() as session:
                session.trust_env = False  # the machine may name other authorities
                session.auth = (told["login"], told["password"])
                session.verify = s.endpoint["ca_file"]
                transport = zeep.Transport(session=session)
                wsdl = f"{s.endpoint['url']}/sap/bc/soap/wsdl11?services={','.join(FUNCTIONS)}"
                test(zeep.Client(wsdl, transport=transport).service, s)

        async def scenario(s):
            await asyncio.to_thread(in_thread, s)

        xbp(scenario)

    return run


def until_ended(service, job):
    deadline = time.monotonic() + 20
    while (status := service.BAPI_XBP_JOB_STATUS_GET(**WHO, **job)["STATUS"]) not in ("F", "A"):
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def built(service, name, **parameters):
    job = {"JOBNAME": name, "JOBCOUNT": service.BAPI_XBP_JOB_OPEN(**WHO, JOBNAME=name)["JOBCOUNT"]}
    rows = [
        {"SELNAME": f"P_{key.upper()}", "KIND": "P", "SIGN": "I", "OPTION": "EQ", "LOW": value}
        for key, value in parameters.items()
    ]
    step = service.BAPI_XBP_JOB_ADD_ABAP_STEP(
        **WHO, **job, ABAP_PROGRAM_NAME="ZLABPROG", SELINFO={"item": rows}, ALLPRIPAR={"PDEST": "LP01", "LINSZ": 255}
    )
    assert step["RETURN"]["TYPE"] in ("", None)
    assert step["STEP_NUMBER"] == 1
    service.BAPI_XBP_JOB_CLOSE(**WHO, **job)
    return job


def test_a_job_is_built_started_watched_and_read(soap):
    def test(service, s):
        assert service.BAPI_XMI_LOGON(**LOGON)["SESSIONID"]
        server = service.RFC_SYSTEM_INFO()["RFCDEST"]
        job = built(service, "ZEEP_JOB", say="HELLO ZEEP")
        assert service.BAPI_XBP_JOB_STATUS_GET(**WHO, **job)["STATUS"] == "P"
        service.BAPI_XBP_JOB_START_ASAP(**WHO, **job, TARGET_SERVER=server)
        assert until_ended(service, job) == "F"
        listed = service.BAPI_XBP_JOBLIST_STATUS_GET(**WHO, JOBLIST={"item": [job]})
        assert [row["STATUS"] for row in listed["JOBLIST"]["item"]] == ["F"]
        log = service.BAPI_XBP_JOB_JOBLOG_READ(**WHO, **job, PROT_NEW="X", JOB_PROTOCOL_NEW={})
        numbers = [f"{row['MSGID']}/{row['MSGNO']}" for row in log["JOB_PROTOCOL_NEW"]["item"]]
        assert numbers[0] == "00/516"
        assert numbers[-1] == "00/517"
        spool = service.BAPI_XBP_JOB_SPOOLLIST_READ(**WHO, **job, STEP_NUMBER=1, SPOOL_LIST={})
        assert [row["LINE"] for row in spool["SPOOL_LIST"]["item"]] == ["HELLO ZEEP"]

    soap(test)


def test_a_table_that_is_not_declared_does_not_come_back(soap):
    def test(service, s):
        service.BAPI_XMI_LOGON(**LOGON)
        job = built(service, "ZEEP_JOB", say="X")
        asked = {"JOBNAME": "ZEEP*", "USERNAME": "*", "PRELIM": "X"}
        bare = service.BAPI_XBP_JOB_SELECT(**WHO, JOB_SELECT_PARAM=asked)
        assert bare["JOB_HEAD"] is None
        told = service.BAPI_XBP_JOB_SELECT(**WHO, JOB_SELECT_PARAM=asked, JOB_HEAD={})
        assert [row["JOBCOUNT"] for row in told["JOB_HEAD"]["item"]] == [job["JOBCOUNT"]]
        blank = service.BAPI_XBP_JOB_SELECT(**WHO, JOB_SELECT_PARAM={**asked, "USERNAME": ""}, JOB_HEAD={})
        assert blank["JOB_HEAD"] is None  # how zeep tells an empty element
        assert blank["ERROR_CODE"] == 0

    soap(test)


def test_errors_come_as_bapiret2_and_misuse_as_a_fault(soap):
    def test(service, s):
        told = service.BAPI_XBP_JOB_OPEN(**WHO, JOBNAME="ZEEP_JOB")["RETURN"]
        assert (told["TYPE"], told["ID"], told["NUMBER"]) == ("E", "XM", "028"), "it was not logged on to XMI"
        service.BAPI_XMI_LOGON(**LOGON)
        job = built(service, "ZEEP_JOB", sleep="60")
        told = service.BAPI_XBP_JOB_ABORT(**WHO, **job)  # zeep unpacks an answer of one part
        assert "is not active" in told["MESSAGE"]
        with pytest.raises(zeep.exceptions.Fault, match="longer than 32"):
            service.BAPI_XBP_JOB_OPEN(**WHO, JOBNAME="X" * 33)

    soap(test)


def test_abort(soap):
    def test(service, s):
        service.BAPI_XMI_LOGON(**LOGON)
        job = built(service, "ZEEP_JOB", sleep="60")
        service.BAPI_XBP_JOB_START_IMMEDIATELY(**WHO, **job, TARGET_SERVER="lab_LAB_00")
        time.sleep(0.2)
        assert service.BAPI_XBP_JOB_STATUS_GET(**WHO, **job)["STATUS"] == "R"
        service.BAPI_XBP_JOB_ABORT(**WHO, **job)
        assert until_ended(service, job) == "A"

    soap(test)
