"""How far a change goes: not at all, to the sandbox that stands in for its CRM, or to the CRM."""

from __future__ import annotations

from collections.abc import Mapping

from services.writer.case import Case, Trial, is_same
from shared.domain.change import Change
from shared.domain.proposal import Proposal
from shared.errors import NotApproved
from shared.policy import FieldRule, Policy, Stage


def rule_of(policy: Policy | None, proposal: Proposal, field: str) -> FieldRule | None:
    """What the policy says of a field of the proposal."""
    if policy is None:
        return None
    return policy.rule(proposal.record.crm, proposal.object, field)


def needs_trial(policy: Policy | None, proposal: Proposal) -> bool:
    """Whether a field is at stage sandbox: a card goes as far as its least advanced field."""
    rules = [rule_of(policy, proposal, field.field) for field in proposal.fields]
    return any(rule is not None and rule.stage is Stage.SANDBOX for rule in rules)


def account_of(proposal: Proposal, policy: Policy | None, sandboxes: Mapping[str, str]) -> str:
    """The CRM account that a change of this proposal is written to."""
    crm = proposal.record.crm
    if proposal.promotes is None and needs_trial(policy, proposal):
        return sandboxes.get(crm, crm)
    return crm


def stage(case: Case) -> None:
    """The change goes as far as its fields are, and to the live record only what was tried."""
    for field in case.change.fields:
        rule = rule_of(case.facts.policy, case.proposal, field.name)
        if rule is None or rule.stage is Stage.DRY_RUN:
            raise NotApproved(f"{field.name} is at no stage at which it is written", rule="dry-run")
    if reason := why_not_there(case):
        raise NotApproved(reason, rule="stage")


def why_not_there(case: Case) -> str | None:
    """Why the change may not be written to the account that it names; ``None``: it may."""
    change, facts = case.change, case.facts
    crm = change.record.crm
    if not needs_trial(facts.policy, case.proposal):
        return None if change.account == crm else f"it is not to be tried: {crm} is written"
    if change.is_trial:
        is_right = facts.sandboxes.get(crm) == change.account
        return None if is_right else f"{change.account} does not stand in for {crm}"
    if change.promotes is None:
        return f'no account has sandbox_of = "{crm}", so nothing can be tried'
    return _why_not_promoted(change, facts.trial)


def _why_not_promoted(change: Change, trial: Trial | None) -> str | None:
    if trial is None or not trial.matches or trial.account == change.record.crm:
        return "what it would promote was not tried and read back"
    if trial.record != change.record:
        return "another record was tried than this one"
    for field in change.fields:
        is_tried = field.name in trial.values and is_same(trial.values[field.name], field.after)
        if not is_tried:
            return f"{field.name} was tried with another value than this one"
    return None
