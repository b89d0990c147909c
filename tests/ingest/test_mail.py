"""Mail: what was written now, signature, history, attachments, machine marks, hidden text, time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.addresses import address_of
from services.ingest.html_text import visible_text
from services.ingest.labelled import read_form
from services.ingest.leads import with_lead
from services.ingest.mail import Mail, date_of, describe_mail
from services.ingest.reply import cut_reply
from services.ingest.source import Description
from shared.domain.event import Sender

REPLIES = {
    "no history": ("Please call me.", "Please call me.", "", ""),
    "a standard signature": ("Thanks!\n\n-- \nJane\n+1 555", "Thanks!", "-- \nJane\n+1 555", ""),
    "a closing": (
        "New number: 555.\n\nKind regards,\nJane Doe\nAcme",
        "New number: 555.",
        "Kind regards,\nJane Doe\nAcme",
        "",
    ),
    "Gmail": (
        "Yes.\n\nOn Mon, Nov 23, 2026 at 9:00 AM Bob <bob@x.com> wrote:\n> Really?\n",
        "Yes.",
        "",
        "On Mon, Nov 23, 2026 at 9:00 AM Bob <bob@x.com> wrote:\n> Really?",
    ),
    "Gmail over two lines": (
        "Yes.\n\nOn Mon, Nov 23, 2026 at 9:00 AM Bob Bobson\n<bob@x.com> wrote:\n\n> Really?",
        "Yes.",
        "",
        "On Mon, Nov 23, 2026 at 9:00 AM Bob Bobson\n<bob@x.com> wrote:\n> Really?",
    ),
    "German": (
        "Ja.\r\n\r\nMit freundlichen Grüßen\r\nEva\r\n\r\nAm 23.11.2026 um 10:00 schrieb Bob:\r\n> ?",
        "Ja.",
        "Mit freundlichen Grüßen\nEva",
        "Am 23.11.2026 um 10:00 schrieb Bob:\n> ?",
    ),
    "Outlook": (
        "Done.\n\nFrom: Bob\nSent: Monday\nTo: Jane\nSubject: Roof\n\nPlease do it.",
        "Done.",
        "",
        "From: Bob\nSent: Monday\nTo: Jane\nSubject: Roof\n\nPlease do it.",
    ),
    "a divider": (
        "Done.\n-----Original Message-----\nOld text",
        "Done.",
        "",
        "-----Original Message-----\nOld text",
    ),
    "answers between the quotes": (
        "> Colour?\n\nBlue.\n\n> Size?\n\nLarge.",
        "Blue.\n\n\nLarge.",
        "",
        "> Colour?\n> Size?",
    ),
    "an answer below": (
        "On Monday, Bob wrote:\n> Colour?\n\nBlue.",
        "Blue.",
        "",
        "On Monday, Bob wrote:\n> Colour?",
    ),
    "a phone": ("OK\n\nSent from my iPhone", "OK", "Sent from my iPhone", ""),
    "thanks as the first line": (
        "Thanks!\n\nMy number is 1.",
        "Thanks!\n\nMy number is 1.",
        "",
        "",
    ),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_cut_in_three(name: str) -> None:
    text, body, signature, quoted = REPLIES[name]
    cut = cut_reply(text)
    assert (cut.body, cut.signature, cut.quoted) == (body, signature, quoted)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["Hello", "> q", "-- ", "Best regards,", "On x y wrote:", ""])))
def test_cutting_loses_no_words(lines: list[str]) -> None:
    cut = cut_reply("\n".join(lines))
    kept = f"{cut.body} {cut.signature} {cut.quoted}".split()
    assert sorted(kept) == sorted(" ".join(lines).split())


@pytest.mark.parametrize(
    "text",
    [
        "\n" * 500_000,
        "On " * 100_000,
        ("On " * 90 + "\n") * 1000,
        "x\nBest\n" * 20_000,
        "> " * 200_000,
        "1:11 <a@" * 150_000,
        ("1:11" * 40 + "<a@b" * 30 + ":\n") * 3000,
        ("From: a\n" * 3 + "_" * 200 + "\n") * 2000,
    ],
)
def test_no_text_takes_long_to_cut(text: str) -> None:
    began = time.process_time()
    cut_reply(text)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "html",
    [
        "<!--" * 100_000,
        "<" * 500_000,
        "<a " * 150_000,
        "&" * 500_000,
        "<div>" * 100_000,
        "<a href='" * 50_000,
        "<![CDATA[" * 50_000,
        "<script>" * 50_000,
        "</" * 200_000,
    ],
)
def test_no_html_takes_long_to_read(html: str) -> None:
    began = time.process_time()
    visible_text(html)
    assert time.process_time() - began < 4


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="<>/!-?&;'\"= abdivstylehidn", max_size=200))
def test_no_html_is_an_error(html: str) -> None:
    visible_text(html)


@pytest.mark.parametrize(
    ("html", "text", "is_hiding"),
    [
        ("<p>Hello<br>World</p><p>&amp; you</p>", "Hello\nWorld\n\n& you", False),
        ("<title>t</title><style>p{}</style><p>x</p><script>y</script>", "x", False),
        ('<p>x<span style="display: none">secret</span></p>', "x", True),
        ("<p>x</p><div hidden>secret</div>", "x", True),
        ('<p>x</p><div title=">" style="font-size:0px">secret</div>', "x", True),
        ('<p>x</p><div style="dis/**/play:none">secret</div>', "x", True),
        ('<div style="display&#58;none">secret</div>x', "x", True),
        ('<p>x</p><img style="display:none" src="a">', "x", False),
        ('<div style="color:#ffffff;"><p>secret</p></div><p>x</p>', "x", True),
        ("<!-- secret -->x", "x", False),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2", False),
    ],
)
def test_html_becomes_what_a_reader_shows(html: str, text: str, is_hiding: bool) -> None:
    assert visible_text(html) == (text, is_hiding)


@pytest.mark.parametrize(
    "text",
    [
        "<adf>" * 200_000,
        "<adf><customer>" + "<name part=" * 90_000,
        "<adf><customer>" + "<name>" * 150_000,
        "<adf><comments>" + "\n" * 900_000,
        "<adf><customer><name><![CDATA[" * 30_000,
        "Name:\n" * 16_000,
        "Name:\n" + "\n" * 90_000,
        "Name:\n" + "\n" * 900_000,
        "Message:\n" * 11_000,
        "From: " + "<a@" * 300_000,
        "From: " + "(" * 90_000,
        "a:" * 45_000,
        "Name\t" * 20_000,
    ],
)
def test_no_text_takes_long_to_be_read_as_a_lead(text: str) -> None:
    began = time.process_time()
    with_lead(Description(parts={"body": text}), text)
    assert time.process_time() - began < 3


LEAD_PIECES = ("Name: Ann", "Email: a@b.org", "Message:", "<adf>", "<name>", "Phone", "x", "", ":")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(LEAD_PIECES)))
def test_a_form_loses_no_words(lines: list[str]) -> None:
    text = "\n".join(lines)
    form = read_form(text)
    if form is not None:
        kept = " ".join([*form.fields, *form.fields.values(), *form.rest, *form.message])
        # Labels of messages and of empty fields say nothing; what people wrote stays.
        assert {"x", "Ann"} & set(text.replace(":", " ").split()) <= set(kept.split())


def described(**changed: object) -> object:
    mail: dict[str, object] = {
        "subject": "Hi",
        "text": "Hello",
        "html": "",
        "sender": Sender(email="jane@example.org"),
        "headers": (),
        "recipient": "",
    }
    return describe_mail(Mail(**{**mail, **changed}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "fact"),
    [
        ((("auto-submitted", "auto-replied"),), "auto_reply"),
        ((("auto-submitted", "auto-generated; x"),), "auto_reply"),
        ((("x-autoreply", "yes"),), "auto_reply"),
        ((("return-path", "<>"),), "bounce"),
        ((("content-type", "multipart/report; report-type=delivery-status"),), "bounce"),
        ((("precedence", "Bulk"),), "bulk"),
        ((("list-id", "<news.example.org>"),), "bulk"),
    ],
)
def test_a_machine_is_recognised(headers: tuple[tuple[str, str], ...], fact: str) -> None:
    assert described(headers=headers).facts[fact] == "yes"  # type: ignore[attr-defined]


def test_a_person_is_not_taken_for_a_machine() -> None:
    facts = described(headers=(("auto-submitted", "no"), ("in-reply-to", "<a>"))).facts  # type: ignore[attr-defined]
    assert facts == {"auto_submitted": "no", "in_reply_to": "<a>"}


def test_html_stands_in_where_there_is_no_text_and_hidden_text_is_reported_either_way() -> None:
    html = "<p>Call me</p><p style='display:none'>obey</p>"
    assert described(text=" ", html=html).parts["body"] == "Call me"  # type: ignore[attr-defined]
    both = described(text="Hello", html=html)
    assert both.parts["body"] == "Hello"  # type: ignore[attr-defined]
    assert both.facts["hidden_text"] == "yes"  # type: ignore[attr-defined]


def test_a_text_over_a_megabyte_is_cut_and_says_so() -> None:
    long = described(text="x " * 1_000_000)
    assert len(long.parts["body"]) <= 1024 * 1024  # type: ignore[attr-defined]
    assert long.facts["truncated"] == "yes"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["(" * 100_000, "<" * 100_000, "a," * 100_000, '"' * 9_999])
def test_a_sender_of_brackets_only_is_nobody(text: str) -> None:
    assert "@" not in (address_of(text)[1] or "")


@pytest.mark.parametrize("text", ["", "yesterday", "Fri, 20 Nov 2026 10:00:00", "99 99 99", "\x00"])
def test_an_unreadable_date_is_none(text: str) -> None:
    assert date_of(text) is None
