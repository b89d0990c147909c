from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.merkle import verify_consistency
from services.audit.notes import sign_note, vkey_of
from shared.errors import BadPayload, BadSignature, Rejected
from shared.proof import ED25519, Checkpoint, open_checkpoint, open_note, parse_vkey
from tests.beside import FOLDER, is_expected

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "fixtures" / "merkle.json"
FULL = FOLDER / "data" / "merkle_vectors.json"
FILES = [OWN, FULL] if is_expected("data/merkle_vectors.json") else [OWN]

NAME = "log.example/test"
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"notes test").digest())
OTHER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"another").digest())
VKEY = vkey_of(NAME, KEY)
TEXT = Checkpoint(origin=NAME, size=7, root=bytes(range(32))).text()
NOTE = sign_note(TEXT, NAME, KEY)


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def vectors(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text(encoding="utf-8"))


def test_every_known_note_opens_or_is_refused_as_it_must(vectors: Any) -> None:
    for case in vectors["signed_notes"]["cases"]:
        keys = [parse_vkey(case["vkey"])]
        if not case["ok"]:
            with pytest.raises(Rejected):
                open_note(case["note"], keys)
            continue
        assert case["note"].startswith(open_note(case["note"], keys)), case["why"]
        if "size" in case:
            checkpoint = open_checkpoint(case["note"], keys)
            assert (checkpoint.size, checkpoint.root.hex()) == (case["size"], case["root"])


def test_every_known_pair_of_checkpoints_is_judged_as_it_must(vectors: Any) -> None:
    keys = [parse_vkey(vectors["signed_notes"]["vkey"])]
    for pair in vectors["checkpoint_pairs"]:
        old, new = open_checkpoint(pair["old"], keys), open_checkpoint(pair["new"], keys)
        proved = verify_consistency(
            first=old.size,
            second=new.size,
            first_root=old.root,
            second_root=new.root,
            path=[bytes.fromhex(part) for part in pair["proof"]],
        )
        assert proved == pair["ok"], pair["why"]


def test_our_notes_are_byte_for_byte_the_known_ones(vectors: Any) -> None:
    notes = vectors["signed_notes"]
    seed = hashlib.sha256(notes["test_seed_sha256_of"].encode()).digest()
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert vkey_of(notes["origin"], key).text() == notes["vkey"]
    for case in notes["cases"]:
        if "size" in case:
            root = bytes.fromhex(case["root"])
            text = Checkpoint(origin=notes["origin"], size=case["size"], root=root).text()
            assert sign_note(text, notes["origin"], key) == case["note"]


def test_a_key_reads_back_as_it_was_written_and_keeps_its_algorithm() -> None:
    key = parse_vkey(VKEY.text())
    assert key == VKEY
    assert key.algorithm == ED25519


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        VKEY.text().replace(NAME, "other"),
        VKEY.text().replace(NAME, ""),
        VKEY.text().replace(NAME, "log example"),
        VKEY.text()[:-4],
        VKEY.text() + "\n",
        VKEY.text().replace("+A", "+B", 1),
        VKEY.text() + "é",
        NAME + "\ud800+00000000+AA==",
    ],
)
def test_a_malformed_key_is_refused(text: str) -> None:
    with pytest.raises(BadPayload):
        parse_vkey(text)


def test_unknown_signatures_are_passed_over_and_known_ones_must_hold() -> None:
    cosigned = NOTE + sign_note(TEXT, "witness.example", OTHER).rpartition("\n\n")[2]
    assert open_note(cosigned, [VKEY]) == TEXT
    assert open_note(cosigned, [vkey_of("witness.example", OTHER)]) == TEXT
    forged = NOTE + sign_note("other\n", NAME, KEY).rpartition("\n\n")[2]
    with pytest.raises(BadSignature):
        open_note(forged, [VKEY])
    with pytest.raises(BadSignature):
        open_note(NOTE, [])
    with pytest.raises(BadSignature):
        open_note(NOTE, [vkey_of(NAME, OTHER)])


def test_a_text_with_blank_lines_ends_at_the_last_one() -> None:
    text = "one\n\ntwo\n\n"
    assert open_note(sign_note(text, NAME, KEY), [VKEY]) == text


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "\x00\n", "half \ud800\n"])
def test_a_text_that_cannot_be_a_note_is_not_signed(text: str) -> None:
    with pytest.raises(BadPayload):
        sign_note(text, NAME, KEY)


@pytest.mark.parametrize("name", ["", "two words", "plus+plus", "non\u00a0break", "bell\x07"])
def test_a_name_that_cannot_be_a_key_name_signs_nothing(name: str) -> None:
    with pytest.raises(BadPayload):
        sign_note(TEXT, name, KEY)


def test_a_checkpoint_must_be_signed_under_its_own_origin() -> None:
    foreign = sign_note(
        Checkpoint(origin="other.example", size=1, root=bytes(32)).text(), NAME, KEY
    )
    assert open_note(foreign, [VKEY])
    with pytest.raises(BadSignature):
        open_checkpoint(foreign, [VKEY])


ZERO = "A" * 43 + "="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "o\n",
        "o\n1\n",
        f"o\n01\n{ZERO}\n",
        f"o\n-1\n{ZERO}\n",
        f"o\n+1\n{ZERO}\n",
        f"o\n１\n{ZERO}\n",
        f"o\n{'9' * 5000}\n{ZERO}\n",
        f"\n1\n{ZERO}\n",
        f"o\n1\n{ZERO}",
        f"o\n1\n{ZERO}\n\n",
        f"o\n1\n{ZERO[:-1]}\n",
        f"o\n1\n{'A' * 42}B=\n",
        "o\n1\nAAAA\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadPayload):
        Checkpoint.parse(text)


def test_extension_lines_are_passed_over() -> None:
    assert Checkpoint.parse(f"{TEXT}more\n") == Checkpoint.parse(TEXT)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(NOTE) - 1), st.characters())
def test_a_note_with_one_character_changed_never_opens(place: int, character: str) -> None:
    changed = NOTE[:place] + character + NOTE[place + 1 :]
    if changed == NOTE:
        return
    with pytest.raises(Rejected):
        open_note(changed, [VKEY])


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_and_never_breaks_a_parser(text: str) -> None:
    for parse in (parse_vkey, Checkpoint.parse):
        with contextlib.suppress(BadPayload):
            parse(text)
    for note in (text, f"{text}\n\n— {text}\n", f"{TEXT}\n{text}"):
        with pytest.raises(Rejected):
            open_checkpoint(note, [VKEY])
