"""The first template of somebody who has never written one: small, commented, right, with cases of its own."""

from __future__ import annotations

from pathlib import Path

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.template_folder import CASES, SUFFIXES

_TEMPLATE = """\
# A value stream: what a business process is called, what a run of it is started with, and its steps.
# Check it:  enterprise-orch lint {name}.yaml          Look at it:  enterprise-orch explain {name}.yaml
# Try it:    enterprise-orch test {name}.yaml          (its cases are in {name}.cases.yaml)

value_stream: {name} # its id, and its DAG's in Airflow
title: {title}
description: Say here what it does, and for whom.

business:
  domain: Name the part of the business
  owner: name-the-team # who answers for it
  criticality: normal # or: low, high, critical
  key: "{{{{ params.reference }}}}" # what the business calls one run of it
  duplicates: reject # a second live run with the same key fails at once (or: queue, allow)

# What a run is started with. Airflow makes a form of it.
params:
  reference: {{type: string, title: Reference, pattern: "^[A-Z]{{2}}-[0-9]+$"}}
  amount: {{type: number, title: Amount, minimum: 0}}

steps:
  # A step done by a connected system. `connection` names an Airflow connection: host and login live there, never here.
  prepare:
    title: Prepare
    unix.script:
      connection: name_the_connection
      env: {{REFERENCE: "{{{{ params.reference }}}}"}}
      script: |
        set -eu
        echo "RECEIPT=receipt-of-$REFERENCE"
    outputs: # values for later steps, found by a regular expression with one group
      receipt: {{log: log, match: 'RECEIPT=(\\S+)'}}
    retry:
      - {{on: [failed], times: 1, delay: 1m}}
    time_limit: 30m

  # Rules choose what comes next; the first that holds is taken.
  check:
    title: Is a release needed?
    after: [prepare]
    branch:
      - when: params.amount > 1000.0
        then: [release]
      - otherwise: [finish]

  # A person answers, in Airflow under "Required Actions".
  release:
    title: Release
    approval:
      subject: "Release {{{{ params.reference }}}} over {{{{ params.amount }}}}?"
      within: 1d
      on_timeout: fail # or: approve, reject
      on_reject: fail # or: skip

  # Two ways lead here; it runs once, on whichever was taken.
  finish:
    title: Finish
    after: [release]
    unix.script:
      connection: name_the_connection
      script: echo "done with $1"
      args: ["{{{{ steps.prepare.receipt }}}}"]
"""

_CASES = """\
# What {name}.yaml must do, case by case. Run them:  enterprise-orch test {name}.yaml

params: {{reference: AB-1, amount: 10}} # what all cases start with, unless they say otherwise
results:
  prepare: {{rc: 0, receipt: receipt-of-AB-1}}

cases:
  a small amount needs no release:
    takes: [prepare, check, finish]

  a large amount is released:
    params: {{amount: 5000}}
    results:
      release: {{answer: approved}} # or: rejected, nobody
    takes: [prepare, check, release, finish]

  a rejection ends it:
    params: {{amount: 5000}}
    results:
      release: {{answer: rejected}}
    takes: [prepare, check, release]
    ends: failed
"""


def scaffold(name: str, folder: Path) -> tuple[Path, Path]:
    """Write a new template and its cases; return their paths.

    :raises OrchestrationError: when the name is none for a stream, or something of this name is there already.
    """
    template, cases = folder / f"{name}{SUFFIXES[0]}", folder / f"{name}{CASES[0]}"
    texts = {template: _TEMPLATE, cases: _CASES}
    title = name.replace("_", " ").capitalize()
    filled = {path: text.format(name=name, title=title) for path, text in texts.items()}
    try:
        known = ValueStream.load(filled[template], name=template.name)
    except OrchestrationError as error:
        remedy = "use a-z, 0-9 and _, beginning with a letter, at most 100"
        raise OrchestrationError(f"{name!r} is no name for a value stream; {remedy}") from error
    if known.id != name:
        raise OrchestrationError(f"{name!r} is no name for a value stream; use a-z, 0-9 and _")
    for path in (*(folder / f"{name}{suffix}" for suffix in (*SUFFIXES, *CASES)),):
        if path.exists():
            raise OrchestrationError(f"{path} is there already, and is left as it is; choose another name or folder")
    for path, text in filled.items():
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OrchestrationError(f"{path} cannot be written: {error.strerror}; check the folder") from error
    return template, cases
