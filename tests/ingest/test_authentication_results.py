"""What a host found out about a sender: only the named one counts, and no text of the sender's."""

from __future__ import annotations

from email import message_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.authentication_results import parse, verdict_of

OURS = "mx.example.org"
DANA = "dana@example.com"
PASSING = "dmarc=pass (p=reject) header.from=example.com"


def verdict(*results: str, host: str = OURS, sender: str = DANA, more: str = "") -> str:
    lines = [f"Authentication-Results: {one}\r\n" for one in results]
    text = f"{''.join(lines)}From: {sender}\r\n{more}\r\nHello"
    return verdict_of(message_from_bytes(text.encode()), host, sender)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (f"{OURS}; {PASSING}", "pass"),
        (f"{OURS.upper()} 1;\r\n spf=pass smtp.mailfrom=x@example.net;\r\n {PASSING}", "pass"),
        (f"{OURS}; dmarc=fail (p=none) header.from=example.com; dkim=pass header.d=a.com", "fail"),
        (f"{OURS}; dmarc=pass header.from=example.net", "unverified"),
        (f"{OURS}; dmarc=none header.from=example.com; spf=pass smtp.mailfrom={DANA}", "pass"),
        (f"{OURS}; spf=pass smtp.mailfrom=example.com", "pass"),
        (f"{OURS}; spf=pass smtp.mailfrom=bounce@mailer.example.net", "unverified"),
        (f"{OURS}; spf=fail smtp.mailfrom={DANA}", "fail"),
        (f"{OURS}; dkim=pass header.d=example.com header.s=a; dkim=fail header.d=b.com", "pass"),
        (f"{OURS}; dkim=pass header.i=@example.com", "pass"),
        (f"{OURS}; dkim=fail header.d=example.com; dkim=pass header.d=example.com", "pass"),
        (f"{OURS}; dkim=pass header.d=com", "unverified"),
        (f"{OURS}; none", "unverified"),
        (OURS, "unverified"),
        (f"mx.example.net; {PASSING}", "unverified"),
        (f"evil {OURS} 1; {PASSING}", "unverified"),
        # What stands in quotes and comments is the sender's.
        (f'{OURS}; spf=none smtp.mailfrom="a; {PASSING}; b"@evil.example', "unverified"),
        (f"{OURS}; spf=none (the sender says ; {PASSING}) smtp.helo=x", "unverified"),
        (f"{OURS}; spf=none (one (two) ; {PASSING}) smtp.helo=x", "unverified"),
        (f'{OURS}; dkim=none reason="; {PASSING}"', "unverified"),
        (f'{OURS}; dkim=pass reason="header.d=example.com" header.d=evil.example', "unverified"),
        # What is broken says nothing.
        (f'{OURS}; spf=none smtp.mailfrom="a; {PASSING}', "unverified"),
        (f"{OURS}; spf=none (a; {PASSING}", "unverified"),
        (f"{OURS}; spf=none ) ; {PASSING}", "unverified"),
        (f"{OURS}; {'x' * 9000}; {PASSING}", "unverified"),
        (f"{OURS}; ä; {PASSING}", "unverified"),
    ],
)
def test_a_result_of_the_named_host_is_held_against_the_sender(results: str, expected: str) -> None:
    assert verdict(results) == expected


def test_a_header_that_the_sender_wrote_below_ours_counts_for_nothing() -> None:
    forged = f"{OURS}; {PASSING}"
    assert verdict(f"{OURS}; dmarc=fail header.from=example.com", forged) == "fail"
    assert verdict(f"{OURS}; spf=none smtp.helo=x", forged) == "unverified"
    assert verdict("mx.example.net; dmarc=fail header.from=example.com", forged) == "pass"


@pytest.mark.parametrize(
    "unreadable",
    ["", "one two three; none", f'{OURS}; dmarc=fail reason="', f"{OURS} (; none", f"{OURS}; ä"],
)
def test_below_a_header_that_cannot_be_read_nothing_counts(unreadable: str) -> None:
    forged = f"{OURS}; {PASSING}"
    assert verdict(unreadable, forged) == "unverified"
    assert verdict("mx.example.net; none", unreadable, forged) == "unverified"


def test_nobody_is_verified_without_a_name_or_with_two_senders() -> None:
    assert verdict(f"{OURS}; {PASSING}", host="") == "unverified"
    two = "From: someone-else@example.com\r\n"
    assert verdict(f"{OURS}; {PASSING}", more=two) == "unverified"


@given(st.text(alphabet='ab;=()"\\ .@dmarcpasheder', max_size=60))
@settings(max_examples=400, deadline=None)
def test_text_in_quotes_never_becomes_a_result(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    _, results = parse(f'{OURS}; spf=none reason="{quoted}"; {PASSING}')
    assert [one.method for one in results] == ["spf", "dmarc"]
    assert results[0].result == "none"
    assert results[0].properties == {}


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_header_whatever_breaks_the_reader(text: bytes) -> None:
    mail = message_from_bytes(b"Authentication-Results: " + text + b"\r\nFrom: a@b.example\r\n\r\n")
    assert verdict_of(mail, OURS, "a@b.example") in {"pass", "fail", "unverified"}
