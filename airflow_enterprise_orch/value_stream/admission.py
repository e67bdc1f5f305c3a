"""A second live instance with the same business key: rejected, or queued behind the first.

The first task of such a stream, ``admit``, keeps the keys of live instances in Airflow Variables, one for each of 256
shards of a stream's keys. Airflow has no compare-and-set on Variables; the mutual exclusion is its scheduler's, which
runs only one ``admit`` of a stream at a time (``max_active_tis_per_dag=1``). One whose worker was given up for dead and
yet goes on writing is found out by reading back what was written.

Waiting happens in the triggerer, behind the run directly ahead, so a queue of a thousand instances wakes one of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Variable
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from airflow.sdk.execution_time.context import NEVER_EXPIRE
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_enterprise_orch.instance import render_text

if TYPE_CHECKING:
    from airflow.sdk import Context

ADMISSION_KEY = "orch.admission"
ADMISSION_VERSION = 1
SHARDS = 256
LIVE = ["queued", "running"]
"""The states of a run that is not over."""
LOOKS = 50
"""How many other keys' runs one admission looks at to tidy up; its own key's are always looked at."""


class AdmitStep(BaseOperator):
    """Lets one instance per business key in.

    :param business_key: the template's ``business.key``.
    :param duplicates: what happens to a second live instance; with ``allow`` nobody needs this task.
    :param stream: what the key may see.
    """

    template_fields: Sequence[str] = ()

    def __init__(
        self,
        *,
        business_key: str,
        duplicates: Literal["reject", "queue", "allow"],
        stream: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if duplicates not in ("reject", "queue"):
            raise ValueError(f"admission: duplicates is {duplicates!r}; give 'reject' or 'queue'")
        super().__init__(max_active_tis_per_dag=1, **kwargs)
        self.business_key = business_key
        self.duplicates = duplicates
        self.stream = dict(stream or {})

    def execute(self, context: Context) -> dict[str, Any]:
        """Let this instance in, wait for the one ahead, or fail; the same again when run again for the same run."""
        key = render_text(self.business_key, context, self.stream)
        if not key.strip():
            raise AirflowFailException(
                f"admission: the business key {self.business_key!r} came out empty; start the instance with its params"
            )
        run_id, dag_id = context["run_id"], context["ti"].dag_id
        register = Register(dag_id, key, self._live)
        ahead = register.enter(key, run_id)
        if ahead and self.duplicates == "reject":
            register.leave(key, run_id)
        register.tidy(key, run_id)
        register.save()
        decision = "admitted" if not ahead else ("rejected" if self.duplicates == "reject" else "waiting")
        self._record(context, key, decision, ahead)
        if decision == "rejected":
            raise AirflowFailException(
                f"admission: {key!r} is already live in run {ahead[0]!r} of {dag_id!r}, "
                "and the stream rejects duplicates; wait for that run or end it, then start this one anew"
            )
        if decision == "waiting":
            self.log.info("%r waits for run %r, which has the same key", key, ahead[-1])
            self.defer(trigger=RunEndedTrigger(dag_id=dag_id, run_id=ahead[-1]), method_name="look_again")
        self.log.info("%r is let in", key)
        return {"key": key, "admitted": True}

    def look_again(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on after the run ahead has ended."""
        return self.execute(context)

    def _live(self, dag_id: str, run_ids: list[str]) -> int:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        return RuntimeTaskInstance.get_dr_count(dag_id=dag_id, run_ids=run_ids, states=LIVE)

    def _record(self, context: Context, key: str, decision: str, ahead: Sequence[str]) -> None:
        context["task_state_store"].set(
            ADMISSION_KEY,
            {
                "version": ADMISSION_VERSION,
                "key": key,
                "decision": decision,
                "ahead": list(ahead),
                "at": datetime.now(UTC).isoformat(),
            },
            retention=NEVER_EXPIRE,
        )


class Register:
    """The live instances of one shard of a stream's keys, in the order in which they came.

    :param live: tells how many of some runs of a DAG are not over.
    """

    def __init__(self, dag_id: str, key: str, live: Any) -> None:
        self._dag_id = dag_id
        self._live = live
        self.name = f"enterprise_orch.live.{dag_id}.{shard(key):02x}"
        self.entries = self._read()

    def enter(self, key: str, run_id: str) -> tuple[str, ...]:
        """Put the run in its key's line, and return the live runs ahead of it."""
        line = self.entries.get(key, [])
        place = line.index(run_id) if run_id in line else len(line)
        ahead = self._only_live(line[:place])
        self.entries[key] = [*ahead, run_id, *line[place + 1 :]]
        return tuple(ahead)

    def leave(self, key: str, run_id: str) -> None:
        """Take the run out again."""
        self.entries[key] = [other for other in self.entries[key] if other != run_id]

    def tidy(self, key: str, run_id: str) -> None:
        """Forget runs of other keys that are over: one question when none is, a bounded number when some are."""
        others = {name: line for name, line in self.entries.items() if name != key}
        runs = [other for line in others.values() for other in line]
        if runs and self._live(self._dag_id, runs) < len(set(runs)):
            looked_at = runs[:LOOKS]
            over = set(looked_at) - set(self._only_live(looked_at))
            for name, line in others.items():
                self.entries[name] = [other for other in line if other not in over]
        self.entries = {name: line for name, line in self.entries.items() if line}

    def save(self) -> None:
        """Write the shard; :raises AirflowException: when another writer came between, to be tried again."""
        value = {"version": ADMISSION_VERSION, "keys": self.entries}
        Variable.set(self.name, value, description="Live instances by business key", serialize_json=True)
        if self._read() != self.entries:
            raise AirflowException(
                f"admission: another task changed the Variable {self.name!r} at the same moment; "
                "the next try looks again"
            )

    def _read(self) -> dict[str, list[str]]:
        stored = Variable.get(self.name, default=None, deserialize_json=True)
        if stored is None:
            return {}
        keys = stored.get("keys") if isinstance(stored, dict) and stored.get("version") == ADMISSION_VERSION else None
        if not isinstance(keys, dict) or not all(_is_line(line) for line in keys.values()):
            raise AirflowFailException(
                f"admission: the Variable {self.name!r} is no register of live instances; "
                "restore or delete it, then clear this step"
            )
        return keys

    def _only_live(self, run_ids: Sequence[str]) -> list[str]:
        """Return those that are not over, in their order."""
        if not run_ids:
            return []
        if self._live(self._dag_id, list(run_ids)) == len(run_ids):
            return list(run_ids)
        return [run_id for run_id in run_ids if self._live(self._dag_id, [run_id])]


class RunEndedTrigger(BaseTrigger):
    """Fires once a run is over, or gone.

    :param poll: seconds between two looks; the first look comes after it too, because Airflow may take a task that
        resumes within its first seconds for one that died.
    """

    def __init__(self, *, dag_id: str, run_id: str, poll: float = 15.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's triggers are not typed
        self.dag_id = dag_id
        self.run_id = run_id
        self.poll = poll

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what another triggerer needs to go on."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"dag_id": self.dag_id, "run_id": self.run_id, "poll": self.poll},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the run is neither queued nor running."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        count = sync_to_async(RuntimeTaskInstance.get_dr_count)
        while True:
            await asyncio.sleep(self.poll)
            if not await count(dag_id=self.dag_id, run_ids=[self.run_id], states=LIVE):
                payload = {"version": ADMISSION_VERSION, "ended": self.run_id}
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]  # nor are their events
                return


def shard(key: str) -> int:
    """Return which of the :data:`SHARDS` holds ``key``; the same in every process."""
    return hashlib.sha256(key.encode()).digest()[0] % SHARDS


def _is_line(line: object) -> bool:
    return isinstance(line, list) and all(isinstance(run_id, str) for run_id in line)
