"""Values that are handed on as they are, with their type, where a text is nothing but one of them."""

from __future__ import annotations

import re

_ALONE = re.compile(r"\s*\{\{-?\s*([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)\s*-?\}\}\s*", re.ASCII)


def value_itself(value: object) -> tuple[str, ...] | None:
    """Return the path of the one value that a text hands on, ``("params", "amount")``; None for any other text."""
    found = _ALONE.fullmatch(value) if isinstance(value, str) else None
    return tuple(found[1].split(".")) if found else None
