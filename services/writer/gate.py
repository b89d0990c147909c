"""The gate: the one place where a `Change` is made, and the rules it has to pass."""

from __future__ import annotations

from collections.abc import Sequence

from services.writer.case import Case, Facts
from services.writer.rules import Rule
from services.writer.stages import account_of
from shared.domain import ids
from shared.domain.change import Change, FieldWrite
from shared.domain.decision import Decision, FieldDecision, FieldVerdict
from shared.domain.proposal import SUBSTANCE, Proposal
from shared.errors import NotApproved


def change_of(
    proposal: Proposal,
    verdicts: Sequence[FieldDecision],
    card_digest: str,
    policy: str,
    decisions: Sequence[str] = (),
    *,
    account: str,
) -> Change:
    """The change that follows from a proposal and a verdict per field.

    ``account`` is the CRM account that would be written (`account_of`). ``policy`` is the hash that
    was in force when the card was shown. Raises `NotApproved` (``same-text``) when no field is left
    to write, or not the one without which there is nothing to append.
    """
    writes = [
        FieldWrite(name=verdict.field, before=verdict.now, after=verdict.value)
        for verdict in verdicts
        if verdict.verdict is not FieldVerdict.DROPPED
    ]
    if not writes:
        raise NotApproved("no field was approved", rule="same-text")
    substance = SUBSTANCE.get(proposal.kind)
    said = {write.name for write in writes if str(write.after or "").strip()}
    if substance is not None and substance not in said:
        raise NotApproved(f"there is no {proposal.kind} without a {substance}", rule="same-text")
    return Change(
        id=ids.change_id(proposal.id, card_digest),
        proposal_id=proposal.id,
        event_id=proposal.event_id,
        kind=proposal.kind,
        account=account,
        record=proposal.record,
        record_version=proposal.record_version,
        fields=tuple(sorted(writes, key=lambda write: write.name)),
        source_sha256=proposal.source_sha256,
        policy=policy,
        proposer=str(proposal.maker),
        expires_at=proposal.expires_at,
        decisions=tuple(sorted(decisions)),
        promotes=proposal.promotes,
    )


def permit(
    rules: Sequence[Rule], proposal: Proposal, decisions: Sequence[Decision], facts: Facts
) -> Change:
    """The change that these decisions permit. Raises `NotApproved` naming the rule that refuses."""
    if not rules:
        raise NotApproved("no rules configured", rule="closed")  # An empty gate is a closed gate.
    if not decisions:
        raise NotApproved("nobody has approved this", rule="enough-approvers")
    first = decisions[0]
    names = [decision.id for decision in decisions]
    change = change_of(
        proposal,
        first.fields,
        first.card_digest,
        facts.shown_policy,
        names,
        account=account_of(proposal, facts.policy, facts.sandboxes),
    )
    case = Case(proposal=proposal, decisions=tuple(decisions), change=change, facts=facts)
    for rule in rules:
        rule(case)
    return change
