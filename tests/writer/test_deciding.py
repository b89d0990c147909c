"""Who may decide, who was first, and what time does to a card."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from services.writer import acts, cards, queries, schemas
from shared.domain.decision import FieldVerdict, Reason
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import Conflict, NotApproved, PipelineError
from tests.writer.world import NEW_PHONE, OLD_PHONE, World, phone_change, policy_text, running_world

TWO = policy_text(two_person=("phone",))


def test_of_fifty_parallel_decisions_one_counts_and_the_others_hear_who(world: World) -> None:
    card = world.propose()
    digest = world.digest(card.id)
    ada, ben = world.person("ada"), world.person("ben")
    won: list[str] = []
    lost: list[str] = []
    start = threading.Barrier(50)

    def decide(number: int) -> None:
        start.wait()
        try:
            if number % 2:
                form = schemas.Approve(card_digest=digest, confirmed=True)
                acts.approve(world.web, ada, card.id, form)
                won.append("ada")
            else:
                reject = schemas.Reject(reason=Reason.OTHER)
                acts.reject(world.web, ben, card.id, reject)
                won.append("ben")
        except Conflict as error:
            lost.append(str(error))

    threads = [threading.Thread(target=decide, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert len(lost) == 49
    assert all(f"by {won[0]}" in text for text in lost)
    world.pump()
    assert world.topics().count("decision.made") == 1


def test_a_sensitive_field_needs_two_different_people(tmp_path: Path) -> None:
    with running_world(tmp_path, policy=TWO) as world:
        card = world.propose()
        assert world.approve(card.id).state == "waiting_for_second"
        world.pump()
        assert world.change(card.id) is None
        with pytest.raises(NotApproved, match="one person twice"):
            world.approve(card.id)
        assert cards.card(world.web, world.person("ada"), card.id).blocked
        waiting = schemas.CardFilters(tab="waiting")
        assert queries.cards(world.web, world.person("ada"), waiting).total == 1

        assert world.approve(card.id, who="ben").state == "approved"
        world.pump()
        assert world.in_crm() == NEW_PHONE
        assert len(world.last(Topic.CHANGE_INTENDED)["decisions"]) == 2


def test_who_edits_a_sensitive_field_becomes_its_proposer(tmp_path: Path) -> None:
    people = [(name, ("approver",)) for name in ("ada", "ben", "cleo")]
    with running_world(tmp_path, policy=TWO, people=people) as world:
        card = world.propose()
        edit = {"verdict": FieldVerdict.EDITED, "value": "+12025550155"}
        edited = world.approve(card.id, phone=edit)
        assert edited.state == "edited"
        assert world.state(card.id) == "superseded"
        with pytest.raises(NotApproved, match="proposed a change never approves"):
            world.approve(edited.proposal_id)
        world.approve(edited.proposal_id, who="ben")
        world.approve(edited.proposal_id, who="cleo")
        world.pump()
        assert world.in_crm() == "+12025550155"


def test_the_only_approver_takes_a_second_look_and_the_log_says_so(tmp_path: Path) -> None:
    with running_world(tmp_path, policy=TWO, people=[("ada", ("approver", "admin"))]) as world:
        card = world.propose()
        assert "second look" in world.approve(card.id).message
        world.clock.forward(minutes=14)
        with pytest.raises(NotApproved, match="second look"):
            world.approve(card.id)
        world.clock.forward(minutes=2)
        assert world.approve(card.id).state == "approved"
        world.pump()
        assert world.in_crm() == NEW_PHONE
        assert "only approver" in world.last(Topic.DECISION_MADE)["comment"]


def test_a_disabled_approver_cannot_approve_and_their_approval_is_void(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.people.disable("ada")
    world.pump()
    assert world.in_crm() == OLD_PHONE
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "decider-may-approve"
    refused = cards.card(world.web, world.person("ben"), card.id).change
    assert refused is not None
    assert refused.headline == "Not written"

    other = world.propose()
    with pytest.raises(NotApproved, match="no access"):
        world.approve(other.id)


def test_support_cannot_approve(tmp_path: Path) -> None:
    with running_world(tmp_path, people=[("ada", ("approver",)), ("sue", ("support",))]) as world:
        card = world.propose()
        with pytest.raises(NotApproved, match="approver"):
            world.approve(card.id, who="sue")


def test_a_forged_approval_on_the_bus_writes_nothing(world: World) -> None:
    from dataclasses import replace

    from shared.domain.decision import DecisionSchema
    from shared.domain.schema import dump, load

    card = world.propose()
    world.approve(card.id)
    [made] = [e for e in world.outgoing() if e.topic is Topic.DECISION_MADE]
    honest = load(DecisionSchema, made.body)
    forged = replace(honest, id="forged", nonce="forged", approver="ben")
    body = dump(DecisionSchema, forged)
    world.hear(world.envelope(Topic.DECISION_MADE, body, card.event_id))
    world.pump()
    assert world.in_crm() == OLD_PHONE
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "stored"


def test_more_than_twenty_approvals_a_minute_need_a_second_look(world: World) -> None:
    made = []
    for number in range(21):
        record = RecordRef(crm="demo", type="contacts", id=str(1001 + number))
        before = world.in_crm("phone", record.id)
        made.append(world.propose(phone_change(NEW_PHONE, before), record=record))
    forms = [schemas.Approve(card_digest=world.digest(card.id)) for card in made]
    for card, form in zip(made[:20], forms[:20], strict=True):
        acts.approve(world.web, world.person("ada"), card.id, form)
    with pytest.raises(Conflict, match="look again"):
        acts.approve(world.web, world.person("ada"), made[20].id, forms[20])
    world.approve(made[20].id)


def test_a_card_expires_in_working_hours_and_says_expired(world: World) -> None:
    card = world.propose()
    world.clock.forward(hours=31)  # Tuesday 17:00: fourteen working hours have gone by.
    world.expire()
    assert world.state(card.id) == "pending"
    world.clock.forward(hours=24)
    world.expire()
    assert world.state(card.id) == "expired"
    assert world.topics().count("proposal.expired") == 1
    with pytest.raises(Conflict, match="expired"):
        world.approve(card.id)


def test_nothing_expires_while_writing_is_stopped(world: World) -> None:
    card = world.propose()
    acts.stop(world.web, world.person("ada"), schemas.Stop(reason="storm"))
    world.clock.forward(days=3)
    world.expire()
    assert world.state(card.id) == "pending"
    row = queries.cards(world.web, world.person("ada"), schemas.CardFilters()).rows[0]
    assert row.clock.frozen
    acts.resume(world.web, world.person("ada"), schemas.Stop(reason="calm"))
    world.expire()
    assert world.state(card.id) == "pending", "the clock goes on where it was"
    world.approve(card.id)
    world.pump()
    assert world.in_crm() == NEW_PHONE


def test_an_approval_that_the_log_never_answered_expires_unwritten(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.holds_receipts = True
    world.pump()
    world.clock.forward(days=5)
    world.expire()
    assert world.last(Topic.CHANGE_FAILED)["rule"] == "not-expired"
    world.holds_receipts = False
    world.pump()
    assert world.in_crm() == OLD_PHONE


def test_a_claim_is_soft_and_ends_by_itself(world: World) -> None:
    card = world.propose()
    acts.claim(world.web, world.person("ben"), card.id)
    assert cards.card(world.web, world.person("ada"), card.id).row.claimed_by == "ben"
    world.clock.forward(minutes=11)
    assert cards.card(world.web, world.person("ada"), card.id).row.claimed_by is None
    world.approve(card.id)


def test_the_worklist_is_assigned_and_done(world: World) -> None:
    world.classify(world.answer(event_id="needs-eyes"))
    [row] = queries.worklist(world.web)
    assert row.sender == "Dana Miller · dana.miller@example.com"
    ada = world.person("ada")
    acts.work(world.web, ada, row.event_id, schemas.Work(action="assigned", assignee="ben"))
    assert queries.worklist(world.web) == ()
    acts.work(world.web, world.person("ben"), row.event_id, schemas.Work(action="done", note="ok"))
    with pytest.raises(Conflict, match="ben"):
        acts.work(world.web, ada, row.event_id, schemas.Work(action="done"))
    world.outgoing()
    assert [e.body["action"] for e in world.told if e.topic is Topic.EVENT_HANDLED] == [
        "assigned",
        "done",
    ]


def test_an_assigned_or_snoozed_card_waits_for_others(world: World) -> None:
    card = world.propose()
    ada, ben = world.person("ada"), world.person("ben")
    acts.assign_card(world.web, ada, card.id, schemas.Assign(assignee="ben"))
    assert queries.counts(world.web, ada).needs_you == 0
    assert queries.counts(world.web, ada).waiting_for_others == 1
    assert queries.counts(world.web, ben).needs_you == 1
    acts.snooze(world.web, ben, card.id, schemas.Snooze(hours=2))
    assert queries.counts(world.web, ben).needs_you == 0
    world.clock.now += timedelta(hours=3)
    assert queries.counts(world.web, ben).needs_you == 1


def test_each_filter_of_the_queue_narrows_it(world: World) -> None:
    from services.writer.schemas import CardFilters
    from tests.writer.world import title_change

    first = world.propose()
    world.clock.forward(minutes=30)
    second = world.propose(title_change())
    ada = world.person("ada")

    def found(**filters: object) -> list[str]:
        page = queries.cards(world.web, ada, CardFilters(**filters))  # type: ignore[arg-type]
        return [row.id for row in page.rows]

    assert found() == [first.id, second.id]
    assert found(field="job_title") == [second.id]
    assert found(record="demo/contacts/1001", field="phone") == [first.id]
    assert found(record="dana") == [first.id, second.id]
    assert found(source="postmark", risk="normal", prompt_version="1") == [first.id, second.id]
    assert found(source="zapier") == []
    assert found(risk="sensitive") == []
    assert found(older_than_minutes=20) == [first.id]
    page = queries.cards(world.web, ada, CardFilters(limit=1))
    assert page.total == 2
    assert found(limit=1, after=page.next) == [second.id]


def test_an_undo_asked_by_support_becomes_a_card(world: World) -> None:
    card = world.propose()
    decided = world.approve(card.id)
    world.pump()
    body = {
        "id": "r1",
        "kind": "undo",
        "change_id": decided.change_id,
        "record": None,
        "fields": {},
        "reason": "the customer complained",
    }
    for _ in range(2):
        world.hear(world.envelope(Topic.REPAIR_REQUESTED, body, card.event_id, actor="person:sue"))
    page = queries.cards(world.web, world.person("ada"), schemas.CardFilters())
    assert [row.fields[0].after for row in page.rows] == [OLD_PHONE]
    world.approve(page.rows[0].id)
    world.pump()
    assert world.in_crm() == OLD_PHONE


def test_every_refusal_is_one_of_ours(world: World) -> None:
    for act in (
        lambda: world.approve("nothing"),
        lambda: acts.undo(world.web, world.person("ada"), "nothing"),
        lambda: acts.reread(world.web, world.person("ada"), "nothing"),
    ):
        with pytest.raises(PipelineError):
            act()
