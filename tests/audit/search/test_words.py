from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.search import words
from services.audit.search.query import parse
from services.audit.search.words import (
    contact_keys,
    dates_of,
    emails_of,
    fold,
    orders_of,
    phone_keys,
    phone_query,
    phones_of,
    spaced,
    stream,
    words_of,
)
from shared.errors import BadPayload

SPELLINGS = [
    "+1 212 555 0100",
    "+12125550100",
    "(212) 555-0100",
    "212.555.0100",
    "1-212-555-0100",
    "001 212 555 0100",
    "212 555 0100",
]
GERMAN = ["+49 30 1234567", "030 1234567", "0049 30 1234567", "+49 (30) 123-4567"]


@pytest.mark.parametrize("group", [SPELLINGS, GERMAN])
def test_every_spelling_of_a_number_finds_every_other(group: list[str]) -> None:
    for stored in group:
        for typed in group:
            assert set(phone_keys(stored)) & set(phone_query(typed)), (stored, typed)


def test_another_number_is_not_found() -> None:
    assert not set(phone_keys("+1 212 555 0100")) & set(phone_query("+1 212 555 0101"))


@pytest.mark.parametrize("written", [*SPELLINGS, *GERMAN])
def test_numbers_are_seen_in_running_text(written: str) -> None:
    assert phones_of(f"Please call {written}, thank you") == [written]


def test_dates_ids_and_prices_are_no_phone_numbers() -> None:
    assert phones_of("on 2026-11-23 or 23.11.2026, id 6f2d5a9e-2f0e-5a57-9d0c-0c6f0f6f7c11") == []
    assert phones_of("it costs 1200") == []


def test_case_and_diacritics_are_one() -> None:
    assert fold("MÜLLER") == fold("Muller") == fold("müller") == "muller"
    assert words_of("Straße, ﬁne") == ["strasse", "fine"]


def test_addresses_are_found_whole() -> None:
    assert emails_of("Write to <Jane.Doe@Example.com>.") == ["jane.doe@example.com"]
    assert contact_keys("mailto:ann@example.org")[-1].startswith("e=")


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("Order no. 4711 please", "4711"),
        ("invoice: INV-2026/0017", "inv20260017"),
        ("about #A-2231", "a2231"),
        ("see JOB-00912", "job00912"),
    ],
)
def test_order_numbers_are_seen(text: str, order: str) -> None:
    assert order in orders_of(text)


def test_dates_in_any_writing_are_one_token() -> None:
    assert dates_of("2026-11-23 and 23.11.2026") == ["2026-11-23", "2026-11-23"]
    assert set(dates_of("3/4/2026")) == {"2026-03-04", "2026-04-03"}


def test_tokens_hold_no_spaces_whatever_comes_in() -> None:
    odd = "\u2003a\u00a0b\x00c \u202ed e\u0301 \U0001f600 =x= \"y\" 'z' %00 ../../etc"
    assert all(token and not any(c.isspace() for c in token) for token in stream(odd))


def test_a_number_with_spaces_in_the_search_box_is_one_thing() -> None:
    query = parse("roof (212) 555-0100")
    assert len(query.terms) == 2
    assert "t=125550100" in [form.tokens[0] for form in query.terms[1].any_of] or "t=125550100" in [
        form.tokens[0] for form in query.terms[0].any_of
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ab*", "at least 3 letters"),
        ("after:yesterday", "2026-11-23"),
        ("phone:12", "seven digits"),
        ("x" * 501, "longer than"),
        (" ".join(f"w{n}" for n in range(30)), "more than 20"),
    ],
)
def test_a_query_that_cannot_be_meant_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadPayload, match=sentence):
        parse(text)


def test_filters_come_from_the_text_and_from_the_form_alike() -> None:
    assert (
        parse('approver:ann record:"demo/contacts/1"').terms
        == parse("", {"record": "demo/contacts/1", "approver": "ann", "topic": ""}).terms[::-1]
    )
    assert parse("approver:ann").chips == (("approver", "ann"),)


def test_operators_of_an_index_are_plain_words() -> None:
    assert parse('jane" OR NEAR(x) AND -y ^z').terms


TEXTS = st.lists(
    st.one_of(
        st.text(alphabet="ab@.:-/ \n\t\u00a0\u2028\x1f()+=_²٢Ü＠ 0123456789", max_size=30),
        st.sampled_from(
            ["ann@example.com", "+1 212 555 0100", "2026-11-23", "INV-2026/17", "3/4/2026", "\n"]
        ),
    ),
    max_size=8,
).map("".join)


@given(TEXTS)
def test_passing_over_what_holds_nothing_passes_over_no_find(text: str) -> None:
    """The patterns alone, on the whole text, find the same."""
    emails = words._EMAIL.findall(fold(text)) if "@" in text else []
    assert emails_of(text) == [found.rstrip(".") for found in emails]
    numbers = [match.group() for match in words._PHONE.finditer(text)]
    assert phones_of(text) == [one for one in numbers if words._is_phone(one)]
    whole = [
        *dates_of(text),
        *map("".join, map(words._WORD.findall, words._CODE.findall(fold(text)))),
    ]
    assert list(words._wholes(text)) == (whole if words._DIGIT.search(text) else [])


@given(st.lists(st.text(max_size=10), max_size=6))
def test_a_token_never_holds_what_parts_two(tokens: list[str]) -> None:
    assert spaced(tokens) == " ".join(words._BREAK.sub("_", token) for token in tokens).lower()


@given(st.lists(TEXTS, max_size=5))
def test_texts_one_by_one_hold_the_same_contacts_as_all_of_them(texts: list[str]) -> None:
    assert contact_keys(*texts) == contact_keys("\n".join(texts))
    long = [text + " " * words.LONGEST_REMEMBERED for text in texts]
    assert contact_keys(*texts) == contact_keys(*long)
