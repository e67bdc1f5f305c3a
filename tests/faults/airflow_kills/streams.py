"""The value streams that are in flight while processes die: YAML, as any author writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .plan import Instance

MIXED, ENDLESS = "kills_mixed", "kills_endless"
STREAMS = (MIXED, ENDLESS)
CONNECTIONS: Mapping[str, str] = {"kill_zos": "zosmf", "kill_host_a": "ssh", "kill_host_b": "ssh"}
"""The Airflow connections, and the stand-in of the lab behind each."""

DOWNSTREAM: Mapping[str, tuple[str, ...]] = {"extract": ("load",), "book": ("load",), "load": (), "wait": ()}
UPSTREAM: Mapping[str, tuple[str, ...]] = {"extract": (), "book": (), "load": ("extract", "book"), "wait": ()}
"""What a clear takes with it, when it is asked to."""

TEMPLATES: Mapping[str, str] = {
    MIXED: """\
value_stream: kills_mixed
title: Two jobs at once, then a third
business: {domain: Tests, owner: tests, criticality: low, key: "{{ params.order }}"}
params:
  order: {type: string}
  first: {type: string}
  second: {type: string}
  third: {type: string}
steps:
  extract:
    unix.script:
      connection: kill_host_a
      script: 'echo "$ORDER"; sleep "$LASTS"'
      env: {ORDER: "{{ params.order }}", LASTS: "{{ params.first }}"}
    retry: [{on: [failed, abended], times: 1, delay: 2s}]
  book:
    mainframe.job:
      connection: kill_zos
      jcl: |
        //KILLBOOK JOB (ACCT),CLASS=A
        //STEP1    EXEC PGM=LABPROG,PARM='SLEEP=&LASTS'
      symbols: {LASTS: "{{ params.second }}"}
    retry: [{on: [failed, abended], times: 1, delay: 2s}]
  load:
    after: [extract, book]
    unix.script:
      connection: kill_host_b
      script: 'echo "$ORDER"; sleep "$LASTS"'
      env: {ORDER: "{{ params.order }}", LASTS: "{{ params.third }}"}
""",
    ENDLESS: """\
value_stream: kills_endless
title: A first job that ends only when somebody ends it
business: {domain: Tests, owner: tests, criticality: low, key: "{{ params.order }}"}
params:
  order: {type: string}
steps:
  wait:
    unix.script:
      connection: kill_host_a
      # The first job of an order finds no folder of that name. Every later one does, and ends.
      script: 'if mkdir "$HOME/$ORDER" 2>/dev/null; then sleep 3000; fi; sleep 3'
      env: {ORDER: "{{ params.order }}"}
""",
}


def write(folder: Path) -> Path:
    """Write the templates to a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TEMPLATES.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def started_with(instance: Instance) -> tuple[str, dict[str, Any]]:
    """Return the stream of an instance and what it is started with."""
    if instance.endless:
        return ENDLESS, {"order": instance.run_id}
    first, second, third = map(str, instance.seconds)
    return MIXED, {"order": instance.run_id, "first": first, "second": second, "third": third}
