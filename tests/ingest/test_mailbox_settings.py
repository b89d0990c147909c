"""`mailboxes.toml`: what is wrong is named and never shown; what changes counts at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.hook import Endpoint, Hook
from services.ingest.mailboxes.configured import Faulty, Mailbox, Mailboxes, Tls
from services.ingest.sources import KNOWN, SOURCES
from services.ingest.sources.mailbox import SOURCE
from shared.domain.schema import now
from shared.errors import BadPayload

GOOD = """
[[mailbox]]
name = "sales"
host = "imap.example.com"
user = "sales@example.com"
password_file = "secret"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("pass word\n")
    path = tmp_path / "mailboxes.toml"
    path.write_text(GOOD)
    return path


def only(file: Path) -> Mailbox | Faulty:
    [one] = Mailboxes(file).all()
    return one


def test_the_defaults_are_the_safe_ones(file: Path) -> None:
    box = only(file)
    assert isinstance(box, Mailbox)
    assert (box.tls, box.port, box.folder, box.password) == (
        Tls.IMPLICIT,
        993,
        "INBOX",
        "pass word",
    )
    assert (box.trusted_host, box.move_to, box.mark) == ("", "", "Countersign")
    assert "pass word" not in repr(box)
    file.write_text(GOOD + 'tls = "starttls"\n')
    starttls = only(file)
    assert isinstance(starttls, Mailbox)
    assert starttls.port == 143


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('tls = "none"', "tls none is for this machine only"),
        ('tls = "ssl"', "tls must be one of"),
        ("port = 70000", "port must be a whole number"),
        ("port = true", "port must be a whole number"),
        ("every_seconds = 1", "every_seconds must be"),
        (r"mark = '\Deleted'", "mark must be a keyword"),
        (r"mark = 'a b'", "mark must be a keyword"),
        ('folder = "a\\nb"', "folder must be a text of one line"),
        ('colour = "red"', "unknown setting: colour"),
        ('password = "also-here"', "no password: give password_file"),
        ("ca_file = 1", "ca_file must be the name of a file"),
    ],
)
def test_what_is_wrong_is_named_and_never_shown(file: Path, line: str, why: str) -> None:
    file.write_text(GOOD + line + "\n")
    box = only(file)
    assert isinstance(box, Faulty)
    assert box.why.startswith(why)
    assert "also-here" not in box.why


@pytest.mark.parametrize("text", [None, "", "\n\n", "two\nlines"])
def test_a_mailbox_without_a_usable_password_refuses(file: Path, text: str | None) -> None:
    secret = file.parent / "secret"
    if text is None:
        secret.unlink()
    else:
        secret.write_text(text)
    box = only(file)
    assert isinstance(box, Faulty)
    assert box.why.startswith("no password")
    file.write_text(GOOD.replace('password_file = "secret"', ""))
    box = only(file)
    assert isinstance(box, Faulty)
    assert box.why.startswith("no password")


def test_a_file_that_cannot_be_read_is_told_and_a_missing_one_is_no_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "mailboxes.toml"
    assert Mailboxes(None).all() == Mailboxes(path).all() == []
    path.write_text("not = [toml")
    assert only(path) == Faulty(name=path.name, why=f"{path.name} cannot be read: it is not TOML")
    path.write_text('mailbox = "x"')
    assert isinstance(only(path), Faulty)
    path.write_text(GOOD + GOOD)
    assert only(path) == Faulty(name="sales", why="the name is given twice")
    path.write_text("[[mailbox]]\nname = '../x'")
    assert isinstance(only(path), Faulty)


def test_the_stamp_changes_with_the_settings_and_the_password_file_and_holds_no_password(
    file: Path,
) -> None:
    stamps = set()
    for change in ("", 'folder = "Leads"\n', 'password = "very-secret"\n'):
        text = GOOD if "password" not in change else GOOD.replace('password_file = "secret"', "")
        file.write_text(text + change)
        box = only(file)
        assert isinstance(box, Mailbox)
        assert "very-secret" not in box.stamp
        stamps.add(box.stamp)
    assert len(stamps) == 3


def test_nobody_can_post_a_mail_as_if_it_lay_in_a_mailbox() -> None:
    assert SOURCE.name in KNOWN
    assert SOURCE.name not in SOURCES
    request = Hook(method="POST", url="x", headers={}, body=b"From: a@b.c\n\n", received_at=now())
    assert not SOURCE.verify(request, Endpoint(source="mailbox", secrets=("x",))).ok


@given(st.one_of(st.binary(max_size=400), st.binary(max_size=200).map(lambda b: b"From: " + b)))
@settings(max_examples=400, deadline=None)
def test_whatever_lies_in_a_mailbox_is_read_or_refused(content: bytes) -> None:
    options = {"trusted_host": "mx.example.org", "address": "sales"}
    mail = Hook(
        method="IMAP", url="x", headers={}, body=content, received_at=now(), options=options
    )
    try:
        [raw] = SOURCE.split(mail)
        assert SOURCE.identify(raw, mail).dedup_key
        SOURCE.describe(raw, mail)
    except BadPayload:
        pass
