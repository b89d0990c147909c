"""A backup made under load is one moment: restored elsewhere, the books close over all of it."""

from __future__ import annotations

from pathlib import Path

from tests.backup.world import (
    approved_card,
    carry_the_crm,
    changes_of_the_crm,
    count,
    has_receipt,
    hashes,
    ids,
    listed,
    manifest_of,
    nothing_waits,
    open_the_caps,
    restored_beside,
    started,
    state_of,
)
from tests.faults.approver import Approver
from tests.faults.load import Load
from tests.faults.reconcile import reconcile
from tests.product import Product, eventually

EVENTS = 40


def test_what_was_accepted_before_a_backup_under_load_closes_after_a_restore(
    tmp_path: Path,
) -> None:
    old = Product(folder=tmp_path / "old")
    open_the_caps(old)
    file = tmp_path / "backup.zip"
    with started(old):
        load = Load(product=old, rate=EVENTS / 6, seed=7)
        with Approver(old.client(), leaves_drafts=True):
            load.start()
            eventually(lambda: len(load.acknowledged) > EVENTS // 3)
            said = old.command("backup", str(file))
            assert said.returncode == 0, said.stdout + said.stderr
            before = manifest_of(file)
            eventually(lambda: len(load.acknowledged) >= EVENTS, 30)
            load.finish()
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
        eventually(lambda: nothing_waits(new, "open cards"), 40, new.said)
        kept_hashes = hashes(new)
        differences = reconcile(
            new.home(),
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


def test_a_change_written_after_the_backup_is_found_again_and_not_written_twice(
    tmp_path: Path,
) -> None:
    old, file = Product(folder=tmp_path / "old"), tmp_path / "backup.zip"
    with started(old):
        assert old.command("demo").returncode == 0
        client = old.client()
        assert old.command("stop").returncode == 0
        card = approved_card(client)
        eventually(lambda: has_receipt(client, card))
        assert old.command("backup", str(file), "--with-keys").returncode == 0
        assert old.command("resume").returncode == 0
        eventually(lambda: state_of(client, card) == "applied")
    [change] = changes_of_the_crm(old)

    new = restored_beside(old, tmp_path / "new")
    said = new.command("restore", str(file))
    assert said.returncode == 0, said.stdout + said.stderr
    assert "Writing was stopped when the backup was made." in said.stdout
    carry_the_crm(old, new)
    with started(new):
        # Tokens of people came back with the backup: the same client goes on.
        assert state_of(client, card) == "intended"
        assert new.command("resume").returncode == 0
        eventually(lambda: state_of(client, card) == "applied", 30, new.said)
        assert changes_of_the_crm(new) == {change}
        moments = "SELECT count(DISTINCT at) FROM history WHERE change_id IS NOT NULL"
        assert count(new, "crm", moments) == 1
        assert new.command("verify").returncode == 0
