"""The key that seals the log changes under the log's own eyes: no other way leads to a new one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import delete, insert, select

from services.audit.checkpoints import LOG_NAME, VKEY, last_checkpoint, rotate_checkpoints
from services.audit.checkpoints import seal_waiting as seal
from services.audit.commands import VERIFIER, judge
from services.audit.encoding import canonical_body
from services.audit.export import write_export
from services.audit.ledger import Draft, append, edge_of
from services.audit.notes import sign_note, vkey_of
from services.audit.proof import prove
from services.audit.succession import CHANGES, read_change, sign_change
from services.audit.tables import CHECKPOINTS, ENTRIES
from services.writer.signing import log_keys
from shared.db import reading, writing
from shared.domain.topics import Topic
from shared.errors import BadSignature, ConfigurationError, StoreUnavailable
from shared.keys import load_private, replace_file, replace_key
from shared.proof import Checkpoint, VerifierKey, open_checkpoint
from tests.audit.book import Book, Customer, intended, received, whole_story


def keys_of(book: Book) -> Path:
    return book.folder / "keys"


def private(book: Book) -> Ed25519PrivateKey:
    return load_private(keys_of(book) / "checkpoints.ed25519")


def verdict(book: Book, vkey: VerifierKey, *, closed: bool = False) -> tuple[int, str]:
    """Of the stand-alone verifier, for somebody who trusts this key and no other."""
    folder = book.folder / "export"
    write_export(book.deps, folder, with_bodies=not closed)
    command = [sys.executable, "-I", str(VERIFIER), str(folder), "--vkey", vkey.text()]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.returncode, said.stdout


def topics(book: Book) -> list[str]:
    with reading(book.deps.engine) as db:
        return list(db.scalars(select(ENTRIES.c.topic).order_by(ENTRIES.c.seq)))


@pytest.fixture
def rotated(book: Book) -> tuple[Book, VerifierKey, VerifierKey]:
    """A log with a story before the change and one after it, and both verifier keys."""
    whole_story(book, Customer())
    seal(book.deps)
    old = book.deps.signer.vkey
    new = rotate_checkpoints(keys_of(book))
    whole_story(book, Customer(number=2, email="ann@example.com", old_phone="1", new_phone="2"))
    seal(book.deps)
    return book, old, new


def test_whoever_trusts_the_old_key_or_the_new_one_alone_can_prove_the_whole_log(
    rotated: tuple[Book, VerifierKey, VerifierKey],
) -> None:
    book, old, new = rotated
    assert old != new
    assert topics(book).count("key.changed") == 1
    for vkey in (old, new):
        for closed in (False, True):
            code, said = verdict(book, vkey, closed=closed)
            assert code == 0, said
    assert judge(book.deps).returncode == 0
    stranger = vkey_of(LOG_NAME, Ed25519PrivateKey.generate())
    code, said = verdict(book, stranger)
    assert code == 1
    assert "no key that is trusted has sealed anything" in said


def test_receipts_of_before_and_after_hold_for_the_gate_and_on_the_page(book: Book) -> None:
    book.log(received(book, Customer()), intended(book, Customer()))
    rotate_checkpoints(keys_of(book))
    book.log(intended(book, Customer(number=2)))
    receipts = [one.body["checkpoint"] for one in book.sent(Topic.RECEIPT_ISSUED)]
    assert len(receipts) == 2
    for note in receipts:
        assert open_checkpoint(note, log_keys(keys_of(book))).size > 0
    for vkey in log_keys(keys_of(book)):
        opened = [note for note in receipts if _opens(note, vkey)]
        assert len(opened) == 1
    assert prove(book.deps, 0).proved


def _opens(note: str, vkey: VerifierKey) -> bool:
    try:
        open_checkpoint(note, [vkey])
    except BadSignature:
        return False
    return True


def test_a_log_that_rests_is_sealed_by_its_new_key_all_the_same(book: Book) -> None:
    book.log(received(book, Customer()))
    seal(book.deps)
    size = len(topics(book))
    seal(book.deps)
    assert len(topics(book)) == size
    new = rotate_checkpoints(keys_of(book))
    seal(book.deps)
    assert topics(book)[size:] == ["key.changed"]
    assert verdict(book, new)[0] == 0


def test_several_changes_between_two_seals_are_all_entered(book: Book) -> None:
    book.log(received(book, Customer()))
    seal(book.deps)
    first = book.deps.signer.vkey
    for _ in range(3):
        newest = rotate_checkpoints(keys_of(book))
    seal(book.deps)
    assert topics(book).count("key.changed") == 3
    for vkey in (first, newest):
        assert verdict(book, vkey)[0] == 0


def test_a_log_that_was_never_sealed_begins_with_the_key_in_use(book: Book) -> None:
    book.log(received(book, Customer()))
    new = rotate_checkpoints(keys_of(book))
    seal(book.deps)
    assert "key.changed" not in topics(book)
    assert verdict(book, new)[0] == 0


def test_an_older_log_is_led_to_the_key_of_now(book: Book, tmp_path: Path) -> None:
    """As after a restore: the backup was made before the change, the keys are those of today."""
    book.log(received(book, Customer()))
    seal(book.deps)
    shutil.copytree(book.folder, tmp_path / "restored")
    new = rotate_checkpoints(keys_of(book))
    seal(book.deps)
    shutil.rmtree(tmp_path / "restored" / "keys")
    shutil.copytree(keys_of(book), tmp_path / "restored" / "keys")
    restored = Book(tmp_path / "restored")
    seal(restored.deps)
    assert verdict(restored, new)[0] == 0


# What somebody could do who has the disk.


def test_a_key_that_was_merely_put_there_seals_nothing(book: Book) -> None:
    book.log(received(book, Customer()))
    seal(book.deps)
    forged = Ed25519PrivateKey.generate()
    trusted = (keys_of(book) / VKEY).read_text()
    vkey = vkey_of(LOG_NAME, forged)
    replace_file(keys_of(book) / VKEY, f"{vkey.text()}\n{trusted}".encode())
    replace_key(keys_of(book), "checkpoints", forged)
    book.log(received(book, Customer(number=2)))
    for act in (seal, judge):
        with pytest.raises(StoreUnavailable, match="nothing that it has signed leads"):
            act(book.deps)
    with pytest.raises(StoreUnavailable):
        book.log(intended(book, Customer(number=2)))


def put_checkpoint(book: Book, key: Ed25519PrivateKey) -> None:
    """Past the product, straight into the database."""
    with writing(book.deps.engine) as db:
        frontier = edge_of(db).frontier
        checkpoint = Checkpoint(origin=LOG_NAME, size=frontier.size, root=frontier.root())
        note = sign_note(checkpoint.text(), LOG_NAME, key)
        row = {"size": frontier.size, "root": checkpoint.root.hex(), "note": note, "at": "…"}
        db.execute(insert(CHECKPOINTS).values(row))


def put_change(book: Book, note: str) -> None:
    draft = Draft(
        at="2026-11-23T09:00:00.000Z", topic="key.changed", actor="service:audit", subject="key/1",
        chain="log", message_id=note[-20:], cause=None, body=canonical_body({"note": note}),
    )  # fmt: skip
    with writing(book.deps.engine) as db:
        append(db, book.deps.vault, [draft])


def test_a_seal_of_a_key_that_nobody_handed_over_to_is_tampering(book: Book) -> None:
    book.log(received(book, Customer()))
    seal(book.deps)
    true, forged = book.deps.signer.vkey, Ed25519PrivateKey.generate()
    known = f"{vkey_of(LOG_NAME, forged).text()}\n{true.text()}\n"
    replace_file(keys_of(book) / VKEY, known.encode())
    book.log(received(book, Customer(number=2)))
    put_checkpoint(book, forged)
    assert {vkey.text() for vkey in book.deps.vkeys()} == set(known.split())
    code, said = verdict(book, true)
    assert code == 1
    assert "the log is sealed by a key that it never got" in said


@pytest.mark.parametrize("how", ["signed by itself", "old line borrowed", "of another log"])
def test_a_change_that_the_true_key_has_not_signed_changes_nothing(book: Book, how: str) -> None:
    book.log(received(book, Customer()))
    seal(book.deps)
    true, forged = private(book), Ed25519PrivateKey.generate()
    honest = sign_change(LOG_NAME, true, Ed25519PrivateKey.generate()).note
    vkeys = "\n".join(vkey_of(LOG_NAME, key).text() for key in (true, forged))
    text = f"{LOG_NAME}\nkey change\n{vkeys}\n"
    notes = {
        "signed by itself": sign_note(text, LOG_NAME, forged),
        "old line borrowed": sign_note(text, LOG_NAME, forged)
        + honest.partition("\n\n")[2].splitlines(keepends=True)[0],
        "of another log": sign_note(text.replace(LOG_NAME, "other", 1), LOG_NAME, true, forged),
    }
    put_change(book, notes[how])
    put_checkpoint(book, forged)
    vkey = vkey_of(LOG_NAME, true)
    replace_file(
        keys_of(book) / VKEY, f"{vkey.text()}\n{vkey_of(LOG_NAME, forged).text()}\n".encode()
    )
    code, said = verdict(book, vkey)
    assert code == 1
    assert "a key that it never got" in said


def test_nonsense_under_the_name_of_a_change_does_not_make_an_honest_log_a_bad_one(
    rotated: tuple[Book, VerifierKey, VerifierKey],
) -> None:
    book, old, new = rotated
    replayed = json.loads((keys_of(book) / CHANGES).read_text().splitlines()[0])["note"]
    for note in (replayed, "nonsense", sign_note("x\n", LOG_NAME, private(book))):
        put_change(book, note)
    book.log(received(book, Customer(number=3)))
    seal(book.deps)
    for vkey in (old, new):
        assert verdict(book, vkey)[0] == 0


def test_the_old_key_seals_nothing_after_its_change(book: Book) -> None:
    stolen = private(book)
    book.log(received(book, Customer()))
    seal(book.deps)
    new = rotate_checkpoints(keys_of(book))
    seal(book.deps)
    book.log(received(book, Customer(number=2)))
    put_checkpoint(book, stolen)
    for vkey in (new, vkey_of(LOG_NAME, stolen)):
        assert verdict(book, vkey)[0] == 1
    with writing(book.deps.engine) as db:
        last = last_checkpoint(db)
        assert last is not None
        db.execute(delete(CHECKPOINTS).where(CHECKPOINTS.c.size == last.size))
    assert verdict(book, new)[0] == 0


def test_a_thief_of_the_old_key_cannot_deceive_whoever_trusts_the_new_one(
    book: Book, tmp_path: Path
) -> None:
    """A history of one's own under the stolen key: so tell the new key to whoever checks."""
    stolen = private(book)
    book.log(received(book, Customer()))
    seal(book.deps)
    new = rotate_checkpoints(keys_of(book))
    seal(book.deps)
    false = tmp_path / "false"
    (false / "keys").mkdir(parents=True)
    shutil.copy(keys_of(book) / "ledger.key", false / "keys")
    forged = Book(false)
    replace_key(false / "keys", "checkpoints", stolen)
    old = vkey_of(LOG_NAME, stolen)
    (false / "keys" / VKEY).write_text(f"{new.text()}\n{old.text()}\n")
    forged.log(received(forged, Customer(name="Another")))
    seal(forged.deps)
    put_change(forged, json.loads((keys_of(book) / CHANGES).read_text())["note"])
    assert verdict(forged, old)[0] == 0, "nothing else can be known with the old key alone"
    code, said = verdict(forged, new)
    assert code == 1
    assert "no key that is trusted has sealed anything" in said


def test_a_process_that_still_has_the_old_key_waits(book: Book, tmp_path: Path) -> None:
    book.log(received(book, Customer()))
    seal(book.deps)
    before = tmp_path / "before"
    shutil.copytree(keys_of(book), before)
    rotate_checkpoints(keys_of(book))
    seal(book.deps)
    for path in before.iterdir():
        replace_file(keys_of(book) / path.name, path.read_bytes())
    book.log(received(book, Customer(number=2)))
    with pytest.raises(StoreUnavailable):
        seal(book.deps)


def test_a_damaged_file_of_changes_is_named(book: Book) -> None:
    rotate_checkpoints(keys_of(book))
    path = keys_of(book) / CHANGES
    note = json.loads(path.read_text())["note"]
    read_change(note)
    for spoilt in (
        note.replace("key change", "key chance"),
        note.rsplit("—", 1)[0],
        note.replace(note[-9:], "AAAAAAAA\n"),
    ):
        path.write_text(json.dumps({"note": spoilt}) + "\n")
        with pytest.raises(ConfigurationError, match=CHANGES):
            rotate_checkpoints(keys_of(book))
