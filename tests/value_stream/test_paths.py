"""Paths: what the template means, against what Airflow's trigger rules do with the tasks that were made."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streams_for_tests import stream, test_system  # noqa: F401  # the fixture

from airflow_enterprise_orch.undoing import HELPER, UNDO
from airflow_enterprise_orch.value_stream.model import ValueStream
from airflow_enterprise_orch.value_stream.paths import (
    ALL_SUCCESS,
    END,
    ENDED,
    FAILED,
    MEETING,
    NEVER,
    OVER,
    Paths,
    Task,
    TaskKind,
)
from airflow_enterprise_orch.value_stream.steps import ApprovalStep

pytestmark = pytest.mark.usefixtures("test_system")


@dataclass
class World:
    """What happens in one run: what each branch chooses, who rejects, what fails."""

    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rejects: frozenset[str] = frozenset()
    fails: frozenset[str] = frozenset()


def meant(model: ValueStream, world: World) -> set[str]:
    """Return the steps that run, by the words of the reference."""
    state: dict[str, str] = {}  # ran, failed, stopped (by a failure or a rejection), not taken
    conditional: dict[str, bool] = {}
    for step in model.ordered():
        before = model.upstream[step.id]
        choosers = [b for b in before if step.id in model.steps[b].targets]
        others = [name for name in before if name not in choosers]
        conditional[step.id] = bool(choosers) or (bool(others) and all(conditional[name] for name in others))
        if any(
            state[name] in ("failed", "stopped") or (name in world.rejects and state[name] == "ran") for name in before
        ):
            state[step.id] = "stopped"
            continue
        if choosers:
            chosen = any(state[b] == "ran" and step.id in world.choices[b] for b in choosers)
            behind = {
                name
                for name in others
                for b in choosers
                if conditional[name] and set(model.steps[b].targets) & (model.ancestors(name) | {name})
            }
            runs = chosen or any(state[name] == "ran" for name in behind)
        else:
            runs = not before or any(state[name] == "ran" for name in before)
        state[step.id] = ("failed" if step.id in world.fails else "ran") if runs else "not taken"
    return {name for name, result in state.items() if result in ("ran", "failed")}


def airflow(model: ValueStream, world: World, shuffle: random.Random) -> tuple[set[str], list[str]]:
    """Return the steps that ran, and all tasks that ran in their order."""
    _, ran = played(model, world, shuffle)
    return {name for name in ran if name in model.steps}, ran


def played(model: ValueStream, world: World, shuffle: random.Random) -> tuple[dict[str, str], list[str]]:
    """Play Airflow's scheduler: trigger rules, and what branches and approvals skip, in any order of running."""
    paths = Paths(model)
    tasks = {task.task_id: task for task in paths.tasks}
    down = {name: [other.task_id for other in tasks.values() if name in other.upstream] for name in tasks}

    def behind(name: str) -> set[str]:
        found: set[str] = set()
        waiting = list(down[name])
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting.extend(down[one])
        return found

    state: dict[str, str] = {}
    ran: list[str] = []
    while True:
        changed = False
        names = [name for name in tasks if name not in state]
        shuffle.shuffle(names)
        for name in names:
            if name in state:
                continue
            verdict = rule(tasks[name], state)
            if verdict == "wait":
                continue
            changed = True
            if verdict != "run":
                state[name] = verdict
                continue
            ran.append(name)
            # A skip is stored before the task itself is a success (task runner: DownstreamTasksSkipped).
            step = model.steps.get(name)
            if name in world.fails:
                state[name] = "failed"
                continue
            if step is not None and step.targets:
                follow = {paths.routes(name)[target] for target in world.choices[name]} | {*paths.helpers(name)}
                follow |= {other for chosen in follow for other in behind(chosen)}
                for other in down[name]:
                    if other not in follow:
                        assert state.get(other) in (None, "skipped", "upstream_failed"), f"{other} ran already"
                        state.setdefault(other, "skipped")
            if name in world.rejects:
                for other in (one for one in behind(name) if HELPER not in one):
                    # Where another step has failed, an empty task may be through: what it leads to is stopped anyway.
                    early = other not in model.steps and "failed" in state.values()
                    assert early or state.get(other) in (None, "skipped", "upstream_failed"), f"{other} ran already"
                    state.setdefault(other, "skipped")
            state[name] = "success"
            break  # let others go first
        if not changed:
            break
    assert set(state) == set(tasks), "every task comes to an end"
    return state, ran


def rule(task: Task, state: Mapping[str, str]) -> str:
    """Airflow's TriggerRuleDep for the four rules that are used."""
    ups = [state.get(name) for name in task.upstream]
    bad = any(up in ("failed", "upstream_failed") for up in ups)
    done = all(up is not None for up in ups)
    if task.rule == NEVER:
        if bad or "success" in ups:
            return "skipped"
        return "run" if done else "wait"
    if task.rule == FAILED:
        return "run" if bad else "skipped" if done else "wait"
    if task.rule == ENDED:
        return "run" if done else "wait"
    if bad:
        return "upstream_failed"
    if task.rule == ALL_SUCCESS:
        if "skipped" in ups:
            return "skipped"
        return "run" if done else "wait"
    assert task.rule in (MEETING, OVER)
    if not done:
        return "wait"
    if task.rule == MEETING and "success" not in ups:
        return "skipped"
    return "run"


def steps_that_run(steps: str, **world: object) -> set[str]:
    model = stream(steps)
    expected = meant(model, World(**world))
    for seed in range(5):
        got, _ = airflow(model, World(**world), random.Random(seed))
        assert got == expected
    return expected


DESIGN = """
book: J}
route: {after: [book], branch: [{when: params.n > 1, then: [approve]}, {otherwise: [provision]}]}
approve: {approval: {subject: ok, on_reject: skip}}
prepare: J, after: [approve]}
provision: J, after: [prepare]}
certify: J, after: [provision]}
"""


@pytest.mark.parametrize(
    ("chosen", "rejects", "runs"),
    [
        ("approve", (), {"book", "route", "approve", "prepare", "provision", "certify"}),
        ("provision", (), {"book", "route", "provision", "certify"}),
        ("approve", ("approve",), {"book", "route", "approve"}),
    ],
)
def test_a_join_that_the_branch_can_choose_itself(chosen: str, rejects: tuple[str, ...], runs: set[str]) -> None:
    assert steps_that_run(DESIGN, choices={"route": (chosen,)}, rejects=frozenset(rejects)) == runs


NESTED = """
outer: {branch: [{when: params.n > 1, then: [inner]}, {otherwise: [provision]}]}
inner: {branch: [{when: params.n > 5, then: [review]}, {otherwise: []}]}
review: J}
provision: J, after: [review]}
"""


def test_a_join_does_not_run_because_the_branch_itself_succeeded() -> None:
    assert steps_that_run(NESTED, choices={"outer": ("inner",), "inner": ()}) == {"outer", "inner"}
    assert "provision" in steps_that_run(NESTED, choices={"outer": ("provision",), "inner": ()})
    assert "provision" in steps_that_run(NESTED, choices={"outer": ("inner",), "inner": ("review",)})


PARALLEL = """
start: J}
route: {after: [start], branch: [{when: params.n > 1, then: [approve]}, {otherwise: [quick]}]}
approve: {approval: {subject: ok, on_reject: skip}}
quick: J}
other: J, after: [start]}
join: J, after: [approve, quick, other]}
"""


def test_a_path_not_taken_is_not_waited_for_but_a_rejection_stops_what_follows() -> None:
    assert "join" in steps_that_run(PARALLEL, choices={"route": ("quick",)})
    assert "join" in steps_that_run(PARALLEL, choices={"route": ("approve",)})
    rejected = steps_that_run(PARALLEL, choices={"route": ("approve",)}, rejects=frozenset({"approve"}))
    assert rejected == {"start", "route", "approve", "other"}


WAITING_FOR_MORE = """
outer: {branch: [{when: params.n > 1, then: [route]}, {otherwise: [elsewhere]}]}
elsewhere: J}
route: {branch: [{when: params.n > 5, then: [check]}, {otherwise: [ship]}]}
check: J}
pick: {branch: [{when: params.n > 3, then: [stock]}, {otherwise: []}]}
stock: J}
ship: J, after: [check, stock]}
"""


@pytest.mark.parametrize("stock", [(), ("stock",)])
def test_a_chosen_step_that_also_waits_for_something_else(stock: tuple[str, ...]) -> None:
    away = steps_that_run(WAITING_FOR_MORE, choices={"outer": ("elsewhere",), "route": ("ship",), "pick": stock})
    assert "ship" not in away
    for choice in ("check", "ship"):
        assert "ship" in steps_that_run(
            WAITING_FOR_MORE, choices={"outer": ("route",), "route": (choice,), "pick": stock}
        )


STILL_OPEN = """
other: {approval: {subject: ok, on_reject: skip}}
pick: {branch: [{when: params.n > 1, then: []}, {otherwise: [ship]}]}
ship: J, after: [other]}
beside: J}
finish: J, after: [ship, beside]}
"""


def test_nothing_runs_while_an_approval_before_it_is_open_and_may_stop_it() -> None:
    assert "finish" in steps_that_run(STILL_OPEN, choices={"pick": ()})
    stopped = steps_that_run(STILL_OPEN, choices={"pick": ()}, rejects=frozenset({"other"}))
    assert stopped == {"other", "pick", "beside"}


def test_what_comes_before_the_branch_anyway_needs_no_helpers() -> None:
    model = stream(
        "a: J}\nb: {after: [a], branch: [{when: params.n > 1, then: [c]}, {otherwise: []}]}\nc: J, after: [a]}"
    )
    assert [(task.task_id, task.upstream) for task in Paths(model).tasks] == [("a", ()), ("b", ("a",)), ("c", ("b",))]


def test_a_failure_stops_what_follows_and_a_path_beside_it_goes_on() -> None:
    assert steps_that_run(PARALLEL, choices={"route": ("quick",)}, fails=frozenset({"quick"})) == {
        "start", "route", "quick", "other",
    }  # fmt: skip


ALL = """
route: {branch: {match: all, rules: [{when: params.n > 1, then: [stock]}, {when: params.n > 5, then: [credit, ship]}],
  otherwise: [inform]}}
stock: J}
credit: {approval: {subject: ok, on_reject: skip}}
inform: J}
ship: J, after: [stock, credit]}
close: J, after: [ship, inform]}
"""


@pytest.mark.parametrize(
    ("chosen", "rejects", "runs"),
    [
        (("stock",), (), {"stock", "ship", "close"}),
        (("stock", "credit", "ship"), (), {"stock", "credit", "ship", "close"}),
        (("credit", "ship"), (), {"credit", "ship", "close"}),
        (("stock", "credit", "ship"), ("credit",), {"stock", "credit"}),
        (("inform",), (), {"inform", "close"}),
    ],
)
def test_a_join_waits_for_all_paths_that_are_taken(
    chosen: tuple[str, ...], rejects: tuple[str, ...], runs: set[str]
) -> None:
    assert steps_that_run(ALL, choices={"route": chosen}, rejects=frozenset(rejects)) == {"route", *runs}
    model = stream(ALL)
    for seed in range(20):
        _, ran = airflow(model, World({"route": chosen}), random.Random(seed))
        before = [name for name in ("stock", "credit") if name in chosen]
        assert all(ran.index(name) < ran.index("ship") for name in before if "ship" in ran)


def test_a_plain_stream_needs_no_helpers() -> None:
    model = stream("a: J}\nb: J, after: [a]}\nc: J, after: [a]}\nd: J, after: [b, c]}")
    assert [(task.task_id, task.upstream, task.rule) for task in Paths(model).tasks] == [
        ("a", (), ALL_SUCCESS),
        ("b", ("a",), ALL_SUCCESS),
        ("c", ("a",), ALL_SUCCESS),
        ("d", ("b", "c"), ALL_SUCCESS),
    ]


def test_a_plain_branch_and_join_need_no_helpers() -> None:
    model = stream(
        "r: {branch: [{when: params.n > 1, then: [a]}, {otherwise: [b]}]}\na: J}\nb: J}\nj: J, after: [a, b]}"
    )
    tasks = Paths(model).tasks
    assert all(task.kind is TaskKind.STEP for task in tasks)
    assert tasks[-1] == Task("j", TaskKind.STEP, "j", ("a", "b"), MEETING)


def test_admission_comes_first_and_leaves_a_step_of_that_name_alone() -> None:
    model = stream("admit: J}\nb: J, after: [admit]}", head=", key: '{{ params.n }}', duplicates: reject")
    assert [(task.task_id, task.upstream) for task in Paths(model).tasks] == [
        ("admit-instance", ()),
        ("admit", ("admit-instance",)),
        ("b", ("admit",)),
    ]


def test_what_an_instance_tells_of_itself_it_tells_before_its_first_step() -> None:
    told = ", key: '{{ params.n }}', duplicates: reject, announce: [business_date]"
    model = stream("announce: J}\nb: J}", head=told)
    assert [(task.task_id, task.upstream) for task in Paths(model).tasks] == [
        ("admit", ()),
        ("announce-instance", ("admit",)),
        ("announce", ("announce-instance",)),
        ("b", ("announce-instance",)),
    ]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[str, World]:
    """Draw a stream of up to nine steps with branches and approvals, and what happens in a run of it."""
    count = draw(st.integers(3, 9))
    names = [f"s{number}" for number in range(count)]
    kinds = [draw(st.sampled_from(["job", "job", "branch", "approval"])) for _ in names]
    kinds[-1] = "job"
    after: dict[str, set[str]] = {}
    targets: dict[str, list[list[str]]] = {}
    asked: set[str] = set()  # what a person chooses
    every: dict[str, list[list[str]]] = {}  # where all rules that hold are taken: the rules' steps, then otherwise
    for index, name in enumerate(names):
        earlier = [one for one, kind in zip(names[:index], kinds, strict=False) if kind != "branch"]
        after[name] = set(draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True))) if earlier else set()
        if kinds[index] == "branch":
            later = names[index + 1 :]
            ways = [draw(st.lists(st.sampled_from(later), max_size=2, unique=True)) for _ in range(2)]
            targets[name] = ways if any(ways) else [[later[0]], []]
            form = draw(st.sampled_from(["list", "all", "choice"]))
            if form == "choice":
                asked.add(name)
            elif form == "all":
                more = draw(st.lists(st.sampled_from(later), max_size=2, unique=True))
                one, two = targets[name]
                every[name] = [one, more, two]
                targets[name] = [one, more, list(dict.fromkeys(one + more)), two]
    lines = []
    for name, kind in zip(names, kinds, strict=True):
        parts = [f"after: [{', '.join(sorted(after[name]))}]"] if after[name] else []
        if name in every:
            one, two, otherwise = (", ".join(way) for way in every[name])
            rules = f"[{{when: params.n > 1, then: [{one}]}}, {{when: params.n > 2, then: [{two}]}}]"
            parts.append(f"branch: {{match: all, rules: {rules}, otherwise: [{otherwise}]}}")
        elif name in asked:
            options = ", ".join(
                f"o{number}: {{title: O{number}, then: [{', '.join(way)}]}}" for number, way in enumerate(targets[name])
            )
            parts.append(f"choice: {{subject: which, options: {{{options}}}}}")
        elif kind == "branch":
            then, otherwise = (", ".join(way) for way in targets[name])
            parts.append(f"branch: [{{when: params.n > 1, then: [{then}]}}, {{otherwise: [{otherwise}]}}]")
        elif kind == "approval":
            parts.append("approval: {subject: ok, on_reject: skip}")
        else:
            parts.append("test.job: {connection: c}")
            followed = any(name in before for before in after.values())
            if followed and draw(st.booleans()):
                parts.append("compensate: {test.job: {connection: c, text: undo}}")
        lines.append(f"{name}: {{{', '.join(parts)}}}")
    choices = {name: tuple(draw(st.sampled_from(ways))) for name, ways in targets.items()}
    approvals = [name for name, kind in zip(names, kinds, strict=True) if kind == "approval"]
    jobs = [name for name, kind in zip(names, kinds, strict=True) if kind == "job"]
    rejects = frozenset(draw(st.sets(st.sampled_from(approvals), max_size=2))) if approvals else frozenset()
    fails = frozenset(draw(st.sets(st.sampled_from(jobs), max_size=1)))
    return "\n".join(lines), World(choices, rejects, fails)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(drawn=worlds(), seed=st.integers(0, 1000))
def test_whatever_the_template_airflow_runs_what_it_means(drawn: tuple[str, World], seed: int) -> None:
    text, world = drawn
    model = stream(text)
    got, ran = airflow(model, world, random.Random(seed))
    assert len(ran) == len(set(ran))
    assert got == meant(model, world)
    assert all(isinstance(model.steps[name], ApprovalStep) for name in world.rejects)


def undone(model: ValueStream, world: World) -> set[str]:
    """Return the steps that are undone, by the words of the reference."""
    ran = meant(model, world)
    found = set()
    for name, step in model.steps.items():
        after = {other for other in model.steps if name in model.ancestors(other)}
        needed = after | {one for other in after for one in model.ancestors(other)}
        failed = needed & ran & world.fails - model.ancestors(name) - {name}
        if step.compensation is not None and name in ran - world.fails and failed:
            found.add(name)
    return found


def check_undoing(model: ValueStream, world: World, seed: int) -> set[str]:
    state, ran = played(model, world, random.Random(seed))
    can = {name for name, step in model.steps.items() if step.compensation is not None}
    expected = undone(model, world)
    assert {name for name in can if f"{name}{UNDO}" in ran} == expected
    for name in expected:
        here = ran.index(f"{name}{UNDO}")
        concerned = [ran.index(one) for one in model.concerned(name) if one in ran]
        assert here > max(concerned), "nothing is undone while something that is concerned is at work"
        for other in expected:
            if name in model.ancestors(other):
                assert ran.index(f"{other}{UNDO}") < here, "the last steps are undone first"
    if can:
        failed = {name for name, found in state.items() if found == "failed"}
        assert (state[END] == "upstream_failed") == bool(failed), "the failure stays to be seen"
        assert all(name == END or any(name in task.upstream for task in Paths(model).tasks) for name in state)
    return expected


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=worlds(), seed=st.integers(0, 1000), undo_fails=st.booleans())
def test_whatever_fails_what_was_done_before_is_undone_in_reverse(
    drawn: tuple[str, World], seed: int, undo_fails: bool
) -> None:
    text, world = drawn
    model = stream(text)
    broken = {f"{name}{UNDO}" for name, step in model.steps.items() if step.compensation is not None and undo_fails}
    check_undoing(model, World(world.choices, world.rejects, world.fails | broken), seed)


TRIP = """
flight: J, compensate: {test.job: {connection: c, text: cancel}}}
hotel: J, compensate: {test.job: {connection: c, text: cancel}}}
ask: {after: [flight], approval: {subject: ok, on_reject: skip}}
route: {after: [hotel], branch: [{when: params.n > 1, then: [car]}, {otherwise: []}]}
car: J, compensate: {test.job: {connection: c, text: cancel}}}
pay: J, after: [ask, hotel, car]}
tell: J}
"""


@pytest.mark.parametrize(
    ("chosen", "fails", "rejects", "undoes"),
    [
        ((), {"pay"}, (), {"flight", "hotel"}),
        (("car",), {"pay"}, (), {"flight", "hotel", "car"}),
        (("car",), {"hotel"}, (), {"flight"}),
        (("car",), {"car"}, (), {"flight", "hotel"}),
        (("car",), {"tell"}, (), set()),
        (("car",), {"route"}, (), {"flight", "hotel"}),
        (("car",), set(), ("ask",), set()),
        (("car",), {"car"}, ("ask",), {"flight", "hotel"}),
        (("car",), {"pay", f"car{UNDO}"}, (), {"flight", "hotel", "car"}),
    ],
)
def test_a_trip_that_cannot_be_paid_is_given_back(
    chosen: tuple[str, ...], fails: set[str], rejects: tuple[str, ...], undoes: set[str]
) -> None:
    model = stream(TRIP)
    for seed in range(10):
        assert check_undoing(model, World({"route": chosen}, frozenset(rejects), frozenset(fails)), seed) == undoes
