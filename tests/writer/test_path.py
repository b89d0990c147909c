"""From a classified event to a written, read back and undone change, on the real demo CRM."""

from __future__ import annotations

import pytest

from services.writer import acts, cards, queries, schemas
from services.writer.views_of_changes import ChangeView
from shared.domain.decision import FieldVerdict, Reason
from shared.domain.proposal import FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import BadPayload, Conflict, NotApproved
from tests.writer.world import NEW_PHONE, OLD_PHONE, World, phone_change, title_change


def change_of(world: World, card: str) -> ChangeView:
    found = cards.card(world.web, world.person("ada"), card).change
    assert found is not None
    return found


def test_an_approved_value_is_written_once_and_read_back(world: World) -> None:
    card = world.propose()

    decided = world.approve(card.id)
    assert decided.state == "approved"
    assert world.in_crm() == OLD_PHONE
    world.pump()

    assert world.in_crm() == NEW_PHONE
    assert len(world.effects(decided.change_id)) == 1
    applied = world.last(Topic.CHANGE_APPLIED)
    assert applied["matches"] is True
    assert applied["fields"][0]["read_back"] == NEW_PHONE
    order = [t for t in world.topics() if t.startswith(("decision", "change"))]
    assert order == ["decision.made", "change.intended", "change.applied"]
    shown = change_of(world, card.id)
    assert shown.state == "applied"
    assert shown.receipt_seq == 0
    assert world.change(card.id).receipt is None


def test_only_accepted_and_edited_fields_are_written_byte_for_byte(world: World) -> None:
    card = world.propose(phone_change(), title_change())

    world.approve(
        card.id,
        phone={"verdict": FieldVerdict.DROPPED},
        job_title={"verdict": FieldVerdict.EDITED, "value": "Chief Bäcker"},
    )
    world.pump()

    assert world.in_crm("job_title") == "Chief Bäcker"
    assert world.in_crm() == OLD_PHONE


def test_an_edit_beyond_the_policy_is_refused_by_name(world: World) -> None:
    card = world.propose()
    with pytest.raises(NotApproved, match="phone") as refused:
        world.approve(card.id, phone={"verdict": FieldVerdict.EDITED, "value": "call me"})
    assert refused.value.rule == "value-fits"
    assert world.state(card.id) == "pending"


def test_another_field_cannot_be_brought_in_by_an_edit(world: World) -> None:
    card = world.propose()
    with pytest.raises(BadPayload, match="email"):
        world.approve(card.id, email={"verdict": FieldVerdict.EDITED, "value": "a@example.com"})


def test_a_moved_value_cannot_be_approved_but_read_again(world: World) -> None:
    card = world.propose()
    digest = world.digest(card.id)
    world.edit_by_hand("phone", "+12025550177")

    now = cards.now(world.web, card.id)
    assert now.moved == ("phone",)
    assert now.card_digest != digest
    with pytest.raises(Conflict, match="phone changed"):
        world.approve(card.id)

    fresh = acts.reread(world.web, world.person("ada"), card.id)
    world.pump()
    assert world.state(card.id) == "superseded"
    world.approve(fresh)
    world.pump()
    assert world.in_crm() == NEW_PHONE


def test_a_human_edit_between_approval_and_write_is_never_lost(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.edit_by_hand("phone", "+12025550177")
    world.pump()

    assert world.in_crm() == "+12025550177"
    stale = world.last(Topic.CHANGE_STALE)
    assert stale["fields"] == [{"name": "phone", "before": OLD_PHONE, "now": "+12025550177"}]
    assert stale["changed_by"] == "You, in the CRM"
    assert change_of(world, card.id).state == "stale"


def test_an_edit_of_another_field_does_not_disturb_the_write(world: World) -> None:
    card = world.propose()
    world.approve(card.id)
    world.edit_by_hand("city", "Bethesda")
    world.pump()
    assert world.in_crm() == NEW_PHONE
    assert world.in_crm("city") == "Bethesda"


def test_the_crm_may_be_down_while_people_decide(world: World) -> None:
    from tests.fakes.faulty_crm import status

    card = world.propose()
    world.crm.faulty.script("GET", *[status(503)] * 2)
    now = cards.now(world.web, card.id)
    assert now.reachable is False
    world.crm.faulty.script("GET", *[status(503)] * 1)
    world.approve(card.id)
    world.pump()
    world.complete()
    assert world.in_crm() == NEW_PHONE


def test_a_crm_that_says_nothing_is_given_up_soon_and_the_card_stays_usable(world: World) -> None:
    from tests.fakes.faulty_crm import Fault

    card = world.propose()
    world.crm.faulty.script("GET", *[Fault(kind="hang")] * 2)
    now = cards.now(world.web, card.id)
    assert (now.reachable, now.fields[0].value) == (False, OLD_PHONE)
    world.approve(card.id)
    world.pump()
    world.complete()
    assert world.in_crm() == NEW_PHONE


def test_undo_is_a_proposal_that_needs_a_person_and_restores_the_old_value(world: World) -> None:
    card = world.propose()
    decided = world.approve(card.id)
    world.pump()

    fresh = acts.undo(world.web, world.person("ada"), decided.change_id)
    assert world.in_crm() == NEW_PHONE
    with pytest.raises(NotApproved, match="proposed"):
        world.approve(fresh)
    world.approve(fresh, who="ben")
    world.pump()

    assert world.in_crm() == OLD_PHONE
    assert change_of(world, card.id).undo == "The old value has been put back already."


def test_undo_leaves_a_later_human_value_alone(world: World) -> None:
    card = world.propose()
    decided = world.approve(card.id)
    world.pump()
    world.edit_by_hand("phone", "+12025550177")
    with pytest.raises(Conflict, match="later value stays"):
        acts.undo(world.web, world.person("ada"), decided.change_id)


def test_wrong_customer_is_proposed_again_for_the_right_one(world: World) -> None:
    card = world.propose()
    form = schemas.Reject(reason=Reason.WRONG_CUSTOMER, right_record="jon.hartley@example.org")
    acts.reject(world.web, world.person("ada"), card.id, form)
    world.pump()

    page = queries.cards(world.web, world.person("ada"), schemas.CardFilters())
    assert [row.record for row in page.rows] == ["demo/contacts/1002"]
    assert page.rows[0].title == "Jon Hartley"
    world.approve(page.rows[0].id)
    world.pump()
    assert world.in_crm("phone", "1002") == NEW_PHONE
    assert world.in_crm() == OLD_PHONE


def test_a_rejection_writes_nothing_and_keeps_the_reason(world: World) -> None:
    card = world.propose()
    form = schemas.Reject(reason=Reason.SUSPICIOUS, comment="smells")
    acts.reject(world.web, world.person("ben"), card.id, form)
    world.pump()
    assert world.last(Topic.DECISION_MADE)["reason"] == "suspicious"
    assert world.in_crm() == OLD_PHONE
    assert world.state(card.id) == "rejected"


def test_a_new_lead_becomes_a_draft_and_only_a_person_promotes_it(world: World) -> None:
    lead = RecordRef(crm="demo", type="drafts", id="new")
    card = world.propose(
        FieldChange(field="first_name", before=None, after="Nora"),
        FieldChange(field="last_name", before=None, after="Quist"),
        FieldChange(field="email", before=None, after="dana.miller@example.com"),
        kind=ProposalKind.DRAFT,
        record=lead,
        title="Nora Quist",
    )
    world.approve(card.id)
    world.pump()

    [row] = queries.drafts(world.web)
    assert row.title == "Nora Quist"
    assert world.last(Topic.CHANGE_APPLIED)["record"]["type"] == "drafts"
    assert [one.title for one in cards.duplicates(world.web, row.change_id)] == ["Dana Miller"]

    acts.promote(world.web, world.person("ada"), row.change_id)
    with pytest.raises(Conflict, match="Already decided"):
        acts.promote(world.web, world.person("ben"), row.change_id)
    world.promote_drafts()
    world.promote_drafts()
    promoted = world.last(Topic.DRAFT_PROMOTED)
    assert world.in_crm("last_name", promoted["record"]["id"]) == "Quist"
    assert world.topics().count("draft.promoted") == 1


def test_try_again_has_two_rounds(world: World) -> None:
    card = world.propose()
    for note in ("look closer", "once more"):
        acts.again(world.web, world.person("ada"), card.id, schemas.Again(note=note))
    with pytest.raises(Conflict, match="2 times"):
        acts.again(world.web, world.person("ada"), card.id, schemas.Again(note="third"))
    world.outgoing()
    assert world.topics().count("assist.requested") == 2


def test_opening_a_card_is_told_once_and_counts_the_seconds(world: World) -> None:
    card = world.propose()
    opened = schemas.Opened(card_digest=world.digest(card.id))
    acts.opened(world.web, world.person("ada"), card.id, opened)
    acts.opened(world.web, world.person("ada"), card.id, opened)
    world.clock.forward(seconds=42)
    world.approve(card.id)
    world.pump()
    assert world.topics().count("card.opened") == 1
    assert world.last(Topic.DECISION_MADE)["seconds"] == 42


def test_what_was_shown_under_an_older_policy_cannot_be_approved(world: World) -> None:
    from services.writer.policy_watch import follow
    from tests.writer.world import policy_text

    card = world.propose()
    form = schemas.Approve(card_digest=world.digest(card.id))
    (world.folder / "policy.toml").write_text(policy_text(phone="per_hour = 7"))
    follow(world.worker)
    with pytest.raises(Conflict, match="look at the card again"):
        acts.approve(world.web, world.person("ada"), card.id, form)
