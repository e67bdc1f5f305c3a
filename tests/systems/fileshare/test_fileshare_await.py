"""Waiting for files.

How a user would notice that it is fake: a half-written file is taken for a whole one; a wait that somebody cancelled
goes on; five hundred waits cost five hundred listings.
"""

from __future__ import annotations

import asyncio

import pytest

from airflow_enterprise_orch.delegation.arrivals import Place
from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import RequestRejected
from airflow_enterprise_orch.systems.fileshare.steps import FileshareAwait
from airflow_enterprise_orch.systems.fileshare.store import Entry
from airflow_enterprise_orch.systems.fileshare.waits import Look, Wait


def wait(**more):
    return FileshareAwait(**{"folder": "in", "pattern": "*.csv", "stable": "0s", **more})


async def phase(client, handle):
    return (await client.poll([handle]))[handle.key]


def test_a_wait_ends_when_as_many_files_lie_there_as_were_asked_for(share, key):
    share.put("in/one.csv", b"1")
    share.put("in/other.txt", b"2")

    async def live(client):
        assert await client.find(key) == Absent()
        handle = await client.submit(wait(count=2), key)
        before = await phase(client, handle)
        share.put("in/two.csv", b"22")
        after = await phase(client, handle)
        found = await client.find(key)
        result = await client.result(handle)
        again = await client.result(handle)
        files = await client.read_source(handle, "files")
        return before, after, found, result, again, files, await client.read_source(handle, "log")

    before, after, found, result, again, files, log = share.run(live)
    assert (before.phase, before.reason) == (
        Phase.RUNNING,
        "1 of 2 file(s) in/*.csv there, of which 1 is unchanged for long enough",
    )
    assert after.phase is Phase.ENDED
    assert isinstance(found, Found)
    assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "arrived", 0)
    assert again == result
    assert files.splitlines() == ["in/one.csv", "in/two.csv"]
    assert "waiting for 2 file(s) in/*.csv" in log
    assert "in/two.csv: 2 bytes" in log
    assert share.records("open") == [], "an ended wait is listed by every poll for ever"


def test_a_file_counts_when_its_marker_lies_beside_it(share, key):
    share.put("in/a.csv", b"1")

    async def live(client):
        handle = await client.submit(wait(marker=".done"), key)
        first = (await phase(client, handle)).phase
        share.put("in/a.csv.done", b"")
        return first, (await phase(client, handle)).phase

    assert share.run(live) == (Phase.RUNNING, Phase.ENDED)


def test_a_cancelled_wait_has_ended_for_every_process_whatever_arrives_later(share, key):
    share.put("in/readme.txt", b"")

    async def cancel(client):
        handle = await client.submit(wait(), key)
        await client.cancel(handle)
        await client.cancel(handle)
        return handle

    handle = share.run(cancel)
    share.put("in/late.csv", b"1")

    async def look(client):
        assert (await phase(client, handle)).phase is Phase.ENDED
        first = await client.result(handle)
        found = await client.find(key)
        return first, await client.result(found.candidates[0].handle)

    first, second = share.run(look)
    assert first.ending is second.ending is Ending.CANCELLED


def test_a_wait_that_is_fulfilled_cannot_be_cancelled_any_more(share, key):
    share.put("in/a.csv", b"1")

    async def live(client):
        handle = await client.submit(wait(), key)
        assert (await phase(client, handle)).phase is Phase.ENDED
        await client.cancel(handle)
        return await client.result(handle)

    assert share.run(live).code == "arrived"


def test_handing_a_wait_over_twice_makes_one(share, key):
    share.put("in/readme.txt", b"")

    async def live(client):
        first = await client.submit(wait(), key)
        return first, await client.submit(wait(), key)

    first, second = share.run(live)
    assert first == second
    assert len(share.records("open")) == 1


def test_a_folder_that_is_not_there_is_refused_at_once(share, key):
    if share.kind == "s3":
        assert share.run(lambda client: client.submit(wait(folder="nowhere"), key)).key == key  # S3 has no folders
        return
    with pytest.raises(RequestRejected, match="no folder 'nowhere'"):
        share.run(lambda client: client.submit(wait(folder="nowhere"), key))


def test_five_hundred_waits_in_one_folder_cost_two_listings(s3, new_key):
    async def live(client):
        keys = [new_key() for _ in range(500)]
        handles = [await client.submit(wait(), key) for key in keys[:3]]
        handles += [type(handles[0])(key, key, "", handles[0].fields) for key in keys[3:]]
        for handle in handles[3:]:
            s3.s3._files.put_bytes(f".enterprise-orch/open/{handle.key}.json", b"{}")
        s3.s3.requests.clear()
        states = await client.poll(handles)
        return states, list(s3.s3.requests)

    states, requests = s3.run(live)
    assert {state.phase for state in states.values()} == {Phase.RUNNING}
    assert len(states) == 500
    assert len(requests) == 2, requests


def test_a_file_that_still_grows_is_not_there_yet():
    look = Look()
    waiting = Wait("in", "*.csv", 1, 10.0, "", "")
    assert look.at("s", waiting, [Entry("a.csv", 1, "1")], 100)[0] == []
    assert look.at("s", waiting, [Entry("a.csv", 2, "2")], 109)[0] == []
    assert look.at("s", waiting, [Entry("a.csv", 2, "2")], 118)[0] == []
    assert look.at("s", waiting, [Entry("a.csv", 2, "3")], 119)[0] == [], "touched again"
    assert [entry.name for entry in look.at("s", waiting, [Entry("a.csv", 2, "3")], 129)[0]] == ["a.csv"]


def test_a_file_that_was_gone_in_between_begins_anew():
    look = Look()
    waiting = Wait("in", "*.csv", 1, 10.0, "", "")
    look.at("s", waiting, [Entry("a.csv", 1, "1")], 100)
    look.at("s", waiting, [], 105)
    assert look.at("s", waiting, [Entry("a.csv", 1, "1")], 111)[0] == []


def test_our_own_stages_and_manifests_are_nobody_s_files():
    look = Look()
    entries = [Entry(".orch-12.part", 1, "1"), Entry("a.csv.manifest.json", 1, "1")]
    assert look.at("s", Wait("in", "*", 1, 0.0, "", ""), entries, 1)[0] == []
    assert len(look.at("s", Wait("in", "*.manifest.json", 1, 0.0, "", ""), entries, 1)[0]) == 1


def test_many_at_once_find_the_same_end(s3, key):
    s3.put("in/a.csv", b"1")

    async def live(client):
        handle = await client.submit(wait(), key)
        await asyncio.gather(*(client.poll([handle]) for _ in range(4)), client.cancel(handle))
        return {(await client.result(handle)).code for _ in range(3)}

    assert len(s3.run(live)) == 1


def test_files_that_arrive_are_seen_without_a_trace_and_known_again(share):
    share.put("in/a.csv", b"1")
    share.put("in/b.csv", b"22")
    share.put("in/b.csv.done", b"")
    share.put("in/.orch-0123.csv", b"a stage of a delivery")
    at_once, marked = Place("in", "*.csv", 0.0), Place("in", "*.csv", 0.0, ".done")
    steady, gone = Place("in", "*.csv", 0.5), Place("nowhere", "*", 0.0)

    async def live(client):
        first = await client.arrived([at_once, marked, steady, gone])
        await asyncio.sleep(0.6)
        second = await client.arrived([steady, at_once])
        return first, second

    first, second = share.run(live)
    assert [(one.path, one.size) for one in first[at_once]] == [("in/a.csv", 1), ("in/b.csv", 2)]
    assert [one.path for one in first[marked]] == ["in/b.csv"]
    assert (first[steady], first[gone]) == ((), ())
    assert second[steady] == second[at_once] == first[at_once], "another look makes another arrival of it"
    assert share.records("open") == []

    share.put("in/a.csv", b"333")

    async def again(client):
        return (await client.arrived([at_once]))[at_once]

    third = share.run(again)
    assert third[0].run_id != first[at_once][0].run_id
    assert third[1].run_id == first[at_once][1].run_id, "another session makes another arrival of it"
