"""Many requests at once, on fewer connections than there are requests.

How a user would notice that it is fake: twenty people open the overview, and all of them wait for thirty seconds.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import turns
from airflow_enterprise_orch.executive_view.turns import InTurn, takes_turns, turn

MANY = 20


class Server:
    """An application as Airflow's: it asks its database in the loop, for each request, with two connections in all."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.app = FastAPI()

        @self.app.middleware("http")
        async def revoked(request: Request, call_next: Any) -> Any:
            with Session(engine) as session:
                session.execute(sa.text("SELECT 1"))
            return await call_next(request)

        def opened() -> Iterator[Session]:
            with Session(engine) as session:
                yield session
                session.commit()

        def viewer(session: Annotated[Session, Depends(opened)]) -> str:
            with turn(session):
                return str(session.scalar(sa.text("SELECT 'ann'")))

        router = APIRouter(route_class=InTurn)

        @router.get("/notes")
        def notes(who: Annotated[str, Depends(viewer)], session: Annotated[Session, Depends(opened)]) -> dict[str, Any]:
            """All notes."""
            return {"who": who, "notes": list(session.scalars(sa.text("SELECT text FROM note")))}

        @router.post("/notes/{text}")
        def note(text: str, session: Annotated[Session, Depends(opened)]) -> str:
            session.execute(sa.text("INSERT INTO note VALUES (:text)"), {"text": text})
            if text == "forbidden":
                raise HTTPException(403)
            return text

        self.far_away = threading.Event()

        @router.get("/far")
        @takes_turns
        def far(session: Annotated[Session, Depends(opened)]) -> int:
            with turn(session):
                found = session.scalar(sa.text("SELECT count(*) FROM note"))
            assert self.far_away.wait(30), "nobody else got on meanwhile"
            return int(found or 0)

        @router.get("/near")
        def near(session: Annotated[Session, Depends(opened)]) -> int:
            self.far_away.set()
            return int(session.scalar(sa.text("SELECT count(*) FROM note")) or 0)

        self.app.include_router(router)

    def ask(self, *asked: tuple[str, str], again: int = 1) -> list[httpx.Response]:
        """Send requests at once, each so many times; return the last answers. Errors of the application are raised."""

        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:

                async def one(method: str, path: str) -> httpx.Response:
                    return [await client.request(method, path) for _ in range(again)][-1]

                return await asyncio.gather(*(one(method, path) for method, path in asked))

        return asyncio.run(all_of_them())

    def notes(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.scalars(sa.text("SELECT text FROM note ORDER BY text")))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    engine = sa.create_engine(
        f"sqlite:///{tmp_path / 'db'}",
        poolclass=sa.pool.QueuePool,
        pool_size=2,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"check_same_thread": False},
    )
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE note (text VARCHAR(20))"))
    yield Server(engine)
    engine.dispose()


@pytest.mark.timeout(60)
def test_many_more_than_there_are_connections_are_all_answered(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    # With room for one, whoever takes two turns within one another gets on no more.
    monkeypatch.setattr(turns, "_room", turns.Room(1))
    # Each asks again when it has its answer: then the loop waits for a connection while others have begun.
    answers = server.ask(*[("GET", "/notes")] * MANY, again=5)
    assert [answer.json() for answer in answers] == [{"who": "ann", "notes": []}] * MANY
    pool = server.engine.pool
    assert isinstance(pool, sa.pool.QueuePool)
    assert pool.checkedout() == 0


@pytest.mark.timeout(60)
def test_who_waits_for_something_else_keeps_nobody_waiting(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_room", turns.Room(1))
    assert [answer.json() for answer in server.ask(("GET", "/far"), ("GET", "/near"))] == [0, 0]


@pytest.mark.timeout(60)
def test_turns_are_given_in_the_order_of_coming() -> None:
    room, came, threads = turns.Room(1), list[int](), list[threading.Thread]()

    def come(number: int) -> None:
        with room:
            came.append(number)

    with room:
        for number in range(MANY):
            threads.append(threading.Thread(target=come, args=(number,)))
            threads[-1].start()
            while len(room) <= number:  # the next one comes when this one stands in line
                pass
    for thread in threads:
        thread.join()
    assert came == list(range(MANY))
    assert len(room) == 0


def test_what_is_written_is_there_when_the_answer_comes_and_not_after_a_refusal(server: Server) -> None:
    written, refused = server.ask(("POST", "/notes/kept"), ("POST", "/notes/forbidden"))
    assert (written.status_code, written.json()) == (200, "kept")
    assert refused.status_code == 403
    assert server.notes() == ["kept"]


def test_an_address_keeps_its_name_and_its_description(server: Server) -> None:
    (told,) = [route for route in server.app.openapi()["paths"]["/notes"].values()]
    assert (told["summary"], told["description"]) == ("Notes", "All notes.")
    assert "parameters" not in told
