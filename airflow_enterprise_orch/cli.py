"""The command ``enterprise-orch``: checks templates, and starts what shows and tests them.

Exit codes: 0 all is well, 1 something was found wrong, 2 the command itself could not be carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from airflow_enterprise_orch import __version__
from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.value_stream.problems import Problem
from airflow_enterprise_orch.value_stream.template_folder import declared_stream, find_templates

OTHERS = {
    "lab": ("airflow_enterprise_orch.lab.server", "start a stand-in of every connected system on this machine"),
    "demo": ("airflow_enterprise_orch.demo", "run a whole value stream on a real Airflow and the lab"),
    "doctor": ("airflow_enterprise_orch.doctor", "check this Airflow: versions, capacity, connections, settings"),
}
"""Subcommands that read their own arguments; imported only when called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and arguments[0] in OTHERS:
            return _other(arguments[0], arguments[1:])
        options = _parser().parse_args(arguments)
        return cast("int", options.run(options))
    except OrchestrationError as error:
        print(f"enterprise-orch: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="enterprise-orch", description="Value streams across systems, on Apache Airflow."
    )
    parser.add_argument("--version", action="version", version=f"enterprise-orch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    lint = commands.add_parser("lint", help="check value-stream templates", description=_lint.__doc__)
    lint.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a template, or a folder of templates")
    lint.add_argument(
        "--format", choices=("human", "json"), default="human", help="one line, or one JSON object, a problem"
    )
    lint.set_defaults(run=_lint)

    schema = commands.add_parser(
        "schema", help="print the JSON Schema of templates, for editors", description=_schema.__doc__
    )
    schema.add_argument("--output", metavar="FILE", type=Path, help="write it there instead")
    schema.set_defaults(run=_schema)

    verify = commands.add_parser("verify", help="check a certificate of completion", description=_verify.__doc__)
    verify.add_argument("file", metavar="FILE", type=Path, help="the certificate, a PDF")
    verify.add_argument("--connection", required=True, help="the Airflow connection of the share it was delivered to")
    verify.set_defaults(run=_verify)

    for name, (_, text) in OTHERS.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


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
    """Print the JSON Schema of templates, with the step types of every installed system."""
    from airflow_enterprise_orch.value_stream.model import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text, encoding="utf-8")
    return 0


def _verify(options: argparse.Namespace) -> int:
    """Check that a certificate of completion is genuine: sealed with the connection's secret, and never changed."""
    # Only this one command needs the share's package and a running Airflow.
    certificate = import_module("airflow_enterprise_orch.systems.fileshare.certificate")
    hook = import_module("airflow_enterprise_orch.systems.fileshare.hook")
    try:
        data = options.file.read_bytes()
    except OSError as error:
        raise OrchestrationError(f"{options.file} cannot be read: {error.strerror}") from error
    verdict = certificate.verify(data, asyncio.run(hook.seal_of(options.connection)))
    print(f"{options.file}: {'genuine' if verdict.genuine else 'NOT GENUINE'}: {verdict.reason}")
    if verdict.genuine:
        print("".join(f"  {name}: {value}\n" for name, value in verdict.about.items()), end="")
    return 0 if verdict.genuine else 1


def _lint(options: argparse.Namespace) -> int:
    """Check templates without Airflow: exit 0 when all are right, 1 when one is not, 2 when there is none to check."""
    files = list(dict.fromkeys(_files(options.paths)))
    problems: list[Problem] = []
    for file in files:
        problems.extend(_check(file))
    problems.extend(_duplicates(files))
    broken = {problem.file for problem in problems}
    if options.format == "json":
        for problem in problems:
            print(json.dumps(problem.to_json(), ensure_ascii=False))
        return 1 if problems else 0
    for problem in problems:
        print(problem)
    count = f"{len(files)} template{'' if len(files) == 1 else 's'}"
    if problems:
        print(f"{count} checked, {len(broken)} with problems: {len(problems)} in all", file=sys.stderr)
        return 1
    print(f"{count} checked, no problems", file=sys.stderr)
    return 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            found = [file for _, file in find_templates(path)]
            if not found:
                raise OrchestrationError(f"{path}: there is no template in this folder; templates end in .yaml or .yml")
            yield from found
        elif path.exists():
            yield path
        else:
            raise OrchestrationError(f"{path}: there is no such file or folder; check the path")


def _check(file: Path) -> tuple[Problem, ...]:
    from airflow_enterprise_orch.value_stream.model import ValueStream

    try:
        ValueStream.load(file)
    except TemplateError as error:
        return cast("tuple[Problem, ...]", error.problems)
    return ()


def _duplicates(files: Sequence[Path]) -> tuple[Problem, ...]:
    """Find value streams that several files declare: in one Airflow only one of them could live."""
    declared: dict[str, list[Path]] = {}
    for file in files:
        stream = declared_stream(file.read_bytes())
        if stream:
            declared.setdefault(stream, []).append(file)
    return tuple(
        Problem(
            str(file),
            1,
            1,
            "value_stream",
            f"{stream!r} is also declared by {', '.join(str(other) for other in group if other != file)}",
            "",
            "give each file a value stream of its own, or remove all but one",
        )
        for stream, group in declared.items()
        if len(group) > 1
        for file in group
    )
