from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classifier.plain import LINK_GONE, one_line, only_known_addresses, plain
from shared.values import MARKUP, has_control


@pytest.mark.parametrize(
    "text",
    [
        "see https://evil.example.com/a?b=c now",
        "see HTTP://EVIL.EXAMPLE.COM now",
        "see www.evil.example.com now",
        "see evil.com/login now",
        "see javascript:alert now",
        "see data:text/html,x now",
        "see ftp://evil.example.com now",
        "see //evil.example.com now",
    ],
)
def test_links_are_taken_out(text: str) -> None:
    shown, gone = plain(text, 200)
    assert shown == f"see {LINK_GONE} now"
    assert gone


def test_links_to_our_own_place_stay() -> None:
    text = "see https://us.example.com/hours"
    assert plain(text, 200, own_domains=["us.example.com"]) == (text, False)
    assert (
        LINK_GONE
        in plain("https://us.example.com.evil.net/", 200, own_domains=["us.example.com"])[0]
    )
    assert (
        LINK_GONE
        in plain("https://us.example.com@evil.net/", 200, own_domains=["us.example.com"])[0]
    )


def test_markup_goes_and_words_stay() -> None:
    shown, gone = plain("# Title\n**bold** <b>x</b> ![a](http://e.com/x.png) `code`", 200)
    assert shown == "Title\nbold x a code"
    assert gone


@pytest.mark.parametrize(
    "text", ["[]{}", "[a]`(b)", "evil.com(x)", "a://", f"a{'1' * 50}://", "![[a](b)](c)", "<<b>b>"]
)
def test_what_is_left_is_no_markup_either(text: str) -> None:
    assert not MARKUP.search(plain(text, 200)[0])


@pytest.mark.parametrize("text", ["Hello Dana,\n\nsee you at 8.30. Kind regards", "3 < 5 m", "a.b"])
def test_ordinary_letters_stay_as_they_are(text: str) -> None:
    shown, gone = plain(text, 200)
    assert shown == text.replace("<", "‹")
    assert not gone


def test_only_known_addresses_are_named() -> None:
    text = "write to Dana@example.com or evil@example.net"
    shown, gone = only_known_addresses(text, {"dana@example.com"})
    assert shown == "write to Dana@example.com or [address removed]"
    assert gone


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_nothing_that_acts_comes_through(text: str) -> None:
    shown, _ = plain(text, 100)
    assert len(shown) <= 100
    assert not has_control(shown, multiline=True)
    assert not MARKUP.search(shown)


def test_one_line_is_one_line() -> None:
    assert one_line("a\n\n b\tc", 10) == "a b c"
    assert one_line("abcdef", 4) == "abc…"
