"""S3: independent clients of the stand-in, stores that do not keep their word, links, faults, a real foreign server.

How a user would notice that it is fake: boto3 fails against the stand-in; a store that ignores If-None-Match loses the
customer's file; a link that works without a signature, or for ever.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request

import asyncssh
import boto3
import pytest
from airflow.models import Connection
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.exceptions import ClientError
from shares_for_tests import NAME, Share, free_port, until_it_answers

from airflow_enterprise_orch import doctor
from airflow_enterprise_orch.delegation.system import Absent, Found
from airflow_enterprise_orch.errors import (
    AnswerLost,
    ConnectionInvalid,
    LoginRefused,
    OrchestrationError,
    RequestRejected,
    SystemBusy,
    SystemUnreachable,
)
from airflow_enterprise_orch.systems.fileshare.hook import test_fileshare_connection as check_connection
from airflow_enterprise_orch.systems.fileshare.steps import FileshareDeliver

BUCKET = "certificates"
LOCALSTACK = (
    "'localstack-core[base-runtime,runtime]==4.6.*' 'cbor2<5.7' 'pyopenssl==25.1.0' 'cryptography<46' 'psutil<7.1' "
    "'service_identity<24.3'"
)
"""Its last release that runs without an account; what it does not pin has moved on since."""
BIG = os.urandom(1 << 20) * 21


@pytest.fixture
def client(lab, s3):
    end = lab.endpoints["s3"]
    made = boto3.client(
        "s3",
        endpoint_url=end["url"],
        region_name="eu-central-1",
        aws_access_key_id=end["user"],
        aws_secret_access_key=end["password"],
    )
    yield made
    made.close()


def code_of(call, **arguments):
    with pytest.raises(ClientError) as refused:
        call(Bucket=BUCKET, **arguments)
    return refused.value.response["Error"]["Code"]


def work(**more):
    return FileshareDeliver(**{"to": "orders/42.txt", "content": "done", **more})


# The stand-in, as others see it.


def test_boto3_moves_large_files_through_the_stand_in_with_its_own_defaults(client, tmp_path):
    file = tmp_path / "big"
    file.write_bytes(BIG)
    client.upload_file(str(file), BUCKET, "a b/größe.bin")
    client.download_file(BUCKET, "a b/größe.bin", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == BIG
    assert client.get_object(Bucket=BUCKET, Key="a b/größe.bin", Range="bytes=5-9")["Body"].read() == BIG[5:10]
    (found,) = client.list_objects_v2(Bucket=BUCKET, Prefix="a b/")["Contents"]
    assert (found["Key"], found["Size"]) == ("a b/größe.bin", len(BIG))
    client.delete_object(Bucket=BUCKET, Key="a b/größe.bin")
    assert code_of(client.get_object, Key="a b/größe.bin") == "NoSuchKey"


def test_the_stand_in_keeps_if_none_match_and_checksums(client):
    put = client.put_object
    put(Bucket=BUCKET, Key="x", Body=b"one", IfNoneMatch="*")
    assert code_of(put, Key="x", Body=b"two", IfNoneMatch="*") == "PreconditionFailed"
    wrong = base64.b64encode(bytes(32)).decode()
    assert code_of(put, Key="y", Body=b"two", ChecksumSHA256=wrong) == "BadDigest"
    assert code_of(client.head_object, Key="y") == "404"
    assert client.get_object(Bucket=BUCKET, Key="x")["Body"].read() == b"one"


def test_the_stand_in_pages_its_listings(client):
    for number in range(7):
        client.put_object(Bucket=BUCKET, Key=f"page/{number}/x", Body=b"")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="page/", Delimiter="/", PaginationConfig={"PageSize": 3}
    )
    found = [[prefix["Prefix"] for prefix in page["CommonPrefixes"]] for page in pages]
    assert [len(page) for page in found] == [3, 3, 1]
    assert [prefix for page in found for prefix in page] == [f"page/{number}/" for number in range(7)]


def test_the_amazon_provider_s_own_hook_reads_what_was_delivered(s3, key):
    s3.run(lambda share: share.submit(work(), key))
    given = {**s3.connection, "extra": json.dumps(s3.connection["extra"])}

    class Prepared(S3Hook):
        @classmethod
        def get_connection(cls, conn_id):
            return Connection(conn_id=conn_id, **given)

    hook = Prepared(aws_conn_id=NAME)
    assert hook.read_key("orders/42.txt") == "done"
    assert hook.check_for_key("orders/42.txt.manifest.json")


# What we rely on, and what we do without it.


@pytest.mark.parametrize("signed", [False, True])
def test_a_part_that_changes_on_its_way_is_refused(s3, announce, tmp_path, key, monkeypatch, signed):
    """Its checksum is in a signed header; the body is in the signature too only where the connection says so."""
    (tmp_path / "big").write_bytes(BIG)
    told = {"config_kwargs": {"s3": {"payload_signing_enabled": True}}} if signed else {}
    announce({**s3.connection, "extra": {**s3.connection["extra"], **told}})
    sent = []

    def spoil(request, **_):
        sent.append(request.headers["X-Amz-Content-SHA256"])
        request.body = bytes(request.body.getbuffer().nbytes)

    made = S3Hook.get_client_type

    def wired(self, *given, **more):
        client = made(self, *given, **more)
        client.meta.events.register("before-send.s3.UploadPart", spoil)
        return client

    monkeypatch.setattr(S3Hook, "get_client_type", wired)
    with pytest.raises(RequestRejected, match="XAmzContentSHA256Mismatch" if signed else "BadDigest"):
        s3.run(lambda share: share.submit(work(to="big", content=None, file=str(tmp_path / "big")), key))
    assert {value == b"UNSIGNED-PAYLOAD" for value in sent} == {not signed}
    assert s3.files() == {}


def test_a_store_that_ignores_if_none_match_gets_nothing(s3, key):
    s3.s3.honest = False
    s3.put("orders/42.txt", b"theirs")
    with pytest.raises(ConnectionInvalid, match="ignores If-None-Match"):
        s3.run(lambda share: share.submit(work(), key))
    assert s3.files() == {"orders/42.txt": b"theirs"}
    done, said = asyncio.run(check_connection(NAME))
    assert not done
    assert "ignores If-None-Match" in said


def test_a_real_store_that_ignores_it_is_found_out(tmp_path, announce, key):
    rclone = shutil.which("rclone")
    if rclone is None or "s3" not in subprocess.run([rclone, "serve", "--help"], capture_output=True, text=True).stdout:
        pytest.skip("no rclone here that serves S3 (1.65 or newer; Debian 12 has 1.60)")
    (tmp_path / "drop").mkdir()
    port = free_port()
    server = subprocess.Popen(
        [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "user,secretsecret", str(tmp_path)]
    )
    try:
        until_it_answers(server, port, tmp_path / "log")
        extra = {"endpoint_url": f"http://127.0.0.1:{port}", "service_config": {"s3": {"bucket_name": "drop"}}}
        connection = {"conn_type": "aws", "login": "user", "password": "secretsecret", "extra": extra}
        announce(connection)
        with pytest.raises(ConnectionInvalid, match="ignores If-None-Match"):
            Share("rclone", connection, tmp_path / "drop").run(lambda share: share.submit(work(), key))
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(params=["moto_server", "localstack"])
def foreign(request, tmp_path, announce, monkeypatch):
    """Start an S3 server that is not ours; return its client and whether it checks checksums."""
    program = shutil.which(request.param)
    if program is None:
        packages = {"moto_server": "'moto[server]'", "localstack": LOCALSTACK}[request.param]
        pytest.skip(f"no {request.param} on the PATH (pip install {packages}, in an environment of its own)")
    port = free_port()
    command = (
        [program, "-H", "127.0.0.1", "-p", str(port)]
        if request.param == "moto_server"
        else [program, "start", "--host"]
    )
    own = {
        "SERVICES": "s3",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DISABLE_EVENTS": "1",
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True)
    try:
        until_it_answers(server, port, tmp_path / "log")
        url = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket=BUCKET)
        extra = {
            "endpoint_url": url,
            "region_name": "us-east-1",
            "service_config": {"s3": {"bucket_name": BUCKET}},
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        connection = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
        announce(connection)
        yield client, Share(request.param, connection)
        client.close()
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


@pytest.mark.parametrize("size", [4, len(BIG)])
def test_a_store_that_is_not_ours_gets_the_same_delivery(foreign, key, new_key, tmp_path, size):
    client, share = foreign
    file = tmp_path / "big"
    file.write_bytes(BIG[:size])
    given = work(content=None, file=str(file))

    async def live(opened):
        handles = [await opened.submit(given, key), await opened.submit(given, new_key())]
        handles.append(await opened.submit(work(content="other"), new_key()))
        handles.append(await opened.submit(work(content="other", to="late.txt"), new_key()))
        return [(await opened.result(handle)).code for handle in handles], opened._store._checks

    codes, checks = share.run(live)
    assert codes == ["delivered", "present", "conflict", "delivered"]
    assert client.get_object(Bucket=BUCKET, Key="orders/42.txt")["Body"].read() == BIG[:size]
    assert not client.list_multipart_uploads(Bucket=BUCKET).get("Uploads"), "a stage was left behind"
    assert checks is (share.kind == "localstack"), "whether the store checks checksums was not found out"


def test_the_parts_of_a_large_file_are_checked_by_the_store(s3, key, tmp_path):
    file = tmp_path / "big"
    file.write_bytes(BIG)
    s3.run(lambda share: share.submit(work(content=None, file=str(file)), key))
    assert s3.files()["orders/42.txt"] == BIG
    parts = [line for line in s3.s3.requests if "partNumber=" in line]
    assert len(parts) == 3
    assert not [line for line in s3.s3.requests if line == "GET /certificates/orders/42.txt"], "read back needlessly"


def test_a_part_that_the_store_fails_on_is_sent_again(s3, lab, key, tmp_path):
    file = tmp_path / "big"
    file.write_bytes(BIG)
    lab.fault("s3", "error_500", on="any", match="partNumber=2")
    lab.fault("s3", "cut_after_commit", on="any", match="partNumber=3")
    s3.run(lambda share: share.submit(work(content=None, file=str(file)), key))
    assert s3.files()["orders/42.txt"] == BIG


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit", "error_500", "half_answer"])
@pytest.mark.parametrize("size", [4, len(BIG)])
def test_a_publication_without_an_answer_is_never_taken_for_either(s3, lab, key, tmp_path, fault, size):
    file = tmp_path / "source"
    file.write_bytes(BIG[:size])
    given = work(content=None, file=str(file))
    lab.fault("s3", fault, on="any", match=r"^PUT /certificates/orders/42.txt$|^POST .*42.txt\?uploadId")

    async def live(share):
        with pytest.raises(AnswerLost):
            await share.submit(given, key)
        assert await share.find(key) == Absent()
        return await share.result(await share.submit(given, key))

    assert s3.run(live).code == "delivered"
    assert s3.files()["orders/42.txt"] == BIG[:size]


def test_before_the_publication_nothing_was_handed_over(s3, lab, key):
    lab.fault("s3", "html_503", on="any", match="/claims/")
    with pytest.raises(SystemBusy):
        s3.run(lambda share: share.submit(work(), key))
    assert s3.files() == {}


def test_a_record_that_arrives_late_is_found(s3, lab, key):
    lab.fault("s3", "late_commit", on="submit", seconds=0.5)

    async def live(share):
        with pytest.raises(AnswerLost):
            await share.submit(work(), key)
        while not isinstance(sighting := await share.find(key), Found):
            await asyncio.sleep(0.05)
        return sighting.candidates[0].handle

    assert s3.run(live).name == "orders/42.txt"


# Links and logins.


def test_a_link_opens_the_file_and_ends(s3, key, monkeypatch):
    async def live(share):
        handle = await share.submit(work(link="2h"), key)
        return await share.read_source(handle, "link")

    link = s3.run(live)
    with urllib.request.urlopen(link) as answer:
        assert answer.read() == b"done"
    assert "X-Amz-Expires=7200" in link
    for forged in (link.replace("42.txt", "42.txt.manifest.json"), link.replace("=7200", "=604800")):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(forged).close()
    real = time.time
    monkeypatch.setattr("airflow_enterprise_orch.lab.s3.time.time", lambda: real() + 7201)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(link).close()


def test_a_link_is_nowhere_but_in_the_output(s3, key):
    async def live(share):
        handle = await share.submit(work(), key)
        await share.read_source(handle, "link")
        return handle, await share.read_tail(handle)

    handle, log = s3.run(live)
    everything = json.dumps(handle.to_json()) + log + "".join(map(bytes.decode, s3.s3.objects().values()))
    assert "X-Amz-Signature" not in everything


@pytest.mark.parametrize(("field", "value"), [("login", "NOBODY"), ("password", "not-the-secret")])
def test_a_wrong_login_is_refused_in_words(s3, announce, key, field, value):
    announce({**s3.connection, field: value})
    with pytest.raises(LoginRefused, match="refused the login") as refused:
        s3.run(lambda share: share.find(key))
    assert "not-the-secret" not in str(refused.value)


def test_a_connection_without_a_bucket_says_so(s3, announce, key):
    announce({**s3.connection, "extra": {"endpoint_url": "http://127.0.0.1:1"}})
    with pytest.raises(ConnectionInvalid, match="names no bucket"):
        s3.run(lambda share: share.find(key))


def test_a_bucket_that_is_not_there_says_so(s3, announce, key):
    extra = {**s3.connection["extra"], "service_config": {"s3": {"bucket_name": "nowhere"}}}
    announce({**s3.connection, "extra": extra})
    with pytest.raises(OrchestrationError, match="NoSuchBucket"):
        s3.run(lambda share: share.submit(work(), key))


def test_everything_stays_below_the_share_root(s3, announce, key):
    announce({**s3.connection, "extra": {**s3.connection["extra"], "share_root": "team/out/"}})
    s3.run(lambda share: share.submit(work(), key))
    names = [name for name in s3.s3.objects() if not name.startswith("samples/")]
    assert names
    assert all(name.startswith("team/out/") for name in names)


def test_a_connection_of_another_type_says_so(s3, announce, key):
    announce({"conn_type": "http", "host": "x"})
    with pytest.raises(ConnectionInvalid, match="its type is 'http'; a file share needs one of 'aws', 'sftp'"):
        s3.run(lambda share: share.find(key))


def test_the_connection_test_says_where_it_got_to(share):
    done, said = asyncio.run(check_connection(NAME))
    assert done, said
    assert "logged in to" in said


def test_the_doctor_tries_each_kind_of_share_as_deliveries_will_use_it(share):
    found = Connection(conn_id="drop", **{**share.connection, "extra": json.dumps(share.connection["extra"])})
    (tried,) = doctor.check_connections({"drop": {"fileshare"}}, lambda name: found, log_in=True)
    kind = share.connection["conn_type"]
    assert str(tried).startswith(
        f"ok   connection 'drop' ({kind}) for fileshare works: connection 'drop': logged in to "
    )
    given = {**share.connection, "extra": json.dumps({**share.connection["extra"], "share_root": "../elsewhere"})}
    found = Connection(conn_id="drop", **given)
    (tried,) = doctor.check_connections({"drop": {"fileshare"}}, lambda name: found, log_in=True)
    assert str(tried).startswith(f"fail connection 'drop' ({kind}) for fileshare does not work: ")
    assert "share_root" in str(tried)


def test_a_wrong_password_or_key_is_refused_on_every_share_and_not_told(share, announce, key, tmp_path):
    extra = {
        name: value for name, value in share.connection["extra"].items() if not name.startswith(("private", "key_"))
    }
    if share.kind == "OpenSSH":  # it takes keys only
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "another_key")
        extra["key_file"] = str(tmp_path / "another_key")
    announce({**share.connection, "password": "not-the-password", "extra": extra})

    async def twice(client):
        for _ in range(2):
            with pytest.raises(LoginRefused) as refused:
                await client.find(key)
            assert "not-the-password" not in str(refused.value)

    share.run(twice)


def test_a_server_that_goes_away_in_mid_wait_is_unreachable_not_missing(s3, lab, key):
    async def live(share):
        handle = await share.submit(work(), key)
        lab.fault("s3", "cut_before_commit", on="find")
        with pytest.raises(SystemUnreachable):
            await share.poll([handle])

    s3.run(live)


def test_the_checksum_of_the_whole_is_in_the_manifest(s3, key, tmp_path):
    file = tmp_path / "big"
    file.write_bytes(BIG)
    s3.run(lambda share: share.submit(work(content=None, file=str(file)), key))
    manifest = json.loads(s3.files()["orders/42.txt.manifest.json"])
    assert manifest["sha256"] == hashlib.sha256(BIG).hexdigest()
