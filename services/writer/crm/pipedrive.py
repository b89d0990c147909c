"""The write side of Pipedrive: eight writes from one table, each sent at most once.

https://developers.pipedrive.com/docs/api/v1/Persons#updatePerson
https://developers.pipedrive.com/docs/api/v1/Notes#addNote
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Self

from services.writer.crm import OutcomeUnknown
from services.writer.crm.sending import Sender, confirm
from shared.crm.accounts import Account
from shared.crm.pipedrive import require_alive, user_rights
from shared.crm.pipedrive_account import (
    RECORDS,
    Company,
    heed,
    judged,
    naming_the_scope,
    require_record,
)
from shared.crm.pipedrive_fields import Catalogue, Field
from shared.crm.pipedrive_finding import PEOPLE
from shared.crm.pipedrive_history import given_in, html_of, marked, require_parent
from shared.crm.pipedrive_values import OPEN, to_body, with_primary
from shared.crm.transport import path_of, understood
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import CRMUnavailable, NotFound, Rejected

# Everything that this product can ever ask of Pipedrive with its write credential.
ALLOWED: Final = frozenset(
    {
        ("GET", "/v1/users/me"),
        ("GET", "/v1/notes"),
        ("GET", "/v1/leads/{id}"),
        ("GET", "/v1/personFields"),
        ("GET", "/v1/dealFields"),
        ("GET", "/v1/organizationFields"),
        ("GET", "/api/v2/personFields"),
        ("GET", "/api/v2/dealFields"),
        ("GET", "/api/v2/organizationFields"),
        ("GET", "/api/v2/persons"),
        ("GET", PEOPLE),
        ("GET", "/api/v2/itemSearch"),
        ("GET", "/api/v2/persons/{id}"),
        ("GET", "/api/v2/deals/{id}"),
        ("GET", "/api/v2/organizations/{id}"),
        ("GET", "/api/v2/activities"),
        ("GET", "/api/v2/activities/{id}"),
        ("PATCH", "/api/v2/persons/{id}"),
        ("PATCH", "/api/v2/deals/{id}"),
        ("PATCH", "/api/v2/organizations/{id}"),
        ("PATCH", "/api/v2/activities/{id}"),
        ("PATCH", "/v1/leads/{id}"),
        ("POST", "/api/v2/persons"),
        ("POST", "/api/v2/activities"),
        ("POST", "/v1/notes"),
    }
)
# What no policy can open here, whatever else the metadata says.
CLOSED: Final = frozenset({"money", "owner", "consent", "sensitive", "read_only"})
TIMEOUT: Final = 10.0
# Our words for the parts of what is one postal address there, in its order.
_PLACES: Final = ("address", "postal_code", "city")
_NUMERIC: Final = frozenset({"persons", "deals", "organizations"})


class PipedriveWriter:
    """Writes with a token of its own. ``timeout`` is in seconds, for a whole exchange.

    Every write raises `Rejected` (`NotFound`) where the CRM refused it, `CRMUnavailable` where it
    certainly had no effect and may be tried again, and `OutcomeUnknown` where nobody can say.
    Pipedrive knows no conditional write, and no mark on an update.
    """

    is_conditional = False
    marks_updates = False
    problem: ClassVar[str | None] = None

    def __init__(self, account: Account, *, timeout: float = TIMEOUT) -> None:
        self.crm = account.name
        self._company = Company(account, timeout=timeout)
        self._mark_field = account.options.get("mark_field")
        self._catalogue = Catalogue(self._get)

    @classmethod
    def of(cls, account: Account) -> Self:
        return cls(account)

    def update(
        self,
        ref: RecordRef,
        fields: Mapping[str, Scalar],
        *,
        change_id: str,  # noqa: ARG002 - an update has no place for it.
        version: str | None = None,  # noqa: ARG002 - there is no condition to hang it on.
    ) -> None:
        """Set these fields; of e-mails and phones the primary entry alone."""
        path = self._require(ref)
        if ref.type not in OPEN or not fields:
            raise Rejected(f"nothing of {ref.type} may be written")
        if self._mark_field in fields:
            raise Rejected("the mark of a change is no field to write")
        with understood():
            live = self._get(path_of(path, id=ref.id), {})["data"]
            require_alive(live)
            self._catalogue.expect(ref.type, fields)
            known = self._catalogue.of(ref.type)
            body = _body(ref.type, fields, known, live)
        try:
            data = self._write("PATCH", path, body, id=ref.id)
        except Rejected:
            self._catalogue.doubt(ref.type)
            raise
        confirm(lambda: str(data["id"]), ref.id)

    def add_note(self, ref: RecordRef, text: str, *, change_id: str) -> None:
        """Append a note, unless the record already has the one of this change."""
        if self.note(ref, change_id=change_id) is not None:
            return
        body = {"content": html_of(text, change_id), **_hung_on(ref)}
        data = self._write("POST", "/v1/notes", body)
        # Pipedrive cleans the content, so the answer need not hold it as it was sent.
        confirm(lambda: isinstance(data["id"], int), expected=True)

    @understood()
    def note(self, ref: RecordRef, *, change_id: str) -> str | None:
        """The text of the note of this change, among the newest hundred."""
        self._require(ref)
        params = {require_parent(ref): ref.id, "sort": "add_time DESC", "limit": "100"}
        for row in self._get("/v1/notes", params)["data"] or ():
            if marked(row["content"]) == change_id:
                return given_in(row["content"])
        return None

    def add_task(self, ref: RecordRef, subject: str, due: str | None, *, change_id: str) -> None:
        """An activity of type task whose note carries the change, unless there is one already."""
        if self.task(ref, change_id=change_id) is not None:
            return
        day = {} if due is None else {"due_date": due}
        body = {"subject": subject, "type": "task", "note": html_of("", change_id), **day}
        data = self._write("POST", "/api/v2/activities", body | _hung_on(ref))
        confirm(lambda: isinstance(data["id"], int), expected=True)

    @understood()
    def task(self, ref: RecordRef, *, change_id: str) -> Mapping[str, Scalar] | None:
        """``subject`` and ``due`` of the task of this change, among the newest hundred."""
        self._require(ref)
        newest = {"sort_by": "add_time", "sort_direction": "desc", "limit": "100"}
        params = {require_parent(ref): ref.id, **newest}
        for row in self._get("/api/v2/activities", params)["data"] or ():
            if marked(row.get("note") or "") == change_id:
                return {"subject": row["subject"], "due": row.get("due_date") or None}
        return None

    def task_setup(self) -> None:
        """Nothing of a task is set by the account."""

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """A new person from our words, with the change id in the own field ``mark_field``.

        Raises `Rejected` without one: a person that cannot be found again might be made twice.
        """
        if self._mark_field is None:
            raise Rejected("a new person needs mark_field, an own text field of persons")
        with understood():
            body = self._person(fields) | {"custom_fields": {self._mark_field: change_id}}
        data = self._write("POST", "/api/v2/persons", body)
        confirm(lambda: isinstance(data["id"], int), expected=True)
        return RecordRef(crm=self.crm, type="persons", id=str(data["id"]))

    def find(self, change_id: str) -> RecordRef | None:
        """The person that this change has made. Raises `CRMUnavailable`.

        The newest persons are looked at besides the search, whose index comes later.
        """
        if self._mark_field is None:
            return None
        with understood():
            rows = [row for row in self._newest() if self._is_marked(row, change_id)]
            found = rows or self._searched(change_id)
        return RecordRef(crm=self.crm, type="persons", id=str(found[0]["id"])) if found else None

    def scopes(self) -> tuple[str, ...]:
        """The scopes of an app; an API token has all rights of its user and says only who it is."""
        granted = self._company.granted()
        if granted is not None:
            return granted
        with understood():
            return user_rights(self._get("/v1/users/me", {})["data"])

    def _require(self, ref: RecordRef) -> str:
        return require_record(ref.crm, ref.type, ref.id, account=self.crm)

    def _newest(self) -> Iterable[Mapping[str, Any]]:
        params = {
            "sort_by": "add_time",
            "sort_direction": "desc",
            "custom_fields": str(self._mark_field),
            "limit": "100",
        }
        return self._get("/api/v2/persons", params)["data"] or ()

    def _searched(self, change_id: str) -> list[Mapping[str, Any]]:
        params = {"term": change_id, "fields": "custom_fields", "exact_match": "true"}
        found = []
        for row in self._get(PEOPLE, params)["data"]["items"]:
            path = path_of(RECORDS["persons"], id=str(row["item"]["id"]))
            try:
                person = self._get(path, {})["data"]
            except NotFound:
                continue
            if self._is_marked(person, change_id):
                found.append(person)
        return found

    def _is_marked(self, row: Mapping[str, Any], change_id: str) -> bool:
        return (row.get("custom_fields") or {}).get(self._mark_field) == change_id

    def _person(self, fields: Mapping[str, Scalar]) -> dict[str, Any]:
        """The body of a new person, linked to the organization that its company names."""
        company = str(fields.get("company") or "").strip()
        organization = self._organization(company) if company else None
        if organization is None:
            return _person(fields)
        rest = {name: value for name, value in fields.items() if name != "company"}
        return _person(rest) | {"org_id": organization}

    def _organization(self, name: str) -> int | None:
        """The one organization of exactly this name; with several nobody can say which.

        An app without the scope ``search:read`` links nobody.
        """
        params = {"term": name, "item_types": "organization", "fields": "name"}
        try:
            found = self._get("/api/v2/itemSearch", params | {"exact_match": "true"})
        except Rejected:
            return None
        rows = found["data"]["items"]
        ids = {
            int(row["item"]["id"])
            for row in rows
            if row["item"]["type"] == "organization"
            and str(row["item"]["name"]).strip().casefold() == name.strip().casefold()
        }
        return ids.pop() if len(ids) == 1 else None

    def _get(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        """A question; ``path`` may have its id in it already."""
        template, ids = _template(path)
        self._company.budget.spend("GET", template, patience=self._company.timeout)
        with naming_the_scope(path, "full"):
            answer = self._sender.read("GET", template, params=params, **ids)
        if not isinstance(answer.data, dict):
            raise CRMUnavailable(answer.reason)
        return answer.data

    def _write(self, method: str, template: str, body: Mapping[str, Any], **ids: Any) -> Any:
        """What the answer says. A success that nobody can read may or may not be one."""
        self._company.budget.spend(method, template, patience=self._company.timeout)
        with naming_the_scope(template, "full"):
            answer = self._sender.write(method, template, body, **ids)
        if not isinstance(answer.data, dict):
            raise OutcomeUnknown(answer.reason)
        return answer.data.get("data")

    @functools.cached_property
    def _sender(self) -> Sender:
        """Made at the first call: an app learns the host together with its token."""
        return Sender(
            self._company.url,
            self._company.authorization,
            ALLOWED,
            timeout=self._company.timeout,
            pace=self._company.budget.pace,
            judge=judged,
            heed=heed,
        )


def _hung_on(ref: RecordRef) -> dict[str, Any]:
    """What a note or task is about."""
    return {require_parent(ref): int(ref.id) if ref.type in _NUMERIC else ref.id}


def _template(path: str) -> tuple[str, dict[str, Any]]:
    """The path of the table for a path with its id in it."""
    if ("GET", path) in ALLOWED:
        return path, {}
    stem, _, id_ = path.rpartition("/")
    return stem + "/{id}", {"id": id_}


def _body(
    object_type: str,
    fields: Mapping[str, Scalar],
    known: Mapping[str, Field],
    live: Mapping[str, Any],
) -> dict[str, Any]:
    """Exactly the given fields, as Pipedrive wants them. Raises `Rejected` for a closed one."""
    body: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, value in fields.items():
        field = known.get(name)
        if field is None:
            raise Rejected(f"Pipedrive has no field {name} of {object_type}")
        if field.how is None or field.meta.read_only or field.meta.field_class in CLOSED:
            raise Rejected(f"{name} of {object_type} is closed: {field.meta.field_class}")
        if field.how[0] == "entries":
            body[name] = with_primary(live.get(name) or (), value)
        else:
            (own if field.is_own else body)[name] = to_body(name, value, field.how)
    # Leads have their own fields beside the others, everything else below one key.
    return {**body, **own} if object_type == "leads" or not own else {**body, "custom_fields": own}


def _person(fields: Mapping[str, Scalar]) -> dict[str, Any]:
    """The body of a new person; what has no field there stands in its contact notes."""
    text = {name: str(value).strip() for name, value in fields.items() if value not in {None, ""}}
    name = " ".join(text.pop(part, "") for part in ("first_name", "last_name")).strip()
    body: dict[str, Any] = {"name": name or text.get("email") or text.get("phone")}
    if not body["name"]:
        raise Rejected("a new person needs a name, an e-mail address or a phone number")
    for ours, theirs in (("email", "emails"), ("phone", "phones")):
        if ours in text:
            body[theirs] = [{"value": text.pop(ours), "primary": True, "label": "work"}]
    if "job_title" in text:
        body["job_title"] = text.pop("job_title")
    if place := ", ".join(text.pop(part) for part in _PLACES if part in text):
        body["postal_address"] = {"value": place}
    if text:
        words = (f"{name.replace('_', ' ').capitalize()}: {text[name]}" for name in sorted(text))
        body["notes"] = "\n".join(words)
    return body
