"""Application jobs over OData. How a user would notice that it is fake: a warning shown as green, a job run twice."""

import asyncio

import pytest
from sap_for_tests import new_key, template

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.outcome import OutcomeRules
from airflow_enterprise_orch.delegation.system import Absent, Found, Protection, Unknown
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionUntrusted,
    LoginRefused,
    OutputMissing,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.lab.sap_jobs import Step
from airflow_enterprise_orch.systems.sap import odata_documents as documents
from airflow_enterprise_orch.systems.sap.odata import literal
from airflow_enterprise_orch.systems.sap.operators import APPLICATION_OUTCOME
from airflow_enterprise_orch.systems.sap.steps import ApplicationJob, BackgroundJob


@pytest.mark.parametrize("shape", ["entity", "results", "named"])
def test_a_job_runs_whatever_shape_the_answer_has(odata, shape):
    async def scenario(s):
        s.stand_in.shape = shape
        key = new_key()
        handle = await s.system.submit(template(say="ANSWER=42"), key)
        await s.until(handle)
        result = await s.system.result(handle)
        assert (result.ending, result.rc, result.code) == (Ending.COMPLETED, 0, "F")
        assert result.started.tzinfo is not None
        assert result.ended
        found = await s.system.find(key)
        assert isinstance(found, Found)
        assert found.candidates[0].handle.job_id == handle.job_id
        assert s.system.capabilities.protection is Protection.UNPROTECTED

    odata(scenario)


@pytest.mark.parametrize(
    ("work", "ending", "rc", "code", "verdict"),
    [
        (template(), Ending.COMPLETED, 0, "F", "success"),
        (template(warn="X"), Ending.COMPLETED, 0, "W", "warning"),
        (template(warn="X", rc="4"), Ending.COMPLETED, 4, "W", "warning"),
        (template(rc="12"), Ending.COMPLETED, 12, "F", "failure"),
        (template(abend="ZERO"), Ending.ABENDED, None, "A", "failure"),
    ],
)
def test_how_a_job_ended_is_what_saps_letter_says(odata, work, ending, rc, code, verdict):
    async def scenario(s):
        result = await s.system.result(await s.ended(work))
        assert (result.ending, result.rc, result.code) == (ending, rc, code)
        assert OutcomeRules(**APPLICATION_OUTCOME).judge(result).verdict == verdict

    odata(scenario)


def test_letters_are_case_sensitive():
    assert documents.status_of("C").phase is Phase.ENDED
    assert documents.status_of("c").phase is Phase.RUNNING
    for letter in "FWAUCKD":
        assert documents.status_of(letter).phase is Phase.ENDED
    for letter in "PSY":
        assert documents.status_of(letter).phase is Phase.WAITING
    for letter in ("X", "", "f", "w", "a", "k", "?"):
        assert documents.status_of(letter) is None


@pytest.mark.parametrize("letter", ["D", "X", "R", "", "?"])
def test_an_end_that_is_not_documented_is_no_success(letter):
    result = documents.result_of([{"JobStatus": letter, "JobAppRC": 0}])
    assert result.ending is Ending.UNKNOWN


def test_no_step_at_all_is_no_success():
    assert documents.result_of([]).ending is Ending.UNKNOWN


def test_values_travel_in_the_url_as_they_are(odata):
    said = "O'Brien & Söhne #1 + 50% / ?x=y"

    async def scenario(s):
        handle = await s.ended(template(say=said))
        assert s.stand_in.sap.table[0].steps[0].values == {"P_SAY": said}
        assert f"I ZLAB/000 {said}" in await s.system.read_source(handle, "log")
        with pytest.raises(OutputMissing, match="its log only"):
            await s.system.read_source(handle, "spool")

    odata(scenario)
    assert literal("O'Brien") == "'O''Brien'"


def test_wrong_parameters_are_found_before_anything_is_handed_over(odata):
    async def scenario(s):
        with pytest.raises(RequestRejected, match="cannot run with these parameters: E: P_RC is not a number"):
            await s.system.submit(template(rc="four"), new_key())
        assert s.stand_in.calls["submit"] == 0
        with pytest.raises(RequestRejected, match=r"APJ_RT/017"):
            await s.system.submit(template(check=False, rc="four"), new_key())
        with pytest.raises(RequestRejected, match=r"Job template ZNOPE does not exist \(APJ_RT/003\)"):
            await s.system.submit(ApplicationJob(template="ZNOPE"), new_key())
        with pytest.raises(RequestRejected, match=r"runs sap.application_job"):
            await s.system.submit(BackgroundJob(program="Z"), new_key())
        assert s.stand_in.jobs() == []

    odata(scenario)


def test_parameters_that_make_the_url_too_long_are_refused_here(odata):
    work = ApplicationJob(template="ZLAB_PROGRAM", parameters={"P_SAY": ["x" * 255] * 300}, check=False)

    async def scenario(s):
        with pytest.raises(RequestRejected, match="put them into the job template"):
            await s.system.submit(work, new_key())
        assert s.stand_in.calls["submit"] == 0

    odata(scenario)


def test_long_parameters_arrive(odata):
    work = ApplicationJob(template="ZLAB_PROGRAM", parameters={"P_SAY": ["x" * 255] * 60})

    async def scenario(s):
        await s.system.submit(work, new_key())
        assert s.stand_in.sap.table[0].steps[0].values["P_SAY"] == ",".join(["x" * 255] * 60)

    odata(scenario)


def test_a_return_code_is_a_refusal_although_http_says_yes(odata):
    async def scenario(s):
        s.stand_in._job_schedule = lambda values: {"JobName": "", "JobRunCount": "", "JobStatus": "", "ReturnCode": 4}
        with pytest.raises(RequestRejected, match="return code 4"):
            await s.system.submit(template(), new_key())
        s.stand_in._job_schedule = lambda values: {"JobName": "", "JobRunCount": "", "JobStatus": "", "ReturnCode": 0}
        with pytest.raises(AnswerLost, match="its answer tells no job"):
            await s.system.submit(template(), new_key())

    odata(scenario)


def test_a_token_is_fetched_once_and_again_once_when_it_is_worn_out(odata):
    async def scenario(s):
        await s.started()
        await s.started()
        assert s.stand_in.token_fetches == 1
        s.stand_in.end_sessions()
        await s.started()
        assert s.stand_in.token_fetches == 2
        assert len(s.stand_in.jobs()) == 3, "a request without a right token has no effect"

    odata(scenario)


def test_a_token_that_is_never_right_is_not_asked_for_for_ever(odata):
    async def scenario(s):
        s.stand_in.tokens = _Forgetful()
        with pytest.raises(RequestRejected, match="forbidden"):
            await s.system.submit(template(check=False), new_key())
        assert s.stand_in.token_fetches == 2
        assert s.stand_in.jobs() == []

    odata(scenario)


class _Forgetful(dict):
    def get(self, key, default=None):
        return None


def test_a_missing_authorization_is_no_reason_to_fetch_a_token(odata):
    async def scenario(s):
        await s.started()
        s.stand_in.may_schedule = False
        with pytest.raises(RequestRejected, match="lacks an authorization"):
            await s.system.submit(template(), new_key())
        assert s.stand_in.token_fetches == 1

    odata(scenario)


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "error_500", "html_503", "half_answer"])
def test_a_schedule_without_an_answer_is_ambiguous_and_never_sent_again(odata, fault):
    async def scenario(s):
        key = new_key()
        await s.started()  # the token is there
        s.plan("submit", fault)
        with pytest.raises(AnswerLost, match="it may have taken effect"):
            await s.system.submit(template(check=False), key)
        assert s.stand_in.calls["submit"] == 2
        committed = fault in ("cut_after_commit", "half_answer")
        assert isinstance(await s.system.find(key), Found if committed else Absent)

    odata(scenario)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("error_500", SystemUnreachable), ("html_503", SystemBusy), ("cut_before_commit", SystemUnreachable)],
)
@pytest.mark.parametrize("operation", ["find", "poll", "output"])
def test_a_reading_call_can_simply_be_repeated(odata, operation, fault, kind):
    async def scenario(s):
        handle = await s.ended()

        async def read():
            return await {
                "find": lambda: s.system.find(handle.key),
                "poll": lambda: s.system.poll([handle]),
                "output": lambda: s.system.read_output(handle),
            }[operation]()

        s.plan(operation, fault)
        with pytest.raises(kind) as error:
            await read()
        assert type(error.value) is kind
        assert await read()

    odata(scenario)


def test_a_service_that_cannot_list_by_text_proves_no_absence(odata):
    async def scenario(s):
        def refuse(values):
            from airflow_enterprise_orch.lab.sap_odata import Refused

            raise Refused("/IWBEP/CM_MGW_RT/041", "Parameter 'CreationTimeFrom' of JobListGet is missing")

        s.stand_in._job_list_get = refuse
        sighting = await s.system.find(new_key())
        assert isinstance(sighting, Unknown)
        assert "CreationTimeFrom" in sighting.reason

    odata(scenario)


def test_a_service_that_is_gone_makes_no_job_vanish(odata, monkeypatch):
    async def scenario(s):
        handle = await s.started(template(sleep="1"))
        monkeypatch.setattr("airflow_enterprise_orch.systems.sap.odata.SERVICE", "/sap/opu/odata/SAP/NOTHING")
        with pytest.raises(RequestRejected, match="has no service"):
            await s.system.poll([handle])
        assert isinstance(await s.system.find(handle.key), Unknown)

    odata(scenario)


def test_cancel_of_a_running_job_is_proven(odata):
    async def scenario(s):
        handle = await s.started(template(sleep="60"))
        await s.until(handle, Phase.RUNNING)
        await s.system.cancel(handle)
        await s.until(handle)
        assert (await s.system.result(handle)).ending is Ending.CANCELLED
        await s.system.cancel(handle)

    odata(scenario)


def test_cancel_of_a_job_that_waits_takes_it_away_and_its_result_is_unknown(odata):
    async def scenario(s):
        s.plan("submit", "hold")
        handle = await s.started()
        assert (await s.until(handle, Phase.WAITING)).reason.startswith("ready")
        await s.system.cancel(handle)
        await s.until(handle, Phase.MISSING)
        assert (await s.system.result(handle)).ending is Ending.UNKNOWN
        assert not s.stand_in.jobs()[0].ran

    odata(scenario)


@pytest.mark.parametrize("at", ["failed", "after_failed"])
def test_a_failed_job_is_restarted_as_another_run(odata, at):
    async def scenario(s):
        handle = await s.ended(template(abend="ZERO"))
        again = await s.system.restart(handle, at, handle.key)
        assert again.job_id != handle.job_id
        await s.until(again)
        assert (await s.system.result(again)).ending is Ending.COMPLETED
        with pytest.raises(RequestRejected, match="failed or after_failed"):
            await s.system.restart(handle, "3", new_key())
        with pytest.raises(RequestRejected, match="Only failed jobs"):
            await s.system.restart(again, at, new_key())

    odata(scenario)


def test_a_log_is_read_by_its_cursor(odata):
    async def scenario(s):
        handle = await s.started(template(say="ANSWER=42", sleep="1"))
        await s.until(handle, Phase.RUNNING)
        await asyncio.sleep(0.1)
        first = await s.system.read_output(handle)
        assert "ANSWER=42" in first.text
        await s.until(handle)
        rest = await s.system.read_output(handle, first.cursor)
        assert rest.text == "S 00/517 Job finished\n"
        assert (await s.system.read_output(handle, rest.cursor)).text == ""
        small = await s.system.read_output(handle, limit=1)
        assert small.text.count("\n") == 1
        assert "finished" in await s.system.read_tail(handle, lines=1)

    odata(scenario)


def many(s, count):
    handles = []
    for _ in range(count):
        key = new_key()
        job = s.stand_in.sap.open(key[:32], text=key)
        s.stand_in.sap.add(job, Step("ZLABPROG", {}), [])
        job.status = "Y"
        handles.append(JobHandle(key, f"{job.name}/{job.count}", "", {"since": documents.stamp(job.created)}))
    return handles


@pytest.mark.parametrize(("page", "calls"), [(1000, 1), (200, 3)])
def test_500_waiting_jobs_cost_what_paging_allows_and_two_more(odata, page, calls):
    async def scenario(s):
        s.stand_in.page = page
        handles = many(s, 500)
        s.stand_in.calls.clear()
        states = await s.system.poll(handles)
        assert {state.phase for state in states.values()} == {Phase.WAITING}
        assert len(states) == 500
        assert s.stand_in.calls["poll"] == calls
        gone = [JobHandle(new_key(), f"GONE/{n:08d}", "", dict(handles[0].fields)) for n in range(50)]
        s.stand_in.calls.clear()
        states = await s.system.poll([*handles, *gone])
        assert s.stand_in.calls["poll"] <= calls + 2
        assert sum(state.phase is Phase.MISSING for state in states.values()) == 2
        for _ in range(25):
            states |= await s.system.poll([*handles, *gone])
        assert sum(state.phase is Phase.MISSING for state in states.values()) == 50

    odata(scenario)


def test_a_job_without_a_date_is_asked_for_on_its_own(odata):
    async def scenario(s):
        handle = await s.started(template(sleep="1"))
        bare = JobHandle(handle.key, handle.job_id)
        assert (await s.system.poll([bare]))[handle.key].phase in (Phase.WAITING, Phase.RUNNING)
        assert (await s.system.identify(handle.job_id, handle.key)).job_id == handle.job_id
        with pytest.raises(RequestRejected, match="give it as JobName/JobRunCount"):
            await s.system.identify("ABC/1", handle.key)

    odata(scenario)


def test_a_refused_login_is_tried_once(odata):
    async def scenario(s):
        for _ in range(3):
            with pytest.raises(LoginRefused, match="refused the login of AIRFLOW"):
                await s.system.find(new_key())
        assert s.stand_in.refused_logins == 1

    odata(scenario, password="wrong")


def test_an_untrusted_certificate_stops_before_the_password_leaves(odata):
    async def scenario(s):
        with pytest.raises(ConnectionUntrusted):
            await s.system.find(new_key())
        assert s.stand_in.accepted_logins == 0

    odata(scenario, ca_file="")


def test_what_is_not_offered_is_refused_in_words(odata):
    async def scenario(s):
        handle = await s.started()
        with pytest.raises(RequestRejected, match="cannot hold"):
            await s.system.hold(handle)
        with pytest.raises(RequestRejected, match="never held"):
            await s.system.discard(handle)
        await s.system.release(handle)

    odata(scenario)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("/Date(1763912345000)/", "2025-11-23T15:39:05+00:00"),
        ("/Date(1763912345000+0000)/", "2025-11-23T15:39:05+00:00"),
        ("20251123153905", "2025-11-23T15:39:05+00:00"),
        ("00000000000000", None),
        (None, None),
        ("", None),
        ("20251399000000", None),
    ],
)
def test_times_of_both_kinds_are_utc(value, told):
    moment = documents.moment(value)
    assert (moment.isoformat() if moment else None) == told


def test_the_parameters_json_is_saps():
    assert documents.parameter_values({}) == ""
    assert documents.parameter_values({"P_A": "1", "S_B": ["x", "y"]}) == (
        '{"VALUES":[{"NAME":"P_A","T_VALUE":[{"SIGN":"I","OPTION":"EQ","LOW":"1","HIGH":""}]},'
        '{"NAME":"S_B","T_VALUE":[{"SIGN":"I","OPTION":"EQ","LOW":"x","HIGH":""},'
        '{"SIGN":"I","OPTION":"EQ","LOW":"y","HIGH":""}]}]}'
    )
