"""The clients of the executive view's benchmark, against a server that misbehaves: nothing but answers counts as one.

How a user would notice that it is fake: a server that answers nothing but errors is "fast, without an error".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airflow_enterprise_orch.demo.processes import free_ports
from tests.bench.executive_load import Load, Told, run

Asked = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
TAG = 'W/"1"'


def _served(answer: Asked, **load: object) -> tuple[Told, list[str]]:
    """Ask a server that answers so; return what the clients tell, and the heads of all requests."""
    return asyncio.run(_asked(answer, {"paths": ["/one"], "cookies": "_token=x", "clients": 1} | load))


async def _asked(answer: Asked, load: dict[str, Any]) -> tuple[Told, list[str]]:
    heads: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                await answer(heads[-1], writer)
                if writer.is_closing():
                    return
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told = await run(Load(port=port, **load))
    return told, heads


async def _whole(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


async def _in_parts(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2;of=more\r\n!!\r\n0\r\n\r\n")


async def _tagged(head: str, writer: asyncio.StreamWriter) -> None:
    if f"If-None-Match: {TAG}" in head:
        writer.write(f"HTTP/1.1 304 Not Modified\r\nETag: {TAG}\r\n\r\n".encode())
    else:
        writer.write(f"HTTP/1.1 200 OK\r\nETag: {TAG}\r\nContent-Length: 2\r\n\r\n{{}}".encode())


async def _busy(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


async def _cut(_head: str, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhel")
    writer.close()


@pytest.mark.parametrize(("answer", "size"), [(_whole, 5), (_in_parts, 7)])
def test_every_client_asks_on_a_connection_that_it_keeps_and_reads_the_whole_answer(answer: Asked, size: int) -> None:
    told, heads = _served(answer, clients=3, seconds=60.0, questions=9, paths=["/one", "/two"])
    assert (len(told.took), told.bytes, told.failures) == (9, 9 * size, [])
    assert {head.split()[1] for head in heads} == {"/one", "/two"}
    assert all("Cookie: _token=x" in head for head in heads)


@pytest.mark.parametrize(("remember", "unchanged"), [(True, 3), (False, 0)])
def test_who_remembers_gives_the_etag_back_and_counts_what_did_not_change(remember: bool, unchanged: int) -> None:
    told, _ = _served(_tagged, seconds=60.0, questions=4, remember=remember)
    assert (len(told.took), told.unchanged, told.failures) == (4, unchanged, [])


@pytest.mark.parametrize(("answer", "word"), [(_busy, "status 503"), (_cut, "IncompleteReadError")])
def test_an_error_and_half_an_answer_are_failures(answer: Asked, word: str) -> None:
    told, _ = _served(answer, seconds=60.0, questions=3)
    assert len(told.failures) == 3
    assert all(word in failure for failure in told.failures)
    assert "3 FAILED" in str(told)


def test_a_server_that_is_not_there_is_a_failure_and_no_fast_answer() -> None:
    (port,) = free_ports(1)
    told = asyncio.run(run(Load(port, ["/one"], "", 2, 60.0, questions=2)))
    assert (told.took, len(told.failures)) == ([], 2)


def test_a_part_of_the_answers_is_told_in_milliseconds() -> None:
    told = Told(took=[number / 1000 for number in range(100, 0, -1)])
    assert (told.p50, told.p95, told.at(1)) == (51.0, 96.0, 100.0)
