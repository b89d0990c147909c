"""Whether a value that a CRM's webhook tells is the one that we wrote, however it is spelled there.

Vendors tell every value as text, or a date in milliseconds, trim what they store and write phone
numbers and addresses in their own way. What differs in nothing else is no person's change.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal

from shared.domain.schema import Scalar
from shared.values import email_key, phone_key

_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_MILLISECONDS = re.compile(r"-?[0-9]{1,14}\Z")
_LINE_END = re.compile(r"\r\n?")
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


def is_told(written: Scalar, told: Scalar) -> bool:
    """``written`` decides as what the two are compared: a text is not a number, so that
    ``01234`` corrects ``1234``.
    """
    if written is None or written == "":
        return told is None or told == ""
    if told is None:
        return False
    if isinstance(written, bool):
        return _TRUTH.get(_plain(told).lower()) is written
    if isinstance(written, int):
        return not isinstance(told, bool) and _is_number(_plain(told), Decimal(written))
    return _is_text(_plain(written), _plain(told))


def _plain(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = unicodedata.normalize("NFC", str(value))
    return _LINE_END.sub("\n", text).strip()


def _is_number(text: str, number: Decimal) -> bool:
    return _NUMBER.match(text) is not None and Decimal(text) == number


def _is_text(written: str, told: str) -> bool:
    if written == told:
        return True
    if _DATE.match(written):
        return _day(told) == written
    if "@" in written:
        address = email_key(written)
        return address is not None and address == email_key(told)
    if written.startswith("+"):
        number = phone_key(written, None)
        return number is not None and number == phone_key(told, None)
    return (
        "." in written and _NUMBER.match(written) is not None and _is_number(told, Decimal(written))
    )


def _day(told: str) -> str | None:
    """The day of an instant that is midnight in UTC, as vendors tell a day."""
    try:
        if _MILLISECONDS.match(told):
            at = datetime.fromtimestamp(int(told) / 1000, UTC)
        elif _DATE.match(told):
            return date.fromisoformat(told).isoformat()
        else:
            at = datetime.fromisoformat(told).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    is_midnight = (at.hour, at.minute, at.second, at.microsecond) == (0, 0, 0, 0)
    return at.date().isoformat() if is_midnight else None
