"""The bodies of messages that are no noun of their own: plain data, strict keys."""

from __future__ import annotations

from marshmallow import RAISE, Schema, fields, validate

from shared.domain.record import RecordRefSchema
from shared.domain.schema import ID, Instant, Many, ScalarField, Whole


class Notice(Schema):
    """Loads to a plain dictionary with aware times."""

    class Meta:
        unknown = RAISE


class EventRejected(Notice):
    """``reason`` is a class: mismatch, malformed, missing, stale, replayed, policy, not-json,
    bad-payload, too-large, unknown-source, unknown-endpoint, unknown-kind, no-secret, quarantined.

    ``accepted`` says whether the request had been answered as stored before. ``count`` sums up
    equal refusals of one minute.
    """

    source = fields.String(required=True)
    endpoint = fields.String(required=True)
    reason = fields.String(required=True, validate=ID)
    detail = fields.String(required=True)
    received_at = Instant(required=True)
    event_id = fields.String(required=True, allow_none=True)
    raw_sha256 = fields.String(required=True, allow_none=True)
    accepted = fields.Boolean(required=True)
    count = Whole(load_default=1)


class EventReplayed(Notice):
    """A person sent an accepted event, or a parked message, on its way again."""

    event_id = fields.String(required=True, validate=ID)
    queue = fields.String(required=True, allow_none=True)
    message_id = fields.String(required=True, allow_none=True)
    reason = fields.String(required=True)


class EventHandled(Notice):
    """A person dealt with an event that needed one; ``action`` is ``done`` or ``assigned``."""

    event_id = fields.String(required=True, validate=ID)
    action = fields.String(required=True, validate=validate.OneOf(["done", "assigned", "reopened"]))
    assignee = fields.String(required=True, allow_none=True)
    note = fields.String(required=True, allow_none=True)


class EventFailed(Notice):
    """An accepted event ended in an error; ``stage`` names the service."""

    event_id = fields.String(required=True, validate=ID)
    stage = fields.String(required=True)
    reason = fields.String(required=True)


class MessageParked(Notice):
    """A message rests in the dead letters."""

    message_id = fields.String(required=True)
    queue = fields.String(required=True)
    topic = fields.String(required=True)
    reason = fields.String(required=True)


class MessageReplayed(MessageParked):
    """A person sends a dead letter back to the queue that it was meant for."""


class MessageDropped(MessageParked):
    """A person has decided that a dead letter is not needed any more."""


class RecordRead(Notice):
    """``fields`` are names; ``values`` their HMACs under the chain's key, never plain hashes."""

    record = fields.Nested(RecordRefSchema, required=True)
    fields_ = fields.List(fields.String(), required=True, data_key="fields", attribute="fields")
    version = fields.String(required=True, allow_none=True)
    purpose = fields.String(required=True)


class ModelAsked(Notice):
    """G13: what the AI was asked. ``prompt`` is the whole text sent."""

    model = fields.String(required=True)
    prompt_version = fields.String(required=True)
    prompt = fields.String(required=True)


class ModelAnswered(Notice):
    """``error`` is set where there is no usable answer."""

    model = fields.String(required=True)
    answer = fields.String(required=True)
    tokens_in = Whole(required=True)
    tokens_out = Whole(required=True)
    cost_microcents = Whole(required=True)
    milliseconds = Whole(required=True)
    error = fields.String(required=True, allow_none=True)


class ProposalDropped(Notice):
    """``rule`` names why: not-listed, wrong-record, ungrounded, too-long, not-allowed, unchanged,
    too-many, bad-shape.
    """

    record = fields.Nested(RecordRefSchema, required=True, allow_none=True)
    field = fields.String(required=True)
    value = ScalarField(required=True, allow_none=True)
    rule = fields.String(required=True, validate=ID)
    detail = fields.String(required=True)


class ProposalSuperseded(Notice):
    proposal_id = fields.String(required=True, validate=ID)
    by = fields.String(required=True, validate=ID)
    record = fields.Nested(RecordRefSchema, required=True)


class ProposalExpired(Notice):
    proposal_id = fields.String(required=True, validate=ID)
    record = fields.Nested(RecordRefSchema, required=True)
    expired_at = Instant(required=True)


class CardOpened(Notice):
    """What a person was shown: the digest binds it, ``now`` are the live values."""

    proposal_id = fields.String(required=True, validate=ID)
    card_digest = fields.String(required=True, validate=ID)
    now = fields.Dict(keys=fields.String(), values=ScalarField(allow_none=True), required=True)


class ChangeField(Notice):
    name = fields.String(required=True, validate=ID)
    before = ScalarField(required=True, allow_none=True)
    after = ScalarField(required=True, allow_none=True)


class ChangeIntended(Notice):
    """The consumer's view of a `Change`: its keys and its digest are all in the ledger.

    In all messages about changes ``account`` is the CRM account that is written. Where it is not
    the record's own, this is a trial in a sandbox. ``kind`` is update, draft, note or task.
    """

    id = fields.String(required=True, validate=ID)
    proposal_id = fields.String(required=True, validate=ID)
    event_id = fields.String(required=True, validate=ID)
    kind = fields.String(required=True)
    account = fields.String(load_default=None, allow_none=True)
    record = fields.Nested(RecordRefSchema, required=True)
    record_version = fields.String(required=True, allow_none=True)
    fields_ = fields.List(
        fields.Nested(ChangeField), required=True, data_key="fields", attribute="fields"
    )
    source_sha256 = fields.String(required=True)
    policy = fields.String(required=True)
    proposer = fields.String(required=True)
    expires_at = Instant(required=True)
    decisions = fields.List(fields.String(), required=True)
    promotes = fields.String(load_default=None, allow_none=True)


class FieldResult(Notice):
    """``read_back`` is what the CRM holds after the write."""

    name = fields.String(required=True, validate=ID)
    before = ScalarField(required=True, allow_none=True)
    after = ScalarField(required=True, allow_none=True)
    read_back = ScalarField(required=True, allow_none=True)


class ChangeApplied(Notice):
    """``matches`` is false where the CRM altered a value: a difference, not a success.

    Where a person did it in a CRM that nobody can read, ``read_at`` and ``matches`` are ``null``.
    ``stand_in`` is the record of the sandbox that a trial was written to.
    """

    change_id = fields.String(required=True, validate=ID)
    proposal_id = fields.String(required=True, validate=ID)
    record = fields.Nested(RecordRefSchema, required=True)
    fields_ = fields.List(
        fields.Nested(FieldResult), required=True, data_key="fields", attribute="fields"
    )
    sent_at = Instant(required=True)
    read_at = Instant(required=True, allow_none=True)
    version = fields.String(required=True, allow_none=True)
    matches = fields.Boolean(required=True, allow_none=True)
    attempts = Whole(required=True)
    account = fields.String(load_default=None, allow_none=True)
    stand_in = fields.Nested(RecordRefSchema, load_default=None, allow_none=True)
    kind = fields.String(load_default=None, allow_none=True)


class ChangeFailed(Notice):
    """Nothing was written. ``rule`` names the rule or the CRM's refusal, ``advice`` what to do."""

    change_id = fields.String(required=True, validate=ID)
    proposal_id = fields.String(required=True, validate=ID)
    record = fields.Nested(RecordRefSchema, required=True)
    rule = fields.String(required=True, validate=ID)
    detail = fields.String(required=True)
    advice = fields.String(required=True)
    account = fields.String(load_default=None, allow_none=True)
    kind = fields.String(load_default=None, allow_none=True)


class StaleField(Notice):
    name = fields.String(required=True, validate=ID)
    before = ScalarField(required=True, allow_none=True)
    now = ScalarField(required=True, allow_none=True)


class ChangeStale(Notice):
    """Somebody changed the record between the approval and the write; nothing was written."""

    change_id = fields.String(required=True, validate=ID)
    proposal_id = fields.String(required=True, validate=ID)
    record = fields.Nested(RecordRefSchema, required=True)
    fields_ = fields.List(
        fields.Nested(StaleField), required=True, data_key="fields", attribute="fields"
    )
    changed_by = fields.String(required=True, allow_none=True)
    account = fields.String(load_default=None, allow_none=True)


class ChangeUnknown(Notice):
    """The call was cut off: the completer reads back."""

    change_id = fields.String(required=True, validate=ID)
    proposal_id = fields.String(required=True, validate=ID)
    record = fields.Nested(RecordRefSchema, required=True)
    detail = fields.String(required=True)
    account = fields.String(load_default=None, allow_none=True)
    kind = fields.String(load_default=None, allow_none=True)


class ChangeVerified(Notice):
    change_id = fields.String(required=True, validate=ID)
    verdict = fields.String(required=True)
    note = fields.String(required=True, allow_none=True)


class AssistRequested(Notice):
    """What a person asks for: ``kind`` is summary, reply, next_steps or again."""

    id = fields.String(required=True, validate=ID)
    kind = fields.String(
        required=True, validate=validate.OneOf(["summary", "reply", "next_steps", "again"])
    )
    record = fields.Nested(RecordRefSchema, required=True, allow_none=True)
    event_id = fields.String(required=True, allow_none=True)
    proposal_id = fields.String(required=True, allow_none=True)
    note = fields.String(required=True, allow_none=True)
    round = Whole(required=True)


class RepairRequested(Notice):
    """What support asks for: ``kind`` is undo, correction or rule."""

    id = fields.String(required=True, validate=ID)
    kind = fields.String(required=True, validate=validate.OneOf(["undo", "correction", "rule"]))
    change_id = fields.String(required=True, allow_none=True)
    record = fields.Nested(RecordRefSchema, required=True, allow_none=True)
    fields_ = fields.Dict(
        keys=fields.String(),
        values=ScalarField(allow_none=True),
        required=True,
        data_key="fields",
        attribute="fields",
    )
    reason = fields.String(required=True)


class PolicyChanged(Notice):
    """``policy`` is the hash of the version now in force; ``widened`` names rights it adds."""

    policy = fields.String(required=True, validate=ID)
    previous = fields.String(required=True, allow_none=True)
    widened = fields.List(fields.String(), required=True)
    text = fields.String(required=True)


class PersonChanged(Notice):
    person = fields.String(required=True, validate=ID)
    action = fields.String(required=True)
    roles = fields.List(fields.String(), required=True)


class SourceChanged(Notice):
    """A person changed how something comes in: ``action`` is opened, rotated, dropped, configured,
    removed or retention. ``detail`` names what, never a secret; ``endpoint`` is null where it is of
    the whole source.
    """

    source = fields.String(required=True, validate=ID)
    endpoint = fields.String(required=True, allow_none=True)
    action = fields.String(required=True, validate=ID)
    detail = fields.String(required=True)


class SearchMade(Notice):
    """``query`` is a keyed hash; the words themselves are not kept."""

    query = fields.String(required=True)
    filters = fields.List(fields.String(), required=True)
    hits = Whole(required=True)


class RecordUnmasked(Notice):
    what = fields.String(required=True)
    reason = fields.String(required=True, validate=ID)


class PersonErased(Notice):
    """``person`` is a keyed hash that dies with the key; ``chains`` name what is to be forgotten.

    A person with many chains takes several messages; ``entries`` counts those of this one.
    """

    person = fields.String(required=True)
    chains = Many(fields.String(validate=ID), required=True)
    entries = Whole(required=True)
    reason = fields.String(required=True)


class CheckpointSigned(Notice):
    size = Whole(required=True)
    root = fields.String(required=True)
    note = fields.String(required=True)


class KeyChanged(Notice):
    """Another key seals the log from the next seal on; ``note`` is signed by both.

    ``old`` and ``new`` are verifier keys.
    """

    old = fields.String(required=True)
    new = fields.String(required=True)
    note = fields.String(required=True)


class WritingStopped(Notice):
    reason = fields.String(required=True)


class WritingResumed(Notice):
    reason = fields.String(required=True)


class DraftPromoted(Notice):
    change_id = fields.String(required=True, allow_none=True)
    draft = fields.Nested(RecordRefSchema, required=True)
    record = fields.Nested(RecordRefSchema, required=True)


class DraftDiscarded(Notice):
    change_id = fields.String(required=True, allow_none=True)
    draft = fields.Nested(RecordRefSchema, required=True)
    reason = fields.String(required=True)


class GrantMade(Notice):
    """Reserved for writing first and verifying afterwards: signed and expiring."""

    id = fields.String(required=True, validate=ID)
    crm = fields.String(required=True)
    object = fields.String(required=True)
    field = fields.String(required=True)
    prompt_version = fields.String(required=True)
    expires_at = Instant(required=True)
    signature = fields.String(required=True)


class GrantRevoked(Notice):
    id = fields.String(required=True, validate=ID)
    reason = fields.String(required=True)


class SessionOpened(Notice):
    """``how`` is link, password or token."""

    person = fields.String(required=True, validate=ID)
    how = fields.String(required=True)
