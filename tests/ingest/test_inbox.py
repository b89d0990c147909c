"""The durable inbox: group commit, repeats, floods of refusals, and a store that is full."""

from __future__ import annotations

import dataclasses
import multiprocessing
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from services.ingest.group_commit import GroupCommit
from services.ingest.hook import Endpoint, Hook
from services.ingest.inbox import SHOWN_ONE_BY_ONE, Refusal
from services.ingest.raw import expire, raw_bytes
from services.ingest.source import Outcome
from services.ingest.sources import SOURCES
from services.ingest.store import accepted, deliveries, raw_files, refusals, tallies
from shared.db import reading, writing
from shared.domain.schema import rfc3339
from shared.errors import NotFound, StoreUnavailable
from shared.process_lock import ProcessLock
from tests.ingest.senders import SOURCE, change, post, signed
from tests.vectors import Server, Store

ENDPOINT = Endpoint(source=SOURCE, secrets=("x",))


def hook(store: Store, message: str, body: bytes) -> Hook:
    return Hook(
        method="POST",
        url="https://x/hooks/demo-crm",
        headers={"webhook-id": message, "webhook-signature": "v1,x"},
        body=body,
        received_at=store.web.clock(),
    )


def accept(store: Store, message: str, body: bytes | None = None) -> Outcome:
    source = SOURCES[SOURCE]
    request = hook(store, message, change("c-1") if body is None else body)
    found = [source.identify(raw, request) for raw in source.split(request)]
    return store.web.inbox.accept(source, ENDPOINT, request, found)


def count(store: Store, column: object) -> int:
    with reading(store.web.engine) as connection:
        return connection.scalar(select(func.count(column))) or 0  # type: ignore[arg-type]


def test_what_waits_is_committed_together_and_everyone_learns_their_own_result(
    tmp_path: Path,
) -> None:
    sizes: list[int] = []

    def commit(entries: Sequence[int]) -> list[int]:
        sizes.append(len(entries))
        time.sleep(0.02)
        return [entry * 2 for entry in entries]

    group = GroupCommit(commit, ProcessLock(tmp_path / "lock"))
    results: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: group.add(n)})) for n in range(200)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: n * 2 for n in range(200)}
    assert sum(sizes) == 200
    assert len(sizes) < 50


def test_an_entry_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    first = threading.Event()

    def commit(entries: Sequence[int]) -> list[int]:
        first.wait(2)
        if 3 in entries:
            raise ValueError("three")
        return list(entries)

    group = GroupCommit(commit, ProcessLock(tmp_path / "lock"))
    results: dict[int, object] = {}

    def add(number: int) -> None:
        try:
            results[number] = group.add(number)
        except ValueError as error:
            results[number] = str(error)

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    first.set()
    for thread in threads:
        thread.join()
    assert results == {**{n: n for n in range(8)}, 3: "three"}


def test_a_store_that_is_away_fails_all_who_wait_and_the_next_try_works(tmp_path: Path) -> None:
    is_away = True

    def commit(entries: Sequence[int]) -> list[int]:
        if is_away:
            raise StoreUnavailable("away")
        return list(entries)

    group = GroupCommit(commit, ProcessLock(tmp_path / "lock"))
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            group.add(1)
    is_away = False
    assert group.add(2) == 2


def test_who_waits_too_long_is_told_so_and_does_not_hold_up_the_others(tmp_path: Path) -> None:
    go_on = threading.Event()

    def commit(entries: Sequence[int]) -> list[int]:
        go_on.wait(5)
        return list(entries)

    group = GroupCommit(commit, ProcessLock(tmp_path / "lock"), patience=0.1)
    leader = threading.Thread(target=group.add, args=(1,))
    leader.start()
    time.sleep(0.05)
    with pytest.raises(StoreUnavailable):
        group.add(2)
    go_on.set()
    leader.join()
    assert group.add(3) == 3


def test_a_lock_file_that_cannot_be_made_is_a_store_that_is_away(tmp_path: Path) -> None:
    group = GroupCommit(list[int], ProcessLock(tmp_path / "no" / "lock"))
    with pytest.raises(StoreUnavailable):
        group.add(1)


def _hold(path: Path, ready: object, done: object) -> None:
    with ProcessLock(path):
        ready.set()  # type: ignore[attr-defined]
        time.sleep(0.3)
        done.set()  # type: ignore[attr-defined]


def test_the_lock_keeps_other_processes_out(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "lock", ready, done))
    other.start()
    assert ready.wait(5)
    with ProcessLock(tmp_path / "lock"):
        assert done.is_set()
    other.join()


def test_an_event_is_stored_once_and_a_repeat_brings_no_bytes(store: Store) -> None:
    assert accept(store, "a") is Outcome.STORED
    assert accept(store, "a") is Outcome.DUPLICATE
    assert accept(store, "b") is Outcome.STORED
    assert count(store, accepted.c.seq) == 2
    assert count(store, deliveries.c.id) == 2


def test_a_batch_with_old_and_new_events_keeps_the_new_ones_and_its_bytes(store: Store) -> None:
    source, endpoint = SOURCES["hubspot"], Endpoint(source="hubspot", secrets=("x",))

    def batch(*ids: int) -> Outcome:
        body = ",".join(
            f'{{"eventId":{i},"subscriptionType":"contact.creation","objectId":{i}}}' for i in ids
        )
        request = hook(store, "x", f"[{body}]".encode())
        found = [source.identify(raw, request) for raw in source.split(request)]
        return store.web.inbox.accept(source, endpoint, request, found)

    assert batch(1, 2) is Outcome.STORED
    assert batch(2, 3) is Outcome.STORED
    assert batch(1, 2, 3) is Outcome.DUPLICATE
    assert batch(4, 4) is Outcome.STORED
    assert count(store, accepted.c.seq) == 4
    assert count(store, deliveries.c.id) == 3


def test_a_flood_of_refusals_fills_twenty_rows_and_one_that_counts(store: Store) -> None:
    refusal = Refusal(
        source="zapier",
        endpoint="default",
        reason="mismatch",
        detail="wrong token",
        received_at=store.web.clock(),
    )
    for _ in range(500):
        store.web.inbox.refuse(refusal)
    with reading(store.web.engine) as connection:
        counts = sorted(connection.scalars(select(refusals.c.count)))
        total = connection.scalar(select(tallies.c.count))
    assert counts == [1] * SHOWN_ONE_BY_ONE + [500 - SHOWN_ONE_BY_ONE]
    assert total == 500
    store.web.inbox.refuse(
        dataclasses.replace(refusal, received_at=refusal.received_at + timedelta(minutes=1))
    )
    assert count(store, refusals.c.id) == SHOWN_ONE_BY_ONE + 2


def test_a_full_disk_is_answered_503_and_nothing_is_lost_of_what_was_answered(
    store: Store, server: Server
) -> None:
    vector = {
        "source": SOURCE,
        "secret": "whsec_dGVzdC1rZXktb2YtdGhlLWRlbW8tY3JtLTAwMDAwMDE=",
        "scheme": "",
        "url": "https://hooks.example.com/hooks/demo-crm",
        "headers": {},
        "now": time.time(),
    }
    path = store.open(vector)
    server._server.set_app(store.app())
    with writing(store.web.engine) as connection:
        connection.execute(text("PRAGMA max_page_count = 1"))
    stored, full = 0, 0
    with writing(store.web.engine) as connection:
        pages = connection.scalar(text("PRAGMA page_count")) or 0
    # `max_page_count` belongs to a connection: set it on the one that commits.
    with store.web.inbox._writer.writing() as connection:
        connection.execute(text(f"PRAGMA max_page_count = {pages + 20}"))
    for number in range(80):
        body = change(f"c-{number}", note="x" * 2000)
        status, _ = post(server.port, path, body, signed(f"m{number}", body, at=vector["now"]))
        assert status in {200, 503}
        stored, full = stored + (status == 200), full + (status == 503)
        if status == 503:
            break
    assert full == 1
    assert count(store, accepted.c.seq) == stored
    body = change("after")
    assert post(server.port, path, body, signed("after", body, at=vector["now"]))[0] == 200


def test_raw_bytes_go_after_their_retention_and_the_rows_stay(store: Store, tmp_path: Path) -> None:
    small, large = change("c-1"), change("c-2", note="x" * 100_000)
    accept(store, "small", small)
    accept(store, "large", large)
    with reading(store.web.engine) as connection:
        ids = list(connection.scalars(select(accepted.c.id).order_by(accepted.c.seq)))
    files = store.web.files
    assert raw_bytes(store.web.engine, files, ids[0])[0] == small
    assert raw_bytes(store.web.engine, files, ids[1])[0] == large
    later = store.web.clock() + timedelta(days=365)
    with writing(store.web.engine) as connection:
        connection.execute(accepted.update().values(sent_at=rfc3339(later)))
    expire(store.web.engine, files, {SOURCE: store.web.clock() - timedelta(days=1)}, later)
    assert raw_bytes(store.web.engine, files, ids[0])[0] == small
    for path in tmp_path.glob("??/*"):
        _age(path)
    assert expire(store.web.engine, files, {SOURCE: later}, later) == 2
    for id_ in ids:
        with pytest.raises(NotFound, match="retention is over"):
            raw_bytes(store.web.engine, files, id_)
    assert count(store, raw_files.c.sha256) == 0
    assert not [path for path in tmp_path.glob("??/*") if path.is_file()]
    assert count(store, deliveries.c.id) == 2


def test_what_was_not_sent_on_is_never_expired(store: Store) -> None:
    accept(store, "waiting")
    later = store.web.clock() + timedelta(days=365)
    assert expire(store.web.engine, store.web.files, {SOURCE: later}, later) == 0


def _age(path: Path) -> None:
    import os

    os.utime(path, (1, 1))
