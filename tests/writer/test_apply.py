"""At most one effect, whatever the CRM, the network or death does in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.writer import acts, change_store, schemas
from services.writer.drafts import carry_out_decisions
from services.writer.tables import drafts
from shared.db import reading, writing
from shared.domain.proposal import FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.faultpoints import wire_killer
from tests.fakes.faulty_crm import Fault, status
from tests.writer.world import NEW_PHONE, OLD_PHONE, World, phone_change, running_world

WRITER = Path(__file__).resolve().parents[2] / "services" / "writer"
POINTS = sorted(
    {
        name
        for path in WRITER.glob("*.py")
        for name in re.findall(r'reached\("([a-z_.]+)"\)', path.read_text())
        if not name.startswith("trial.")  # Those are in test_trials.py.
    }
)


class Died(BaseException):
    """Stands for kill -9: nothing catches it, nothing is cleaned up."""


@pytest.fixture(autouse=True)
def no_killer() -> Iterator[None]:
    yield
    wire_killer(None)


def final(world: World, card: str) -> str:
    row = world.change(card)
    return str(row.state) if row is not None else "none"


def settle(world: World, card: str) -> str:
    """Time goes by and the completer comes round, until the change has ended."""
    for _ in range(4):
        world.pump()
        if final(world, card) in {"applied", "failed", "stale"}:
            break
        world.clock.forward(minutes=3)
        world.complete()
    return final(world, card)


FAULTS = {
    "time-out before the effect": Fault(kind="hang"),
    "time-out after the effect": Fault(kind="hang", has_effect=True),
    "cut before the effect": Fault(kind="cut"),
    "cut after the effect": Fault(kind="cut", has_effect=True),
    "cut body after the effect": Fault(kind="cut-body", has_effect=True),
    "500 before the effect": status(500),
    "500 after the effect": status(500, has_effect=True),
    "429": status(429, Retry_After="0"),
    "503": status(503),
    "200 about something else": status(200, b'{"type":"contacts","id":"7","change_id":"x"}'),
    "200 that is no JSON": status(200, b"<html>"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_misbehaving_crm_gets_the_value_exactly_once(tmp_path: Path, fault: Fault) -> None:
    with running_world(tmp_path, write_timeout=0.5) as world:
        card = world.propose()
        decided = world.approve(card.id)
        world.crm.faulty.script("PATCH", fault)

        assert settle(world, card.id) == "applied"
        assert world.in_crm() == NEW_PHONE
        assert len(world.effects(decided.change_id)) == 1


def test_an_unknown_outcome_raises_an_alert_and_is_read_back(tmp_path: Path) -> None:
    with running_world(tmp_path, write_timeout=0.5) as world:
        card = world.propose()
        world.approve(card.id)
        world.crm.faulty.script("PATCH", Fault(kind="hang"))
        world.pump()
        assert final(world, card.id) == "unknown"
        assert world.topics().count("change.unknown") == 1

        world.clock.forward(seconds=90)
        world.complete()
        assert final(world, card.id) == "unknown", "left alone for two minutes"
        assert settle(world, card.id) == "applied"


def test_a_refusal_of_the_crm_ends_the_change_and_says_so(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.crm.faulty.script("PATCH", status(422))
    world.pump()
    assert final(world, card.id) == "failed"
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "crm-refused"
    assert world.in_crm() == OLD_PHONE


def test_a_human_edit_after_an_unknown_outcome_wins(tmp_path: Path) -> None:
    with running_world(tmp_path, write_timeout=0.5) as world:
        card = world.propose()
        world.approve(card.id)
        world.crm.faulty.script("PATCH", Fault(kind="hang"))
        world.pump()
        world.edit_by_hand("phone", "+12025550177")
        assert settle(world, card.id) == "stale"
        assert world.in_crm() == "+12025550177"


def test_a_value_the_crm_altered_shows_as_a_difference(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    wire_killer(
        lambda name: (
            world.edit_by_hand("phone", "+12025550188") if name == "apply.written" else None
        )
    )
    world.pump()
    applied = world.last(Topic.CHANGE_APPLIED)
    assert applied["matches"] is False
    assert applied["fields"][0]["read_back"] == "+12025550188"


def test_no_receipt_no_write(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.holds_receipts = True
    world.pump()
    world.clock.forward(hours=1)
    world.complete()
    assert world.in_crm() == OLD_PHONE
    assert ("PATCH", "/api/contacts/1001") not in world.crm.faulty.calls

    world.holds_receipts = False
    world.pump()
    assert world.in_crm() == NEW_PHONE


@pytest.mark.parametrize(
    "forge",
    [
        lambda receipt: receipt["entry"].update(commitment="0" * 64),
        lambda receipt: receipt.update(salt="11" * 32),
        lambda receipt: receipt.update(salt="zz"),
        lambda receipt: receipt.update(proof=["00" * 32]),
        lambda receipt: receipt["entry"].update(seq=1),
        lambda receipt: receipt["entry"].update(topic="change.applied"),
    ],
)
def test_a_receipt_that_proves_something_else_opens_nothing(world: World, forge: object) -> None:
    card = world.propose()
    world.approve(card.id)
    world.holds_receipts = True
    world.pump()
    [intent] = world.held
    receipt = world.log.receipt(intent)
    forge(receipt)  # type: ignore[operator]
    world.hear(world.envelope(Topic.RECEIPT_ISSUED, receipt, intent.chain))
    world.outgoing()
    assert world.in_crm() == OLD_PHONE
    assert final(world, card.id) == "failed"
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "receipt-holds"


def test_every_message_may_come_twice_and_has_one_effect(world: World) -> None:
    card = world.propose()
    decided = world.approve(card.id)
    world.pump()
    world.handled.clear()
    for envelope in list(world.told):
        if envelope.topic is Topic.DECISION_MADE:
            world.hear(envelope)
    world.pump()
    assert len(world.effects(decided.change_id)) == 1
    assert world.topics().count("change.intended") == 1
    assert world.topics().count("change.applied") == 1
    assert "change.failed" not in world.topics()


def test_the_points_at_which_the_writer_may_die_are_at_least_fifteen() -> None:
    assert len(POINTS) >= 15, POINTS


@pytest.mark.parametrize("point", POINTS)
def test_a_writer_killed_at_any_point_neither_doubles_nor_halves(
    tmp_path: Path, point: str
) -> None:
    with running_world(tmp_path, write_timeout=0.5) as world:
        deaths = 0

        def kill(name: str) -> None:
            nonlocal deaths
            if name == point and deaths == 0:
                deaths += 1
                raise Died

        def live_on(step: object, *args: object) -> None:
            """A step that may die; the broker then delivers its message again."""
            try:
                step(*args)  # type: ignore[operator]
            except Died:
                world.clock.forward(minutes=1)
                step(*args)  # type: ignore[operator]

        wire_killer(kill)
        if point.startswith(("apply.unknown",)):
            world.crm.faulty.script("PATCH", Fault(kind="cut"))
        if point.startswith("completer"):
            world.crm.faulty.script("PATCH", Fault(kind="hang"))
        update, lead = world.proposal(), draft_of(world)
        for proposal in (update, lead):
            live_on(world.classify, world.answer(proposal))
        for proposal in (update, lead):
            world.approve(proposal.id)
        carry(world, live_on)
        for _ in range(4):
            world.clock.forward(minutes=3)
            live_on(world.complete)
            carry(world, live_on)
        with reading(world.worker.engine) as db:
            [draft] = db.execute(drafts.select()).all()
        acts.promote(world.web, world.person("ada"), draft.change_id)
        live_on(carry_out_decisions, world.worker)
        world.clock.forward(minutes=3)  # What a death left without a certain end rests first.
        carry_out_decisions(world.worker)
        carry(world, live_on)

        assert deaths == 1, "the point was reached"
        for proposal in (update, lead):
            row = world.change(proposal.id)
            assert row.state == "applied"
            fields = {entry["field"] for entry in world.effects(row.id) if entry["field"]}
            expected = {field.field for field in proposal.fields}
            assert expected <= fields
            assert world.topics().count("change.failed") == 0
        assert world.in_crm() == NEW_PHONE
        assert len(world.effects(world.change(update.id).id)) == 1
        assert len(world.crm.get("/api/drafts")["results"]) == drafts_at_start(world) + 1
        assert world.topics().count("draft.promoted") == 1
        assert world.topics().count("change.applied") == 2


def drafts_at_start(world: World) -> int:
    return sum(
        1
        for one in world.crm.get("/api/drafts")["results"]
        if one["fields"]["last_name"] != "Quist"
    )


def draft_of(world: World) -> object:
    return world.proposal(
        FieldChange(field="last_name", before=None, after="Quist"),
        kind=ProposalKind.DRAFT,
        record=RecordRef(crm="demo", type="drafts", id="new"),
        title="Quist",
    )


def carry(world: World, live_on: object) -> None:
    """Deliver until nothing moves; a message whose handler died comes again."""
    from services.writer import handlers

    while found := world.outgoing():
        for envelope in found:
            if envelope.topic is Topic.CHANGE_INTENDED:
                body = world.log.receipt(envelope)
                receipt = world.envelope(
                    Topic.RECEIPT_ISSUED, body, envelope.chain, id=f"receipt-{envelope.id}"
                )
                live_on(world.hear, receipt)  # type: ignore[operator]
            elif envelope.topic in handlers.HANDLERS:
                live_on(world.hear, envelope)  # type: ignore[operator]


def test_a_paused_old_writer_finds_its_lock_taken(world: World) -> None:
    from datetime import timedelta

    now = world.clock.now
    with writing(world.worker.engine) as db:
        old = change_store.take_lock(db, "demo/contacts/1001", now, timedelta(seconds=45))
        assert old is not None
        taken = change_store.take_lock(db, old.record, now, timedelta(seconds=45))
        assert taken is None
        later = now + timedelta(seconds=46)
        new = change_store.take_lock(db, old.record, later, timedelta(seconds=45))
        assert new is not None
        assert new.fence > old.fence
        assert not change_store.holds(db, old, now)
        change_store.free_lock(db, old, later)
        assert change_store.holds(db, new, later)


def test_every_pair_of_states_moves_only_as_listed(world: World) -> None:
    card = world.propose()
    decided = world.approve(card.id)
    world.holds_receipts = True
    world.pump()
    states = ("intended", "sent", "unknown", "applied", "failed", "stale")
    for old in states:
        for new in states:
            with writing(world.worker.engine) as db:
                if (old, new) not in change_store.MOVES:
                    with pytest.raises(AssertionError):
                        change_store.move(db, decided.change_id, old, new, world.clock.now)
                    continue
                if old != "intended":
                    moved = change_store.move(db, decided.change_id, old, new, world.clock.now)
                    assert not moved, "the state on disk is another one"
    final_states = {old for old, _ in change_store.MOVES}
    assert final_states == {"intended", "sent", "unknown"}


def test_a_dry_run_field_never_reaches_the_crm(tmp_path: Path) -> None:
    from tests.writer.world import policy_text

    text = policy_text().replace('stage = "live"', 'stage = "dry-run"', 1)
    with running_world(tmp_path, policy=text) as world:
        card = world.propose()
        world.approve(card.id)
        world.pump()
        assert world.last(Topic.CHANGE_FAILED)["rule"] == "dry-run"
        assert not [call for call in world.crm.faulty.calls if call[0] != "GET"]


def test_the_writer_stops_what_people_stopped(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    acts.stop(world.web, world.person("ada"), schemas.Stop(reason="storm"))
    world.pump()
    world.clock.forward(hours=3)
    world.complete()
    assert world.in_crm() == OLD_PHONE
    assert world.change(card.id).held == "writing is stopped"

    acts.resume(world.web, world.person("ada"), schemas.Stop(reason="calm"))
    world.complete()
    assert world.in_crm() == NEW_PHONE
    assert [t for t in world.topics() if t.startswith("writing")] == [
        "writing.stopped",
        "writing.resumed",
    ]


def test_a_write_above_the_cap_waits_for_the_next_hour(tmp_path: Path) -> None:
    from tests.writer.world import policy_text

    with running_world(tmp_path, policy=policy_text(phone="per_hour = 1")) as world:
        first = world.propose()
        world.approve(first.id)
        world.pump()
        second = world.propose(phone_change("+12025550123", NEW_PHONE))
        world.approve(second.id)
        world.pump()
        assert world.in_crm() == NEW_PHONE
        assert "the limit is 1" in world.change(second.id).held
        world.clock.forward(minutes=61)
        world.complete()
        assert world.in_crm() == "+12025550123"


BEFORE_THE_WRITE = [
    point
    for point in POINTS
    if point.startswith("apply.")
    and point
    in {
        "apply.receipt_opened",
        "apply.receipt_kept",
        "apply.locked",
        "apply.permitted",
        "apply.sent",
        "apply.read",
        "apply.before_write",
    }
]


@pytest.mark.parametrize("point", BEFORE_THE_WRITE)
@pytest.mark.parametrize("field", ["phone", "city"])
def test_a_human_edit_between_any_two_steps_is_never_lost(
    world: World, point: str, field: str
) -> None:
    value = {"phone": "+12025550177", "city": "Bethesda"}[field]
    card = world.propose()
    world.approve(card.id)
    edited: list[str] = []

    def edit(name: str) -> None:
        if name == point and not edited:
            edited.append(name)
            world.edit_by_hand(field, value)

    wire_killer(edit)
    world.pump()

    assert edited
    assert world.in_crm(field) == value
    if field == "phone":
        assert final(world, card.id) == "stale"
    else:
        assert final(world, card.id) == "applied"
        assert world.in_crm() == NEW_PHONE


@pytest.mark.parametrize(
    ("column", "value"), [("digest", "0" * 64), ("card_digest", "0" * 64), ("policy", "0" * 64)]
)
def test_an_intent_that_was_altered_in_the_database_is_not_written(
    world: World, column: str, value: str
) -> None:
    from services.writer.tables import changes

    card = world.propose()
    world.approve(card.id)
    world.holds_receipts = True
    world.pump()
    with writing(world.worker.engine) as db:
        db.execute(changes.update().values(**{column: value}))
    world.holds_receipts = False
    world.pump()
    if column == "policy":
        # The gate takes the policy from the decision; this column is only shown.
        assert world.in_crm() == NEW_PHONE
    else:
        assert world.in_crm() == OLD_PHONE
        assert final(world, card.id) == "failed"


def test_a_proposal_that_was_altered_in_the_database_is_not_written(world: World) -> None:
    from services.writer.tables import proposals

    card = world.propose()
    world.approve(card.id)
    world.holds_receipts = True
    world.pump()
    with writing(world.worker.engine) as db:
        body = db.scalar(proposals.select().with_only_columns(proposals.c.body))
        altered = str(body).replace(NEW_PHONE, "+12025550666")
        db.execute(proposals.update().values(body=altered))
    world.holds_receipts = False
    world.pump()
    assert world.in_crm() == OLD_PHONE
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "same-text"


def test_a_change_that_was_held_and_then_died_while_sending_is_read_back(world: World) -> None:
    world.crm.faulty.script("PATCH", status(503))
    card = world.propose().id
    world.approve(card)
    world.pump()
    assert world.change(card).held is not None

    def die(name: str) -> None:
        if name == "apply.written":
            raise Died

    wire_killer(die)
    world.clock.forward(minutes=3)
    with pytest.raises(Died):
        world.complete()
    wire_killer(None)
    assert final(world, card) == "sent"
    assert settle(world, card) == "applied"
