"""What a model is asked: a versioned text, and as little data as the task needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from services.classifier.answer import MATCHED, NEW, json_schema, texts_schema
from services.classifier.guard import Subject, appending
from services.classifier.intents import own_words
from shared.canonical import sha256_hex
from shared.domain.proposal import ProposalKind

FOLDER = Path(__file__).parent / "prompts"
CURRENT = "classify.v1"
ASSIST = "assist.v1"
# Added to the question where the policy opens notes and tasks.
APPENDED: Mapping[str, str] = {"note": "note.v1", "task": "task.v1"}
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


@lru_cache(maxsize=8)
def _template(name: str, added: tuple[str, ...] = ()) -> tuple[str, str]:
    """Text and version of a prompt file with what is ``added`` to it.

    The version is the first name and the hash of the whole content.
    """
    first, *more = ((FOLDER / f"{one}.md").read_text("utf-8") for one in (name, *added))
    version = f"{name}+{sha256_hex(''.join([first, *more]).encode())[:12]}"
    return first.replace("$appended", "".join(f"\n{text.rstrip()}" for text in more)), version


def prompt_for(subject: Subject, canary: str, note: str | None = None) -> Prompt:
    """The question about one event. ``note`` is what a person added when asking again."""
    fields = _fields(subject)
    routes = sorted(subject.policy.routes)
    handle = NEW if subject.kind is ProposalKind.DRAFT else MATCHED
    appended = {one.kind.value: _fields(one) for one in _appending(subject)}
    words = {
        "routes": ", ".join(routes),
        "fields": ", ".join(fields) or "none",
        "handle": handle,
    }
    added = tuple(APPENDED[kind] for kind, names in appended.items() if names)
    parts = sorted(own_words(subject.event.parts))
    handles = [MATCHED, NEW, *(kind for kind, names in appended.items() if names)]
    named = dict.fromkeys([*fields, *(name for names in appended.values() for name in names)])
    schema = json_schema(routes, list(named), parts, handles)
    template = _template(CURRENT, added)
    return _prompt(template, words, _document(subject, fields, note), schema, canary)


def prompt_about(subject: Subject, wish: str, canary: str, note: str | None = None) -> Prompt:
    """What a person wants to know about the record of ``subject``, in the words ``wish``."""
    words = {"wish": wish, "company": subject.policy.company.name or "the company"}
    document = _document(subject, _fields(subject), note)
    return _prompt(_template(ASSIST), words, document, texts_schema(), canary)


def _prompt(
    template: tuple[str, str],
    words: dict[str, str],
    document: dict[str, Any],
    schema: dict[str, Any],
    canary: str,
) -> Prompt:
    text, version = template
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
    return [r.name for r in subject.policy.open_fields(subject.target.crm, subject.object)]


def _appending(subject: Subject) -> tuple[Subject, ...]:
    """Notes and tasks hang on a record that is there."""
    return appending(subject) if subject.reading is not None else ()


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
