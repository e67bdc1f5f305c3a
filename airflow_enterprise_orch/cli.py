"""The command ``enterprise-orch``: checks, explains and tries templates, and starts what shows and tests them.

Exit codes: 0 all is well, 1 something was found wrong, 2 the command itself could not be carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow_enterprise_orch import __version__
from airflow_enterprise_orch.cli_lint import beside, check, say
from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.operate.command import COMMANDS as ACTIONS
from airflow_enterprise_orch.operate.command import main as act

if TYPE_CHECKING:
    from airflow_enterprise_orch.value_stream.model import ValueStream

OTHERS = {
    "lab": ("airflow_enterprise_orch.lab.server", "start a stand-in of every connected system on this machine"),
    "demo": ("airflow_enterprise_orch.demo", "run a whole value stream on a real Airflow and the lab"),
    "doctor": ("airflow_enterprise_orch.doctor", "check this Airflow: versions, capacity, connections, settings"),
}
"""Subcommands that read their own arguments; imported only when called."""
CASES = "cases"
SCHEMAS = ("template", "calendar", "profile", "shared", CASES)
"""The kinds of files of which there is a JSON Schema."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in OTHERS:
            return _other(arguments[0], arguments[1:])
        if arguments and arguments[0] in ACTIONS:
            return act(arguments)
        options = _parser().parse_args(arguments)
        return cast("int", options.run(options))
    except OrchestrationError as error:
        _complain(error)
        return 2


def _complain(error: OrchestrationError) -> None:
    """Say what is wrong: a template's problems begin with their place, as editors like it."""
    placed = isinstance(error, TemplateError) and error.problems
    print(error if placed else f"enterprise-orch: {error}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enterprise-orch", description="Value streams across systems, on Apache Airflow."
    )
    parser.add_argument("--version", action="version", version=f"enterprise-orch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    lint = commands.add_parser("lint", help="check value-stream templates", description=check.__doc__)
    lint.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a template, or a folder of templates")
    lint.add_argument(
        "--format", choices=("human", "json"), default="human", help="one line, or one JSON object, a problem"
    )
    lint.add_argument("--strict", action="store_true", help="exit 1 for warnings too")
    _add_profile(lint, "check with its values only; by default with those of every profile")
    lint.set_defaults(run=check)

    _add_template_tools(commands)
    schema = commands.add_parser(
        "schema", help="print the JSON Schema of templates, for editors", description=_schema.__doc__
    )
    schema.add_argument("--kind", choices=SCHEMAS, default=SCHEMAS[0], help="of which files; default template")
    schema.add_argument("--cases", dest="kind", action="store_const", const=CASES, help="the same as --kind cases")
    schema.add_argument("--output", metavar="FILE", type=Path, help="write it there instead")
    schema.set_defaults(run=_schema)

    reference = commands.add_parser(
        "reference", help="write the reference of all keys, in Markdown", description=_reference.__doc__
    )
    reference.add_argument("--output", metavar="FOLDER", type=Path, required=True, help="where to: a folder of its own")
    reference.add_argument("--check", action="store_true", help="write nothing; name the pages that are not up to date")
    reference.set_defaults(run=_reference)

    verify = commands.add_parser("verify", help="check a certificate of completion", description=_verify.__doc__)
    verify.add_argument("file", metavar="FILE", type=Path, help="the certificate, a PDF")
    verify.add_argument("--connection", help="the Airflow connection it must be sealed with; default: the one it names")
    verify.set_defaults(run=_verify)

    for name, text in {**{name: text for name, (_, text) in OTHERS.items()}, **ACTIONS}.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _add_template_tools(commands: Any) -> None:
    explain = commands.add_parser(
        "explain", help="show a template as a tree or a picture", description=_explain.__doc__
    )
    explain.add_argument("file", metavar="FILE", type=Path, help="a template")
    explain.add_argument("--graph", metavar="OUT.svg", type=Path, help="draw it there: a lane for each system")

    simulate = commands.add_parser("simulate", help="tell which path an instance takes", description=_simulate.__doc__)
    simulate.add_argument("file", metavar="FILE", type=Path, help="a template")
    simulate.add_argument("--params", metavar="FILE", type=Path, help="what it is started with, YAML or JSON")
    simulate.add_argument("--results", metavar="FILE", type=Path, help="what its steps come to, YAML or JSON")
    simulate.add_argument("--recorded", metavar="KEY", help="take both from the instance with this business key")
    # Not "run", which is the function that carries the command out.
    simulate.add_argument(
        "--run", dest="run_id", metavar="RUN_ID", help="with --recorded: which of several; default the newest"
    )
    simulate.add_argument("--url", help="with --recorded: Airflow's API server; default $ENTERPRISE_ORCH_URL")
    simulate.add_argument(
        "--ca-file", metavar="FILE", type=Path, help="with --recorded: certificates to trust beside the system's"
    )
    simulate.add_argument("--date", metavar="YYYY-MM-DD", type=_day, help="the day it runs, for texts; default today")

    test = commands.add_parser("test", help="run the cases of templates", description=_test.__doc__)
    test.add_argument("paths", metavar="FILE", nargs="+", type=Path, help="a template, its cases, or a folder")

    diff = commands.add_parser("diff", help="say what changed between two templates", description=_diff.__doc__)
    diff.add_argument("old", metavar="OLD", type=Path, help="a template")
    diff.add_argument("new", metavar="NEW", type=Path, help="a template")

    runs = commands.add_parser("runs", help="tell when a stream will run", description=_runs.__doc__)
    runs.add_argument("file", metavar="FILE", type=Path, help="a template with a schedule")
    runs.add_argument("--next", metavar="N", type=int, default=12, help="how many runs; default 12")
    runs.add_argument("--from", dest="begin", metavar="YYYY-MM-DD", type=_day, help="from which day; default now")

    calendar = commands.add_parser("calendar", help="show the days of a calendar", description=_calendar.__doc__)
    calendar.add_argument("file", metavar="FILE", type=Path, help="a calendar")
    calendar.add_argument("--from", dest="begin", metavar="YYYY-MM-DD", type=_day, help="default its first day")
    calendar.add_argument("--to", dest="end", metavar="YYYY-MM-DD", type=_day, help="default its last day")
    calendar.set_defaults(run=_calendar)

    for command, run in ((explain, _explain), (runs, _runs), (simulate, _simulate), (test, _test), (diff, _diff)):
        command.add_argument("--format", choices=("human", "json"), default="human", help="for people, or for tools")
        _add_profile(command, "the environment whose values count; by default AIRFLOW__ENTERPRISE_ORCH__PROFILE")
        command.set_defaults(run=run)

    rebuild = commands.add_parser("rebuild", help="fill the executive view anew", description=_rebuild.__doc__)
    rebuild.set_defaults(run=_rebuild)

    new = commands.add_parser("new", help="begin a template", description=_new.__doc__)
    new.add_argument("name", metavar="NAME", help="the value stream's id: a-z, 0-9 and _, beginning with a letter")
    new.add_argument("--folder", type=Path, default=Path(), help="where to put it; by default here")
    new.set_defaults(run=_new)


def _add_profile(command: argparse.ArgumentParser, about: str) -> None:
    command.add_argument("--profile", metavar="NAME", help=about)
    command.add_argument(
        "--root",
        metavar="FOLDER",
        type=Path,
        help="the uppermost folder in which profiles and shared files are looked for: the one that Airflow is given",
    )


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no date; write it as 2026-12-31") from error


def _other(name: str, arguments: list[str]) -> int:
    """Run a subcommand of another module, which reads its own arguments."""
    module = OTHERS[name][0]
    try:
        run = cast("Callable[[list[str]], int]", import_module(module).main)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "airflow_enterprise_orch":
            raise
        extra = "all" if name == "doctor" else "lab"
        remedy = f"pip install 'airflow-enterprise-orch[{extra}]'"
        raise OrchestrationError(f"{name} needs the package {missing!r}, which is not installed; {remedy}") from error
    return run(arguments)


def _schema(options: argparse.Namespace) -> int:
    """Print the JSON Schema of templates, with all installed systems' steps, or of the files beside them."""
    from airflow_enterprise_orch.template_tools.cases import cases_schema
    from airflow_enterprise_orch.value_stream.editor_schema import editor_schema

    schema = cases_schema() if options.kind == CASES else editor_schema(options.kind)
    text = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


def _reference(options: argparse.Namespace) -> int:
    """Write a page for the stream, for each kind of file beside it and for each step of every installed system.

    With --check: exit 0 when the pages are up to date, 1 when not.
    """
    from airflow_enterprise_orch.template_tools import reference

    if options.check:
        names = reference.stale(options.output)
        for name in names:
            print(f"{options.output / name}: not up to date; run: enterprise-orch reference --output {options.output}")
        return 1 if names else 0
    names = reference.write(options.output)
    print(f"{len(names)} of the pages in {options.output} changed", file=sys.stderr)
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Check that a certificate of completion is genuine: sealed with a connection's secret, and never changed.

    Without --connection the one is taken that the certificate names, and the answer says which. Exit 0; 1 when it is
    not genuine; 2 when that cannot be told.
    """
    # Only this one command needs the share's package and a running Airflow.
    certificate = import_module("airflow_enterprise_orch.systems.fileshare.certificate")
    hook = import_module("airflow_enterprise_orch.systems.fileshare.hook")
    try:
        data = options.file.read_bytes()
    except OSError as error:
        raise OrchestrationError(f"{options.file} cannot be read: {error.strerror}") from error
    connection = options.connection or certificate.about_itself(data).get("connection")
    if not connection:
        print(
            f"{options.file}: NOT GENUINE: it names no connection that it was sealed with; name one with --connection"
        )
        return 1
    verdict = certificate.verify(data, asyncio.run(hook.seal_of(connection)))
    genuine = f"genuine, sealed with connection {connection!r}" if verdict.genuine else "NOT GENUINE"
    print(f"{options.file}: {genuine}: {verdict.reason}")
    if verdict.genuine:
        print("".join(f"  {name}: {value}\n" for name, value in verdict.about.items()), end="")
    return 0 if verdict.genuine else 1


def _explain(options: argparse.Namespace) -> int:
    """Show a template: its steps in order, each with its system, in words. Exit 0; 2 when it is wrong."""
    from airflow_enterprise_orch.template_tools.explain import explain, explain_json
    from airflow_enterprise_orch.template_tools.graph import draw

    stream = _load(options.file, options)
    if options.graph is not None:
        try:
            options.graph.write_text(draw(stream), encoding="utf-8", newline="\n")
        except OSError as error:
            raise OrchestrationError(f"{options.graph} cannot be written: {error.strerror}; check the path") from error
        print(f"{options.graph} drawn", file=sys.stderr)
    elif options.format == "json":
        _print_json(explain_json(stream))
    else:
        say(explain(stream))
    return 0


def _runs(options: argparse.Namespace) -> int:
    """Tell the next runs of a stream by its schedule. Exit 0; 2 when the template is wrong or no time starts it."""
    from airflow_enterprise_orch.template_tools.timing import run_lines, runs_json

    asked = _load(options.file, options), options.begin or datetime.now(UTC), options.next
    if options.format == "json":
        _print_json(runs_json(*asked))
    else:
        say("\n".join(run_lines(*asked)) + "\n")
    return 0


def _calendar(options: argparse.Namespace) -> int:
    """Show the days that a calendar has closed beside its weekends. Exit 0; 2 when the calendar is wrong."""
    from airflow_enterprise_orch.template_tools.timing import calendar_lines
    from airflow_enterprise_orch.value_stream.calendars import check_calendar

    days = check_calendar(options.file)
    first = options.begin.date() if options.begin is not None else days.first
    last = options.end.date() if options.end is not None else days.last
    say("\n".join(calendar_lines(days, first, last)) + "\n")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    """Tell which path an instance takes, with given or recorded step results; no system is touched.

    Exit 0 when the instance ends well, 1 when it ends failed, 2 when the template or what is given is wrong, or a value
    that a decision needs is not given. What is given outweighs what is recorded.
    """
    from airflow_enterprise_orch.cli_simulate import simulated
    from airflow_enterprise_orch.template_tools.report import walk_lines

    walked = simulated(_load(options.file, options), options)
    if options.format == "json":
        _print_json(walked.to_json())
    else:
        say("\n".join(walk_lines(walked)) + "\n")
    return 0 if walked.ends == "success" else 1


def _test(options: argparse.Namespace) -> int:
    """Run the cases of templates, which stand beside NAME.yaml in NAME.cases.yaml.

    Exit 0 when all pass, 1 when one fails, 2 when a template or its cases are wrong or missing.
    """
    from airflow_enterprise_orch.template_tools.cases import find_cases, run_cases
    from airflow_enterprise_orch.template_tools.report import case_lines

    code = 0
    for template, cases in dict.fromkeys(pair for path in options.paths for pair in find_cases(path)):
        try:
            report = run_cases(template, cases, beside(template, options, options.profile))
        except OrchestrationError as error:
            _complain(error)
            code = 2
            continue
        if options.format == "json":
            print(json.dumps(report.to_json(), ensure_ascii=False))
        else:
            say("\n".join(case_lines(report)) + "\n")
        code = max(code, 0 if all(case.passed for case in report.cases) else 1)
    return code


def _diff(options: argparse.Namespace) -> int:
    """Say in business words what changed between two templates. Exit 0 when nothing did, 1 when it did, else 2."""
    from airflow_enterprise_orch.template_tools.diff import diff

    changes = diff(_load(options.old, options), _load(options.new, options))
    if options.format == "json":
        _print_json([change.to_json() for change in changes])
    else:
        say("".join(f"{change.text}\n" for change in changes))
    return 1 if changes else 0


def _rebuild(_options: argparse.Namespace) -> int:
    """Fill the executive view's tables from Airflow's, on this machine's Airflow; its own history stays. Exit 0."""
    from airflow_enterprise_orch.executive_view.feed_runner import this_feed

    feed = this_feed()
    say(f"{feed.rebuild()} instances\n")
    feed.release()
    return 0


def _new(options: argparse.Namespace) -> int:
    """Write a small template that is right, with comments, and its cases. Exit 0; 2 when it is there already."""
    from airflow_enterprise_orch.template_tools.scaffold import scaffold

    for path in scaffold(options.name, options.folder):
        print(path)
    return 0


def _load(path: Path, options: argparse.Namespace) -> ValueStream:
    from airflow_enterprise_orch.value_stream.model import ValueStream

    return ValueStream.load(path, surroundings=beside(path, options, options.profile))


def _print_json(data: object) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2))
