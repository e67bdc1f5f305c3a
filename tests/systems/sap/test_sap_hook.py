"""The connection types: what is read from a connection, and what Test says of a wrong one."""

import json

import pytest
from airflow.sdk.definitions.connection import Connection

from airflow_enterprise_orch.errors import ConnectionInvalid
from airflow_enterprise_orch.lab.server import LabThread
from airflow_enterprise_orch.provider_info import get_provider_info
from airflow_enterprise_orch.systems.sap import hook
from airflow_enterprise_orch.systems.sap.pyrfc_rfc import PyRfc
from airflow_enterprise_orch.systems.sap.soap_rfc import SoapRfc

KINDS = {"sap_xbp": (hook.SapXbpHook, "sap_soap_rfc"), "sap_odata": (hook.SapOdataHook, "sap_odata")}
READ = {"sap_xbp": hook.xbp_settings, "sap_odata": hook.odata_settings}


@pytest.fixture(scope="module")
def lab():
    with LabThread(["sap_soap_rfc", "sap_odata"]) as running:
        yield running


def connection(kind, extra=None, **changes):
    told = {"conn_type": kind, "host": "sap.example.com", "login": "AIRFLOW", "password": "s3cret", **changes}
    return Connection(conn_id="c", extra=json.dumps(extra or {}), **told)


def test_all_fields_of_the_form_are_read_and_no_other():
    types = {one["connection-type"]: one for one in get_provider_info()["connection-types"]}
    assert set(types["sap_xbp"]["conn-fields"]) == set(hook.XBP_EXTRAS)
    assert set(types["sap_odata"]["conn-fields"]) == set(hook.ODATA_EXTRAS)


def test_what_a_connection_says_is_what_the_client_gets():
    extra = {
        "client": "200",
        "time_zone": "Europe/Berlin",
        "server_group": "BATCH",
        "start": "immediately",
        "company": "ACME",
        "timeout": 5,
        "verify": False,
    }
    read = hook.xbp_settings("c", connection("sap_xbp", extra, host="https://sap.example.com/", port=44300))
    assert (read.host, read.port, read.client, read.time_zone) == ("sap.example.com", 44300, "200", "Europe/Berlin")
    assert (read.server_group, read.start, read.company, read.timeout) == ("BATCH", "immediately", "ACME", 5.0)
    assert (read.verify, read.identity) == (False, "sap-xbp://sap.example.com:44300/200")
    assert isinstance(hook.xbp_of("c", connection("sap_xbp"))._rfc, SoapRfc)
    assert isinstance(hook.xbp_of("c", connection("sap_xbp", {"backend": "pyrfc"}))._rfc, PyRfc)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"conn_type": "http"}, "make it a connection of type"),
        ({"host": ""}, "give the name of the SAP server"),
        ({"host": "http://sap/path"}, "give the name of the SAP server"),
        ({"password": None}, "no login or no password"),
        ({"extra": {"clientt": "100"}}, "its extra has clientt"),
        ({"extra": {"client": "1"}}, "three digits"),
        ({"extra": {"timeout": 0.1}}, "from 1 to 600"),
        ({"extra": {"verify": "no"}}, "give true or false"),
        ({"extra": {"language": "english"}}, "two letters"),
    ],
)
def test_a_wrong_field_is_named_with_its_remedy(kind, changes, told):
    changes = dict(changes)
    extra = changes.pop("extra", None)
    with pytest.raises(ConnectionInvalid, match=told) as error:
        READ[kind]("c", connection(**{"kind": kind, "extra": extra} | _typed(changes)))
    assert "s3cret" not in str(error.value)


def _typed(changes):
    return {("kind" if name == "conn_type" else name): value for name, value in changes.items()}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"backend": "jco"}, "soap or pyrfc"),
        ({"start": "later"}, "asap or immediately"),
        ({"time_zone": "Mars/Olympus"}, "such as Europe/Berlin"),
        ({"external_user": "A" * 17}, "at most 16 characters"),
        ({"server": "a server"}, "as SM51 shows it"),
    ],
)
def test_a_wrong_field_of_xbp_is_named(extra, told):
    with pytest.raises(ConnectionInvalid, match=told):
        hook.xbp_settings("c", connection("sap_xbp", extra))


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_button_says_that_it_works_and_what_is_wrong(lab, monkeypatch, kind):
    made, stand_in = KINDS[kind]
    right = lab.endpoints[stand_in]["connection"]
    lab.reset(stand_in)

    def tested(**changes):
        monkeypatch.setenv("AIRFLOW_CONN_SAP_TEST", json.dumps({**right, **changes}))
        return made("sap_test").test_connection()

    good, words = tested()
    assert good, words
    assert "SAP" in words
    for changes, told in (
        ({"password": "wrong"}, "Login refused"),
        ({"extra": {}}, "Certificate"),
        ({"host": "sap.invalid"}, "Not usable"),
        ({"host": ""}, "Connection"),
    ):
        good, words = tested(**changes)
        assert not good
        assert words.startswith(told), words
        assert right["password"] not in words


def test_a_missing_connection_is_said(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_SAP_TEST", raising=False)
    good, words = hook.SapXbpHook("nowhere_at_all").test_connection()
    assert not good
    assert "Airflow has no such connection" in words
