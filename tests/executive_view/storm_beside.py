"""A gentle storm beside API servers that look when they want to: a program that is told what to do, line by line.

``blow N`` has it blow, and answers with a line for every ten blows; ``compare`` answers with what our tables say and
what Airflow's say, as one line of JSON. Gently: what happened stays to be seen, so that whoever looks late, or again,
must tell exactly the same.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from airflow.utils.db import initdb

from airflow_enterprise_orch.executive_view.tables import EVENT
from tests.executive_view.storm import Storm, truth
from tests.executive_view.storm_feeds import TOLD, ours, rows

AT_A_TIME = 10
SAYS = "storm: "
"""How a line begins that is ours; Airflow logs to the same stream."""


def compare() -> dict[str, Any]:
    """Return both sides, alike."""
    # Ours are read first: what happens in between makes Airflow's side the larger one, and the next look tells it.
    said, events = ours(), rows(EVENT)
    is_so = truth()
    told = Counter(event["kind"] for event in events)
    same = Counter(
        (event["kind"], event["run_id"], event["task_id"], event["map_index"], event["at"]) for event in events
    )
    return {
        "ours": {**said, "told": {"asked": told["asked"] + told["parked"], **{kind: told[kind] for kind in TOLD[1:]}}},
        "airflow": {**{name: is_so[name] for name in said}, "told": {kind: len(is_so[kind]) for kind in TOLD}},
        "twice": [one for one, times in same.items() if times > 1],
    }


def say(text: str) -> None:
    print(SAYS + text, flush=True)


def main() -> None:
    initdb()
    weather = Storm(int(sys.argv[1]))
    say("ready")
    for line in sys.stdin:
        command, _, number = line.strip().partition(" ")
        if command == "blow":
            for _ in range(int(number) // AT_A_TIME):
                weather.blow(AT_A_TIME, gently=True)
                say("blown")
        else:
            say(json.dumps(compare(), default=str))


if __name__ == "__main__":
    main()
