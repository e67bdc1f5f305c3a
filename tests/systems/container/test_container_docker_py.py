"""docker-py, an independent client of the Docker Engine API, against the lab's engine, unmodified.

How a user would notice that it is fake: an engine that only our own client can talk to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from engine_for_tests import sh, until_running

from airflow_enterprise_orch.delegation.system import Found
from airflow_enterprise_orch.systems.container.spec import KEY

docker = pytest.importorskip("docker", reason="docker-py is not installed (pip install docker)")


@pytest.fixture(params=["unix", "tls"])
def client(request: pytest.FixtureRequest, engine: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # requests prefers these to what docker-py is told
        monkeypatch.delenv(name, raising=False)
    if request.param == "unix":
        made = docker.DockerClient(base_url=engine.endpoint["url"], version="auto")
    else:
        tls = docker.tls.TLSConfig(
            client_cert=(engine.endpoint["client_cert"], engine.endpoint["client_key"]),
            ca_cert=engine.endpoint["ca_file"],
            verify=True,
        )
        made = docker.DockerClient(base_url=engine.endpoint["tls_url"], tls=tls, version="auto")
    yield made
    made.close()


def test_it_negotiates_and_sees_the_engine(client):
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.41"
    assert client.info()["OSType"] == "linux"


def test_it_runs_waits_and_reads_both_streams(client):
    container = client.containers.run(
        "lab/tools:1", ["sh", "-c", "echo out; echo $WORD >&2; exit 3"], environment={"WORD": "err"}, detach=True
    )
    assert container.wait(timeout=30)["StatusCode"] == 3
    assert container.logs(stdout=True, stderr=False) == b"out\n"
    assert container.logs(stdout=False, stderr=True) == b"err\n"
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 3)
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get(container.id)


def test_it_meets_the_name_conflict(client):
    client.containers.create("lab/tools:1", ["sleep", "9"], name="one")
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.create("lab/tools:1", ["sleep", "9"], name="one")
    assert refused.value.status_code == 409
    assert "is already in use by container" in refused.value.explanation


def test_it_stops_kills_and_cannot_remove_what_runs(client):
    container = client.containers.run("lab/tools:1", ["sleep", "60"], detach=True)
    with pytest.raises(docker.errors.APIError) as refused:
        container.remove()
    assert refused.value.status_code == 409
    container.stop(timeout=1)
    assert container.wait()["StatusCode"] == 143
    container.start()
    container.kill()
    assert container.wait()["StatusCode"] == 137
    container.start()
    container.remove(force=True)


def test_it_lists_by_label_and_status(client):
    mine = client.containers.run("lab/tools:1", ["sleep", "60"], labels={"team": "crm"}, detach=True)
    client.containers.run("lab/tools:1", ["sleep", "60"], detach=True)
    ended = client.containers.run("lab/tools:1", ["true"], labels={"team": "crm"}, detach=True)
    ended.wait()
    assert [one.id for one in client.containers.list(filters={"label": "team=crm"})] == [mine.id]
    listed = client.containers.list(all=True, filters={"label": ["team"], "status": "exited"})
    assert [one.id for one in listed] == [ended.id]


def test_a_program_that_is_not_there_fails_at_the_start(client):
    container = client.containers.create("lab/tools:1", ["no-such-program"])
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        container.start()
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("created", 127)


def test_it_pulls_with_the_registry_s_login_only(client, engine):
    with pytest.raises(docker.errors.APIError):
        client.images.pull("registry.lab/private/tools", tag="1")
    login = {"username": engine.endpoint["registry_user"], "password": engine.endpoint["registry_password"]}
    assert client.images.pull("registry.lab/private/tools", tag="1", auth_config=login).id
    with pytest.raises(docker.errors.NotFound):
        client.images.pull("lab/nothing", tag="9")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("lab/nothing:9")


def test_volumes_exist_once_and_keep_their_labels(client):
    client.volumes.create("record", labels={"a": "1"})
    client.volumes.create("record", labels={"a": "2"})
    assert client.volumes.get("record").attrs["Labels"] == {"a": "1"}
    assert [one.name for one in client.volumes.list()] == ["record"]
    client.volumes.get("record").remove()
    assert client.volumes.list() == []


def test_it_sees_our_job_as_any_administrator_would(client, engine, key):
    async def steps(system):
        handle = await system.submit(sh("echo up; sleep 60"), key)
        await until_running(system, handle, "up")
        return handle

    handle = engine.run(steps)
    (seen,) = client.containers.list(filters={"label": f"{KEY}={key}"})
    assert (seen.name, seen.short_id, seen.logs()) == (key, handle.job_id, b"up\n")
    seen.stop(timeout=1)
    assert isinstance(engine.run(lambda system: system.find(key)), Found)
