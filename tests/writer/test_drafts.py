"""Promoting a draft: one live record, whatever the CRM answers."""

from __future__ import annotations

import pytest

from services.writer import acts, queries
from shared.domain.proposal import FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from tests.fakes.faulty_crm import Fault, status
from tests.writer.world import World


def people_named(world: World, last_name: str) -> int:
    rows = world.crm.app.store.all("contacts")
    return sum(row.fields["last_name"] == last_name for row in rows)


@pytest.fixture
def draft(world: World) -> str:
    """An approved draft that waits for somebody's decision."""
    card = world.propose(
        FieldChange(field="last_name", before=None, after="Quist"),
        kind=ProposalKind.DRAFT,
        record=RecordRef(crm="demo", type="drafts", id="new"),
        title="Quist",
    )
    world.approve(card.id)
    world.pump()
    [row] = queries.drafts(world.web)
    return row.change_id


def promote(world: World, draft: str) -> None:
    acts.promote(world.web, world.person("ada"), draft)
    world.promote_drafts()


@pytest.mark.parametrize(
    "fault", [status(500), Fault(kind="cut"), Fault(kind="cut", has_effect=True)], ids=str
)
def test_what_nobody_can_say_is_not_tried_again_at_once(
    world: World, draft: str, fault: Fault
) -> None:
    world.crm.faulty.script("POST", fault)
    promote(world, draft)
    sent = [call for call in world.crm.faulty.calls if call[0] == "POST"]
    world.promote_drafts()
    world.clock.forward(seconds=30)
    world.promote_drafts()
    assert [call for call in world.crm.faulty.calls if call[0] == "POST"] == sent
    world.clock.forward(minutes=3)
    world.promote_drafts()
    assert people_named(world, "Quist") == 1
    assert world.topics().count("draft.promoted") == 1


def test_what_certainly_had_no_effect_is_tried_in_the_next_round(world: World, draft: str) -> None:
    world.crm.faulty.script("POST", status(503))
    promote(world, draft)
    assert people_named(world, "Quist") == 0
    world.promote_drafts()
    assert people_named(world, "Quist") == 1


def test_what_the_crm_refuses_is_a_draft_again_with_its_words(world: World, draft: str) -> None:
    world.crm.faulty.script("POST", status(422, b'{"error":{"message":"an e-mail is needed"}}'))
    promote(world, draft)
    [row] = queries.drafts(world.web)
    assert (row.state, row.decided_by) == ("open", None)
    assert "an e-mail is needed" in str(row.refused)
    posts = len([call for call in world.crm.faulty.calls if call[0] == "POST"])
    world.promote_drafts()
    assert len([call for call in world.crm.faulty.calls if call[0] == "POST"]) == posts
    promote(world, draft)
    assert world.last(Topic.DRAFT_PROMOTED)["change_id"] == draft
