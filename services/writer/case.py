"""What is put before the gate: proposal, decisions, the change, and the facts of this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.writer.office import Stop
from shared.domain.change import Change
from shared.domain.decision import Decision
from shared.domain.proposal import Proposal, ProposalKind
from shared.domain.receipt import Receipt
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import Scalar
from shared.policy import Policy
from shared.proof import VerifierKey


def is_same(one: Scalar, other: Scalar) -> bool:
    """Equal in value and type: ``1`` is not ``true``, and the empty text is not "no value"."""
    return type(one) is type(other) and one == other


def held(kind: ProposalKind, live: Reading, field: str) -> Scalar:
    """What stands where the field would be written; what is appended takes the place of nothing."""
    return None if kind.appends else live.fields.get(field)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What one person may do at this moment."""

    roles: frozenset[str]
    disabled: bool = False
    aliases: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Written:
    """How many changes of one field were sent in the last hour and day."""

    hour: int = 0
    day: int = 0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A change that went to a sandbox: its record is the live one that it was a trial for.

    ``matches``: it was read back with the very ``values`` (by field) that were approved.
    """

    account: str
    record: RecordRef
    matches: bool
    values: Mapping[str, Scalar]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the rules look at besides the proposal and the decisions.

    ``policy`` is the valid version in force now; ``problem`` says why the file is wrong, ``unfit``
    why the credential of the CRM is.
    ``shown_policy`` is the hash that was in force when the card was shown; the signed card digest
    binds it. ``people`` are by id, ``written`` by field. ``other_changes`` are ids of further
    changes for the same proposal; ``state`` is that of this change, ``None`` before it exists.
    ``restores`` are the values that the change to be undone had replaced. ``sandboxes`` names by
    live account the one that stands in for it; ``trial`` is the one that is to be promoted.
    """

    now: datetime
    policy: Policy | None
    shown_policy: str
    keys: Mapping[str, Ed25519PublicKey]
    people: Mapping[str, Standing]
    stops: tuple[Stop, ...] = ()
    stopped: bool = False
    problem: str | None = None
    unfit: str | None = None
    state: str | None = None
    other_changes: tuple[str, ...] = ()
    written: Mapping[str, Written] | None = None
    receipt: Receipt | None = None
    log_keys: tuple[VerifierKey, ...] = ()
    live: Reading | None = None
    restores: Mapping[str, Scalar] | None = None
    sandboxes: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is put before the gate: the change as it would be written, and why it might be."""

    proposal: Proposal
    decisions: tuple[Decision, ...]
    change: Change
    facts: Facts
