"""On PostgreSQL and RabbitMQ: what the broker held at the moment of the backup is sent again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.backup.world import (
    carry_the_crm,
    changes_of_the_crm,
    count,
    ids,
    listed,
    manifest_of,
    open_the_caps,
    rows,
    started,
)
from tests.contracts.postgresql import fresh_postgresql
from tests.contracts.rabbitmq import virtual_host
from tests.faults.approver import Approver
from tests.faults.load import Load
from tests.product import Product, eventually

EVENTS = 30
OPEN = "SELECT count(*) FROM changes WHERE state NOT IN ('applied','failed','stale')"
UNSENT = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"


def ended(product: Product) -> bool:
    """Every accepted event has its end in the log, and no change is open."""
    accepted = ids(product, "ingest", "SELECT id FROM accepted")
    ends = ids(product, "audit", "SELECT event FROM event_ends WHERE outcome IS NOT NULL")
    unsent = sum(count(product, name, UNSENT) for name in ("writer", "audit", "classifier"))
    return accepted <= ends and count(product, "writer", OPEN) == 0 and unsent == 0


def is_writing(product: Product) -> bool:
    """Whether somebody holds a turn to write for longer than a commit takes."""
    pids = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    first = {row[0] for row in rows(product, "writer", pids)}
    time.sleep(0.2)
    return bool(first & {row[0] for row in rows(product, "writer", pids)})


@contextmanager
def paused(product: Product, name: str) -> Iterator[None]:
    """A worker that takes messages and does nothing with them, stopped outside a commit."""
    [worker] = [child for child in product.children() if child.name() == name[:15]]
    worker.suspend()
    while is_writing(product):
        worker.resume()
        time.sleep(0.02)
        worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def test_a_restore_on_servers_sends_again_what_was_on_its_way(tmp_path: Path) -> None:
    with virtual_host() as first, fresh_postgresql() as database, virtual_host() as second:
        old = Product(
            folder=tmp_path / "old", extra={"BROKER_URL": first.url, "DATABASE_URL": database}
        )
        open_the_caps(old)
        file = tmp_path / "backup.zip"
        with started(old):
            load = Load(product=old, rate=EVENTS / 5, seed=11)
            with Approver(old.client(), leaves_drafts=True):
                load.start()
                eventually(lambda: count(old, "writer", "SELECT count(*) FROM changes") > 2, 30)
                with paused(old, "classifier-worker"):
                    seen = count(old, "ingest", "SELECT count(*) FROM accepted")
                    eventually(
                        lambda: count(old, "ingest", "SELECT count(*) FROM accepted") > seen + 3
                    )
                    said = old.command("backup", str(file))
                    assert said.returncode == 0, said.stdout + said.stderr
                made = manifest_of(file)
                eventually(lambda: len(load.acknowledged) >= EVENTS, 30)
                load.finish()
                eventually(lambda: ended(old), 40, old.said)
        assert made.messages > 0
        assert made.unheard == ()

        with fresh_postgresql() as other:
            new = replace(
                old,
                folder=tmp_path / "new",
                extra={"BROKER_URL": second.url, "DATABASE_URL": other},
                process=None,
            )
            said = new.command(
                "restore", str(file), "--keys", str(old.folder / "data" / "keys"),
                "--left-over", database,
            )  # fmt: skip
            assert said.returncode == 0, said.stdout + said.stderr
            assert "OK. Entries: " in said.stdout
            kept = ids(new, "ingest", "SELECT id FROM accepted")
            accepted = ids(old, "ingest", "SELECT id FROM accepted")
            assert len(kept) == made.reach.accepted
            assert {row["id"] for row in listed(new, "lost-events")} == accepted - kept

            written_before = changes_of_the_crm(old)
            carry_the_crm(old, new)
            with started(new):
                assert new.command("resume").returncode == 0
                eventually(lambda: ended(new), 40, lambda: str(open_ends(new)))
                assert new.command("verify").returncode == 0
                known = ids(new, "writer", "SELECT id FROM changes WHERE state = 'applied'")
                assert changes_of_the_crm(new) == known | written_before
                effects = rows(
                    new,
                    "crm",
                    "SELECT change_id, count(DISTINCT at) FROM history"
                    " WHERE change_id IS NOT NULL GROUP BY change_id",
                )
                assert {row[0]: row[1] for row in effects if row[1] != 1} == {}
                assert "No dead letters." in new.command("dead", "list").stdout


def open_ends(product: Product) -> list[object]:
    return [
        ids(product, "ingest", "SELECT id FROM accepted")
        - ids(product, "audit", "SELECT event FROM event_ends WHERE outcome IS NOT NULL"),
        rows(product, "writer", "SELECT id, state FROM changes"),
        time.time(),
    ]
