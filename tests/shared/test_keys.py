"""A signing key is changed in use: nobody who reads in between is left without a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from services.audit.checkpoints import load_signer, load_vkeys, rotate_checkpoints
from services.audit.notes import sign_note
from services.installation import Installation, RunSettings
from services.keys import keys as keys_command
from shared.errors import BadSignature, ConfigurationError, StoreUnavailable
from shared.key_ring import renew_ring
from shared.keys import Reread, key_id, load_private, load_publics, make_key, rotate_key
from shared.proof import open_note


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    return home.keys


def test_what_the_old_key_signed_is_still_proved(folder: Path) -> None:
    private = Reread(folder / "decisions.ed25519", load_private)
    old, signature = key_id(private().public_key()), private().sign(b"yes")
    new = rotate_key(folder, "decisions")
    assert key_id(private().public_key()) == new != old
    publics = load_publics(folder, "decisions")
    assert set(publics) == {old, new}
    publics[old].verify(signature, b"yes")
    assert (folder / "decisions.ed25519").stat().st_mode & 0o777 == 0o600
    assert len(list(folder.glob("decisions*.ed25519"))) == 1


def test_a_reader_between_two_steps_knows_every_key_that_signs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file was just put in place, the public half of the private key is known."""
    seen = []
    rename = Path.rename

    def look(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        signing = key_id(load_private(folder / "decisions.ed25519").public_key())
        seen.append(signing in load_publics(folder, "decisions"))
        return moved

    monkeypatch.setattr(Path, "rename", look)
    rotate_key(folder, "decisions")
    assert seen == [True, True]


def test_old_seals_are_checked_with_their_own_key(folder: Path) -> None:
    signer, vkeys = load_signer(folder), load_vkeys(folder)
    old = sign_note("x\n", signer.name, signer.key())
    before = vkeys()
    rotate_checkpoints(folder)
    new = sign_note("x\n", signer.name, signer.key())
    assert new != old
    for note in (old, new):
        assert open_note(note, vkeys()) == "x\n"
    with pytest.raises(BadSignature):
        open_note(new, before)
    assert len(vkeys()) == 2


def test_a_key_that_leaked_is_distrusted(folder: Path) -> None:
    old = set(load_publics(folder, "decisions"))
    home = Installation(root=folder.parent, run=RunSettings())
    said = CliRunner().invoke(keys_command, ["rotate", "decisions", "--distrust-old"], obj=home)
    assert said.exit_code == 0, said.output
    assert len(load_publics(folder, "decisions")) == 1
    assert not old & set(load_publics(folder, "decisions"))


def test_a_file_that_is_gone_later_is_waited_for_and_one_at_the_start_is_not(
    folder: Path,
) -> None:
    path = folder / "decisions.ed25519"
    signing, data = Reread(path, load_private), path.read_bytes()
    path.unlink()
    with pytest.raises(StoreUnavailable, match=r"decisions\.ed25519"):
        signing()
    with pytest.raises(ConfigurationError):
        Reread(path, load_private)
    path.write_bytes(data)
    assert key_id(signing().public_key()) in load_publics(folder, "decisions")


def test_the_list_names_every_key_and_tells_nothing_of_it(folder: Path) -> None:
    home = Installation(root=folder.parent, run=RunSettings())
    rotate_key(folder, "decisions")
    renew_ring(folder / "ledger.key")
    said = CliRunner().invoke(keys_command, ["list"], obj=home)
    assert said.exit_code == 0, said.output
    rows = [line.split() for line in said.output.splitlines()]
    names = [row[0] for row in rows]
    assert names.count("decisions") == names.count("ledger") == 2
    assert {"checkpoints", "endpoints", "metrics", "crm-read", "crm-write-grants"} <= set(names)
    assert len({row[1] for row in rows}) == len(rows)
    signing = key_id(load_private(folder / "decisions.ed25519").public_key())
    assert next(row[1] for row in rows if row[-1] == "signs") == signing
    for data in filter(None, (path.read_bytes() for path in folder.iterdir())):
        assert data.hex()[:16] not in said.output
        assert data.decode(errors="replace")[:12] not in said.output


def test_a_key_is_made_once(folder: Path) -> None:
    before = (folder / "decisions.ed25519").read_bytes()
    make_key(folder, "decisions")
    assert (folder / "decisions.ed25519").read_bytes() == before
