"""Delivery of a 1 GiB file to S3: memory over idle, and throughput beside boto3's own upload in the same run.

``python -m tests.bench.delivery [--mib N] [--rounds N]``. The lab's S3 runs as a process of its own, and so does each
upload; the kinds take turns. Memory is the peak of resident memory after the client has delivered a small file, so that
imports and connections are not counted. ``promise kept`` says whether both promised figures hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PROMISED_MIB = 64
PROMISED_RATIO = 0.8


class Peak:
    """The peak of this process's resident memory while a block runs, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.idle = self.most = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self.most = max(self.most, resident())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured(upload: Any) -> None:
    """Upload something small, then what is to be measured, and print the figures."""
    upload("small", small=True)
    with Peak() as peak:
        begun, used = time.perf_counter(), time.process_time()
        upload("large", small=False)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    print(json.dumps({"seconds": seconds, "cpu": cpu, "over_idle": peak.most - peak.idle}))


def plain(connection: dict[str, Any], file: Path, number: str) -> None:
    import boto3

    extra = connection["extra"]
    client = boto3.client(
        "s3",
        endpoint_url=extra["endpoint_url"],
        region_name=extra["region_name"],
        aws_access_key_id=connection["login"],
        aws_secret_access_key=connection["password"],
    )
    bucket = extra["service_config"]["s3"]["bucket_name"]

    def upload(name: str, *, small: bool) -> None:
        client.upload_file(str(file) + (".small" if small else ""), bucket, f"plain/{number}.{name}")

    measured(upload)


def ours(connection: dict[str, Any], file: Path, number: str) -> None:
    from airflow_enterprise_orch.systems.fileshare.hook import open_fileshare
    from airflow_enterprise_orch.systems.fileshare.steps import FileshareDeliver

    os.environ["AIRFLOW_CONN_BENCH"] = json.dumps(connection)
    with asyncio.Runner() as runner:
        opened = open_fileshare("bench")
        share = runner.run(opened.__aenter__())

        def upload(name: str, *, small: bool) -> None:
            key = "B" + (number + name).upper().rjust(19, "0")
            work = FileshareDeliver(to=f"ours/{number}.{name}", file=str(file) + (".small" if small else ""))
            handle = runner.run(share.submit(work, key))
            code = runner.run(share.result(handle)).code
            if code != "delivered":
                raise RuntimeError(f"{handle.name} was not delivered: {code}")

        measured(upload)
        runner.run(opened.__aexit__(None, None, None))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.delivery", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        kind, connection, file, number = options.child
        (plain if kind == "plain" else ours)(json.loads(connection), Path(file), number)
        return 0
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "file"
        block = os.urandom(1 << 20)
        with file.open("wb") as sink:
            for _ in range(options.mib):
                sink.write(block)
        Path(f"{file}.small").write_bytes(block)
        figures: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
        for number in range(options.rounds):
            for kind in sorted(figures, reverse=number % 2 == 0):  # neither is always the second
                os.sync()  # what the store of the one before wrote must not slow down this one's
                figures[kind].append(_once(kind, file, number))
    return _tell(figures, options.mib)


def _once(kind: str, file: Path, number: int) -> dict[str, float]:
    """Measure one upload against a store of its own, so that nothing of the one before is in its way."""
    command = [sys.executable, "-m", "airflow_enterprise_orch", "lab", "--json", "--only", "s3", "--with-parent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab:
        if lab.stdout is None:
            raise RuntimeError("subprocess made no pipe")
        connection = json.dumps(json.loads(lab.stdout.readline())["s3"]["connection"])
        child = [sys.executable, "-m", "tests.bench.delivery", "--child", kind, connection, str(file), str(number)]
        done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
        lab.terminate()
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _tell(figures: dict[str, list[dict[str, float]]], mib: int) -> int:
    rates = {}
    for kind, told in figures.items():
        rates[kind] = mib / statistics.median(one["seconds"] for one in told)
        over = max(one["over_idle"] for one in told) / (1 << 20)
        cpu = statistics.median(one["cpu"] for one in told)
        print(f"  {kind:6} {rates[kind]:7.1f} MiB/s   {over:6.1f} MiB over idle   {cpu:6.2f} s of CPU")
    ratio = rates["ours"] / rates["plain"]
    most = max(one["over_idle"] for one in figures["ours"]) / (1 << 20)
    kept = ratio >= PROMISED_RATIO and most <= PROMISED_MIB
    print(f"  throughput over plain: {ratio:.2f} (promised {PROMISED_RATIO})   memory: promised {PROMISED_MIB} MiB")
    print(f"  promise kept: {'yes' if kept else 'NO'}")
    return 0 if kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
