"""What pages and the API show: plain frozen data, put together from stored rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from services.writer.views_of_changes import ChangeView, TrialView
from shared.domain.schema import Scalar


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When something expires, with the time that writing was stopped added.

    ``text`` is for people ("expires Mon 23 Nov 14:00 (6 working hours)"); ``frozen`` says that
    writing is stopped, so the clock stands still.
    """

    at: datetime
    working_minutes: int
    text: str
    frozen: bool


@dataclass(frozen=True, kw_only=True)
class RowField:
    field: str
    label: str
    before: Scalar
    after: Scalar


@dataclass(frozen=True, kw_only=True)
class CardRow:
    """One line of the queue. ``confidence`` is the lowest of its fields, in per mille.

    ``kind`` is update, draft, note or task. ``risk`` is ``normal`` or ``sensitive`` (two
    approvers). ``state`` is pending, approved, rejected, superseded or expired. ``flags`` are those
    of the proposal and the event plus ``second_round``, ``undo``, ``draft``, ``late``, ``trial``,
    ``promotion``.
    """

    id: str
    event_id: str
    kind: str
    record: str
    title: str
    headline: str
    fields: tuple[RowField, ...]
    source: str
    maker: str
    prompt_version: str
    confidence: int
    risk: str
    state: str
    created_at: datetime
    clock: Clock
    assignee: str | None
    claimed_by: str | None
    approvals: int
    approvals_needed: int
    flags: tuple[str, ...]
    decided_by: str | None = None
    decided_at: datetime | None = None
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of the queue. ``next`` is the value of ``after`` for the next page, if any."""

    rows: tuple[CardRow, ...]
    total: int
    next: str | None
    last_came_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The tabs of the queue."""

    needs_you: int
    waiting_for_others: int
    decided: int
    expired: int
    worklist: int
    drafts: int


@dataclass(frozen=True, kw_only=True)
class Quote:
    """The evidence in its place: a little text before, the exact characters, a little after."""

    part: str
    before: str
    quote: str
    after: str


@dataclass(frozen=True, kw_only=True)
class PastProposal:
    """An earlier proposal for this record and field."""

    proposal_id: str
    field: str
    before: Scalar
    after: Scalar
    state: str
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    change_id: str | None
    change_state: str | None


@dataclass(frozen=True, kw_only=True)
class Track:
    """How this field's proposals fared in the last 90 days."""

    approved: int
    edited: int
    dropped: int


@dataclass(frozen=True, kw_only=True)
class FieldLine:
    """One field of a card. ``before`` is the value at proposal; "now" comes from `NowView`.

    ``oddities`` name invisible or look-alike characters in the proposed value. ``rule`` is the
    policy's reason in words. ``writable`` is false when the policy in force no longer lists it;
    ``problem`` then, or where the value does not fit, says so.
    """

    field: str
    label: str
    before: Scalar
    proposed: Scalar
    evidence: Quote | None
    confidence: int
    type: str
    max_length: int | None
    allowed: tuple[str, ...]
    mode: str
    stage: str
    rule: str
    problem: str | None
    oddities: tuple[str, ...]
    track: Track


@dataclass(frozen=True, kw_only=True)
class EventView:
    """What came in. ``parts`` are (name, text); ``raw_sha256`` names the stored bytes."""

    id: str
    source: str
    type: str
    received_at: datetime
    sender: str | None
    sender_verified: str
    subject: str | None
    parts: tuple[tuple[str, str], ...]
    raw_sha256: str


@dataclass(frozen=True, kw_only=True)
class CandidateView:
    """A record that might be meant, or a likely duplicate of a draft."""

    crm: str
    type: str
    id: str
    title: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ReadView:
    """What the proposal was made from: the record as it was read. ``ref`` is crm/type/id."""

    ref: str
    title: str
    url: str | None
    read_at: datetime
    fields: tuple[tuple[str, Scalar], ...]
    history: tuple[tuple[datetime, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class VerdictLine:
    field: str
    verdict: str
    value: Scalar


@dataclass(frozen=True, kw_only=True)
class DecisionLine:
    """One person's decision."""

    id: str
    approver: str
    verdict: str
    fields: tuple[VerdictLine, ...]
    reason: str | None
    comment: str | None
    decided_at: datetime
    seconds: int


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything one card shows except the live values.

    ``card_digest`` is what an approval signs as long as the live values equal ``before``.
    ``guarantee`` says what the CRM does when somebody changes the record in the same moment.
    ``blocked`` says why this person cannot approve (``None``: they can). ``solo_wait`` is the
    time from which the only approver of a firm may take the second look. ``tries_in`` is the
    sandbox that an approval would write to in place of the record's CRM; ``tried`` is the trial
    whose values the card would promote, so that they cannot be edited.
    """

    row: CardRow
    why: str
    route: str
    urgency: str
    summary: str
    reply_draft: str | None
    next_steps: tuple[str, ...]
    lines: tuple[FieldLine, ...]
    event: EventView | None
    reading: ReadView | None
    candidates: tuple[CandidateView, ...]
    history: tuple[PastProposal, ...]
    decisions: tuple[DecisionLine, ...]
    change: ChangeView | None
    card_digest: str
    policy: str
    guarantee: str
    blocked: str | None
    solo_wait: datetime | None
    rounds_left: int
    follows: str | None
    superseded_by: str | None
    undoes: str | None
    tries_in: str | None = None
    tried: TrialView | None = None


@dataclass(frozen=True, kw_only=True)
class NowField:
    field: str
    value: Scalar
    moved: bool


@dataclass(frozen=True, kw_only=True)
class NowView:
    """The live values. Not ``reachable``: a decision is still possible, the write checks again.

    ``card_digest`` is the digest of what is shown now; it is the card's own where nothing moved.
    """

    reachable: bool
    read_at: datetime
    fields: tuple[NowField, ...]
    moved: tuple[str, ...]
    card_digest: str
    record_url: str | None


@dataclass(frozen=True, kw_only=True)
class WorkRow:
    """An event that a person must look at. ``state`` is open, assigned or done."""

    event_id: str
    state: str
    reason: str
    route: str
    urgency: str
    source: str
    subject: str | None
    sender: str | None
    created_at: datetime
    assignee: str | None
    note: str | None
    done_by: str | None
    done_at: datetime | None
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """One worklist event in full."""

    row: WorkRow
    summary: str
    reply_draft: str | None
    next_steps: tuple[str, ...]
    event: EventView
    reading: ReadView | None
    candidates: tuple[CandidateView, ...]


@dataclass(frozen=True, kw_only=True)
class DraftRow:
    """A new record waiting in the CRM's space for drafts. ``state``: open, promoted, discarded.

    ``refused`` is why the CRM did not take it, in its own words.
    """

    change_id: str
    crm: str
    type: str
    id: str
    title: str
    state: str
    created_at: datetime
    proposal_id: str
    record: str | None
    decided_by: str | None
    decided_at: datetime | None
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class StopView:
    """The stop switch. ``problem`` is set when the policy file is wrong: nothing is written."""

    stopped: bool
    person: str | None
    reason: str | None
    since: datetime | None
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class PolicyRow:
    """``sandbox`` is the account that a field at stage sandbox is written to."""

    crm: str
    object: str
    field: str
    mode: str
    stage: str
    type: str
    reason: str
    roles: tuple[str, ...]
    expires_hours: int
    per_hour: int | None
    per_day: int | None
    sandbox: str | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyView:
    hash: str
    since: datetime
    problem: str | None
    rows: tuple[PolicyRow, ...]
    text: str
