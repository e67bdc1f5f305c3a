"""Images: when they are fetched, with whose login, and what a refusal means."""

from __future__ import annotations

import pytest
from engine_for_tests import run_to_end

from airflow_enterprise_orch.errors import LoginRefused, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.container.images import name_and_tag, registry_of
from airflow_enterprise_orch.systems.container.steps import ContainerRun

DIGEST = "sha256:" + "0a" * 32
PRIVATE = "registry.lab/private/tools:1"


def work(image, pull="missing"):
    return ContainerRun(image=image, command=["true"], pull=pull)


def login(engine, **changes):
    names = {"registry": "registry", "registry_user": "registry_user", "registry_password": "registry_password"}
    return {**{name: engine.endpoint[source] for name, source in names.items()}, **changes}


@pytest.mark.parametrize(
    ("image", "name", "tag"),
    [
        ("tools", "tools", "latest"),
        ("crm/tools:1.4", "crm/tools", "1.4"),
        ("registry.example:5000/crm/tools", "registry.example:5000/crm/tools", "latest"),
        ("registry.example:5000/crm/tools:2", "registry.example:5000/crm/tools", "2"),
        (f"crm/tools@{DIGEST}", "crm/tools", DIGEST),
        (f"crm/tools:1.4@{DIGEST}", "crm/tools", DIGEST),
    ],
)
def test_exactly_one_image_is_asked_for(image, name, tag):
    assert name_and_tag(image) == (name, tag)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("tools", "docker.io"),
        ("crm/tools", "docker.io"),
        ("localhost/tools", "localhost"),
        ("registry.example/tools", "registry.example"),
        ("registry:5000/tools", "registry:5000"),
    ],
)
def test_the_registry_is_read_from_the_name(image, registry):
    assert registry_of(image) == registry


def test_an_image_that_is_there_is_not_pulled(engine, key):
    engine.run(lambda system: run_to_end(system, work("lab/tools:1"), key))
    assert "POST /images/create" not in engine.requests()


def test_a_missing_image_is_pulled_and_always_means_always(engine, key, new_key):
    _, result = engine.run(lambda system: run_to_end(system, work("lab/remote:1"), key))
    assert result.rc == 0
    engine.run(lambda system: run_to_end(system, work("lab/remote:1", "always"), new_key()))
    assert engine.requests().count("POST /images/create") == 2


def test_never_means_never(engine, key):
    with pytest.raises(RequestRejected, match=r"has no image lab/remote:1, and the step says pull: never"):
        engine.run(lambda system: system.submit(work("lab/remote:1", "never"), key))
    assert engine.lab.jobs("docker") == []


@pytest.mark.parametrize("in_stream", [False, True])
def test_an_image_that_nobody_has_is_refused_before_anything_is_created(engine, key, in_stream):
    engine.stand_in.pull_errors_in_stream = in_stream
    with pytest.raises(RequestRejected, match="pull access denied for lab/nothing"):
        engine.run(lambda system: system.submit(work("lab/nothing:9"), key))
    assert engine.lab.jobs("docker") == []


@pytest.mark.parametrize("in_stream", [False, True])
def test_the_connection_s_login_opens_its_registry(engine, key, in_stream):
    engine.stand_in.pull_errors_in_stream = in_stream
    _, result = engine.run(lambda system: run_to_end(system, work(PRIVATE), key), **login(engine))
    assert result.rc == 0


@pytest.mark.parametrize("in_stream", [False, True])
def test_a_registry_that_refuses_our_login_blocks_the_connection(engine, key, in_stream):
    engine.stand_in.pull_errors_in_stream = in_stream
    with pytest.raises(LoginRefused, match=r"registry\.lab refused the login of lab") as refused:
        engine.run(lambda system: system.submit(work(PRIVATE), key), **login(engine, registry_password="not-it-at-all"))
    assert "not-it-at-all" not in str(refused.value)
    assert engine.requests().count("POST /images/create") == 1


def test_the_login_is_sent_to_its_own_registry_only(engine, key):
    seen = []
    pull = engine.stand_in._pull

    async def watched(request):
        seen.append("X-Registry-Auth" in request.headers)
        return await pull(request)

    engine.stand_in._pull = watched
    try:
        engine.run(lambda system: run_to_end(system, work("lab/remote:1"), key), **login(engine))
    finally:
        del engine.stand_in._pull
    assert seen == [False]


@pytest.mark.parametrize("do", ["cut_before_commit", "cut_after_commit", "error_500", "half_answer"])
def test_a_pull_that_breaks_off_hands_nothing_over(engine, key, do):
    engine.fault(do, on="any", match="images/create")
    with pytest.raises(SystemUnreachable):
        engine.run(lambda system: system.submit(work("lab/remote:1"), key))
    assert engine.lab.jobs("docker") == []
    _, result = engine.run(lambda system: run_to_end(system, work("lab/remote:1"), key))
    assert result.rc == 0
