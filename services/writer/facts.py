"""Collects what the gate's rules look at, inside the transaction that acts on the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, Row

from services.writer import change_store, policy_store, store, switch
from services.writer.case import Facts, Standing
from services.writer.crm_reports import problem_of
from services.writer.stages import account_of
from shared.domain.decision import Decision
from shared.domain.proposal import Proposal
from shared.domain.record import Reading
from shared.people_file import Account
from shared.proof import VerifierKey


@dataclass(frozen=True, kw_only=True)
class Docket:
    """A proposal, the approvals of one card of it, and the facts of this moment."""

    proposal: Proposal
    decisions: tuple[Decision, ...]
    facts: Facts


def standings(accounts: Sequence[Account]) -> Mapping[str, Standing]:
    """What each person may do now, by id."""
    return {
        account.id: Standing(
            roles=frozenset(account.roles),
            disabled=account.disabled,
            aliases=frozenset(account.aliases),
        )
        for account in accounts
    }


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where facts come from that no table holds; all but ``sandboxes`` are read anew each time.

    ``sandboxes`` names by live account the one that stands in for it.
    """

    people: Callable[[], Sequence[Account]]
    decision_keys: Callable[[], Mapping[str, Ed25519PublicKey]]
    log_keys: Callable[[], tuple[VerifierKey, ...]]
    sandboxes: Mapping[str, str] = field(default_factory=dict)


def collect(
    db: Connection,
    sources: Sources,
    *,
    proposal_id: str,
    card_digest: str,
    now: datetime,
    live: Reading | None = None,
) -> Docket:
    """The docket of one card. Raises `NotFound` for an unknown proposal."""
    proposal = store.proposal_of(store.row_of(db, proposal_id))
    given = store.decisions_for(db, proposal_id, card_digest)
    approvals = tuple(decision for decision, _ in given if decision.verdict == "approved")
    shown = given[0][1] if given else ""
    rows = change_store.changes_of(db, proposal_id)
    own = next((row for row in rows if row.card_digest == card_digest), None)
    in_force = policy_store.in_force(db)
    account = account_of(proposal, in_force.policy, sources.sandboxes)
    facts = Facts(
        now=now,
        policy=in_force.policy,
        problem=in_force.problem,
        unfit=problem_of(db, account),
        shown_policy=shown,
        keys=sources.decision_keys(),
        people=standings(sources.people()),
        stops=switch.stops(db),
        stopped=switch.is_stopped(db),
        state=own.state if own is not None else None,
        other_changes=tuple(row.id for row in rows if own is None or row.id != own.id),
        written=_written(db, proposal, account, own, now),
        receipt=change_store.receipt_of(own) if own is not None else None,
        log_keys=sources.log_keys() if own is not None and own.receipt else (),
        live=live,
        restores=change_store.replaced_by(db, proposal.undoes) if proposal.undoes else {},
        sandboxes=sources.sandboxes,
        trial=change_store.trial_of(db, proposal.promotes) if proposal.promotes else None,
    )
    return Docket(proposal=proposal, decisions=approvals, facts=facts)


def _written(
    db: Connection,
    proposal: Proposal,
    account: str,
    own: Row[Any] | None,
    now: datetime,
) -> Mapping[str, Any]:
    object_ = change_store.object_of(account, proposal.object)
    if own is None:
        return {}
    return {
        one.field: change_store.written(db, object_, one.field, now, but=own.id)
        for one in proposal.fields
    }
