"""How long it takes to refuse what is made to hurt; each should take less than a second."""

from __future__ import annotations

import time
from contextlib import suppress

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.model import ValueStream
from tests.value_stream.bombs import BOMBS, HARMLESS

PROMISED = 1.0
"""Seconds of CPU."""


def main(_arguments: list[str] | None = None) -> int:
    """Print CPU seconds for each, the slowest first; 1 where the promise is not kept."""
    texts = {name: text for name, (text, _) in BOMBS.items()} | HARMLESS
    taken: dict[str, float] = {}
    for name, text in texts.items():
        before = time.process_time()
        with suppress(TemplateError):
            ValueStream.load(text)
        taken[name] = time.process_time() - before
    for name, seconds in sorted(taken.items(), key=lambda one: -one[1]):
        print(f"  {seconds:6.3f} s  {name} ({len(texts[name]) // 1024} KB)")
    return 0 if max(taken.values()) < PROMISED else 1


if __name__ == "__main__":
    raise SystemExit(main())
