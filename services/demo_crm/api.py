"""The JSON API of the demo CRM: a read token sees everything, a write token changes records.

There is no DELETE and no merge. Errors are ``{"error": {"code", "message"}}``.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.routing import Rule
from werkzeug.wrappers import Request

from services.demo_crm.objects import FIELDS, STAGES, Refused, is_date, writable_by_integrations
from services.demo_crm.store import INTEGRATION, SEARCH_KEYS, Author, Entry, Record, Store, Task
from shared.crm.duplicates import likely_duplicates, phone_key

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_LIVE = "/api/<any(contacts, deals):record_type>/<record_id>"
_READ_SCOPES = ("contacts:read", "deals:read", "drafts:read")
_WRITE_SCOPES = ("contacts:write", "deals:write", "drafts:write", "notes:write", "tasks:write")
_JSON = ("Content-Type", "application/json")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_PAGE = 500
_LONGEST_NOTE = 10_000
_LONGEST_SUBJECT = 250
_SINCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_CANDIDATE_FIELDS = ("first_name", "last_name", "email", "phone", "company")

RULES = [
    Rule(path, endpoint=endpoint, methods=[method])
    for method, path, endpoint in (
        ("GET", "/api/me", "me"),
        ("GET", "/api/stages", "stages"),
        ("GET", "/api/fields/<any(contacts, deals, drafts):record_type>", "fields"),
        ("GET", "/api/search", "search"),
        ("GET", "/api/duplicates", "duplicates"),
        ("GET", "/api/changes", "changes"),
        ("GET", "/api/drafts", "drafts"),
        ("GET", "/api/<any(contacts, deals):record_type>", "newest"),
        ("GET", "/api/<any(contacts, deals, drafts):record_type>/<record_id>", "read"),
        ("GET", "/api/<any(contacts, deals, drafts):record_type>/<record_id>/history", "history"),
        ("GET", f"{_LIVE}/tasks", "tasks"),
        ("PATCH", _LIVE, "update"),
        ("POST", "/api/notes", "add_note"),
        ("POST", "/api/tasks", "add_task"),
        ("POST", "/api/drafts", "propose"),
        ("POST", "/api/drafts/<draft_id>/promote", "promote"),
        ("POST", "/api/drafts/<draft_id>/discard", "discard"),
    )
]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    read: str = field(repr=False)
    write: str = field(repr=False)


class Api:
    """One method per endpoint of `RULES`. ``idempotent``: a repeated change has no second effect.

    Repeats are told apart by change id and act, within this process.
    """

    def __init__(
        self, store: Store, tokens: Tokens, url_of: Callable[[str], str], *, idempotent: bool
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._url_of = url_of
        self._once_lock = threading.Lock() if idempotent else None
        self._read_token = tokens.read.encode()
        self._write_token = tokens.write.encode()

    def answer(self, request: Request, endpoint: str, values: Mapping[str, str]) -> JsonAnswer:
        """Raises `Refused`; `app` turns it into JSON."""
        may_write = self._authenticate(request)
        if request.method not in {"GET", "HEAD"}:
            if not may_write:
                raise Refused(403, "insufficient_scope", "this token only reads")
            status, data = self._write(request, endpoint, values)
            return as_json(status, data)
        if endpoint == "me":
            return as_json(200, self._rights(may_write=may_write))
        return as_json(200, getattr(self, f"_{endpoint}")(request, **values))

    def _authenticate(self, request: Request) -> bool:
        """Whether the token may write. Raises `Refused` 401 for any other token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token.strip().encode("latin-1", "replace")
        may_write = hmac.compare_digest(given, self._write_token)
        may_read = hmac.compare_digest(given, self._read_token)
        if scheme.lower() != "bearer" or not (may_write or may_read):
            raise Refused(401, "unauthorized", "a valid bearer token is needed")
        return may_write

    def _rights(self, *, may_write: bool) -> dict[str, Any]:
        return {
            "user": INTEGRATION if may_write else f"{INTEGRATION} (read only)",
            "scopes": [*_READ_SCOPES, *(_WRITE_SCOPES if may_write else ())],
            "writable": {
                record_type: writable_by_integrations(record_type) if may_write else []
                for record_type in ("contacts", "deals")
            },
        }

    def _stages(self, _request: Request) -> dict[str, Any]:
        return {
            record_type: [{"id": key, "label": label} for key, label in stages.items()]
            for record_type, stages in STAGES.items()
        }

    def _fields(self, _request: Request, record_type: str) -> dict[str, Any]:
        return {"fields": [item.described() for item in FIELDS[record_type].values()]}

    def _read(self, _request: Request, record_type: str, record_id: str) -> dict[str, Any]:
        return self._shown(self._store.get(record_type, record_id))

    def _newest(self, request: Request, record_type: str) -> dict[str, Any]:
        """``limit`` (1 to 500) records, what changed last first."""
        limit = request.args.get("limit", "100")
        if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= _PAGE:
            raise Refused(400, "bad_limit", f"limit is a number from 1 to {_PAGE}")
        found = self._store.newest(record_type, int(limit))
        return {"results": [self._shown(record) for record in found]}

    def _history(self, _request: Request, record_type: str, record_id: str) -> dict[str, Any]:
        self._store.get(record_type, record_id)
        entries = self._store.history(record_type, record_id)
        return {
            "changes": [asdict(entry) for entry in entries if entry.kind != "note"],
            "notes": [_note(entry) for entry in entries if entry.kind == "note"],
        }

    def _search(self, request: Request) -> dict[str, Any]:
        asked = {key: value for key in SEARCH_KEYS if (value := request.args.get(key, "").strip())}
        if len(asked) != 1:
            raise Refused(400, "bad_search", f"give exactly one of {', '.join(SEARCH_KEYS)}")
        [(key, value)] = asked.items()
        wanted = phone_key(value) if key == "phone" else value
        return {"results": [self._shown(record) for record in self._store.find(key, wanted)]}

    def _duplicates(self, request: Request) -> dict[str, Any]:
        values = {key: request.args.get(key) for key in _CANDIDATE_FIELDS}
        drafts = [item for item in self._store.all("drafts") if is_open(item)]
        known = [*self._store.all("contacts"), *drafts]
        found = likely_duplicates(values, [(record, record.fields) for record in known])
        return {"results": [{**self._shown(it), "reason": reason} for it, reason in found]}

    def _changes(self, request: Request) -> dict[str, Any]:
        """``since`` (UTC, milliseconds) and ``after`` (a sequence number) page through them."""
        if change_id := request.args.get("change_id"):
            return {"changes": [asdict(it) for it in self._store.effects_of(change_id)]}
        since, after = request.args.get("since", ""), request.args.get("after", "0")
        if since and not _SINCE.fullmatch(since):
            raise Refused(400, "bad_time", "since is a time like 2026-11-23T09:00:00.000Z")
        if not re.fullmatch(r"[0-9]{1,18}", after):
            raise Refused(400, "bad_cursor", "after is a sequence number")
        author = request.args.get("by", INTEGRATION)
        entries = self._store.changes(author=author, since=since, after=int(after), limit=_PAGE)
        more = entries[-1].seq if len(entries) == _PAGE else None
        return {"changes": [asdict(entry) for entry in entries], "next": more}

    def _tasks(self, _request: Request, record_type: str, record_id: str) -> dict[str, Any]:
        return {"results": [_task(task) for task in self._store.tasks_of(record_type, record_id)]}

    def _drafts(self, _request: Request) -> dict[str, Any]:
        return {"results": [self._shown(draft) for draft in self._store.all("drafts")]}

    def _write(
        self, request: Request, endpoint: str, values: Mapping[str, str]
    ) -> tuple[int, dict[str, Any]]:
        body = _body(request)
        change_id = _text_of(body, "change_id", 200)
        status = 201 if endpoint in {"add_note", "add_task", "propose"} else 200

        def act() -> dict[str, Any]:
            author = Author(name=INTEGRATION, change_id=change_id)
            result: dict[str, Any] = getattr(self, f"_{endpoint}")(request, body, author, **values)
            return result

        if self._once_lock is None:
            return status, act()
        with self._once_lock:
            known = self._store.answered(change_id, endpoint)
            if known is None:
                known = act()
                self._store.remember_answer(change_id, endpoint, known)
        return status, known

    def _update(
        self,
        request: Request,
        body: Mapping[str, Any],
        author: Author,
        record_type: str,
        record_id: str,
    ) -> dict[str, Any]:
        record = self._store.update(
            record_type, record_id, _fields_of(body), author, if_version=_if_version(request)
        )
        return self._shown(record)

    def _add_note(
        self, _request: Request, body: Mapping[str, Any], author: Author
    ) -> dict[str, Any]:
        text = _text_of(body, "text", _LONGEST_NOTE)
        return _note(self._store.add_note(*_parent_of(body), text, author))

    def _add_task(
        self, _request: Request, body: Mapping[str, Any], author: Author
    ) -> dict[str, Any]:
        """``subject``, and ``due``: a day, or nothing."""
        subject, due = _text_of(body, "subject", _LONGEST_SUBJECT), body.get("due")
        if due is not None and not (isinstance(due, str) and is_date(due)):
            raise Refused(422, "not_valid", "due is a date like 2026-11-23, or null")
        return _task(self._store.add_task(*_parent_of(body), subject, due, author))

    def _propose(
        self, _request: Request, body: Mapping[str, Any], author: Author
    ) -> dict[str, Any]:
        if body.get("type") != "contacts":
            raise Refused(422, "not_valid", "a draft has the type contacts")
        return self._shown(self._store.propose(_fields_of(body), author))

    def _promote(
        self, _request: Request, _body: Mapping[str, Any], author: Author, draft_id: str
    ) -> dict[str, Any]:
        draft, contact = self._store.promote(draft_id, author)
        return {"draft": self._shown(draft), "contact": self._shown(contact)}

    def _discard(
        self, _request: Request, _body: Mapping[str, Any], author: Author, draft_id: str
    ) -> dict[str, Any]:
        return {"draft": self._shown(self._store.discard(draft_id, author))}

    def _shown(self, record: Record) -> dict[str, Any]:
        return {
            "type": record.type,
            "id": record.id,
            "title": record.title,
            "fields": record.fields,
            "version": record.version,
            "updated_at": record.updated_at,
            "changed_by": record.changed_by,
            "change_id": record.change_id,
            "url": self._url_of(f"/{record.type}/{record.id}"),
        }


def is_open(draft: Record) -> bool:
    return draft.fields["draft_state"] == "open"


@dataclass(frozen=True, kw_only=True)
class JsonAnswer:
    """A WSGI answer without the work that a general response does: reads are the hot path."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = ("Content-Length", str(len(self.body)))
        phrase = HTTPStatus(self.status).phrase
        start_response(f"{self.status} {phrase}", [_JSON, length, *self.headers])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


def as_json(status: int, data: Mapping[str, Any]) -> JsonAnswer:
    body = _encode(data).encode()
    return JsonAnswer(status=status, body=body, headers=[])


def _note(entry: Entry) -> dict[str, Any]:
    return {
        "id": f"n-{entry.seq}",
        "record": {"type": entry.type, "id": entry.id},
        "text": entry.new,
        "at": entry.at,
        "author": entry.author,
        "change_id": entry.change_id,
    }


def _task(task: Task) -> dict[str, Any]:
    entry = task.entry
    return {
        "id": f"t-{entry.seq}",
        "record": {"type": entry.type, "id": entry.id},
        "subject": entry.new,
        "due": task.due,
        "at": entry.at,
        "author": entry.author,
        "change_id": entry.change_id,
    }


def _parent_of(body: Mapping[str, Any]) -> tuple[str, str]:
    """Type and id of the live record that a note or task belongs to. Raises `Refused` 422."""
    record_type, record_id = _text_of(body, "type", 20), _text_of(body, "id", 40)
    if record_type not in STAGES:
        raise Refused(422, "not_valid", f"notes and tasks belong to {' or '.join(STAGES)}")
    return record_type, record_id


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.get_data().decode())
        # A lone surrogate parses but can be neither stored nor sent.
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused(400, "not_json", "the body is not JSON in UTF-8") from error
    if not isinstance(body, dict):
        raise Refused(400, "not_an_object", "the body is not a JSON object")
    return body


def _fields_of(body: Mapping[str, Any]) -> dict[str, Any]:
    fields = body.get("fields")
    if not isinstance(fields, dict) or not fields:
        raise Refused(422, "no_fields", "fields names at least one field and its value")
    return fields


def _text_of(body: Mapping[str, Any], name: str, longest: int) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not text.strip() or len(text) > longest:
        raise Refused(422, "not_valid", f"{name} is a text of 1 to {longest} characters")
    return text


def _if_version(request: Request) -> int | None:
    """The version of ``If-Match: "7"``. Raises `Refused` 400 for any other form."""
    condition = request.headers.get("If-Match")
    if condition is None:
        return None
    match = re.fullmatch(r'"([0-9]{1,15})"', condition.strip())
    if match is None:
        raise Refused(400, "bad_condition", 'If-Match is a version in quotes, like "7"')
    return int(match[1])
