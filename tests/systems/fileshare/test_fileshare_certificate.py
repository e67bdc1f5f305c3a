"""The certificate of completion and its verification code.

How a user would notice that it is fake: a certificate with another amount passes the check; a customer's name loses
letters; the certificate that was checked is not the one that was delivered.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from shares_for_tests import NAME

from airflow_enterprise_orch.cli import main
from airflow_enterprise_orch.errors import ConnectionInvalid, RequestRejected
from airflow_enterprise_orch.systems.fileshare.certificate import Seal, render, verify
from airflow_enterprise_orch.systems.fileshare.steps import FileshareCertificate

SEAL = Seal("0123456789abcdef0123456789abcdef")
MOMENT = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
KEY = "TAAAAAAAAAAAAAAAAAAA"


def work(**more):
    given = {
        "to": "orders/42/certificate.pdf",
        "instance": "ORD-000042",
        "issuer": "Bank für Häuser",
        "recipient": "Zoë Ångström",
        "text": "All steps were completed.\n\nThe account is open.",
        "facts": {"Amount": "9,300.00 EUR"},
    }
    return FileshareCertificate(**{**given, **more})


def test_a_certificate_is_a_pdf_that_says_what_was_asked_for(tmp_path):
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no independent PDF reader here (apt-get install poppler-utils)")
    made = render(work(), KEY, MOMENT, SEAL)
    file = tmp_path / "certificate.pdf"
    file.write_bytes(made.pdf)
    read = subprocess.run([reader, "-layout", file, "-"], check=True, capture_output=True)
    assert not read.stderr, read.stderr
    text = read.stdout.decode()
    for said in (
        "ORD-000042",
        "Bank für Häuser",
        "Zoë Ångström",
        "9,300.00 EUR",
        "2026-03-01 08:30:00 UTC",
        made.code,
        KEY,
    ):
        assert said in text


def test_a_genuine_one_verifies_and_says_what_it_is_about():
    made = render(work(), KEY, MOMENT, SEAL)
    verdict = verify(made.pdf, SEAL)
    assert verdict.genuine
    assert made.code in verdict.reason
    assert verdict.about == {"instance": "ORD-000042", "issued": "2026-03-01T08:30:00+00:00", "key": KEY}


def test_any_changed_byte_is_found_out():
    pdf = render(work(), KEY, MOMENT, SEAL).pdf
    for place in range(0, len(pdf), 997):
        changed = pdf[:place] + bytes([pdf[place] ^ 1]) + pdf[place + 1 :]
        assert not verify(changed, SEAL).genuine, f"byte {place} may be anything"
    assert not verify(pdf + b"\n", SEAL).genuine
    assert not verify(pdf.replace(b"EOC1-", b"EOC2-"), SEAL).genuine
    assert not verify(b"", SEAL).genuine


def test_the_code_of_one_certificate_is_no_good_on_another():
    one = render(work(), KEY, MOMENT, SEAL)
    other = render(work(facts={"Amount": "9,900.00 EUR"}), KEY, MOMENT, SEAL)
    assert one.code != other.code
    assert not verify(other.pdf.replace(other.code.encode(), one.code.encode()), SEAL).genuine


def test_another_secret_does_not_verify():
    assert not verify(render(work(), KEY, MOMENT, SEAL).pdf, Seal("another-secret-of-somebody-else")).genuine


def test_a_blank_code_is_not_genuine():
    made = render(work(), KEY, MOMENT, SEAL)
    assert not verify(made.pdf.replace(made.code.encode(), b"EOC1-0000-0000-0000-0000-0000"), SEAL).genuine


def test_a_letter_that_the_font_lacks_is_refused_and_not_left_out():
    with pytest.raises(RequestRejected, match=r"no letter '済' \(U\+6E08\).*certificate_font"):
        render(work(recipient="済"), KEY, MOMENT, SEAL)


def test_a_long_text_goes_on_to_the_next_page():
    made = render(work(text="\n\n".join(f"Paragraph {number} " + "w" * 60 for number in range(50))), KEY, MOMENT, SEAL)
    assert len(re.findall(rb"/Type /Page\b", made.pdf)) >= 2
    assert verify(made.pdf, SEAL).genuine


def test_the_seal_s_secret_is_not_in_its_repr_nor_in_the_pdf():
    assert SEAL.secret not in repr(SEAL)
    assert SEAL.secret.encode() not in render(work(), KEY, MOMENT, SEAL).pdf


def test_the_delivered_certificate_passes_the_command_and_a_forged_one_does_not(share, key, tmp_path, capsys):
    async def deliver(client):
        handle = await client.submit(work(), key)
        assert (await client.result(handle)).code == "delivered"
        return await client.read_source(handle, "code"), json.loads(await client.read_source(handle, "manifest"))

    code, manifest = share.run(deliver)
    assert manifest["code"] == code
    file = tmp_path / "certificate.pdf"
    file.write_bytes(share.files()["orders/42/certificate.pdf"])
    assert main(["verify", str(file)]) == 0
    said = capsys.readouterr().out
    assert f"genuine, sealed with connection {NAME!r}" in said
    assert code in said
    assert "ORD-000042" in said
    assert main(["verify", str(file), "--connection", NAME]) == 0
    capsys.readouterr()
    file.write_bytes(file.read_bytes().replace(b"ORD-000042", b"ORD-000043"))
    assert main(["verify", str(file)]) == 1
    assert "NOT GENUINE" in capsys.readouterr().out


def test_whose_secret_it_is_can_be_demanded_and_must_be_said(s3, announce, tmp_path, capsys, monkeypatch):
    # Somebody has a connection of their own, and has made a certificate with it that names it.
    theirs = {**s3.connection, "extra": {**s3.connection["extra"], "certificate_secret": "their own long secret"}}
    monkeypatch.setenv("AIRFLOW_CONN_THEIRS", json.dumps(theirs))
    file = tmp_path / "theirs.pdf"
    file.write_bytes(render(work(), KEY, MOMENT, Seal("their own long secret", connection="theirs")).pdf)
    assert main(["verify", str(file)]) == 0
    assert "sealed with connection 'theirs'" in capsys.readouterr().out
    assert main(["verify", str(file), "--connection", NAME]) == 1
    file.write_bytes(file.read_bytes().replace(b'"connection": "theirs"', b'"connection": "' + NAME.encode() + b'"'))
    assert main(["verify", str(file)]) == 1
    file.write_bytes(render(work(), KEY, MOMENT, SEAL).pdf)
    assert main(["verify", str(file)]) == 1
    assert "names no connection" in capsys.readouterr().out


def test_an_unreadable_file_is_told_in_one_line(s3, capsys):
    assert main(["verify", "/no/such.pdf", "--connection", NAME]) == 2
    assert "/no/such.pdf cannot be read" in capsys.readouterr().err


def test_a_connection_without_a_secret_says_what_to_do(s3, announce, key):
    extra = {name: value for name, value in s3.connection["extra"].items() if name != "certificate_secret"}
    announce({**s3.connection, "extra": extra})
    with pytest.raises(ConnectionInvalid, match="certificate_secret of at least 16"):
        s3.run(lambda client: client.submit(work(), key))
    assert s3.files() == {}


def test_a_second_rendering_after_a_death_does_not_make_a_second_certificate(share, key):
    class Died(BaseException):
        pass

    async def die(*_):
        raise Died

    async def first(client):
        client._store.confirm = die
        with pytest.raises(Died):
            await client.submit(work(), key)

    async def second(client):
        handle = await client.submit(work(), key)
        return await client.read_source(handle, "code")

    share.run(first)
    delivered = share.files()["orders/42/certificate.pdf"]
    code = share.run(second)
    assert share.files()["orders/42/certificate.pdf"] == delivered
    assert code.encode() in delivered


LAYOUT = """\
# The policy is in force
Dear customer,
all is done:
- the premium was booked,
- the policy was printed
| Premium a year | EUR 480 |
---
- and more | than that
"""


def test_lines_of_the_text_say_how_they_are_set(tmp_path):
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no independent PDF reader here (apt-get install poppler-utils)")
    file = tmp_path / "certificate.pdf"
    file.write_bytes(render(work(text=LAYOUT), KEY, MOMENT, SEAL).pdf)
    read = subprocess.run([reader, "-layout", file, "-"], check=True, capture_output=True).stdout.decode()
    lines = [" ".join(line.split()) for line in read.splitlines() if line.strip()]
    start = lines.index("The policy is in force")
    assert lines[start + 1 : start + 6] == [
        "Dear customer, all is done:",
        "- the premium was booked,",
        "- the policy was printed",
        "Premium a year: EUR 480",
        "- and more | than that",
    ]


def test_a_text_that_should_have_been_read_from_a_file_is_never_left_out():
    """A DAG in Python has no template beside which a file could lie."""
    given = {"to": "a.pdf", "instance": "1", "template": "certificate.txt.j2"}
    with pytest.raises(ValueError, match="give the text itself as 'text'"):
        FileshareCertificate.rendered(given)
    assert (
        FileshareCertificate.model_validate(given).digest() == FileshareCertificate(to="a.pdf", instance="1").digest()
    )
