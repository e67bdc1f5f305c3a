"""What ``enterprise-orch doctor`` finds."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.models.connection import Connection
from airflow.models.pool import Pool

from airflow_enterprise_orch import doctor
from airflow_enterprise_orch.doctor import Level
from airflow_enterprise_orch.lab.server import LabThread

if TYPE_CHECKING:
    from airflow_enterprise_orch.lab.ssh import SshStandIn

GOOD = {
    ("triggerer", "capacity"): "2000",
    ("state_store", "max_value_storage_bytes"): "65535",
    ("state_store", "clear_on_success"): "False",
    ("state_store", "backend"): "airflow.state.metastore.MetastoreBackend",
    ("workers", "state_store_backend"): "",
    ("workers", "min_heartbeat_interval"): "2",
}


@pytest.fixture(autouse=True)
def enough_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "open_files_limit", lambda: 1_000_000)


def settings(**changed: str) -> list[doctor.Finding]:
    values = {**GOOD, **{tuple(key.split("__")): value for key, value in changed.items()}}
    return list(doctor.check_settings(lambda section, option: values[section, option]))


def bad(findings) -> list[str]:
    return [str(finding) for finding in findings if finding.level is not Level.OK]


def test_good_settings_are_ok():
    assert bad(settings()) == []


def test_small_triggerer_is_a_warning_with_a_remedy():
    assert bad(settings(triggerer__capacity="100")) == [
        "warn a triggerer watches only 100 waiting steps at once; "
        "set [triggerer] capacity to 1000 or more, or start more triggerers"
    ]


def test_few_open_files_are_a_warning():
    assert bad(doctor.check_open_files(1000, 1024)) == [
        "warn 1024 open files are too few for 1000 waiting steps; raise it for the triggerer: ulimit -n 1256"
    ]
    assert bad(doctor.check_open_files(1000, None)) == []


def test_slow_heartbeat_is_a_warning():
    assert bad(settings(workers__min_heartbeat_interval="60")) == [
        "warn workers may notice the end of a task 60 s late, so each step takes at least 63 s; "
        "set [workers] min_heartbeat_interval to 2"
    ]


def test_small_state_store_fails():
    (line,) = bad(settings(state_store__max_value_storage_bytes="1000"))
    assert line.startswith("fail the task state store takes only 1000 bytes a value")


def test_unlimited_state_store_is_ok():
    assert bad(settings(state_store__max_value_storage_bytes="0")) == []


@pytest.mark.parametrize("value", ["True", "true", "1", "yes"])
def test_ledger_thrown_away_on_success_fails(value: str):
    (line,) = bad(settings(state_store__clear_on_success=value))
    assert line == (
        "fail the ledger of a step is thrown away when the step succeeds; set [state_store] clear_on_success to False"
    )


def test_other_state_store_is_a_warning():
    (line,) = bad(settings(workers__state_store_backend="mypackage.S3StateBackend"))
    assert line.startswith("warn the task state store is mypackage.S3StateBackend, not Airflow's database")


@pytest.mark.parametrize(
    ("version", "level"),
    [("3.2.1", Level.FAIL), ("2.11.0", Level.FAIL), ("3.3.0", Level.OK), ("3.10.0", Level.OK), ("4.0.0", Level.WARN)],
)
def test_airflow_version(version: str, level: Level):
    assert [finding.level for finding in doctor.check_airflow(version)] == [level]


def test_old_python_and_missing_cel_fail():
    assert [finding.level for finding in doctor.check_python((3, 10, 1), False)] == [Level.FAIL, Level.FAIL]
    assert [finding.level for finding in doctor.check_python((3, 12, 1), True)] == [Level.OK, Level.OK]


def test_bundles(tmp_path: Path):
    def bundle(**kwargs: str) -> str:
        return json.dumps([{"name": "streams", "classpath": doctor.BUNDLE, "kwargs": kwargs}])

    findings, folders = doctor.check_bundles(bundle(path=str(tmp_path)))
    assert (bad(findings), folders) == ([], [tmp_path])
    findings, folders = doctor.check_bundles(bundle(path=str(tmp_path / "gone")))
    assert folders == []
    assert bad(findings) == [
        f"fail bundle 'streams': there is no folder {tmp_path / 'gone'}; correct its path, or make the folder"
    ]
    findings, _ = doctor.check_bundles('[{"name": "x", "classpath": "a.b.C", "kwargs": {}}]')
    assert bad(findings)[0].startswith("warn no bundle serves templates")
    findings, _ = doctor.check_bundles("[{")
    assert bad(findings)[0].startswith("fail the list of DAG bundles cannot be read")


def test_a_loader_file_is_told_to_pin_nothing(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "plain.py").write_text("from airflow.sdk import DAG\n")
    file = tmp_path / "sub" / "value_streams.py"
    file.write_text("load_value_streams(Path(__file__).parent, globals())\n")
    local = {"name": "own", "classpath": doctor.LOCAL_BUNDLE, "kwargs": {"path": str(tmp_path)}}
    findings, _ = doctor.check_bundles(json.dumps([local]))
    assert bad(findings) == [
        f"warn loader file {file}: its instances are not pinned to the template that they began with; "
        "serve the templates by a TemplateBundle, or keep these files in a bundle with versions (Git)"
    ]


TEMPLATE = """
value_stream: small
title: Small
business: {domain: Tests, owner: tests, criticality: low, key: "{{ run_id }}"}
steps:
  one:
    unix.script: {connection: host_a, script: "true"}
"""


def test_connections_come_from_the_templates(tmp_path: Path):
    (tmp_path / "small.yaml").write_text(TEMPLATE)
    streams, findings = doctor.streams_of(tmp_path)
    assert (doctor.connections_of(streams), findings) == ({"host_a": {"unix"}}, [])


def test_broken_template_is_a_failure_that_names_it(tmp_path: Path):
    (tmp_path / "small.yaml").write_text(TEMPLATE.replace("connection:", "conection:"))
    streams, findings = doctor.streams_of(tmp_path)
    assert streams == []
    (line,) = bad(findings)
    assert line.startswith("fail template small.yaml:7:")


POOLED = """\
value_stream: closing
title: Closing
business: {domain: D, owner: o}
steps:
  post: {unix.script: {connection: c, script: run}, resource: {pool: sap dialog}}
  settle: {unix.script: {connection: c, script: run}, resource: {pool: sap dialog, slots: 3}}
"""


def pools(tmp_path: Path, found: Pool | None) -> list[str]:
    (tmp_path / "closing.yaml").write_text(POOLED)
    needed = doctor.pools_of(doctor.streams_of(tmp_path)[0])
    assert needed == {"sap dialog": {"closing.post": 1, "closing.settle": 3}}
    return [str(finding) for finding in doctor.check_pools(needed, {"sap dialog": found}.get)]


def test_a_pool_that_is_not_there_fails_with_the_command_that_makes_it(tmp_path: Path):
    assert pools(tmp_path, None) == [
        "fail pool 'sap dialog' does not exist, so these steps would never start: closing.post, closing.settle; "
        "airflow pools set 'sap dialog' 3 'what it stands for' --include-deferred, with as many slots as there are"
    ]


def test_a_pool_that_forgets_steps_whose_jobs_run_fails_and_keeps_its_size_and_words(tmp_path: Path):
    found = Pool(pool="sap dialog", slots=8, description="dialog work processes", include_deferred=False)
    assert pools(tmp_path, found) == [
        "fail pool 'sap dialog' does not count steps whose jobs run elsewhere, so it limits nothing for: "
        "closing.post, closing.settle; "
        "airflow pools set 'sap dialog' 8 'dialog work processes' --include-deferred"
    ]


def test_a_pool_too_small_for_a_step_fails_and_names_the_step(tmp_path: Path):
    found = Pool(pool="sap dialog", slots=2, description="", include_deferred=True)
    (line,) = pools(tmp_path, found)
    assert line.startswith("fail pool 'sap dialog' has 2 slots, so steps that take more would never start: ")
    assert "closing.settle; airflow pools set 'sap dialog' 3" in line


@pytest.mark.parametrize("slots", [3, -1])
def test_a_pool_that_serves_is_ok(tmp_path: Path, slots: int):
    (line,) = pools(tmp_path, Pool(pool="sap dialog", slots=slots, description="", include_deferred=True))
    assert line.startswith("ok   pool 'sap dialog' has ")


def test_operators_that_templates_may_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    operator = "airflow.providers.amazon.aws.operators.s3.S3ListOperator"
    (tmp_path / "a.yaml").write_text(
        "value_stream: prices\ntitle: P\nbusiness: {domain: D, owner: o}\n"
        f"steps: {{look: {{airflow: {{operator: {operator}, arguments: {{bucket: b}}}}}}}}\n"
    )
    streams, findings = doctor.streams_of(tmp_path)
    assert (findings, bad(doctor.check_operators(streams))) == (
        [],
        [
            "warn operators of Airflow are not protected from running twice, in: prices.look; "
            "use them only for what may happen twice"
        ],
    )
    variable = "AIRFLOW__ENTERPRISE_ORCH__AIRFLOW_OPERATORS"
    monkeypatch.setenv(variable, "x.Y, *")
    assert bad(doctor.check_operators([]))[0].startswith(
        "warn templates may run every operator, a shell on the workers"
    )
    monkeypatch.setenv(variable, "")
    assert list(doctor.check_operators(streams)) == []


def test_missing_connection_fails_with_both_ways_to_make_it():
    assert bad(doctor.check_connections({"host_a": {"unix"}}, lambda name: None, log_in=False)) == [
        "fail connection 'host_a' (ssh) does not exist; make it under Admin, Connections, or set AIRFLOW_CONN_HOST_A"
    ]


def test_connection_of_another_type_fails():
    connection = Connection(conn_id="host_a", conn_type="http")
    assert bad(doctor.check_connections({"host_a": {"unix"}}, lambda name: connection, log_in=False)) == [
        "fail connection 'host_a' has the type 'http'; give it the type ssh"
    ]


@pytest.mark.parametrize("kind", ["aws", "sftp", "ssh", "samba"])
def test_a_file_share_may_be_of_several_types(kind: str):
    connection = Connection(conn_id="drop", conn_type=kind)
    assert bad(doctor.check_connections({"drop": {"fileshare"}}, lambda name: connection, log_in=False)) == []


def test_a_file_share_of_another_type_fails_with_the_types_that_serve():
    connection = Connection(conn_id="drop", conn_type="ftp")
    assert bad(doctor.check_connections({"drop": {"fileshare"}}, lambda name: connection, log_in=False)) == [
        "fail connection 'drop' has the type 'ftp'; give it the type aws or sftp or ssh or samba"
    ]
    assert bad(doctor.check_connections({"drop": {"fileshare"}}, lambda name: None, log_in=False)) == [
        "fail connection 'drop' (aws or sftp or ssh or samba) does not exist; "
        "make it under Admin, Connections, or set AIRFLOW_CONN_DROP"
    ]


def test_a_connection_that_two_systems_use_must_serve_both():
    connection = Connection(conn_id="host_a", conn_type="sftp")
    both = {"host_a": {"unix", "fileshare"}}
    assert bad(doctor.check_connections(both, lambda name: connection, log_in=False)) == [
        "fail connection 'host_a' has the type 'sftp'; give it the type ssh"
    ]
    assert bad(doctor.check_connections({"host_a": {"unix", "windows"}}, lambda name: connection, log_in=False)) == [
        "fail connection 'host_a' cannot serve all its steps: unix takes ssh; windows takes winrm; use two connections"
    ]


class Tried(Connection):
    __mapper_args__ = {"concrete": False}  # noqa: RUF012 - SQLAlchemy's own

    def test_connection(self):
        return self.host == "right", "the host said so"


@pytest.mark.parametrize(("host", "level"), [("right", Level.OK), ("wrong", Level.FAIL)])
def test_connection_is_tried_only_on_wish(host: str, level: Level):
    connection = Tried(conn_id="zos", conn_type="zosmf", host=host)
    (tried,) = doctor.check_connections({"zos": {"mainframe"}}, lambda name: connection, log_in=True)
    assert tried.level is level
    assert "the host said so" in tried.what
    (looked,) = doctor.check_connections({"zos": {"mainframe"}}, lambda name: connection, log_in=False)
    assert looked.level is Level.OK
    assert "not tried" in looked.what


# Against the lab: where Airflow's own test of a connection is another provider's, ours must be the one that is made.


@pytest.fixture(scope="module")
def lab() -> Iterator[LabThread]:
    with LabThread(["ssh", "winrm", "s3", "zosmf"]) as running:
        yield running


@pytest.fixture
def told(lab: LabThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Return what gives a connection of the lab to Airflow's database and has the doctor log in with it."""

    def tell(stand_in: str, template: str = "", **changed: Any) -> list[str]:
        given = {**lab.endpoints[stand_in]["connection"], **changed}
        # As from Airflow's database: nothing of it is in the environment, which is where the task SDK looks.
        found = Connection(conn_id="subject", **{**given, "extra": json.dumps(given.get("extra", {}))})
        monkeypatch.setattr(doctor, "find_connection", lambda name: found)
        monkeypatch.delenv("AIRFLOW_CONN_SUBJECT", raising=False)
        if template:
            (tmp_path / "small.yaml").write_text(
                TEMPLATE.replace('unix.script: {connection: host_a, script: "true"}', template)
            )
        doctor.main(["--test-connections", "--templates", str(tmp_path), *([] if template else ["subject"])])
        assert "AIRFLOW_CONN_SUBJECT" not in os.environ
        return [line for line in capsys.readouterr().out.splitlines() if "connection 'subject'" in line]

    for name in lab.endpoints:
        lab.reset(name)
    return tell


def test_a_unix_host_is_tried_as_its_steps_will_use_it(lab: LabThread, told):
    (line,) = told("ssh")
    assert line.startswith(
        "ok   connection 'subject' (ssh) for unix works: connection 'subject': logged in to ssh://lab@"
    )
    assert line.endswith("/~/.enterprise-orch/jobs")
    # sshd answers all the same, which is all that the ssh provider's own test asks for.
    lab.fault("ssh", "error_500", on="find")
    (line,) = told("ssh")
    assert line.startswith("fail connection 'subject' (ssh) for unix does not work: ")
    assert line.endswith("; correct it")


def test_a_windows_host_is_tried_as_its_steps_will_use_it(lab: LabThread, told):
    (line,) = told("winrm")
    assert line.startswith("ok   connection 'subject' (winrm) for windows works: ")

    async def unprepared() -> None:
        lab.stand_in("winrm").host.folders.clear()  # type: ignore[attr-defined]

    lab.run(unprepared())
    (line,) = told("winrm")
    assert line.startswith("fail connection 'subject' (winrm) for windows does not work: ")
    assert "the job root is not there" in line


def test_a_bucket_is_tried_as_deliveries_will_use_it(lab: LabThread, told):
    (line,) = told("s3")
    assert line.startswith(
        "ok   connection 'subject' (aws) for fileshare works: connection 'subject': logged in to s3://"
    )

    async def dishonest() -> None:
        lab.stand_in("s3").honest = False  # type: ignore[attr-defined]

    lab.run(dishonest())
    (line,) = told("s3")
    assert line.startswith("fail connection 'subject' (aws) for fileshare does not work: ")
    assert "ignores If-None-Match" in line


def test_an_sftp_server_is_tried_as_deliveries_will_use_it(lab: LabThread, told):
    (line,) = told("ssh", conn_type="sftp")
    assert line.startswith("ok   connection 'subject' (sftp) for fileshare works: ")
    assert (cast("SshStandIn", lab.stand_in("ssh")).home / ".enterprise-orch" / "probe").exists()
    extra = lab.endpoints["ssh"]["connection"]["extra"]
    (line,) = told("ssh", conn_type="sftp", extra={**extra, "private_key": None}, password="wrong")
    assert line.startswith("fail connection 'subject' (sftp) for fileshare does not work: ")
    assert "refused the login" in line


def test_a_samba_server_is_tried_as_deliveries_will_use_it(told):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {"conn_type": "samba", "host": "127.0.0.1", "port": port, "login": "maria", "password": "secret-word"}
    (line,) = told("ssh", **given, schema="drop", extra={})
    assert line.startswith("fail connection 'subject' (samba) for fileshare does not work: smb://maria@127.0.0.1:")
    assert "cannot be reached" in line
    (line,) = told("ssh", **given, extra={})
    assert "it has no schema (the share); fill that field in" in line
    assert "secret-word" not in line


def test_a_connection_is_tried_for_each_system_whose_steps_use_it(lab: LabThread, told):
    steps = """unix.script: {connection: subject, script: "true"}
  two:
    fileshare.deliver: {connection: subject, to: a.txt, content: x}"""
    fileshare, unix = told("ssh", steps)
    assert fileshare.startswith("ok   connection 'subject' (ssh) for fileshare works: ")
    assert unix.startswith("ok   connection 'subject' (ssh) for unix works: ")
    lab.reset("ssh")
    (line,) = told(
        "ssh", steps, password="wrong", extra={**lab.endpoints["ssh"]["connection"]["extra"], "private_key": None}
    )
    assert "refused the login" in line
    assert cast("SshStandIn", lab.stand_in("ssh")).refused_logins == 1, "what was refused once is not tried again"


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")  # Airflow's own call
def test_a_connection_type_of_ours_is_tried_by_its_hook(told):
    (line,) = told("zosmf")
    assert line.startswith("ok   connection 'subject' (zosmf) works: z/OSMF 27.0 answers, the login works")


def test_connection_is_found_where_airflow_keeps_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_HOST_A", '{"conn_type": "ssh", "host": "h"}')
    assert doctor.find_connection("host_a").host == "h"


def test_exit_code_tells_whether_something_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "small.yaml").write_text(TEMPLATE)
    monkeypatch.setattr(doctor, "find_connection", lambda name: None)
    assert doctor.main(["--templates", str(tmp_path)]) == 1
    assert "connection 'host_a' (ssh) does not exist" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "find_connection", lambda name: Connection(conn_id=name, conn_type="ssh"))
    assert doctor.main(["--templates", str(tmp_path)]) == 0
