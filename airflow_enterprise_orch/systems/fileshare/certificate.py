"""The certificate of completion: a PDF with a verification code, and the check of one.

The code is an HMAC-SHA256 over the whole file, taken while zeros stand in the code's place, and cut to 100 bits.
Whoever changes a byte, or makes up a certificate, would need the secret to get the code right. The secret is a field
of the Airflow connection; ``enterprise-orch verify`` reads it there, too.

The PDF is written without compression, and the code in a font that every reader has, so that it stands in the file as
plain text. Other text is set in an embedded font, by default the Bitstream Vera that ReportLab brings (Western
European letters); the connection can name a TrueType font for others. A letter that the font lacks is refused, never
left out.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_enterprise_orch.errors import RequestRejected

if TYPE_CHECKING:
    from airflow_enterprise_orch.systems.fileshare.steps import FileshareCertificate

CODE = re.compile(rb"EOC1-[A-Z2-7]{4}(?:-[A-Z2-7]{4}){4}|EOC1-0000(?:-0000){4}")
BLANK = b"EOC1-0000-0000-0000-0000-0000"
_SPECIAL = re.compile(r"# (.+)|- (.+)|\| ?([^|]+?) ?\| ?([^|]+?) ?\||---+")
"""Lines of the text that say how they are set: a heading, an item of a list, a name and its value, a rule."""
TRAILER = b"\n%enterprise-orch "
MARGIN = 64
WIDTH, HEIGHT = 595.28, 841.89
"""A4 in points."""


@dataclass(frozen=True, slots=True)
class Seal:
    """What certificates are sealed with.

    :param secret: at least 16 characters; never shown.
    :param font: path of a TrueType font; "" for the default.
    :param connection: whose secret it is, which a certificate says of itself; "" for nobody's.
    """

    secret: str
    font: str = ""
    connection: str = ""

    def __repr__(self) -> str:
        return f"Seal(font={self.font!r})"

    def code(self, blank: bytes) -> str:
        """Return the code of a certificate in which the code is still blank."""
        digest = hmac.digest(self.secret.encode(), blank, "sha256")
        letters = base64.b32encode(digest).decode()[:20]
        return "EOC1-" + "-".join(letters[begin : begin + 4] for begin in range(0, 20, 4))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A rendered certificate."""

    pdf: bytes
    code: str
    issued: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the check of a file came to.

    :param about: what the certificate says of itself; only to be trusted when ``genuine``.
    """

    genuine: bool
    reason: str
    about: Mapping[str, str]


def render(work: FileshareCertificate, key: str, moment: datetime, seal: Seal) -> Certificate:
    """Return the certificate; :raises RequestRejected: when a letter is not in the font."""
    issued = moment.astimezone(UTC).isoformat(timespec="seconds")
    blank = _draw(work, key, issued, seal.font)
    about = {"instance": work.instance, "issued": issued, "key": key}
    if seal.connection:
        about["connection"] = seal.connection
    blank += TRAILER + json.dumps(about).encode() + b"\n"  # ASCII, so that it is one PDF comment
    if len(CODE.findall(blank)) != 1:
        raise RequestRejected("the certificate's texts hold a verification code; leave it out, it is added by itself")
    code = seal.code(blank)
    return Certificate(blank.replace(BLANK, code.encode()), code, issued)


def verify(data: bytes, seal: Seal) -> Verdict:
    """Return whether a file is a certificate that was sealed with this secret and never changed since."""
    codes = set(CODE.findall(data))
    if not data.startswith(b"%PDF-") or len(codes) != 1:
        return Verdict(genuine=False, reason="it is no certificate with exactly one verification code", about={})
    code = codes.pop()
    about = about_itself(data)
    if not hmac.compare_digest(seal.code(data.replace(code, BLANK)), code.decode()):
        reason = f"its code {code.decode()} is not right: it was changed, or was sealed with another secret"
        return Verdict(genuine=False, reason=reason, about=about)
    return Verdict(genuine=True, reason=f"its code {code.decode()} is right", about=about)


def about_itself(data: bytes) -> Mapping[str, str]:
    """Return what a file says of itself: ``instance``, ``issued``, ``key``, ``connection``. Nothing of it is proven."""
    try:
        said = json.loads(data.rpartition(TRAILER)[2])
        return {str(name): str(value) for name, value in said.items()}
    except (ValueError, AttributeError):
        return {}


def _draw(work: FileshareCertificate, key: str, issued: str, font: str) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT), pageCompression=0, invariant=1)
    canvas.setCreator("airflow-enterprise-orch")
    canvas.setTitle("Certificate of completion")
    page = _Page(canvas, _face(font))
    page.write(work.title, 24, after=10)
    if work.issuer:
        page.write(work.issuer, 12, after=10)
    page.rule()
    page.pair("Instance", work.instance)
    if work.recipient:
        page.pair("Recipient", work.recipient)
    page.pair("Issued", issued.replace("T", " ").replace("+00:00", " UTC"))
    for name, value in work.facts.items():
        page.pair(name, value)
    page.rule()
    for paragraph in re.split(r"\n\s*\n", work.text.strip()):
        _paragraph(page, paragraph.splitlines())
    page.seal(key)
    canvas.save()
    return buffer.getvalue()


def _paragraph(page: _Page, lines: list[str]) -> None:
    """Write the lines between two empty ones: headings, items, pairs and rules on their own, the others as one text."""
    plain: list[str] = []

    def write_plain() -> None:
        if plain:
            page.write(" ".join(plain), 11, after=2)
            plain.clear()

    for line in (" ".join(line.split()) for line in lines):
        if not (special := _SPECIAL.fullmatch(line)):
            plain.append(line)
            continue
        write_plain()
        heading, item, name, value = special.groups()
        if heading:
            page.write(heading, 15, after=6)
        elif item:
            page.write(f"- {item}", 11, left=14)
        elif name:
            page.pair(name, value)
        else:
            page.rule()
    write_plain()
    page.gap()


def _face(font: str) -> str:
    """Register the font; return its name."""
    from reportlab.pdfbase import pdfmetrics, ttfonts

    file = font or "Vera.ttf"
    name = f"orch-{file}"
    if name not in pdfmetrics.getRegisteredFontNames():
        if font and not Path(font).is_file():
            raise RequestRejected(f"the font {font} is not there on this worker; correct certificate_font")
        try:
            pdfmetrics.registerFont(ttfonts.TTFont(name, file))
        except ttfonts.TTFError as error:
            raise RequestRejected(f"the font {font} cannot be used: {error}; choose a TrueType font") from error
    return name


class _Page:
    """Writes from the top of a page to its bottom, then goes on to the next."""

    def __init__(self, canvas: Any, face: str) -> None:
        from reportlab.pdfbase import pdfmetrics

        self._canvas = canvas
        self._face = face
        self._glyphs = pdfmetrics.getFont(face).face.charToGlyph
        self._y = HEIGHT - MARGIN

    def write(self, text: str, size: float, *, after: float = 4, left: float = 0) -> None:
        """Write one paragraph."""
        for line in self._lines(text, size, WIDTH - 2 * MARGIN - left):
            self._down(size * 1.35)
            self._canvas.setFont(self._face, size)
            self._canvas.drawString(MARGIN + left, self._y, line)
        self._y -= after

    def pair(self, name: str, value: str) -> None:
        """Write a name and, to the right of it, its value."""
        above = self._y
        self.write(f"{name}:", 11, after=0)
        self._y = above if self._y < above else self._y
        self.write(value, 11, left=150)

    def gap(self) -> None:
        """Leave the room between two paragraphs."""
        self._y -= 6

    def rule(self) -> None:
        """Draw a line across the page."""
        self._down(10)
        self._canvas.line(MARGIN, self._y, WIDTH - MARGIN, self._y)
        self._down(6)

    def seal(self, key: str) -> None:
        """Write what the certificate is checked by."""
        self.rule()
        self.write("Verification code", 9, after=2)
        self._down(16)
        self._canvas.setFont("Courier-Bold", 14)
        self._canvas.drawString(MARGIN, self._y, BLANK.decode())
        self._y -= 6
        self.write(f"Job {key}. To check this file: enterprise-orch verify FILE", 8)

    def _down(self, height: float) -> None:
        if self._y - height < MARGIN:
            self._canvas.showPage()
            self._y = HEIGHT - MARGIN
        self._y -= height

    def _lines(self, text: str, size: float, width: float) -> Iterator[str]:
        from reportlab.pdfbase.pdfmetrics import stringWidth

        missing = sorted({letter for letter in text if ord(letter) not in self._glyphs and letter not in "\n\r\t"})
        if missing:
            raise RequestRejected(
                f"the certificate's font has no letter {missing[0]!r} (U+{ord(missing[0]):04X}); name a TrueType font "
                f"that has it in the connection's extra as certificate_font"
            )
        line = ""
        for word in text.split():
            for piece in _pieces(word, lambda part: stringWidth(part, self._face, size) <= width):
                longer = f"{line} {piece}".strip()
                if line and stringWidth(longer, self._face, size) > width:
                    yield line
                    longer = piece
                line = longer
        if line:
            yield line


def _pieces(word: str, fits: Any) -> Iterator[str]:
    """Yield a word, cut where it is wider than the page."""
    while word and not fits(word):
        cut = next(length for length in range(len(word) - 1, 0, -1) if length == 1 or fits(word[:length]))
        yield word[:cut]
        word = word[cut:]
    if word:
        yield word
