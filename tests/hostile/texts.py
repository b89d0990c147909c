"""Naughty texts by class of Unicode and by what they are meant to break; generated, not listed."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

_FRAGMENTS = (
    "' OR 1=1 --",
    '"; DROP TABLE accepted; --',
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "{{7*7}}{%25 import os %25}",
    "${jndi:ldap://127.0.0.1/a}",
    "%s%n%x%d",
    "{0.__class__}",
    "../../../../etc/passwd",
    "\r\nSet-Cookie: a=b",
    "\x1b[31mred\x1b[0m",
    '{"level":"critical"}\n{"forged":"line"}',
    '=HYPERLINK("http://127.0.0.1")',
    "$(touch /tmp/x)`id`",
    "]]><!ENTITY x SYSTEM 'file:///etc/passwd'>",
)
_CONTROLS = [chr(code) for code in (*range(1, 32), *range(127, 160))]
_FORMATS = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"]
_COMBINING = [chr(code) for code in range(0x300, 0x370)]
_ASTRAL = (0x10000, 0x10FFFF)
_HOMOGLYPHS = str.maketrans("aceopxyi", "асеорхуі")
_NONCHARACTERS = "\ufffe\uffff\U0001ffff\ufdd0"


def _between(chance: random.Random, first: int, last: int) -> str:
    return "".join(chr(chance.randint(first, last)) for _ in range(8))


CLASSES: dict[str, Callable[[random.Random], str]] = {
    "control": lambda chance: "a" + "".join(chance.choices(_CONTROLS, k=5)) + "b",
    "bidi and zero width": lambda chance: "".join(chance.choices(_FORMATS, k=6)) + "moc.live",
    "astral": lambda chance: _between(chance, *_ASTRAL),
    "combining flood": lambda chance: "Z" + "".join(chance.choices(_COMBINING, k=400)),
    "homoglyph": lambda chance: "peace.example.copy".translate(_HOMOGLYPHS),
    "non-character": lambda chance: chance.choice(_NONCHARACTERS) * 3,
    "fragment": lambda chance: chance.choice(_FRAGMENTS),
    "space": lambda chance: "\u00a0\u2003\u3000\u2028\u2029\u0085 \t",
    "digits of others": lambda chance: _between(chance, 0x0660, 0x0669) + "１２３",
    "right to left": lambda chance: _between(chance, 0x05D0, 0x05EA),
    "long": lambda chance: chance.choice("aßİ😀") * 5000,
}


def text(number: int) -> str:
    """The text of this number: the classes take turns."""
    names = list(CLASSES)
    return CLASSES[names[number % len(names)]](random.Random(number))
