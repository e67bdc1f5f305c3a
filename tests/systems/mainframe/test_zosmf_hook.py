"""The Airflow connection: read strictly, tested in words."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import airflow
import jsonschema
import pytest

from airflow_enterprise_orch.delegation.system import Absent, resolve
from airflow_enterprise_orch.errors import ConnectionInvalid
from airflow_enterprise_orch.systems.mainframe.hook import ZosmfHook, open_zosmf, settings_of
from airflow_enterprise_orch.systems.mainframe.registration import CONNECTION_TYPES, MAINFRAME


def connection(**changes):
    given = {"conn_type": "zosmf", "host": "zosmf.example.com", "port": None, "login": "ME", "password": "secret"}
    return SimpleNamespace(**{**given, "extra_dejson": {}, **changes})


def test_the_defaults():
    settings = settings_of("zos", connection())
    assert (settings.port, settings.verify, settings.timeout, settings.subsystem) == (443, True, 30.0, "")
    assert settings.address == "zosmf.example.com:443"
    assert "secret" not in repr(settings)


def test_the_extras():
    extras = {"ca_file": "/ca.pem", "verify": False, "subsystem": "jesb", "owner": "batch", "timeout": 5}
    settings = settings_of("zos", connection(host="https://z.example.com/", port=10443, extra_dejson=extras))
    assert (settings.address, settings.ca_file, settings.verify) == ("z.example.com:10443", "/ca.pem", False)
    assert (settings.subsystem, settings.owner, settings.timeout) == ("JESB", "BATCH", 5.0)


def test_empty_form_fields_are_defaults():
    extras = dict.fromkeys(("ca_file", "verify", "subsystem", "owner", "timeout"))
    assert settings_of("zos", connection(extra_dejson=extras)) == settings_of("zos", connection())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conn_type": "http"}, "connection 'zos': its type is 'http'; make it a connection of type zosmf"),
        ({"host": None}, "its host is None"),
        ({"host": "http://z"}, "its host is 'http://z'; give the name of the z/OSMF server"),
        ({"host": "z/zosmf"}, "without path"),
        ({"login": ""}, "no login or no password"),
        ({"password": None}, "no login or no password"),
        ({"extra_dejson": {"cafile": "x"}}, "its extra has cafile; it may have ca_file, verify"),
        ({"extra_dejson": {"timeout": "5"}}, "its timeout is '5'; give seconds"),
        ({"extra_dejson": {"timeout": True}}, "its timeout is True"),
        ({"extra_dejson": {"timeout": 0.5}}, "from 1 to 600"),
        ({"extra_dejson": {"verify": "no"}}, "its verify is 'no'; give true or false"),
        ({"extra_dejson": {"subsystem": "TOOLONG"}}, "its subsystem is 'TOOLONG'"),
        ({"extra_dejson": {"owner": "*"}}, r"its owner is '\*'; give one z/OS user"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(changes, message):
    with pytest.raises(ConnectionInvalid, match=message) as error:
        settings_of("zos", connection(**changes))
    assert "secret" not in str(error.value)


@pytest.fixture
def tested(zos, monkeypatch):
    """Return what tests the connection to a fresh z/OS after changing it."""

    def run(prepare=lambda _z: None, **changes):
        async def scenario(z):
            prepare(z)
            monkeypatch.setenv("AIRFLOW_CONN_ZOS_LAB", json.dumps({**z.endpoint["connection"], **changes}))
            return await asyncio.to_thread(ZosmfHook("zos_lab").test_connection)

        return zos(scenario)

    return run


def test_a_good_connection(tested):
    assert tested() == (True, "z/OSMF 27.0 answers, the login works and jobs can be listed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong"}, "Login refused: connection 'zos_lab': z/OSMF at 127.0.0.1"),
        ({"extra": {}}, "Certificate: connection 'zos_lab': the certificate of 127.0.0.1"),
        ({"port": 9}, "Not usable: z/OSMF at 127.0.0.1:9 cannot be reached"),
        ({"host": ""}, "Connection: connection 'zos_lab': its host is"),
    ],
)
def test_what_is_wrong_is_said_in_words(tested, changes, words):
    works, said = tested(**changes)
    assert not works
    assert words in said
    assert "\n" not in said


def test_something_else_on_that_port_is_not_zosmf(tested):
    works, said = tested(lambda z: z.stand_in.info.clear())
    assert not works
    assert "does not answer like z/OSMF; check host and port" in said


def test_a_connection_that_airflow_does_not_know():
    works, said = ZosmfHook("zos_absent").test_connection()
    assert (works, said) == (
        False,
        "Connection: connection 'zos_absent': Airflow has no such connection; create it with the type zosmf",
    )


def test_the_opener_opens_what_the_connection_names(zos, monkeypatch):
    async def scenario(z):
        monkeypatch.setenv("AIRFLOW_CONN_ZOS_LAB", json.dumps(z.endpoint["connection"]))
        async with open_zosmf("zos_lab") as system:
            assert await system.find("KEY") == Absent()
            assert system.identity == z.system.identity
        with pytest.raises(ConnectionInvalid, match="Airflow has no such connection"):
            async with open_zosmf("zos_absent"):
                pass

    zos(scenario)


def test_the_registration_leads_to_what_it_names():
    assert resolve(MAINFRAME.opener) is open_zosmf
    (step,) = MAINFRAME.steps
    assert step.work_model().__name__ == "MainframeJob"
    told = next(each for each in CONNECTION_TYPES if each["connection-type"] == "zosmf")
    module, _, name = told["hook-class-name"].rpartition(".")
    hook = resolve(f"{module}:{name}")
    assert (hook.conn_type, hook.hook_name) == (told["connection-type"], told["hook-name"])


def test_the_form_is_what_airflow_expects():
    schema = json.loads((Path(airflow.__file__).parent / "provider.yaml.schema.json").read_text())
    jsonschema.validate(list(CONNECTION_TYPES), schema["properties"]["connection-types"])
