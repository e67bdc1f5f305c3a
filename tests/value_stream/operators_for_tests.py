"""Operators as a provider might bring them, for the step ``airflow``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from airflow.providers.standard.operators.bash import BashOperator  # noqa: F401  # a module may hold what is not allowed
from airflow.providers.standard.operators.branch import BaseBranchOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from airflow.triggers.base import BaseTrigger, TriggerEvent


class CopyOperator(BaseOperator):
    """Keeps what it was made with, and returns it."""

    template_fields: Sequence[str] = ("source", "settings")
    template_ext: Sequence[str] = (".sql",)
    made: ClassVar[list[CopyOperator]] = []

    def __init__(self, *, source: str, settings: dict[str, Any] | None = None, fails: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if source == "nowhere":
            raise ValueError("nowhere is no place")
        self.source, self.settings, self.fails = source, settings, fails
        self.killed = False
        self.made.append(self)

    def execute(self, context: Any) -> Any:
        if self.fails == "skip":
            raise AirflowSkipException("nothing to do")
        if self.fails:
            raise RuntimeError(self.fails)
        # Some operators render once more by themselves.
        again = self.render_template(self.source, context)
        self.render_template_fields(context)
        context["ti"].xcom_push(key="rows", value=3)
        return {"again": again, "source": self.source, "settings": self.settings, "files": [{"size": 7, "ok": True}]}

    def on_kill(self) -> None:
        self.killed = True


class MoveOperator(CopyOperator):
    """Gives its parent what that one needs."""

    def __init__(self, *, target: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target


class OneShotTrigger(BaseTrigger):
    def __init__(self, *, arguments: str) -> None:
        super().__init__()
        self.arguments = arguments

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", {"arguments": self.arguments}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(self.arguments)


class WaitingOperator(CopyOperator):
    """Waits without a worker, then goes on."""

    def __init__(self, *, patience: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience = patience

    def execute(self, context: Any) -> None:
        self.defer(
            trigger=OneShotTrigger(arguments=self.source),
            method_name="go_on",
            kwargs={"told": "x"},
            timeout=timedelta(seconds=self.patience) if self.patience else None,
        )

    def go_on(self, context: Any, event: Any, told: str) -> Any:
        return f"{event} {told} {self.source}"


class ChoosingOperator(BaseBranchOperator):
    """Skips tasks."""

    def choose_branch(self, context: Any) -> str:
        return ""


class CodeOperator(BaseOperator):
    """Needs a function."""

    def __init__(self, *, python_callable: Any, words: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)


class NoOperator:
    """Is none."""


def function() -> None:
    """Is none either."""
