"""One canonical form: the same value gives the same bytes, and what has none is refused."""

from __future__ import annotations

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import canonical, digest
from shared.errors import BadPayload

scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
values = st.recursive(scalars, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=12)
texts = st.text(st.characters(exclude_categories=["Cs"]))
sendable = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda v: st.lists(v) | st.dictionaries(texts, v),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    turned = dict(reversed(list(value.items())))
    assert canonical(turned) == canonical(value)


@given(st.dictionaries(texts, sendable))
def test_the_quick_way_gives_the_bytes_of_jcs(value: dict[str, object]) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.dictionaries(texts, sendable))
def test_tuples_and_subclasses_of_text_give_the_same_bytes(value: dict[str, object]) -> None:
    class Text(str):
        __slots__ = ()

    assert canonical((Text("a"), value)) == canonical(["a", value])


def test_keys_sort_by_utf16_code_units() -> None:
    assert canonical({"\U0001f600": 1, "\ufb33": 2}) == '{"\U0001f600":1,"\ufb33":2}'.encode()


@pytest.mark.parametrize(
    "value", [1.0, [0.1], {"a": {"b": 2.5}}, 2**53, {1: 2}, "\ud800", object()]
)
def test_what_cannot_be_hashed_everywhere_is_refused(value: object) -> None:
    with pytest.raises(BadPayload):
        canonical(value)


def test_a_card_never_hashes_like_a_change() -> None:
    assert digest({"a": 1}, kind="card") != digest({"a": 1}, kind="change")
