"""The double's organisation as one user sees it, and rows as its answers show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tests.fakes.salesforce_literals import Refused
from tests.fakes.salesforce_org import Org, User
from tests.fakes.salesforce_schema import Field, SObject
from tests.fakes.salesforce_soql import Answered, value_at


@dataclass(frozen=True)
class View:
    """The organisation as one user sees it: an object without the right is not there."""

    org: Org
    user: User

    def sobject(self, name: str) -> SObject:
        found = self.org.sobject(name)
        if not self.user.may("read", found.name):
            raise Refused("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return found

    def visible(self, sobject: SObject) -> dict[str, Field]:
        hidden = self.user.hidden
        return {
            name: one
            for name, one in sobject.fields.items()
            if f"{sobject.name}.{name}" not in hidden
        }

    def rows(self, sobject: str, *, everything: bool) -> list[dict[str, Any]]:
        return self.org.rows(sobject, everything=everything)

    def row(self, id_: str) -> dict[str, Any] | None:
        return self.org.row(id_)

    def now(self) -> datetime:
        return self.org.now()


def shown(found: Answered, row: Mapping[str, Any], view: View, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {"attributes": attributes(found.sobject, row, version)}
    for path in found.columns or []:
        head, _, rest = path.partition(".")
        value = value_at(row, path, view)
        if not rest:
            body[path] = value
        elif value_at(row, f"{head}.Id", view) is None:
            body[head] = None
        else:
            body.setdefault(head, {"attributes": {"type": head}})[rest] = value
    return body


def attributes(sobject: str, row: Mapping[str, Any], version: str) -> dict[str, str]:
    return {
        "type": sobject,
        "url": f"/services/data/{version}/sobjects/{sobject}/{quote(row['Id'])}",
    }
