"""What our own app has written in HubSpot, by HubSpot's history: for comparing with the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from shared.crm.hubspot_history import change_id_of, versions
from shared.crm.hubspot_objects import Objects, Row
from shared.crm.metadata import CrmChange
from shared.domain.record import RecordRef
from shared.domain.schema import parse_instant

_SOURCE: Final = "hs_object_source_id"
_BODY: Final = "hs_note_body"
# The first versions of a record's properties are written within the moment in which it is made.
_MAKING: Final = timedelta(seconds=1)


class Ours:
    """``app`` is the id that HubSpot's history shows of our app, ``mark`` the property that
    carries the change id of a person that we made.

    Every method raises as `Objects` does.
    """

    def __init__(self, objects: Objects, crm: str, app: str, mark: str | None) -> None:
        self._objects = objects
        self._crm = crm
        self._app = app
        self._mark = mark
        self._by = f"integration {app}"

    def records(self, type_: str, names: Sequence[str], since: datetime) -> list[CrmChange]:
        """What was made or changed among the records of a type at or after ``since``."""
        modified = modified_of(type_)
        moved = self._objects.search(type_, _since(modified, since), (), sort=modified)
        ids = [str(row["id"]) for row in moved]
        shown = (_SOURCE, *((self._mark,) if self._mark else ()))
        rows = self._objects.batch(type_, ids, shown, history=names) if ids else []
        return [change for row in rows for change in self._of_record(type_, row, since)]

    def notes(self, types: Sequence[str], since: datetime) -> list[CrmChange]:
        """The notes that we added at or after ``since``, each with the records it is linked to."""
        made = _since("hs_createdate", since)
        made[0].append({"propertyName": _SOURCE, "operator": "EQ", "value": self._app})
        rows = self._objects.search("notes", made, (_BODY,), sort="hs_createdate")
        ids = [str(row["id"]) for row in rows]
        found: list[CrmChange] = []
        for type_ in types:
            links = self._objects.links("notes", ids, type_) if ids else {}
            found += [
                self._of_note(row, RecordRef(crm=self._crm, type=type_, id=id_))
                for row in rows
                for id_ in links[str(row["id"])]
            ]
        return found

    def _of_record(self, type_: str, row: Row, since: datetime) -> list[CrmChange]:
        ref = RecordRef(crm=self._crm, type=type_, id=str(row["id"]))
        made_at = parse_instant(row["createdAt"])
        is_ours = row["properties"].get(_SOURCE) == self._app
        until = made_at + _MAKING if is_ours else None

        def is_later_act(version: Row) -> bool:
            at = parse_instant(version["timestamp"])
            is_of_app = str(version.get("sourceId")) == self._app
            is_integration = version.get("sourceType") == "INTEGRATION"
            return is_of_app and is_integration and at >= since and (until is None or at > until)

        found = list(versions(ref, row, str, only=is_later_act))
        if is_ours and made_at >= since:
            found.append(self._made(ref, row, made_at))
        return found

    def _made(self, ref: RecordRef, row: Row, at: datetime) -> CrmChange:
        mark = row["properties"].get(self._mark) if self._mark else None
        return CrmChange(
            ref=ref, kind="created", field=None, old=None, new=None, at=at, by=self._by,
            change_id=mark or None,
        )  # fmt: skip

    def _of_note(self, row: Row, ref: RecordRef) -> CrmChange:
        body = row["properties"].get(_BODY)
        return CrmChange(
            ref=ref, kind="note", field=None, old=None, new=body,
            at=parse_instant(row["createdAt"]), by=self._by, change_id=change_id_of(body),
        )  # fmt: skip


def modified_of(object_type: str) -> str:
    """The property that says when a record of the type was last changed."""
    return "lastmodifieddate" if object_type == "contacts" else "hs_lastmodifieddate"


def _since(name: str, since: datetime) -> list[list[dict[str, str]]]:
    """HubSpot compares times as milliseconds."""
    value = str(int(since.timestamp() * 1000))
    return [[{"propertyName": name, "operator": "GTE", "value": value}]]
