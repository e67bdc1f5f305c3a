"""Answers that many get.

How a user would notice that it is fake: a clerk is shown what the board saw a moment ago; who lost a permission goes on
reading; what somebody has just acknowledged is open again; or fifty people who look on wait for one another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import auth_manager_from_app
from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from sqlalchemy.orm import Session

from airflow_enterprise_orch.executive_view import access, last_write, sharing, tables
from airflow_enterprise_orch.executive_view.access import Rights, ViewerDep
from airflow_enterprise_orch.executive_view.answers import Facet, Written
from airflow_enterprise_orch.executive_view.flights import Flights
from airflow_enterprise_orch.executive_view.last_write import Write
from airflow_enterprise_orch.executive_view.sharing import Sharing, answered_to_all, shared, shared_within
from airflow_enterprise_orch.executive_view.turns import SessionDep
from tests.executive_view.served import Served

MANY = 20
LONG = "x" * 2000
FED = datetime(2026, 1, 1, tzinfo=UTC)


class Manager:
    """An auth manager by which each token names the streams that its owner may see."""

    def __init__(self) -> None:
        self.asked = 0
        self.taken_away: set[str] = set()
        self.hidden: set[tuple[str, DagAccessEntity, str]] = set()

    async def get_user_from_token(self, token: str) -> Any:
        if token == "nobody":
            raise HTTPException(401, "Not authenticated")
        return User(token)

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: User, **_: Any) -> set[str]:
        self.asked += 1
        return {name for name in dag_ids & set(user.token.split("+")) if name not in self.taken_away}

    def batch_is_authorized_dag(self, requests: Any, *, user: User) -> bool:
        return all(self.is_authorized_dag(user=user, **one) for one in requests)

    def is_authorized_dag(
        self, *, user: User, access_entity: DagAccessEntity, details: DagDetails, method: str = "GET"
    ) -> bool:
        return (user.token, access_entity, details.id) not in self.hidden


class User:
    def __init__(self, token: str) -> None:
        self.token = token

    def get_id(self) -> str:
        return self.token

    def get_name(self) -> str:
        return self.token


def _nothing() -> None:
    """Go on at once."""


class Server:
    """Addresses that share their answers, on the tables of the executive view with three streams."""

    def __init__(self, engine: sa.Engine, manager: Manager) -> None:
        self.engine, self.manager = engine, manager
        self.app = FastAPI()
        self.app.dependency_overrides[auth_manager_from_app] = lambda: manager
        self.worked_out: list[tuple[str, frozenset[str]]] = []
        self.while_working: Callable[[], None] = _nothing
        router = APIRouter(route_class=Sharing)

        @router.get("/told/{name}")
        @shared
        def told(request: Request, viewer: ViewerDep, session: SessionDep, name: str) -> Response:
            write = last_write.current(session)
            self.while_working()
            self.worked_out.append((name, viewer.streams))
            if name == "missing":
                raise HTTPException(404, "there is none")
            title = f"{sorted(viewer.streams)} {write.revision} {LONG}"
            return answered_to_all(request, Facet(id=name, title=title), until=self.until)

        @router.get("/within/{name}")
        @shared_within
        def within(request: Request, viewer: ViewerDep, session: SessionDep, name: str) -> Response:
            self.worked_out.append((name, viewer.streams))
            reads = [entity.name for entity in access.WITHIN if viewer.may(entity, name)]
            readable = [sorted(viewer.only(entity, [name])) for entity in access.WITHIN]
            assert [bool(one) for one in readable] == [entity.name in reads for entity in access.WITHIN]
            return answered_to_all(request, Facet(id=name, title=" ".join(reads)), until=self.until)

        self.app.include_router(router)
        self.until = float("inf")

    def ask(self, *logins: str, path: str = "/told/a", **headers: str) -> list[httpx.Response]:
        """Ask at once, each with its token."""

        async def all_of_them() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
                given = [{"Authorization": f"Bearer {login}", **headers} for login in logins]
                return await asyncio.gather(*(client.get(path, headers=one) for one in given))

        return asyncio.run(all_of_them())

    def write(self, *, fed: bool = True) -> None:
        """Write as the feed of another process does, or what people did there: this one is not told."""
        with self.engine.begin() as connection:
            revision = tables.LEASE.c.revision
            connection.execute(sa.update(tables.LEASE).values(revision=revision + 1))
            if fed:
                number = connection.scalar(sa.select(revision))
                connection.execute(sa.update(tables.LEASE).values(as_of=FED + timedelta(seconds=number or 0)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The moment of what is kept, which stands still."""
    now = [1000.0]
    for module in (access, last_write, sharing):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    yield now


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Iterator[Server]:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'db'}", connect_args={"check_same_thread": False})
    tables.metadata.create_all(engine)
    now = sa.func.current_timestamp()
    with engine.begin() as connection:
        lease = {"name": "feed", "holder": "", "until": now, "revision": 1, "cursor": {}, "as_of": FED}
        connection.execute(sa.insert(tables.LEASE).values(**lease))
        for name in ("orders", "claims", "takeover"):
            texts = dict.fromkeys(("digest", "title", "domain", "owner", "criticality"), name)
            flags = {"is_current": True, "is_removed": False, "is_paused": False}
            row: dict[str, Any] = {"dag_id": name, "version": 1, "picture": {}, "first_seen": now, **texts, **flags}
            connection.execute(sa.insert(tables.STREAM).values(**row))
    manager = Manager()
    monkeypatch.setattr(access, "get_auth_manager", lambda: manager)
    monkeypatch.setattr("airflow.api_fastapi.core_api.security.get_auth_manager", lambda: manager)
    monkeypatch.setattr("airflow.settings.NonScopedSession", lambda: Session(engine))
    monkeypatch.setattr(access, "_remembered", access._Remembered())
    monkeypatch.setattr(last_write, "_known", last_write._Known())
    monkeypatch.setattr(sharing, "_answers", sharing.Answers(100_000))
    yield Server(engine, manager)
    engine.dispose()


def test_what_many_ask_at_once_is_worked_out_once(server: Server) -> None:
    answers = server.ask(*["orders"] * MANY)
    assert [answer.status_code for answer in answers] == [200] * MANY
    assert len({answer.text for answer in answers}) == 1
    assert server.worked_out == [("a", frozenset({"orders"}))]
    assert server.ask("orders", **{"Accept-Encoding": "identity"})[0].text == answers[0].text
    assert len(server.worked_out) == 1
    assert server.manager.asked == 1


def test_nobody_gets_the_answer_of_who_may_see_something_else(server: Server) -> None:
    logins = ["orders", "orders+takeover", "takeover", "claims+orders", "orders+claims"] * 4
    for _ in range(2):
        for login, answer in zip(logins, server.ask(*logins), strict=True):
            assert answer.json()["title"] == f"{sorted(login.split('+'))} 1 {LONG}"
    # The last two may see the same.
    assert len(server.worked_out) == 4


def test_who_is_not_logged_in_gets_nothing_that_is_kept(server: Server) -> None:
    assert server.ask("orders")[0].status_code == 200
    assert server.ask("nobody")[0].status_code == 401


def test_another_question_is_another_answer(server: Server) -> None:
    paths = ("/told/a", "/told/b", "/told/a?x=1")
    assert [server.ask("orders", path=path)[0].json()["id"] for path in paths] == ["a", "b", "a"]
    assert [name for name, _ in server.worked_out] == ["a", "b", "a"]


def test_who_has_the_answer_is_sent_none_and_who_has_another_one_is(server: Server) -> None:
    (first,) = server.ask("orders")
    (again,) = server.ask("orders", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.text, again.headers["etag"]) == (304, "", first.headers["etag"])
    (other,) = server.ask("orders", **{"If-None-Match": 'W/"other"'})
    assert (other.status_code, other.text) == (200, first.text)
    assert len(server.worked_out) == 1
    (changed,) = server.ask("takeover", **{"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()["title"][:12]) == (200, "['takeover']")


def test_an_answer_that_nobody_was_sent_yet_goes_out_packed_too(server: Server) -> None:
    (first,) = server.ask("orders", **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in first.headers
    (packed,) = server.ask("orders", **{"Accept-Encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.text) == ("gzip", first.text)
    assert len(server.worked_out) == 1


def test_what_another_process_writes_is_seen_a_moment_later_and_what_this_one_does_at_once(
    server: Server, clock: list[float]
) -> None:
    def told() -> int:
        return int(server.ask("orders")[0].json()["title"].split()[1])

    assert told() == 1
    server.write(fed=False)  # what people did: nothing of before is told any more
    assert told() == 1, "nobody knows of it yet"
    clock[0] += last_write.GOOD_FOR * 1.01
    assert told() == 2
    server.write(fed=False)
    last_write.changed()
    assert told() == 3
    server.write()
    last_write.changed()
    assert told() == 3, "while it is worked out"
    clock[0] += sharing.BEFORE * 1.01
    assert told() == 4


def test_what_is_within_a_stream_is_told_by_what_somebody_may_read_of_it(server: Server, clock: list[float]) -> None:
    all_of_it = "TASK_INSTANCE XCOM HITL_DETAIL"
    server.manager.hidden = {("orders+orders", DagAccessEntity.XCOM, "orders")}
    logins = ["orders", "orders+orders", "claims+orders", "orders+claims"]
    told = {
        "orders": all_of_it, "orders+orders": "TASK_INSTANCE HITL_DETAIL", "claims+orders": all_of_it,
        "orders+claims": all_of_it,
    }  # fmt: skip
    for _ in range(2):
        answers = server.ask(*logins, path="/within/orders")
        assert {login: answer.json()["title"] for login, answer in zip(logins, answers, strict=True)} == told
    assert len(server.worked_out) == 3, "the last two may see the same"
    # Who loses a permission loses it here within a moment.
    server.manager.hidden.add(("orders", DagAccessEntity.TASK_INSTANCE, "orders"))
    clock[0] += access.RIGHTS_FOR * 1.01
    assert server.ask("orders", path="/within/orders")[0].json()["title"] == "XCOM HITL_DETAIL"
    assert server.ask("orders")[0].json()["title"].startswith("['orders'] 1")


@pytest.mark.parametrize("acted", [False, True])
def test_nobody_waits_for_what_the_feed_wrote_but_who_has_acted(server: Server, acted: bool) -> None:
    server.ask("orders")
    server.write()
    last_write._known.changed(acted=acted)
    others = threading.Event()

    def work() -> None:
        if not acted:
            assert others.wait(30), "nobody was answered meanwhile"

    server.while_working = work

    async def ask() -> list[list[int]]:
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:

            async def revision() -> int:
                answer = await client.get("/told/a", headers={"Authorization": "Bearer orders"})
                return int(answer.json()["title"].split()[1])

            at_first = await asyncio.gather(*(revision() for _ in range(4)))
            others.set()
            while sharing._making:
                await asyncio.sleep(0.01)
            return [at_first, [await revision()]]

    assert asyncio.run(ask()) == ([[2, 2, 2, 2], [2]] if acted else [[1, 1, 1, 1], [2]])
    assert [name for name, _ in server.worked_out] == ["a", "a"]


def test_what_fails_behind_those_who_ask_is_told_to_who_waits_for_it(server: Server, clock: list[float]) -> None:
    server.ask("orders")
    server.write()
    last_write.changed()

    def fails() -> None:
        raise HTTPException(404, "it is gone")

    server.while_working = fails

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            told = [await client.get("/told/a", headers={"Authorization": "Bearer orders"})]
            while sharing._making:
                await asyncio.sleep(0.01)
            clock[0] += sharing.BEFORE * 1.01
            told.append(await client.get("/told/a", headers={"Authorization": "Bearer orders"}))
            return [answer.status_code for answer in told]

    assert asyncio.run(ask()) == [200, 404]


def test_of_many_answers_few_are_worked_out_behind_those_who_ask(server: Server) -> None:
    """Whoever has to wait for one of their own does not wait for all of them."""
    paths = [f"/told/{number}" for number in range(10)]
    for path in paths:
        server.ask("orders", path=path)
    server.write()
    last_write.changed()
    others, most = threading.Event(), 0
    server.while_working = lambda: others.wait(30) and None

    async def ask() -> list[int]:
        nonlocal most
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            told = [await client.get(path, headers={"Authorization": "Bearer orders"}) for path in paths]
            most = len(sharing._making)
            others.set()
            while sharing._making:
                await asyncio.sleep(0.01)
            return [int(answer.json()["title"].split()[1]) for answer in told]

    assert asyncio.run(ask()) == [1] * len(paths)
    assert most == sharing.BEHIND


KEPT = sharing.Kept(Written("tag", b"{}", None), float("inf"))


def moment(number: int, *, acts: int = 0, fed: int | None = None) -> sharing.Moment:
    """Return when somebody came: after so many writes, the last of the feed's, unless it is told, the same one."""
    return sharing.Moment(acts, Write(number, FED + timedelta(seconds=number if fed is None else fed)))


def test_what_was_before_is_given_for_a_moment_only(server: Server, clock: list[float]) -> None:
    answers = sharing.Answers(1000)
    first, second, third = moment(1), moment(2), moment(3)
    assert answers.get(first, "a") is None
    answers.put(first, "a", KEPT)
    assert (answers.get(first, "a"), answers.before("a")) == (KEPT, None)
    assert (answers.get(second, "a"), answers.before("a"), answers.before("b")) == (None, KEPT, None)
    answers.put(first, "a", KEPT)  # too late: it was begun before the write
    assert answers.get(second, "a") is None
    clock[0] += sharing.BEFORE
    assert answers.before("a") is None
    assert answers.get(third, "a") is None
    assert answers.before("a") is None


def test_who_has_acted_is_told_nothing_of_before_whoever_comes_in_between(server: Server) -> None:
    answers = sharing.Answers(1000)
    came_before = moment(1)
    answers.get(came_before, "a")
    answers.put(came_before, "a", KEPT)
    # Somebody acts. Who came before that may be told what they came for; who has acted may not.
    assert answers.get(came_before, "a") == KEPT
    acted = moment(2, acts=1)
    assert (answers.get(acted, "a"), answers.before("a")) == (None, None)
    answers.put(acted, "a", KEPT)
    # Who is late takes nothing away from those who came after.
    assert answers.get(came_before, "a") is None
    answers.put(came_before, "b", KEPT)
    assert (answers.get(acted, "a"), answers.get(acted, "b")) == (KEPT, None)


def test_what_people_did_by_another_server_leaves_nothing_of_before(server: Server) -> None:
    answers = sharing.Answers(1000)
    first, acted = moment(1, fed=1), moment(2, fed=1)
    answers.get(first, "a")
    answers.put(first, "a", KEPT)
    assert (answers.get(acted, "a"), answers.before("a")) == (None, None)


def test_numbers_that_begin_anew_are_not_taken_for_old_ones(server: Server) -> None:
    answers = sharing.Answers(1000)
    answers.get(moment(500), "a")
    anew = moment(1, fed=900)
    answers.get(anew, "a")
    answers.put(anew, "a", KEPT)
    assert answers.get(anew, "a") == KEPT


def test_no_more_is_kept_than_there_is_room_for(server: Server) -> None:
    answers, now = sharing.Answers(3 * KEPT.size), moment(1)
    answers.get(now, "a")
    for key in ("a", "b", "c", "a", "d"):
        answers.put(now, key, KEPT)
    assert [key for key in "abcd" if answers.get(now, key)] == ["a", "c", "d"]


def test_a_look_that_began_before_a_write_is_not_told_to_who_comes_after_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, written = threading.Event(), threading.Event()
    looks = iter((Write(1, None), Write(2, None)))

    def look() -> Write:
        found = next(looks)
        if found.revision == 1:
            looked.set()
            assert written.wait(30)
        return found

    monkeypatch.setattr(last_write, "_look", look)

    async def two() -> list[int]:
        first = asyncio.create_task(last_write.fresh())
        await asyncio.to_thread(looked.wait, 30)
        last_write._known.changed(acted=True)
        second = asyncio.create_task(last_write.fresh())
        await asyncio.sleep(0)
        written.set()
        return [(await first).revision, (await second).revision]

    assert asyncio.run(two()) == [1, 2]


def test_nobody_waits_for_the_rights_of_somebody_else(server: Server) -> None:
    """Else who has a turn waits for who waits for a turn."""
    asked, answered = threading.Event(), threading.Event()

    class Slow(Manager):
        def filter_authorized_dag_ids(self, **asking: Any) -> set[str]:
            asked.set()
            assert answered.wait(30)
            return super().filter_authorized_dag_ids(**asking)

    def viewer(session: Session | None, rights: Rights | None) -> access.Viewer:
        return access.Viewer("ann", Slow(), User("orders"), session, None, rights)  # type: ignore[arg-type]

    with Session(server.engine) as session:
        slow = threading.Thread(target=lambda: viewer(session, None).streams)
        slow.start()
        assert asked.wait(30)
        seen: list[frozenset[str]] = []
        quick = threading.Thread(
            target=lambda: seen.append(viewer(None, Rights(frozenset({"orders"}), {})).streams), daemon=True
        )
        quick.start()
        quick.join(10)
        answered.set()
        slow.join()
    assert seen == [{"orders"}]


def test_an_answer_ends_with_its_time(server: Server, clock: list[float]) -> None:
    server.until = clock[0] + 0.1
    server.ask("orders")
    clock[0] += 0.2
    server.ask("orders")
    assert len(server.worked_out) == 2


def test_a_refusal_is_told_to_all_who_wait_and_not_kept(server: Server) -> None:
    assert [one.status_code for one in server.ask(*["orders"] * MANY, path="/told/missing")] == [404] * MANY
    before = len(server.worked_out)
    assert server.ask("orders", path="/told/missing")[0].status_code == 404
    assert len(server.worked_out) == before + 1


def test_a_permission_that_is_taken_away_counts_after_a_moment(server: Server, clock: list[float]) -> None:
    assert server.ask("orders+takeover")[0].json()["title"].startswith("['orders', 'takeover']")
    server.manager.taken_away.add("takeover")
    clock[0] += access.RIGHTS_FOR * 1.01
    assert server.ask("orders+takeover")[0].json()["title"].startswith("['orders'] ")


def test_an_answer_is_kept_by_the_rights_that_it_was_worked_out_with(server: Server, clock: list[float]) -> None:
    """Else who gains a permission while his answer is worked out leaves it to those who never had it."""
    server.manager.taken_away.add("takeover")

    def gain() -> None:
        server.manager.taken_away.clear()
        clock[0] += access.RIGHTS_FOR * 1.01

    server.while_working = gain
    first, second = (server.ask(login)[0].json()["title"] for login in ("orders+takeover", "orders"))
    assert first.startswith("['orders'] ")
    assert second.startswith("['orders'] ")


def test_a_write_that_comes_while_the_last_one_is_looked_up_is_not_lost(server: Server) -> None:
    known = last_write._Known()

    class Slow(Session):
        def execute(self, *asked: Any, **more: Any) -> Any:
            found = super().execute(*asked, **more).freeze()
            self.rollback()
            server.write()
            known.changed(acted=False)
            return found()

    with Slow(server.engine) as session:
        assert known.read(session).revision == 1
    assert known.get() is None
    with Session(server.engine) as another:
        assert known.read(another).revision == 2
    assert known.get() is not None


def test_a_write_counts_when_it_is_committed(server: Server) -> None:
    def known() -> Write | None:
        return last_write._known.get()

    with Session(server.engine, info={last_write.UNHEARD: True}) as quiet:  # one of many: noticed as another's is
        last_write.current(quiet)
        last_write.acts_with(quiet)
        quiet.commit()
        assert known() is not None
    with Session(server.engine) as session:
        last_write.current(session)
        session.execute(sa.update(tables.LEASE).values(revision=7))
        last_write.acts_with(session)
        session.rollback()
        assert known() is not None
        session.execute(sa.update(tables.LEASE).values(revision=8))
        session.commit()
        assert known() is None
        assert last_write.current(session).revision == 8


def test_an_error_is_everybodys_who_waits_and_the_next_one_tries_anew() -> None:
    flights: Flights[int] = Flights()
    tries: list[int] = []

    def fail() -> int:
        tries.append(1)
        raise ValueError("no")

    async def many(make: Callable[[], int]) -> list[Any]:
        return await asyncio.gather(*(flights.run("key", make) for _ in range(MANY)), return_exceptions=True)

    assert [type(one) for one in asyncio.run(many(fail))] == [ValueError] * MANY
    assert len(tries) == 1
    assert asyncio.run(many(lambda: 3)) == [3] * MANY


def test_who_goes_away_ends_it_for_nobody() -> None:
    flights: Flights[int] = Flights()
    begun, gone = threading.Event(), threading.Event()

    def slow() -> int:
        begun.set()
        assert gone.wait(30)
        return 4

    async def two() -> int:
        first = asyncio.create_task(flights.run("key", slow))
        second = asyncio.create_task(flights.run("key", slow))
        await asyncio.to_thread(begun.wait, 30)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gone.set()
        return await second

    assert asyncio.run(two()) == 4


def test_rights_that_were_asked_for_are_all_that_a_viewer_sees() -> None:
    viewer = access.Viewer("ann", None, None, None, None, Rights(frozenset({"orders"}), {}))  # type: ignore[arg-type]
    assert viewer.streams == {"orders"}


SHARED = ("overview", "facets", "instances", "streams", "streams/orders", "streams/orders/versions", "events")


@pytest.mark.parametrize("path", SHARED)
def test_what_the_board_was_told_a_moment_ago_is_not_told_to_a_clerk(view: Served, path: str) -> None:
    logins = ("boss", "clerk", "boss", "clerk", "boss")
    told = [(login, view.get(login, path)) for login in logins]
    assert all(answer.status == 200 for _, answer in told)
    assert [bool("akeover" in answer.text) for login, answer in told if login == "clerk"] == [False, False]
    if path not in ("streams/orders", "streams/orders/versions"):  # which name no other stream to anybody
        assert ["akeover" in answer.text for login, answer in told if login == "boss"] == [True] * 3
