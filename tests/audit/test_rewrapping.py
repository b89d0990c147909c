"""`ledger.key` gets a new key while the log is written: nothing is lost, the old key opens nothing."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import select

from services.audit import reader
from services.audit.erase import chains_of
from services.audit.rewrapping import rewrap
from services.audit.tables import CHAIN_KEYS
from services.audit.vault import Vault
from shared.db import reading
from shared.errors import ConfigurationError, StoreUnavailable
from shared.key_ring import read_ring, renew_ring
from tests.audit.book import Book, Customer, chain_of, received, whole_story


def wrapped(book: Book) -> dict[str, bytes]:
    with reading(book.deps.engine) as db:
        rows = db.execute(select(CHAIN_KEYS.c.chain, CHAIN_KEYS.c.wrapped)).all()
    return {chain: bytes(key) for chain, key in rows if key is not None}


def only(key: bytes) -> Vault:
    return Vault(masters=lambda: (key,))


def opens(vault: Vault, chain: str, key: bytes) -> bool:
    try:
        vault.unwrap(chain, key)
    except StoreUnavailable:
        return False
    return True


def test_after_a_rotation_the_old_key_opens_no_chain_and_everything_is_read_on(book: Book) -> None:
    customer = Customer()
    whole_story(book, customer)
    before = wrapped(book)
    renew_ring(book.folder / "keys" / "ledger.key")
    new, old = read_ring(book.folder / "keys" / "ledger.key")
    assert rewrap(book.deps) == len(before)
    assert rewrap(book.deps) == 0
    after = wrapped(book)
    assert after.keys() == before.keys()
    for chain, key in after.items():
        assert opens(only(new), chain, key)
        assert not opens(only(old), chain, key)
        # What a backup of before holds is opened by the file of today.
        assert opens(book.deps.vault, chain, before[chain])
    with reading(book.deps.engine) as db:
        assert all(one.body for one in reader.everything(db, book.deps.vault))
    assert chains_of(book.deps, customer.email) == (chain_of(customer),)


def test_chains_that_come_in_while_keys_are_wrapped_anew_are_wrapped_with_the_new_one(
    book: Book,
) -> None:
    for number in range(40):
        book.log(received(book, Customer(number=number)))
    path, stop = book.folder / "keys" / "ledger.key", threading.Event()
    came: list[int] = []

    def go_on() -> None:
        number = 100
        while not stop.is_set():
            book.log(received(book, Customer(number=number)))
            came.append(number)
            number += 1

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        for _ in range(3):
            renew_ring(path)
            rewrap(book.deps)
    finally:
        stop.set()
        writer.join()
    newest = only(read_ring(path)[0])
    assert came
    assert all(opens(newest, chain, key) for chain, key in wrapped(book).items())
    with reading(book.deps.engine) as db:
        assert reader.size(db) == 40 + len(came)
        assert all(one.body for one in reader.everything(db, book.deps.vault))


def test_a_key_file_that_is_gone_or_cut_is_waited_for(book: Book) -> None:
    path = book.folder / "keys" / "ledger.key"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(StoreUnavailable, match=r"ledger\.key"):
        book.log(received(book, Customer()))
    path.write_bytes(whole[:20])
    with pytest.raises(ConfigurationError, match="32 bytes"):
        read_ring(path)
    path.write_bytes(whole)
    book.log(received(book, Customer()))
