"""A note or task is appended once, after the same approval, gate and log as every other write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services.writer import acts, cards, schemas, store
from services.writer.gate import change_of
from services.writer.places import place_of, why_not_tried
from services.writer.policy_watch import follow
from services.writer.rows import card_rows
from services.writer.tables import pending_fields
from services.writer.track_record import TrackRecord, track_records
from services.writer.verdicts import verdicts_of
from shared.db import reading
from shared.domain.decision import FieldVerdict, Reason
from shared.domain.proposal import Evidence, FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import ConfigurationError, Conflict, NotApproved, NotFound, Rejected
from shared.faultpoints import wire_killer
from shared.policy import load_policy
from tests.fakes.faulty_crm import Fault
from tests.writer.test_apply import FAULTS, final, settle
from tests.writer.trial_stage import LIVE, TRIAL, rehearsal
from tests.writer.world import CONTACT, World, mail, phone_change, policy_text, running_world

SENTENCE = "The new gate does not close.\nPlease send somebody on 2026-12-01."
LETTER = f"Hello,\n{SENTENCE}\nDana"
SUBJECT, DUE = "Please send somebody on 2026-12-01.", "2026-12-01"
RULE = 'stage = "live"\nexpiry_hours = 16\nreason = "For the tests."\n'


def opened(mode: str = "review") -> str:
    """The policy of the tests, with notes and tasks of the demo CRM in it."""
    return (
        policy_text()
        + f'[fields.demo.notes.text]\nmode = "{mode}"\ntype = "text"\nmultiline = true\n'
        + f"max_length = 2000\n{RULE}"
        + f'[fields.demo.tasks.subject]\nmode = "{mode}"\ntype = "text"\nmax_length = 200\n{RULE}'
        + f'[fields.demo.tasks.due]\nmode = "{mode}"\ntype = "date"\n{RULE}'
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, policy=opened(), write_timeout=0.5) as found:
        yield found
    wire_killer(None)


def from_letter(field: str, value: str) -> FieldChange:
    start = LETTER.index(value)
    evidence = Evidence(part="body", start=start, end=start + len(value), quote=value)
    return FieldChange(field=field, before=None, after=value, evidence=evidence, confidence=600)


NO_CARD = "None"
NOTE = (from_letter("text", SENTENCE),)
TASK = (from_letter("due", DUE), from_letter("subject", SUBJECT))
KINDS: dict[str, tuple[ProposalKind, tuple[FieldChange, ...]]] = {
    "note": (ProposalKind.NOTE, NOTE),
    "task": (ProposalKind.TASK, TASK),
}
# Every fault for a note; for a task, whose way is the same, one of each sort.
SOME = ("time-out after the effect", "cut before the effect", "200 about something else")
MET = [
    pytest.param(kind, fault, id=f"{kind}, {name}")
    for kind in KINDS
    for name, fault in FAULTS.items()
    if kind == "note" or name in SOME
]


def propose(world: World, kind: str = "note", **more: Any) -> str:
    """A card for Dana, out of her letter."""
    kind_, fields = KINDS[kind]
    world.clock.forward(seconds=1)
    found = world.proposal(*more.pop("fields", fields), kind=kind_, **more)
    event = mail(found.event_id, world.clock.now, parts={"subject": "Gate", "body": LETTER})
    world.classify(world.answer(found, event=event))
    return found.id


def in_crm(world: World, kind: str, contact: str = "1001") -> list[Any]:
    """What was appended in the CRM by an integration."""
    if kind == "task":
        rows = world.crm.get(f"/api/contacts/{contact}/tasks")["results"]
        return [(row["subject"], row["due"], row["change_id"]) for row in rows]
    rows = world.crm.get(f"/api/contacts/{contact}/history")["notes"]
    return [(row["text"], row["change_id"]) for row in rows if row["author"] == "Countersign"]


def appended(kind: str, change: str) -> list[Any]:
    return [(SUBJECT, DUE, change) if kind == "task" else (SENTENCE, change)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_approved_is_appended_word_for_word_and_found_again(
    world: World, kind: str
) -> None:
    card = propose(world, kind)
    assert in_crm(world, kind) == []
    decided = world.approve(card)
    assert settle(world, card) == "applied"
    assert in_crm(world, kind) == appended(kind, decided.change_id)
    told = world.last(Topic.CHANGE_APPLIED)
    assert (told["kind"], told["matches"]) == (kind, True)
    assert [field["read_back"] for field in told["fields"]] == [
        field.after for field in KINDS[kind][1]
    ]
    order = [name for name in world.topics() if name.startswith(("decision", "change", "receipt"))]
    assert order == ["decision.made", "change.intended", "change.applied"]


@pytest.mark.parametrize(("kind", "fault"), MET)
def test_a_misbehaving_crm_gets_it_exactly_once(world: World, kind: str, fault: Fault) -> None:
    card = propose(world, kind)
    decided = world.approve(card)
    world.crm.faulty.script("POST", fault)
    assert settle(world, card) == "applied"
    assert in_crm(world, kind) == appended(kind, decided.change_id)
    assert world.topics().count("change.applied") == 1
    assert world.last(Topic.CHANGE_APPLIED)["matches"] is True


def test_an_effect_that_is_only_seen_later_is_not_made_twice(world: World) -> None:
    """The call and the look right after it are both cut; the completer finds the note."""
    card = propose(world)
    decided = world.approve(card)
    world.crm.faulty.script("POST", Fault(kind="cut", has_effect=True))

    def hide(name: str) -> None:
        if name == "apply.unknown":
            # A question whose connection ended is asked once more.
            world.crm.faulty.script("GET", Fault(kind="cut"), Fault(kind="cut"))

    wire_killer(hide)
    world.pump()
    assert final(world, card) == "unknown"
    wire_killer(None)
    assert settle(world, card) == "applied"
    assert in_crm(world, "note") == appended("note", decided.change_id)


def test_a_decision_signs_that_it_is_about_a_note_and_others_are_signed_as_before(
    world: World,
) -> None:
    for card, appends in ((propose(world), "note"), (world.propose(phone_change()).id, None)):
        world.approve(card)
        with reading(world.worker.engine) as db:
            [(decision, _)] = store.decisions_for(db, card)
        assert decision.appends == appends
        assert (b'"appends"' in decision.signed_bytes()) is (appends is not None)


def test_a_persons_edits_of_the_record_stand_in_no_notes_way(world: World) -> None:
    card = propose(world)
    world.edit_by_hand("phone", "+12025550150")
    world.approve(card)
    world.edit_by_hand("city", "Olney")
    assert settle(world, card) == "applied"
    assert len(in_crm(world, "note")) == 1


def test_the_gate_refuses_what_the_policy_has_closed_since_the_card(world: World) -> None:
    card = propose(world)
    world.holds_receipts = True
    world.approve(card)
    world.pump()
    (world.folder / "policy.toml").write_text(opened("never"))
    follow(world.worker)
    world.holds_receipts = False
    assert settle(world, card) == "failed"
    assert world.change(card).rule == "field-is-listed"
    assert in_crm(world, "note") == []


def test_nobody_approves_what_the_policy_has_closed(world: World) -> None:
    card = propose(world)
    (world.folder / "policy.toml").write_text(opened("never"))
    follow(world.worker)
    with pytest.raises(NotApproved, match="does not list text"):
        world.approve(card)


def test_closed_by_default_and_the_log_says_why(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        card = propose(world)
        world.pump()
        told = world.last(Topic.PROPOSAL_DROPPED)
        assert (told["field"], told["rule"]) == ("text", "not-listed")
        assert world.state(card) == NO_CARD


def test_without_its_subject_nothing_is_left_of_a_task(world: World) -> None:
    (world.folder / "policy.toml").write_text(
        opened().replace(
            '[fields.demo.tasks.subject]\nmode = "review"',
            '[fields.demo.tasks.subject]\nmode = "never"',
        )
    )
    follow(world.worker)
    card = propose(world, "task")
    assert world.state(card) == NO_CARD


def test_a_record_that_is_gone_gets_no_note_and_the_card_says_so(world: World) -> None:
    gone = RecordRef(crm="demo", type="contacts", id="4711")
    card = propose(world, record=gone, event_id="e-gone")
    form = schemas.Approve(card_digest=world.digest(card), fields={}, confirmed=True)
    with pytest.raises(NotFound, match="no such record"):
        acts.approve(world.web, world.person("ada"), card, form)

    other = propose(world)
    world.approve(other)
    moved = replace(CONTACT, id="4711")
    reader = world.worker.readers["demo"]
    world.worker.readers["demo"] = _Elsewhere(reader, moved)  # type: ignore[index]
    assert settle(world, other) == "failed"
    assert world.change(other).rule == "record-gone"
    assert in_crm(world, "note") == []


def test_a_note_whose_record_went_before_anybody_could_look_has_failed(world: World) -> None:
    """The write was cut and nobody could look; then the record was gone, and all on it."""
    card = propose(world, "task")
    world.approve(card)
    world.crm.faulty.script("POST", Fault(kind="cut"))
    wire_killer(
        lambda name: (
            world.crm.faulty.script("GET", Fault(kind="cut"), Fault(kind="cut"))
            if name == "apply.unknown"
            else None
        )
    )
    world.pump()
    assert final(world, card) == "unknown"
    wire_killer(None)
    gone, linked = replace(CONTACT, id="4711"), world.worker
    linked.readers["demo"] = _Elsewhere(linked.readers["demo"], gone)  # type: ignore[index]
    linked.writers["demo"] = _Elsewhere(linked.writers["demo"], gone)  # type: ignore[index]
    assert settle(world, card) == "failed"
    assert world.change(card).rule == "record-gone"


class _Elsewhere:
    """A connector to which one record has gone."""

    def __init__(self, side: Any, gone: RecordRef) -> None:
        self._side, self._gone = side, gone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._side, name)

    def read(self, _: RecordRef) -> Any:
        return self._side.read(self._gone)

    def task(self, _: RecordRef, *, change_id: str) -> Any:
        return self._side.task(self._gone, change_id=change_id)


def test_notes_of_two_letters_stand_side_by_side_and_hold_no_field(world: World) -> None:
    first, second = propose(world), propose(world)
    number = world.propose(phone_change()).id
    assert [world.state(card) for card in (first, second, number)] == ["pending"] * 3
    for card in (first, second, number):
        world.approve(card)
        assert settle(world, card) == "applied"
    assert len(in_crm(world, "note")) == 2
    with reading(world.worker.engine) as db:
        assert db.execute(select(pending_fields)).all() == []


def test_an_edited_note_is_appended_as_the_approver_wrote_it(world: World) -> None:
    card = propose(world)
    edited = "The gate does not close.\n\nSend somebody."
    decided = world.approve(card, text={"verdict": FieldVerdict.EDITED, "value": edited})
    assert settle(world, card) == "applied"
    assert in_crm(world, "note") == [(edited, decided.change_id)]


@pytest.mark.parametrize("value", ["", "  \n"])
def test_an_emptied_note_is_none(world: World, value: str) -> None:
    card = propose(world)
    with pytest.raises(NotApproved, match="no note without a text"):
        world.approve(card, text={"verdict": FieldVerdict.EDITED, "value": value})
    assert world.state(card) == "pending"


def test_a_task_is_approved_with_or_without_its_day_but_not_without_its_subject(
    world: World,
) -> None:
    card = propose(world, "task")
    with pytest.raises(NotApproved, match="no task without a subject"):
        world.approve(card, subject={"verdict": FieldVerdict.DROPPED})
    decided = world.approve(card, due={"verdict": FieldVerdict.DROPPED})
    assert settle(world, card) == "applied"
    assert in_crm(world, "task") == [(SUBJECT, None, decided.change_id)]


def test_who_edits_a_note_for_two_people_becomes_its_proposer_and_one_card_stays(
    tmp_path: Path,
) -> None:
    with running_world(tmp_path, policy=opened("two_person")) as world:
        card = propose(world)
        decided = world.approve(card, text={"verdict": FieldVerdict.EDITED, "value": "Gate open."})
        assert (decided.state, world.state(card)) == ("edited", "superseded")
        with pytest.raises(NotApproved, match="never approves it"):
            world.approve(decided.proposal_id)


def test_a_note_for_the_wrong_customer_is_proposed_for_the_right_one(world: World) -> None:
    card = propose(world)
    right = RecordRef(crm="demo", type="contacts", id="1002")
    form = schemas.Reject(reason=Reason.WRONG_CUSTOMER, right_record=right)
    acts.reject(world.web, world.person("ada"), card, form)
    world.pump()
    [row] = cards_of(world)
    assert (row.kind, row.record, row.state) == ("note", str(right), "pending")
    decided = world.approve(row.id)
    assert settle(world, row.id) == "applied"
    assert in_crm(world, "note", "1002") == appended("note", decided.change_id)


def cards_of(world: World) -> list[Any]:
    with reading(world.worker.engine) as db:
        return list(card_rows(db, list(store.pending_rows(db)), world.clock.now))


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_old_value_to_propose_back(world: World, kind: str) -> None:
    card = propose(world, kind)
    change = world.approve(card).change_id
    settle(world, card)
    view = cards.card(world.web, world.person("ada"), card).change
    assert view is not None
    assert view.headline == "Written and read back"
    assert view.undo is not None
    assert f"A {kind} replaced nothing" in view.undo
    with pytest.raises(Conflict, match="replaced nothing"):
        acts.undo(world.web, world.person("ada"), change)


def test_the_caps_of_notes_count_notes_alone(tmp_path: Path) -> None:
    policy = opened().replace("max_length = 2000", "max_length = 2000\nper_hour = 1")
    with running_world(tmp_path, policy=policy) as world:
        number = world.propose(phone_change()).id
        world.approve(number)
        assert settle(world, number) == "applied"
        first, second = propose(world), propose(world)
        for card in (first, second):
            world.approve(card)
            world.pump()
        assert (final(world, first), final(world, second)) == ("applied", "intended")
        assert "the limit is 1" in world.change(second).held


def test_a_note_at_stage_dry_run_is_not_written(tmp_path: Path) -> None:
    policy = opened().replace(
        'type = "text"\nmultiline', 'stage = "dry-run"\ntype = "text"\nmultiline'
    )
    policy = policy.replace('max_length = 2000\nstage = "live"\n', "max_length = 2000\n")
    with running_world(tmp_path, policy=policy) as world:
        card = propose(world)
        world.approve(card)
        assert settle(world, card) == "failed"
        assert world.change(card).rule == "dry-run"
        with reading(world.worker.engine) as db:
            policy = load_policy(world.worker.policy_file)
            shown = track_records(db, policy, "demo")["notes", "text"]
        assert shown == TrackRecord(decided=1, unedited=1, failed=0), "a step towards live"


def test_nothing_is_tried_as_a_note_so_no_policy_can_say_so(world: World) -> None:
    text = opened().replace(
        'max_length = 2000\nstage = "live"', 'max_length = 2000\nstage = "sandbox"'
    )
    (world.folder / "policy.toml").write_text(text)
    follow(world.worker)
    with reading(world.worker.engine) as db:
        from services.writer.policy_store import in_force

        assert "fields.demo.notes.text: at stage sandbox" in str(in_force(db).problem)


def test_nothing_stands_in_for_a_note_where_people_are_tried(tmp_path: Path) -> None:
    with rehearsal(tmp_path) as stage:
        linked, dana = stage.world.worker, replace(CONTACT, crm=LIVE, id="51")
        why = why_not_tried(LIVE, "notes", "text", linked)
        assert "nothing that stands in for notes" in str(why)
        note = stage.world.proposal(*NOTE, kind=ProposalKind.NOTE, record=dana)
        change = change_of(note, verdicts_of(note, {}, load_policy("")), "c", "p", account=TRIAL)
        with pytest.raises(Rejected, match="nothing that stands in for notes"):
            place_of(change, linked)


@pytest.mark.parametrize(
    ("object_", "field", "type_", "said"),
    [
        ("notes", "body", "text", "notes have no such field: text"),
        ("notes", "text", "phone", "is text for notes"),
        ("tasks", "due", "text", "is date for tasks"),
        ("tasks", "owner", "text", "tasks have no such field: subject, due"),
    ],
)
def test_a_policy_cannot_list_what_is_no_part_of_a_note_or_task(
    object_: str, field: str, type_: str, said: str
) -> None:
    rule = f'mode = "review"\ntype = "{type_}"\nmax_length = 9\nreason = "For the tests."\n'
    with pytest.raises(ConfigurationError, match=said):
        load_policy(f"[fields.demo.{object_}.{field}]\n{rule}")
