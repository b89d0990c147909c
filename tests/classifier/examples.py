"""The labelled mails and forms, and the subjects that the tests build out of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.classifier.guard import Subject
from shared.domain.event import Event, EventKind, Sender
from shared.domain.proposal import ProposalKind
from shared.domain.record import Reading, RecordRef
from shared.policy import Policy, load_policy

ROOT = Path(__file__).parents[2]
MAILS = ROOT / "tests" / "fixtures" / "mails"
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
DANA = RecordRef(crm="demo", type="contacts", id="1001")
DRAFT = RecordRef(crm="demo", type="drafts", id="new")
HER_SENDER = Sender(name="Dana Miller", email="dana.miller@example.com", verified="pass")


def policy() -> Policy:
    return load_policy(ROOT / "deploy" / "policy.toml")


def reading(**fields: Any) -> Reading:
    held = {
        "first_name": "Dana",
        "last_name": "Miller",
        "email": "dana.miller@example.com",
        "phone": "+12025550101",
        "company": "Miller Bakery",
        "job_title": "Owner",
        "address": "14 Orchard Lane",
        "city": "Rockville",
        "postal_code": "20850",
        "preferred_channel": "phone",
        "last_contacted": "2026-11-12",
        "lifecycle": "customer",
        "credit_limit": "15000.00",
        "owner": "Ava Lindqvist",
    }
    return Reading(
        ref=DANA, title="Dana Miller", fields={**held, **fields}, version="3", read_at=NOW
    )


def event(
    body: str = "",
    *,
    subject: str = "",
    kind: str = "mail",
    parts: dict[str, str] | None = None,
    sender: Sender | None = HER_SENDER,
    **more: Any,
) -> Event:
    texts = {"subject": subject, "body": body} if parts is None else parts
    return Event(
        id="5d6ef7f0-0000-5000-8000-000000000001",
        source="postmark",
        endpoint="default",
        type="mail.received",
        kind=EventKind(kind),
        received_at=NOW,
        raw_sha256="a" * 64,
        dedup_key="k",
        subject=subject or None,
        sender=sender,
        parts={name: text for name, text in texts.items() if text},
        **more,
    )


def about_dana(event_: Event, **fields: Any) -> Subject:
    return Subject(event=event_, policy=policy(), target=DANA, reading=reading(**fields))


def about_stranger(event_: Event) -> Subject:
    return Subject(event=event_, policy=policy(), target=DRAFT, kind=ProposalKind.DRAFT)


def examples() -> Iterator[dict[str, Any]]:
    for path in sorted(MAILS.glob("*.json")):
        yield from json.loads(path.read_text(encoding="utf-8"))


def event_of(example: dict[str, Any]) -> Event:
    parts = example.get("parts") or {
        name: example[name]
        for name in ("subject", "body", "signature", "quoted")
        if example.get(name)
    }
    sender = Sender(**example["sender"]) if "sender" in example else HER_SENDER
    return event(
        kind=example.get("kind", "mail"),
        subject=example.get("subject", ""),
        parts=parts,
        sender=sender,
        facts=example.get("facts", {}),
    )


def subject_of(example: dict[str, Any]) -> Subject:
    found = event_of(example)
    return about_stranger(found) if example.get("stranger") else about_dana(found)
