"""`countersign secrets` hands out new keys in an order in which nobody meets one they do not know."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from services import secret_files
from services.__main__ import RENEWABLE, SERVERS, main
from services.audit.checkpoints import load_signer, load_vkeys
from services.audit.notes import sign_note
from services.audit.succession import load_changes, way
from services.keys import ROTATE
from services.secret_files import MADE
from services.writer.signing import decision_keys, log_keys
from shared.crm.sealing import Sealer
from shared.key_ring import read_ring
from shared.keys import key_id, load_private, replace_file
from shared.proof import key_ids, open_note


def handed_out(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["secrets", *words], env={"SECRETS_DIR": str(folder)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assert handed_out(tmp_path).exit_code == 0
    return tmp_path


def renewed(folder: Path, *words: str) -> None:
    said = handed_out(folder, *words)
    assert said.exit_code == 0, said.output


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_both_forms_know_the_same_keys(folder: Path) -> None:
    assert set(ROTATE) == set(RENEWABLE)
    before = bytes_of(folder)
    renewed(folder)
    assert bytes_of(folder) == before
    assert handed_out(folder, "--rotate", "decisions", "--announce", "decisions").exit_code != 0
    assert handed_out(folder, "--rotate", "postgres").exit_code != 0


@pytest.mark.parametrize("name", RENEWABLE)
def test_a_key_is_made_anew_for_all_who_have_it_and_for_nobody_else(
    folder: Path, name: str
) -> None:
    before = bytes_of(folder)
    renewed(folder, "--rotate", name)
    after = bytes_of(folder)
    changed = {
        path for path in after if after[path] != before.get(path)
    } | before.keys() - after.keys()
    start = name.partition("-grants")[0]
    assert all(start in path or start.replace("-", "_") in path or path.endswith("texts.json")
               for path in changed)  # fmt: skip
    for path in changed:
        assert Path(path).stat().st_mode & 0o077 == 0
    again = bytes_of(folder)
    renewed(folder)
    assert bytes_of(folder) == again


PASSWORDS = {
    "database": {"database_url", "sessions_url", "reconciler_database_url", "role_passwords",
                 "crm_read_grants_url", "crm_write_grants_url", "password"},
    "broker": {"broker_url", "definitions.json"},
    "search": {"search_url", "password"},
}  # fmt: skip


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_gets_new_passwords_and_each_address_keeps_the_one_before(
    folder: Path, server: str
) -> None:
    before = bytes_of(folder)
    renewed(folder, "--rotate", server)
    after = bytes_of(folder)
    changed = {Path(path) for path in after if after[path] != before[path]}
    assert {path.name for path in changed} == PASSWORDS[server] | {"texts.json"}
    addresses = [path for path in changed if path.name.endswith("_url")]
    for path in addresses:
        new, old = path.read_text().split()
        assert old == before[str(path)].decode()
        assert urlsplit(new)._replace(netloc="") == urlsplit(old)._replace(netloc="")
        assert urlsplit(new).password != urlsplit(old).password
    again = bytes_of(folder)
    renewed(folder)
    assert bytes_of(folder) == again
    renewed(folder, "--rotate", server)
    assert all(path.read_text().split()[1] == again[str(path)].decode().split()[0]
               for path in addresses)  # fmt: skip


def test_every_key_is_told_of_and_nothing_is_made(folder: Path) -> None:
    before = bytes_of(folder)
    said = handed_out(folder, "--list")
    assert {line.split()[0] for line in said.output.splitlines()} == {
        "decisions", "checkpoints", "ledger", "endpoints",
    }  # fmt: skip
    assert bytes_of(folder) == before


def test_approvals_of_both_keys_verify_where_they_are_checked(folder: Path) -> None:
    known = decision_keys(folder / "writer-worker")
    old = load_private(folder / "writer-web" / "decisions.ed25519").public_key()
    renewed(folder, "--rotate", "decisions")
    new = load_private(folder / "writer-web" / "decisions.ed25519").public_key()
    assert list(known()) == [key_id(new), key_id(old)]
    assert old != new


def test_seals_of_both_keys_are_known_to_all_and_the_old_one_leads_to_the_new(
    folder: Path,
) -> None:
    signer = load_signer(folder / "audit-worker")
    old = sign_note("x\n", signer.name, signer.key())
    for _ in range(2):
        renewed(folder, "--rotate", "checkpoints")
    new = sign_note("x\n", signer.name, signer.key())
    for note in (old, new):
        for name in ("audit-web", "audit-worker"):
            assert open_note(note, load_vkeys(folder / name)())
        assert open_note(note, log_keys(folder / "writer-worker"))
    changes = load_changes(folder / "audit-worker")
    assert len(way(changes, key_ids(old), signer.vkey)) == 2
    assert not list(folder.glob("audit-w*/*.next"))


@pytest.mark.parametrize("name", ["decisions", "checkpoints"])
def test_an_announced_key_is_known_before_it_signs(folder: Path, name: str) -> None:
    signing = folder / {"decisions": "writer-web", "checkpoints": "audit-worker"}[name]
    before = (signing / f"{name}.ed25519").read_bytes()
    for _ in range(2):
        renewed(folder, "--announce", name)
    assert (signing / f"{name}.ed25519").read_bytes() == before
    announced = (
        list(decision_keys(folder / "writer-worker")())
        if name == "decisions"
        else [vkey.text() for vkey in log_keys(folder / "writer-worker")]
    )
    assert len(announced) == 2
    renewed(folder, "--rotate", name)
    assert (signing / f"{name}.ed25519").read_bytes() != before
    known = (
        list(decision_keys(folder / "writer-worker")())
        if name == "decisions"
        else [vkey.text() for vkey in log_keys(folder / "writer-worker")]
    )
    assert known == announced[::-1]
    assert not (folder / MADE / f"{name}.next").exists()


@pytest.mark.parametrize("name", ["decisions", "checkpoints"])
def test_whoever_signs_is_told_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    written: list[Path] = []

    def note(path: Path, data: bytes) -> None:
        replace_file(path, data)
        written.append(path)

    monkeypatch.setattr(secret_files, "replace_file", note)
    renewed(folder, "--rotate", name)
    assert len(written) > 1
    suffixes = [path.suffix for path in written]
    assert set(suffixes[suffixes.index(".ed25519") :]) == {".ed25519"}


def test_rings_grow_and_keys_of_grants_change_in_two_steps(folder: Path) -> None:
    for name, place in (("ledger", "audit-web"), ("endpoints", "ingest-web")):
        [old] = read_ring(folder / place / f"{name}.key")
        renewed(folder, "--rotate", name)
        assert read_ring(folder / place / f"{name}.key")[1:] == (old,)
    file = folder / "writer-worker" / "crm_write_grants_key"
    old = Sealer(file.read_text())
    renewed(folder, "--rotate", "crm-write-grants")
    announced = Sealer(file.read_text())
    renewed(folder, "--rotate", "crm-write-grants")
    new = Sealer(file.read_text())
    for one, other in ((old, announced), (announced, new), (new, announced), (old, new)):
        assert other.opened(one.sealed("token", "a"), "a") == "token"
