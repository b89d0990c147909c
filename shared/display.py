"""How values look on a page: office time, what changed in a text, signs that cannot be seen."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from markupsafe import Markup

from shared.domain.schema import parse_instant, rfc3339

DIFF_LIMIT = 4000
WORD = re.compile(r"\w+|\s+|[^\w\s]")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """``iso`` is for machines, ``office`` for the page, ``utc`` for whoever wants to be sure."""

    iso: str
    office: str
    utc: str


def moments(zone: Callable[[], tzinfo | None]) -> Callable[[datetime | str], Moment]:
    """Template function: a time, or its RFC 3339 text, in the office's zone."""

    def moment(value: datetime | str) -> Moment:
        at = parse_instant(value) if isinstance(value, str) else value
        local, today = at.astimezone(zone()), datetime.now(UTC).astimezone(zone())
        day = f"{local:%a} {local.day} {local:%b}"
        if local.date() == today.date():
            day = "Today"
        elif local.year != today.year:
            day = f"{local.day} {local:%b %Y}"
        return Moment(
            iso=rfc3339(at),
            office=f"{day}, {local:%H:%M}",
            utc=f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        )

    return moment


def visible(value: Any) -> Markup:
    """A CRM value for people: null and truth in words, and marks where signs hide.

    A right-to-left override or a zero-width space could make two different texts look the same.
    """
    if value is None or value == "":
        return Markup('<em class="none">empty</em>')
    if isinstance(value, bool):
        return Markup("yes") if value else Markup("no")
    return Markup("").join(_sign(sign) for sign in str(value))


def _sign(sign: str) -> Markup:
    if sign in "\n\t " or unicodedata.category(sign) not in {"Cc", "Cf", "Zl", "Zp", "Zs", "Co"}:
        return Markup.escape(sign)
    name = f"U+{ord(sign):04X} {unicodedata.name(sign, 'control character')}"
    return Markup('<span class="odd" title="{}">{}</span>').format(name, f"U+{ord(sign):04X}")


def changed_parts(old: Any, new: Any) -> list[tuple[str, bool]]:
    """``new`` in pieces with whether each differs from ``old``, by words, signs in short ones."""
    before, after = _text(old), _text(new)
    if before == after:
        return [(after, False)] if after else []
    if not before or not after or len(before) + len(after) > DIFF_LIMIT:
        return [(after, True)] if after else []
    return list(_pieces(WORD.findall(before), WORD.findall(after)))


def _pieces(before: list[str], after: list[str]) -> Iterator[tuple[str, bool]]:
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for kind, _, _, start, end in matcher.get_opcodes():
        if end > start:
            yield "".join(after[start:end]), kind != "equal"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
