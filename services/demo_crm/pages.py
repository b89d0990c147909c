"""The pages of the demo CRM: lists, a record with its history, drafts, and plain forms.

They need no sign-in, because the demo CRM listens on loopback only and holds sample data; the app
refuses foreign host names and forms that come from another site.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.routing import Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from services.demo_crm.api import is_open
from services.demo_crm.objects import FIELDS, Field, Refused, Value
from services.demo_crm.store import INTEGRATION, PERSON, Author, Entry, Record, Store
from shared.crm.duplicates import likely_duplicates

_HERE = Path(__file__).parent
_STATIC = {"demo.css": "text/css; charset=utf-8", "mark.svg": "image/svg+xml"}
_LIVE = "/<any(contacts, deals):record_type>"

RULES = [
    Rule(path, endpoint=f"page_{endpoint}", methods=[method])
    for method, path, endpoint in (
        ("GET", "/", "home"),
        ("GET", "/static/<name>", "static"),
        ("GET", _LIVE, "list"),
        ("GET", "/drafts", "drafts"),
        ("GET", "/drafts/<record_id>", "draft"),
        ("GET", f"{_LIVE}/<record_id>", "record"),
        ("GET", f"{_LIVE}/<record_id>/edit", "form"),
        ("POST", f"{_LIVE}/<record_id>/edit", "save"),
        ("POST", f"{_LIVE}/<record_id>/notes", "note"),
    )
]


class Pages:
    """One method per endpoint of `RULES`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._static = {name: (_HERE / "static" / name).read_bytes() for name in _STATIC}
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "moment": moment,
            "day": day,
            "shown": shown,
            "tint": tint,
            "typed": as_typed,
        }
        self._templates.globals |= {"integration": INTEGRATION}

    def answer(self, request: Request, endpoint: str, values: Mapping[str, str]) -> Response:
        """Raises `Refused`; `app` shows it as a page."""
        response: Response = getattr(self, endpoint.removeprefix("page_") + "_")(request, **values)
        return response

    def error(self, status: int, message: str) -> Response:
        return self._page("error.html", status, code=status, message=message)

    def home_(self, _request: Request) -> Response:
        return redirect("/contacts", 303)

    def static_(self, _request: Request, name: str) -> Response:
        if name not in self._static:
            raise Refused(404, "not_found", "There is no such file.")
        return Response(self._static[name], content_type=_STATIC[name])

    def list_(self, request: Request, record_type: str) -> Response:
        query = request.args.get("q", "").strip()[:200]
        records = self._store.all(record_type)
        names = {record.id: record.title for record in self._store.all("contacts")}
        found = [record for record in records if _matches(record, names, query)]
        return self._page(
            "list.html",
            tab=record_type,
            query=query,
            records=found,
            total=len(records),
            names=names,
            fields=FIELDS[record_type],
        )

    def record_(self, _request: Request, record_type: str, record_id: str) -> Response:
        record = self._store.get(record_type, record_id)
        entries = self._store.history(record_type, record_id)
        return self._page(
            "record.html",
            tab=record_type,
            record=record,
            fields=FIELDS[record_type],
            past=_past_by_field(entries),
            notes=[entry for entry in entries if entry.kind == "note"],
            tasks=self._store.tasks_of(record_type, record_id),
            timeline=entries,
            deals=self._store.deals_of(record_id) if record_type == "contacts" else [],
            deal_fields=FIELDS["deals"],
            contact=self._contact_of(record),
        )

    def form_(self, _request: Request, record_type: str, record_id: str) -> Response:
        record = self._store.get(record_type, record_id)
        return self._form(200, record, dict(record.fields), None)

    def save_(self, request: Request, record_type: str, record_id: str) -> Response:
        """Write what the person changed; a form older than the record comes back, text kept."""
        record = self._store.get(record_type, record_id)
        changed = _changed_fields(request, record_type)
        try:
            version = _version_of(request)
            if changed:
                author = Author(name=PERSON)
                self._store.update(record_type, record_id, changed, author, if_version=version)
        except Refused as refusal:
            return self._form(refusal.status, record, {**record.fields, **changed}, refusal)
        return redirect(f"/{record_type}/{record_id}", 303)

    def note_(self, request: Request, record_type: str, record_id: str) -> Response:
        text = request.form.get("text", "").replace("\r\n", "\n").strip()
        if not 0 < len(text) <= 10_000:
            raise Refused(422, "not_valid", "A note has 1 to 10,000 characters.")
        self._store.add_note(record_type, record_id, text, Author(name=PERSON))
        return redirect(f"/{record_type}/{record_id}#notes", 303)

    def drafts_(self, _request: Request) -> Response:
        contacts, drafts = self._store.all("contacts"), self._store.all("drafts")
        return self._page(
            "drafts.html",
            tab="drafts",
            fields=FIELDS["drafts"],
            waiting=[
                (draft, likely_duplicates(draft.fields, [(one, one.fields) for one in contacts]))
                for draft in drafts
                if is_open(draft)
            ],
            closed=[draft for draft in reversed(drafts) if not is_open(draft)],
        )

    def draft_(self, _request: Request, record_id: str) -> Response:
        """Drafts share one page, where each has its own anchor."""
        draft = self._store.get("drafts", record_id)
        return redirect(f"/drafts#draft-{draft.id}", 303)

    def _form(
        self, status: int, record: Record, values: Mapping[str, Value], refusal: Refused | None
    ) -> Response:
        return self._page(
            "edit.html",
            status,
            tab=record.type,
            record=record,
            values=values,
            refusal=refusal,
            fields=[field for field in FIELDS[record.type].values() if not field.read_only],
        )

    def _contact_of(self, record: Record) -> Record | None:
        contact_id = record.fields.get("contact_id")
        return None if contact_id is None else self._store.get("contacts", str(contact_id))

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        html = self._templates.get_template(template).render({"tab": None, **values})
        return Response(html, status=status, content_type="text/html; charset=utf-8")


def _matches(record: Record, names: Mapping[str, str], query: str) -> bool:
    """Whether every word typed stands somewhere in the record or its contact's name."""
    contact = names.get(str(record.fields.get("contact_id")), "")
    texts = [str(value) for value in record.fields.values() if value is not None]
    everything = " ".join([*texts, contact]).casefold()
    return all(word in everything for word in query.casefold().split())


def _past_by_field(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    past: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.field is not None:
            past.setdefault(entry.field, []).append(entry)
    return past


def _changed_fields(request: Request, record_type: str) -> dict[str, Value]:
    """What differs from the values that the form itself showed, so no untouched field is sent."""
    typed = {
        field.name: (_typed(field, request.form.get(field.name, "")), field)
        for field in FIELDS[record_type].values()
        if not field.read_only and field.name in request.form
    }
    return {
        name: value
        for name, (value, field) in typed.items()
        if value != _typed(field, request.form.get(f"was-{name}", ""))
    }


def _version_of(request: Request) -> int:
    text = request.form.get("version", "")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise Refused(400, "bad_form", "the form is incomplete")
    return int(text)


def as_typed(value: Value) -> str:
    """A stored value as the form sends it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _typed(field: Field, text: str) -> Value:
    if field.type == "bool":
        return {"yes": True, "no": False}.get(text)
    return text.replace("\r\n", "\n").strip() or None


def moment(text: str) -> str:
    """``23 Nov 2026, 09:05 UTC``."""
    return datetime.fromisoformat(text).strftime("%-d %b %Y, %H:%M UTC")


def day(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%-d %b %Y")


def shown(value: Value, field: Field) -> str:
    """A stored value in words: the label of a choice, money with its sign, a readable date."""
    if value is None or value == "":
        return "—"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if field.choices is not None:
        return field.choices.get(str(value), str(value))
    if field.type == "money":
        whole, _, cents = str(value).partition(".")
        return f"${int(whole):,}.{cents}"
    if field.type in {"date", "datetime"}:
        return day(str(value)) if field.type == "date" else moment(str(value))
    return str(value)


def tint(record_id: str) -> str:
    """One of six avatar colours, always the same for a record."""
    return f"tint-{sum(map(ord, record_id)) % 6}"
