"""Plain text for people: what a model or a customer wrote, without links, markup and tricks."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shared.remembering import remembered
from shared.values import CONTROL, INVISIBLE

LINK_GONE = "[link removed]"
_TLD = (
    "com|net|org|info|biz|io|co|de|at|ch|fr|es|nl|uk|eu|us|xyz|top|site|online|app|dev|ru|cn|"
    "test|security|click|link|shop|live|me|tv|cc|tk"
)
_IMAGE = re.compile(r"!?\[([^\]]*)\]\(\s*[^)]*\)?")
_REFERENCE = re.compile(r"^\s*\[[^\]]+\]:\s*\S+.*$", re.MULTILINE)
_URL = re.compile(
    rf"(?:[a-z][a-z0-9+.-]{{0,60}}://|www\.|//[a-z0-9])[^\s<>\"')\]]*|"
    rf"(?:javascript|data|vbscript|file|mailto):[^\s<>\"')\]]+|"
    rf"(?<![\w@.-])(?:[a-z0-9-]+\.)+(?:{_TLD})(?![\w.-]*@)(?:[:/?#][^\s<>\"')\]]*|\b)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[!/?a-zA-Z][^>]{0,2000}>?|<\|[^>]{0,100}\|?>")
_EMPHASIS = re.compile(r"(\*\*|__|```|~~|`)")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+", re.MULTILINE)
_EMAIL = re.compile(r"[A-Z0-9._%+'-]+@[A-Z0-9.-]+\.[A-Z]{2,}", re.IGNORECASE)
# Signs that some page or template gives a meaning to.
_BRACES, _ANGLES = str.maketrans("{}", "()"), str.maketrans("<>", "‹›")
_BLANKS = re.compile(r"\n{3,}")


def plain(text: str, limit: int, *, own_domains: Iterable[str] = ()) -> tuple[str, bool]:
    """``text`` as plain text of at most ``limit`` characters, and whether a link was taken out.

    Links stay only to the company's own domains: a link out of a message is never passed on.
    """
    return _plain(text, limit, frozenset(domain.lower() for domain in own_domains))


# Most of what the rules say is one of their own sentences, the same again and again.
@remembered(256)
def _plain(text: str, limit: int, allowed: frozenset[str]) -> tuple[str, bool]:
    removed = False

    def without(match: re.Match[str]) -> str:
        nonlocal removed
        if _host(match[0]) in allowed:
            return match[0]
        removed = True
        return LINK_GONE

    cleaned = INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\t", " "))
    cleaned = "\n".join(CONTROL.sub("", line) for line in cleaned.split("\n"))
    unmarked = _EMPHASIS.sub("", _HEADING.sub("", cleaned.translate(_BRACES)))
    cleaned = _TAG.sub("", _IMAGE.sub(r"\1", _REFERENCE.sub("", unmarked)))
    removed = cleaned != unmarked
    # What was taken out may have stood between the two halves of a link.
    cleaned = _URL.sub(without, cleaned).replace("](", "] (")
    cleaned = _BLANKS.sub("\n\n", cleaned.translate(_ANGLES)).strip()
    return _cut(cleaned, limit), removed


def only_known_addresses(text: str, known: Iterable[str]) -> tuple[str, bool]:
    """``text`` without e-mail addresses that are none of ``known`` (lower case)."""
    allowed = set(known)
    removed = False

    def without(match: re.Match[str]) -> str:
        nonlocal removed
        if match[0].lower() in allowed:
            return match[0]
        removed = True
        return "[address removed]"

    return _EMAIL.sub(without, text), removed


def one_line(text: str, limit: int) -> str:
    """The first ``limit`` characters as one line."""
    return _cut(" ".join(text.split()), limit)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _host(link: str) -> str:
    rest = link.lower().partition("://")[2] or link.lower()
    return re.split(r"[/:?#]", rest.removeprefix("www."), maxsplit=1)[0]
