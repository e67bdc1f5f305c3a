"""What is shipped, and what must agree with what."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
import yaml

from airflow_enterprise_orch.delegation.system import registrations, step_type
from airflow_enterprise_orch.demo import story
from airflow_enterprise_orch.demo.airflow import COMPONENTS, CORE_SETTINGS
from airflow_enterprise_orch.demo.run import BY_HAND, template_bundle
from airflow_enterprise_orch.executive_view.pages import STATIC
from airflow_enterprise_orch.provider_info import get_provider_info
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.steps import BranchStep, DelegatedStep
from airflow_enterprise_orch.value_stream.template_folder import find_templates

FILES = [path for path in STATIC.rglob("*") if path.is_file()]
CLIENTS = ("httpx", "asyncssh", "aiohttp", "rich", "cel_expr_python", "airflow.providers.ssh", "requests")


@pytest.fixture(scope="module")
def compose(root: Path) -> dict:
    return yaml.safe_load((root / "docker-compose.yml").read_text())


def test_provider_info_is_what_airflow_wants():
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_provider_info_has_the_name_of_the_package(root: Path):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert get_provider_info()["package-name"] == project["name"]


def test_every_connection_type_of_ours_has_a_hook_that_can_be_imported():
    from airflow.sdk.module_loading import import_string

    for connection_type in get_provider_info()["connection-types"]:
        hook = import_string(connection_type["hook-class-name"])
        assert hook.conn_type == connection_type["connection-type"]


def test_what_every_airflow_process_imports_at_its_start_imports_no_client():
    modules = [entry.module for entry in entry_points(group="airflow_enterprise_orch.systems")]
    modules.append("airflow_enterprise_orch.provider_info")
    program = f"""
import sys, importlib
for name in {modules!r}:
    importlib.import_module(name)
from airflow_enterprise_orch.provider_info import get_provider_info
get_provider_info()
print([name for name in {CLIENTS!r} if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_system_in_the_registry_is_in_a_package_of_its_own_name():
    """A folder with two protocols brings two systems, whose names begin with the folder's."""
    for registration in registrations():
        assert f".systems.{registration.name.partition('_')[0]}." in registration.opener


def test_compose_file_follows_the_compose_specification(root: Path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    answer = subprocess.run([*command, str(root / "docker-compose.yml")], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_compose_file_starts_what_the_demo_starts(compose: dict):
    commands = {name: service.get("command") for name, service in compose["services"].items()}
    assert {name for name, command in commands.items() if name == command} == set(COMPONENTS)
    assert commands["migrate"] == "db migrate"
    assert {"postgres", "lab"} <= set(commands)


def test_compose_file_has_the_core_settings_of_the_demo(compose: dict):
    for name in COMPONENTS:
        environment = compose["services"][name]["environment"]
        wanted = {**CORE_SETTINGS, **BY_HAND}
        assert {key: environment.get(key) for key in wanted} == wanted


def test_compose_file_has_the_lab_s_connections_where_airflow_looks_for_them(compose: dict):
    """Otherwise whoever starts an order gets one failed step, and a connection that is not defined."""
    words = compose["services"]["lab"]["entrypoint"]
    file = words[words.index("--connections") + 1]
    for name in (*COMPONENTS, "lab"):
        assert "lab:/opt/lab" in compose["services"][name]["volumes"], name
    for name in COMPONENTS:
        environment = compose["services"][name]["environment"]
        assert environment["AIRFLOW__SECRETS__BACKEND"].endswith(".LocalFilesystemBackend")
        assert json.loads(environment["AIRFLOW__SECRETS__BACKEND_KWARGS"]) == {"connections_file_path": file}
    assert file.startswith("/opt/lab/")
    assert compose["services"]["lab"]["environment"]["TMPDIR"] == "/opt/lab", "the files that connections name"


def test_compose_file_serves_templates_as_the_demo_does(compose: dict):
    configured = compose["services"]["scheduler"]["environment"]["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"]
    (bundle,) = json.loads(configured)
    demo = template_bundle(Path("/opt/templates"))
    assert (bundle["name"], bundle["classpath"]) == (demo["name"], demo["classpath"])
    assert bundle["kwargs"]["path"] == "/opt/templates"


def test_compose_file_holds_no_secret(root: Path):
    text = (root / "docker-compose.yml").read_text()
    for name in ("FERNET_KEY", "SECRET_KEY", "JWT_SECRET", "PASSWORD"):
        for value in re.findall(rf"^\s+\w*{name}: (.+)$", text, re.MULTILINE):
            assert re.fullmatch(r"\$\{\w+:\?.+\}", value), f"{name} is not taken from the environment: {value}"


def test_every_dependency_has_its_reason(root: Path):
    """Each costs every Airflow team something: nobody can drop one, or keep it, whose reason is not told."""
    text = (root / "pyproject.toml").read_text()
    data = tomllib.loads(text)
    groups = [data["project"]["dependencies"], *data["project"]["optional-dependencies"].values()]
    groups += [data["dependency-groups"]["dev"], data["build-system"]["requires"]]
    wanted = [entry for group in groups for entry in group if not entry.startswith("airflow-enterprise-orch[")]
    told = re.findall(r'^ *"([^"]+)", # .*\w.*$|^ *# [^\n]*\w[^\n]*\n *"([^"]+)",$', text, re.MULTILINE)
    assert sorted(wanted) == sorted(one or other for one, other in told if (one or other) in wanted)


def test_constraints_are_exact_hashed_and_name_no_index(root: Path):
    text = (root / "constraints.txt").read_text()
    assert not re.search(r"https?:|file:|index-url|find-links", text)
    entries = re.split(r"\n(?=[a-z0-9])", text.partition("\n")[2].strip())
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_constraints_cover_every_dependency(root: Path):
    data = tomllib.loads((root / "pyproject.toml").read_text())
    groups = [data["project"]["dependencies"], *data["project"]["optional-dependencies"].values()]
    groups += [data["dependency-groups"]["dev"], data["build-system"]["requires"]]
    wanted = {re.split(r"[><=\[ ]", entry)[0].lower() for group in groups for entry in group}
    pinned = set(re.findall(r"^([a-z0-9._-]+)==", (root / "constraints.txt").read_text(), re.MULTILINE))
    assert wanted - pinned == {"airflow-enterprise-orch"}


@pytest.fixture(scope="module")
def stream() -> ValueStream:
    return ValueStream.load(story.templates() / f"{story.STREAM}.yaml")


def test_demo_knows_every_delegated_step_of_its_template(stream: ValueStream):
    delegated = {name for name, step in stream.steps.items() if isinstance(step, DelegatedStep)}
    assert {step for _heading, steps in story.STAGES for step in steps} == delegated


@pytest.fixture(scope="module")
def shipped() -> list[ValueStream]:
    return [ValueStream.load(path) for _name, path in find_templates(story.templates())]


def test_demo_knows_every_connection_of_the_shipped_templates_and_no_other(shipped: list[ValueStream]):
    steps = [step for stream in shipped for step in stream.steps.values() if isinstance(step, DelegatedStep)]
    told = {rule.to.webhook.connection for stream in shipped for rule in stream.alerts if rule.to.webhook is not None}
    assert set(story.CONNECTIONS) == {step.connection for step in steps} | told


def test_every_connection_leads_to_a_stand_in_of_the_right_kind(shipped: list[ValueStream]):
    """A step of SAP that leads to the lab's S3 store would fail only when somebody runs it."""
    serving = {
        "zosmf": "mainframe",
        "controlm": "mainframe_scheduler",
        "sap_soap_rfc": "sap",
        "sap_odata": "sap_odata",
        "ssh": "unix",
        "docker": "container",
        "s3": "fileshare",
        "winrm": "windows",
    }
    for stream in shipped:
        for step in stream.steps.values():
            if isinstance(step, DelegatedStep):
                assert step_type(step.step)[0].name == serving[story.CONNECTIONS[step.connection]], (stream.id, step.id)


def test_five_streams_of_different_trades_are_shipped_and_show_every_step_type(shipped: list[ValueStream]):
    assert len(shipped) == len({stream.business.domain for stream in shipped}) == 5
    assert all(8 <= len(stream.steps) <= 16 for stream in shipped)
    used = {step.step for stream in shipped for step in stream.steps.values() if isinstance(step, DelegatedStep)}
    assert used == {kind.name for registration in registrations() for kind in registration.steps}


def test_demo_takes_every_path_of_its_template(stream: ValueStream):
    targets = {name for step in stream.steps.values() if isinstance(step, BranchStep) for name in step.targets}
    taken = {step for instance in story.instances() for step in instance.expected}
    # A branch that leads to another branch chooses no work by itself.
    assert {name for name in targets if not isinstance(stream.steps[name], BranchStep)} == taken == set(story.CHOICES)
    assert any("approve" not in instance.expected for instance in story.instances())


def test_demo_starts_twenty_different_instances():
    keys = [instance.key for instance in story.instances()]
    assert len(keys) == len(set(keys)) == 20


def test_every_whole_template_in_the_readme_is_right(root: Path):
    blocks = re.findall(r"```yaml\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    streams = [textwrap.dedent(block) for block in blocks if "value_stream:" in block]
    assert [ValueStream.load(text).id for text in streams] == ["nightly_statement"]


def test_every_link_in_the_documents_leads_somewhere(root: Path):
    for document in (root / "README.md", *(root / "docs").rglob("*.md")):
        text = re.sub(r"`[^`\n]*`", "", document.read_text())  # a pattern in code can look like a link
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (document.parent / link).exists(), f"{document.name} links to {link}"


def test_wheel_holds_the_package_and_the_templates(root: Path, tmp_path: Path):
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(tmp_path), str(root)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert f"airflow_enterprise_orch/dag_templates/{story.STREAM}.yaml" in names
    assert {"airflow_enterprise_orch/py.typed", "airflow_enterprise_orch/provider_info.py"} <= names
    # The pages of the executive view: git ignores them, the wheel must not.
    built = {f"airflow_enterprise_orch/executive_view/static/{path.relative_to(STATIC).as_posix()}" for path in FILES}
    assert "airflow_enterprise_orch/executive_view/static/main.js" in built <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "plugins/"))]
