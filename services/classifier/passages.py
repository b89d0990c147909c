"""The passage of a message that its intent speaks from, letter by letter, for a note or a task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.classifier.intents import NOT_THE_LETTER, own_words
from services.classifier.vocabulary import vocabulary, words_of

# A sentence ends before a capital letter, a digit or a quotation mark; a greeting with its line.
_BOUNDARY = re.compile(r"(?<=[.!?])\s+(?=[A-ZÄÖÜÀ-Ý0-9\"“„¿¡(])|\n\s*\n\s*|(?<=,)\n(?=[A-ZÄÖÜ])")


@dataclass(frozen=True, kw_only=True)
class Passage:
    """What stands at ``start`` of one part of a message."""

    part: str
    start: int
    text: str


@dataclass(frozen=True, kw_only=True)
class _Sentence:
    start: int
    end: int
    points: int


def passage_of(parts: Mapping[str, str], intent: str, longest: int) -> Passage | None:
    """From the first to the last sentence that speaks for ``intent``, in one part.

    Where that is more than ``longest`` characters, the plainest sentence alone.
    """
    for part, text in _letters(parts):
        if speaking := [one for one in _sentences(text, intent) if one.points]:
            start, end = speaking[0].start, speaking[-1].end
            if end - start <= longest:
                return Passage(part=part, start=start, text=text[start:end])
    return plainest(parts, intent, longest)


def plainest(parts: Mapping[str, str], intent: str, longest: int) -> Passage | None:
    """The sentence on one line that speaks for ``intent`` most plainly; of equals the first."""
    found = [
        (one.points, Passage(part=part, start=one.start, text=text[one.start : one.end]))
        for part, text in _letters(parts)
        for one in _sentences(text, intent)
        if one.points and one.end - one.start <= longest and "\n" not in text[one.start : one.end]
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _letters(parts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for part, text in own_words(parts).items():
        if part not in NOT_THE_LETTER:
            yield part, text


def _sentences(text: str, intent: str) -> Iterator[_Sentence]:
    """The sentences of a text without the blanks around them, each with its points."""
    begin = 0
    for match in (*_BOUNDARY.finditer(text), None):
        end = len(text) if match is None else match.start()
        sentence = text[begin:end]
        shown = sentence.strip()
        if shown:
            start = begin + sentence.index(shown)
            yield _Sentence(start=start, end=start + len(shown), points=_points(shown, intent))
        begin = end if match is None else match.end()


def _points(sentence: str, intent: str) -> int:
    known = vocabulary()
    rows = known.found_in(words_of(sentence))
    return sum(
        known.points[name][row] for kind, name, row in rows if (kind, name) == ("intent", intent)
    )
