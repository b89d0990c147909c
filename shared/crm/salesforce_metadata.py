"""What Salesforce says of its objects: fields with their class, stages, and a cache of it all.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_sobject_describe.htm
A description is the one of the user who asks: ``updateable`` includes the field-level security.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.crm.client import Client
from shared.crm.kept import Kept
from shared.crm.metadata import FieldMeta
from shared.crm.transport import path_of
from shared.errors import CRMUnavailable

_TYPES: Final = {
    "email": "email",
    "phone": "phone",
    "date": "date",
    "datetime": "datetime",
    "picklist": "enum",
    "boolean": "boolean",
    "currency": "money",
    "percent": "money",
    "reference": "reference",
    "id": "reference",
}
_COMPUTED_TYPES: Final = frozenset({"id", "address", "location"})
_MONEY: Final = frozenset(
    {"CurrencyIsoCode", "Pricebook2Id", "ContractId", "TotalOpportunityQuantity"}
)
_OWNERS: Final = frozenset({"User", "Group", "Queue"})
# Standard names, and how organisations call fields of their own.
_CONSENT: Final = re.compile(
    r"opt(ed)?_?(in|out)|consent|unsubscri|gdpr|do_?not_?(call|mail|email|text|contact)|^IndividualId$",
    re.IGNORECASE,
)
_STAGE: Final = frozenset(
    {
        "StageName",
        "Status",
        "IsConverted",
        "IsClosed",
        "IsWon",
        "ForecastCategory",
        "ForecastCategoryName",
    }
)
# The picklists in which an object's stages are told.
STAGES: Final = {"opportunities": "StageName", "leads": "Status", "cases": "Status"}


class Descriptions:
    """Each object's description as the CRM gave it, asked for at most every few minutes.

    After these minutes it is asked for by condition, so that the CRM says whether it changed.
    """

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._kept = Kept(self._ask, clock=clock)
        # The last answer that had a body, and the CRM's own time of it.
        self._last: dict[str, tuple[Mapping[str, Any], str | None]] = {}

    def of(self, sobject: str) -> Mapping[str, Any]:
        """Raises as `Client.get` does, and `KeyError` and the like for another form."""
        return self._kept.get(sobject)

    def doubt(self, sobject: str) -> None:
        """Asked anew without a condition: rights of a user may change without the object's time."""
        self._kept.doubt(sobject)
        self._last.pop(sobject, None)

    def fields(self, sobject: str) -> dict[str, FieldMeta]:
        """As this user sees them, where the user may update the object at all.

        To a user who may only read, every field says that it cannot be updated; then the field's
        own nature tells, and the rights of the user who writes are seen when it writes.
        """
        body = self.of(sobject)
        may_update = body.get("updateable", True) is True
        return {row["name"]: field_of(row, may_update=may_update) for row in body["fields"]}

    def stages(self, sobject: str, field: str) -> dict[str, str]:
        """From value to label, in the CRM's order."""
        rows = (row for row in self.of(sobject)["fields"] if row["name"] == field)
        return {
            choice["value"]: choice["label"]
            for row in rows
            for choice in row["picklistValues"]
            if choice["active"]
        }

    def phones(self, sobject: str) -> list[str]:
        """The fields in which this user may look for a phone number."""
        return [
            row["name"]
            for row in self.of(sobject)["fields"]
            if row["type"] == "phone" and row["filterable"] and "Fax" not in row["name"]
        ]

    def _ask(self, sobject: str) -> Mapping[str, Any]:
        body, changed = self._last.get(sobject, ({}, None))
        answer = self._client.get(
            path_of("/sobjects/{object}/describe", object=sobject),
            headers={"If-Modified-Since": changed} if changed else {},
        )
        if changed and answer.status == 304:
            return body
        if not isinstance(answer.data, dict) or not isinstance(answer.data.get("fields"), list):
            raise CRMUnavailable("the CRM described an object without its fields")
        self._last[sobject] = answer.data, answer.headers.get("Last-Modified")
        return answer.data


def field_of(row: Mapping[str, Any], *, may_update: bool = True) -> FieldMeta:
    """One field of a description. ``may_update``: the describing user may update the object.

    Raises `KeyError` and the like for another form.
    """
    is_enum = row["type"] == "picklist"
    choices = tuple(one["value"] for one in row["picklistValues"] if one["active"])
    is_read_only = _is_computed(row) or (
        not row["updateable"] if may_update else _is_kept_by_crm(row)
    )
    return FieldMeta(
        name=row["name"],
        label=row["label"],
        type=_TYPES.get(row["type"], "text"),
        max_length=row["length"] or None,
        allowed_values=choices if is_enum else None,
        read_only=is_read_only,
        field_class=_class_of(row) or ("read_only" if is_read_only else None),
    )


def _is_computed(row: Mapping[str, Any]) -> bool:
    return bool(row["calculated"] or row["autoNumber"] or row["type"] in _COMPUTED_TYPES)


def _is_kept_by_crm(row: Mapping[str, Any]) -> bool:
    """Told without the rights of a user: what has no rights of its own and need not be given.

    Rights cannot be set for system fields nor for required ones; only the latter must be given.
    """
    if row["permissionable"]:
        return False
    is_composed_name = row.get("extraTypeInfo") == "personname"
    return bool(is_composed_name or row["nillable"] or row["defaultedOnCreate"])


def _class_of(row: Mapping[str, Any]) -> str | None:
    name, kind, targets = row["name"], row["type"], set(row["referenceTo"])
    if row["encrypted"] or kind == "encryptedstring":
        return "sensitive"
    if kind in {"currency", "percent"} or name in _MONEY:
        return "money"
    if name == "OwnerId" or _OWNERS & targets:
        return "owner"
    if name == "RecordTypeId":
        return "permission"
    if _CONSENT.search(name) or "Individual" in targets:
        return "consent"
    return "stage" if name in _STAGE else None
