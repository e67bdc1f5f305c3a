r"""Regular expressions of templates: compiled, and refused where a text could keep them busy forever.

Python's engine tries every way in which a pattern can be split over a text. Where a repeated group can be split over
the same text in several ways, as in ``(a+)+`` or ``(\w+\s?)*``, these are exponentially many, and a job's log of one
line could hold a worker for years. So inside of a repetition there may be no choice: what can come next must tell by
its first character whether a part goes on, ends, or which alternative it is.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from itertools import combinations
from typing import Any

MAX_LENGTH = 1_000
FEW = 3
"""So many repetitions of a group multiply nothing by much."""

_PARSER: Any = import_module("re._parser")  # the module behind re.compile; it has no public name any more
_OTHER = 1 << 256
_ALL = (1 << 257) - 1
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
_NO_WIDTH = ("AT", "ASSERT", "ASSERT_NOT", "FAILURE")
_OWN_ENDING = ("POSSESSIVE_REPEAT", "ATOMIC_GROUP")
"""What gives nothing back, and so is tried in one way only."""

Items = Sequence[tuple[Any, Any]]


@lru_cache(maxsize=512)
def compiled(text: str) -> tuple[re.Pattern[str] | None, str, str]:
    """Return a regular expression, or None, what is wrong with it, and what to do.

    What Python only warns about (it will mean something else in a later version) is refused too.
    """
    if len(text) > MAX_LENGTH:
        return None, f"the regular expression is longer than {MAX_LENGTH:,} characters", "shorten it"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern = re.compile(text)
            tree = _PARSER.parse(text)
            forever = _forever(tree, bool(pattern.flags & re.IGNORECASE))
    except (re.error, Warning, OverflowError, RecursionError) as error:
        return None, f"this is no regular expression ({error})", "correct it"
    if forever:
        what = "the regular expression could run forever: a repeated group fits the same text in several ways"
        return None, what, r"let each part of the group begin with a character of its own, as in (\w+,)*"
    return pattern, "", ""


def _forever(items: Items, fold: bool) -> bool:
    """Tell whether a repetition below here holds a choice."""
    for code, argument in items:
        name = str(code)
        if name in _REPEATS and argument[1] > FEW and _choice(argument[2], _first(argument[2], fold)[0], fold):
            return True
        if any(_forever(part, fold) for part in _below(name, argument)):
            return True
    return False


def _below(name: str, argument: Any) -> list[Items]:
    if name in _REPEATS:
        return [argument[2]]
    if name == "SUBPATTERN":
        return [argument[-1]]
    if name == "BRANCH":
        return list(argument[1])
    if name in ("ASSERT", "ASSERT_NOT"):
        return [argument[1]]
    if name == "ATOMIC_GROUP":
        return [argument]
    if name == "POSSESSIVE_REPEAT":
        return [argument[2]]
    return [part for part in argument[1:] if part] if name == "GROUPREF_EXISTS" else []


def _choice(items: Items, follow: int, fold: bool) -> bool:
    """Tell whether there is a place from which a text could go on in two ways; ``follow`` may come behind."""
    for number, (code, argument) in enumerate(items):
        name = str(code)
        rest, ends = _first(items[number + 1 :], fold)
        after = rest | follow if ends else rest
        if name in _REPEATS:
            low, high, body = argument
            begins, _ = _first(body, fold)
            if low != high and begins & after:
                return True
            if _choice(body, after | (begins if high > 1 else 0), fold):
                return True
        elif name == "BRANCH":
            firsts = [_first(part, fold) for part in argument[1]]
            sets = [begins | after if empty else begins for begins, empty in firsts]
            if any(one & other for one, other in combinations(sets, 2)):
                return True
            if any(_choice(part, after, fold) for part in argument[1]):
                return True
        elif name == "SUBPATTERN":
            if _choice(argument[-1], after, fold):
                return True
        elif name in ("GROUPREF", "GROUPREF_EXISTS"):
            return True
    return False


def _first(items: Items, fold: bool) -> tuple[int, bool]:
    """Return the characters that a text can begin with here, as bits, and whether it can be empty."""
    found = 0
    for code, argument in items:
        begins, empty = _begins(str(code), argument, fold)
        found |= begins
        if not empty:
            return found, False
    return found, True


def _begins(name: str, argument: Any, fold: bool) -> tuple[int, bool]:
    if name in _REPEATS or name == "POSSESSIVE_REPEAT":
        begins, empty = _first(argument[2], fold)
        return begins, empty or argument[0] == 0
    if name == "SUBPATTERN":
        return _first(argument[-1], fold)
    if name == "ATOMIC_GROUP":
        return _first(argument, fold)
    if name == "BRANCH":
        parts = [_first(part, fold) for part in argument[1]]
        found = 0
        for begins, _ in parts:
            found |= begins
        return found, any(empty for _, empty in parts)
    if name in _NO_WIDTH:
        return 0, True
    return _characters(name, argument, fold), False


def _characters(name: str, argument: Any, fold: bool) -> int:
    """Return the characters that one item takes: 256 bits, and one for all others."""
    if name == "LITERAL":
        return _literal(argument, fold)
    if name == "NOT_LITERAL":
        return _ALL & ~_literal(argument, fold)
    if name == "RANGE":
        low, high = argument
        found = _OTHER if high > 255 else 0
        for character in range(low, min(high, 255) + 1):
            found |= _literal(character, fold)
        return found
    if name == "CATEGORY":
        return _category(str(argument))
    if name == "IN":
        turned = any(str(code) == "NEGATE" for code, _ in argument)
        found = 0
        for code, part in argument:
            found |= _characters(str(code), part, fold) if str(code) != "NEGATE" else 0
        # Of the characters beyond 255 a set may name some and leave out others.
        return (_ALL & ~found) | _OTHER if turned else found
    return _ALL  # any character, a reference to a group, or something new


def _literal(character: int, fold: bool) -> int:
    forms = {character, *(ord(one) for one in _cases(chr(character)))} if fold else {character}
    found = 0
    for one in forms:
        found |= 1 << one if one < 256 else _OTHER
    return found


def _cases(letter: str) -> str:
    return "".join(one for one in (letter.lower(), letter.upper()) if len(one) == 1)


@lru_cache(maxsize=16)
def _category(name: str) -> int:
    letter = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[name.rpartition("_")[2]]
    found = sum(1 << number for number in range(256) if re.match(letter, chr(number)))
    # Blanks beyond 255 are left to the words: else a pattern of words and blanks would have a choice.
    found |= _OTHER if letter == r"\w" else 0
    return (_ALL & ~found) | _OTHER if "_NOT_" in name else found


__all__ = ["FEW", "MAX_LENGTH", "compiled"]
