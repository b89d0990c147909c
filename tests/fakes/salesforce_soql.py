"""As much SOQL as integrations use, read as strictly as Salesforce does, over rows in memory.

A literal with a lone quote or an unknown escape, AND mixed with OR without brackets, a quoted
number, a filter on a long text: all are refused with the vendor's code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from tests.fakes.salesforce_literals import (
    ESCAPE,
    Refused,
    folded,
    sortable,
    time_of,
    tokens,
    unescaped,
)
from tests.fakes.salesforce_schema import STRING_TYPES, Field, SObject

Row = Mapping[str, Any]
Test = Callable[[Row], bool]


class Tables(Protocol):
    """``visible`` are the fields that the asking user may see."""

    def sobject(self, name: str) -> SObject: ...
    def visible(self, sobject: SObject) -> Mapping[str, Field]: ...
    def rows(self, sobject: str, *, everything: bool) -> Iterable[Row]: ...
    def row(self, id_: str) -> Row | None: ...
    def now(self) -> datetime: ...


@dataclass
class Answered:
    """``columns`` is ``None`` for a count."""

    rows: list[Row]
    columns: list[str] | None
    sobject: str


def answer(soql: str, tables: Tables, *, everything: bool = False) -> Answered:
    return _Parser(soql, tables, everything).query()


def value_at(row: Row | None, path: str, tables: Tables) -> Any:
    """``Account.Name``, followed through the references."""
    head, _, rest = path.partition(".")
    if row is None:
        return None
    if not rest:
        return row.get(head)
    id_ = row.get(f"{head}Id") or row.get(head.removesuffix("__r") + "__c")
    return value_at(tables.row(id_) if id_ else None, rest, tables)


class _Parser:
    def __init__(self, soql: str, tables: Tables, everything: bool) -> None:
        self.soql, self.tables, self.everything = soql, tables, everything
        self.tokens = list(tokens(soql))
        self.at = 0

    def query(self) -> Answered:
        found = self.select()
        if self.at < len(self.tokens):
            self.unexpected()
        return found

    def select(self) -> Answered:
        self.word("SELECT")
        wanted = self.wanted()
        self.word("FROM")
        name = self.name()
        sobject = self.tables.sobject(name)
        known = self.tables.visible(sobject)
        test = self.condition(sobject) if self.is_word("WHERE") else lambda _: True
        order = self.order(sobject) if self.is_word("ORDER") else []
        limit = int(self.take("number")) if self.is_word("LIMIT") else None
        offset = int(self.take("number")) if self.is_word("OFFSET") else 0
        columns = self.columns(wanted, sobject, known, limit)
        rows = [
            row for row in self.tables.rows(sobject.name, everything=self.everything) if test(row)
        ]
        for path, is_down in reversed(order):
            rows.sort(
                key=lambda row, path=path: sortable(value_at(row, path, self.tables)),
                reverse=is_down,
            )  # type: ignore[misc]
        return Answered(rows[offset:][:limit], columns, sobject.name)

    def wanted(self) -> list[str]:
        found = [self.column()]
        while self.is_mark(","):
            found.append(self.column())
        return found

    def column(self) -> str:
        name = self.name()
        if name.upper() in {"COUNT", "FIELDS"} and self.is_mark("("):
            inner = "" if self.is_mark(")") else self.name()
            if inner:
                self.mark(")")
            return f"{name.upper()}({inner.upper()})"
        return name

    def columns(
        self, wanted: list[str], sobject: SObject, known: Mapping[str, Field], limit: int | None
    ) -> list[str] | None:
        if wanted == ["COUNT()"]:
            return None
        found: list[str] = []
        for one in wanted:
            if not one.startswith("FIELDS("):
                found.append(self.path(one, sobject)[0])
                continue
            if one != "FIELDS(STANDARD)" and (limit is None or limit > 200):
                raise Refused(
                    "MALFORMED_QUERY", "The SOQL FIELDS function must have a LIMIT of at most 200"
                )
            is_all, is_custom = one == "FIELDS(ALL)", one == "FIELDS(CUSTOM)"
            found += [name for name in known if is_all or name.endswith("__c") == is_custom]
        if len(set(found)) != len(found):
            raise Refused("INVALID_FIELD", "duplicate field selected")
        return found

    def path(self, path: str, sobject: SObject) -> tuple[str, Field]:
        """The path in the CRM's own spelling, and the field at its end."""
        head, _, rest = path.partition(".")
        known = {name.lower(): one for name, one in self.tables.visible(sobject).items()}
        if not rest:
            if head.lower() not in known:
                raise Refused(
                    "INVALID_FIELD",
                    f"\n{self.soql[:60]}\nERROR at Row:1:Column:1\nNo such column '{head}' on entity '{sobject.name}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name.",
                )
            return known[head.lower()].name, known[head.lower()]
        relations = {one.relation.lower(): one for one in known.values() if one.relation}
        if head.lower() not in relations:
            raise Refused(
                "INVALID_FIELD", f"Didn't understand relationship '{head}' in field path."
            )
        relation = relations[head.lower()]
        inner, field = self.path(rest, self.tables.sobject(relation.refers_to[0]))
        return f"{relation.relation}.{inner}", field

    def condition(self, sobject: SObject) -> Test:
        """AND and OR may not be mixed without brackets."""
        tests = [self.term(sobject)]
        joint = None
        while (word := self.peek_word()) in {"AND", "OR"}:
            if joint not in {None, word}:
                self.unexpected()
            joint = word
            self.at += 1
            tests.append(self.term(sobject))
        all_or_any = any if joint == "OR" else all
        return lambda row: all_or_any(test(row) for test in tests)

    def term(self, sobject: SObject) -> Test:
        if self.is_word("NOT"):
            inner = self.term(sobject)
            return lambda row: not inner(row)
        if self.is_mark("("):
            inner = self.condition(sobject)
            self.mark(")")
            return inner
        path, field = self.path(self.name(), sobject)
        if not field.is_filterable:
            raise Refused(
                "INVALID_FIELD", f"field '{field.name}' can not be filtered in a query call"
            )
        get = lambda row: value_at(row, path, self.tables)  # noqa: E731 - bound to this path
        if self.is_word("LIKE"):
            pattern = self.like(field)
            return lambda row: bool(held := get(row)) and pattern.fullmatch(str(held)) is not None
        if self.is_word("NOT"):
            self.word("IN")
            test = self.among(field, sobject)
            return lambda row: not test(get(row))
        if self.is_word("IN"):
            test = self.among(field, sobject)
            return lambda row: test(get(row))
        return self.comparison(get, field)

    def comparison(self, get: Callable[[Row], Any], field: Field) -> Test:
        mark = self.take("mark")
        kind, value = self.literal(field)
        if kind == "range":
            first, last = value
            if mark != "=":
                self.unexpected()
            return lambda row: (at := time_of(get(row))) is not None and first <= at <= last
        wanted = folded(value, field)
        tests: dict[str, Callable[[Any], bool]] = {
            "=": lambda held: held == wanted,
            "!=": lambda held: held != wanted,
            "<>": lambda held: held != wanted,
            "<": lambda held: held is not None and held < wanted,
            ">": lambda held: held is not None and held > wanted,
            "<=": lambda held: held is not None and held <= wanted,
            ">=": lambda held: held is not None and held >= wanted,
        }
        if mark not in tests:
            self.unexpected()
        return lambda row: tests[mark](folded(get(row), field))

    def among(self, field: Field, sobject: SObject) -> Callable[[Any], bool]:
        self.mark("(")
        if self.peek_word() == "SELECT":
            found = self.select()
            assert found.columns is not None
            values = {
                folded(value_at(row, found.columns[0], self.tables), field) for row in found.rows
            }
        else:
            values = {folded(self.literal(field)[1], field)}
            while self.is_mark(","):
                values.add(folded(self.literal(field)[1], field))
        self.mark(")")
        return lambda held: folded(held, field) in values

    def like(self, field: Field) -> re.Pattern[str]:
        if field.type not in STRING_TYPES - {"id", "reference"}:
            raise Refused(
                "INVALID_QUERY_FILTER_OPERATOR",
                "invalid operator on id field"
                if field.refers_to
                else "like operator is only allowed on string fields",
            )
        raw = self.take("text")[1:-1]
        pattern, at = "", 0
        while at < len(raw):
            char = raw[at]
            if char == "\\":
                found = ESCAPE.match(raw, at)
                assert found is not None
                pattern += re.escape(found[1] if found[1] in {"%", "_"} else unescaped(found[0]))
                at = found.end()
                continue
            pattern += {"%": ".*", "_": "."}.get(char) or re.escape(char)
            at += 1
        return re.compile(pattern, re.IGNORECASE | re.DOTALL)

    def literal(self, field: Field) -> tuple[str, Any]:
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        self.at += 1
        is_text = field.type in STRING_TYPES
        if kind == "text":
            if not is_text:
                raise Refused(
                    "INVALID_FIELD",
                    f"value of filter criterion for field '{field.name}' must be of type {field.type} and should not be enclosed in quotes",
                )
            text = unescaped(token[1:-1])
            if (
                field.type in {"id", "reference"}
                and text
                and not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", text)
            ):
                raise Refused("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {text}")
            return kind, text
        if kind == "name" and token.lower() == "null":
            return kind, None
        if kind == "name" and token.lower() in {"true", "false"} and field.type == "boolean":
            return kind, token.lower() == "true"
        if kind == "name" and (found := re.fullmatch(r"(?i)LAST_N_DAYS:(\d+)|TODAY", token)):
            return "range", self.days(int(found[1] or 0))
        if is_text and kind in {"number", "time", "name"}:
            raise Refused(
                "INVALID_FIELD",
                f"value of filter criterion for field '{field.name}' must be of type string and should be enclosed in quotes",
            )
        if kind == "number":
            return kind, float(token)
        if kind == "time" and field.type in {"datetime", "date"}:
            return kind, token
        self.at -= 1
        return self.unexpected()

    def days(self, count: int) -> tuple[datetime, datetime]:
        now = self.tables.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight - timedelta(days=count), now

    def order(self, sobject: SObject) -> list[tuple[str, bool]]:
        self.word("BY")
        found = [self.ordered(sobject)]
        while self.is_mark(","):
            found.append(self.ordered(sobject))
        return found

    def ordered(self, sobject: SObject) -> tuple[str, bool]:
        path, _ = self.path(self.name(), sobject)
        is_down = self.is_word("DESC")
        if not is_down:
            self.is_word("ASC")
        return path, is_down

    def peek_word(self) -> str:
        kind, token = self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")
        return token.upper() if kind == "name" else ""

    def is_word(self, word: str) -> bool:
        is_it = self.peek_word() == word
        self.at += is_it
        return is_it

    def word(self, word: str) -> None:
        if not self.is_word(word):
            self.unexpected()

    def is_mark(self, mark: str) -> bool:
        is_it = self.at < len(self.tokens) and self.tokens[self.at] == ("mark", mark)
        self.at += is_it
        return is_it

    def mark(self, mark: str) -> None:
        if not self.is_mark(mark):
            self.unexpected()

    def name(self) -> str:
        return self.take("name")

    def take(self, kind: str) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != kind:
            self.unexpected()
        self.at += 1
        return self.tokens[self.at - 1][1]

    def unexpected(self) -> Any:
        token = self.tokens[self.at][1] if self.at < len(self.tokens) else "<EOF>"
        raise Refused("MALFORMED_QUERY", f"unexpected token: '{token}'")
