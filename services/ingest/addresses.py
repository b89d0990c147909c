"""Who a ``From`` line names, as far as anything can be read from it."""

from __future__ import annotations

import re
from email.utils import parseaddr

LONGEST = 2000
_IN_BRACKETS = re.compile(r"^([^<>]{0,200})<([^<>\s@]{1,64}@[^<>\s@]{1,255})>")


def address_of(text: str) -> tuple[str | None, str | None]:
    """Name and address of a ``From`` line; a bare comma in the name is no end of the address."""
    try:
        name, address = parseaddr(text[:LONGEST])
    except RecursionError:  # The library goes one call deeper with each opening bracket.
        name, address = "", ""
    if "@" not in address and (written := _IN_BRACKETS.search(text[:LONGEST])):
        name, address = written[1].strip().strip("\"'"), written[2]
    return name or None, address or None
