"""``enterprise-orch hold ORD-000042 post_invoice --reason "..."``: actions from the command line.

Each asks for a preview first, says what would happen, and acts on exactly what the preview saw. Exit codes: 0 done,
1 refused (the line says why), 2 the command itself could not be carried out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_enterprise_orch.errors import OrchestrationError
from airflow_enterprise_orch.operate.client import URL, ActionRefused, ActionsApi, part

COMMANDS: Mapping[str, str] = {
    "hold": "keep steps from beginning: of an instance, a stream, a system or a connection",
    "release": "let go on what was held",
    "skip": "go on without a step",
    "complete": "count a step as done, with the outputs that later steps need",
    "cancel": "end a step and its remote job",
    "retry": "try again what failed",
    "restart": "run an instance again from a step on",
    "override": "send a branch or a choice another way",
    "params": "give params new values, for steps that have not begun",
    "priority": "let an instance go before or after others",
    "due": "move the due time of an instance",
    "acknowledge": "say that somebody looks after an instance",
    "unacknowledge": "say that nobody does any more",
}
WITHOUT_STEP = frozenset({"params", "priority", "due", "acknowledge", "unacknowledge"})
PAUSE = 1.0
"""Seconds between two looks how far an action on many instances is."""


def main(arguments: Sequence[str], api: ActionsApi | None = None) -> int:
    """Run ``COMMAND ARGUMENTS``; return the exit code."""
    options = _parser(arguments[0]).parse_args(list(arguments[1:]))
    options.command = arguments[0]
    url = options.url
    if api is None and not url:
        raise OrchestrationError(f"nobody says where Airflow is: give --url, or set {URL}")
    try:
        with api or ActionsApi(url, ca_file=options.ca_file) as used:
            return _run(used, options)
    except ActionRefused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        return 1


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"enterprise-orch {command}", description=COMMANDS[command])
    parser.add_argument("key", metavar="KEY", nargs="?", help="the instance's business key")
    if command not in WITHOUT_STEP:
        parser.add_argument("step", metavar="STEP", nargs="?", help="the step; without it the instance as a whole")
    parser.add_argument("--reason", required=True, help="why; kept in the audit trail")
    parser.add_argument("--stream", metavar="ID", help="the stream, where several have the key; or to hold all of it")
    parser.add_argument("--run", metavar="RUN_ID", help="Airflow's run id, where several instances have the key")
    parser.add_argument("--where", metavar="FILTER=VALUE", action="append", default=[], help="act on all that fit")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")
    parser.add_argument(
        "--confirm", metavar="TOKEN", action="append", default=[], help="what the preview asks to confirm"
    )
    parser.add_argument("--id", default="", help="the action's id: the same once more changes nothing")
    parser.add_argument("--format", choices=("human", "json"), default="human")
    parser.add_argument("--url", default=os.environ.get(URL, ""), help=f"Airflow's API server; default ${URL}")
    parser.add_argument("--ca-file", type=Path, help="certificates to trust beside the system's")
    if command in ("skip", "complete", "cancel", "retry", "hold", "release"):
        parser.add_argument("--item", type=int, metavar="N", help="of a step with a list, only its Nth item, from 1")
    if command in ("skip", "complete"):
        parser.add_argument("--leave-job", action="store_true", help="leave the remote job alone")
    if command == "hold":
        parser.add_argument("--until", type=_moment, metavar="WHEN", help="2026-12-01T06:00+01:00, or 06:00 (local)")
        parser.add_argument("--system", help="hold all steps of a kind of system")
        parser.add_argument("--connection", help="hold all steps of an Airflow connection")
    if command == "release":
        parser.add_argument("--hold", metavar="ID", help="the hold of a stream, system or connection")
    if command == "complete":
        parser.add_argument("--output", metavar="NAME=VALUE", action="append", default=[], help="JSON, or a text")
    if command == "override":
        parser.add_argument("--to", metavar="STEP", action="append", required=True, dest="targets")
    if command == "params":
        parser.add_argument("--set", metavar="NAME=VALUE", action="append", required=True, dest="params")
    if command == "due":
        parser.add_argument("--at", type=_moment, metavar="WHEN", required=True, dest="due_at")
    if command == "priority":
        parser.add_argument("--to", type=int, metavar="N", required=True, dest="priority")
    return parser


def _run(api: ActionsApi, options: argparse.Namespace) -> int:
    given = vars(options)
    if options.command == "release" and given.get("hold"):
        body = {"id": _id(options), "reason": options.reason}
        return _tell(options, api.post(f"holds/{part(given['hold'])}/release", body), "released")
    scope = next((name for name in ("system", "connection") if given.get(name)), "")
    if options.command == "hold" and not options.key and not options.where and (scope or options.stream):
        return _hold_many(api, options, scope or "stream")
    if options.where:
        return _many(api, options)
    if not options.key:
        raise OrchestrationError("name an instance by its business key, or say --where for many")
    row = _instance(api, options)
    path = f"dags/{part(row['dag_id'])}/dagRuns/{part(row['run_id'])}/actions"
    body = {"id": _id(options), **_asked(options), "confirm": options.confirm}
    preview = api.post(f"{path}/preview", body)
    if options.format == "human":
        _show(preview)
    if not preview["allowed"]:
        raise ActionRefused(422, "; ".join(preview["refusals"]))
    missing = [one for one in preview["confirmations"] if one["token"] not in options.confirm]
    if options.dry_run:
        return _tell(options, preview, "") if options.format == "json" else 0
    if missing:
        tokens = " ".join(f"--confirm {one['token']}" for one in missing)
        raise ActionRefused(422, f"to be confirmed first: {'; '.join(one['text'] for one in missing)}; add {tokens}")
    return _tell(options, api.post(path, {**body, "version": preview["version"]}), "done")


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """Return the action as the API takes it."""
    given = vars(options)
    asked: dict[str, Any] = {"action": options.command, "step": given.get("step"), "reason": options.reason}
    asked |= {name: given[name] for name in ("targets", "priority", "leave_job") if given.get(name)}
    asked |= {name: given[name].isoformat() for name in ("until", "due_at") if given.get(name)}
    if given.get("item") is not None:
        asked["map_index"] = given["item"] - 1
    if given.get("output"):
        asked["outputs"] = _values(given["output"])
    if given.get("params"):
        asked["params"] = _values(given["params"])
    return asked


def _hold_many(api: ActionsApi, options: argparse.Namespace, scope: str) -> int:
    name = vars(options)[scope]
    body = {"id": _id(options), "scope": scope, "name": name, "reason": options.reason}
    if options.until:
        body["until"] = options.until.isoformat()
    if options.dry_run:
        raise OrchestrationError(
            "a hold of many has no dry run: `enterprise-orch` shows it under holds, to be released"
        )
    return _tell(options, api.post("holds", body), "held")


def _many(api: ActionsApi, options: argparse.Namespace) -> int:
    """Ask of all instances that fit, and wait until it is carried out."""
    if options.key and options.command not in WITHOUT_STEP and options.step is None:
        options.key, options.step = None, options.key  # with --where, what stands alone is the step
    filters: dict[str, Any] = {}
    for name, value in (_pair(one) for one in options.where):
        filters[name] = [*filters[name], value] if isinstance(filters.get(name), list) else value
        if name in ("stream", "domain", "owner", "criticality", "state", "health", "step", "stack", "waits_for"):
            filters[name] = filters[name] if isinstance(filters[name], list) else [value]
        elif value in ("true", "false"):
            filters[name] = value == "true"
    if options.stream:
        filters["stream"] = [options.stream]
    action = {**_asked(options), "confirm": options.confirm}
    bulk = api.post("bulk", {"id": _id(options), "filter": filters, "action": action, "dry_run": options.dry_run})
    if options.format == "human":
        print(bulk["sentence"])
    while bulk["state"] == "running":
        time.sleep(PAUSE)
        bulk = api.get(f"bulk/{part(bulk['id'])}")
        if options.format == "human":
            done = bulk["done"] + bulk["refused"] + bulk["failed"]
            print(f"  {done:,} of {bulk['total']:,}", file=sys.stderr)
    code = _tell(options, bulk, "")
    if options.format == "human" and bulk["state"] != "dry_run":
        print(f"{bulk['state']}: {bulk['done']:,} done, {bulk['refused']:,} refused, {bulk['failed']:,} failed")
        for row in api.get(f"bulk/{part(bulk['id'])}/results", outcome="refused")["items"]:
            print(f"  {row['key']}: {row['text']}")
    return 1 if bulk["refused"] or bulk["failed"] else code


def _instance(api: ActionsApi, options: argparse.Namespace) -> dict[str, Any]:
    """Return the instance that is meant: of several with the same key the only one that lives."""
    found = list(api.instances(options.key, options.stream, options.run))
    live = [row for row in found if row["live"]]
    if len(found) == 1 or len(live) == 1:
        return (live or found)[0]
    if not found:
        raise ActionRefused(404, f"there is no instance with the business key {options.key!r}, or you may not see it")
    some = ", ".join(f"--stream {row['dag_id']} --run {row['run_id']}" for row in (live or found)[:5])
    raise ActionRefused(409, f"{len(found)} instances have the business key {options.key!r}: say which, {some}")


def _show(preview: Mapping[str, Any]) -> None:
    """Say what would happen."""
    if preview["sentence"]:
        print(preview["sentence"])
    for effect in preview["effects"]:
        where = f"{effect['step']['id']}: " if effect["step"] else ""
        print(f"  {where}{effect['text']}")
    for title, name in (("cannot be undone", "cannot_be_undone"), ("the stream would undo", "compensations")):
        for line in preview[name]:
            print(f"  {title}: {line}")
    after = preview["forecast_after"]
    if after and after["p50"]:
        late = {True: ", late", False: "", None: ""}[preview["will_be_late"]]
        print(f"  forecast: {after['p50']}{late} (due {preview['due_at'] or 'never'})")


def _tell(options: argparse.Namespace, answer: Mapping[str, Any], word: str) -> int:
    if options.format == "json":
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif word:
        again = ", as it was before: nothing was changed now" if answer.get("replayed") else ""
        print(f"{word}{again} (id {answer['id']})")
    return 0


def _id(options: argparse.Namespace) -> str:
    return options.id or f"cli-{uuid.uuid4().hex}"


def _values(pairs: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE``: JSON where it is JSON, else a text."""
    found: dict[str, Any] = {}
    for name, text in map(_pair, pairs):
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise OrchestrationError(f"{text!r} is no NAME=VALUE")
    return name, value


def _moment(text: str) -> datetime:
    """Read a moment: ISO 8601, by the local clock where it has no offset; a time of day is the next one."""
    now = datetime.now().astimezone()
    try:
        if len(text) <= 5:
            at = now.replace(hour=int(text[:2]), minute=int(text[3:] or 0), second=0, microsecond=0)
            return at if at > now else at + timedelta(days=1)
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment; write 06:00 or 2026-12-01T06:00+01:00") from error
    return found if found.tzinfo is not None else found.astimezone()
