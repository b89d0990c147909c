from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    frontier_of,
    inclusion_path,
    root_of,
    verify_consistency,
)
from shared.errors import BadPayload
from shared.proof import leaf_hash, node_hash, verify_inclusion
from tests.beside import FOLDER, is_expected

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "fixtures" / "merkle.json"
FULL = FOLDER / "data" / "merkle_vectors.json"
# A clone alone has only its own fixtures; where CI is set the full set must be there.
FILES = [OWN, FULL] if is_expected("data/merkle_vectors.json") else [OWN]


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.name)
def vectors(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text(encoding="utf-8"))


def unhex(values: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(value) for value in values]


def tree(leaves: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """A node store of leaf data, filled as a ledger fills it, in batches of three."""
    frontier, nodes = Frontier(), {}
    hashes = [leaf_hash(leaf) for leaf in leaves]
    for start in range(0, len(hashes), 3):
        frontier, new = frontier.append(hashes[start : start + 3])
        for level, index, value in new:
            assert (level, index) not in nodes
            nodes[level, index] = value
    return lambda level, index: nodes[level, index]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """The definition of RFC 6962 section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = naive_root(leaves[:split]), naive_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def includes(case: Any) -> bool:
    return verify_inclusion(
        leaf_hash=bytes.fromhex(case["leaf_hash"]),
        index=case["leaf_index"],
        size=case["tree_size"],
        path=unhex(case["path"]),
        root=bytes.fromhex(case["root"]),
    )


def is_consistent(case: Any) -> bool:
    return verify_consistency(
        first=case["first"],
        second=case["second"],
        first_root=bytes.fromhex(case["first_root"]),
        second_root=bytes.fromhex(case["second_root"]),
        path=unhex(case["path"]),
    )


def test_the_full_vector_set_has_every_case_it_promises() -> None:
    if FULL not in FILES:
        return
    vectors = json.loads(FULL.read_text(encoding="utf-8"))
    assert len(vectors["inclusion"]) + len(vectors["consistency"]) == 72
    assert len(vectors["must_fail_inclusion"]) + len(vectors["must_fail_consistency"]) == 171
    assert len(vectors["signed_notes"]["cases"]) == 11
    assert len(vectors["checkpoint_pairs"]) == 6


def test_leaves_nodes_and_roots_are_the_known_ones(vectors: Any) -> None:
    leaves = unhex(vectors["leaf_inputs"])
    assert bytes.fromhex(vectors["empty_root"]) == EMPTY_ROOT == Frontier().root()
    assert [leaf_hash(leaf).hex() for leaf in leaves] == vectors["leaf_hashes"]
    get_node = tree(leaves)
    for level, row in enumerate(vectors["node_hashes_by_level"]):
        assert [get_node(level, index).hex() for index in range(len(row))] == row
    for size, root in enumerate(vectors["roots_by_size"]):
        assert root_of(get_node, size).hex() == root
        assert Frontier().append(unhex(vectors["leaf_hashes"][:size]))[0].root().hex() == root


def test_every_valid_proof_is_made_and_accepted(vectors: Any) -> None:
    get_node = tree(unhex(vectors["leaf_inputs"]))
    for case in vectors["inclusion"]:
        assert includes(case), case
        made = inclusion_path(get_node, case["leaf_index"], case["tree_size"])
        assert made == unhex(case["path"]), case
    for case in vectors["consistency"]:
        assert is_consistent(case), case
        made = consistency_path(get_node, case["first"], case["second"])
        assert made == unhex(case["path"]), case


def test_every_proof_that_must_fail_is_refused(vectors: Any) -> None:
    for case in vectors["must_fail_inclusion"]:
        assert not includes(case), case["why"]
    for case in vectors["must_fail_consistency"]:
        assert not is_consistent(case), case["why"]


def test_the_worked_example_of_rfc_6962_comes_out_by_position(vectors: Any) -> None:
    get_node = tree([bytes([value]) for value in range(7)])
    names = {get_node(0, index): name for index, name in enumerate("abcdefj")}
    names |= {get_node(1, index): name for index, name in enumerate("ghi")}
    names |= {get_node(2, 0): "k", node_hash(get_node(1, 2), get_node(0, 6)): "l"}
    example = vectors["rfc_worked_example"]
    for leaf, path in example["audit_paths"].items():
        assert [names[part] for part in inclusion_path(get_node, int(leaf[1:]), 7)] == path
    for sizes, path in example["consistency"].items():
        first, second = map(int, sizes.split("->"))
        assert [names[part] for part in consistency_path(get_node, first, second)] == path


def test_every_subtree_and_its_proofs_up_to_130_leaves_match_the_published_digests(
    vectors: Any,
) -> None:
    get_node = tree([bytes([value]) for value in range(130)])
    roots, proofs = hashlib.sha256(), hashlib.sha256()
    for end in range(131):
        for start in range(end + 1):
            width = end - start
            if start not in (0, end) and start % (1 << (width - 1).bit_length()):
                continue

            def shifted(level: int, index: int, start: int = start) -> bytes:
                return get_node(level, index + (start >> level))

            name = f"[{start}, {end})"
            roots.update(f"{name} {root_of(shifted, width).hex()}\n".encode())
            for index in range(width):
                path = [part.hex() for part in inclusion_path(shifted, index, width)]
                proofs.update(" ".join([f"{start + index} {name}", *path]).encode() + b"\n")
    rolling = vectors["rolling_130"]
    assert roots.hexdigest() == rolling["subtree_hash_sha256"]
    assert proofs.hexdigest() == rolling["subtree_inclusion_sha256"]
    for size, root in vectors["roots_130"].items():
        assert root_of(get_node, int(size)).hex() == root


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.binary(max_size=8), max_size=40), max_size=6))
def test_batches_of_any_size_grow_the_tree_of_the_definition(batches: list[list[bytes]]) -> None:
    frontier, nodes, leaves = Frontier(), {}, list[bytes]()
    for batch in batches:
        frontier, new = frontier.append([leaf_hash(leaf) for leaf in batch])
        nodes.update({(level, index): value for level, index, value in new})
        leaves += batch
        assert frontier.root() == naive_root(leaves)
        assert Frontier.from_bytes(frontier.to_bytes()) == frontier
        assert frontier_of(lambda level, index: nodes[level, index], len(leaves)) == frontier
    complete = sum(len(leaves) >> level for level in range(len(leaves).bit_length()))
    assert len(nodes) == complete


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_proofs_hold_for_their_own_place_only(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    first = data.draw(st.integers(1, size))
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    leaves = [str(number).encode() for number in range(size)]
    get_node = tree(leaves)
    root, old = root_of(get_node, size), root_of(get_node, first)
    path, growth = inclusion_path(get_node, index, size), consistency_path(get_node, first, size)
    for place in (index, other):
        proved = verify_inclusion(
            leaf_hash=leaf_hash(leaves[index]), index=place, size=size, path=path, root=root
        )
        assert proved == (place == index)
    for before in (first, other):
        proved = verify_consistency(
            first=before, second=size, first_root=old, second_root=root, path=growth
        )
        assert proved == (before == first)


def test_a_proof_reads_only_a_few_nodes_of_a_large_tree() -> None:
    reads = list[tuple[int, int]]()

    def get_node(level: int, index: int) -> bytes:
        assert (index + 1) << level <= 1_000_003
        reads.append((level, index))
        return bytes(32)

    inclusion_path(get_node, 777_777, 1_000_003)
    consistency_path(get_node, 123_456, 1_000_003)
    assert len(reads) < 4 * 20


@pytest.mark.parametrize(
    "junk", [None, "ab", 3, b"short", [b""], bytearray(32), 1.5, True, object()]
)
def test_a_check_never_raises_and_junk_proves_nothing(junk: Any) -> None:
    good = leaf_hash(b"")
    one = {"leaf_hash": good, "index": 0, "size": 1, "path": [], "root": good}
    same = {"first": 1, "second": 1, "first_root": good, "second_root": good, "path": []}
    assert verify_inclusion(**one)
    assert verify_consistency(**same)
    for name in one:
        assert not verify_inclusion(**{**one, name: junk})
    for name in same:
        assert not verify_consistency(**{**same, name: junk})


def test_two_equal_roots_that_are_not_32_bytes_prove_nothing() -> None:
    root = b"equal but 12"
    same = {"first": 5, "second": 5, "path": [], "first_root": root, "second_root": root}
    assert not verify_consistency(**same)


def test_growth_from_the_empty_tree_needs_no_proof_but_the_empty_root() -> None:
    root = leaf_hash(b"x")
    assert verify_consistency(first=0, second=1, first_root=EMPTY_ROOT, second_root=root, path=[])
    assert not verify_consistency(first=0, second=1, first_root=root, second_root=root, path=[])
    growth = {"first": 0, "first_root": EMPTY_ROOT}
    assert not verify_consistency(**growth, second=1, second_root=root, path=[root])
    assert not verify_consistency(**growth, second=0, second_root=root, path=[])
    assert not verify_consistency(**growth, second=1, second_root=EMPTY_ROOT, path=[])


def test_a_place_outside_the_tree_is_refused() -> None:
    get_node = tree([b"one"])
    for index, size in ((1, 1), (-1, 1), (0, 0)):
        with pytest.raises(BadPayload):
            inclusion_path(get_node, index, size)
    with pytest.raises(BadPayload):
        consistency_path(get_node, 2, 1)


@given(st.binary(max_size=80))
def test_bytes_that_are_no_frontier_are_refused(data: bytes) -> None:
    with contextlib.suppress(BadPayload):
        assert Frontier.from_bytes(data).to_bytes() == data


def test_appending_hashes_fast_enough_for_the_ledger() -> None:
    leaves = [leaf_hash(str(number).encode()) for number in range(256)]
    frontier, began = Frontier(), time.perf_counter()
    for _ in range(40):
        frontier, _nodes = frontier.append(leaves)
    # A tenth of what a quiet machine does, so that a busy one does not fail it.
    assert frontier.size / (time.perf_counter() - began) > 50_000
