from __future__ import annotations

import ast
import copy
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit import verify
from services.audit.merkle import Frontier, consistency_path, inclusion_path
from services.audit.notes import sign_note, vkey_of
from shared.canonical import canonical
from shared.domain.ledger import LedgerEntry, LedgerEntrySchema, commitment
from shared.domain.receipt import Receipt, ReceiptSchema
from shared.domain.schema import dump
from shared.proof import Checkpoint, leaf_hash
from tests.beside import FOLDER, is_expected

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "fixtures" / "merkle.json"
FULL = FOLDER / "data" / "merkle_vectors.json"
FILES = [OWN, FULL] if is_expected("data/merkle_vectors.json") else [OWN]
SOURCE = Path(verify.__file__)

NAME = "log.example/test"
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"verify test").digest())
OTHER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"another").digest())
VKEY = vkey_of(NAME, KEY).text()

# Each kind of tampering at this many places; on a slow machine at fewer, but at 20 at least.
TRIES = int(os.environ.get("TAMPERINGS", "100"))
SECONDS = 8 if TRIES == 100 else 3600


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def vectors(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text(encoding="utf-8"))


Row = dict[str, Any]


@dataclass
class Export:
    """What a ledger exports: one row an entry, and the notes of its checkpoints."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def write(self, folder: Path, *, vkey: str = VKEY) -> Path:
        folder.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        (folder / "entries.jsonl").write_text(lines, encoding="utf-8")
        notes = "".join(json.dumps({"note": note, "at": "…"}) + "\n" for note in self.notes)
        (folder / "checkpoints.jsonl").write_text(notes, encoding="utf-8")
        (folder / "log.vkey").write_text(vkey + "\n", encoding="utf-8")
        return folder


def entry_of(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("opened", "leaf")}


def leaf_of(row: Row) -> bytes:
    # Plain sorting is JCS here: the names of an entry are ASCII.
    text = json.dumps(entry_of(row), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return leaf_hash(text.encode())


def make_row(seq: int, topic: str, subject: str, body: Row, chain: str = "chain") -> Row:
    salt = hashlib.sha256(f"salt {seq} {subject}".encode()).digest()
    entry = LedgerEntry(
        seq=seq,
        at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seq),
        topic=topic,
        actor="writer",
        subject=subject,
        chain=chain,
        message_id=f"m-{seq}",
        cause=f"m-{seq - 1}" if seq else None,
        commitment=commitment(salt, body),
    )
    leaf = leaf_hash(entry.leaf()).hex()
    row: Row = dump(LedgerEntrySchema, entry)
    assert leaf_of(row).hex() == leaf
    return {**row, "leaf": leaf, "opened": {"salt": salt.hex(), "body": body}}


def note_of(rows: list[Row], size: int, key: Ed25519PrivateKey = KEY) -> str:
    frontier, _ = Frontier().append([leaf_of(row) for row in rows[:size]])
    text = Checkpoint(origin=NAME, size=size, root=frontier.root()).text()
    return sign_note(text, NAME, key)


def seal(rows: list[Row], sizes: list[int], key: Ed25519PrivateKey = KEY) -> list[str]:
    """Checkpoints of these sizes, all in one pass."""
    frontier, notes = Frontier(), list[str]()
    for size in sizes:
        frontier, _ = frontier.append([leaf_of(row) for row in rows[frontier.size : size]])
        text = Checkpoint(origin=NAME, size=size, root=frontier.root()).text()
        notes.append(sign_note(text, NAME, key))
    return notes


def story(count: int) -> list[Row]:
    """Events, and every 20 entries a change: intended, and four entries later applied."""
    rows = list[Row]()
    for seq in range(count):
        topic, subject = "event.received", f"event/{seq}"
        if seq % 20 in (10, 14):
            topic = "change.intended" if seq % 20 == 10 else "change.applied"
            subject = f"change/{seq // 20}"
        body: Row = {"name": "Zoë"}
        if seq % 50 == 0:
            body |= {"\U0001f600": [True, None], "\ufb01": {"b": "\n", "a": -1}, "é": 2**53 - 1}
        rows.append(make_row(seq, topic, subject, body))
    return rows


# Between an intent (10 modulo 20) and its result (14) lies a checkpoint (12).
SIZES = [size for size in range(1001) if size % 20 == 12] + [1000]


@pytest.fixture(scope="module")
def whole() -> Export:
    rows = story(1000)
    return Export(rows, seal(rows, SIZES))


@pytest.fixture
def log(whole: Export) -> Export:
    return copy.deepcopy(whole)


@pytest.fixture
def judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(log: Export, *options: str, vkey: str = VKEY) -> tuple[int, str]:
        code = verify.main([str(log.write(tmp_path / "export", vkey=vkey)), *options])
        return code, capsys.readouterr().out

    return run


Judge = Callable[..., tuple[int, str]]


# The vectors, against the verifier's own tree, notes and proofs.


def proved(check: Callable[..., Any], *claim: Any) -> bool:
    try:
        return bool(check(*claim))
    except verify.MALFORMED:
        return False


def test_the_verifier_finds_the_known_roots_by_itself(vectors: Any) -> None:
    def root(leaves: list[bytes]) -> str:
        peaks = list[tuple[int, bytes]]()
        for leaf in leaves:
            verify.grow(peaks, hashlib.sha256(b"\x00" + leaf).digest())
        return verify.root_of(peaks).hex()

    leaves = [bytes.fromhex(leaf) for leaf in vectors["leaf_inputs"]]
    assert [root(leaves[:size]) for size in range(len(leaves) + 1)] == vectors["roots_by_size"]
    for size, known in vectors["roots_130"].items():
        assert root([bytes([value]) for value in range(int(size))]) == known


def test_the_verifier_judges_every_known_proof_by_itself(vectors: Any) -> None:
    unhex = bytes.fromhex
    for case in vectors["inclusion"] + vectors["must_fail_inclusion"]:
        path = [unhex(part) for part in case["path"]]
        seal = case["tree_size"], unhex(case["root"])
        leaf, index = unhex(case["leaf_hash"]), case["leaf_index"]
        assert case["ok"] == proved(verify.included, leaf, index, seal, path), case
    for case in vectors["consistency"] + vectors["must_fail_consistency"]:
        path = [unhex(part) for part in case["path"]]
        old, new = ((case[n], unhex(case[f"{n}_root"])) for n in ("first", "second"))
        assert case["ok"] == proved(verify.extends, old, new, path), case


def test_the_verifier_judges_every_known_note_by_itself(vectors: Any) -> None:
    for case in vectors["signed_notes"]["cases"]:
        keys = verify.read_keys([case["vkey"]])
        opened = proved(verify.open_note, case["note"], keys)
        assert opened == case["ok"], case["why"]
        if "size" in case:
            known = case["size"], bytes.fromhex(case["root"])
            assert verify.read_checkpoint(case["note"], keys)[0] == known
    keys = verify.read_keys([vectors["signed_notes"]["vkey"]])
    for pair in vectors["checkpoint_pairs"]:
        old, new = (verify.read_checkpoint(pair[age], keys)[0] for age in ("old", "new"))
        path = [bytes.fromhex(part) for part in pair["proof"]]
        assert pair["ok"] == proved(verify.extends, old, new, path), pair["why"]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_both_implementations_agree_on_true_and_bent_proofs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 100))
    first, index = data.draw(st.integers(0, size)), data.draw(st.integers(0, size - 1))
    leaves = [leaf_hash(bytes([number])) for number in range(size)]
    tree, nodes = Frontier().append(leaves)
    stored = {(level, at): value for level, at, value in nodes}

    def get_node(level: int, at: int) -> bytes:
        return stored[level, at]

    old = Frontier().append(leaves[:first])[0].root()
    path = inclusion_path(get_node, index, size)
    growth = consistency_path(get_node, first, size)
    root = tree.root()
    assert verify.included(leaves[index], index, (size, root), path)
    assert verify.extends((first, old), (size, root), growth)
    for bent in (path[1:], path[:-1], [*path, root], path[::-1]):
        if bent != path:
            assert not proved(verify.included, leaves[index], index, (size, root), bent)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON)
def test_its_canonical_form_is_the_one_that_digests_are_made_of(value: Any) -> None:
    assert verify.write(verify.read(json.dumps(value))).encode() == canonical(value)


@pytest.mark.parametrize(
    "text",
    [
        "1.0",
        "1e3",
        "NaN",
        "Infinity",
        str(2**53),
        "9" * 5000,
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":2}',
        "[" * 100000,
        "",
        "{",
        '"\t"',
        "tru",
        "1 2",
    ],
)
def test_what_lies_outside_the_profile_is_not_read(text: str) -> None:
    with pytest.raises(verify.MALFORMED):
        verify.read(text)


# What the tool is.


def test_it_is_one_short_file_that_imports_nothing_of_ours() -> None:
    text = SOURCE.read_text(encoding="utf-8")
    assert sum(1 for line in text.splitlines() if line.strip()) < 300
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [str(node.module)]
        for name in names:
            package = name.split(".")[0]
            assert package in sys.stdlib_module_names or package == "cryptography"


def test_it_runs_as_a_lone_file_far_from_the_product(log: Export, tmp_path: Path) -> None:
    lone = shutil.copy(SOURCE, tmp_path / "lone.py")
    folder = log.write(tmp_path / "export")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(lone), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    told = run("--help")
    assert told.returncode == 0
    assert "--witness" in told.stdout
    assert "entries.jsonl" in told.stdout
    good = run(folder, "--vkey", VKEY)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("OK. Entries: 1000;")
    log.rows[500]["opened"]["body"]["name"] = "Zoe"
    bad = run(log.write(folder))
    assert bad.returncode == 1
    assert bad.stdout.startswith("TAMPERED. First bad entry: seq 500:")
    assert "\nseq 500: its body" in bad.stdout
    assert run(tmp_path / "nowhere").returncode == 2


# What is in order.


def test_a_whole_log_is_found_whole_with_a_witness_and_without(
    log: Export, judge: Judge, tmp_path: Path
) -> None:
    code, said = judge(log)
    assert code == 0
    assert "a roll-back of the whole log would not show" in said
    witness = tmp_path / "witness"
    for kept in (log.notes[40], json.dumps({"note": log.notes[3]})):
        witness.write_text(kept, encoding="utf-8")
        assert judge(log, "--witness", str(witness))[0] == 0
    pair = [str(tmp_path / "export" / name) for name in ("entries.jsonl", "checkpoints.jsonl")]
    assert verify.main(pair) == 0


def test_erased_and_closed_bodies_are_no_fault_and_are_counted(log: Export, judge: Judge) -> None:
    for row in log.rows[:10]:
        row["opened"] = None
    for row in log.rows[10:30]:
        del row["opened"], row["leaf"]
    code, said = judge(log)
    assert code == 0
    assert "bodies: 10 erased, 20 not exported, 970 open" in said


def test_entries_after_the_last_checkpoint_are_counted_as_not_yet_sealed(
    log: Export, judge: Judge
) -> None:
    del log.notes[-1]
    code, said = judge(log)
    assert code == 0
    assert "sealed: 992; not yet sealed: 8" in said


def test_an_empty_log_is_whole(judge: Judge) -> None:
    assert judge(Export([], [note_of([], 0)]))[0] == 0


def test_an_old_key_still_seals_what_it_sealed(log: Export, judge: Judge) -> None:
    at, later = SIZES[24], vkey_of(NAME, OTHER).text()
    note = sign_note(f"{NAME}\nkey change\n{VKEY}\n{later}\n", NAME, KEY, OTHER)
    both = f"{later}\n{VKEY}"
    unsaid = copy.deepcopy(log)
    unsaid.notes[25:] = seal(log.rows, SIZES, OTHER)[25:]
    for vkey in (VKEY, both):
        assert judge(unsaid, vkey=vkey)[0] == 1
    log.rows[at] = make_row(at, "key.changed", "key/1", {"note": note})
    log.notes = [*seal(log.rows, SIZES)[:25], *seal(log.rows, SIZES, OTHER)[25:]]
    assert judge(log, vkey=both)[0] == 0
    for vkey in (VKEY, later):
        assert judge(log, "--vkey", vkey, vkey=both)[0] == 0
    log.notes = seal(log.rows, SIZES)
    code, said = judge(log, vkey=both)
    assert code == 1
    assert f"First bad entry: seq {at} to {SIZES[25] - 1}:" in said


# What cannot be judged.


def test_missing_or_unreadable_inputs_end_with_2(
    log: Export, judge: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(log, "--vkey", "nonsense")[0] == 2
    assert judge(log, vkey="log+00000000+AAAA")[0] == 2
    assert judge(log, "--witness", str(tmp_path / "none"))[0] == 2
    for junk in ("", "junk", "{}", '{"note": 3}', "\n"):
        (tmp_path / "junk").write_text(junk, encoding="utf-8")
        assert judge(log, "--witness", str(tmp_path / "junk"))[0] == 2, junk
    assert judge(Export(log.rows, []))[0] == 2
    for name in ("entries.jsonl", "checkpoints.jsonl", "log.vkey"):
        folder = log.write(tmp_path / "part")
        (folder / name).unlink()
        assert verify.main([str(folder)]) == 2
        assert "Nothing can be judged" in capsys.readouterr().out


# What is found without a witness.


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        "7",
        '{"seq": 5}',
        "[" * 100_000,
        '{"seq": 5, "seq": 5}',
        "\udcff",
        '"\\ud800"',
    ],
)
def test_a_line_that_is_no_entry_is_the_first_bad_one(
    log: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    folder = log.write(tmp_path / "export")
    lines = (folder / "entries.jsonl").read_bytes().split(b"\n")
    lines[5] = line.encode("utf-8", "surrogateescape")
    (folder / "entries.jsonl").write_bytes(b"\n".join(lines))
    assert verify.main([str(folder)]) == 1
    assert "\nseq 5: it cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "opened",
    [
        {"salt": "00" * 32, "body": {}},
        {"salt": "00", "body": {}},
        {"body": {}},
        {"salt": "zz"},
        "open",
    ],
)
def test_a_body_that_does_not_open_its_commitment_is_named(
    log: Export, judge: Judge, opened: Any
) -> None:
    log.rows[123]["opened"] = opened
    code, said = judge(log)
    assert code == 1
    assert "First bad entry: seq 123: " in said


def test_a_salt_of_another_length_opens_nothing(judge: Judge) -> None:
    row = make_row(0, "event.received", "event/0", {})
    salt = bytes(31)
    row["commitment"] = commitment(salt, {})
    row["opened"]["salt"], row["leaf"] = salt.hex(), leaf_of(row).hex()
    code, said = judge(Export([row], [note_of([row], 1)]))
    assert code == 1
    assert "\nseq 0: its body or salt" in said


def test_a_seq_that_only_looks_like_a_number_is_no_seq(judge: Judge) -> None:
    rows = story(2)
    for seq in (True, "1", None):
        rows[1]["seq"] = seq
        rows[1]["leaf"] = leaf_of(rows[1]).hex()
        assert judge(Export(rows, [note_of(rows, 2)]))[0] == 1


def test_a_checkpoint_that_goes_back_or_splits_is_found(log: Export, judge: Judge) -> None:
    swapped = Export(log.rows, [*log.notes[:9], log.notes[10], log.notes[9], *log.notes[11:]])
    code, said = judge(swapped)
    assert code == 1
    assert f"seq {SIZES[9]} to {SIZES[10] - 1}: a log checkpoint is bad: it goes back" in said
    for number in range(6):
        rows = [*log.rows[:3], {**log.rows[3], "actor": f"nobody {number}"}, *log.rows[4:]]
        split = Export(log.rows, [*log.notes[:5], note_of(rows, SIZES[4]), *log.notes[5:]])
        code, said = judge(split)
        assert code == 1
        assert f"First bad entry: seq {SIZES[3]} to {SIZES[4] - 1}:" in said
    nothing = Checkpoint(origin=NAME, size=0, root=bytes(32)).text()
    code, said = judge(Export(log.rows, [sign_note(nothing, NAME, KEY), *log.notes]))
    assert code == 1
    assert "First bad entry: seq 0:" in said


def test_a_checkpoint_of_another_log_seals_nothing(log: Export, judge: Judge) -> None:
    foreign = log.notes[-1].split("\n", 1)[1].split("\n\n")[0]
    log.notes[-1] = sign_note(f"other.example\n{foreign}\n", NAME, KEY)
    code, said = judge(log)
    assert code == 1
    assert "a log checkpoint is bad: no trusted key of this log signed it" in said


def test_a_missing_and_a_doubled_entry_are_named_by_their_place(log: Export, judge: Judge) -> None:
    removed = log.rows.pop(684)
    code, said = judge(log)
    assert code == 1
    assert "First bad entry: seq 684:" in said
    log.rows[684:684] = [removed, removed]
    code, said = judge(log)
    assert code == 1
    assert "First bad entry: seq 684 to 685:" in said


def test_checkpoints_taken_back_under_whole_entries_are_missed_by_the_witness(
    judge: Judge, tmp_path: Path
) -> None:
    rows = [make_row(seq, "event.received", f"event/{seq}", {}) for seq in range(30)]
    (tmp_path / "witness").write_text(note_of(rows, 30), encoding="utf-8")
    log = Export(rows, seal(rows, [10, 20]))
    assert judge(log)[0] == 0
    code, said = judge(log, "--witness", str(tmp_path / "witness"))
    assert code == 1
    assert "\nseq 20 to 29: missing: the witness sealed 30 entries" in said


def test_a_write_needs_an_intent_sealed_before_it(judge: Judge) -> None:
    def log_of(*topics: str, sizes: list[int], chains: str = "aaaa") -> Export:
        rows = [
            make_row(seq, topic, "change/1", {}, chains[seq]) for seq, topic in enumerate(topics)
        ]
        return Export(rows, seal(rows, sizes))

    said = "\nseq 2: a change was written without a sealed intent"
    other, intended, applied = "event.received", "change.intended", "change.applied"
    assert judge(log_of(other, intended, applied, sizes=[2, 3]))[0] == 0
    assert said in judge(log_of(other, intended, applied, sizes=[3]))[1]
    assert said in judge(log_of(other, intended, applied, sizes=[1, 3]))[1]
    assert said in judge(log_of(other, other, applied, sizes=[2, 3]))[1]
    assert said in judge(log_of(other, intended, applied, sizes=[2, 3], chains="aba"))[1]
    late = log_of(other, other, applied, intended, sizes=[1, 2, 3, 4])
    assert said in judge(late)[1]


# Single proofs.


def test_a_receipt_and_a_growth_proof_are_checked_without_the_log(
    log: Export, tmp_path: Path
) -> None:
    tree, nodes = Frontier().append([leaf_of(row) for row in log.rows])
    stored = {(level, at): value for level, at, value in nodes}

    def get_node(level: int, at: int) -> bytes:
        return stored[level, at]

    entry = LedgerEntry(
        **{
            **entry_of(log.rows[30]),
            "at": datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC),
        }
    )
    receipt = Receipt(
        change_id="1",
        entry=entry,
        salt="00",
        proof=tuple(part.hex() for part in inclusion_path(get_node, 30, 1000)),
        checkpoint=log.notes[-1],
    )
    path = [part.hex() for part in consistency_path(get_node, SIZES[7], 1000)]
    claims: list[Row] = [
        dump(ReceiptSchema, receipt),
        {"old": log.notes[7], "new": log.notes[-1], "proof": path},
    ]

    def check(claim: Row) -> int:
        file = tmp_path / "proof.json"
        file.write_text(json.dumps(claim), encoding="utf-8")
        return verify.main([str(file), "--vkey", VKEY])

    assert tree.size == 1000
    for claim in claims:
        assert check(claim) == 0
        assert check({**claim, "proof": claim["proof"][1:]}) != 0
    claims[0]["entry"]["actor"] = "nobody"
    assert check(claims[0]) == 1
    assert check({**claims[1], "old": log.notes[8]}) != 0
    assert check({**claims[1], "proof": path[::-1]}) == 1
    assert check({**claims[1], "new": note_of(log.rows, 1000, OTHER)}) == 2


# Tampering with all rights over the stores, some of it with the signing key, none with the witness.


def renumber(log: Export, at: int) -> None:
    """What a careful forger does: sequence and leaf hashes fit again."""
    for seq, row in enumerate(log.rows[at:], at):
        row["seq"] = seq
        row["leaf"] = leaf_of(row).hex()


def reseal(log: Export, at: int, key: Ed25519PrivateKey) -> None:
    """Sign again what no longer fits."""
    sizes = [size for size in SIZES if size <= len(log.rows)]
    keep = sum(size <= at for size in sizes)
    log.notes = [*log.notes[:keep], *seal(log.rows, sizes, key)[keep:]]


def new_row(log: Export, at: int) -> Row:
    return make_row(at, "event.received", f"event/{at}", {"name": f"forged {len(log.rows)}"})


def edit(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    row = log.rows[at]
    if rng.random() < 0.5:
        row[rng.choice(["actor", "at", "topic", "chain", "message_id"])] += "x"
    else:
        row["opened"]["body"]["name"] = "someone else"
        if careful:
            salt = bytes.fromhex(row["opened"]["salt"])
            row["commitment"] = commitment(salt, row["opened"]["body"])
    if careful:
        row["leaf"] = leaf_of(row).hex()
    return at


def delete(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    del log.rows[at]
    if careful:
        renumber(log, at)
    return at


def insert(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    log.rows.insert(at, new_row(log, at))
    if careful:
        renumber(log, at)
    return at


def swap(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    other = rng.choice([place for place in range(len(log.rows)) if place != at])
    log.rows[at], log.rows[other] = log.rows[other], log.rows[at]
    if careful:
        renumber(log, min(at, other))
    return min(at, other)


def truncate(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    del log.rows[at:]
    if careful:
        del log.notes[sum(size <= at for size in SIZES) :]
    return at


def re_sign(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    edit(log, at, True, rng)
    reseal(log, at, OTHER)
    return at


def roll_back(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    del log.rows[at:]
    if careful:
        reseal(log, 1000, KEY)
        log.notes.append(note_of(log.rows, len(log.rows)))
    else:
        del log.notes[sum(size <= at for size in SIZES) :]
    return at


def fork(log: Export, at: int, careful: bool, rng: random.Random) -> int:
    """The real key seals another history from here on, as long as the true one or longer."""
    tail = log.rows[at + 1 :]
    log.rows[at:] = [new_row(log, at), *tail]
    if careful:
        log.rows.append(new_row(log, len(log.rows)))
    reseal(log, at, KEY)
    if careful:
        log.notes.append(note_of(log.rows, len(log.rows)))
    return at


def named(said: str) -> tuple[int, int]:
    match = re.match(r"TAMPERED\. First bad entry: seq (\d+)(?: to (\d+))?: ", said)
    assert match, said
    return int(match[1]), int(match[2] or match[1])


@pytest.mark.parametrize(
    "tamper",
    [edit, delete, insert, swap, truncate, re_sign, roll_back, fork],
    ids=lambda f: f.__name__,
)
def test_every_tampering_is_found_with_the_witness_and_the_first_bad_entry_is_named(
    whole: Export, judge: Judge, tmp_path: Path, tamper: Callable[..., int]
) -> None:
    began, rng = time.monotonic(), random.Random(tamper.__name__)
    last, every = tmp_path / "last", tmp_path / "every"
    last.write_text(whole.notes[-1], encoding="utf-8")
    lines = [json.dumps({"note": note}) + "\n" for note in whole.notes]
    every.write_text("".join(lines), encoding="utf-8")
    for tried in range(TRIES):
        log = Export([copy.copy(row) for row in whole.rows], list(whole.notes))
        at, careful = rng.randrange(1000), rng.random() < 0.5
        log.rows[at] = copy.deepcopy(log.rows[at])
        bad = tamper(log, at, careful, rng)
        many = rng.random() < 0.5
        code, said = judge(log, "--vkey", VKEY, "--witness", str(every if many else last))
        where = (tamper.__name__, at, careful, many, said)
        assert code == 1, where
        first, end = named(said)
        assert first <= bad <= end, where
        if not careful and tamper in (edit, delete, swap) and bad < 999:
            assert first == end == bad, where
        # Where not even the signing key was out of reach, only the witness's own steps remain.
        if tamper not in (re_sign, fork, roll_back, truncate) or many:
            assert end - first < 20 or tamper in (truncate, roll_back), where
        if tried >= 20 and time.monotonic() - began > SECONDS:
            break


def test_a_log_signed_anew_with_the_key_beside_it_is_found_by_the_witness(
    log: Export, judge: Judge, tmp_path: Path
) -> None:
    (tmp_path / "witness").write_text(log.notes[-1], encoding="utf-8")
    log.rows[7]["actor"] = "nobody"
    renumber(log, 7)
    log.notes = seal(log.rows, SIZES, OTHER)
    replaced = vkey_of(NAME, OTHER).text()
    assert judge(log, vkey=replaced)[0] == 0
    code, said = judge(log, "--witness", str(tmp_path / "witness"), vkey=replaced)
    assert code == 1
    assert "a witness checkpoint is bad: no trusted key of this log signed it" in said
