"""Questions in SOQL: values are quoted here and nowhere else, names come from fixed tables.

https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta/soql_sosl/sforce_api_calls_soql_select_quotedstringescapes.htm
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

# A row as the CRM gives it: fields, and parents as rows within.
Row = Mapping[str, Any]
# Asks a question and gives every row of the answer.
Ask = Callable[[str], list[Row]]

_ESCAPES: Final = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
}
_WILDCARDS: Final = {"%": "\\%", "_": "\\_"}


def select(fields: str, source: str, where: str | None, more: str = "") -> str:
    """A question for ``fields`` of ``source``; ``more`` orders and limits the rows."""
    condition = f"WHERE {where} " if where else ""
    # The one place that puts a question together; its values have gone through `quoted`.
    return f"SELECT {fields} FROM {source} {condition}{more}".strip()  # noqa: S608 - as above


def quoted(value: str) -> str:
    """``value`` as a string literal, whatever it holds."""
    return f"'{''.join(map(_escaped, value))}'"


def beginning(value: str) -> str:
    """A pattern for LIKE: what begins with ``value``, its own wildcards taken literally."""
    return f"'{_literal(value)}%'"


def containing(parts: Iterable[str]) -> str:
    """A pattern for LIKE: these parts in this order, with anything before, between and after."""
    return f"'%{'%'.join(map(_literal, parts))}%'"


def moment(when: datetime) -> str:
    """A time as a literal, which stands without quotes."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def any_of(values: Iterable[str]) -> str:
    """The list behind IN."""
    return f"({', '.join(map(quoted, values))})"


def instant(text: str) -> datetime:
    """The aware time of ``2026-11-28T07:00:00.000+0000``. Raises `ValueError`."""
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return value.astimezone(UTC)


def _literal(value: str) -> str:
    return "".join(_WILDCARDS.get(char) or _escaped(char) for char in value)


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    # What cannot be printed might not even survive the address line.
    is_plain = char.isprintable() or ord(char) > 0xFFFF
    return char if is_plain else f"\\u{ord(char):04x}"
