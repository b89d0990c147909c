"""What a model is asked: a versioned text, and as little data as the task needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from services.classifier.answer import MATCHED, NEW, json_schema, texts_schema
from services.classifier.guard import Subject
from services.classifier.intents import own_words
from shared.canonical import sha256_hex
from shared.domain.proposal import ProposalKind

FOLDER = Path(__file__).parent / "prompts"
CURRENT = "classify.v1"
ASSIST = "assist.v1"
LONGEST_PART = 12_000
LONGEST_NOTE = 300
MOST_NOTES = 10
# Where somebody stands is needed for the next steps, and their first name for the letter.
_ALSO_SHOWN = ("first_name", "stage", "lifecycle")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """``logged`` is the text as it goes to the log: without the canary."""

    version: str
    system: str
    user: str
    schema: dict[str, Any]
    logged: str


@lru_cache(maxsize=4)
def _template(name: str) -> tuple[str, str]:
    """Text and version of a prompt file; the version is its name and the hash of its content."""
    content = (FOLDER / f"{name}.md").read_bytes()
    return content.decode(), f"{name}+{sha256_hex(content)[:12]}"


def prompt_for(subject: Subject, canary: str, note: str | None = None) -> Prompt:
    """The question about one event. ``note`` is what a person added when asking again."""
    fields = _fields(subject)
    routes = sorted(subject.policy.routes)
    handle = NEW if subject.kind is ProposalKind.DRAFT else MATCHED
    words = {"routes": ", ".join(routes), "fields": ", ".join(fields) or "none", "handle": handle}
    parts = sorted(own_words(subject.event.parts))
    schema = json_schema(routes, fields, parts)
    return _prompt(CURRENT, words, _document(subject, fields, note), schema, canary)


def prompt_about(subject: Subject, wish: str, canary: str, note: str | None = None) -> Prompt:
    """What a person wants to know about the record of ``subject``, in the words ``wish``."""
    words = {"wish": wish, "company": subject.policy.company.name or "the company"}
    document = _document(subject, _fields(subject), note)
    return _prompt(ASSIST, words, document, texts_schema(), canary)


def _prompt(
    name: str, words: dict[str, str], document: dict[str, Any], schema: dict[str, Any], canary: str
) -> Prompt:
    text, version = _template(name)
    user = json.dumps(document, ensure_ascii=False, indent=1)
    logged = Template(text).substitute(words, canary="[canary]")
    return Prompt(
        version=version,
        system=Template(text).substitute(words, canary=canary),
        user=user,
        schema=schema,
        logged=f"{logged}\n\n{user}",
    )


def _fields(subject: Subject) -> list[str]:
    if subject.target is None:
        return []
    return [r.name for r in subject.policy.open_fields(subject.target.crm, subject.target.type)]


def _document(subject: Subject, fields: list[str], note: str | None) -> dict[str, Any]:
    event, reading = subject.event, subject.reading
    parts = own_words(event.parts)
    document: dict[str, Any] = {
        "kind": event.kind.value,
        "received": event.received_at.date().isoformat(),
        "parts": {name: text[:LONGEST_PART] for name, text in parts.items()},
    }
    if note:
        document["note_of_a_colleague"] = note[:2000]
    if reading is not None:
        shown = {*fields, *map(subject.own, _ALSO_SHOWN)} & reading.fields.keys()
        document["record"] = {name: reading.fields[name] for name in sorted(shown)}
        document["history"] = [
            f"{item.at:%Y-%m-%d} {item.kind}: {item.text[:LONGEST_NOTE]}"
            for item in reading.history[:MOST_NOTES]
        ]
    return document
