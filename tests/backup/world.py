"""Installations that are backed up, lost, and looked into afterwards."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from services.backup.archive import Archive
from services.backup.manifest import Manifest, read_manifest
from tests.faults.books import OUTSIDE, waiting
from tests.product import ROOT, Client, Product, eventually


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
    return set(waiting(product.home())) <= {OUTSIDE, *but}


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


def rows(product: Product, database: str, query: str) -> Sequence[Any]:
    """What the product has stored, wherever it keeps it; the CRM's is always a file."""
    if database != "crm" and (url := product.extra.get("DATABASE_URL")):
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.execute(text(f"SET search_path TO {database}"))
            found = connection.execute(text(query)).all()
        engine.dispose()
        return found
    path = product.folder / "data" / f"{database}.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as db:
        return db.execute(query).fetchall()


def approved_card(client: Client) -> str:
    """A card that a person has approved while writing is stopped."""
    rows = eventually(lambda: client.get("/api/cards")["rows"])
    card = rows[0]["id"]
    digest = client.get(f"/api/cards/{card}/now")["card_digest"]
    answer = client.post(f"/api/cards/{card}/approve", card_digest=digest, confirmed=True)
    assert answer.status_code == 200, answer.text
    return card


def has_receipt(client: Client, card: str) -> bool:
    change = client.get(f"/api/cards/{card}")["change"]
    return change is not None and change["receipt_seq"] is not None


def state_of(client: Client, card: str) -> str:
    return str(client.get(f"/api/cards/{card}")["change"]["state"])
