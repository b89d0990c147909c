"""One outside happening, normalised to what the classifier and a person need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from marshmallow import fields, validate

from shared.domain.record import RecordRef, RecordRefSchema
from shared.domain.schema import ID, Instant, Many, Noun, Scalar, ScalarField, Whole


class EventKind(StrEnum):
    """Which of four shapes a happening has; the classifier reads each in its own way."""

    MAIL = "mail"
    FORM = "form"
    RECORD_CHANGE = "record_change"
    MESSAGE = "message"


OWN_SOURCE = "countersign"
"""The source of what a person asked here: it came through no door and counts as no event."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """Who says they sent it, and what our own receiving host found out about that.

    ``verified`` is ``pass``, ``fail`` or ``unverified`` (nobody checked).
    """

    name: str | None = None
    email: str | None = None
    phone: str | None = None
    verified: str = "unverified"


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that came along, kept by reference: ``sha256`` names it in the raw store."""

    name: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """``parts`` are the texts a person would read, by name; evidence points into them.

    A mail has ``subject`` and ``body`` (quoted history and signature cut; the signature is the
    part ``signature``), a form one part per field, a message its top-level texts. ``record`` and
    ``changes`` are there for a change in a CRM: the record and its new values. ``facts`` are
    plain findings such as ``auto_submitted``, ``message_id``, ``in_reply_to``, ``list_id``. A
    change in any CRM has the same ones: ``change`` (created, updated, merged, restored),
    ``changed_by``, ``change_source``, ``change_id`` (ours), and ``own_write`` where the vendor says
    that our own integration made it. ``raw_sha256`` names the stored bytes of the whole request.
    """

    id: str
    source: str
    endpoint: str
    type: str
    kind: EventKind
    received_at: datetime
    raw_sha256: str
    dedup_key: str
    occurred_at: datetime | None = None
    subject: str | None = None
    sender: Sender | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    record: RecordRef | None = None
    changes: Mapping[str, Scalar] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()

    @property
    def is_form(self) -> bool:
        """Each part but those of a mail is a labelled field, posted or sent as a mail."""
        return self.kind is EventKind.FORM or "form" in self.facts

    @property
    def is_new_record(self) -> bool:
        """A record was made in the CRM, by somebody else than us."""
        return self.facts.get("change") == "created" and not self.is_own_write

    @property
    def is_own_write(self) -> bool:
        """Our own write that comes back, as far as the CRM says so."""
        return bool(self.facts.get("change_id") or self.facts.get("own_write"))


class SenderSchema(Noun):
    noun = Sender
    name = fields.String(load_default=None, allow_none=True)
    email = fields.String(load_default=None, allow_none=True)
    phone = fields.String(load_default=None, allow_none=True)
    verified = fields.String(
        load_default="unverified", validate=validate.OneOf(["pass", "fail", "unverified"])
    )


class AttachmentSchema(Noun):
    noun = Attachment
    name = fields.String(required=True)
    media_type = fields.String(required=True)
    size = Whole(required=True)
    sha256 = fields.String(required=True, validate=ID)


class EventSchema(Noun):
    noun = Event
    id = fields.String(required=True, validate=ID)
    source = fields.String(required=True, validate=ID)
    endpoint = fields.String(required=True, validate=ID)
    type = fields.String(required=True, validate=ID)
    kind = fields.Enum(EventKind, by_value=True, required=True)
    received_at = Instant(required=True)
    raw_sha256 = fields.String(required=True, validate=ID)
    dedup_key = fields.String(required=True)
    occurred_at = Instant(load_default=None, allow_none=True)
    subject = fields.String(load_default=None, allow_none=True)
    sender = fields.Nested(SenderSchema, load_default=None, allow_none=True)
    parts = fields.Dict(keys=fields.String(), values=fields.String(), load_default=dict)
    record = fields.Nested(RecordRefSchema, load_default=None, allow_none=True)
    changes = fields.Dict(
        keys=fields.String(), values=ScalarField(allow_none=True), load_default=dict
    )
    facts = fields.Dict(keys=fields.String(), values=fields.String(), load_default=dict)
    attachments = Many(fields.Nested(AttachmentSchema), load_default=())
