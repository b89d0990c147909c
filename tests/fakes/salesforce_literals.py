"""The words of SOQL, and the values that stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from tests.fakes.salesforce_schema import Field

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')"
    r"|(?P<time>\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))?)"
    r"|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<name>[A-Za-z][\w.]*(?::\d+)?)"
    r"|(?P<mark><=|>=|!=|<>|[=<>(),]))",
    re.DOTALL,
)
ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}


class Refused(Exception):
    """A question that the CRM does not answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def tokens(soql: str) -> Iterable[tuple[str, str]]:
    at = 0
    text = soql.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Refused("MALFORMED_QUERY", f"unexpected token: {text[at : at + 10]!r}")
        at = found.end()
        assert found.lastgroup is not None
        yield found.lastgroup, found[found.lastgroup]


def unescaped(raw: str) -> str:
    def plain(found: re.Match[str]) -> str:
        said = found[1]
        if said in _PLAIN:
            return _PLAIN[said]
        if len(said) == 5:
            return chr(int(said[1:], 16))
        raise Refused(
            "MALFORMED_QUERY",
            f"Invalid string literal. Illegal character sequence '\\{said}' in string literal.",
        )

    return ESCAPE.sub(plain, raw)


def time_of(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def folded(value: Any, field: Field) -> Any:
    """What is compared: text without case, ids by what counts of them, times as times."""
    if value is None or value == "":
        return None
    if field.type in {"id", "reference"}:
        return str(value)[:15]
    if field.type in {"datetime", "date"}:
        return time_of(value)
    if field.type in {"double", "currency", "percent"}:
        return float(value)
    return value.casefold() if isinstance(value, str) else value


def sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, "" if value is None else value)
