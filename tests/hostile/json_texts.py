"""JSON texts from the grammar of RFC 8259 and the rules of RFC 7493: to refuse, and to accept.

Decided where RFC 8259 leaves it free, as `services.ingest.json_gate` says: numbers beyond a double
and repeated keys are refused, non-characters of Unicode and -0 are accepted, NUL is refused.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

_ACCEPTED = (
    b"null", b"true", b"false", b"0", b"-0", b"1", b"-1", b"0.5", b"-0.0", b"1e5", b"1E+5",
    b"1e-5", b"123456789012345678901234567890", b'""', b'"a"', b'"\\u0041"', b'"\\ud83d\\ude00"',
    b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\\uffff"', b'"\x7f"', b'"\xf0\x9f\x98\x80"', b"[]", b"{}",
    b"[ ]", b"{ }", b"[1,2]", b'{"":0}', b'{"a":{"a":1}}', b" \t\r\n1 ",
)  # fmt: skip
# Nothing at all is not among them: inside a list it is an empty list.
_REFUSED = (
    b"nul", b"True", b"NaN", b"Infinity", b"-Infinity", b"+1", b"01", b"-01", b"-", b"1.",
    b".5", b"1e", b"1e+", b"0x1", b"1_0", b"1e999", b"-1e999", b"9" * 401, b"1" * 5000,
    b"\xef\xbc\x91", b"'a'", b'"a', b'a"', b'"\\x41"', b'"\\u00"', b'"\\u00g0"', b'"\\"',
    b'"\t"', b'"\n"', b'"\x00"', b'"\\u0000"', b'"\\ud800"', b'"\\udc00"', b'"\\ude00\\ud83d"',
    b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b"[1",
    b"1]", b"[1,]", b"[,1]", b"[1 2]", b"[1,,2]", b"{", b'{"a"}', b'{"a":}', b"{a:1}", b'{"a":1,}',
    b'{"a":1,"a":2}', b'{"a":1,"\\u0061":1}', b"{1:1}", b'{"a" 1}', b"/**/1", b"1//", b"\xef\xbb\xbf1",
    b"\x0c1", b"\xc2\xa01", b"[" * 40 + b"]" * 40, b"[" * 50_000, b'{"a":' * 20_000, b"[{" * 20,
)  # fmt: skip
_DOCUMENTS = (
    b"", b" ", b"1", b'"a"', b"null", b"{", b"{}{}", b"\xef\xbb\xbf{}", b'{"a":1}x', b"{}\x00",
    '{"a":1}'.encode("utf-16"), '{"a":1}'.encode("utf-32-le"), b"\x1e{}\n",
)  # fmt: skip
_ENDLESS = 2**62


def texts() -> Iterator[tuple[bool, bytes]]:
    """``(whether it is to be accepted, body)``, without end, each unlike all others."""
    chance = random.Random(8259)
    for number in itertools.count():
        for text in _ACCEPTED:
            yield True, _document(chance, number, text)
        for text in _REFUSED:
            yield False, _document(chance, number, text)
        for text in _DOCUMENTS:
            yield False, text


def _document(chance: random.Random, number: int, text: bytes) -> bytes:
    """The text somewhere inside an object, between what is sound."""
    value = text
    for _ in range(chance.randrange(4)):
        value = chance.choice((b"[%s]", b"[0,%s]", b'{"k":%s}', b'{"k":0,"l":%s}')) % value
    mark = chance.randrange(_ENDLESS)
    return b'{"id":"json-%d-%d","value":%s,"message":"m"}' % (number, mark, value)
