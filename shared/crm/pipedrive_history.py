"""What happened to a record of Pipedrive: its change log, its flow, its notes, and who did it.

https://developers.pipedrive.com/docs/api/v1/Persons#getPersonChangelog
https://developers.pipedrive.com/docs/api/v1/Persons#getPersonUpdates
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

from shared.crm.kept import Kept
from shared.crm.metadata import CrmChange
from shared.crm.pipedrive_fields import Get, name_of, older_pages, pages
from shared.crm.pipedrive_values import instant_of
from shared.crm.transport import path_of, scalar
from shared.domain.record import HistoryItem, RecordRef
from shared.errors import NotFound, Rejected

# Which records have a change log, and which a flow (notes, activities, mails, changes together).
LOGGED: Final = frozenset({"persons", "deals", "organizations"})
NEWEST: Final = 500
# The parameter by which notes and activities name the record they hang on.
PARENTS: Final = {
    "persons": "person_id",
    "deals": "deal_id",
    "organizations": "org_id",
    "leads": "lead_id",
}
_FLOW: Final = "note,activity,change,dealChange,personChange,organizationChange,deal,mailMessage"
_BREAK: Final = re.compile(r"<br\s*/?>|</p>|</div>|</li>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^>]*>")
_MARK: Final = re.compile(r"\[Countersign change ([A-Za-z0-9._:-]{1,200})\]")
_LINES: Final = re.compile(r"(?:<p>[^<]*</p>)+")
_NEVER: Final = "1970-01-01 00:00:00"


def mark_of(change_id: str) -> str:
    """What a note of ours ends with, so that it can be found again."""
    return f"[Countersign change {change_id}]"


def marked(content: str) -> str | None:
    """The change id that a note carries as its last line; what stands before is anybody's text."""
    found = _MARK.fullmatch((text_of(content).splitlines() or [""])[-1])
    return found[1] if found else None


def html_of(text: str, change_id: str) -> str:
    """A note of ours: a paragraph for each line, the last one with the change."""
    lines = (*text.splitlines(), mark_of(change_id))
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def given_in(content: str) -> str:
    """The text of a note of ours as it was given, or its words where Pipedrive cleaned it."""
    lines = _LINES.fullmatch(content)
    if lines is None:
        return text_of(content).rpartition("\n")[0]
    *given, _ = content.removeprefix("<p>").removesuffix("</p>").split("</p><p>")
    return "\n".join(html.unescape(line) for line in given)


def text_of(content: Any) -> str:
    """The words of a note, which is HTML there."""
    text = html.unescape(_TAG.sub("", _BREAK.sub("\n", str(content or ""))))
    return "\n".join(line for line in (" ".join(one.split()) for one in text.splitlines()) if line)


class People:
    """The names of users by id; a user whom the token may not see is told by number."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._kept: Kept[str] = Kept(self._asked)

    def name(self, id_: Any) -> str:
        return "Pipedrive" if id_ is None else self._kept.get(str(id_))

    def _asked(self, id_: str) -> str:
        try:
            data = self._get(path_of("/v1/users/{id}", id=id_), {})["data"]
        except Rejected:
            return f"user {id_}"
        return f"{data['name']} (user {id_})"


class History:
    """Reads what happened to records of the account ``crm``."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._people = People(get)

    def changes(self, ref: RecordRef) -> list[CrmChange]:
        """Who changed which field, the newest `NEWEST` first; none where there is no log."""
        if ref.type not in LOGGED:
            return []
        path = path_of("/v1/" + ref.type + "/{id}/changelog", id=ref.id)
        rows = islice(pages(self._get, path, {"limit": "100"}), NEWEST)
        found = [self._change(ref, row) for row in rows]
        return sorted(found, key=lambda change: change.at, reverse=True)

    def changes_of(self, ref: RecordRef, user: int, since: datetime) -> list[CrmChange]:
        """What this user changed at or after ``since``."""
        path = path_of("/v1/" + ref.type + "/{id}/changelog", id=ref.id)
        return [
            self._change(ref, row)
            for row in islice(pages(self._get, path, {"limit": "100"}), NEWEST)
            if row["actor_user_id"] == user and instant_of(row["time"]) >= since
        ]

    def items(self, ref: RecordRef) -> list[HistoryItem]:
        """Notes, calls, mails, deals and changes in words, the newest first."""
        found = [*self._notes(ref), *self._flow(ref)]
        if ref.type not in LOGGED:
            found += self._activities(ref)
        return sorted(found, key=lambda item: item.at, reverse=True)

    def notes_by(self, user: int, since: datetime) -> Iterator[Mapping[str, Any]]:
        stamp = f"{since:%Y-%m-%dT%H:%M:%SZ}"
        for row in older_pages(
            self._get, "/v1/notes", {"user_id": str(user), "updated_since": stamp}
        ):
            if instant_of(row["add_time"]) >= since and row.get("active_flag") is not False:
                yield row

    def note_as_change(self, row: Mapping[str, Any], crm: str) -> CrmChange | None:
        """A note on one of our object types, as a line of history."""
        for object_type, parent in PARENTS.items():
            if row.get(parent):
                return CrmChange(
                    ref=RecordRef(crm=crm, type=object_type, id=str(row[parent])),
                    kind="note",
                    field=None,
                    old=None,
                    new=text_of(row["content"]),
                    at=instant_of(row["add_time"]),
                    by=str((row.get("user") or {}).get("name") or f"user {row.get('user_id')}"),
                    change_id=marked(row["content"]),
                )
        return None

    def _change(self, ref: RecordRef, row: Mapping[str, Any]) -> CrmChange:
        return CrmChange(
            ref=ref,
            kind="field",
            field=name_of(row["field_key"]),
            old=scalar(row["old_value"]),
            new=scalar(row["new_value"]),
            at=instant_of(row["time"]),
            by=self._people.name(row["actor_user_id"]),
            change_id=None,
        )

    def _notes(self, ref: RecordRef) -> Iterator[HistoryItem]:
        """From their own list: the flow may lag behind a note that was just written."""
        if ref.type not in PARENTS:
            return
        params = {PARENTS[ref.type]: ref.id, "sort": "add_time DESC", "limit": "100"}
        for row in self._get("/v1/notes", params)["data"] or ():
            if row.get("active_flag") is not False:
                who = (row.get("user") or {}).get("name") or f"user {row.get('user_id')}"
                text = f"{who}: {text_of(row['content'])}"
                yield HistoryItem(at=instant_of(row["add_time"]), kind="note", text=text)

    def _flow(self, ref: RecordRef) -> Iterator[HistoryItem]:
        if ref.type not in LOGGED:
            return
        path = path_of("/v1/" + ref.type + "/{id}/flow", id=ref.id)
        params = {"all_changes": "1", "items": _FLOW, "limit": "100"}
        for row in self._get(path, params)["data"] or ():
            kind, data = str(row["object"]), row["data"]
            at = instant_of(row.get("timestamp") or data.get("add_time") or _NEVER)
            if kind.endswith("Change"):
                text = self._change_in_words(data)
                yield HistoryItem(at=at, kind="change", text=text)
            elif kind in {"activity", "deal", "mailMessage"}:
                yield HistoryItem(at=at, **_in_words(kind, data))

    def _change_in_words(self, data: Mapping[str, Any]) -> str:
        old, new = _shown(data["old_value"]), _shown(data["new_value"])
        who = self._people.name(data.get("user_id"))
        return f"{who}: {name_of(data['field_key'])} from {old} to {new}"

    def _activities(self, ref: RecordRef) -> Iterator[HistoryItem]:
        if ref.type not in PARENTS:
            return
        params = {PARENTS[ref.type]: ref.id, "limit": "100"}
        for row in pages(self._get, "/api/v2/activities", params):
            at = instant_of(row.get("add_time") or _NEVER)
            yield HistoryItem(at=at, **_in_words("activity", row))


def _in_words(kind: str, data: Mapping[str, Any]) -> dict[str, str]:
    if kind == "deal":
        title, status = data.get("title") or data.get("id"), data.get("status")
        return {"kind": "deal", "text": f"{title}: {status}"}
    if kind == "mailMessage":
        text = f"{data.get('subject') or ''}: {text_of(data.get('snippet'))}"
        return {"kind": "mail", "text": text.strip(": ")}
    done = "done" if data.get("done") else f"due {data.get('due_date') or 'some day'}"
    words = (str(data.get("subject") or ""), done, text_of(data.get("note")))
    return {"kind": str(data.get("type") or "activity"), "text": ", ".join(w for w in words if w)}


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == "" else str(value)


def require_parent(ref: RecordRef) -> str:
    """The key by which a note names this record. Raises `NotFound` where it can have none."""
    if ref.type not in PARENTS:
        raise NotFound(f"a note cannot hang on {ref.type}")
    return PARENTS[ref.type]
