"""The Merkle tree of the log: hashes, the growing right edge, proofs and their checks, without I/O.

RFC 6962 section 2.1 and RFC 9162 section 2.1 with SHA-256. A *complete node* ``(level, index)``
covers the leaves ``index * 2**level`` up to ``(index + 1) * 2**level``; it never changes once it
exists, so a store can keep it, and every root and proof is computed from O(log n) of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from itertools import count, repeat

from shared.errors import BadPayload
from shared.proof import HASH_SIZE, are_hashes, are_sizes, node_hash

EMPTY_ROOT = sha256(b"").digest()

Node = tuple[int, int, bytes]
"""Level, index and hash of a complete node."""
GetNode = Callable[[int, int], bytes]
"""Gives the hash of the complete node at a level and an index."""


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The right edge of a tree of ``size`` leaves: its complete subtrees' roots, largest first.

    It is a value: a transaction that is rolled back simply keeps the old one.
    """

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        assert self.size >= 0, "a size is not negative"
        assert len(self.roots) == self.size.bit_count(), "one root per bit of the size"
        assert all(len(root) == HASH_SIZE for root in self.roots), "roots are 32 bytes"

    def append(self, leaves: Sequence[bytes]) -> tuple[Frontier, list[Node]]:
        """The frontier after these leaf hashes; each node now complete, leaves first."""
        assert all(len(leaf) == HASH_SIZE for leaf in leaves), "append takes leaf hashes"
        waiting, edge, nodes = list(self.roots), list[bytes](), list[Node]()
        row, first, level = list(leaves), self.size, 0
        while row:
            nodes.extend(zip(repeat(level), count(first), row, strict=False))
            if first & 1:
                row.insert(0, waiting.pop())
            if len(row) & 1:
                edge.append(row.pop())
            # Inlined: one call per node would cost a fifth of the append rate.
            pairs = zip(row[::2], row[1::2], strict=True)
            row = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
            first, level = first >> 1, level + 1
        roots = (*waiting, *reversed(edge))
        return Frontier(size=self.size + len(leaves), roots=roots), nodes

    def root(self) -> bytes:
        if not self.roots:
            return EMPTY_ROOT
        return reduce(lambda right, left: node_hash(left, right), reversed(self.roots))

    def to_bytes(self) -> bytes:
        """Eight bytes of size, big-endian, then the roots, largest subtree first."""
        return self.size.to_bytes(8, "big") + b"".join(self.roots)

    @classmethod
    def from_bytes(cls, data: bytes) -> Frontier:
        """The inverse of `to_bytes`. Raises `BadPayload` for anything else."""
        size, rest = int.from_bytes(data[:8], "big"), data[8:]
        if len(data) < 8 or len(rest) != size.bit_count() * HASH_SIZE:
            raise BadPayload("not a frontier: its length does not fit its size")
        starts = range(0, len(rest), HASH_SIZE)
        return cls(size=size, roots=tuple(rest[at : at + HASH_SIZE] for at in starts))


def frontier_of(get_node: GetNode, size: int) -> Frontier:
    """The frontier of the first ``size`` leaves, from the stored nodes."""
    return Frontier(size=size, roots=tuple(get_node(*peak) for peak in _peaks(size)))


def root_of(get_node: GetNode, size: int) -> bytes:
    """The root over the first ``size`` leaves."""
    return frontier_of(get_node, size).root()


def inclusion_path(get_node: GetNode, index: int, size: int) -> list[bytes]:
    """The audit path of leaf ``index`` in the tree of ``size`` leaves, lowest sibling first.

    Raises `BadPayload` where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise BadPayload(f"no leaf {index} in a tree of {size}")
    path, start, end = list[bytes](), 0, size
    while end - start > 1:
        split = start + _split(end - start)
        if index < split:
            path.append(_subtree(get_node, split, end))
            end = split
        else:
            path.append(_subtree(get_node, start, split))
            start = split
    return path[::-1]


def consistency_path(get_node: GetNode, first: int, second: int) -> list[bytes]:
    """The proof that the tree of ``second`` leaves extends the one of ``first``, lowest node first.

    Growth from the empty tree and equal sizes need no proof (C2SP tlog-witness): the path is empty.
    Raises `BadPayload` for a tree that shrinks.
    """
    if not 0 <= first <= second:
        raise BadPayload(f"a tree of {second} cannot extend one of {first}")
    if first == 0:
        return []
    path, start, end = list[bytes](), 0, second
    while end != first:
        split = start + _split(end - start)
        if first <= split:
            path.append(_subtree(get_node, split, end))
            end = split
        else:
            path.append(_subtree(get_node, start, split))
            start = split
    # A subtree at the far left is the old root itself, which the verifier holds already.
    if start:
        path.append(_subtree(get_node, start, end))
    return path[::-1]


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the path proves that the second tree extends the first (RFC 9162 2.1.4.2).

    It never raises: whatever is not whole numbers and 32-byte hashes proves nothing.
    """
    if not (are_sizes(first, second) and are_hashes(first_root, second_root, path)):
        return False
    if first == 0:
        empty = second_root == EMPTY_ROOT
        return not path and first_root == EMPTY_ROOT and empty == (second == 0)
    if first >= second:
        return first == second and not path and first_root == second_root
    if not path:
        return False
    return _extends(first, second, path, first_root) == (first_root, second_root)


def _extends(
    first: int, second: int, path: Sequence[bytes], first_root: bytes
) -> tuple[bytes, bytes] | None:
    """Both roots as the path gives them, or None where its length does not fit the sizes."""
    whole = first & (first - 1) == 0
    old = new = first_root if whole else path[0]
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    for sibling in path if whole else path[1:]:
        if last == 0:
            return None
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    return (old, new) if last == 0 else None


def _split(width: int) -> int:
    """The largest power of two below ``width`` (which is at least 2)."""
    return 1 << (width - 1).bit_length() - 1


def _peaks(size: int) -> Iterator[tuple[int, int]]:
    """Level and index of the complete subtrees of a tree, largest first."""
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            yield level, (size >> level) - 1


def _subtree(get_node: GetNode, start: int, end: int) -> bytes:
    """The root over the leaves ``start`` up to ``end``, a part the tree really splits into."""
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return get_node(level, start >> level)
    split = start + _split(width)
    return node_hash(_subtree(get_node, start, split), _subtree(get_node, split, end))
