"""What pages and the API show of a change: what became of it, and how its trial looked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from shared.domain.schema import Scalar


@dataclass(frozen=True, kw_only=True)
class WriteLine:
    field: str
    before: Scalar
    after: Scalar
    read_back: Scalar
    corrected_to: Scalar = None
    is_corrected: bool = False


@dataclass(frozen=True, kw_only=True)
class ChangeView:
    """What became of an approval. ``headline`` is a sentence such as "approved, not yet written".

    ``state`` is intended, sent, unknown, applied, failed or stale. ``undo`` is ``None`` where the
    old value can be proposed back, otherwise the reason why not. ``waits_for_word``: a person does
    it in a CRM without an API and says so here; ``done_by`` and ``done_at`` are who did, and when.
    ``tried_in`` is the sandbox of a trial, ``stand_in`` the record (crm/type/id) that was written
    there, ``url`` where to look at it, ``promotion`` the card that asks whether to promote it.
    """

    id: str
    proposal_id: str
    record: str
    state: str
    headline: str
    advice: str | None
    rule: str | None
    detail: str | None
    held: str | None
    attempts: int
    fields: tuple[WriteLine, ...]
    waits_for_word: bool
    done_by: str | None
    done_at: datetime | None
    intended_at: datetime
    sent_at: datetime | None
    read_at: datetime | None
    matches: bool | None
    receipt_seq: int | None
    undo: str | None
    undone_by: str | None
    tried_in: str | None = None
    stand_in: str | None = None
    url: str | None = None
    promotion: str | None = None


@dataclass(frozen=True, kw_only=True)
class TriedField:
    field: str
    label: str
    value: Scalar


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """How a trial looked when it was read back. ``stand_in`` is crm/type/id in the sandbox."""

    account: str
    stand_in: str
    url: str | None
    read_at: datetime
    proposal_id: str
    fields: tuple[TriedField, ...]
