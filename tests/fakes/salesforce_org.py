"""An organisation of Salesforce in memory: records, users with rights, history, and its rules.

What integrations stumble over is there: rights per object and field, texts that are trimmed, stamps
of whole seconds, external ids, duplicate rules, locked and deleted records.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.salesforce_literals import Refused
from tests.fakes.salesforce_schema import STRING_TYPES, Field, SObject, objects

RIGHTS = frozenset({"read", "create", "update", "delete"})
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CHECKS = string.ascii_uppercase + "012345"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


class RefusedWrite(Exception):
    """``errors`` is the body of the answer."""

    def __init__(
        self, status: int, code: str, message: str, fields: Iterable[str] | None = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        error: dict[str, Any] = {"message": message, "errorCode": code}
        self.errors: list[dict[str, Any]] = [
            error if fields is None else {**error, "fields": list(fields)}
        ]


@dataclass(kw_only=True)
class User:
    """``rights`` by object; ``hidden`` and ``locked`` fields are ``Contact.Email``."""

    id: str
    name: str
    is_integration: bool = False
    rights: dict[str, frozenset[str]] = field(default_factory=dict)
    default_rights: frozenset[str] = frozenset({"read"})
    hidden: set[str] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)

    def may(self, right: str, sobject: str) -> bool:
        return right in self.rights.get(sobject, self.default_rights)


@dataclass(kw_only=True)
class Org:
    """``effects`` counts the changes that integrations have made."""

    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    schema: dict[str, SObject] = field(default_factory=objects)
    records: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    locked_rows: set[str] = field(default_factory=set)
    has_duplicate_rule: bool = True
    # By object, to whom a created or updated record goes unless the call says otherwise.
    assignment: dict[str, User] = field(default_factory=dict)
    effects: int = 0
    described_at: datetime = _EPOCH
    counter: int = 0

    def now(self) -> datetime:
        return self.clock().astimezone(UTC).replace(microsecond=0)

    def stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.000+0000")

    def user(self, name: str, **rights: Any) -> User:
        """The user of this name, made where there is none."""
        known = next((one for one in self.users.values() if one.name == name), None)
        if known is not None:
            return known
        id_ = self.new_id("005")
        self.users[id_] = User(id=id_, name=name, **rights)
        self.table("User")[id_[:15]] = {
            "Id": id_, "Name": name, "Username": f"{name.lower()}@example.com", "IsDeleted": False,
        }  # fmt: skip
        return self.users[id_]

    def change_metadata(self) -> None:
        """Rights or fields are others from now on: conditional questions see it."""
        self.described_at = self.now()

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        return self.records.setdefault(name, {})

    def sobject(self, name: str) -> SObject:
        found = next((one for key, one in self.schema.items() if key.lower() == name.lower()), None)
        if found is None:
            raise Refused("INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return found

    def rows(self, sobject: str, *, everything: bool) -> list[dict[str, Any]]:
        return [row for row in self.table(sobject).values() if everything or not row["IsDeleted"]]

    def row(self, id_: str) -> dict[str, Any] | None:
        return next((t[id_[:15]] for t in self.records.values() if id_[:15] in t), None)

    def get(self, sobject: str, id_: str) -> dict[str, Any]:
        row = self.table(sobject).get(id_[:15])
        if row is None or len(id_) not in {15, 18}:
            raise RefusedWrite(404, "NOT_FOUND", "The requested resource does not exist", None)
        if row["IsDeleted"]:
            raise RefusedWrite(404, "ENTITY_IS_DELETED", "entity is deleted")
        return row

    def new_id(self, prefix: str) -> str:
        self.counter += 1
        short = f"{prefix}ak{self.counter:010d}"
        return short + checked(short)

    def put(self, sobject: str, by: User | None = None, **values: Any) -> str:
        """A record that was always there; no right is asked and no effect counted."""
        author = by or self.user("Morgan")
        row = self._new_row(self.schema[sobject], values, author)
        return str(row["Id"])

    def create(self, sobject: SObject, values: Mapping[str, Any], by: User) -> str:
        self._require_right(by, "create", sobject)
        self._check(sobject, values, by, is_new=True)
        self._require_unique(sobject, values, None)
        self._require_no_duplicate(sobject, values)
        self.effects += by.is_integration
        return str(self._new_row(sobject, self._cleaned(sobject, values), by)["Id"])

    def update(
        self, sobject: SObject, row: dict[str, Any], values: Mapping[str, Any], by: User
    ) -> None:
        self._require_right(by, "update", sobject)
        self._check(sobject, values, by, is_new=False)
        self._require_unique(sobject, values, row)
        if row["Id"][:15] in self.locked_rows:
            raise RefusedWrite(
                400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"
            )
        self.effects += by.is_integration
        self.change(sobject, row, self._cleaned(sobject, values), by)

    def change(
        self, sobject: SObject, row: dict[str, Any], values: Mapping[str, Any], by: User
    ) -> None:
        """The change itself, with its history; whoever makes it has the right."""
        for name, new in values.items():
            if row.get(name) != new:
                self._remember(sobject, row, name, row.get(name), new, by)
            row[name] = new
        row["LastModifiedDate"] = row["SystemModstamp"] = self.stamp()
        row["LastModifiedById"] = by.id
        _name(sobject, row)

    def assign(self, sobject: SObject, row: dict[str, Any], by: User) -> None:
        """What the active assignment rule does with a created or updated record."""
        if (owner := self.assignment.get(sobject.name)) is not None:
            self.change(sobject, row, {"OwnerId": owner.id}, by)

    def delete(self, sobject: str, id_: str) -> None:
        """A person takes a record away; it stays readable for `queryAll`."""
        self.get(sobject, id_)["IsDeleted"] = True

    def merge(self, sobject: str, loser: str, winner: str) -> None:
        """A person merges two records; the loser is deleted and names the winner."""
        self.get(sobject, loser)["MasterRecordId"] = self.get(sobject, winner)["Id"]
        self.delete(sobject, loser)

    def _new_row(self, sobject: SObject, values: Mapping[str, Any], by: User) -> dict[str, Any]:
        row: dict[str, Any] = {
            name: False if one.type == "boolean" else None for name, one in sobject.fields.items()
        }
        stamp = self.stamp()
        row |= {"Id": self.new_id(sobject.prefix), "CreatedDate": stamp, "CreatedById": by.id}
        if "LastModifiedDate" in row:
            row |= {"LastModifiedDate": stamp, "SystemModstamp": stamp, "LastModifiedById": by.id}
        if "OwnerId" in row:
            row["OwnerId"] = by.id
        if "CaseNumber" in row:
            row["CaseNumber"] = f"{self.counter:08d}"
        row |= values
        _name(sobject, row)
        self.table(sobject.name)[row["Id"][:15]] = row
        if sobject.history:
            self._remember(sobject, row, "created", None, None, by)
        return row

    def _remember(
        self, sobject: SObject, row: Mapping[str, Any], name: str, old: Any, new: Any, by: User
    ) -> None:
        is_tracked = name == "created" or sobject.fields[name].tracked
        if sobject.history is None or not is_tracked:
            return
        kept, parent = sobject.history
        line = {parent: row["Id"], "Field": name, "OldValue": old, "NewValue": new}
        self._new_row(self.schema[kept], line, by)

    def _require_right(self, by: User, right: str, sobject: SObject) -> None:
        if not by.may(right, sobject.name):
            raise RefusedWrite(
                403,
                "INSUFFICIENT_ACCESS_OR_READONLY",
                f"entity type cannot be {right}d: {sobject.name}",
            )

    def _check(
        self, sobject: SObject, values: Mapping[str, Any], by: User, *, is_new: bool
    ) -> None:
        for name in values:
            if name not in sobject.fields or f"{sobject.name}.{name}" in by.hidden:
                raise RefusedWrite(
                    400,
                    "INVALID_FIELD",
                    f"No such column '{name}' on sobject of type {sobject.name}",
                    None,
                )
        for name, value in values.items():
            self._check_type(sobject.fields[name], value)
        closed = [
            name
            for name in values
            if not is_writable(sobject, sobject.fields[name], by, is_new=is_new)
        ]
        if closed:
            raise RefusedWrite(
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                f"Unable to create/update fields: {', '.join(closed)}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
                closed,
            )
        missing = [
            name for name, one in sobject.fields.items()
            if one.required and (name in values or is_new) and values.get(name) in {None, ""}
        ]  # fmt: skip
        if missing:
            raise RefusedWrite(
                400,
                "REQUIRED_FIELD_MISSING",
                f"Required fields are missing: [{', '.join(missing)}]",
                missing,
            )
        for name, value in values.items():
            self._check_value(sobject.fields[name], value)

    def _check_type(self, one: Field, value: Any) -> None:
        kind = (
            "boolean"
            if one.type == "boolean"
            else "double"
            if one.type in {"double", "currency", "percent"}
            else "string"
        )
        if value is None:
            is_right = kind != "boolean"
        elif kind == "boolean":
            is_right = isinstance(value, bool)
        elif kind == "double":
            is_right = not isinstance(value, bool) and _is_number(value)
        else:
            is_right = isinstance(value, str)
        if not is_right:
            raise RefusedWrite(
                400,
                "JSON_PARSER_ERROR",
                f"Cannot deserialize instance of {kind} from {type(value).__name__} value for field {one.name}",
                None,
            )

    def _check_value(self, one: Field, value: Any) -> None:
        if not isinstance(value, str) or not value:
            return
        if one.length and len(value) > one.length and one.type in STRING_TYPES:
            raise RefusedWrite(
                400,
                "STRING_TOO_LONG",
                f"{one.name}: data value too large: {value[:80]} (max length={one.length})",
                [one.name],
            )
        if one.type == "email" and not _EMAIL.fullmatch(value.strip()):
            raise RefusedWrite(
                400,
                "INVALID_EMAIL_ADDRESS",
                f"{one.name}: invalid email address: {value}",
                [one.name],
            )
        if one.restricted and value not in one.choices:
            raise RefusedWrite(
                400,
                "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                f"{one.name}: bad value for restricted picklist field: {value}",
                [one.name],
            )
        if one.type == "reference" and self.row(value) is None and "User" not in one.refers_to:
            raise RefusedWrite(
                400,
                "INVALID_CROSS_REFERENCE_KEY",
                f"{one.name}: id value of incorrect type: {value}",
                [one.name],
            )
        if one.type in {"date", "datetime"} and not _is_time(value):
            raise RefusedWrite(
                400,
                "JSON_PARSER_ERROR",
                f"Cannot deserialize instance of {one.type} from VALUE_STRING value {value}",
                None,
            )

    def _cleaned(self, sobject: SObject, values: Mapping[str, Any]) -> dict[str, Any]:
        """The CRM trims texts, keeps an empty one as nothing, and ids with all 18 characters."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            text = value.strip() or None if isinstance(value, str) else value
            is_id = sobject.fields[name].type == "reference" and text and len(text) == 15
            found[name] = text + checked(text) if is_id else text
        return found

    def _require_unique(
        self, sobject: SObject, values: Mapping[str, Any], mine: Mapping[str, Any] | None
    ) -> None:
        for name, value in values.items():
            if not sobject.fields[name].unique or not value:
                continue
            same = [one for one in self.by_field(sobject, name, value) if one is not mine]
            if same:
                raise RefusedWrite(
                    400,
                    "DUPLICATE_VALUE",
                    f"duplicate value found: {name} duplicates value on record with id: {same[0]['Id']}",
                )

    def _require_no_duplicate(self, sobject: SObject, values: Mapping[str, Any]) -> None:
        """As the standard rules for people do: the same address, among contacts and leads."""
        email = values.get("Email")
        if not self.has_duplicate_rule or sobject.name not in {"Contact", "Lead"} or not email:
            return
        for name in ("Contact", "Lead"):
            if found := self.by_field(self.schema[name], "Email", email):
                refusal = RefusedWrite(
                    400, "DUPLICATES_DETECTED", "Use one of these records?", None
                )
                refusal.errors[0]["duplicateResult"] = {
                    "allowSave": True, "duplicateRule": f"Standard_{name}_Duplicate_Rule", "errorMessage": "Use one of these records?",
                    "matchResults": [{"entityType": name, "matchRecords": [{"record": {"attributes": {"type": name}, "Id": one["Id"]}} for one in found]}],
                }  # fmt: skip
                raise refusal

    def by_field(self, sobject: SObject, name: str, value: str) -> list[dict[str, Any]]:
        """Live records by a text, compared without case as the CRM does."""
        rows = self.rows(sobject.name, everything=False)
        return [
            row for row in rows if str(row.get(name) or "").casefold() == value.strip().casefold()
        ]


def is_writable(sobject: SObject, one: Field, by: User, *, is_new: bool) -> bool:
    """By the field itself and by the field-level security of this user."""
    is_closed = one.is_kept_by_crm or one.type == "address" or (one.create_only and not is_new)
    return not is_closed and f"{sobject.name}.{one.name}" not in by.locked


def checked(short: str) -> str:
    """The three characters that make an id of 15 safe where case is lost."""
    blocks = (short[at : at + 5] for at in (0, 5, 10))
    return "".join(
        _CHECKS[sum(1 << at for at, char in enumerate(block) if char.isupper())] for block in blocks
    )


def _name(sobject: SObject, row: dict[str, Any]) -> None:
    if "LastName" in sobject.fields:
        row["Name"] = " ".join(part for part in (row.get("FirstName"), row.get("LastName")) if part)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
