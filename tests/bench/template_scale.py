"""A thousand templates beside a thousand hand-written DAG files of one shape: building them all, and one task start.

Each figure is taken in a process of its own, in turns, and told as a ratio to the hand-written files of the same run.
With ``dag-factory`` installed its own way of reading a folder is measured beside them.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CHAIN_BEFORE, CHAIN_AFTER = 5, 4
"""Steps before and after the branch and its two ways: twelve in all."""

TEMPLATE = """value_stream: {name}
title: Benchmark stream {name}
business: {{domain: Benchmarks, owner: benchmarks, criticality: normal, key: "{{{{ params.order }}}}"}}
params:
  order: {{type: string, pattern: "^ORD-[0-9]{{6}}$"}}
  amount: {{type: number, minimum: 0}}
steps:
{steps}"""
BRANCH = """  route:
    after: [before_5]
    branch:
      - {{when: params.amount > {limit}.0, then: [large]}}
      - {{otherwise: [small]}}
"""
WORK = """  {name}:
    after: [{after}]
    title: "{name} of {stream}"
    unix.script:
      connection: virtual_server
      command: /opt/steps/{name}
      args: ["{{{{ params.order }}}}"]
      env: {{AMOUNT: "{{{{ params.amount }}}}"}}
"""
BY_HAND = """from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.sdk import DAG, Param
from airflow_enterprise_orch.systems.unix.operators import UnixScriptOperator


def choose(params):
    return "large" if params["amount"] > {limit} else "small"


def work(name):
    return UnixScriptOperator(
        task_id=name,
        task_display_name=f"{{name}} of {name}",
        connection="virtual_server",
        command=f"/opt/steps/{{name}}",
        args=["{{{{ params.order }}}}"],
        env={{"AMOUNT": "{{{{ params.amount }}}}"}},
        trigger_rule="none_failed_min_one_success" if name == "after_1" else "all_success",
    )


with DAG(
    "{name}",
    description="Benchmark stream {name}",
    tags=["value-stream", "Benchmarks"],
    params={{
        "order": Param(type="string", pattern="^ORD-[0-9]{{6}}$"),
        "amount": Param(type="number", minimum=0),
    }},
    default_args={{"owner": "benchmarks"}},
):
    before = [work(f"before_{{number}}") for number in range(1, {before} + 1)]
    route = BranchPythonOperator(task_id="route", python_callable=choose)
    after = [work(f"after_{{number}}") for number in range(1, {after} + 1)]
    for chain in (before, after):
        for one, other in zip(chain, chain[1:]):
            one >> other
    before[-1] >> route
    for way in (work("large"), work("small")):
        route >> way >> after[0]
"""
FACTORY_TASK = """    {name}:
      operator: {operator}
      dependencies: [{after}]
      {arguments}
"""
UNIX = "airflow_enterprise_orch.systems.unix.operators.UnixScriptOperator"


def _links(name: str) -> tuple[str, ...]:
    """Return what a step of the shape comes after."""
    kind, _, number = name.partition("_")
    if name in ("large", "small"):
        return ("route",)
    if name == "route":
        return (f"before_{CHAIN_BEFORE}",)
    if name == "after_1":
        return ("large", "small")
    return (f"{kind}_{int(number) - 1}",) if number != "1" else ()


STEPS = [
    *(f"before_{number}" for number in range(1, CHAIN_BEFORE + 1)),
    "route",
    "large",
    "small",
    *(f"after_{number}" for number in range(1, CHAIN_AFTER + 1)),
]


def template(number: int) -> str:
    """Return the text of one template; each is a little different."""
    name, limit = f"bench_{number:04}", 1000 + number
    steps = ""
    for step in STEPS:
        # What a branch names comes after it by itself.
        after = [link for link in _links(step) if link != "route"]
        steps += (
            BRANCH.format(limit=limit)
            if step == "route"
            else WORK.format(name=step, stream=name, after=", ".join(after))
        )
    return TEMPLATE.format(name=name, steps=steps)


def by_hand(number: int) -> str:
    """Return the DAG file that a Python author would write for the same."""
    return BY_HAND.format(name=f"bench_{number:04}", limit=1000 + number, before=CHAIN_BEFORE, after=CHAIN_AFTER)


def for_dag_factory(number: int) -> str:
    """Return the same for dag-factory, which has no conditions: its branch names a function."""
    tasks = ""
    for step in STEPS:
        if step == "route":
            operator = "airflow.providers.standard.operators.python.BranchPythonOperator"
            arguments = f"python_callable: {__name__}.choose"
        else:
            operator = UNIX
            arguments = f'connection: virtual_server\n      command: /opt/steps/{step}\n      args: ["x"]'
        links = ", ".join(_links(step))
        tasks += FACTORY_TASK.format(name=step, operator=operator, after=links, arguments=arguments)
    return f"bench_{number:04}:\n  schedule: null\n  tasks:\n{tasks}"


def choose(params: Mapping[str, Any]) -> str:
    """Choose a way for dag-factory's branch."""
    return "large" if params["amount"] > 1000 else "small"


# ------------------------------------------------------------------------------------------- one figure, one process


def _settings(base: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(base / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "false",
        # CPU time is measured; on a busy machine a whole folder in one file takes longer than Airflow allows.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(base / "bundles"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        # Each DAG file is read as new, ours and the hand-written alike, whatever this shell says.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _bag(folder: Path | str) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(folder), safe_mode=False, load_op_links=False)
    assert not bag.import_errors, next(iter(bag.import_errors.items()))
    return bag


def _bundle(base: Path) -> Any:
    from airflow_enterprise_orch.value_stream.bundle import TemplateBundle

    return TemplateBundle(name="bench", path=str(base / "templates"))


def _resident() -> float:
    """Return the MiB of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _measure_build(kind: str, base: Path) -> dict[str, float]:
    """Build all DAGs of a kind once and keep them; imports are paid before, as for the DAG processor's children."""
    logging.disable(logging.WARNING)
    warm = {"templates": "warm", "loader": "warm", "by_hand": "warm_by_hand", "dag_factory": "warm_factory"}[kind]
    if kind == "templates":
        from airflow_enterprise_orch.value_stream.bundle import TemplateBundle

        first = TemplateBundle(name="warm", path=str(base / warm))
        first.initialize()
        _bag(first.path)
    elif kind == "loader":
        _bag(base / "warm_loader")
    else:
        _bag(base / warm)
    gc.collect()
    memory, cpu = _resident(), time.process_time()
    if kind == "templates":
        bundle = _bundle(base)
        bundle.initialize()
        bag = _bag(bundle.path)
    else:
        bag = _bag(base / {"loader": "loader", "by_hand": "by_hand", "dag_factory": "factory"}[kind])
    cpu = time.process_time() - cpu
    gc.collect()
    return {"cpu": cpu, "memory": _resident() - memory, "dags": len(bag.dags)}


def _measure_start(kind: str, base: Path, stream: str, rounds: int) -> dict[str, float]:
    """Parse for one DAG as a starting task does, each time in a fresh child; milliseconds of CPU, the median."""
    from airflow.dag_processing.dagbag import BundleDagBag

    from airflow_enterprise_orch.preload import STEPS as PRELOADED
    from airflow_enterprise_orch.preload import imported

    logging.disable(logging.WARNING)
    imported(PRELOADED, clients=True)

    def start(folder: Path, file: Path, dag_id: str) -> None:
        bag = BundleDagBag(
            dag_folder=str(file), safe_mode=False, load_op_links=False, bundle_path=folder, bundle_name="bench"
        )
        assert dag_id in bag.dags, bag.import_errors

    def ours() -> Callable[[], None]:
        bundle = _bundle(base)
        bundle.initialize()
        return lambda: start(bundle.path, bundle.path / f"{stream}.py", stream)

    ways: dict[str, Callable[[], Callable[[], None]]] = {
        "empty": lambda: lambda: start(base / "empty", base / "empty" / "nothing.py", "nothing"),
        "by_hand": lambda: lambda: start(base / "by_hand", base / "by_hand" / f"{stream}.py", stream),
        "loader": lambda: lambda: start(base / "loader", base / "loader" / "value_streams.py", stream),
        "templates": ours,
        "dag_factory": lambda: lambda: start(base / "factory", base / "factory" / "dags.py", stream),
    }
    once = ways[kind]()
    # Airflow tells a file which DAG is wanted through this variable.
    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = stream if kind != "empty" else "nothing"
    os.environ["_AIRFLOW_PARSING_CONTEXT_TASK_ID"] = STEPS[0]
    taken = [_in_child(once) for _ in range(rounds)]
    return {"cpu": statistics.median(taken) * 1e3}


def _in_child(work: Callable[[], None]) -> float:
    """Return the CPU seconds of ``work`` in a forked child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            before = time.process_time()
            work()
            os.write(write, json.dumps(time.process_time() - before).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return float(json.loads(told))


# ----------------------------------------------------------------------------------------------------------- the whole


def _write(base: Path, number: int, *, factory: bool) -> None:
    for folder, count, text, suffix in (
        ("templates", number, template, "yaml"),
        ("warm", 3, lambda index: template(index).replace("bench_", "warm_"), "yaml"),
        ("by_hand", number, by_hand, "py"),
        ("warm_by_hand", 3, lambda index: by_hand(index).replace("bench_", "warm_"), "py"),
    ):
        (base / folder).mkdir()
        for index in range(count):
            name = f"{'warm' if 'warm' in folder else 'bench'}_{index:04}"
            (base / folder / f"{name}.{suffix}").write_text(text(index))
    (base / "empty").mkdir()
    (base / "empty" / "nothing.py").write_text('from airflow.sdk import DAG\nempty = DAG("nothing")\n')
    load = (
        "from pathlib import Path  # the words airflow and dag\n"
        "from airflow_enterprise_orch.value_stream.loader import load_value_streams\n"
        "load_value_streams(Path({!r}), globals())\n"
    )
    for folder, templates in (("loader", "templates"), ("warm_loader", "warm")):
        (base / folder).mkdir()
        (base / folder / "value_streams.py").write_text(load.format(str(base / templates)))
    if factory:
        for folder, count in (("factory", number), ("warm_factory", 3)):
            (base / folder / "yaml").mkdir(parents=True)
            for index in range(count):
                (base / folder / "yaml" / f"bench_{index:04}.yaml").write_text(for_dag_factory(index))
            (base / folder / "dags.py").write_text(
                "from dagfactory import load_yaml_dags  # airflow dag\n"
                f"load_yaml_dags(globals(), dags_folder={str(base / folder / 'yaml')!r}, defaults_config_dict="
                '{"default_args": {"owner": "benchmarks", "start_date": "2026-01-01"}})\n'
            )


def _ask(base: Path, *arguments: str) -> dict[str, float]:
    """Take one figure in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.template_scale", "--base", str(base), *arguments]
    ended = subprocess.run(command, env=_settings(base), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    answer: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def _build_figures(base: Path, number: int, rounds: int, kinds: list[str]) -> bool:
    taken: dict[str, list[dict[str, float]]] = {}
    for number_of_round in range(rounds):
        for kind in kinds:
            if kind == "templates, all new" and (base / "bundles").exists():
                # Not removed: for minutes ext4 looks at each removed file's inode again whenever it makes a file, and
                # that would be told as time that a build takes.
                (base / "bundles").rename(base / f"bundles-before-{number_of_round}")
            figures = _ask(base, "--measure", "build", "--kind", kind.partition(",")[0])
            assert figures["dags"] == number, (kind, figures)
            taken.setdefault(kind, []).append(figures)
    hand = {what: statistics.median(one[what] for one in taken["by_hand"]) for what in ("cpu", "memory")}
    fine = True
    for kind, figures in taken.items():
        cpu, memory = (statistics.median(one[what] for one in figures) for what in ("cpu", "memory"))
        print(
            f"  {kind}: {number} DAGs in {cpu:.1f} CPU s ({cpu / hand['cpu']:.2f} times the hand-written), "
            f"{memory:.0f} MiB ({memory / hand['memory']:.2f} times)"
        )
        if kind.startswith("templates"):
            fine = fine and cpu <= 1.3 * hand["cpu"] and memory <= 1.3 * hand["memory"]
    return fine


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.template_scale", description=__doc__)
    parser.add_argument("--templates", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=["build", "start"], help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure == "build":
        print(json.dumps(_measure_build(options.kind, options.base)))
        return 0
    if options.measure == "start":
        print(json.dumps(_measure_start(options.kind, options.base, f"bench_{options.templates // 2:04}", 15)))
        return 0
    factory = ["dag_factory"] if find_spec("dagfactory") else []
    fine = True
    for number in sorted({10, options.templates}):
        with tempfile.TemporaryDirectory(prefix="enterprise-orch-bench-") as folder:
            base = Path(folder)
            _write(base, number, factory=bool(factory))
            if number == options.templates:
                kinds = ["by_hand", "templates, all new", "templates, known", "loader", *factory]
                fine = _build_figures(base, number, options.rounds, kinds) and fine
            else:
                _ask(base, "--measure", "build", "--kind", "templates")
            starts = {
                kind: _ask(base, "--measure", "start", "--kind", kind, "--templates", str(number))["cpu"]
                for kind in ("empty", "by_hand", "templates", "loader", *factory)
            }
            told = ", ".join(f"{kind} {taken:.1f}" for kind, taken in starts.items())
            print(f"  parse for one task start among {number}: CPU ms {told}")
            fine = fine and all(starts[kind] - starts["empty"] <= 15 for kind in ("templates", "loader"))
    return 0 if fine else 1


if __name__ == "__main__":
    raise SystemExit(main())
