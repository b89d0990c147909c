"""A backup made under load is one moment: restored elsewhere, the books close over all of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.backup.archive import Archive
from services.backup.manifest import Manifest, read_manifest
from tests.faults.approver import Approver
from tests.faults.load import Load
from tests.faults.reconcile import OUTSIDE, reconcile, waiting
from tests.product import ROOT, Product, eventually

EVENTS = 40


def manifest_of(file: Path) -> Manifest:
    archive = Archive(file)
    archive.close()
    return read_manifest(archive.manifest)


@contextmanager
def started(product: Product) -> Iterator[Product]:
    product.start()
    try:
        yield product
    finally:
        if product.process is not None and product.process.poll() is None:
            assert product.stop() == 0


def restored_beside(old: Product, folder: Path) -> Product:
    """A product of the same ports and CRM that is to be restored from a backup of ``old``."""
    return replace(old, folder=folder, process=None)


def carry_the_crm(old: Product, new: Product) -> None:
    """The CRM is an outside system: it goes on as it was when the machine was lost."""
    with closing(sqlite3.connect(old.folder / "data" / "crm.db")) as source:
        with closing(sqlite3.connect(new.folder / "data" / "crm.db")) as target:
            source.backup(target)


def open_the_caps(product: Product) -> None:
    """The shipped policy, but as many writes of a field an hour as the run needs."""
    policy = (ROOT / "deploy" / "policy.toml").read_text()
    for limit in ("per_hour = 20", "per_day = 100"):
        policy = policy.replace(limit, f"{limit.split(' = ')[0]} = 100000")
    folder = product.folder / "data"
    folder.mkdir(parents=True)
    (folder / "policy.toml").write_text(policy)


def nothing_waits(product: Product, *but: str) -> bool:
    return set(waiting(product.folder / "data")) <= {OUTSIDE, *but}


def test_what_was_accepted_before_a_backup_under_load_closes_after_a_restore(
    tmp_path: Path,
) -> None:
    old = Product(folder=tmp_path / "old")
    open_the_caps(old)
    file = tmp_path / "backup.zip"
    with started(old):
        load = Load(product=old, count=EVENTS, seconds=6, seed=7)
        with Approver(old.client()):
            load.start()
            eventually(lambda: len(load.acknowledged) > EVENTS // 3)
            said = old.command("backup", str(file))
            assert said.returncode == 0, said.stdout + said.stderr
            before = manifest_of(file)
            load.join()
            eventually(lambda: nothing_waits(old), 40, old.said)
    assert load.given_up == []
    assert 0 < before.reach.accepted < count(old, "ingest", "SELECT count(*) FROM accepted")

    new = restored_beside(old, tmp_path / "new")
    said = new.command(
        "restore", str(file), "--keys", str(old.folder / "data" / "keys"),
        "--left-over", str(old.folder / "data"),
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert "OK. Entries: " in said.stdout
    assert "goes on for" in said.stdout

    lost = listed(new, "lost-events")
    accepted = ids(old, "ingest", "SELECT id FROM accepted")
    kept = ids(new, "ingest", "SELECT id FROM accepted")
    assert {row["id"] for row in lost} == accepted - kept
    assert len(kept) == before.reach.accepted

    written_before = changes_of_the_crm(old)
    carry_the_crm(old, new)
    with started(new):
        assert new.command("resume").returncode == 0
        # A card that was approved after the backup waits again; the CRM has its value already.
        eventually(lambda: nothing_waits(new, "pending cards"), 40, new.said)
        kept_hashes = hashes(new)
        differences = reconcile(
            new.folder / "data",
            {sha: what for sha, what in load.acknowledged.items() if sha in kept_hashes},
        )
        # What people approved after the backup is in the CRM, and this log never heard of it.
        unknown = written_before - ids(new, "writer", "SELECT id FROM changes")
        assert [line for line in differences if not is_known(line, unknown, written_before)] == []
        assert {row["id"] for row in listed(new, "lost-changes")} >= unknown
        assert new.command("verify").returncode == 0


def is_known(line: str, unknown: set[str], written_before: set[str]) -> bool:
    """Named at the restore; or written before it, found again and not written twice."""
    is_found_again = "receipt only at" in line and any(one in line for one in written_before)
    return is_found_again or any(one in line for one in unknown)


def changes_of_the_crm(product: Product) -> set[str]:
    return ids(product, "crm", "SELECT DISTINCT change_id FROM history WHERE change_id IS NOT NULL")


def listed(product: Product, name: str) -> list[dict[str, str]]:
    text = (product.folder / "data" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def hashes(product: Product) -> set[str]:
    return ids(product, "ingest", "SELECT raw_sha256 FROM deliveries")


def ids(product: Product, database: str, query: str) -> set[str]:
    return {row[0] for row in rows(product, database, query)}


def count(product: Product, database: str, query: str) -> int:
    return int(rows(product, database, query)[0][0])


def rows(product: Product, database: str, query: str) -> list[Any]:
    path = product.folder / "data" / f"{database}.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as db:
        return db.execute(query).fetchall()
