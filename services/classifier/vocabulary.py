"""The words of ``vocabulary.toml``, and texts folded so that finding a word is one search."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FILE = Path(__file__).with_name("vocabulary.toml")
_NO_MARKS = str.maketrans(dict.fromkeys("\t\r\n.,;:!?\"'’`´“”„‘()[]{}<>|/\\-–—_*+=#&~…", " "))

# Every phrase of one entry has to be there.
Entry = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """``intents`` hold rows of points and entries, in the order of the file."""

    intents: dict[str, tuple[tuple[int, tuple[Entry, ...]], ...]]
    spam: tuple[Entry, ...]
    newsletter: tuple[Entry, ...]
    absence: tuple[Entry, ...]
    languages: dict[str, frozenset[str]]


def words_of(text: str) -> str:
    """Lower case, one space between words and none of the marks, with a space at both ends."""
    return f" {' '.join(text.lower().translate(_NO_MARKS).split())} "


def entry_of(text: str) -> Entry:
    """``cancel + order$`` as the pieces to look for in folded text."""
    return tuple(
        f" {piece.rstrip('$')} " if piece.endswith("$") else f" {piece}"
        for piece in text.split(" + ")
    )


def is_in(entry: Entry, words: str) -> bool:
    """Whether all phrases of the entry stand in folded text."""
    return all(piece in words for piece in entry)


def any_in(entries: tuple[Entry, ...], words: str) -> bool:
    return any(is_in(entry, words) for entry in entries)


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """The file, read once."""
    tables = tomllib.loads(_FILE.read_text(encoding="utf-8"))

    def entries(texts: list[str]) -> tuple[Entry, ...]:
        return tuple(entry_of(text) for text in texts)

    return Vocabulary(
        intents={
            name: tuple((int(points.split()[0]), entries(texts)) for points, texts in rows.items())
            for name, rows in tables["intents"].items()
        },
        spam=entries(tables["spam"]["words"]),
        newsletter=entries(tables["newsletter"]["words"]),
        absence=entries(tables["absence"]["words"]),
        languages={name: frozenset(words) for name, words in tables["languages"].items()},
    )
