"""What a message is for, how urgent it is and in which language, by its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from services.classifier.vocabulary import Entry, entry_of, vocabulary, words_of

LEAST_POINTS = 2
# A long letter that also says "thank you" is about something else.
LONGEST_THANKS = 60


_ANSWER = re.compile(r"^\s*(?:re|aw|antw|sv|fw|fwd|wg)\s*:.*", re.IGNORECASE | re.DOTALL)
NOT_THE_LETTER = frozenset({"subject", "signature"})


def own_words(parts: Mapping[str, str]) -> Mapping[str, str]:
    """The parts without quoted history: that was said before, maybe by ourselves."""
    return {name: text for name, text in parts.items() if name != "quoted"}


def intent_of(parts: Mapping[str, str]) -> str:
    """The name of the intent that the words speak for; ``other`` if none does."""
    # The subject of an answer was written for another letter.
    subject = words_of(_ANSWER.sub("", parts.get("subject", "")))
    texts = (text for name, text in own_words(parts).items() if name not in NOT_THE_LETTER)
    body = words_of("\n".join(texts))
    known = vocabulary()
    scores = dict.fromkeys(known.points, 0)
    for weight, words in ((1, body), (2, subject)):
        for kind, name, row in known.found_in(words):
            if kind == "intent":
                scores[name] += weight * known.points[name][row]
    best = max(known.points, key=lambda name: scores[name])
    if best == "thanks" and body.count(" ") > LONGEST_THANKS:
        return "other"
    return best if scores[best] >= LEAST_POINTS else "other"


def is_urgent(parts: Mapping[str, str], urgent_words: tuple[str, ...]) -> bool:
    """Whether the event uses one of the policy's urgent words, as whole words."""
    words = words_of("\n".join(own_words(parts).values()))
    return any(piece in words for (piece,) in _whole(urgent_words))


@lru_cache(maxsize=8)
def _whole(urgent_words: tuple[str, ...]) -> tuple[Entry, ...]:
    return tuple(entry_of(f"{words_of(word).strip()}$") for word in urgent_words)


def language_of(parts: Mapping[str, str]) -> str:
    """``de`` or ``en``, by the small words; English where neither is plain."""
    words = words_of("\n".join(own_words(parts).values())[:4000]).split()
    languages = vocabulary().languages
    german = sum(word in languages["de"] for word in words)
    return "de" if german > sum(word in languages["en"] for word in words) else "en"
