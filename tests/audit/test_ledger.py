from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select, update

from services.audit import ledger, reader
from services.audit.checkpoints import last_checkpoint, seal_waiting
from services.audit.export import write_export
from services.audit.ledger import Draft, append, edge_of
from services.audit.merkle import frontier_of
from services.audit.proof import prove
from services.audit.tables import BODIES, CHECKPOINTS, EDGE, ENTRIES
from shared.db import reading, writing
from shared.domain.ledger import commitment
from shared.domain.receipt import ReceiptSchema
from shared.domain.schema import load
from shared.domain.topics import Topic
from shared.errors import StoreUnavailable
from shared.faultpoints import wire_killer
from shared.proof import leaf_hash, open_checkpoint, verify_inclusion
from tests.audit.book import (
    Book,
    Customer,
    applied,
    classified,
    intended,
    opened,
    received,
    whole_story,
)

VERIFIER = Path(__file__).parents[2] / "services" / "audit" / "verify.py"


def verdict(book: Book, *extra: str) -> tuple[int, str]:
    """What the independent verifier says of an export, as its own process."""
    folder = book.folder / "export"
    write_export(book.deps, folder)
    command = [sys.executable, "-I", str(VERIFIER), str(folder), *extra]
    answer = subprocess.run(
        [*command, "--vkey", book.deps.vkeys()[0].text()],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.returncode, answer.stdout


def size(book: Book) -> int:
    with reading(book.deps.engine) as db:
        return db.scalar(select(func.count()).select_from(ENTRIES)) or 0


def test_a_repeat_of_a_message_is_one_entry(book: Book) -> None:
    message = received(book, Customer())
    book.log(message, message)
    book.log(message)
    assert size(book) == 1
    with reading(book.deps.engine) as db:
        assert edge_of(db).frontier.size == 1


def test_the_steps_of_a_classification_are_entries_of_their_own_before_it(book: Book) -> None:
    book.log(classified(book, Customer()))
    with reading(book.deps.engine) as db:
        topics = list(db.scalars(select(ENTRIES.c.topic).order_by(ENTRIES.c.seq)))
    assert topics == ["record.read", "model.asked", "model.answered", "event.classified"]
    book.log(classified(Book(book.folder), Customer()))
    assert size(book) == 4  # The ids of the steps are derived: a repeat is recognised.


def test_sequence_numbers_have_no_gaps_and_the_tree_is_the_one_of_the_leaves(book: Book) -> None:
    for number in range(1, 40):
        book.log(*(received(book, Customer(number=number * 100 + n)) for n in range(number % 5)))
    with reading(book.deps.engine) as db:
        seqs = list(db.scalars(select(ENTRIES.c.seq).order_by(ENTRIES.c.seq)))
        edge = edge_of(db).frontier
        again = frontier_of(lambda level, index: ledger.node(db, level, index), len(seqs))
        leaves = [leaf_hash(one.entry().leaf()) for one in reader.everything(db, book.deps.vault)]
    assert seqs == list(range(len(seqs)))
    assert edge == again
    from services.audit.merkle import Frontier

    assert Frontier().append(leaves)[0] == edge


def test_a_body_that_does_not_fit_its_schema_is_logged_and_marked(book: Book) -> None:
    odd = replace(received(book, Customer()), body={"surprise": 1.5})
    book.log(odd)
    with reading(book.deps.engine) as db:
        found = reader.one(db, book.deps.vault, 0)
    assert found is not None
    assert found.fits is False
    assert json.loads(found.body["not_canonical"]) == {"surprise": 1.5}
    assert found.commitment == commitment(bytes.fromhex(found.salt), found.body)


def test_bodies_lie_encrypted_and_open_only_in_their_place(book: Book) -> None:
    book.log(received(book, Customer()), opened(book, Customer()))  # One chain, so one key.
    stored = b"".join(path.read_bytes() for path in book.folder.glob("audit.db*"))
    assert b"jane" not in stored.lower()
    with writing(book.deps.engine) as db:
        sealed = db.scalar(select(BODIES.c.sealed).where(BODIES.c.seq == 0))
        db.execute(update(BODIES).where(BODIES.c.seq == 1).values(sealed=sealed))
    with reading(book.deps.engine) as db, pytest.raises(StoreUnavailable):
        reader.one(db, book.deps.vault, 1)


def test_an_appender_whose_edge_was_moved_fails(book: Book) -> None:
    book.log(received(book, Customer()))
    draft = Draft(
        at="2026-11-23T10:00:00.000Z", topic="event.received", actor="a", subject="s", chain="c",
        message_id="m", cause=None, body=b"{}",
    )  # fmt: skip
    with pytest.raises(StoreUnavailable), writing(book.deps.engine) as db:
        edge = edge_of(db, lock=True)
        db.execute(update(EDGE).values(size=7))
        assert edge.frontier.size == 1
        append(db, book.deps.vault, [draft])


def test_a_receipt_proves_the_intent_in_the_sealed_log(book: Book) -> None:
    customer = Customer()
    intent = intended(book, customer)
    book.log(received(book, customer), intent)
    (message,) = book.sent(Topic.RECEIPT_ISSUED)
    receipt = load(ReceiptSchema, message.body)
    assert message.cause == intent.id
    assert message.subject == intent.subject
    assert receipt.entry.commitment == commitment(bytes.fromhex(receipt.salt), intent.body)
    checkpoint = open_checkpoint(receipt.checkpoint, book.deps.vkeys())
    assert verify_inclusion(
        leaf_hash=leaf_hash(receipt.entry.leaf()),
        index=receipt.entry.seq,
        size=checkpoint.size,
        path=[bytes.fromhex(hash_) for hash_ in receipt.proof],
        root=checkpoint.root,
    )


def test_every_intent_of_a_large_batch_gets_its_receipt_under_one_checkpoint(book: Book) -> None:
    customers = [Customer(number=number) for number in range(50)]
    book.log(*(intended(book, customer) for customer in customers))
    receipts = [load(ReceiptSchema, message.body) for message in book.sent(Topic.RECEIPT_ISSUED)]
    assert len({receipt.change_id for receipt in receipts}) == 50
    assert len({receipt.checkpoint for receipt in receipts}) == 1
    assert len(book.sent(Topic.CHECKPOINT_SIGNED)) == 1


class Killed(BaseException):
    pass


@pytest.mark.parametrize("point", ["audit.appended", "audit.receipts_issued"])
def test_a_death_before_the_commit_leaves_neither_entry_nor_receipt(book: Book, point: str) -> None:
    def kill(reached: str) -> None:
        if reached == point:
            raise Killed

    message = intended(book, Customer())
    wire_killer(kill)
    try:
        with pytest.raises(Killed):
            book.log(message)
    finally:
        wire_killer(None)
    assert size(book) == 0
    assert book.sent() == []
    book.log(message)
    assert size(book) == 1
    assert len(book.sent(Topic.RECEIPT_ISSUED)) == 1


def test_the_timer_seals_what_waits_and_then_rests(book: Book) -> None:
    book.log(received(book, Customer()))
    seal_waiting(book.deps)
    book.echo()
    seal_waiting(book.deps)
    seal_waiting(book.deps)
    assert len(book.sent(Topic.CHECKPOINT_SIGNED)) == 1
    with reading(book.deps.engine) as db:
        assert last_checkpoint(db).size == 1


def test_a_thousand_entries_are_sealed_without_the_timer(book: Book) -> None:
    for start in range(0, 1000, 250):
        book.log(*(received(book, Customer(number=start + n)) for n in range(250)))
    assert [message.body["size"] for message in book.sent(Topic.CHECKPOINT_SIGNED)] == [1000]


def test_an_entry_shows_as_proved_only_after_its_proof_was_checked(book: Book) -> None:
    book.log(received(book, Customer()), received(book, Customer(number=2)))
    assert prove(book.deps, 0).proved is False
    seal_waiting(book.deps)
    proved = prove(book.deps, 0)
    assert proved.proved
    assert proved.body_opens
    with writing(book.deps.engine) as db:
        db.execute(update(ENTRIES).where(ENTRIES.c.seq == 0).values(actor="person:mallory"))
    assert prove(book.deps, 0).proved is False


def test_the_verifier_finds_an_untouched_log_whole(book: Book) -> None:
    whole_story(book, Customer())
    whole_story(book, Customer(number=2))
    seal_waiting(book.deps)
    code, text = verdict(book)
    assert code == 0, text
    assert "OK." in text


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE entries SET actor = 'person:mallory' WHERE seq = 3", 3),
        ("UPDATE entries SET at = '2026-01-01T00:00:00.000Z' WHERE seq = 5", 5),
        ("UPDATE entries SET commitment = substr(commitment, 2) || '0' WHERE seq = 2", 2),
        ("DELETE FROM entries WHERE seq = 4", 4),
        (
            "UPDATE entries SET subject = 'x', nodes = zeroblob(length(nodes)) WHERE seq = 6",
            6,
        ),
    ],
)
def test_the_verifier_names_the_tampered_entry(book: Book, statement: str, first_bad: int) -> None:
    whole_story(book, Customer())
    seal_waiting(book.deps)
    db = sqlite3.connect(book.folder / "audit.db")
    db.execute(statement)
    db.commit()
    db.close()
    code, text = verdict(book)
    assert code == 1, text
    assert f"seq {first_bad}:" in text.splitlines()[0], text


def test_the_verifier_finds_a_cut_off_end(book: Book) -> None:
    whole_story(book, Customer())
    seal_waiting(book.deps)
    with writing(book.deps.engine) as db:
        db.execute(delete(ENTRIES).where(ENTRIES.c.seq >= 8))
    code, text = verdict(book)
    assert code == 1
    assert "missing: the log sealed 12 entries" in text


def test_a_change_without_a_sealed_intent_is_found(book: Book) -> None:
    book.log(received(book, Customer()), applied(book, Customer()))
    seal_waiting(book.deps)
    code, text = verdict(book)
    assert code == 1
    assert "without a sealed intent" in text


def test_checkpoints_are_signed_notes_of_this_log(book: Book) -> None:
    book.log(intended(book, Customer()))
    with reading(book.deps.engine) as db:
        note = db.scalar(select(CHECKPOINTS.c.note))
    assert open_checkpoint(note, book.deps.vkeys()).size == 1
