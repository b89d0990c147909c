"""The words of ``vocabulary.toml``, and texts folded so that finding a word is one search."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("vocabulary.toml")
_NO_MARKS = str.maketrans(dict.fromkeys("\t\r\n.,;:!?\"'’`´“”„‘()[]{}<>|/\\-–—_*+=#&~…", " "))

PREFIX = 4

# Every phrase of one entry has to be there.
Entry = tuple[str, ...]


# A row is found or not: ("intent", name, number of the row), ("spam", entry, 0) and so on.
Row = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """``points`` of each row of each intent, in the order of the file, and an index of entries.

    An entry is filed under the first four letters of its first word, so that a text is only
    searched for what it can hold at all.
    """

    points: Mapping[str, tuple[int, ...]]
    index: Mapping[str, tuple[tuple[Row, Entry], ...]]
    languages: Mapping[str, frozenset[str]]

    def found_in(self, words: str) -> set[Row]:
        """The rows of which an entry stands in folded text."""
        found: set[Row] = set()
        for start in {word[:PREFIX] for word in words.split()} & self.index.keys():
            for row, entry in self.index[start]:
                if row not in found and all(piece in words for piece in entry):
                    found.add(row)
        return found


def words_of(text: str) -> str:
    """Lower case, one space between words and none of the marks, with a space at both ends."""
    return f" {' '.join(text.lower().translate(_NO_MARKS).split())} "


def entry_of(text: str) -> Entry:
    """``cancel + order$`` as the pieces to look for in folded text."""
    return tuple(
        f" {piece.rstrip('$')} " if piece.endswith("$") else f" {piece}"
        for piece in text.split(" + ")
    )


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The file, read once."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    points, index = {}, defaultdict(list)
    for row, texts in _rows(tables):
        for text in texts:
            entry = entry_of(text)
            index[entry[0].split()[0][:PREFIX]].append((row, entry))
    for name, rows in tables["intents"].items():
        points[name] = tuple(int(label.split()[0]) for label in rows)
    return Vocabulary(
        points=points,
        index={start: tuple(entries) for start, entries in index.items()},
        languages={name: frozenset(words) for name, words in tables["languages"].items()},
    )


def _rows(tables: Mapping[str, Any]) -> Iterator[tuple[Row, list[str]]]:
    for name, rows in tables["intents"].items():
        for number, texts in enumerate(rows.values()):
            yield ("intent", name, number), texts
    for kind in ("spam", "newsletter", "absence"):
        for text in tables[kind]["words"]:
            yield (kind, text, 0), [text]
