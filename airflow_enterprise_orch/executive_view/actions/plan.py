"""What an action comes to, before anything is changed: what is written, what runs, what is told. Plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.executive_view.actions.situation import AT_WORK, Name, Phase, Situation, Task
from airflow_enterprise_orch.executive_view.answers_actions import Confirmation, Effect, What

if TYPE_CHECKING:
    from airflow_enterprise_orch.executive_view.pictures import PictureStep

NUDGED = AT_WORK | {Phase.FAILED}
"""Phases in which a task only looks at what people wish when it is made to: by a clear, which its next try answers."""


@dataclass(frozen=True)
class WishFor:
    """A wish that is left for a task.

    :param fields: what it says beside who wants it and why.
    """

    name: Name
    what: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Plan:
    """What is to be done.

    :param refusals: why it is not, each in one line with what to do instead.
    :param taken_back: wishes that count no more: task and kind.
    :param clears: task instances that run again, or look.
    :param wakes: held ones that look at once.
    :param kept: JSON that is kept beside a task, by task and key.
    :param weights: new priorities of task instances that have not begun.
    :param row: new values of the instance's row.
    :param before: what it was, for the audit trail.
    :param after: what it is since.
    """

    sentence: str = ""
    effects: list[Effect] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    cannot_be_undone: list[str] = field(default_factory=list)
    compensations: list[str] = field(default_factory=list)
    confirmations: list[Confirmation] = field(default_factory=list)
    wishes: list[WishFor] = field(default_factory=list)
    taken_back: list[tuple[Name, str]] = field(default_factory=list)
    clears: dict[Name, None] = field(default_factory=dict)
    wakes: dict[Name, None] = field(default_factory=dict)
    kept: dict[tuple[Name, str], Mapping[str, Any] | None] = field(default_factory=dict)
    conf: Mapping[str, Any] | None = None
    weights: dict[Name, int] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)

    def refuse(self, why: str) -> Plan:
        """Say why it is not done."""
        self.refusals.append(why)
        return self

    def tell(
        self, situation: Situation, step: PictureStep | None, what: What, text: str, task: Task | None = None
    ) -> None:
        """Say what becomes of a step."""
        self.effects.append(
            Effect(
                step=None if step is None else situation.picture.step_name(step.id),
                map_index=-1 if task is None else task.map_index,
                what=what,
                text=text,
                job=None if task is None else task.job,
            )
        )

    def wish(self, task: Task, what: str, *, nudge: bool = True, **fields: Any) -> None:
        """Leave a wish for a task, and see to it that the task looks.

        :param nudge: make a task look that does not by itself.
        :param fields: what the wish says; what is empty is left out.
        """
        self.wishes.append(WishFor(task.name, what, {name: value for name, value in fields.items() if value}))
        if nudge:
            self.nudge(task)

    def nudge(self, task: Task) -> None:
        """See to it that a task looks at what people wish, if it does not by itself."""
        if task.phase is Phase.HELD:
            self.wakes[task.name] = None
        elif task.phase in NUDGED:
            self.clears[task.name] = None

    def take(self, part: Plan) -> None:
        """Add what another plan does and says; not its sentence."""
        self.effects += part.effects
        self.refusals += part.refusals
        self.cannot_be_undone += part.cannot_be_undone
        self.compensations += [one for one in part.compensations if one not in self.compensations]
        self.confirmations += part.confirmations
        self.wishes += part.wishes
        self.taken_back += part.taken_back
        self.clears |= part.clears
        self.wakes |= part.wakes

    def clear(self, tasks: Iterable[Task]) -> None:
        """Let tasks run again."""
        self.clears.update(dict.fromkeys(one.name for one in tasks))

    def confirm(self, token: str, text: str) -> None:
        """Ask for a confirmation of its own."""
        self.confirmations.append(Confirmation(token=token, text=text))

    def unconfirmed(self, given: Iterable[str]) -> list[str]:
        """Return what was asked for and is not confirmed."""
        known = set(given)
        return [one.text for one in self.confirmations if one.token not in known]

    @property
    def concerned(self) -> set[Name]:
        """The task instances that it is about: how they stand is what the asker must have seen."""
        return {
            *(one.name for one in self.wishes),
            *(name for name, _ in self.taken_back),
            *self.clears,
            *self.wakes,
            *(name for name, _ in self.kept),
        }
