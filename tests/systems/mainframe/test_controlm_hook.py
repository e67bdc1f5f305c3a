"""The connection type: what it accepts, what it says, and that its test tests."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from zos_for_tests import new_key

from airflow_enterprise_orch.delegation.system import Absent, registrations, resolve
from airflow_enterprise_orch.errors import ConnectionInvalid
from airflow_enterprise_orch.systems.mainframe.controlm_hook import ControlmHook, open_controlm, settings_of
from airflow_enterprise_orch.systems.mainframe.registration import CONNECTION_TYPES, MAINFRAME, MAINFRAME_SCHEDULER


def connection(**changes):
    given = {"conn_type": "controlm", "host": "em.example.com", "port": None, "login": "ME", "password": "secret"}
    return SimpleNamespace(**{**given, "extra_dejson": {"server": "PROD"}, **changes})


def test_the_defaults():
    settings = settings_of("ctm", connection())
    assert (settings.address, settings.path, settings.server) == ("em.example.com:8443", "/automation-api", "PROD")
    assert (settings.verify, settings.timeout, settings.folders, settings.timezone) == (True, 30.0, (), "")
    assert "secret" not in repr(settings)


def test_the_extras():
    extras = {
        "server": "PROD-1",
        "folders": "ORD*, BOOK ,",
        "timezone": "Europe/Berlin",
        "path": "/ctm/api/",
        "ca_file": "/ca.pem",
        "verify": False,
        "timeout": 5,
    }
    settings = settings_of("ctm", connection(host="https://e.example.com/", port=443, login=None, extra_dejson=extras))
    assert (settings.address, settings.path, settings.login) == ("e.example.com:443", "/ctm/api", "")
    assert (settings.folders, settings.timezone) == (("ORD*", "BOOK"), "Europe/Berlin")
    assert (settings.ca_file, settings.verify, settings.timeout) == ("/ca.pem", False, 5.0)


def test_empty_form_fields_are_defaults():
    extras = dict.fromkeys(("folders", "timezone", "path", "ca_file", "verify", "timeout"))
    assert settings_of("ctm", connection(extra_dejson={**extras, "server": "PROD"})) == settings_of("ctm", connection())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conn_type": "http"}, "connection 'ctm': its type is 'http'; make it a connection of type controlm"),
        ({"host": None}, "its host is None"),
        ({"host": "http://e"}, "its host is 'http://e'"),
        ({"host": "e/automation-api"}, "without path"),
        ({"password": None}, "it has no password; give a Control-M user and its password, or an API token alone"),
        ({"extra_dejson": {}}, "its server is ''; give the name of the Control-M/Server"),
        ({"extra_dejson": {"server": "*"}}, r"its server is '\*'"),
        ({"extra_dejson": {"server": "P", "timezone": "Mars/Olympus"}}, "its timezone is 'Mars/Olympus'"),
        ({"extra_dejson": {"server": "P", "path": "a?b"}}, r"its path is '/a\?b'"),
        ({"extra_dejson": {"server": "P", "timeout": True}}, "its timeout is True"),
        ({"extra_dejson": {"server": "P", "timeout": 0.5}}, "from 1 to 600"),
        ({"extra_dejson": {"server": "P", "verify": "no"}}, "its verify is 'no'"),
        ({"extra_dejson": {"server": "P", "cafile": "x"}}, "its extra has cafile; it may have server, folders"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(changes, message):
    with pytest.raises(ConnectionInvalid, match=message) as error:
        settings_of("ctm", connection(**changes))
    assert "secret" not in str(error.value)


@pytest.fixture
def tested(controlm, monkeypatch):
    """Return what tests the connection to a fresh Control-M after changing it."""

    def run(**changes):
        async def scenario(c):
            monkeypatch.setenv("AIRFLOW_CONN_CTM_LAB", json.dumps({**c.endpoint["connection"], **changes}))
            return await asyncio.to_thread(ControlmHook("ctm_lab").test_connection)

        return controlm(scenario)

    return run


def test_a_good_connection(tested):
    assert tested() == (True, "Control-M 9.21.300 answers, the login works and jobs can be listed")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "wrong"}, "Login refused: connection 'ctm_lab': Control-M at 127.0.0.1"),
        ({"extra": {"server": "lab"}}, "Certificate: connection 'ctm_lab': the certificate of 127.0.0.1"),
        ({"port": 9}, "Not usable: Control-M at 127.0.0.1:9 cannot be reached"),
        ({"host": ""}, "Connection: connection 'ctm_lab': its host is"),
    ],
)
def test_what_is_wrong_is_said_in_words(tested, changes, words):
    works, said = tested(**changes)
    assert not works
    assert words in said
    assert "\n" not in said


def test_a_connection_that_airflow_does_not_know():
    assert ControlmHook("ctm_absent").test_connection() == (
        False,
        "Connection: connection 'ctm_absent': Airflow has no such connection; create it with the type controlm",
    )


def test_the_opener_opens_what_the_connection_names(controlm, monkeypatch):
    async def scenario(c):
        monkeypatch.setenv("AIRFLOW_CONN_CTM_LAB", json.dumps(c.endpoint["connection"]))
        async with open_controlm("ctm_lab") as system:
            assert await system.find(new_key()) == Absent()
            assert system.identity == c.system.identity
        with pytest.raises(ConnectionInvalid, match="Airflow has no such connection"):
            async with open_controlm("ctm_absent"):
                pass

    controlm(scenario)


def test_the_registration_leads_to_what_it_names_and_stays_the_mainframe_to_people():
    assert MAINFRAME_SCHEDULER in registrations()
    assert MAINFRAME_SCHEDULER.stack == MAINFRAME.stack
    assert resolve(MAINFRAME_SCHEDULER.opener) is open_controlm
    (step,) = MAINFRAME_SCHEDULER.steps
    assert step.work_model().__name__ == "SchedulerJob"
    operator = step.operator_class()(
        task_id="a", connection="ctm_lab", folder="LAB", job="LABJOB", variables={"A": "1"}, ignore_criteria=True
    )
    assert operator.work == {"folder": "LAB", "job": "LABJOB", "variables": {"A": "1"}, "ignore_criteria": True}
    told = next(each for each in CONNECTION_TYPES if each["connection-type"] == "controlm")
    module, _, name = told["hook-class-name"].rpartition(".")
    hook = resolve(f"{module}:{name}")
    assert (hook.conn_type, hook.hook_name) == (told["connection-type"], told["hook-name"])
