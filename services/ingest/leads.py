"""Leads that come as a mail: one part per field as of a posted form, and who filled it in.

What a builder of forms sends says of itself that a machine sent it, and it did: the person is the
one that the fields name, and nobody checked who that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from services.ingest.adf import holds_adf, read_adf
from services.ingest.labelled import read_form
from services.ingest.source import Description
from shared.domain.event import Sender
from shared.labels import field_of

_GAPS = re.compile(r"\n{3,}")
_OF_MACHINES = frozenset({"auto_reply", "bulk"})


def with_lead(said: Description, text: str) -> Description:
    """The mail as the form that it holds: fact ``form`` is ``adf`` or ``labelled``, ``body`` what
    the person wants to say. A mail that holds none, a bounce or an answer of a machine stays.
    """
    is_answer = said.facts.get("auto_submitted", "").lower().startswith("auto-replied")
    if "bounce" in said.facts or is_answer:
        return said
    body, signature = said.parts.get("body", ""), said.parts.get("signature", "")
    # What is quoted was read when it came; and a line of the lead may look like a mark of history.
    adf = read_adf(text) if holds_adf(body) else None
    if adf is not None:
        fields, message, facts = adf
        return _lead(said, fields, {"body": message}, facts)
    # A rule of dashes above the fields looks like the mark of a signature.
    tries = [(body, signature)] + ([(f"{body}\n{signature}", "")] if signature else [])
    for own, below in tries:
        if form := read_form(own):
            message = _GAPS.sub("\n\n", "\n".join([*form.rest, *form.message])).strip()
            kept = {"body": message, "signature": below, "quoted": said.parts.get("quoted", "")}
            return _lead(said, form.fields, kept, {"form": "labelled"})
    return said


def _lead(
    said: Description, fields: Mapping[str, str], texts: Mapping[str, str], facts: Mapping[str, str]
) -> Description:
    parts = {"subject": said.parts.get("subject", ""), **fields, **texts}
    kept = {name: fact for name, fact in said.facts.items() if name not in _OF_MACHINES}
    sent_by = (said.sender.email if said.sender else None) or ""
    return replace(
        said,
        parts={name: text for name, text in parts.items() if text},
        sender=_person(fields, said.sender),
        facts={**kept, **facts, **({"sent_by": sent_by} if sent_by else {})},
    )


def _person(fields: Mapping[str, str], sent_by: Sender | None) -> Sender:
    """What is known to be forged stays so; a genuine mail says nothing of the person in it."""
    found: dict[str, str] = {}
    for label, value in fields.items():
        if name := field_of(label):
            found.setdefault(name, value)
    whole = " ".join(filter(None, (found.get("first_name"), found.get("last_name"))))
    is_forged = sent_by is not None and sent_by.verified == "fail"
    return Sender(
        name=found.get("name") or whole or None,
        email=found["email"] if "@" in found.get("email", "") else None,
        phone=found.get("phone"),
        verified="fail" if is_forged else "unverified",
    )
