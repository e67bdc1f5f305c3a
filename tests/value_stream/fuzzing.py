"""Valid documents of every kind, and changes of them at random: what the tests of promise 4 throw at the package.

``python -m tests.value_stream.fuzzing [--seconds S] [--seed N]`` throws them for as long as you like and prints what
ends in anything but a stream or a template's own mistake.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import re
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from airflow.serialization.serialized_objects import DagSerialization
from hypothesis import HealthCheck, settings

from airflow_enterprise_orch.errors import ProgramMistake, TemplateError
from airflow_enterprise_orch.settings import AIRFLOW_OPERATORS, variable
from airflow_enterprise_orch.template_tools.lint import hints
from airflow_enterprise_orch.value_stream.beside import Beside
from airflow_enterprise_orch.value_stream.compile import plan_stream
from airflow_enterprise_orch.value_stream.loader import find_problems, load_value_streams
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.plan import StreamPlan
from airflow_enterprise_orch.value_stream.surroundings import Surroundings
from airflow_enterprise_orch.value_stream.template_folder import CASES, SIDE, find_templates
from airflow_enterprise_orch.value_stream.yaml_source import read_yaml

HERE = Path(__file__).parent
WHOLE = HERE / "whole"
"""A folder of templates that use everything, with what lies beside them."""
EXAMPLES = Path(str(files("airflow_enterprise_orch.value_stream"))) / "examples"
FOLDERS = (WHOLE, HERE / "good", HERE.parents[1] / "dag_templates", EXAMPLES)
ALLOWED = (variable(AIRFLOW_OPERATORS), "airflow.providers.standard.operators.*, airflow.providers.amazon.aws.*")
"""The setting under which the documents are valid: which operators a template may name."""


def parsed(path: Path) -> Any:
    """Return a document as plain data."""
    return read_yaml(path.read_text(encoding="utf-8"), path.name).data


def templates() -> dict[str, Any]:
    """Return every valid template that the package and its tests have, by its path."""
    folders = (*FOLDERS, *sorted(EXAMPLES.parents[1].glob("systems/*/examples")))
    paths = [path for folder in folders for path in sorted(folder.glob("*.yaml"))]
    return {str(path): parsed(path) for path in paths if not path.name.endswith((*CASES, *SIDE))}


def beside_files() -> dict[str, Any]:
    """Return what lies beside the templates of ``WHOLE``: profiles, shared files and calendars, by their path there."""
    paths = [*WHOLE.glob("calendars/*.yaml"), *(path for path in WHOLE.glob("*.yaml") if path.name.endswith(SIDE))]
    return {path.relative_to(WHOLE).as_posix(): parsed(path) for path in sorted(paths)}


def examples(number: int) -> settings:
    """Return how many examples hypothesis tries: always the same ones, or as many times more as ``FUZZ`` says.

    ``FUZZ=100 pytest tests/value_stream/test_fuzz.py`` tries others at each run.
    """
    times = float(os.environ.get("FUZZ", "1"))
    return settings(
        max_examples=max(1, int(number * times)),
        derandomize=times == 1,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )


def parts(data: Any) -> Iterator[Any]:
    """Yield a tree and everything below it."""
    yield data
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from parts(part)


ODD_TEXTS = (
    "", " ", "\n", "a\nb", "\r", "\t", "\x0b", "\x00", "\x1b[31m", "\x85", "\u2028", "\ufeff", "\u00e9", "\U0001f600",
    "\u202e", "{{", "}}", "{{ params.x }}", "{{ values.host }}", "{{ values.names }}", "{{ item }}", "{{ ds }}",
    "{% if %}", "{{ steps.script.rc }}", "{{ params['order'] }}", "{# x #}", "%s", "${A}", "'", '"', "\\", "\\1", "> 1",
    "[1..", "]1..2)", "(..)", "1h", "0s", "99999999d", "25:00", "24:00", "2026-02-30", "0000-00-00", "9999-12-31",
    "* * * * *", "0 0 31 2 *", "60 * * * *", "@daily", "(a+)+", "(", "(?P<x>a)", "rc <= 4", "params.amount",
    "params.amount > 1.0", "steps", "true", "null", "__class__", "Europe/Berlin", "Mars/Base", "../x", "/", "C:\\x",
    "s3://b/x", "mailto:x", "a" * 260, "a" * 3000, "every", "last_working_day_of_month",
)  # fmt: skip
ODD_NUMBERS = (0, -1, 1, 2, 1.5, -0.0, 10**18, -(10**18), 1e308, 1e-308, 366 * 86400, 1001, 31, 32, 0.1)
ODD_VALUES: tuple[Any, ...] = (None, True, False, [], {}, [[]], [{}], {"a": None}, [None], {"": ""}, {"a b": 1})


class Changer:
    """Changes trees at random.

    :param material: documents whose keys and parts are mixed in.
    """

    def __init__(self, chance: random.Random, material: list[Any]) -> None:
        self.chance = chance
        self.parts = [part for data in material for part in parts(data)]
        self.keys = sorted({key for part in self.parts if isinstance(part, dict) for key in part})
        self.by_key: dict[str, list[Any]] = {}
        for part in self.parts:
            for key, value in part.items() if isinstance(part, dict) else ():
                self.by_key.setdefault(key, []).append(value)

    def changed(self, tree: Any, most: int = 3) -> Any:
        """Return a copy with one to ``most`` changes."""
        tree = copy.deepcopy(tree)
        for _ in range(self.chance.choice((1, 1, 1, *range(1, most + 1)))):
            parents = [part for part in parts(tree) if isinstance(part, (dict, list)) and part]
            if not parents:
                break
            self._change(self.chance.choice(parents), parents)
        return tree

    def _change(self, parent: Any, parents: list[Any]) -> None:
        chance = self.chance
        place = chance.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        how = chance.choice(("leaf", "leaf", "leaf", "like", "like", "odd", "any", "drop", "rename", "move", "double"))
        if how == "leaf":
            parent[place] = self._near(parent[place])
        elif how == "like" and isinstance(parent, dict):
            parent[place] = copy.deepcopy(chance.choice(self.by_key.get(place, self.parts)))
        elif how == "odd":
            parent[place] = copy.deepcopy(chance.choice((*ODD_TEXTS, *ODD_NUMBERS, *ODD_VALUES)))
        elif how == "any":
            parent[place] = copy.deepcopy(chance.choice(self.parts))
        elif isinstance(parent, list):
            if how == "double":
                parent.insert(chance.randrange(len(parent) + 1), copy.deepcopy(parent[place]))
            else:
                parent.pop(place)
        elif how == "rename":
            parent[chance.choice(self.keys)] = parent.pop(place)
        elif how == "double":
            parent[f"{place}_2"] = copy.deepcopy(parent[place])
        elif how == "move":
            other = chance.choice([part for part in parents if isinstance(part, dict)])
            other[place] = copy.deepcopy(parent[place])
        else:
            parent.pop(place)

    def _near(self, value: Any) -> Any:
        """Return a value of the same kind, nearly."""
        chance = self.chance
        if isinstance(value, str):
            at = chance.randrange(len(value) + 1)
            end = chance.choice((at, at, min(len(value), at + 1), len(value)))
            return value[:at] + chance.choice(ODD_TEXTS) + value[end:]
        if isinstance(value, bool) or value is None:
            return chance.choice((True, False, None, "true", 0))
        if isinstance(value, (int, float)):
            return chance.choice((*ODD_NUMBERS, value + 1, value - 1, -value, value + 0.5, str(value)))
        if isinstance(value, list) and value:
            return [self._near(value[0]), *value[1:]] if chance.random() < 0.5 else value + value
        return chance.choice(ODD_VALUES)


# ------------------------------------------------------------------------------------------------------------- checks


def refused_well(error: TemplateError, text: str) -> None:
    """Fail unless a refusal is one that an author can use: of the template, in single lines, inside the file."""
    assert not isinstance(error, ProgramMistake), error
    assert error.problems
    lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
    for problem in error.problems:
        line, column = problem.line, problem.column  # type: ignore[attr-defined]
        where = problem.file  # type: ignore[attr-defined]
        told = (problem.where, problem.what, problem.suggestion, problem.remedy)  # type: ignore[attr-defined]
        assert not any(re.search("[\n\r\x85\u2028\u2029]", one) for one in told), told
        assert problem.what and problem.remedy  # type: ignore[attr-defined]
        assert str(problem) in str(error)
        if where in ("<text>", "changed.yaml"):
            assert 1 <= line <= len(lines), str(problem)
            assert 1 <= column <= len(lines[line - 1]) + 1, str(problem)


def serialized(plan: StreamPlan) -> str:
    """Return the DAG of a plan as Airflow keeps it, after all that Airflow does with it on the way."""
    dag = plan.build()
    dag.validate()
    dag.check_cycle()
    data = DagSerialization.to_dict(dag)
    DagSerialization.from_dict(data)  # the scheduler's half
    return json.dumps(data)


def all_the_way(text: str, folder: Path = WHOLE, profile: str = "prod", file: Path | None = None) -> str | None:
    """Take a template's text from its reading to what Airflow keeps of its DAG.

    :param folder: where what lies beside it is.
    :param file: where the text lies; then ``lint`` looks at it, too.
    :return: the serialized DAG; None where the text was refused, as it must be.
    """
    beside = Surroundings.on_disk(folder / "changed.yaml", folder, profile, shown=str)
    try:
        stream = ValueStream.load(
            text, name="changed.yaml", beside=Beside.named(folder, "changed.yaml"), surroundings=beside
        )
    except TemplateError as error:
        refused_well(error, text)
        return None
    plan = plan_stream(stream, source="changed.yaml")
    made = serialized(plan)
    assert made == serialized(StreamPlan.from_json(json.loads(json.dumps(plan.to_json())))), "another DAG by its plan"
    assert (
        stream.digest()
        == ValueStream.load(
            text, name="changed.yaml", beside=Beside.named(folder, "changed.yaml"), surroundings=beside
        ).digest()
    )
    if file is not None:
        hints(file, stream)
    return made


def all_of_a_folder(folder: Path, untouched: tuple[str, ...] = ()) -> None:
    """Take a folder through the loader: each template is a DAG or has a message, and the untouched ones are DAGs."""
    namespace: dict[str, Any] = {}
    load_value_streams(folder, namespace, profile="prod")
    problems = find_problems(folder, profile="prod")
    assert not any("this package failed" in problem for problem in problems), problems
    assert len(namespace) + len(problems) == len(list(find_templates(folder))), (list(namespace), problems)
    assert set(untouched) <= namespace.keys(), problems
    for problem in problems:
        assert all(line.isprintable() for line in problem.splitlines()), problem
        assert all((folder / line.split(":")[0]).is_file() for line in problem.splitlines()), problem
    for dag in namespace.values():
        DagSerialization.from_dict(DagSerialization.to_dict(dag))


def main() -> int:
    """Throw changed templates for some time; 1 when something else than a refusal came back."""
    parser = argparse.ArgumentParser(prog="python -m tests.value_stream.fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    os.environ[ALLOWED[0]] = ALLOWED[1]
    known = templates()
    material = [*known.values(), *beside_files().values()]
    found: dict[str, tuple[int, str]] = {}
    tried = right = 0
    until = time.monotonic() + options.seconds
    seed = options.seed
    work: Callable[[str], str | None] = all_the_way
    changer = Changer(random.Random(0), material)
    while time.monotonic() < until:
        seed += 1
        changer.chance = chance = random.Random(seed)
        tree = changer.changed(known[chance.choice(sorted(known))])
        text = json.dumps(tree, ensure_ascii=chance.random() < 0.5)
        tried += 1
        try:
            right += work(text) is not None
        except Exception as error:
            cause = error.__cause__ or error.__context__ or error
            where = (
                "".join(traceback.format_tb(error.__traceback__)[-1:]) + f"{type(cause).__name__}: {str(cause)[:300]}"
            )
            key = re.sub(r"[0-9]+|'[^']*'|\"[^\"]*\"", "", where)[:300]
            if key not in found:
                found[key] = (seed, text)
                print(f"--- seed {seed}\n{where}\n{text[:1500]}\n", flush=True)
    print(f"{tried} tried from seed {options.seed}, {right} valid, {len(found)} kinds of failure")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
