"""The write side of HubSpot: fifteen calls from one table, each write sent at most once.

https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide
https://developers.hubspot.com/docs/api-reference/crm-notes-v3/guide

HubSpot's right to write a contact is also the right to delete and to merge it, so the table below
is what keeps this product from either.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Self

from services.writer.crm import OutcomeUnknown
from services.writer.crm.sending import Sender, confirm
from shared.crm.accounts import Account
from shared.crm.hubspot import PEOPLE
from shared.crm.hubspot_access import Access, heed, judged, naming_the_other
from shared.crm.hubspot_fields import closed_by_name, names_of
from shared.crm.hubspot_history import AT, change_id_of, note_body, text_in
from shared.crm.hubspot_objects import MOST_PAGES, after_of, batch_body, rows_of
from shared.crm.transport import understood
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, parse_instant, rfc3339
from shared.errors import CRMUnavailable, NotFound, Rejected

TIMEOUT: Final = 10.0
# How notes and tasks are linked to a record of each type: HubSpot's own numbers, the same in each
# account. https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide
LINKS: Final[Mapping[str, Mapping[str, int]]] = {
    "notes": {"contacts": 202, "companies": 190, "deals": 214},
    "tasks": {"contacts": 204, "companies": 192, "deals": 216},
}
WRITTEN: Final = ("contacts", "companies", "deals")
# What is read of each, the property with our mark first.
_SHOWN: Final = {
    "notes": ("hs_note_body",),
    "tasks": ("hs_task_body", "hs_task_subject", AT),
}
_RECORD = "/crm/objects/{version}/%s/{id}"
_LINKED = "/crm/associations/{version}/%s/%s/batch/read"
_PEOPLE_BY = "/crm/objects/{version}/contacts/batch/read"
_UPSERT = "/crm/objects/{version}/contacts/batch/upsert"
_ADD = "/crm/objects/{version}/%s"
_READ = "/crm/objects/{version}/%s/batch/read"
# Everything that this product can ever ask of HubSpot with its writing key.
ALLOWED: Final = frozenset(
    {
        *(("PATCH", _RECORD % type_) for type_ in WRITTEN),
        *(("POST", _LINKED % (type_, kind)) for type_ in WRITTEN for kind in LINKS),
        *(("POST", path % kind) for path in (_ADD, _READ) for kind in LINKS),
        ("POST", _PEOPLE_BY),
        ("POST", _UPSERT),
    }
)
_LONGEST_NOTE = 65536
_DUE: Final = "T12:00:00.000Z"
_BATCH = 100


class HubSpotWriter:
    """Writes with the writing key. ``timeout`` is in seconds, for a whole exchange.

    Every write raises `Rejected` (`NotFound`, `Conflict`) where HubSpot refused it,
    `CRMUnavailable` where it certainly had no effect and may be tried again, and `OutcomeUnknown`
    where nobody can say.
    """

    is_conditional = False
    marks_updates = False
    problem: ClassVar[str | None] = None

    def __init__(self, account: Account, *, timeout: float = TIMEOUT) -> None:
        self.crm = account.name
        self._names = names_of(account)
        self._mark = account.options.get("mark_property") or None
        self._access = Access(account, timeout=timeout)
        self._sender = Sender(
            self._access.url,
            self._access.authorization,
            ALLOWED,
            timeout=timeout,
            pace=self._access.pace,
            judge=judged,
            heed=heed,
        )

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(account)

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,
        version: str | None = None,
    ) -> None:
        """Set these properties. HubSpot has no condition and no mark for it.

        ``change_id`` and ``version`` stay here: what the record holds afterwards tells.
        """
        del change_id, version
        self._require(ref)
        for name in fields:
            if class_ := self._closed(name):
                raise Rejected(f"{ref.type}.{name} is a {class_} property and stays closed")
        if not fields:
            raise Rejected("an update sets something")
        body = {"properties": {name: _text(value) for name, value in fields.items()}}
        answer = self._write("PATCH", _RECORD % ref.type, body, id=ref.id)
        confirm(lambda: str(answer["id"]), ref.id)

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note, unless the record has the one of this change already."""
        self._require(ref)
        body = note_body(text, change_id)
        if len(body) > _LONGEST_NOTE:
            raise Rejected(f"a note of HubSpot's has at most {_LONGEST_NOTE} characters")
        if self._marked(ref, "notes", change_id) is None:
            values = {AT: rfc3339(datetime.now(UTC)), "hs_note_body": body}
            self._append(ref, "notes", values, change_id)

    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change."""
        found = self._marked(ref, "notes", change_id)
        return None if found is None else text_in(found["hs_note_body"])

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """Append a task, unless the record has the one of this change already."""
        if self._marked(ref, "tasks", change_id) is None:
            values = {
                # HubSpot wants a time: noon is on the same day nearly everywhere.
                AT: f"{due}{_DUE}" if due else rfc3339(datetime.now(UTC)),
                "hs_task_subject": subject,
                "hs_task_body": note_body("", change_id),
                "hs_task_status": "NOT_STARTED",
            }
            self._append(ref, "tasks", values, change_id)

    @understood()
    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """``subject`` and ``due`` of the task of this change; another time than noon is no day."""
        found = self._marked(ref, "tasks", change_id)
        if found is None:
            return None
        at = rfc3339(parse_instant(found[AT]))
        due = at.removesuffix(_DUE) if at.endswith(_DUE) else None
        return {"subject": str(found["hs_task_subject"]), "due": due}

    def task_setup(self) -> None:
        """Nothing of a task is set by the account."""

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new contact that carries the change id in the account's ``mark_property``.

        Sent twice, it is still one contact, for HubSpot keeps that property's values apart. Raises
        `Conflict` where somebody has the e-mail address already.
        """
        mark = self._need_mark()
        if unknown := [name for name, value in fields.items() if value and name not in self._names]:
            raise Rejected(f"HubSpot has no {', '.join(sorted(unknown))} of a contact")
        known = {self._names[name]: _text(value) for name, value in fields.items() if value}
        row = {"id": change_id, "idProperty": mark, "properties": {**known, mark: change_id}}
        answer = self._write("POST", _UPSERT, {"inputs": [row]})
        made = _first(answer)
        confirm(lambda: (made["properties"][mark], bool(made["id"])), (change_id, True))
        return self._ref(made)

    def find(self, change_id: str) -> RecordRef | None:
        """The contact that this change has made, as HubSpot holds it now and not by its index.

        Of an update or a note it knows nothing. Raises `CRMUnavailable`.
        """
        if self._mark is None:
            return None
        body = batch_body([change_id], [self._mark], by=self._mark)
        rows = self._rows(_PEOPLE_BY, body)
        with understood():
            found = [row for row in rows if row["properties"][self._mark] == change_id]
            return self._ref(found[0]) if found else None

    def scopes(self) -> tuple[str, ...]:
        """What the token may do; ``unknown`` of a service key, whose scopes HubSpot hides."""
        return self._access.scopes()

    def _append(self, ref: RecordRef, kind: str, values: Mapping[str, str], change_id: str) -> None:
        link = {
            "associationCategory": "HUBSPOT_DEFINED",
            "associationTypeId": LINKS[kind][ref.type],
        }
        associations = [{"to": {"id": ref.id}, "types": [link]}]
        answer = self._write(
            "POST", _ADD % kind, {"properties": dict(values), "associations": associations}
        )
        confirm(lambda: change_id_of(answer["properties"][_SHOWN[kind][0]]), change_id)

    def _marked(self, ref: RecordRef, kind: str, change_id: str) -> Mapping[str, Any] | None:
        """The properties of the record's note or task that carries this change."""
        self._require(ref)
        ids = self._linked(ref, kind)
        for at in range(0, len(ids), _BATCH):
            body = batch_body(ids[at : at + _BATCH], list(_SHOWN[kind]))
            with understood():
                for row in self._rows(_READ % kind, body):
                    found: Mapping[str, Any] = row["properties"]
                    if change_id_of(found.get(_SHOWN[kind][0])) == change_id:
                        return found
        return None

    def _linked(self, ref: RecordRef, kind: str) -> list[str]:
        """The ids of all notes or tasks of a record, the newest first."""
        found: list[int] = []
        asked = {"id": ref.id}
        for _ in range(MOST_PAGES):
            rows = self._rows(_LINKED % (ref.type, kind), {"inputs": [asked]})
            after: str | None = None
            with understood():
                for row in rows:
                    found += [int(to["toObjectId"]) for to in row["to"]]
                    after = after_of(row)
            if after is None:
                return [str(id_) for id_ in sorted(set(found), reverse=True)]
            asked = {"id": ref.id, "after": after}
        raise CRMUnavailable(f"the record has more {kind} than can be looked through")

    def _rows(self, template: str, body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        answer = self._sender.read("POST", template, body=body, version=self._access.version)
        with understood():
            return rows_of(answer)

    def _write(
        self, method: str, template: str, body: Mapping[str, Any], **more: Any
    ) -> dict[str, Any]:
        """What the answer says. A success that nobody can read may or may not be one."""
        version = self._access.version
        answer = self._sender.write(method, template, body, version=version, **more)
        if not isinstance(answer.data, dict):
            raise OutcomeUnknown(answer.reason)
        if answer.status == 207 or answer.data.get("errors"):
            raise Rejected(naming_the_other(answer))
        return answer.data

    def _require(self, ref: RecordRef) -> None:
        if ref.crm != self.crm or ref.type not in WRITTEN:
            raise NotFound(f"nothing is written to {ref.crm}/{ref.type} through [{self.crm}]")

    def _closed(self, name: str) -> str | None:
        return "read_only" if name == self._mark else closed_by_name(name)

    def _need_mark(self) -> str:
        if self._mark is None:
            raise Rejected(
                f"the CRM account [{self.crm}] names no mark_property: a contact could not be"
                " found again by its change, so none is made"
            )
        return self._mark

    def _ref(self, row: Mapping[str, Any]) -> RecordRef:
        return RecordRef(crm=self.crm, type=PEOPLE, id=str(row["id"]))


def _first(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of a batch of one, empty where the answer has none."""
    rows = answer.get("results")
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}


def _text(value: Scalar) -> str:
    """HubSpot takes strings alone, and the empty one for "no value"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
