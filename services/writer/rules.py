"""The rules of the gate: small, pure, named; each refuses with `NotApproved` and its name."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.writer.case import Case, Facts, Standing, Written, held, is_same
from services.writer.office import effective_end
from services.writer.stages import rule_of, stage
from shared.domain.change import Change, FieldWrite
from shared.domain.decision import (
    Decision,
    DecisionSchema,
    FieldVerdict,
    Verdict,
    card_digest,
)
from shared.domain.ledger import commitment
from shared.domain.notices import ChangeIntended
from shared.domain.proposal import FieldChange, Proposal, ProposalKind
from shared.domain.receipt import Receipt
from shared.domain.schema import dump, load
from shared.domain.topics import Topic
from shared.errors import BadPayload, BadSignature, NotApproved
from shared.policy import Mode, Policy, check
from shared.proof import leaf_hash, open_checkpoint, verify_inclusion

FINAL = frozenset({"applied", "failed", "stale"})


Rule = Callable[[Case], None]

ADVICE: Mapping[str, str] = {
    "writing-allowed": "It waits until writing is resumed; nothing expires meanwhile.",
    "credential-fits": "It waits until an admin gives the CRM credential the right scopes.",
    "within-caps": "It waits until the limit of the field allows another write.",
    "enough-approvers": "Ask a second person to approve this card.",
    "not-expired": "Re-read the record and decide on the new card.",
    "still-current": "Re-read the record and decide on the new card.",
    "decider-may-approve": "Ask somebody who may approve this field.",
    "field-is-listed": "An admin can list the field in the policy; then propose it again.",
    "value-fits": "Propose a value that the policy allows.",
    "dry-run": "The policy keeps this field at stage dry-run; an admin can promote it.",
    "stage": "Try it in the sandbox first: propose it anew, then promote what was read back.",
    "not-done": "Nothing was changed by hand. Propose it again if it is still wanted.",
    "receipt-holds": "Nothing was written. Verify the log, then propose it again.",
}
NO_ADVICE = "Nothing was written. Look at the card again and decide anew."


def advice(rule: str) -> str:
    """What a person can do after this rule refused."""
    return ADVICE.get(rule, NO_ADVICE)


def writing_allowed(case: Case) -> None:
    """The stop switch is off and a valid policy is in force."""
    if case.facts.stopped:
        raise NotApproved("writing is stopped", rule="writing-allowed")
    if case.facts.problem is not None or case.facts.policy is None:
        raise NotApproved("the policy file is wrong: nothing is written", rule="writing-allowed")


def credential_fits(case: Case) -> None:
    """What our credential can do in this CRM is what the policy needs, and no more."""
    if case.facts.unfit is not None:
        raise NotApproved(case.facts.unfit, rule="credential-fits")


def same_text(case: Case) -> None:
    """What would be written is, digest by digest, what each approver was shown and signed."""
    for decision in case.decisions:
        if not _is_same_text(case, decision):
            raise NotApproved(
                "the approval belongs to another text than this one", rule="same-text"
            )


def _is_same_text(case: Case, decision: Decision) -> bool:
    proposal = case.proposal
    now = {verdict.field: verdict.now for verdict in decision.fields}
    shown = card_digest(proposal.digest(), now, case.facts.shown_policy)
    return (
        decision.verdict is Verdict.APPROVED
        and decision.proposal_id == proposal.id
        and decision.event_id == proposal.event_id
        and decision.card_digest == shown
        and decision.change_digest == case.change.digest()
        and decision.promotes == proposal.promotes
        and decision.appends == (proposal.kind if proposal.kind.appends else None)
        and len(now) == len(decision.fields) == len(proposal.fields)
        and all(_verdict_fits(field, decision) for field in proposal.fields)
    )


def _verdict_fits(field: FieldChange, decision: Decision) -> bool:
    """One verdict for the field, taken over the value that was proposed on."""
    verdict = next((v for v in decision.fields if v.field == field.field), None)
    if verdict is None or not is_same(verdict.now, field.before):
        return False
    if verdict.verdict is FieldVerdict.DROPPED:
        return is_same(verdict.value, verdict.now)
    return is_same(verdict.value, field.after) is (verdict.verdict is FieldVerdict.ACCEPTED)


def signed(case: Case) -> None:
    """Each decision carries a valid signature by a known key of ours."""
    for decision in case.decisions:
        key = case.facts.keys.get(decision.key_id)
        if key is None or not _verifies(key, decision):
            raise NotApproved("the signature of the approval does not verify", rule="signed")


def _verifies(key: Ed25519PublicKey, decision: Decision) -> bool:
    try:
        signature = base64.b64decode(decision.signature, validate=True)
        if base64.b64encode(signature).decode() != decision.signature:
            return False
        # What travels is cut to milliseconds: a finer time was never signed.
        if load(DecisionSchema, dump(DecisionSchema, decision)) != decision:
            return False
        key.verify(signature, decision.signed_bytes())
    except (InvalidSignature, binascii.Error, ValueError, BadPayload):
        return False
    return True


def decider_may_approve(case: Case) -> None:
    """Each approver is a signed-in person, entitled now for each field, and not the proposer."""
    for decision in case.decisions:
        reason = why_not_entitled(case.proposal, decision.approver, case.facts, case.change)
        if reason is None and not decision.auth_level:
            reason = "nobody was signed in"
        if reason is None and decision.auth_time > decision.decided_at:
            reason = "the sign-in is later than the decision"
        if reason is not None:
            raise NotApproved(reason, rule="decider-may-approve")


def why_not_entitled(
    proposal: Proposal, person: str, facts: Facts, change: Change | None = None
) -> str | None:
    """Why this person may not approve this proposal now; ``None``: they may."""
    standing = facts.people.get(person)
    if standing is None or standing.disabled:
        return "this person has no access any more"
    fields = change.fields if change is not None else proposal.fields
    for name in (f.name if isinstance(f, FieldWrite) else f.field for f in fields):
        rule = rule_of(facts.policy, proposal, name)
        roles = frozenset(rule.roles) if rule is not None else frozenset({"approver"})
        if not standing.roles & roles:
            return f"approving {name} needs the role {' or '.join(sorted(roles))}"
    if is_proposer(proposal, person, standing) and not is_solo(facts):
        return "the person who proposed a change never approves it"
    return None


def is_proposer(proposal: Proposal, person: str, standing: Standing) -> bool:
    """Whether a person made the proposal, under this or another of their names."""
    names = {person, *standing.aliases}
    return proposal.maker.kind == "person" and proposal.maker.name in names


def is_solo(facts: Facts) -> bool:
    """Whether exactly one person of this firm may approve at all."""
    active = [s for s in facts.people.values() if "approver" in s.roles and not s.disabled]
    return len(active) == 1


def field_is_listed(case: Case) -> None:
    """The policy in force now lists every field, for a person's review."""
    for field in case.change.fields:
        rule = rule_of(case.facts.policy, case.proposal, field.name)
        if rule is None or rule.mode not in {Mode.REVIEW, Mode.TWO_PERSON}:
            raise NotApproved(
                f"the policy in force does not list {field.name}", rule="field-is-listed"
            )


def value_fits(case: Case) -> None:
    """Each final value, edited ones included, passes the policy and changes something."""
    for field in case.change.fields:
        rule = rule_of(case.facts.policy, case.proposal, field.name)
        problem = "is not listed" if rule is None else check(rule, field.after)
        # What stood in the CRM before our own write may always be put back as it was.
        restores = case.facts.restores or {}
        is_restored = field.name in restores and is_same(restores[field.name], field.after)
        if rule is not None and is_restored:
            problem = None
        if problem is None and is_same(field.before, field.after):
            problem = "already has this value"
        if problem is not None:
            raise NotApproved(f"{field.name}: {problem}", rule="value-fits")


def not_expired(case: Case) -> None:
    """Approved in time, and still within the time in which an approval may be carried out."""
    proposal, facts = case.proposal, case.facts
    if facts.policy is None:
        raise NotApproved("no policy, no clock", rule="not-expired")
    office = facts.policy.office
    deadline = effective_end(
        office, proposal.created_at, proposal.expires_at, facts.stops, facts.now
    )
    for decision in case.decisions:
        limit = effective_end(
            office, decision.decided_at, decision.valid_until, facts.stops, facts.now
        )
        if not decision.decided_at <= decision.valid_until or decision.decided_at > deadline:
            raise NotApproved("the card had expired before it was approved", rule="not-expired")
        if facts.now > limit:
            raise NotApproved("the approval has expired before it was written", rule="not-expired")


def single_use(case: Case) -> None:
    """An approval makes one change, and a change ends once."""
    if case.facts.other_changes or case.facts.state in FINAL:
        raise NotApproved("this approval was used before", rule="single-use")


def enough_approvers(case: Case) -> None:
    """Two persons where a field asks for two; in a one-person firm a second look, later."""
    if not case.decisions:
        raise NotApproved("nobody has approved this", rule="enough-approvers")
    if not needs_two(case.facts.policy, case.proposal, [f.name for f in case.change.fields]):
        return
    looks = [d for d in case.decisions if not _has_edits(d) or is_solo(case.facts)]
    people = {_person(d.approver, case.facts) for d in looks}
    times = sorted(d.decided_at for d in looks)
    is_second_look = len(times) > 1 and times[-1] - times[0] >= cooling_off(case.facts.policy)
    if len(people) < 2 and not (is_solo(case.facts) and is_second_look):
        raise NotApproved("this field needs two approvers", rule="enough-approvers")


def cooling_off(policy: Policy | None) -> timedelta:
    """How long the only approver of a firm waits before the second look."""
    return timedelta(minutes=policy.cooling_off_minutes) if policy else timedelta.max


def needs_two(policy: Policy | None, proposal: Proposal, fields: list[str]) -> bool:
    """Whether one of these fields needs two approvers."""
    rules = [rule_of(policy, proposal, name) for name in fields]
    return any(rule is not None and rule.mode is Mode.TWO_PERSON for rule in rules)


def _has_edits(decision: Decision) -> bool:
    """Who edits counts as proposer."""
    return any(verdict.verdict is FieldVerdict.EDITED for verdict in decision.fields)


def _person(approver: str, facts: Facts) -> str:
    """One name for all names of a person."""
    standing = facts.people.get(approver)
    return min({approver, *standing.aliases}) if standing else approver


def within_caps(case: Case) -> None:
    """No more writes of a field per hour and day than the policy allows."""
    for field in case.change.fields:
        rule = rule_of(case.facts.policy, case.proposal, field.name)
        written = (case.facts.written or {}).get(field.name, Written())
        if rule is None:
            raise NotApproved(f"{field.name} has no limit set", rule="within-caps")
        for count, limit, unit in (
            (written.hour, rule.per_hour, "hour"),
            (written.day, rule.per_day, "day"),
        ):
            if count >= limit:
                raise NotApproved(
                    f"{field.name}: {count} writes in the last {unit}, the limit is {limit}",
                    rule="within-caps",
                )


def receipt_holds(case: Case) -> None:
    """The very intent that will be sent is in the log, proved by its signed tree."""
    receipt = case.facts.receipt
    if receipt is None:
        raise NotApproved("the log has no receipt for this intent", rule="receipt-holds")
    try:
        holds = _proves(receipt, case)
    except (BadPayload, BadSignature, ValueError) as error:
        raise NotApproved(f"the receipt proves nothing: {error}", rule="receipt-holds") from error
    if not holds:
        raise NotApproved("the receipt belongs to something else", rule="receipt-holds")


def _proves(receipt: Receipt, case: Case) -> bool:
    intent = dump(ChangeIntended, case.change)
    entry = receipt.entry
    checkpoint = open_checkpoint(receipt.checkpoint, case.facts.log_keys)
    return (
        receipt.change_id == case.change.id
        and entry.topic == Topic.CHANGE_INTENDED
        and entry.subject == f"change/{case.change.id}"
        and entry.chain == case.change.event_id
        and entry.commitment == commitment(bytes.fromhex(receipt.salt), intent)
        and len(bytes.fromhex(receipt.salt)) == 32
        and verify_inclusion(
            leaf_hash=leaf_hash(entry.leaf()),
            index=entry.seq,
            size=checkpoint.size,
            path=[bytes.fromhex(node) for node in receipt.proof],
            root=checkpoint.root,
        )
    )


def still_current(case: Case) -> None:
    """The CRM still holds, field by field, what the approver saw."""
    if case.change.kind is ProposalKind.DRAFT:
        return  # There is no record yet that could have changed.
    live = case.facts.live
    if live is None:
        raise NotApproved("the record was not read", rule="still-current")
    if live.ref != case.change.record:
        raise NotApproved("another record was read", rule="still-current")
    for field in case.change.fields:
        if not is_same(held(case.change.kind, live, field.name), field.before):
            raise NotApproved(
                f"{field.name} was changed in the CRM since it was shown", rule="still-current"
            )


INTEND: tuple[Rule, ...] = (
    same_text,
    signed,
    not_expired,
    single_use,
    decider_may_approve,
    enough_approvers,
    field_is_listed,
    value_fits,
)
SEND: tuple[Rule, ...] = (
    writing_allowed,
    credential_fits,
    *INTEND,
    stage,
    within_caps,
    receipt_holds,
)
WRITE: tuple[Rule, ...] = (*SEND, still_current)

# These do not end a change: it waits and is tried again.
HOLDING = frozenset({"writing-allowed", "credential-fits", "within-caps"})
