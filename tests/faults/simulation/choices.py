"""Everything that is left to chance in one schedule: drawn from a seed, recorded, replayed, and shrunk."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

Script = dict[str, int]
"""What was chosen, where it was not the harmless choice: ``name#occurrence`` to the choice."""


class Choices:
    """The choices of one schedule. Choice 0 is always the harmless one, so a shorter script is a calmer schedule.

    A choice is known by its name and by how often that name came before, so that taking one out leaves the others
    where they were, as far as possible.

    :param script: replay this instead of drawing.
    """

    def __init__(self, seed: int, script: Mapping[str, int] | None = None) -> None:
        self.random = random.Random(seed)
        self.script = script
        self.taken: Script = {}
        self.budget = 0
        self._seen: dict[str, int] = {}

    def among(self, name: str, count: int) -> int:
        """Choose one of ``count``, all equally likely."""
        seen = self._seen[name] = self._seen.get(name, -1) + 1
        if self.script is not None:
            return min(self.script.get(f"{name}#{seen}", 0), count - 1)
        chosen = int(self.random.random() * count)
        if chosen:
            self.taken[f"{name}#{seen}"] = chosen
        return chosen

    def fault(self, name: str, rate: float, count: int) -> int:
        """Choose 0 for nothing, or one of ``count`` faults at this ``rate`` while the budget lasts."""
        seen = self._seen[name] = self._seen.get(name, -1) + 1
        if self.script is not None:
            return min(self.script.get(f"{name}#{seen}", 0), count)
        draw = self.random.random()
        if draw >= rate or self.budget <= 0:
            return 0
        self.budget -= 1
        chosen = 1 + int(draw / rate * count)
        self.taken[f"{name}#{seen}"] = chosen
        return chosen


def shrink(script: Script, fails: Callable[[Script], bool], *, tries: int = 2000) -> Script:
    """Return a smaller script that still fails: whole chunks out first, then single choices, then smaller choices.

    :param fails: runs a script and tells whether it breaks the same promise.
    """
    left = tries

    def still(candidate: Script) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and fails(candidate)

    chunk = max(len(script) // 2, 1)
    while True:
        names = list(script)
        smaller = False
        for start in range(0, len(names), chunk):
            out = set(names[start : start + chunk])
            candidate = {name: value for name, value in script.items() if name not in out}
            if len(candidate) < len(script) and still(candidate):
                script, smaller = candidate, True
        if chunk == 1 and not smaller:
            break
        if not smaller:
            chunk = max(chunk // 2, 1)
    for name in list(script):
        while script[name] > 1 and still({**script, name: script[name] - 1}):
            script = {**script, name: script[name] - 1}
    return script
