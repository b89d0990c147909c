"""The gate: closed when empty, and every rule refuses what it is named for."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.writer import rules
from services.writer.case import Facts, Standing, Trial, Written, is_same
from services.writer.gate import change_of, permit
from services.writer.office import Stop
from services.writer.signing import Signer
from services.writer.stages import account_of
from shared.bus.envelope import Envelope
from shared.domain.decision import (
    Decision,
    DecisionSchema,
    FieldDecision,
    FieldVerdict,
    Verdict,
    card_digest,
)
from shared.domain.notices import ChangeIntended
from shared.domain.proposal import FieldChange, Maker, Proposal, ProposalKind
from shared.domain.receipt import ReceiptSchema
from shared.domain.record import Reading, RecordRef
from shared.domain.schema import dump, load
from shared.domain.topics import TOPICS, Topic
from shared.errors import NotApproved, Rejected
from shared.keys import key_id
from shared.policy import Policy, load_policy
from tests.writer.world import CONTACT, Log, policy_text

NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
LOG = Log(private=Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))
POLICY = load_policy(policy_text(two_person=("email",)))
PEOPLE = {
    "ada": Standing(roles=frozenset({"approver"}), aliases=frozenset({"ada-2"})),
    "ben": Standing(roles=frozenset({"approver"})),
    "sue": Standing(roles=frozenset({"support"})),
}
PROPOSAL = Proposal(
    id="p1",
    event_id="e1",
    kind=ProposalKind.UPDATE,
    record=CONTACT,
    title="Dana Miller",
    fields=(FieldChange(field="phone", before="+12025550101", after="+12025550199"),),
    maker=Maker(kind="rules", name="rules", version="1"),
    policy=POLICY.version,
    source_sha256="0" * 64,
    created_at=NOW - timedelta(hours=1),
    expires_at=NOW + timedelta(hours=4),
)


def decide(
    proposal: Proposal = PROPOSAL,
    *,
    verdict: FieldVerdict = FieldVerdict.ACCEPTED,
    value: Any = None,
    **more: Any,
) -> Decision:
    """A properly signed approval; ``unsigned`` are changes made after the signature."""
    unsigned = more.pop("unsigned", {})
    now = {field.field: field.before for field in proposal.fields}
    shown = card_digest(proposal.digest(), now, POLICY.version)
    fields = tuple(
        FieldDecision(
            field=field.field,
            verdict=verdict,
            now=field.before,
            value=field.after if value is None else value,
        )
        for field in proposal.fields
    )
    policy, sandboxes = more.pop("policy", POLICY), more.pop("sandboxes", {})
    account = account_of(proposal, policy, sandboxes)
    change = change_of(proposal, fields, shown, POLICY.version, account=account)
    values = {
        "id": "d1",
        "proposal_id": proposal.id,
        "event_id": proposal.event_id,
        "verdict": Verdict.APPROVED,
        "fields": fields,
        "card_digest": shown,
        "change_digest": change.digest(),
        "approver": "ada",
        "auth_level": "password",
        "auth_time": NOW - timedelta(minutes=10),
        "nonce": "n1",
        "decided_at": NOW - timedelta(minutes=1),
        "valid_until": NOW + timedelta(hours=8),
        "promotes": proposal.promotes,
    }
    return replace(Signer(key=lambda: KEY).sign(Decision(**{**values, **more})), **unsigned)


def facts(**more: Any) -> Facts:
    values: dict[str, Any] = {
        "now": NOW,
        "policy": POLICY,
        "shown_policy": POLICY.version,
        "keys": {key_id(KEY.public_key()): KEY.public_key()},
        "people": PEOPLE,
        "log_keys": (LOG.vkey,),
        "live": reading_of(PROPOSAL),
        "state": "sent",
    }
    return Facts(**{**values, **more})


def reading_of(proposal: Proposal, **values: Any) -> Reading:
    fields = {field.field: field.before for field in proposal.fields}
    return Reading(
        ref=proposal.record,
        title="Dana Miller",
        fields={**fields, **values},
        version="3",
        read_at=NOW,
    )


def receipt_for(
    proposal: Proposal, decisions: tuple[Decision, ...], account: str | None = None
) -> Any:
    first = decisions[0]
    names = [decision.id for decision in decisions]
    change = change_of(
        proposal,
        first.fields,
        first.card_digest,
        POLICY.version,
        names,
        account=account or proposal.record.crm,
    )
    body = dump(ChangeIntended, change)
    envelope = Envelope(
        id="m1",
        topic=Topic.CHANGE_INTENDED,
        schema=TOPICS[Topic.CHANGE_INTENDED].version,
        chain=change.event_id,
        cause=None,
        actor="service:writer",
        subject=f"change/{change.id}",
        at=NOW,
        traceparent="",
        body=body,
    )
    return load(ReceiptSchema, LOG.receipt(envelope))


@dataclass(frozen=True)
class World:
    proposal: Proposal
    decisions: tuple[Decision, ...]
    facts: Facts


def good(proposal: Proposal = PROPOSAL, *decisions: Decision, **more: Any) -> World:
    made = decisions or (decide(proposal),)
    account = account_of(proposal, more.get("policy", POLICY), more.get("sandboxes", {}))
    receipt = more.pop("receipt", None) or receipt_for(proposal, made, account)
    more = {"live": reading_of(proposal), "receipt": receipt, **more}
    return World(proposal, made, facts(**more))


def ask(world: World) -> Any:
    return permit(rules.WRITE, world.proposal, world.decisions, world.facts)


def test_an_empty_gate_is_a_closed_gate() -> None:
    world = good()
    with pytest.raises(NotApproved) as refused:
        permit((), world.proposal, world.decisions, world.facts)
    assert refused.value.rule == "closed"


def test_the_whole_set_permits_exactly_what_was_approved() -> None:
    change = ask(good())
    assert [(f.name, f.before, f.after) for f in change.fields] == [
        ("phone", "+12025550101", "+12025550199")
    ]


def test_nobody_approving_is_refused() -> None:
    with pytest.raises(NotApproved):
        permit(rules.WRITE, PROPOSAL, (), facts())


SENSITIVE = replace(
    PROPOSAL, fields=(FieldChange(field="email", before="a@example.com", after="b@example.com"),)
)
BY_ADA = replace(PROPOSAL, maker=Maker(kind="person", name="ada", version="1"))
BY_ALIAS = replace(PROPOSAL, maker=Maker(kind="person", name="ada-2", version="1"))
UNLISTED = replace(
    PROPOSAL, fields=(FieldChange(field="credit_limit", before="1.00", after="9.00"),)
)
UNCHANGED = replace(
    PROPOSAL, fields=(FieldChange(field="phone", before="+12025550199", after="+12025550199"),)
)
LATE = {"decided_at": NOW + timedelta(hours=5), "valid_until": NOW + timedelta(hours=9)}


def with_field(**more: Any) -> Proposal:
    return replace(PROPOSAL, fields=(replace(PROPOSAL.fields[0], **more),))


def other_record() -> Proposal:
    return replace(PROPOSAL, record=replace(CONTACT, id="1002"))


def edited_fields(value: str) -> tuple[FieldDecision, ...]:
    return (
        FieldDecision(field="phone", verdict=FieldVerdict.EDITED, now="+12025550101", value=value),
    )


def rejection() -> Decision:
    return Signer(key=lambda: KEY).sign(replace(decide(), verdict=Verdict.REJECTED))


def good_but(decision: Decision) -> World:
    """The receipt of the honest approval with another decision in its place."""
    return replace(good(), decisions=(decision,))


def without_receipt() -> World:
    world = good()
    return World(world.proposal, world.decisions, replace(world.facts, receipt=None))


SANDBOX = {"demo": "trial-crm"}


def phone_at(stage: str) -> Policy:
    text = policy_text(two_person=("email",))
    return load_policy(text.replace('stage = "live"', f'stage = "{stage}"', 1))


AT_SANDBOX, AT_DRY_RUN = phone_at("sandbox"), phone_at("dry-run")
PROMOTION = replace(PROPOSAL, promotes="c-tried")
TRIED = Trial(account="trial-crm", record=CONTACT, matches=True, values={"phone": "+12025550199"})


def tried(trial: Trial | None = TRIED, proposal: Proposal = PROMOTION, **more: Any) -> World:
    """A promotion at stage sandbox, and the trial that it names."""
    given: dict[str, Any] = {"policy": AT_SANDBOX, "sandboxes": SANDBOX}
    decision = decide(proposal, **given, **more)
    return good(proposal, decision, **given, trial=trial)


def on_trial(**more: Any) -> World:
    """A card at stage sandbox whose approval goes to the account that stands in."""
    given: dict[str, Any] = {"policy": AT_SANDBOX, "sandboxes": SANDBOX}
    return good(PROPOSAL, decide(**given), **{**given, **more})


CASES: list[tuple[str, str, Callable[[], World]]] = [
    (
        "another after",
        "same-text",
        lambda: replace(good(), proposal=with_field(after="+12025550111")),
    ),
    ("another before", "same-text", lambda: replace(good(), proposal=with_field(before="x"))),
    ("another record", "same-text", lambda: replace(good(), proposal=other_record())),
    ("another policy shown", "same-text", lambda: good(shown_policy="0" * 64)),
    (
        "value changed after signing",
        "same-text",
        lambda: good_but(decide(unsigned={"fields": edited_fields("+12025550111")})),
    ),
    (
        "approver changed after signing",
        "signed",
        lambda: good_but(decide(unsigned={"approver": "ben"})),
    ),
    (
        "validity stretched",
        "signed",
        lambda: good_but(decide(unsigned={"valid_until": NOW + timedelta(days=9)})),
    ),
    ("nonce changed", "signed", lambda: good_but(decide(unsigned={"nonce": "n2"}))),
    ("unknown key", "signed", lambda: good(keys={})),
    (
        "another key under the same id",
        "signed",
        lambda: good(
            keys={
                key_id(KEY.public_key()): Ed25519PrivateKey.from_private_bytes(
                    b"\x09" * 32
                ).public_key()
            }
        ),
    ),
    ("a rejection", "same-text", lambda: good_but(rejection())),
    (
        "a person without access",
        "decider-may-approve",
        lambda: good(people={**PEOPLE, "ada": replace(PEOPLE["ada"], disabled=True)}),
    ),
    ("an unknown person", "decider-may-approve", lambda: good(people={"ben": PEOPLE["ben"]})),
    ("the wrong role", "decider-may-approve", lambda: good(PROPOSAL, decide(approver="sue"))),
    ("the proposer", "decider-may-approve", lambda: good(BY_ADA, decide(BY_ADA))),
    (
        "the proposer under another name",
        "decider-may-approve",
        lambda: good(BY_ALIAS, decide(BY_ALIAS)),
    ),
    ("nobody signed in", "decider-may-approve", lambda: good(PROPOSAL, decide(auth_level=""))),
    (
        "a sign-in after the decision",
        "decider-may-approve",
        lambda: good(PROPOSAL, decide(auth_time=NOW)),
    ),
    ("an unlisted field", "field-is-listed", lambda: good(UNLISTED, decide(UNLISTED))),
    (
        "a value the policy refuses",
        "value-fits",
        lambda: good(PROPOSAL, decide(verdict=FieldVerdict.EDITED, value="ring me")),
    ),
    (
        "a card that had expired",
        "not-expired",
        lambda: good(PROPOSAL, decide(**LATE), now=NOW + timedelta(hours=5)),
    ),
    ("an approval that has expired", "not-expired", lambda: good(now=NOW + timedelta(hours=9))),
    ("an approval used before", "single-use", lambda: good(other_changes=("c0",))),
    ("a change that ended", "single-use", lambda: good(state="applied")),
    ("one approver of two", "enough-approvers", lambda: good(SENSITIVE, decide(SENSITIVE))),
    (
        "one person twice",
        "enough-approvers",
        lambda: good(SENSITIVE, decide(SENSITIVE), decide(SENSITIVE, id="d2", nonce="n2")),
    ),
    (
        "one person under two names",
        "enough-approvers",
        lambda: good(
            SENSITIVE,
            decide(SENSITIVE),
            decide(SENSITIVE, id="d2", nonce="n2", approver="ada-2"),
            people={**PEOPLE, "ada-2": replace(PEOPLE["ada"], aliases=frozenset({"ada"}))},
        ),
    ),
    (
        "who edits counts as proposer",
        "enough-approvers",
        lambda: good(
            SENSITIVE,
            *(
                decide(
                    SENSITIVE,
                    id=f"d-{who}",
                    nonce=who,
                    approver=who,
                    verdict=FieldVerdict.EDITED,
                    value="c@example.com",
                )
                for who in ("ada", "ben")
            ),
        ),
    ),
    ("writing stopped", "writing-allowed", lambda: good(stopped=True)),
    ("a credential with too many rights", "credential-fits", lambda: good(unfit="it can delete")),
    ("a wrong policy file", "writing-allowed", lambda: good(problem="line 3")),
    (
        "over the cap of the hour",
        "within-caps",
        lambda: good(written={"phone": Written(hour=10**6)}),
    ),
    ("over the cap of the day", "within-caps", lambda: good(written={"phone": Written(day=10**6)})),
    ("no receipt", "receipt-holds", without_receipt),
    (
        "a receipt of another change",
        "receipt-holds",
        lambda: good(receipt=receipt_for(SENSITIVE, (decide(SENSITIVE),))),
    ),
    ("an unknown log", "receipt-holds", lambda: good(log_keys=())),
    (
        "a moved value",
        "still-current",
        lambda: good(live=reading_of(PROPOSAL, phone="+12025550177")),
    ),
    (
        "a value of another type",
        "still-current",
        lambda: good(live=reading_of(PROPOSAL, phone=None)),
    ),
    (
        "another record read",
        "still-current",
        lambda: good(
            live=replace(reading_of(PROPOSAL), ref=RecordRef(crm="demo", type="contacts", id="7"))
        ),
    ),
    ("no record read", "still-current", lambda: good(live=None)),
    (
        "no sandbox for a field at stage sandbox",
        "stage",
        lambda: good(PROPOSAL, decide(policy=AT_SANDBOX), policy=AT_SANDBOX),
    ),
    ("a trial that there was not", "stage", lambda: tried(None)),
    (
        "a trial that read back something else",
        "stage",
        lambda: tried(replace(TRIED, matches=False)),
    ),
    (
        "a trial of another record",
        "stage",
        lambda: tried(replace(TRIED, record=replace(CONTACT, id="1002"))),
    ),
    (
        "a trial of another value",
        "stage",
        lambda: tried(replace(TRIED, values={"phone": "+12025550111"})),
    ),
    ("a trial of another field", "stage", lambda: tried(replace(TRIED, values={"email": "x"}))),
    ("a trial in the live account", "stage", lambda: tried(replace(TRIED, account="demo"))),
    (
        "a value edited on the promotion",
        "stage",
        lambda: tried(verdict=FieldVerdict.EDITED, value="+12025550111"),
    ),
    ("a promotion signed as something else", "same-text", lambda: tried(promotes=None)),
    ("approved for the live account", "same-text", lambda: on_trial(policy=POLICY)),
    ("approved for another sandbox", "same-text", lambda: on_trial(sandboxes={"demo": "other"})),
    (
        "approved before the field went back to sandbox",
        "same-text",
        lambda: good(policy=AT_SANDBOX, sandboxes=SANDBOX),
    ),
]


def test_a_trial_is_permitted_for_the_sandbox_and_a_promotion_for_the_live_account() -> None:
    assert (ask(on_trial()).account, ask(on_trial()).is_trial) == ("trial-crm", True)
    assert (ask(tried()).account, ask(tried()).promotes) == ("demo", "c-tried")
    assert ask(good()).account == "demo"


def test_a_dry_run_field_reaches_neither_account() -> None:
    for sandboxes in ({}, SANDBOX):
        world = good(PROPOSAL, decide(policy=AT_DRY_RUN), policy=AT_DRY_RUN, sandboxes=sandboxes)
        with pytest.raises(NotApproved) as refused:
            ask(world)
        assert refused.value.rule == "dry-run"


def test_a_card_goes_as_far_as_its_least_advanced_field() -> None:
    both = replace(
        PROPOSAL,
        fields=(FieldChange(field="job_title", before="Owner", after="Baker"), *PROPOSAL.fields),
    )
    assert account_of(both, AT_SANDBOX, SANDBOX) == "trial-crm"
    assert account_of(replace(both, fields=both.fields[:1]), AT_SANDBOX, SANDBOX) == "demo"
    assert account_of(replace(both, promotes="c-tried"), AT_SANDBOX, SANDBOX) == "demo"


@pytest.mark.parametrize(("rule", "make"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_rule_refuses_by_its_name(rule: str, make: Callable[[], World]) -> None:
    with pytest.raises(NotApproved) as refused:
        ask(make())
    assert refused.value.rule == rule


def test_every_rule_has_a_case_that_only_it_refuses() -> None:
    named = {rule.__name__.replace("_", "-") for rule in rules.WRITE}
    assert named == {case[1] for case in CASES}


@pytest.mark.parametrize("index", range(len(rules.WRITE)), ids=[r.__name__ for r in rules.WRITE])
def test_a_gate_that_forgot_one_rule_lets_something_through(index: int) -> None:
    """Each rule carries weight: without it a case of its name passes, or another must catch it."""
    name = rules.WRITE[index].__name__.replace("_", "-")
    kept = tuple(rule for rule in rules.WRITE if rule is not rules.WRITE[index])
    for _, rule, make in CASES:
        if rule != name:
            continue
        world = make()
        try:
            permit(kept, world.proposal, world.decisions, world.facts)
        except NotApproved:
            continue
        return
    assert name in {"same-text", "field-is-listed"}, "caught twice, on purpose"


def test_two_persons_open_a_sensitive_field() -> None:
    two = (
        decide(SENSITIVE),
        decide(SENSITIVE, id="d2", nonce="n2", approver="ben"),
    )
    assert ask(good(SENSITIVE, *two)).decisions == ("d1", "d2")


def test_the_only_approver_of_a_firm_needs_a_second_look_later() -> None:
    solo = {"ada": PEOPLE["ada"], "sue": PEOPLE["sue"]}
    first = decide(
        SENSITIVE, decided_at=NOW - timedelta(minutes=20), auth_time=NOW - timedelta(hours=1)
    )
    early = decide(
        SENSITIVE,
        id="d2",
        nonce="n2",
        decided_at=NOW - timedelta(minutes=10),
        auth_time=NOW - timedelta(hours=1),
    )
    late = decide(SENSITIVE, id="d2", nonce="n2")
    with pytest.raises(NotApproved):
        ask(good(SENSITIVE, first, early, people=solo))
    assert ask(good(SENSITIVE, first, late, people=solo))


def test_a_stop_gives_its_time_back() -> None:
    stop = Stop(since=NOW + timedelta(minutes=1), until=NOW + timedelta(hours=6))
    assert ask(good(now=NOW + timedelta(hours=9), stops=(stop,)))


def test_reordered_keys_of_the_same_decision_are_accepted() -> None:
    data = dump(DecisionSchema, decide())
    turned = json.loads(json.dumps(dict(reversed(data.items()))))
    assert ask(good(PROPOSAL, load(DecisionSchema, turned)))


def test_ten_thousand_mutations_of_a_signed_approval_are_all_refused() -> None:
    text = json.dumps(dump(DecisionSchema, decide()), sort_keys=True).encode()
    world, honest = good(), decide()
    chance = random.Random(7)
    tried = accepted = 0
    while tried < 10_000:
        decision = mutated(text, chance)
        tried += 1
        if decision is None or decision == honest:
            continue
        try:
            permit(rules.WRITE, PROPOSAL, (decision,), world.facts)
        except (NotApproved, Rejected):
            continue
        accepted += 1
    assert accepted == 0


def mutated(text: bytes, chance: random.Random) -> Decision | None:
    """Bits flipped, bytes dropped, doubled or swapped, or the end cut off."""
    data = bytearray(text)
    kind = chance.randrange(5)
    at = chance.randrange(len(data))
    if kind == 0:
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[at]
    elif kind == 2:
        data.insert(at, data[chance.randrange(len(data))])
    elif kind == 3:
        other = chance.randrange(len(data))
        data[at], data[other] = data[other], data[at]
    else:
        data = data[: max(at, 1)]
    try:
        found: Decision = load(DecisionSchema, json.loads(bytes(data)))
    except (ValueError, Rejected):
        return None
    return found


@settings(max_examples=200, deadline=None)
@given(
    before=st.one_of(st.none(), st.text(max_size=20), st.integers(-99, 99), st.booleans()),
    after=st.text(max_size=40),
    live=st.one_of(st.none(), st.text(max_size=20), st.integers(-99, 99), st.booleans()),
)
def test_whatever_the_values_nothing_passes_that_moved_or_does_not_fit(
    before: Any, after: str, live: Any
) -> None:
    proposal = with_field(before=before, after=after)
    try:
        world = good(proposal, decide(proposal), live=reading_of(proposal, phone=live))
        change = ask(world)
    except (NotApproved, Rejected):
        return
    assert is_same(live, before)
    assert rules.check(POLICY.fields["demo", "contacts", "phone"], change.fields[0].after) is None
