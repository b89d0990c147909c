"""One pending proposal per record and field; nothing vanishes, and order does not matter."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select

from services.writer import cards
from services.writer.tables import pending_fields, proposals
from shared.db import reading
from shared.domain.event import EventKind
from shared.domain.topics import Topic
from tests.writer.world import (
    CONTACT,
    START,
    World,
    mail,
    phone_change,
    title_change,
)


def pending(world: World) -> dict[str, object]:
    """Field to proposed value over all pending cards."""
    with reading(world.worker.engine) as db:
        rows = db.execute(select(proposals.c.id).where(proposals.c.state == "pending"))
        ids = [row.id for row in rows]
    found: dict[str, object] = {}
    for card in ids:
        for line in cards.card(world.web, world.person("ada"), card).lines:
            assert line.field not in found, "two pending cards for one field"
            found[line.field] = line.proposed
    return found


def test_a_newer_proposal_replaces_the_older_card_whole(world: World) -> None:
    old = world.propose(phone_change(), title_change())
    new = world.propose(phone_change("+12025550144"))
    world.pump()

    shown = cards.card(world.web, world.person("ada"), old.id)
    assert (shown.row.state, shown.superseded_by) == ("superseded", new.id)
    assert pending(world) == {"phone": "+12025550144", "job_title": "Head baker"}
    told = world.last(Topic.PROPOSAL_SUPERSEDED)
    assert (told["proposal_id"], told["by"]) == (old.id, new.id)
    with reading(world.worker.engine) as db:
        rest = db.execute(select(proposals).where(proposals.c.follows == old.id)).one()
    assert rest.state == "pending"
    past = cards.card(world.web, world.person("ada"), new.id).history
    assert [(one.proposal_id, one.state) for one in past] == [(old.id, "superseded")]


def test_the_same_event_twice_makes_one_card(world: World) -> None:
    proposal = world.proposal()
    world.classify(world.answer(proposal))
    world.classify(world.answer(proposal))
    assert len(pending(world)) == 1
    assert "proposal.superseded" not in world.topics()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_events_in_any_order_end_in_one_state(world: World, order: tuple[int, ...]) -> None:
    made = []
    for number in range(3):
        fields = [phone_change(f"+1202555013{number}")]
        if number == 1:
            fields.append(title_change(f"Title {number}"))
        proposal = world.proposal(*fields, event_id=f"e{number}")
        event = mail(f"e{number}", START, occurred_at=START + timedelta(minutes=number))
        made.append(world.answer(proposal, event=event))
    for number in order:
        world.classify(made[number])
    assert pending(world) == {"phone": "+12025550132", "job_title": "Title 1"}


def test_parallel_proposals_for_one_field_leave_one_pending(world: World) -> None:
    made = [
        world.proposal(phone_change(f"+120255501{n + 40}"), event_id=f"e{n}") for n in range(12)
    ]
    threads = [
        threading.Thread(target=world.classify, args=(world.answer(proposal),)) for proposal in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pending(world)) == 1
    with reading(world.worker.engine) as db:
        rows = db.execute(select(proposals)).all()
        held = db.execute(select(pending_fields)).all()
    assert len(rows) == 12
    assert len(held) == 1
    assert all(row.superseded_by for row in rows if row.state == "superseded")


def test_what_the_policy_does_not_list_is_dropped_and_told(world: World) -> None:
    from shared.domain.proposal import FieldChange

    world.propose(
        phone_change(),
        FieldChange(field="credit_limit", before="15000.00", after="99999.00"),
        FieldChange(field="company", before="Miller Bakery", after="Miller Bakery"),
    )
    world.outgoing()
    dropped = [e.body for e in world.told if e.topic is Topic.PROPOSAL_DROPPED]
    told = {body["field"]: body["rule"] for body in dropped}
    assert told == {"credit_limit": "not-listed", "company": "unchanged"}
    assert list(pending(world)) == ["phone"]


def test_when_nothing_is_left_a_person_must_look(world: World) -> None:
    from services.writer import queries

    world.propose(phone_change("not a number"))
    assert pending(world) == {}
    [row] = queries.worklist(world.web)
    assert "policy" in row.reason


def record_event(world: World, number: int, **facts: str) -> object:
    value = facts.pop("value")
    return mail(
        f"change-{number}",
        world.clock.now,
        kind=EventKind.RECORD_CHANGE,
        record=CONTACT,
        changes={"phone": value},
        facts=facts,
        subject=None,
        sender=None,
        parts={},
    )


def test_our_own_write_coming_back_makes_no_card(world: World) -> None:
    card = world.propose()
    decided = world.approve(card.id)
    world.pump()
    before = len(world.told)

    proposal = world.proposal(phone_change("+12025550166", "+12025550199"), event_id="change-1")
    event = record_event(world, 1, value="+12025550199", change_id=str(decided.change_id))
    world.classify(world.answer(proposal, event=event))
    nameless = world.proposal(phone_change("+12025550167", "+12025550199"), event_id="change-2")
    world.classify(world.answer(nameless, event=record_event(world, 2, value="+12025550199")))
    world.outgoing()
    assert pending(world) == {}
    assert [e.body["rule"] for e in world.told[before:]] == ["echo", "echo"]


def test_a_persons_later_correction_is_linked_to_our_write(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.pump()
    event = record_event(world, 3, value="+12025550100", changed_by="You, in the CRM")
    world.classify(world.answer(event=event, event_id="change-3"))
    shown = cards.card(world.web, world.person("ada"), card.id).change
    assert shown is not None
    assert shown.fields[0].is_corrected
    assert shown.fields[0].corrected_to == "+12025550100"
