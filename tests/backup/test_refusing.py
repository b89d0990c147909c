"""A restore looks before it touches anything, and says what is in its way."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.audit.checkpoints import LOG_NAME, rotate_checkpoints, sign_edge
from services.audit.commands import deps_of
from services.audit.notes import sign_note
from services.backup import restoring
from services.backup.archive import new_archive
from services.backup.manifest import read_manifest
from services.backup.missing import newer_checkpoint
from services.backup.taking import take
from services.embedded import prepare_databases
from services.installation import Installation, RunSettings
from services.occupied import occupied, occupy, owner, unfinished
from services.preparing import SetupSettings, prepare
from shared.errors import BadPayload, ConfigurationError
from shared.keys import rotate_key
from shared.proof import Checkpoint


def quiet(_: str, __: int) -> Callable[[int], None]:
    return lambda _: None


def home_in(folder: Path) -> Installation:
    return Installation(root=folder, run=RunSettings())


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    found = home_in(tmp_path / "data")
    found.prepare()
    prepare_databases(found)
    found.people.write_text("version = 1\n")
    return found


@pytest.fixture
def file(home: Installation, tmp_path: Path) -> Path:
    path = tmp_path / "backup.zip"
    take(home, path, with_keys=True)
    return path


def altered(file: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy of the backup with one member changed, as a correct zip file."""
    copy = file.with_name("altered.zip")
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(copy, "w") as target:
        for one in source.namelist():
            data = source.read(one)
            target.writestr(one, change(data) if one == name else data)
    return copy


def manifest_with(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    def edit(data: bytes) -> bytes:
        manifest = json.loads(data)
        change(manifest)
        return json.dumps(manifest).encode()

    return altered(file, "manifest.json", edit)


def restore(file: Path, folder: Path, keys: Path | None = None) -> Installation:
    target = home_in(folder)
    restoring.refuse_occupied(target, [])
    target.root.mkdir(exist_ok=True)
    restoring.restore(target, restoring.opened(file, quiet), keys, quiet)
    return target


def test_a_backup_with_keys_restores_by_itself(file: Path, tmp_path: Path) -> None:
    target = restore(file, tmp_path / "new")
    assert target.prepare() is False
    assert target.people.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["files/people.toml", "tables/writer/proposals.jsonl"])
def test_a_member_that_was_altered_is_named(file: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadPayload, match=name):
        restore(altered(file, name, lambda data: data + b"\n"), tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def read_out(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_byte_that_rotted_on_the_disk_is_found_wherever_it_lies(
    file: Path, tmp_path: Path
) -> None:
    whole, sound = file.read_bytes(), read_out(file)
    rotten = tmp_path / "rotten.zip"
    places = range(40, len(whole) - 1, len(whole) // 60)
    found = 0
    for place in places:
        rotten.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:  # Nothing else may come of it.
            restoring.opened(rotten, quiet)
        except BadPayload:
            found += 1
        else:  # Such as the time of a member, which nobody reads.
            assert read_out(rotten) == sound, place
    assert found > len(places) * 2 / 3


def fail_half_way(path: Path) -> None:
    with contextlib.suppress(RuntimeError), new_archive(path) as archive:
        with archive.member("one") as put:
            put(b"begun")
        raise RuntimeError("the disk")


def test_a_backup_that_fails_leaves_nothing_and_complains_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    fail_half_way(tmp_path / "half.zip")
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert complaints == []


def test_a_backup_that_was_cut_off_is_none(file: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.zip"
    short.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadPayload, match="not a whole one"):
        restore(short, tmp_path / "new")


def test_a_member_more_than_the_manifest_names_is_refused(file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("keys/extra.pub", b"x")
    with pytest.raises(BadPayload, match="does not hold what its manifest names"):
        restore(file, tmp_path / "new")


def test_a_backup_of_a_newer_schema_is_refused(file: Path, tmp_path: Path) -> None:
    newer = manifest_with(file, lambda manifest: manifest["revisions"].update(writer="9999"))
    with pytest.raises(ConfigurationError, match="newer version"):
        restore(newer, tmp_path / "new")


def test_a_backup_of_a_newer_form_is_refused(file: Path, tmp_path: Path) -> None:
    newer = manifest_with(file, lambda manifest: manifest.update(format=2))
    with pytest.raises(BadPayload, match="newer version"):
        restore(newer, tmp_path / "new")


def test_other_keys_than_the_backups_are_refused_before_anything_is_written(
    file: Path, tmp_path: Path
) -> None:
    other = home_in(tmp_path / "other")
    other.prepare()
    with pytest.raises(ConfigurationError, match="decisions, checkpoints, ledger"):
        restore(file, tmp_path / "new", keys=other.keys)
    assert list((tmp_path / "new").iterdir()) == []


def test_without_keys_a_backup_says_how_to_give_them(home: Installation, tmp_path: Path) -> None:
    take(home, tmp_path / "bare.zip")
    with pytest.raises(ConfigurationError, match="--keys"):
        restore(tmp_path / "bare.zip", tmp_path / "new")
    assert restore(tmp_path / "bare.zip", tmp_path / "newer", keys=home.keys).prepare() is False


def test_a_folder_that_holds_something_is_refused(file: Path, home: Installation) -> None:
    with pytest.raises(ConfigurationError, match="is not empty"):
        restore(file, home.root)


def test_a_restore_that_was_cut_off_starts_nothing(file: Path, tmp_path: Path) -> None:
    target = restore(file, tmp_path / "new")
    (target.root / "unfinished").write_text("a restore\n")
    with pytest.raises(ConfigurationError, match="is not whole"):
        target.prepare()


def test_a_second_product_in_the_same_folder_is_refused(home: Installation) -> None:
    with occupied(home.root):
        assert owner(home.root) is not None
        with pytest.raises(ConfigurationError, match="the product runs"):
            occupy(home.root, patience=0)
    assert owner(home.root) is None


def test_keys_that_were_rotated_after_the_backup_still_fit(
    home: Installation, tmp_path: Path
) -> None:
    take(home, tmp_path / "bare.zip")
    rotate_key(home.keys, "decisions")
    rotate_checkpoints(home.keys)
    assert restore(tmp_path / "bare.zip", tmp_path / "new", keys=home.keys).prepare() is False


def test_a_checkpoint_of_later_tells_the_gap(home: Installation, file: Path) -> None:
    reach = read_manifest(zipfile.ZipFile(file).read("manifest.json")).reach
    deps = deps_of(home)
    with deps.unit_of_work.begin() as unit:
        note = sign_edge(unit, deps).note
    assert "reaches further" in newer_checkpoint(note, reach, deps.vkeys())
    text = Checkpoint(origin=LOG_NAME, size=reach.entries + 7, root=bytes(32)).text()
    later = sign_note(text, LOG_NAME, deps.signer.key())
    assert "7 are not in the backup" in newer_checkpoint(later, reach, deps.vkeys())
    with pytest.raises(ConfigurationError, match="no checkpoint of this log"):
        newer_checkpoint(note.replace("\n0\n", "\n5\n"), reach, deps.vkeys())


def test_set_up_goes_on_from_no_restore_that_was_cut_off(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), unfinished(tmp_path, "a restore"):
        raise KeyboardInterrupt
    settings = SetupSettings(
        database_url="postgresql+psycopg://nobody@127.0.0.1:1/none",
        role_passwords="{}",
        broker_url="pika://127.0.0.1:1/none",
        search_url="http://127.0.0.1:1/none",
        crm_webhook_secret="whsec_none",
        people_file=tmp_path / "people.toml",
        endpoints_file=tmp_path / "endpoints.toml",
        keys_dir=tmp_path,
        policy_file=tmp_path / "policy.toml",
        public_url="http://127.0.0.1",
    )
    with pytest.raises(ConfigurationError, match="a restore did not end"):
        prepare(settings)
    assert not settings.policy_file.exists()
