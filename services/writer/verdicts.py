"""A verdict per field: from what a person chose on the card to what the decision will sign."""

from __future__ import annotations

from collections.abc import Mapping

from services.writer.case import held, is_same
from services.writer.schemas import Choice
from services.writer.stages import rule_of
from shared.domain.decision import FieldDecision, FieldVerdict
from shared.domain.proposal import FieldChange, Proposal
from shared.domain.record import Reading
from shared.domain.schema import Scalar
from shared.errors import BadPayload
from shared.policy import Policy
from shared.values import ValueType


def moved_fields(proposal: Proposal, live: Reading) -> tuple[str, ...]:
    """The fields whose live value is not the one that was proposed on."""
    return tuple(
        field.field
        for field in proposal.fields
        if not is_same(held(proposal.kind, live, field.field), field.before)
    )


def before_of(proposal: Proposal) -> dict[str, Scalar]:
    return {field.field: field.before for field in proposal.fields}


def verdicts_of(
    proposal: Proposal, choices: Mapping[str, Choice], policy: Policy
) -> tuple[FieldDecision, ...]:
    """One verdict per field of the proposal. Raises `BadPayload` for a field that is not in it."""
    unknown = sorted(set(choices) - {field.field for field in proposal.fields})
    if unknown:
        raise BadPayload(f"not on this card: {', '.join(unknown)}")
    return tuple(_verdict(proposal, f, choices.get(f.field), policy) for f in proposal.fields)


def _verdict(
    proposal: Proposal, field: FieldChange, choice: Choice | None, policy: Policy
) -> FieldDecision:
    verdict = choice.verdict if choice is not None else FieldVerdict.ACCEPTED
    value = field.after
    if verdict is FieldVerdict.DROPPED:
        value = field.before
    elif verdict is FieldVerdict.EDITED and choice is not None:
        value = _typed(proposal, field.field, choice.value, policy)
        if is_same(value, field.after):
            verdict = FieldVerdict.ACCEPTED  # Edited back to what was proposed.
    return FieldDecision(field=field.field, verdict=verdict, now=field.before, value=value)


def _typed(proposal: Proposal, name: str, value: Scalar, policy: Policy) -> Scalar:
    """A form sends text; whole numbers and booleans get their type from the policy."""
    rule = rule_of(policy, proposal, name)
    if rule is None or not isinstance(value, str):
        return value
    if rule.type is ValueType.INTEGER and value.strip().lstrip("-").isdigit():
        return int(value)
    if rule.type is ValueType.BOOLEAN:
        return {"true": True, "yes": True, "false": False, "no": False}.get(value.lower(), value)
    return value if rule.multiline else value.strip()
