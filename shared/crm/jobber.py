"""The read side of Jobber: questions to its GraphQL API with an app that may only read.

https://developer.getjobber.com/docs/using_jobbers_api/api_queries_and_mutations
Read are clients, requests, jobs and quotes. Jobber keeps no history of fields, and its people are
clients: a lead is a client without a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, ClassVar, Final, Self

from shared.crm import jobber_documents as documents
from shared.crm.accounts import Account
from shared.crm.client import Client
from shared.crm.duplicates import likely_duplicates
from shared.crm.finding import as_candidates
from shared.crm.jobber_api import PATH, Connection, judged
from shared.crm.jobber_fields import (
    APPLIES_TO,
    CUSTOM,
    STAGES,
    TABLE,
    built_in,
    custom,
    custom_values,
    values_of,
)
from shared.crm.kept import Kept, expect
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.oauth import claims
from shared.crm.reader import MOST_SAMPLED
from shared.crm.transport import path_of, understood
from shared.domain.classification import Candidate
from shared.domain.record import HistoryItem, Reading, RecordRef
from shared.domain.schema import Scalar, now, parse_instant, rfc3339
from shared.errors import CRMUnavailable, NotFound, Rejected
from shared.values import email_key, phone_key

# The custom field of clients that carries the change id of what we made.
CHANGE_FIELD: Final = "Countersign change"
# Whose numbers without a country are meant.
REGION: Final = "US"
MARK = re.compile(r"\[countersign ([^\]\s]+)\]")
NAMES: Final[Mapping[str, str]] = {
    "first_name": "firstName",
    "last_name": "lastName",
    "email": "email",
    "phone": "phone",
    "company": "companyName",
    "address": "billingAddress.street1",
    "city": "billingAddress.city",
    "postal_code": "billingAddress.postalCode",
}
_MOST_PAGES: Final = 40


class JobberReader:
    """Reads with a grant that cannot write. ``timeout`` is in seconds, for a whole exchange.

    Every method raises `NotFound` where there is no such record, `Rejected` where Jobber refuses
    the question or the grant has ended, and `CRMUnavailable` where Jobber is down, too slow or asks
    us to wait.
    """

    people = "clients"
    object_types = tuple(TABLE)
    names: ClassVar[Mapping[str, str]] = NAMES
    capabilities: ClassVar[Capabilities] = Capabilities(
        notes=("clients", "requests", "jobs"), tasks=("clients",)
    )

    def __init__(
        self, account: Account, *, timeout: float = 2.0, clock: Callable[[], datetime] = now
    ) -> None:
        self.crm = account.name
        self._connection = Connection.of(account, timeout)
        self._client = Client(
            self._connection.base_url,
            self._connection.authorization,
            timeout=timeout,
            pace=self._connection.pace,
            judge=judged,
            heed=self._connection.heed,
            headers=self._connection.headers,
        )
        self._change_field = account.options.get("change_field", CHANGE_FIELD)
        self._region = account.options.get("region", REGION)
        self._clock = clock
        self._fields: Kept[Mapping[str, FieldMeta]] = Kept(self._asked_fields)

    @classmethod
    def of(cls, account: Account, timeout: float) -> Self:
        return cls(account, timeout=timeout)

    @property
    def problem(self) -> str | None:
        """What Jobber says of the version of its API that we ask for, where that needs care."""
        return self._connection.versioning.problem

    @understood()
    def read(self, ref: RecordRef) -> Reading:
        """The record now, without its history."""
        found = self._reading(ref.type, self._node(ref))
        expect(self._fields, ref.type, (name for name in found.fields if name.startswith(CUSTOM)))
        return found

    @understood()
    def sample(self, object_type: str, limit: int = MOST_SAMPLED) -> list[Reading]:
        """Requests changed last first; clients in Jobber's order, as nothing sorts their list.

        Raises `Rejected` for jobs and quotes, which are read by their client.
        """
        if object_type not in TABLE:
            raise NotFound(f"Jobber has no {object_type}")
        if object_type not in documents.SAMPLE:
            raise Rejected(f"Jobber's {object_type} are read by their client, not as a list")
        nodes = self._nodes(documents.SAMPLE[object_type], object_type, {})
        return [self._reading(object_type, node) for node in islice(nodes, limit)]

    @understood()
    def history(self, ref: RecordRef) -> tuple[HistoryItem, ...]:
        """Notes, requests, quotes and jobs of the client, the newest first."""
        client = ref.id if ref.type == self.people else _client_of(self._node(ref))
        self._require(RecordRef(crm=ref.crm, type=self.people, id=client))
        node = self._asked(documents.HISTORY, {"id": client})["client"]
        if node is None:
            raise NotFound(f"Jobber has no {ref}")
        return tuple(sorted(_told(node), key=lambda item: item.at, reverse=True))

    def field_changes(self, ref: RecordRef) -> list[CrmChange]:
        """Nothing: Jobber does not say who changed which field."""
        self._require(ref)
        return []

    @understood()
    def search(
        self,
        *,
        email: str | None = None,
        phone: str | None = None,
        external_id: str | None = None,  # noqa: ARG002 - Jobber keeps no id of another system.
        order_number: str | None = None,  # noqa: ARG002 - and finds no job by its number.
    ) -> list[Reading]:
        """Every client found by the first of these that finds any, in this order."""
        for nodes in (self._by_email(email), self._by_phone(phone)):
            if found := [self._reading(self.people, node) for node in nodes]:
                return found
        return []

    def candidates(self, text: str) -> list[Candidate]:
        """Clients by an e-mail address or phone number that a person typed."""
        for key, why in (("email", "e-mail"), ("phone", "phone")):
            if readings := self.search(**{key: text}):
                return as_candidates(readings, f"found by {why}")
        return []

    @understood()
    def fields(self, object_type: str) -> dict[str, FieldMeta]:
        """The fields of an object type, by name; kept for some minutes."""
        if object_type not in TABLE:
            raise NotFound(f"Jobber has no {object_type}")
        return dict(self._fields.get(object_type))

    def doubt_fields(self, object_type: str) -> None:
        self._fields.doubt(object_type)

    def stages(self) -> dict[str, dict[str, str]]:
        """The states of requests and jobs, as this version of the API knows them."""
        return {
            object_type: {name: name.replace("_", " ").capitalize() for name in names}
            for object_type, names in STAGES.items()
        }

    @understood()
    def duplicates(self, fields: Mapping[str, Scalar]) -> list[Candidate]:
        """Clients that a new one with these fields (our words) might repeat, and why."""
        nodes = [
            *self._by_email(_text(fields, "email")),
            *self._by_phone(_text(fields, "phone")),
            *self._by_term(_text(fields, "last_name")),
            *self._by_term(_text(fields, "company")),
        ]
        unique = {node["id"]: node for node in nodes}
        known = [(node, self._comparable(_common(node))) for node in unique.values()]
        return [
            Candidate(record=self._ref(self.people, node), title=_title(node), why=why)
            for node, why in likely_duplicates(self._comparable(fields), known)
        ]

    @understood()
    def changes_by_us(self, since: datetime) -> list[CrmChange]:
        """Clients and notes that carry our mark, made at or after ``since``, the oldest first.

        A changed field carries none: Jobber has no place for it.
        """
        nodes = self._nodes(documents.CHANGED, self.people, {"since": rfc3339(since)})
        found = [change for node in nodes for change in self._marked(node)]
        return sorted((one for one in found if one.at >= since), key=lambda one: one.at)

    def scopes(self) -> tuple[str, ...]:
        """What the access token says of itself; none where it says nothing."""
        token = self._connection.authorization.headers()["Authorization"].removeprefix("Bearer ")
        return tuple(str(claims(token).get("scope", "")).split())

    def _require(self, ref: RecordRef) -> None:
        if ref.crm != self.crm or ref.type not in TABLE:
            raise NotFound(f"Jobber has no {ref.crm}/{ref.type}")
        path_of("{id}", id=ref.id)

    def _node(self, ref: RecordRef) -> dict[str, Any]:
        self._require(ref)
        data = self._asked(documents.READ[ref.type], {"id": ref.id})
        node: dict[str, Any] | None = data[ref.type.removesuffix("s")]
        if node is None:
            raise NotFound(f"Jobber has no {ref}")
        return node

    def _asked(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._client.query(PATH, {"query": document, "variables": dict(variables)})
        data = answer.data.get("data") if isinstance(answer.data, dict) else None
        if not isinstance(data, dict):
            raise CRMUnavailable("Jobber answered 200 without data")
        return data

    def _reading(self, object_type: str, node: Mapping[str, Any]) -> Reading:
        return Reading(
            ref=self._ref(object_type, node),
            title=_title(node),
            fields=values_of(object_type, node),
            version=str(node["updatedAt"]),
            read_at=self._clock(),
            url=node.get("jobberWebUri"),
        )

    def _ref(self, object_type: str, node: Mapping[str, Any]) -> RecordRef:
        return RecordRef(crm=self.crm, type=object_type, id=str(node["id"]))

    def _by_term(self, term: str | None) -> list[dict[str, Any]]:
        if not term:
            return []
        found: list[dict[str, Any]] = self._asked(documents.SEARCH, {"term": term})["clients"][
            "nodes"
        ]
        return found

    def _by_email(self, email: str | None) -> list[dict[str, Any]]:
        wanted = email_key((email or "").strip())
        return [
            node
            for node in (self._by_term(wanted) if wanted else [])
            if wanted in {email_key(one["address"]) for one in node["emails"]}
        ]

    def _by_phone(self, phone: str | None) -> list[dict[str, Any]]:
        """Jobber searches as text: asked are the spellings that people use, then we compare."""
        wanted = self._number(phone)
        if wanted is None:
            return []
        data = self._asked(documents.SEARCH_PHONE, _spellings(wanted))
        nodes = {node["id"]: node for found in data.values() for node in found["nodes"]}
        return [
            node
            for node in nodes.values()
            if wanted in {self._number(one["number"]) for one in node["phones"]}
        ]

    def _number(self, phone: Scalar) -> str | None:
        return phone_key(str(phone or "").strip(), self._region)

    def _comparable(self, fields: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Numbers in E.164, so that equal ones are equal as text."""
        phone = self._number(fields.get("phone")) or fields.get("phone")
        return {**fields, "phone": phone}

    def _asked_fields(self, object_type: str) -> dict[str, FieldMeta]:
        found = built_in(object_type)
        if object_type in APPLIES_TO:
            for row in self._configurations(APPLIES_TO[object_type]):
                meta = custom(row, self._change_field)
                found[meta.name] = meta
        return found

    @understood()
    def _configurations(self, applies_to: str) -> list[dict[str, Any]]:
        data = self._asked(documents.CONFIGURATIONS, {"appliesTo": applies_to})
        found: list[dict[str, Any]] = data["customFieldConfigurations"]["nodes"]
        return found

    def _nodes(
        self, document: str, name: str, variables: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """The nodes of a list, page after page."""
        after: str | None = None
        for _ in range(_MOST_PAGES):
            page = self._asked(document, {**variables, "after": after})[name]
            yield from page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]
        raise CRMUnavailable(f"there are more {name} than can be read at once: ask for less")

    def _marked(self, node: Mapping[str, Any]) -> Iterator[CrmChange]:
        ref = self._ref(self.people, node)
        custom_fields = [{"__typename": "CustomFieldText", **row} for row in node["customFields"]]
        made_by = custom_values(custom_fields).get(CUSTOM + self._change_field)
        if made_by:
            yield _change(ref, "created", None, node, str(made_by))
        for note in node["notes"]["nodes"]:
            if "message" in note and (mark := MARK.search(note["message"])):
                yield _change(ref, "note", note["message"], note, mark[1])


def _change(
    ref: RecordRef, kind: str, new: str | None, row: Mapping[str, Any], change_id: str
) -> CrmChange:
    return CrmChange(
        ref=ref,
        kind=kind,
        field=None,
        old=None,
        new=new,
        at=parse_instant(row["createdAt"]),
        by=_editor(row),
        change_id=change_id,
    )


def _title(node: Mapping[str, Any]) -> str:
    number = f"Job {node['jobNumber']}" if "jobNumber" in node else None
    said = (node.get(name) for name in ("name", "title", "contactName"))
    client = (node.get("client") or {}).get("name")
    return next((str(one) for one in (*said, number, client) if one), str(node["id"]))


def _client_of(node: Mapping[str, Any]) -> str:
    client = node.get("client")
    if client is None:
        raise NotFound("this record of Jobber has no client")
    return str(client["id"])


def _told(node: Mapping[str, Any]) -> Iterator[HistoryItem]:
    yield HistoryItem(at=parse_instant(node["createdAt"]), kind="created", text="client created")
    for note in node["notes"]["nodes"]:
        if "message" in note:
            by = _editor(note)
            yield _item(note, "note", f"{by}: {note['message']}" if by else note["message"])
    for one in node["requests"]["nodes"]:
        yield _item(one, "request", f"{one['title'] or 'request'} ({one['requestStatus']})")
    for one in node["quotes"]["nodes"]:
        yield _item(one, "quote", one["title"] or "quote")
    for one in node["jobs"]["nodes"]:
        said = one["title"] or "job"
        yield _item(one, "job", f"job {one['jobNumber']}: {said} ({one['jobStatus']})")


def _item(node: Mapping[str, Any], kind: str, text: str) -> HistoryItem:
    return HistoryItem(at=parse_instant(node["createdAt"]), kind=kind, text=text)


def _editor(row: Mapping[str, Any]) -> str:
    return str(((row.get("lastEditedBy") or {}).get("name") or {}).get("full") or "")


def _common(node: Mapping[str, Any]) -> dict[str, Scalar]:
    """A client in our words."""
    values = values_of("clients", node)
    return {ours: values.get(theirs) for ours, theirs in NAMES.items()}


def _text(fields: Mapping[str, Scalar], name: str) -> str | None:
    value = fields.get(name)
    return str(value) if value else None


def _spellings(number: str) -> dict[str, str]:
    """The forms of an E.164 number in which people write it, for a search that takes text."""
    import phonenumbers

    parsed = phonenumbers.parse(number)
    digits = phonenumbers.national_significant_number(parsed)
    national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
    return {
        "international": number,
        "digits": digits,
        "national": national,
        "ending": digits[-4:],
    }
