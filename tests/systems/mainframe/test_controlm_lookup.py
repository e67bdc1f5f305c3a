"""Finding an order by its key among those of everybody: found, provably absent, or honestly unknown."""

import pytest
from controlm_for_tests import order
from zos_for_tests import new_key

from airflow_enterprise_orch.delegation.system import Absent, Found, Unknown
from airflow_enterprise_orch.errors import SystemUnreachable
from airflow_enterprise_orch.systems.mainframe import controlm_lookup


def foreign(c, count, **more):
    """Order jobs that are somebody else's."""
    for _ in range(count):
        c.stand_in.server.order({"ctm": "lab", "folder": "LAB", "jobs": "LABJOB", **more}, [])


def test_a_key_that_nobody_carries_is_absent(controlm):
    async def scenario(c):
        foreign(c, 5)
        assert await c.system.find(new_key()) == Absent()

    controlm(scenario)


def test_all_copies_are_found_oldest_first(controlm):
    async def scenario(c):
        key = new_key()
        handles = [await c.system.submit(order(), key) for _ in range(3)]
        foreign(c, 2)
        await c.system.release(handles[1])
        async with c.fresh() as other:
            found = await other.find(key)
        assert isinstance(found, Found)
        assert [candidate.handle for candidate in found.candidates] == handles
        assert [candidate.held for candidate in found.candidates] == [True, False, True]
        assert [candidate.order for candidate in found.candidates] == sorted(
            candidate.order for candidate in found.candidates
        )

    controlm(scenario)


def test_what_was_read_once_is_not_read_again(controlm):
    async def scenario(c):
        foreign(c, 10, orderIntoFolder="Standalone")
        await c.system.find(new_key())
        assert c.stand_in.calls["find"] == 10
        c.stand_in.calls.clear()
        await c.system.find(new_key())
        assert c.stand_in.calls["find"] == 0

    controlm(scenario)


def test_an_order_freed_by_hand_after_a_lost_answer_is_found(controlm):
    """Its answer was lost, a person freed it, it ran: ordering again would run it twice."""

    async def scenario(c):
        key = new_key()
        handle = await c.system.submit(order(), key)
        await c.system.release(handle)
        await c.until(handle)
        foreign(c, 3)
        async with c.fresh() as other:
            found = await other.find(key)
        assert isinstance(found, Found)
        assert [(candidate.handle, candidate.held) for candidate in found.candidates] == [(handle, False)]

    controlm(scenario)


def test_an_order_that_ran_and_was_deleted_then_is_found(controlm):
    async def scenario(c):
        handle = await c.ended(order(RC="8", into="Standalone"))
        entry = c.stand_in.server.entry(handle.job_id)
        c.stand_in.server.hold(entry)
        c.stand_in.server.delete(entry)
        async with c.fresh() as other:
            assert isinstance(await other.find(handle.key), Found)

    controlm(scenario)


def test_more_than_can_be_read_is_unknown_never_absent(controlm, monkeypatch):
    monkeypatch.setattr(controlm_lookup, "READS", 3)

    async def scenario(c):
        foreign(c, 5)
        answer = await c.system.find(new_key())
        assert isinstance(answer, Unknown)
        assert "name the folders that connection 'controlm_test' orders in its extra 'folders'" in answer.reason
        async with c.fresh(folders=("ORD*", "PULSE")) as other:
            assert await other.find(new_key()) == Absent()

    controlm(scenario)


def test_a_lost_answer_is_resolved_in_a_crowd_because_what_was_there_before_cannot_be_it(controlm, monkeypatch):
    monkeypatch.setattr(controlm_lookup, "READS", 3)

    async def scenario(c):
        foreign(c, 5)
        key = new_key()
        assert isinstance(await c.system.find(key), Unknown)  # nothing was sent yet: it may be
        c.plan("submit", "cut_before_commit")
        with pytest.raises(Exception, match="gave no answer"):
            await c.system.submit(order(), key)
        foreign(c, 1)
        assert await c.system.find(key) == Absent()
        handle = await c.system.submit(order(), key)
        found = await c.system.find(key)
        assert isinstance(found, Found)
        assert [candidate.handle for candidate in found.candidates] == [handle]

    controlm(scenario)


def test_a_freed_copy_is_found_behind_a_held_one_wherever_the_variables_are(controlm, monkeypatch):
    monkeypatch.setattr(controlm_lookup, "READS", 1)

    async def scenario(c):
        c.stand_in.server.variables_on = "jobs"
        key = new_key()
        freed = await c.system.submit(order(), key)
        await c.system.release(freed)
        foreign(c, 3)
        held = await c.system.submit(order(), key)
        async with c.fresh() as other:
            found = await other.find(key)
        assert isinstance(found, Found)
        told = [(candidate.handle, candidate.held) for candidate in found.candidates]
        assert told == [(freed, False), (held, True)], "the held copy would be freed beside the one that runs"

    controlm(scenario)


def test_a_held_order_is_found_behind_a_full_page(controlm, monkeypatch):
    monkeypatch.setattr(controlm_lookup, "PAGE", 4)

    async def scenario(c):
        foreign(c, 6)
        key = new_key()
        handle = await c.system.submit(order(), key)
        async with c.fresh() as other:
            found = await other.find(key)
            assert isinstance(found, Found)
            assert found.candidates[0].handle.job_id == handle.job_id
            assert isinstance(await other.find(new_key()), Unknown)

    controlm(scenario)


@pytest.mark.parametrize("fault", ["error_500", "half_answer", "cut_after_commit", "html_503"])
def test_an_order_that_cannot_be_read_now_is_not_taken_for_absent(controlm, fault):
    async def scenario(c):
        foreign(c, 2)
        c.plan("find", fault)
        with pytest.raises(SystemUnreachable):
            await c.system.find(new_key())
        assert await c.system.find(new_key()) == Absent()

    controlm(scenario)


def test_a_listed_order_that_is_gone_when_it_is_read_proves_nothing(controlm):
    async def scenario(c):
        foreign(c, 1)
        key, entries = new_key(), c.stand_in.server.entry
        c.stand_in.server.entry = lambda _job_id: None
        assert isinstance(await c.system.find(key), Unknown)
        c.stand_in.server.entry = entries
        assert await c.system.find(key) == Absent()

    controlm(scenario)
