"""An independent client works against the stand-in unmodified: the Zowe Python SDK."""

import asyncio
import time
import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # its JSON-with-comments parser imports sre_parse
    from zowe.core_for_zowe_sdk.exceptions import RequestFailed
    from zowe.zos_jobs_for_zowe_sdk import Jobs

JCL = "//ZOWEJOB  JOB (ACCT),'ZOWE',CLASS=A\n//STEP1    EXEC PGM=LABPROG,PARM='RC=4,SLEEP={sleep},SAY=HELLO ZOWE'\n"


@pytest.fixture
def zowe(zos):
    """Return what runs a test with the SDK, in a thread beside the stand-in."""

    def run(test):
        async def scenario(z):
            connection = z.endpoint["connection"]
            profile = {
                "host": connection["host"],
                "port": connection["port"],
                "user": connection["login"],
                "password": connection["password"],
                "rejectUnauthorized": z.endpoint["ca_file"],  # it hands this on to requests as verify
            }
            await asyncio.to_thread(test, Jobs(profile), z)

        zos(scenario)

    return run


def until_output(jobs, job):
    deadline = time.monotonic() + 20
    while (status := jobs.get_job_status(job["jobname"], job["jobid"]))["status"] != "OUTPUT":
        assert time.monotonic() < deadline, status
        time.sleep(0.05)
    return status


def test_submit_status_list_and_spool(zowe):
    def test(jobs, z):
        job = jobs.submit_plaintext(JCL.format(sleep=0))
        status = until_output(jobs, job)
        assert (status["retcode"], status["owner"]) == ("CC 0004", z.stand_in.user)
        assert [listed["jobid"] for listed in jobs.list_jobs(prefix="ZOWE*")] == [job["jobid"]]
        assert jobs.list_jobs(prefix="OTHER*") == []
        assert jobs.list_jobs(user_correlator="NOBODY") == []
        files = jobs.get_spool_files(job["job-correlator"])
        assert [file["ddname"] for file in files] == ["JESMSGLG", "JESJCL", "JESYSMSG", "SYSPRINT"]
        # This version of the SDK wraps every text in an object.
        text = jobs.get_spool_file_contents(job["job-correlator"], files[-1]["id"])["response"]
        assert text == "HELLO ZOWE\n"
        assert jobs.get_jcl_text(job["job-correlator"])["response"] == JCL.format(sleep=0)

    zowe(test)


def test_submit_from_a_data_set(zowe):
    def test(jobs, z):
        job = jobs.submit_from_mainframe("PROD.JCL(NOTHING)")
        assert until_output(jobs, job)["retcode"] == "CC 0000"
        with pytest.raises(RequestFailed, match="Data set not found"):
            jobs.submit_from_mainframe("PROD.JCL(ABSENT)")

    zowe(test)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_hold_release_cancel_and_delete(zowe, version):
    def test(jobs, z):
        job = jobs.submit_plaintext(JCL.format(sleep=60).replace("CLASS=A", "CLASS=A,TYPRUN=HOLD"))
        name, job_id = job["jobname"], job["jobid"]
        assert jobs.get_job_status(name, job_id)["status"] == "INPUT"
        jobs.release_job(name, job_id, version)
        time.sleep(0.1)
        assert jobs.get_job_status(name, job_id)["status"] == "ACTIVE"
        jobs.cancel_job(name, job_id, version)
        assert until_output(jobs, job)["retcode"] == "CANCELED"
        jobs.delete_job(name, job_id, version)
        with pytest.raises(RequestFailed, match="No job found for reference: 'ZOWEJOB"):
            jobs.get_job_status(name, job_id)

    zowe(test)
