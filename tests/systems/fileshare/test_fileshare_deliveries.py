"""One contract for every kind of share.

How a user would notice that it is fake: a customer's file silently replaced; half a file picked up by the customer's
job; a second certificate after the worker died; a green step and no file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest

from airflow_enterprise_orch.delegation.job import Ending, Phase
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import AnswerLost, OutputMissing, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.fileshare.steps import FileshareDeliver

TO = "orders/42/größe & Co.txt"


class Died(BaseException):
    """No ``except Exception`` survives a SIGKILL."""


def text(content: str = "done\n", to: str = TO) -> FileshareDeliver:
    return FileshareDeliver(to=to, content=content)


def dies_at(share: Any, method: str, *, after: bool) -> None:
    """Make the store die before or after one of its calls, as a worker would."""
    store = share._store
    real = getattr(store, method)

    async def die(*arguments: Any) -> Any:
        if after:
            await real(*arguments)
        raise Died(method)

    setattr(store, method, die)


def test_a_delivery_lies_there_whole_with_its_manifest_and_its_record(share, key):
    async def deliver(client):
        assert await client.find(key) == Absent()
        handle = await client.submit(text(), key)
        states = await client.poll([handle])
        found = await client.find(key)
        return handle, states[key], found, await client.result(handle), await client.read_source(handle, "manifest")

    handle, state, found, result, manifest = share.run(deliver)
    files = share.files()
    assert files.pop(TO) == b"done\n"
    told = json.loads(files.pop(TO + ".manifest.json"))
    assert not files, "something else was left behind"
    assert (told["name"], told["size"], told["key"]) == ("größe & Co.txt", 5, key)
    assert told["sha256"] == hashlib.sha256(b"done\n").hexdigest()
    assert json.loads(manifest) == told
    assert state.phase is Phase.ENDED
    assert isinstance(found, Found)
    assert found.candidates[0].handle.job_id == handle.job_id == key
    assert (result.ending, result.code, result.rc) == (Ending.COMPLETED, "delivered", 0)
    assert share.records("stages") == []


def test_another_s_file_is_never_overwritten_and_both_checksums_are_told(share, key):
    share.put(TO, b"theirs")

    async def deliver(client):
        handle = await client.submit(text("ours"), key)
        return await client.result(handle), await client.read_tail(handle)

    result, tail = share.run(deliver)
    assert share.files() == {TO: b"theirs"}
    assert (result.code, result.rc) == ("conflict", 1)
    for content in (b"theirs", b"ours"):
        assert hashlib.sha256(content).hexdigest() in tail


def test_the_same_content_already_there_is_done(share, key, new_key):
    async def deliver(client):
        await client.submit(text(), new_key())
        return await client.result(await client.submit(text(), key))

    result = share.run(deliver)
    assert (result.code, result.rc) == ("present", 0)


def test_a_manifest_that_says_something_else_is_a_conflict(share, key):
    share.put(TO + ".manifest.json", b'{"sha256": "0000"}')
    result = share.run(lambda client: _delivered(client, key))
    assert result.code == "conflict"
    assert "0000" in result.detail


async def _delivered(client, key, work=None):
    return await client.result(await client.submit(work or text(), key))


def test_a_file_of_several_parts_arrives_whole(share, key, tmp_path):
    data = bytes(range(256)) * (17 << 12) + b"end"  # 17 MiB and a bit: three parts on S3
    source = tmp_path / "source"
    source.mkdir()
    file = source / "big.bin"
    file.write_bytes(data)
    result = share.run(lambda client: _delivered(client, key, FileshareDeliver(to="drop/big.bin", file=str(file))))
    assert result.code == "delivered"
    assert share.files()["drop/big.bin"] == data


@pytest.mark.parametrize(
    ("method", "after"),
    [("begin", True), ("fill", False), ("fill", True), ("publish", False), ("publish", True), ("confirm", False)],
)
def test_a_death_at_any_point_leaves_one_delivery(share, key, tmp_path, method, after):
    source = tmp_path / "source"
    source.mkdir()
    file = source / "big.bin"
    data = b"x" * (9 << 20)
    file.write_bytes(data)
    work = FileshareDeliver(to="drop/big.bin", file=str(file))

    async def first(client):
        dies_at(client, method, after=after)
        with pytest.raises(Died):
            await client.submit(work, key)

    share.run(first)
    published = (method, after) in (("publish", True), ("confirm", False))
    assert ("drop/big.bin" in share.files()) is published, "half a delivery is to be seen"

    async def second(client):
        assert await client.find(key) == Absent()
        return await _delivered(client, key, work)

    assert share.run(second).code == "delivered"
    files = share.files()
    assert files.pop("drop/big.bin") == data
    assert list(files) == ["drop/big.bin.manifest.json"], "a stage was left behind"


@pytest.mark.parametrize("share", ["OpenSSH"], indirect=True)
@pytest.mark.parametrize("after", [False, True])
def test_killing_sshd_in_mid_delivery_leaves_one_delivery(share, sshd, key, tmp_path, after):
    # ``kill -9`` of the server and of its processes, right before or right after the file gets its name.
    file = tmp_path / "big.bin"
    data = b"x" * (9 << 20)
    file.write_bytes(data)
    work = FileshareDeliver(to="drop/big.bin", file=str(file))

    async def deliver(client):
        real = client._store.publish

        async def publish(*arguments):
            if after:
                await real(*arguments)
            sshd.kill()
            client._store.publish = real
            return await real(*arguments)

        client._store.publish = publish
        with pytest.raises((SystemUnreachable, AnswerLost)):
            await client.submit(work, key)
        with pytest.raises(SystemUnreachable):
            await client.find(key)
        sshd.start()

    try:
        share.run(deliver)
    finally:
        if sshd.process.poll() is not None:
            sshd.start()
    assert ("drop/big.bin" in share.files()) is after
    assert share.run(lambda client: _delivered(client, key, work)).code == "delivered"
    files = share.files()
    assert files.pop("drop/big.bin") == data
    assert list(files) == ["drop/big.bin.manifest.json"], "a stage was left behind"


def test_a_publication_of_changed_work_that_died_is_still_ours(share, key):
    async def first(client):
        dies_at(client, "confirm", after=False)
        with pytest.raises(Died):
            await client.submit(text("first rendering"), key)

    share.run(first)
    result = share.run(lambda client: _delivered(client, key, text("second rendering")))
    assert result.code == "delivered"
    assert share.files()[TO] == b"first rendering"


def test_of_many_at_once_exactly_one_wins(share, new_key):
    async def deliver(client):
        keys = [new_key() for _ in range(6)]
        handles = await asyncio.gather(*(client.submit(text(f"from {key}"), key) for key in keys))
        return {handle.key: (await client.result(handle)).code for handle in handles}

    codes = share.run(deliver)
    (winner,) = [key for key, code in codes.items() if code == "delivered"]
    assert share.files()[TO].decode() == f"from {winner}"
    assert sorted(codes.values()) == ["conflict"] * 5 + ["delivered"]


def test_two_tries_with_one_key_at_once_report_one_delivery(share, key):
    async def deliver(client):
        await asyncio.gather(*(client.submit(text(), key) for _ in range(4)))
        return await _delivered(client, key)

    assert share.run(deliver).rc == 0
    assert len(share.records("ended")) == 1
    assert share.files()[TO] == b"done\n"


def test_a_source_that_is_not_there_is_refused_before_anything_leaves(share, key):
    work = FileshareDeliver(to=TO, file="/no/such/file")
    with pytest.raises(RequestRejected, match=r"/no/such/file .* on the worker"):
        share.run(lambda client: client.submit(work, key))
    assert share.files() == {}


def test_what_a_record_does_not_have_is_told_with_what_it_has(share, key):
    async def read(client):
        handle = await client.submit(text(), key)
        assert await client.read_source(handle, "path") == TO
        await client.read_source(handle, "colour")

    with pytest.raises(OutputMissing, match=r"no output 'colour'; it has .*path.*sha256"):
        share.run(read)


def test_a_record_that_was_deleted_is_missing_and_its_result_unknown(share, key):
    async def read(client):
        handle = await client.submit(text(), key)
        await client._store.remove(f".enterprise-orch/ended/{key}.json")
        return (await client.poll([handle]))[key].phase, (await client.result(handle)).ending

    assert share.run(read) == (Phase.MISSING, Ending.UNKNOWN)


def test_a_server_that_is_gone_is_unreachable_and_nothing_was_handed_over(share, key, announce):
    connection = json.loads(json.dumps(share.connection))
    connection["port"] = 1
    if "endpoint_url" in connection["extra"]:
        connection["extra"]["endpoint_url"] = "http://127.0.0.1:1"
    announce(connection)
    with pytest.raises(SystemUnreachable):
        share.run(lambda client: client.submit(text(), key))
