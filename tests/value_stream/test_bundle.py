"""The bundle: snapshots that never change, one DAG file per template, nothing lost for runs in flight."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from airflow.dag_processing.bundles import base
from airflow.dag_processing.bundles.base import BaseDagBundle, BundleVersion

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream import live_runs
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.served_on import EDITS_FILE


def template(stream: str, more: str = "") -> str:
    return f"value_stream: {stream}\ntitle: A stream\n{more}"


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Airflow's own folder for bundles out of the way."""
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    monkeypatch.setattr(base, "STALE_BUNDLE_TRACKING_FOLDER", tmp_path / "bundles" / "_tracking")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "templates"
    (path / "billing").mkdir(parents=True)
    (path / "orders.yaml").write_text(template("orders"))
    (path / "billing" / "invoices.yaml").write_text(template("invoices"))
    return path


def make(folder: Path, **more: object) -> TemplateBundle:
    more.setdefault("name", "streams")
    return TemplateBundle(path=str(folder), store=str(folder.parent / "store"), **more)


def ready(folder: Path, **more: object) -> TemplateBundle:
    bundle = make(folder, **more)
    bundle.initialize()
    return bundle


def version(bundle: TemplateBundle) -> str:
    current = bundle.get_current_version()
    assert isinstance(current, BundleVersion)
    return current.version


def listing(bundle: TemplateBundle) -> list[str]:
    return sorted(path.name for path in bundle.path.iterdir())


def test_each_template_has_a_dag_file_named_by_its_stream(folder: Path) -> None:
    bundle = ready(folder)
    assert [name for name in listing(bundle) if not name.endswith(".json")] == [
        "broken-edits.py", "invoices.py", "invoices.yaml", "orders.py", "orders.yaml",
    ]  # fmt: skip
    assert (bundle.path / "invoices.yaml").read_text() == template("invoices")


def test_airflow_lists_exactly_the_dag_files(folder: Path) -> None:
    from airflow.utils.file import list_py_file_paths

    bundle = ready(folder)
    found = list_py_file_paths(bundle.path, safe_mode=True)
    assert sorted(Path(path).name for path in found) == ["broken-edits.py", "invoices.py", "orders.py"]


def test_the_same_templates_are_the_same_version_everywhere(folder: Path, tmp_path: Path) -> None:
    elsewhere = TemplateBundle(path=str(folder), store=str(tmp_path / "another"), name="streams")
    elsewhere.initialize()
    assert version(ready(folder)) == version(elsewhere)


def test_a_change_is_a_new_version_and_the_old_one_stays(folder: Path) -> None:
    bundle = ready(folder)
    before, old = version(bundle), bundle.path
    (folder / "orders.yaml").write_text(template("orders", "description: changed\n"))
    bundle.refresh()
    assert version(bundle) != before
    assert (old / "orders.yaml").read_text() == template("orders")
    pinned = ready(folder, version=before)
    assert pinned.path == old
    assert version(pinned) == before


def test_a_pinned_version_cannot_be_refreshed(folder: Path) -> None:
    pinned = ready(folder, version=version(ready(folder)))
    with pytest.raises(OrchestrationError, match="pinned"):
        pinned.refresh()


def test_a_renamed_template_keeps_its_dag_file(folder: Path) -> None:
    bundle = ready(folder)
    (folder / "orders.yaml").rename(folder / "billing" / "customer_orders.yaml")
    bundle.refresh()
    assert "orders.py" in listing(bundle)
    assert "billing/customer_orders.yaml" in (bundle.path / "orders.py").read_text()


def test_two_files_of_one_stream_name_each_other(folder: Path) -> None:
    (folder / "copy.yaml").write_text("# copied\n" + template("orders"))
    bundle = ready(folder)
    stubs = [path.read_text() for path in bundle.path.glob("*.py")]
    assert any("copy.yaml:2:1 value_stream: 'orders' is also declared by orders.yaml" in stub for stub in stubs)
    assert any("orders.yaml:1:1 value_stream: 'orders' is also declared by copy.yaml" in stub for stub in stubs)
    assert "orders.py" not in listing(bundle)
    assert "invoices.py" in listing(bundle)


def test_a_duplicate_does_not_take_the_running_stream_away(folder: Path) -> None:
    bundle = ready(folder)
    (folder / "copy.yaml").write_text(template("orders"))
    bundle.refresh()
    assert "why='twice'" in (bundle.path / "orders.py").read_text()


def test_a_file_that_declares_nothing_has_a_dag_file_of_its_own(folder: Path) -> None:
    (folder / "broken.yaml").write_text("title: [\n")
    bundle = ready(folder)
    [stub] = [path for path in bundle.path.glob("broken-*.py") if path.name != EDITS_FILE]
    assert "'broken.yaml'" in stub.read_text()


def test_hidden_files_and_calendars_are_no_templates(folder: Path) -> None:
    (folder / "calendars").mkdir()
    (folder / "calendars" / "banking.yaml").write_text("holidays: []\n")
    (folder / ".draft.yaml").write_text("x")
    (folder / "_parts").mkdir()
    (folder / "_parts" / "x.yml").write_text("x")
    assert len(list(ready(folder).path.glob("*.yaml"))) == 2


def test_a_file_name_cannot_put_code_into_a_dag_file(folder: Path) -> None:
    hostile = "a'\nimport os; os.environ['HACKED'] = '1'\n#.yaml"
    (folder / hostile).write_text(template("hostile"))
    stub = (ready(folder).path / "hostile.py").read_text()
    assert not any(line.startswith("import os") for line in stub.splitlines())
    compile(stub, "hostile.py", "exec")


def test_a_missing_folder_is_said_and_takes_nothing_away(folder: Path) -> None:
    bundle = ready(folder)
    before = version(bundle)
    folder.rename(folder.parent / "moved")
    with pytest.raises(OrchestrationError, match="there is no folder"):
        bundle.refresh()
    assert version(bundle) == before


def test_a_snapshot_that_this_machine_has_not_is_said(folder: Path, tmp_path: Path) -> None:
    old = version(ready(folder))
    other = TemplateBundle(path=str(folder), store=str(tmp_path / "other"), name="streams", version=old)
    with pytest.raises(OrchestrationError, match="let all machines that run tasks share that folder"):
        other.initialize()


@pytest.mark.parametrize("wrong", ["../../etc", "x", "", "0" * 20 + "/../.."])
def test_a_version_is_never_a_path(folder: Path, wrong: str) -> None:
    with pytest.raises(OrchestrationError, match="no version of a template bundle"):
        make(folder, version=wrong)


@pytest.mark.parametrize(
    "arguments", [{}, {"path": "a", "source": {"classpath": "a.b"}}, {"path": "a", "keep_days": 0}]
)
def test_wrong_settings_are_said(arguments: dict[str, object]) -> None:
    with pytest.raises(OrchestrationError, match="bundle 'streams'"):
        TemplateBundle(name="streams", **arguments)


def test_unused_snapshots_are_removed_by_age_and_the_current_one_never(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_runs, "live_versions", frozenset)
    bundle = ready(folder)
    first = bundle.path
    (folder / "orders.yaml").write_text(template("orders", "description: 2\n"))
    bundle.refresh()
    second = bundle.path
    (folder / "orders.yaml").write_text(template("orders", "description: 3\n"))
    long_ago = time.time() - 100 * 86400
    left_over = first.parent / ".new-crashed"
    left_over.mkdir()
    for path in (first, second, left_over):
        os.utime(path, (long_ago, long_ago))
    ready(folder, version=second.name)  # a task of a run in flight starts
    ready(folder)
    assert not first.exists()
    assert second.exists()
    assert not left_over.exists()


def test_airflows_own_clean_up_takes_no_snapshot(folder: Path) -> None:
    from airflow.dag_processing.bundles.base import (
        BundleUsageTrackingManager,
        BundleVersionLock,
        TrackedBundleVersionInfo,
    )

    bundle = ready(folder)
    pinned = ready(folder, version=version(bundle))
    with BundleVersionLock("streams", version(bundle)) as lock:
        tracking = lock.lock_file_path
    assert tracking is not None and tracking.exists()
    BundleUsageTrackingManager._remove_stale_bundle(
        "streams", TrackedBundleVersionInfo(lock_file_path=tracking, version=version(bundle), dt=None)
    )
    assert not tracking.exists()  # it went through
    assert (pinned.path / "orders.py").exists()


def test_concurrent_processes_make_one_whole_snapshot(folder: Path) -> None:
    for number in range(30):
        (folder / f"more_{number}.yaml").write_text(template(f"more_{number}"))
    code = (
        "import sys\n"
        "from airflow_enterprise_orch.value_stream.bundle import TemplateBundle\n"
        f"b = TemplateBundle(name='streams', path={str(folder)!r}, store={str(folder.parent / 'store')!r})\n"
        "b.initialize()\n"
        "print(b.get_current_version().version, len(list(b.path.glob('*.yaml'))))\n"
    )

    def start(_: int) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(3) as pool:
        outs = list(pool.map(start, range(3)))
    assert len({out.splitlines()[-1] for out in outs}) == 1
    assert outs[0].splitlines()[-1].endswith(" 32")
    names = sorted(path.name for path in (folder.parent / "store").iterdir())
    assert len(names) == 2  # the snapshot and current.json


class Versioned(BaseDagBundle):
    """A bundle with versions of its own: each is a folder."""

    supports_versioning = True

    def __init__(self, *, root: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.root = Path(root)

    def _newest(self) -> str:
        return self.version or max(path.name for path in self.root.iterdir())

    def get_current_version(self) -> BundleVersion:
        return BundleVersion(self._newest())

    def refresh(self) -> None:
        assert self.version is None

    @property
    def path(self) -> Path:
        return self.root / self._newest()


def test_another_bundle_can_be_the_source_and_restores_lost_snapshots(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    (root / "v1").mkdir(parents=True)
    (root / "v1" / "orders.yaml").write_text(template("orders"))
    settings = {"classpath": f"{__name__}.Versioned", "kwargs": {"root": str(root)}}
    bundle = TemplateBundle(name="streams", source=settings, store=str(tmp_path / "store"))
    bundle.initialize()
    first = version(bundle)
    assert first.endswith(".v1")
    (root / "v2").mkdir()
    (root / "v2" / "orders.yaml").write_text(template("orders", "description: 2\n"))
    bundle.refresh()
    assert version(bundle).endswith(".v2")
    elsewhere = TemplateBundle(name="streams", source=settings, store=str(tmp_path / "worker"), version=first)
    elsewhere.initialize()
    assert (elsewhere.path / "orders.yaml").read_text() == template("orders")


def test_a_source_that_is_no_bundle_is_said() -> None:
    bundle = TemplateBundle(name="streams", source={"class": "x"})
    with pytest.raises(OrchestrationError, match="source must be"):
        bundle.initialize()


def plan_of(stem: str) -> str:
    return json.dumps({"of": stem, "plan": {"seen": {}}})


def test_what_did_not_change_is_not_read_again_and_keeps_its_plan(folder: Path) -> None:
    """Airflow reads DAG files whose time is newer than its last look before all others."""
    bundle = ready(folder)
    old = bundle.path
    for stem in ("orders", "invoices"):
        (old / f".{stem}.yaml.plan.json").write_text(plan_of(stem))
        os.utime(old / f"{stem}.py", (1_700_000_000, 1_700_000_000))
    (folder / "orders.yaml").write_text(template("orders", "description: changed\n"))
    bundle.refresh()
    assert bundle.path != old
    assert (bundle.path / "invoices.py").stat().st_mtime == 1_700_000_000
    assert (bundle.path / "orders.py").stat().st_mtime > 1_700_000_000
    assert (bundle.path / ".invoices.yaml.plan.json").read_text() == json.dumps(
        {"of": "invoices", "plan": {"seen": {}}}
    )
    assert not (bundle.path / ".orders.yaml.plan.json").exists()
    # What the next reading leaves there is not written into the snapshot before.
    (bundle.path / "new").write_text("another plan")
    (bundle.path / "new").replace(bundle.path / ".invoices.yaml.plan.json")
    assert (old / ".invoices.yaml.plan.json").read_text() == plan_of("invoices")


def test_a_change_that_is_taken_back_is_seen_too(folder: Path) -> None:
    bundle = ready(folder)
    first = bundle.path
    (folder / "orders.yaml").write_text(template("orders", "description: changed\n"))
    bundle.refresh()
    (bundle.path / ".invoices.yaml.plan.json").write_text(json.dumps({"plan": {"seen": {}}}))
    for path in first.glob("*.py"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    (folder / "orders.yaml").write_text(template("orders"))
    bundle.refresh()
    assert bundle.path == first
    assert (first / "orders.py").stat().st_mtime > 1_700_000_000
    assert (first / "invoices.py").stat().st_mtime == 1_700_000_000


def test_a_changed_calendar_makes_airflow_look_at_who_uses_it(folder: Path) -> None:
    (folder / "calendars").mkdir()
    calendar = folder / "calendars" / "office.yaml"
    calendar.write_text("calendar: office\n")
    bundle = ready(folder)
    old = bundle.path
    text = (old / "calendars" / "office.yaml").read_bytes()
    uses = {"calendars/office.yaml": hashlib.sha256(text).hexdigest()}
    for stem, seen in (("orders", uses), ("invoices", {})):
        (old / f".{stem}.yaml.plan.json").write_text(json.dumps({"plan": {"seen": seen}}))
        os.utime(old / f"{stem}.py", (1_700_000_000, 1_700_000_000))
    calendar.write_text("calendar: office\ntitle: Changed\n")
    bundle.refresh()
    assert (bundle.path / "orders.py").stat().st_mtime > 1_700_000_000
    assert (bundle.path / "invoices.py").stat().st_mtime == 1_700_000_000
