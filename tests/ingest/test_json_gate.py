"""The strict gate: each row of the measured traps, and what good senders send."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.json_gate import MAX_DEPTH, parse_json
from shared.canonical import canonical
from shared.errors import NotJson

REFUSED = {
    "a repeated key": b'{"a":1,"a":2}',
    "a key repeated by an escape": b'{"a":1,"\\u0061":2}',
    "a repeated key deep inside": b'[{"b":{"a":1,"a":1}}]',
    "NaN": b"[NaN]",
    "Infinity": b"[Infinity]",
    "minus Infinity": b"[-Infinity]",
    "a number that overflows": b"[1e999]",
    "a negative number that overflows": b"[-1e999]",
    "a lone high surrogate": b'["\\ud800"]',
    "a lone low surrogate": b'["\\uDC00"]',
    "surrogates the wrong way round": b'["\\udc00\\ud800"]',
    "a lone surrogate as a key": b'{"\\ud800":1}',
    "a lone surrogate in raw bytes": b'["\xed\xa0\x80"]',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "UTF-16 without a mark": '{"a":1}'.encode("utf-16-le"),
    "UTF-32": '{"a":1}'.encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"a":1}',
    "Latin-1": '["é"]'.encode("latin-1"),
    "an overlong encoding": b'["\xc0\xaf"]',
    "NUL by an escape": b'["\\u0000"]',
    "NUL as a byte": b'["\x00"]',
    "NUL in a key": b'{"a\\u0000b":1}',
    "a control character": b'["\x01"]',
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "depth 33": b"[" * 33 + b"]" * 33,
    "depth 33 of both kinds": b'[{"a":' * 17 + b"1" + b"}]" * 17,
    "an integer of 5,000 digits": b"[" + b"9" * 5000 + b"]",
    "a fraction of 5,000 digits": b"[0." + b"9" * 5000 + b"]",
    "an empty body": b"",
    "only spaces": b"  \n ",
    "two values": b"{} {}",
    "a trailing comma": b'{"a":1,}',
    "a comment": b"[1] // no",
    "single quotes": b"{'a':1}",
    "a bare word": b"hello",
    "a leading zero": b"[01]",
    "a plus sign": b"[+1]",
    "full-width digits": "[１]".encode(),
    "an unfinished text": b'["abc',
    "an unfinished escape": b'["\\u12"]',
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_gate_refuses(name: str) -> None:
    with pytest.raises(NotJson):
        parse_json(REFUSED[name])


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a":[1,true,null,"x"]}', {"a": [1, True, None, "x"]}),
        (b'["\\ud83d\\ude00"]', ["😀"]),
        (b'["\\\\u0000"]', ["\\u0000"]),
        (b'["\\\\ud800"]', ["\\ud800"]),
        ('["Zoë ☕"]'.encode(), ["Zoë ☕"]),
        (b"[9007199254740991]", [9007199254740991]),
        (b"[-9007199254740991]", [-9007199254740991]),
        (b"[9007199254740992]", ["9007199254740992"]),
        (b"[12345678901234567890]", ["12345678901234567890"]),
        (b"[1.50]", ["1.50"]),
        (b"[-0.0, 1e3]", ["-0.0", "1e3"]),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (json.dumps(["[" * 100 + "{" * 100]).encode(), ["[" * 100 + "{" * 100]),
        (b'["a\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", 1]', ['a"' + "[" * 38, 1]),
        (b'"text"', "text"),
        (b" [1 ]\r\n", [1]),
    ],
)
def test_the_gate_lets_good_json_through(body: bytes, value: object) -> None:
    found = parse_json(body)
    assert value is None or found == value


def test_what_comes_through_can_be_hashed() -> None:
    canonical(parse_json(b'{"a":1.5,"b":123456789012345678901234567890,"c":[null,false]}'))


def test_a_refusal_never_repeats_the_input() -> None:
    with pytest.raises(NotJson) as refused:
        parse_json(b'{"secret-name": hunter2}')
    assert "hunter2" not in str(refused.value)
    assert "secret" not in str(refused.value)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "ignore")))
def test_no_bytes_make_the_gate_raise_anything_else(body: bytes) -> None:
    with contextlib.suppress(NotJson):
        parse_json(body)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", max_size=3), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(_VALUES, st.booleans())
def test_every_value_that_may_travel_comes_through_unchanged(value: object, ascii_: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_).encode()) == value
