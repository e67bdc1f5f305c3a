"""The client against the stand-in, when nothing goes wrong."""

import asyncio
import re

import pytest
from zos_for_tests import CARD, job, new_key

from airflow_enterprise_orch.delegation.job import Ending, JobHandle, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found, Unknown
from airflow_enterprise_orch.errors import OutputMissing, RequestRejected
from airflow_enterprise_orch.systems.mainframe import zosmf
from airflow_enterprise_orch.systems.mainframe.steps import MainframeJob


def test_a_submitted_job_waits_held_until_it_is_released(zos):
    async def scenario(z):
        handle = await z.system.submit(job(), new_key())
        assert (await z.system.poll([handle]))[handle.key].phase is Phase.HELD
        assert not z.stand_in.jobs()[0].ran
        await z.system.release(handle)
        await z.until(handle)
        result = await z.system.result(handle)
        assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "CC 0000", 0)
        assert result.started <= result.ended
        assert result.started.tzinfo is not None
        assert (handle.job_id, handle.name) == ("JOB00001", "ORDERJOB")
        assert handle.fields["correlator"].endswith(f":{handle.key}")

    zos(scenario)


def test_the_key_finds_the_job_and_no_other(zos):
    async def scenario(z):
        key = new_key()
        assert await z.system.find(key) == Absent()
        await z.system.submit(job(), new_key())
        assert await z.system.find(key) == Absent()
        first, second = [await z.system.submit(job(), key) for _ in range(2)]
        found = await z.system.find(key)
        assert isinstance(found, Found)
        assert [(candidate.handle, candidate.held) for candidate in found.candidates] == [(first, True), (second, True)]
        await z.system.release(first)
        await z.until(first)
        assert [candidate.held for candidate in (await z.system.find(key)).candidates] == [False, True]

    zos(scenario)


def test_a_copy_is_discarded_and_one_that_ran_is_not(zos):
    async def scenario(z):
        ran = await z.ended()
        copy = await z.system.submit(job(), ran.key)
        await z.system.discard(copy)
        await z.system.discard(copy)
        assert [(record.state, record.ran) for record in z.stand_in.jobs()] == [("ended", True), ("discarded", False)]
        assert (await z.system.poll([copy]))[copy.key].phase is Phase.MISSING
        with pytest.raises(RequestRejected, match="JOB00001 has begun to run; it is not purged"):
            await z.system.discard(ran)

    zos(scenario)


def test_symbols_reach_the_job_as_they_are(zos):
    value = 'A&B, (x) ="y" {z} ; rm -rf /'

    async def scenario(z):
        work = MainframeJob(
            jcl=f"{CARD}//S EXEC PGM=LABPROG,PARM='SAY=order &ORDER.'\n"
            "//SYSIN DD *,SYMBOLS=JCLONLY\nsysin &ORDER\n/*\n",
            symbols={"ORDER": value},
        )
        handle = await z.ended(work)
        assert await z.system.read_source(handle, "SYSPRINT") == f"order {value}\nsysin {value}\n"
        assert await z.system.read_source(handle, "s.sysprint") == f"order {value}\nsysin {value}\n"

    zos(scenario)


@pytest.mark.parametrize(
    "work",
    [
        MainframeJob(dataset="PROD.JCL(BOOKORD)", symbols={"ORDER": "ORD-000001", "CLASS": "B"}),
        MainframeJob(dataset="/u/ibmuser/nothing.jcl"),
        MainframeJob(dataset="LAB.SEQ$#@"),
    ],
)
def test_jcl_is_read_where_it_is_and_handed_over_held(zos, work):
    async def scenario(z):
        handle = await z.system.submit(work, new_key())
        assert (await z.system.poll([handle]))[handle.key].phase is Phase.HELD
        await z.system.release(handle)
        await z.until(handle)
        assert (await z.system.result(handle)).rc == 0
        if work.symbols:
            assert "CREDIT CLASS=B" in await z.system.read_source(handle, "SYSPRINT")

    zos(scenario, library={"LAB.SEQ$#@": f"{CARD}//S EXEC PGM=IEFBR14\n"})


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("PROD.JCL(ABSENT)", r"refused read of PROD.JCL\(ABSENT\): Member not found.*\(category 1, rc 8, reason 5\)"),
        ("LAB.HELD", "JCL in LAB.HELD cannot be handed over: JCL line 1: the JOB card says TYPRUN=HOLD"),
        ("LAB.NOTES", "JCL in LAB.NOTES cannot be handed over: the JCL has no JOB card"),
    ],
)
def test_jcl_that_cannot_be_handed_over_is_rejected_before_anything_is_sent(zos, dataset, message):
    async def scenario(z):
        with pytest.raises(RequestRejected, match=message):
            await z.system.submit(MainframeJob(dataset=dataset), new_key())
        assert z.stand_in.jobs() == []

    zos(scenario, library={"LAB.HELD": "//A JOB TYPRUN=HOLD\n//S EXEC PGM=IEFBR14\n", "LAB.NOTES": "just notes\n"})


@pytest.mark.parametrize(
    ("work", "ending", "code", "rc"),
    [
        (job("RC=8"), Ending.COMPLETED, "CC 0008", 8),
        (job("ABEND=S0C7"), Ending.ABENDED, "ABEND S0C7", None),
        (job("ABEND=U0016"), Ending.ABENDED, "ABEND U0016", None),
        (job(program="NOSUCH"), Ending.ABENDED, "ABEND S806", None),
        (MainframeJob(jcl=f"{CARD}//S EXEC NOPROC\n"), Ending.REJECTED, "JCL ERROR", None),
        (MainframeJob(jcl=f"{CARD}//S EXCE PGM=X\n"), Ending.REJECTED, "JCL ERROR", None),
    ],
)
def test_how_jobs_end(zos, work, ending, code, rc):
    async def scenario(z):
        result = await z.system.result(await z.ended(work))
        assert (result.ending, result.code, result.rc) == (ending, code, rc)

    zos(scenario)


def test_cancel_is_proven_by_polling_and_can_be_repeated(zos):
    async def scenario(z):
        running = await z.started(job("SLEEP=60"))
        await z.until(running, Phase.RUNNING)
        held = await z.system.submit(job(), new_key())
        for handle in (running, held, running):
            await z.system.cancel(handle)
            await z.until(handle)
            assert (await z.system.result(handle)).ending is Ending.CANCELLED
        assert [record.ran for record in z.stand_in.jobs()] == [True, False]

    zos(scenario)


def test_release_and_hold_can_be_repeated(zos):
    async def scenario(z):
        handle = await z.system.submit(job("SLEEP=0.2"), new_key())
        await z.system.hold(handle)
        await z.system.hold(handle)
        assert (await z.system.poll([handle]))[handle.key].phase is Phase.HELD
        await z.system.release(handle)
        await z.until(handle, Phase.RUNNING)
        await z.system.release(handle)
        with pytest.raises(RequestRejected, match="did not hold JOB00001: the job has ended already"):
            await z.system.hold(handle)
        await z.until(handle)
        await z.system.release(handle)

    zos(scenario)


def test_a_jes_without_synchronous_modify_is_asked_asynchronously(zos):
    async def scenario(z):
        z.stand_in.has_sync_modify = False
        await z.ended()

    zos(scenario)


def test_one_poll_of_many_jobs_is_one_call(zos):
    async def scenario(z):
        handles = [await z.system.submit(job(), new_key()) for _ in range(12)]
        z.stand_in.calls.clear()
        states = await z.system.poll(handles)
        assert {state.phase for state in states.values()} == {Phase.HELD}
        assert set(states) == {handle.key for handle in handles}
        assert z.stand_in.calls == {"poll": 1}

    zos(scenario)


def test_absence_from_a_full_page_proves_nothing(zos, monkeypatch):
    monkeypatch.setattr(zosmf, "PAGE", 3)

    async def scenario(z):
        other = "//OTHER JOB\n//S EXEC PGM=IEFBR14\n"
        for _ in range(3):
            await z.system.submit(MainframeJob(jcl=other), new_key())
        handles = [await z.system.submit(job(), new_key()) for _ in range(5)]
        z.stand_in.calls.clear()
        states = await z.system.poll(handles)
        assert {states[handle.key].phase for handle in handles} == {Phase.HELD}
        assert z.stand_in.calls == {"poll": 4}  # the page, the page of that name, and two that it does not show

    zos(scenario)


def test_direct_questions_are_limited_and_take_turns(zos, monkeypatch):
    monkeypatch.setattr(zosmf, "PAGE", 1)
    monkeypatch.setattr(zosmf, "DIRECT", 2)

    async def scenario(z):
        handles = [await z.system.submit(job(), new_key()) for _ in range(6)]
        seen = set()
        for _ in range(3):
            states = await z.system.poll(handles)
            assert len(states) == 3  # the one on the page, and two
            seen |= set(states)
        assert seen == {handle.key for handle in handles}

    zos(scenario)


def test_a_job_id_that_came_round_is_another_job(zos):
    async def scenario(z):
        handle = await z.ended()
        stranger = JobHandle(new_key(), handle.job_id, handle.name)
        assert (await z.system.poll([stranger]))[stranger.key].phase is Phase.MISSING
        assert (await z.system.result(stranger)).ending is Ending.UNKNOWN

    zos(scenario)


def test_a_person_may_name_a_job_by_its_id_alone(zos):
    async def scenario(z):
        handle = await z.ended(job("RC=3"))
        named = JobHandle(handle.key, handle.job_id)
        assert (await z.system.poll([named]))[named.key].phase is Phase.ENDED
        assert (await z.system.result(named)).rc == 3
        assert "ORDERJOB" in (await z.system.read_output(named)).text
        absent = JobHandle(new_key(), "JOB09999")
        assert (await z.system.poll([absent]))[absent.key].phase is Phase.MISSING
        await z.system.cancel(absent)
        assert await z.system.read_tail(absent) == ""

    zos(scenario)


def test_the_log_is_read_on_from_a_cursor(zos):
    async def scenario(z):
        handle = await z.started(job("SLEEP=0.3,SAY=hello"))
        await z.until(handle, Phase.RUNNING)
        first = await z.system.read_output(handle)
        assert "STARTED" in first.text
        await z.until(handle)
        second = await z.system.read_output(handle, first.cursor)
        assert "STARTED" not in second.text
        assert "ENDED - RC=0000" in second.text
        assert (first.text + second.text).count("--- STEP1.SYSPRINT\nhello\n") == 1
        third = await z.system.read_output(handle, second.cursor)
        assert third.text == ""
        assert "EXEC PGM" not in first.text + second.text  # the JCL stays out of logs

    zos(scenario)


def test_a_small_limit_reads_everything_in_pieces(zos):
    async def scenario(z):
        data = "".join(f"line {number}\n" for number in range(50))
        work = MainframeJob(jcl=f"{CARD}//S EXEC PGM=LABPROG\n//SYSIN DD *\n{data}/*\n")
        handle = await z.ended(work)
        text, cursor = "", ""
        for _ in range(100):
            piece = await z.system.read_output(handle, cursor, limit=600)
            if not piece.text:
                break
            assert len(piece.text) <= 700
            text, cursor = text + piece.text, piece.cursor
        assert [line for line in text.splitlines() if line.startswith("line")] == data.splitlines()

    zos(scenario)


def test_a_file_that_is_never_read_to_its_end_keeps_no_other_waiting(zos):
    """JESMSGLG is written as fast as it is read; SYSPRINT stands behind it."""

    async def scenario(z):
        handle = await z.started(job("SLEEP=600,SAY=hello"))
        await z.until(handle, Phase.RUNNING)
        (running,) = z.stand_in.jes.queue
        log, written = (
            next(file for file in running.spool if file.ddname == name) for name in ("JESMSGLG", "SYSPRINT")
        )
        text, cursor = "", ""
        for number in range(4):
            log.records += [f"WTO {number} {line} ".ljust(133, ".") for line in range(20)]
            piece = await z.system.read_output(handle, cursor, limit=1340)
            text, cursor = text + piece.text, piece.cursor
            assert len(piece.text) <= 1400
            written.records.append(f"and {number}")
        assert "hello" in text
        assert "and 0" in text
        while piece.text:
            piece = await z.system.read_output(handle, cursor, limit=1340)
            text, cursor = text + piece.text, piece.cursor
        told = [line.rstrip(" .") for line in text.splitlines() if line.startswith("WTO")]
        assert told == [f"WTO {number} {line}" for number in range(4) for line in range(20)]
        assert re.findall(r"and \d", text) == [f"and {number}" for number in range(4)]

    zos(scenario)


def test_a_record_that_is_longer_than_the_limit_is_read_all_the_same(zos):
    async def scenario(z):
        handle = await z.ended(job("RC=0,SAY=hello"))
        text, cursor = "", ""
        for _ in range(50):
            piece = await z.system.read_output(handle, cursor, limit=100)
            if not piece.text:
                break
            text, cursor = text + piece.text, piece.cursor
        assert piece.text == ""
        assert text.count("--- STEP1.SYSPRINT\nhello\n") == 1
        assert "ENDED - RC=0000" in text

    zos(scenario)


def test_the_tail_tells_why_it_failed(zos):
    async def scenario(z):
        tail = await z.system.read_tail(await z.ended(job("RC=8,SAY=about to divide")))
        assert "about to divide" in tail
        two = MainframeJob(
            jcl=f"{CARD}//ONE EXEC PGM=LABPROG,PARM='ABEND=S0C7,SAY=record 17 is bad'\n//TWO EXEC PGM=IEFBR14\n"
        )
        lines = (await z.system.read_tail(await z.ended(two), lines=4)).splitlines()
        assert len(lines) <= 4
        assert any("IEF450I ORDERJOB ONE - ABEND=S0C7" in line for line in lines)
        assert lines[-1] == "record 17 is bad"
        tail = await z.system.read_tail(await z.ended(job(program="NOSUCH")))
        assert "CSV003I REQUESTED MODULE NOSUCH NOT FOUND" in tail
        tail = await z.system.read_tail(await z.ended(MainframeJob(jcl=f"{CARD}//S EXEC NOPROC\n")))
        assert "IEFC612I PROCEDURE NOPROC WAS NOT FOUND" in tail

    zos(scenario)


def test_an_output_source_that_is_not_there_names_those_that_are(zos):
    async def scenario(z):
        handle = await z.ended(job("SAY=x"))
        assert "ORDERJOB" in await z.system.read_source(handle, "log")
        with pytest.raises(
            OutputMissing, match="has no spool file 'REPORT'; it has JESMSGLG, JESJCL, JESYSMSG, SYSPRINT"
        ):
            await z.system.read_source(handle, "REPORT")
        z.stand_in.jes.queue[0].purged = True
        with pytest.raises(OutputMissing, match="JOB00001 is gone from JES"):
            await z.system.read_source(handle, "SYSPRINT")

    zos(scenario)


def test_a_source_longer_than_one_answer_is_read_whole(zos, monkeypatch):
    from airflow_enterprise_orch.systems.mainframe import spool

    monkeypatch.setattr(spool, "CHUNK", 7)

    async def scenario(z):
        data = "".join(f"{number}\n" for number in range(21))  # three full answers: the fourth has nothing
        handle = await z.ended(MainframeJob(jcl=f"{CARD}//S EXEC PGM=LABPROG\n//SYSIN DD *\n{data}/*\n"))
        assert await z.system.read_source(handle, "SYSPRINT") == data
        monkeypatch.setattr(spool, "LARGEST", 10)
        with pytest.raises(OutputMissing, match="'SYSPRINT' of job JOB00001 is larger than"):
            await z.system.read_source(handle, "SYSPRINT")

    zos(scenario)


def test_a_jes_without_correlators_cannot_tell_and_takes_nothing(zos, monkeypatch):
    from airflow_enterprise_orch.lab import jes

    real = jes.document
    monkeypatch.setattr(jes, "document", lambda *args, **kwargs: {**real(*args, **kwargs), "job-correlator": None})

    async def scenario(z):
        z.stand_in.jes.submit(f"{CARD}//S EXEC PGM=IEFBR14\n", symbols={}, correlator="", fates=[])
        assert isinstance(await z.system.find(new_key()), Unknown)
        with pytest.raises(RequestRejected, match="keeps no job correlators"):
            await z.system.submit(job(), new_key())
        assert len(z.stand_in.jobs()) == 1

    zos(scenario)


def test_a_secondary_jes_is_asked_by_name_and_id(zos):
    async def scenario(z):
        handle = await z.ended()
        assert (await z.system.result(handle)).rc == 0
        assert z.system.identity.endswith("/JESB")

    zos(scenario, subsystem="JESB")


def test_names_with_national_characters_are_encoded(zos):
    async def scenario(z):
        handle = await z.ended(MainframeJob(jcl="//#A$@B JOB\n//S EXEC PGM=IEFBR14\n"))
        assert (await z.system.result(JobHandle(handle.key, handle.job_id, handle.name))).rc == 0

    zos(scenario)


def test_what_it_can_and_cannot_do(zos):
    async def scenario(z):
        assert z.system.identity == f"zosmf://127.0.0.1:{z.endpoint['connection']['port']}"
        assert z.system.capabilities.hold
        assert not z.system.capabilities.restart
        handle = await z.ended()
        with pytest.raises(RequestRejected, match="cannot restart JOB00001"):
            await z.system.restart(handle, "STEP1", new_key())

    zos(scenario)


def test_many_calls_at_once_log_in_once(zos):
    async def scenario(z):
        await asyncio.gather(*(z.system.find(new_key()) for _ in range(10)))
        assert z.stand_in.calls["login"] == 1

    zos(scenario)
