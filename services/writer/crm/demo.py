"""The write side of the demo CRM: nine calls from one table, each sent at most once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.crm.sending import Sender, confirm
from shared.crm.accounts import Account
from shared.crm.authorization import bearer
from shared.crm.demo import CALLS_PER_SECOND, CRM, change_of
from shared.crm.metadata import CrmChange
from shared.crm.pace import Pace
from shared.crm.transport import Answer, scalar, understood
from shared.domain import ids
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable, Rejected

# Everything that this product can ever ask of the demo CRM with its write token.
ALLOWED = frozenset(
    {
        ("GET", "/api/me"),
        ("GET", "/api/changes"),
        ("PATCH", "/api/{type}/{id}"),
        ("GET", "/api/{type}/{id}/tasks"),
        ("POST", "/api/notes"),
        ("POST", "/api/tasks"),
        ("POST", "/api/drafts"),
        ("POST", "/api/drafts/{id}/promote"),
        ("POST", "/api/drafts/{id}/discard"),
    }
)
_LIVE = frozenset({"contacts", "deals"})


class DemoWriter:
    """Writes with the write token. ``timeout`` is in seconds, for a whole exchange.

    ``crm`` is another name than its own where an account of it stands in for another CRM.

    Every write raises `Rejected` (`NotFound`, `StaleRecord`) where the CRM refused it,
    `CRMUnavailable` where it certainly had no effect and may be tried again, and `OutcomeUnknown`
    where nobody can say; then `find` tells.
    """

    is_conditional = True
    marks_updates = True
    problem: ClassVar[str | None] = None

    def __init__(self, base_url: str, token: str, *, timeout: float = 10.0, crm: str = CRM) -> None:
        self.crm = crm
        self._sender = Sender(
            base_url,
            bearer(token),
            ALLOWED,
            timeout=timeout,
            pace=Pace(CALLS_PER_SECOND, CALLS_PER_SECOND),
            judge=_judged,
        )

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(account.need("url"), account.need("token"), crm=account.name)

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,
        version: str | None = None,
    ) -> None:
        """Set these fields; with ``version`` only while the record is still at it."""
        self._require_live(ref)
        row = self._write(
            "PATCH",
            "/api/{type}/{id}",
            {"fields": dict(fields), "change_id": change_id},
            headers={} if version is None else {"If-Match": f'"{version}"'},
            type=ref.type,
            id=ref.id,
        )
        confirm(lambda: (row["type"], row["id"], row["change_id"]), (ref.type, ref.id, change_id))

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note to a live record, unless this change has done so already."""
        self._require_live(ref)
        if self.note(ref, change_id=change_id) is not None:
            return
        body = {"type": ref.type, "id": ref.id, "text": text, "change_id": change_id}
        row = self._write("POST", "/api/notes", body)
        confirm(lambda: row["change_id"], change_id)

    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change. Raises `CRMUnavailable`."""
        notes = [one for one in self.effects(change_id) if one.kind == "note" and one.ref == ref]
        return str(notes[0].new) if notes else None

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """As `add_note`; ``due`` is a day such as 2026-11-30."""
        self._require_live(ref)
        if self.task(ref, change_id=change_id) is not None:
            return
        body = {"type": ref.type, "id": ref.id, "subject": subject, "due": due}
        row = self._write("POST", "/api/tasks", {**body, "change_id": change_id})
        confirm(lambda: row["change_id"], change_id)

    @understood()
    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """``subject`` and ``due`` of the task of this change. Raises `CRMUnavailable`."""
        data = self._read("/api/{type}/{id}/tasks", {}, type=ref.type, id=ref.id)
        for row in data["results"]:
            if row["change_id"] == change_id:
                return {"subject": scalar(row["subject"]), "due": scalar(row["due"])}
        return None

    def task_setup(self) -> None:
        """Nothing of a task is set by the account."""

    def create_draft(
        self, ref: RecordRef, fields: Mapping[str, Scalar], *, change_id: str
    ) -> RecordRef:
        """Where the draft of a new contact lies; ``ref`` is of type ``drafts``, its id is not used.

        The CRM knows no idempotent create: `find` the change before a second try.
        """
        if ref.crm != self.crm or ref.type != "drafts":
            raise Rejected(f"the demo CRM keeps no drafts in {ref.crm}/{ref.type}")
        body = {"type": "contacts", "fields": dict(fields), "change_id": change_id}
        row = self._write("POST", "/api/drafts", body)
        said = ("drafts", change_id, True)
        confirm(lambda: (row["type"], row["change_id"], bool(row["id"])), said)
        return self._ref(row)

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new contact, by way of a draft; whichever of them an earlier try made is found."""
        drafted = ids.derive("change", change_id, "draft")
        draft = self.find(drafted)
        if draft is None:
            new = RecordRef(crm=self.crm, type="drafts", id="new")
            draft = self.create_draft(new, fields, change_id=drafted)
        return self.promote(draft, change_id=change_id)

    def promote(self, draft: RecordRef, *, change_id: str) -> RecordRef:
        """The live contact that the draft became; one that an earlier try made is found."""
        self._require_draft(draft)
        if (made := self.promoted(change_id)) is not None:
            return made
        data = self._close_draft("/api/drafts/{id}/promote", draft, change_id)
        contact = data.get("contact") or {}
        said = (change_id, True)
        confirm(lambda: (contact["change_id"], bool(contact["type"] and contact["id"])), said)
        return self._ref(contact)

    def promoted(self, change_id: str) -> RecordRef | None:
        """The live contact that this act has made, if it has. Raises `CRMUnavailable`."""
        return next((one.ref for one in self.effects(change_id) if one.ref.type in _LIVE), None)

    def discard(self, draft: RecordRef, *, change_id: str) -> None:
        """Close the draft for good; it stays readable."""
        self._close_draft("/api/drafts/{id}/discard", draft, change_id)

    def effects(self, change_id: str) -> list[CrmChange]:
        """Every line of the CRM's history that carries this change. Raises `CRMUnavailable`."""
        with understood():
            data = self._read("/api/changes", {"change_id": change_id})
            return [change_of(row, self.crm) for row in data["changes"]]

    def find(self, change_id: str) -> RecordRef | None:
        """The record that this change has touched, or made. Raises `CRMUnavailable`."""
        found = self.effects(change_id)
        return found[0].ref if found else None

    def scopes(self) -> tuple[str, ...]:
        """What the token may do, by the CRM's own word."""
        with understood():
            return tuple(self._read("/api/me", {})["scopes"])

    def _close_draft(self, template: str, draft: RecordRef, change_id: str) -> dict[str, Any]:
        self._require_draft(draft)
        data = self._write("POST", template, {"change_id": change_id}, id=draft.id)
        confirm(lambda: (data["draft"]["id"], data["draft"]["change_id"]), (draft.id, change_id))
        return data

    def _read(self, path: str, params: Mapping[str, str], **ids: Any) -> dict[str, Any]:
        answer = self._sender.read("GET", path, params=params, **ids)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable(answer.reason)
        return answer.data

    def _write(
        self, method: str, template: str, body: Mapping[str, Any], **more: Any
    ) -> dict[str, Any]:
        """What the answer says. A success that nobody can read may or may not be one."""
        answer = self._sender.write(method, template, body, **more)
        if not isinstance(answer.data, dict):
            raise OutcomeUnknown(answer.reason)
        return answer.data

    def _require_live(self, ref: RecordRef) -> None:
        if ref.crm != self.crm or ref.type not in _LIVE:
            raise Rejected(f"the demo CRM has no live {ref.crm}/{ref.type}")

    def _require_draft(self, draft: RecordRef) -> None:
        if draft.crm != self.crm or draft.type != "drafts":
            raise Rejected(f"{draft} is no draft of the demo CRM")

    def _ref(self, row: Mapping[str, Any]) -> RecordRef:
        return RecordRef(crm=self.crm, type=str(row["type"]), id=str(row["id"]))


def _judged(answer: Answer) -> Rejected | None:
    return StaleRecord(answer.reason) if answer.status == 412 else None
