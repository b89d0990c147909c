from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classifier import extract

ASCII = st.characters(max_codepoint=127)


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        (extract._ADDRESS_WORD, extract._ADDRESS_PIECES),
        (extract._PREFERS, extract._PREFERS_PIECES),
    ],
)
def test_no_text_in_which_a_pattern_finds_something_is_passed_over(
    pattern: re.Pattern[str], pieces: tuple[str, ...]
) -> None:
    @settings(max_examples=300)
    @given(st.one_of(st.from_regex(pattern), st.from_regex(pattern, alphabet=ASCII)))
    def check(text: str) -> None:
        assert extract.may_hold(text, pieces)

    check()


def test_a_text_without_a_piece_is_passed_over() -> None:
    assert not extract.may_hold("See you on Monday.", extract._ADDRESS_PIECES)
