"""What has to be known of JCL to hand a job over held: the JOB card, and where in-stream data begins and ends.

Rules from IBM, *z/OS MVS JCL Reference*, "Format of statements": a statement is ``//name operation parameters
comments`` in columns 1 to 71; column 72 continues comments; 73 to 80 hold sequence numbers. Parameters end at the first
blank outside apostrophes; a trailing comma continues them on the next ``//`` line, in columns 4 to 16; an open
apostrophe continues in column 16. Nothing here knows a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

STATEMENT_END = 71
RECORD = 80
NAME = re.compile(r"[A-Z$#@][A-Z0-9$#@]{0,7}")


class JclProblem(ValueError):
    """JCL that cannot be handed over; ``str()`` is one line for people."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a statement's parameters that one line holds.

    :param line: index into the lines.
    :param start: column index of its first character.
    :param end: column index after its last character.
    """

    line: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One JCL statement.

    :param first: index of its first line.
    :param after: index of the line after its last.
    :param pieces: where its parameters are; empty when it has none.
    """

    name: str
    operation: str
    parameters: tuple[str, ...]
    first: int
    after: int
    pieces: tuple[Piece, ...]

    def keyword(self, name: str) -> str | None:
        """Return the value of a keyword parameter."""
        return next((text.partition("=")[2] for text in self.parameters if text.startswith(f"{name}=")), None)


def records(text: str) -> list[str]:
    """Split JCL into records and check that each can travel.

    Only printable ASCII is let through, because how a site's z/OSMF turns other characters into EBCDIC cannot be known
    from here; in comment statements, where nothing can go wrong, they become question marks.

    :raises JclProblem: naming the line.
    """
    lines = [line.rstrip() for line in re.split(r"\r\n|\r|\n", text)]
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if line.startswith("//*"):
            lines[number - 1] = line = re.sub(r"[^ -~]", "?", line)
        bad = re.search(r"[^ -~]", line)
        if bad:
            what = "a tab" if bad.group() == "\t" else f"the character {bad.group()!r}"
            raise JclProblem(
                f"JCL line {number}, column {bad.start() + 1}: {what} does not survive the way to EBCDIC; "
                f"use printable ASCII characters"
            )
        if len(line) > RECORD:
            raise JclProblem(f"JCL line {number} has {len(line)} characters; a record holds {RECORD}: continue it")
    return lines


def statements(lines: Sequence[str]) -> Iterator[Statement]:
    """Return the statements of a job stream in order, without comments and in-stream data.

    :raises JclProblem: naming the line.
    """
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.startswith("//") or line.startswith("//*"):
            index += 1
            continue
        fields = re.match(r"//(\S*)(?: +(\S+)(?: +|$))?", line[:STATEMENT_END])
        name, operation = (fields.group(1), fields.group(2) or "") if fields else ("", "")
        start = fields.end() if fields else len(line)
        text, pieces, after = _parameters(lines, index, start)
        statement = Statement(name, operation, _split(text), index, after, pieces)
        yield statement
        index = _after_data(lines, statement) if operation == "DD" else after


def held(text: str, job_class: str = "") -> str:
    """Return the job with ``TYPRUN=HOLD`` on its JOB card: JES takes it and does not start it before a release.

    :param job_class: put on the JOB card as ``CLASS=``.
    :raises JclProblem: no JOB card or more than one, a card that has those keywords already, a line that is too long.
    """
    lines = records(text)
    cards = [statement for statement in statements(lines) if statement.operation == "JOB"]
    if not cards:
        raise JclProblem("the JCL has no JOB card; its first statement must be like //NAME JOB (ACCT),CLASS=A")
    if len(cards) > 1:
        raise JclProblem(
            f"JCL line {cards[1].first + 1}: a second JOB card ({cards[1].name}); "
            f"a step is one job: make two steps of it"
        )
    card = cards[0]
    if not NAME.fullmatch(card.name):
        raise JclProblem(
            f"JCL line {card.first + 1}: {card.name!r} is no job name: 1 to 8 of A-Z 0-9 $ # @, not a digit first"
        )
    if (typrun := card.keyword("TYPRUN")) is not None:
        raise JclProblem(
            f"JCL line {card.first + 1}: the JOB card says TYPRUN={typrun}; remove it: the job is handed over held and "
            f"then released, so that it never runs twice"
        )
    extra = "TYPRUN=HOLD"
    if job_class:
        if (present := card.keyword("CLASS")) is not None:
            raise JclProblem(
                f"JCL line {card.first + 1}: the JOB card says CLASS={present} and the step says "
                f"job_class {job_class}; remove one"
            )
        extra = f"CLASS={job_class},{extra}"
    return "\n".join(_with_parameters(lines, card, extra)) + "\n"


def job_name(text: str) -> str:
    """Return the name on the JOB card, "" without one."""
    return next((card.name for card in statements(records(text)) if card.operation == "JOB"), "")


def _parameters(lines: Sequence[str], index: int, start: int) -> tuple[str, tuple[Piece, ...], int]:
    """Return a statement's parameters, where they are, and the index of the line after the statement."""
    text, pieces, quoted = "", [], False
    first = index
    while True:
        line = lines[index]
        end, quoted = _scan(line, start, quoted)
        piece = line[start:end]
        cut_off = end == STATEMENT_END and not piece.endswith(",") and line[STATEMENT_END : STATEMENT_END + 1].strip()
        if cut_off and not quoted:
            raise JclProblem(
                f"JCL line {index + 1}: the parameters run past column {STATEMENT_END}; end the line at a comma before "
                f"it and continue on the next"
            )
        if piece:
            # A quoted text goes on through column 71, blanks and all: trailing blanks were stripped with the record.
            text += piece.ljust(STATEMENT_END - start) if quoted else piece
            pieces.append(Piece(index, start, end))
        if not quoted and not piece.endswith(","):
            return text, tuple(pieces), _after_comment(lines, index)
        index += 1
        while index < len(lines) and lines[index].startswith("//*") and not quoted:
            index += 1
        if index >= len(lines) or not re.match(r"// +\S", lines[index]):
            raise JclProblem(
                f"JCL line {first + 1}: the statement ends with {'an open apostrophe' if quoted else 'a comma'}, "
                f"but no continuation follows"
            )
        start = 15 if quoted else len(lines[index]) - len(lines[index][2:].lstrip())
        if not quoted and start > 15:
            raise JclProblem(f"JCL line {index + 1}: a continuation must begin in columns 4 to 16")


def _scan(line: str, start: int, quoted: bool) -> tuple[int, bool]:
    """Return where the parameters on this line end, and whether an apostrophe is still open there."""
    for column in range(start, min(len(line), STATEMENT_END)):
        if line[column] == "'":
            quoted = not quoted
        elif line[column] == " " and not quoted:
            return column, False
    return min(len(line), STATEMENT_END), quoted


def _after_comment(lines: Sequence[str], index: int) -> int:
    """Skip the lines that continue a comment (column 72 not blank)."""
    while len(lines[index]) > STATEMENT_END and lines[index][STATEMENT_END] != " " and index + 1 < len(lines):
        if not re.match(r"// ", lines[index + 1]):
            break
        index += 1
    return index + 1


def _split(text: str) -> tuple[str, ...]:
    """Split parameters at their top-level commas."""
    parts, depth, quoted, part = [], 0, False, ""
    for character in text:
        quoted ^= character == "'"
        if not quoted:
            depth += (character == "(") - (character == ")")
        if character == "," and depth <= 0 and not quoted:
            parts.append(part)
            part = ""
        else:
            part += character
    return (*parts, part) if text else ()


def _after_data(lines: Sequence[str], statement: Statement) -> int:
    """Return the index of the line after a DD statement and its in-stream data."""
    kind = statement.parameters[0] if statement.parameters else ""
    index = statement.after
    if kind not in ("*", "DATA"):
        return index
    delimiter = (statement.keyword("DLM") or "").strip("'").replace("''", "'")
    while index < len(lines):
        line = lines[index]
        if line.startswith(delimiter or "/*"):
            return index + 1
        if not delimiter and kind == "*" and line.startswith("//"):
            return index
        index += 1
    return index


def _with_parameters(lines: list[str], card: Statement, extra: str) -> list[str]:
    """Return the lines with keyword parameters added to the end of a statement."""
    if not card.pieces:
        return [*lines[: card.first], f"//{card.name} JOB {extra}", *lines[card.after :]]
    last = card.pieces[-1]
    if last.end >= STATEMENT_END:
        raise JclProblem(
            f"JCL line {last.line + 1}: the JOB card fills column {STATEMENT_END}, so TYPRUN=HOLD cannot be added; "
            f"continue it on another line"
        )
    # What follows the parameters on that line is a comment; it goes, so that the comma stays clear of it.
    card_end = [lines[last.line][: last.end] + ",", f"//         {extra}"]
    return [*lines[: last.line], *card_end, *lines[card.after :]]
