"""Names of people: out of a header, a signature or a sentence, split into first and last name."""

from __future__ import annotations

import re

_WORD = r"[A-ZÀ-ÖØ-ÞŁŚŻČŠŽ][\w'’.-]{0,30}"
_PARTICLE = r"(?:van|von|der|den|de|del|della|di|da|dos|du|la|le|zu|zum|ten|ter|bin|al)"
_NAME = rf"{_WORD}(?: (?:{_PARTICLE} ){{0,2}}{_WORD}){{1,3}}"
_INTRODUCED = re.compile(
    r"\b(?:[Mm]y name is|[Tt]his is|I am called|[Mm]ein Name ist|[Ii]ch hei(?:ße|sse)|"
    r"[Jj]e m['’]appelle|[Mm]e llamo|[Mm]ijn naam is)\s+"
    rf"(?P<name>{_NAME})"
)
_LINE = re.compile(rf"^\s*(?:--\s*)?(?P<name>{_NAME})\s*$", re.MULTILINE)
_TITLES = re.compile(
    r"^(?:(?:mr|mrs|ms|miss|dr|prof|herr|frau|mme|m|sr|sra|dipl|ing)\.?\s+)+", re.IGNORECASE
)
_GREETING = re.compile(
    r"^(?:best|kind|warm)?\s*(?:regards|wishes|thanks|cheers|sincerely|grüße|grüßen|gruß)\b",
    re.IGNORECASE,
)
_NO_NAMES = re.compile(
    r"\b(?:team|office|gmbh|ltd|inc|llc|service|support|info|sales|company)\b", re.IGNORECASE
)


def split_name(full: str) -> tuple[str, str] | None:
    """First and last name of ``Dr. Anna von Berg`` or ``Berg, Anna``; ``None``: no such thing."""
    text = _TITLES.sub("", " ".join(full.split())).strip("\"' ")
    if not text or "@" in text or any(char.isdigit() for char in text) or _NO_NAMES.search(text):
        return None
    if text.count(",") == 1:
        last, first = (part.strip() for part in text.split(","))
        return (first, last) if first and last else None
    first, _, last = text.partition(" ")
    return (first, last) if last else ("", first)


def introduced(text: str) -> re.Match[str] | None:
    """``my name is …``: a match whose group ``name`` is the name."""
    return _INTRODUCED.search(text)


def signed(signature: str) -> re.Match[str] | None:
    """The first line of a signature that is a name and nothing else."""
    for match in _LINE.finditer(signature):
        if not _GREETING.match(match["name"]) and not _NO_NAMES.search(match["name"]):
            return match
    return None


def first_name(reading_name: object, sender_name: str | None) -> str:
    """What to call somebody in a letter; empty if nobody knows."""
    if isinstance(reading_name, str) and reading_name.strip():
        return reading_name.strip()
    parts = split_name(sender_name) if sender_name else None
    return parts[0] if parts else ""
