"""Texts of a step in a file beside the template: the same as in it, and wrong ones say where in the file.

How a user would notice that it is fake: a mistake in the file is told at the template's line, or when the certificate
is due; somebody changes the file, and instances go on with the old text, or a running one with the new; a name with
``..`` or a link reads what is none of the template's business; in a snapshot the file is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_enterprise_orch.template_tools.diff import diff
from airflow_enterprise_orch.value_stream.bundle import TemplateBundle
from airflow_enterprise_orch.value_stream.compile import plan_stream
from airflow_enterprise_orch.value_stream.loader import find_problems
from airflow_enterprise_orch.value_stream.model import ValueStream

HEAD = """\
value_stream: certify
title: Certify
business: {domain: D, owner: o}
params: {order: {type: string, default: "1"}, amount: {type: number, default: 5}}
steps:
  certify:
    fileshare.certificate:
      connection: share
      to: "orders/{{ params.order }}.pdf"
      instance: "{{ params.order }}"
"""
TEXT = "# Done\n\nOrder {{ params.order }} is complete.\n{% if params.amount > 100 %}\nThank you.\n{% endif %}\n"
NAMED = "      template: certificate.txt.j2\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "bundles"))
    root = tmp_path / "templates"
    root.mkdir()
    (root / "certify.yaml").write_text(HEAD + NAMED)
    (root / "certificate.txt.j2").write_text(TEXT)
    return root


def load(folder: Path, name: str = "certify.yaml") -> ValueStream:
    return ValueStream.load(folder / name, name=name)


def text_of(stream: ValueStream) -> Any:
    return stream.steps["certify"].work["text"]  # type: ignore[union-attr]


@pytest.mark.parametrize("write", [str.encode, lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")])
def test_a_text_of_a_file_is_the_same_as_in_the_template(folder: Path, write: Any) -> None:
    (folder / "certificate.txt.j2").write_bytes(write(TEXT))
    indented = "".join(f"        {line}\n" for line in TEXT.splitlines())
    (folder / "inline.yaml").write_text(HEAD + f"      text: |\n{indented}")
    found, inline = load(folder), load(folder, "inline.yaml")
    assert text_of(found) == text_of(inline) == TEXT
    assert found.digest() == inline.digest()
    mine, its = plan_stream(found, source="x").to_json(), plan_stream(inline, source="x").to_json()
    assert {**mine, "seen": {}} == {**its, "seen": {}}, "Airflow gets the same task"


def test_a_changed_text_is_another_version(folder: Path) -> None:
    before = load(folder)
    (folder / "certificate.txt.j2").write_text(TEXT.replace("Thank you", "Thanks"))
    assert load(folder).digest() != before.digest()
    (change,) = diff(before, load(folder))
    assert change.where.startswith("steps.certify.fileshare.certificate.text")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "One\n\n  for {{ params.ordre }}\n",
            "certificate.txt.j2:3:10 text: there is no param 'ordre', did you mean 'params.order', correct it",
        ),
        ("{{ steps.later.rc }}", "certificate.txt.j2:1:4 text: there is no step 'later'"),
        ("a\n{% for x in params.order %}{% endfor %}", "certificate.txt.j2:2:1 text: a loop is not available"),
        ("a\n{{ conn.share.password }}", "certificate.txt.j2:2:4 text: 'conn.share' is not available in templates"),
        ("a\nb {{ params.order", "certificate.txt.j2:2:3 text: this is no Jinja"),
        (" \n", "certificate.txt.j2:1:1 text: the file is empty, write the text into it"),
        ("x" * 20_001, "certificate.txt.j2:1:1 text: the text has more than 20,000 characters, shorten it"),
        ("a\nb \u202e", "certificate.txt.j2:2:3 text: the character U+202E makes a text look different"),
        ("a\n k AKIAQWERTYUIOPASDFGH", "certificate.txt.j2:2:4 text: this is a key of AWS, remove it"),
        (b"a\n \xff", "certificate.txt.j2:2:2 text: the byte 0xff is not UTF-8, save the file as UTF-8"),
    ],
)
def test_a_mistake_is_told_where_it_stands_in_the_file(folder: Path, content: str | bytes, said: str) -> None:
    (folder / "certificate.txt.j2").write_bytes(content if isinstance(content, bytes) else content.encode())
    (problem,) = find_problems(folder)
    assert problem.startswith(said)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("template: certificat.txt.j2", "beside the template, did you mean 'certificate.txt.j2', correct it"),
        ("template: ../secret.j2", "'../secret.j2' is no file beside the template, name it as certificate.txt.j2"),
        ("template: /etc/passwd", "'/etc/passwd' is no file beside the template"),
        ("template: '{{ params.order }}.j2'", "is no file beside the template"),
        ("template: outside.j2", "'outside.j2' is a link to a place outside of the templates' folder"),
        (
            "template: certificate.txt.j2\n      text: Done",
            "give 'text' or 'template' (a file that holds it), not both",
        ),
    ],
)
def test_only_a_file_beside_the_template_can_be_named(folder: Path, named: str, said: str) -> None:
    outside = folder.parent / "secret.j2"
    outside.write_text("secret")
    (folder / "outside.j2").symlink_to(outside)
    (folder / "certify.yaml").write_text(HEAD + f"      {named}\n")
    (problem,) = find_problems(folder)
    assert problem.startswith(("certify.yaml:8:", "certify.yaml:11:"))
    assert said in problem


def test_a_snapshot_holds_the_text_and_an_older_one_the_text_of_before(folder: Path) -> None:
    def snapshot() -> Path:
        made = TemplateBundle(name="streams", path=str(folder), store=str(folder.parent / "store"))
        made.initialize()
        return Path(made.path)

    before = snapshot()
    (folder / "certificate.txt.j2").write_text("Only this.\n")
    after = snapshot()
    assert before != after
    assert [text_of(ValueStream.load(place / "certify.yaml")) for place in (before, after)] == [TEXT, "Only this.\n"]


def test_what_undoes_a_step_may_have_its_text_in_a_file_too(folder: Path) -> None:
    undo = "".join(f"  {line}\n" for line in (HEAD + NAMED).split("  certify:\n")[1].splitlines())
    more = "  next: {after: [certify], unix.script: {connection: c, command: /x}}\n"
    (folder / "certify.yaml").write_text(HEAD + NAMED + f"    compensate:\n{undo}" + more)
    undone = load(folder).steps["certify"].compensate  # type: ignore[union-attr]
    assert undone is not None
    assert (undone.work["text"], "template" in undone.work) == (TEXT, False)
