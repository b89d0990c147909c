"""Which ServiceTitan customers have an e-mail address or a number, kept from the export feed.

https://developer.servicetitan.io/docs (CRM v2, Export): no call searches customers by e-mail, and
the filter by phone is literal. The feed gives every contact once and afterwards what has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.crm.servicetitan_account import CRM_PATH
from shared.errors import CRMUnavailable

FEED: Final = CRM_PATH + "/export/customers/contacts"
# One question of ours reads no more of the feed at once; the next one goes on from there.
MOST_PAGES: Final = 25

Ask = Callable[[str, Mapping[str, str]], Mapping[str, Any]]


class ContactIndex:
    """``ask`` reads one page of the feed. Only keys and ids are kept, in memory."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._from = ""
        self._of: dict[int, tuple[str, str]] = {}
        self._having: dict[str, dict[int, str]] = {}

    def customers(self, key: str) -> list[str]:
        """Ids of the customers with this key (`contact_key`), without repeats.

        Raises `CRMUnavailable` while the feed is still being read for the first time.
        """
        with self._lock:
            self._catch_up()
            return list(dict.fromkeys(self._having.get(key, {}).values()))

    def _catch_up(self) -> None:
        for _ in range(MOST_PAGES):
            params = {"includeRecentChanges": "true"} | ({"from": self._from} if self._from else {})
            page = self._ask(FEED, params)
            for row in page["data"]:
                self._take(row)
            self._from = str(page["continueFrom"] or self._from)
            if not page["hasMore"]:
                return
        raise CRMUnavailable("the customers' contacts are still being read: ask again soon")

    def _take(self, row: Mapping[str, Any]) -> None:
        """A contact has one value at a time; an inactive one has none."""
        id_ = int(row["id"])
        if id_ in self._of:
            self._having[self._of.pop(id_)[0]].pop(id_, None)
        if row.get("active", True) and (key := contact_key(row["value"])):
            self._of[id_] = (key, str(row["customerId"]))
            self._having.setdefault(key, {})[id_] = str(row["customerId"])


def contact_key(value: object) -> str:
    """One form for every spelling of an address or a number; empty for neither."""
    text = str(value or "").strip()
    if "@" in text:
        return text.casefold()
    digits = "".join(char for char in text if char.isdecimal() and char.isascii())
    # ServiceTitan's customers live in North America: +1 and the bare ten digits are one number.
    return digits[1:] if len(digits) == 11 and digits.startswith("1") else digits
