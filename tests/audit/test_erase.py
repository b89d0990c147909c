from __future__ import annotations

import pytest
from sqlalchemy import select

from services.audit.checkpoints import seal_waiting
from services.audit.erase import erase
from services.audit.finding import find, parse
from services.audit.projection import reindex
from services.audit.proof import prove
from services.audit.story import tell
from services.audit.tables import CHAIN_KEYS, OUTBOX
from shared.db import reading, writing
from shared.domain.topics import Topic
from shared.errors import BadPayload
from tests.audit.book import Book, Customer, chain_of, received, whole_story
from tests.audit.test_ledger import verdict

JANE = Customer()
BEN = Customer(
    number=2,
    name="Benjamin Field",
    email="ben@field.example.org",
    old_phone="+1 303 555 0142",
    new_phone="+1 303 555 0188",
    order="B-90210",
)
PLANTED = [b"jane.doe", b"Jane Doe", b"555 0100", b"12125550199", b"5550199", b"2026/0017"]


def send_all(book: Book) -> None:
    """What the relay does: sent messages keep no body."""
    with writing(book.deps.engine) as db:
        ids = list(db.scalars(select(OUTBOX.outbox.c.message_id)))
        OUTBOX.mark_sent(db, ids, book.at)


@pytest.fixture
def erased(book: Book) -> Book:
    whole_story(book, JANE)
    whole_story(book, BEN)
    seal_waiting(book.deps)
    book.index()
    result = erase(book.deps, "(212) 555-0199", reason="asked for it", actor="person:admin")
    assert result.chains == (chain_of(JANE),)
    book.echo()
    seal_waiting(book.deps)
    book.index()
    return book


def test_no_file_of_the_audit_holds_the_person_any_more(erased: Book) -> None:
    send_all(erased)
    erased.deps.engine.dispose()
    for path in erased.folder.glob("*.db*"):
        stored = path.read_bytes()
        for planted in PLANTED:
            assert planted not in stored, (path.name, planted)
    assert b"ben@field" in b"".join(path.read_bytes() for path in erased.folder.glob("search.db*"))


def test_the_key_of_the_chain_is_destroyed_and_stays_so(erased: Book) -> None:
    late = received(erased, Customer(new_phone="+1 212 555 7070"))
    erased.log(late)
    with reading(erased.deps.engine) as db:
        wrapped = db.scalar(select(CHAIN_KEYS.c.wrapped).where(CHAIN_KEYS.c.chain == late.chain))
    assert wrapped is None
    assert tell(erased.deps, late.chain, viewer="sue").erased


def test_the_log_still_verifies_and_every_entry_is_proved(erased: Book) -> None:
    code, text = verdict(erased)
    assert code == 0, text
    assert "erased" in text
    proof = prove(erased.deps, 0)
    assert proof.proved
    assert proof.body_opens is None
    assert "erased" in proof.sentence


def test_the_search_finds_the_other_and_not_the_erased(erased: Book) -> None:
    assert find(erased.deps, parse(JANE.email), viewer="sue").total == 0
    assert find(erased.deps, parse(BEN.email), viewer="sue").total > 5
    before = erased.deps.index.sum()
    assert reindex(erased.deps) == before


def test_the_erasure_is_an_entry_that_names_nobody(erased: Book) -> None:
    (message,) = erased.sent(Topic.PERSON_ERASED)
    assert message.body["chains"] == [chain_of(JANE)]
    assert message.body["entries"] > 8
    assert find(erased.deps, parse("topic:person.erased"), viewer="sue").total == 1


def test_a_second_run_finishes_what_a_crash_cut_off(book: Book) -> None:
    whole_story(book, JANE)
    book.index()
    real, book.deps.index.__class__.erase = book.deps.index.__class__.erase, _die
    try:
        with pytest.raises(RuntimeError):
            erase(book.deps, JANE.email, reason="asked", actor="person:admin")
    finally:
        book.deps.index.__class__.erase = real
    assert find(book.deps, parse(JANE.email), viewer="sue").total > 0
    erase(book.deps, JANE.email, reason="asked", actor="person:admin")
    assert find(book.deps, parse(JANE.email), viewer="sue").total == 0


def _die(*_: object) -> None:
    raise RuntimeError


def test_only_an_address_or_a_number_can_be_erased(book: Book) -> None:
    with pytest.raises(BadPayload, match="e-mail address or a phone number"):
        erase(book.deps, "Jane", reason="asked", actor="person:admin")
