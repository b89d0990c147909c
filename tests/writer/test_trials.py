"""What is at stage sandbox is written to the account that stands in, and to the live one only
after a person has promoted what was tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services.writer import acts, cards, echo, schemas
from services.writer.drafts import carry_out_decisions
from services.writer.policy_watch import follow
from services.writer.tables import own_drafts, proposals, stand_ins
from shared.db import reading
from shared.domain.decision import FieldVerdict, Reason
from shared.domain.event import EventKind
from shared.domain.proposal import FieldChange
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import ConfigurationError, Conflict, NotApproved
from shared.faultpoints import wire_killer
from tests.fakes.faulty_crm import Fault, status
from tests.writer.trial_stage import (
    AFTER,
    BEFORE,
    DANA,
    LIVE,
    MAIL,
    PERSON,
    TRIAL,
    Rehearsal,
    phone,
    policy_of,
    rehearsal,
    rehearsal_in_the_demo_crm,
)
from tests.writer.world import mail

WRITER = Path(__file__).resolve().parents[2] / "services" / "writer"
POINTS = sorted(
    {
        name
        for path in WRITER.glob("*.py")
        for name in re.findall(r'reached\("((?:apply|trial)\.[a-z_]+)"\)', path.read_text())
    }
    - {"apply.before_create", "apply.created"}  # Those are of new people.
)


class Died(BaseException):
    """Stands for kill -9: nothing catches it, nothing is cleaned up."""


@pytest.fixture(autouse=True)
def no_killer() -> Iterator[None]:
    yield
    wire_killer(None)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Rehearsal]:
    with rehearsal(tmp_path) as found:
        yield found


def promotion_of(stage: Rehearsal, card: str) -> str:
    """The card that asks whether to promote the trial of this card."""
    change = stage.world.change(card)
    with reading(stage.world.worker.engine) as db:
        query = select(proposals.c.id).where(proposals.c.promotes == change.id)
        return str(db.execute(query).scalar_one())


def shown(stage: Rehearsal, card: str) -> Any:
    return cards.card(stage.world.web, stage.world.person("ada"), card)


def test_a_trial_writes_the_stand_in_and_a_promotion_the_live_record(stage: Rehearsal) -> None:
    card = stage.propose().id
    assert shown(stage, card).tries_in == TRIAL
    assert "trial" in shown(stage, card).row.flags
    assert stage.try_out(card) == "applied"
    [stand_in] = stage.stand_ins()
    assert stand_in.properties["phone"] == AFTER
    assert stand_in.properties["firstname"] == "Dana"
    assert stage.live.writes() == [], "no writing call has reached the live account"

    follow_up = promotion_of(stage, card)
    page = shown(stage, follow_up)
    assert page.tried.account == TRIAL
    assert [(one.field, one.value) for one in page.tried.fields] == [("phone", AFTER)]
    assert page.tries_in is None
    assert "promotion" in page.row.flags
    assert (page.follows, page.lines[0].before, page.lines[0].proposed) == (card, BEFORE, AFTER)
    tried = len(stage.trial.writes())
    assert stage.world.approve(follow_up).message.startswith("Promoted.")
    assert stage.settle(follow_up) == "applied"
    assert stage.live.value(DANA, "phone") == AFTER
    assert stage.live.effects() == len(stage.live.writes()) == 1
    assert len(stage.trial.writes()) == tried, "a promotion leaves the sandbox alone"


def test_the_log_hears_of_the_trial_of_the_person_and_of_the_promotion(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.try_out(card)
    trial = stage.world.last(Topic.CHANGE_APPLIED)
    assert (trial["account"], trial["record"]["crm"]) == (TRIAL, LIVE)
    assert trial["stand_in"]["crm"] == TRIAL
    follow_up = promotion_of(stage, card)
    stage.try_out(follow_up)
    decided = stage.world.last(Topic.DECISION_MADE)
    assert (decided["approver"], decided["promotes"]) == ("ada", trial["change_id"])
    intended = stage.world.last(Topic.CHANGE_INTENDED)
    assert (intended["account"], intended["promotes"]) == (LIVE, trial["change_id"])
    applied = stage.world.last(Topic.CHANGE_APPLIED)
    assert (applied["account"], applied["stand_in"]) == (LIVE, None)


def test_who_is_known_there_stands_in_and_is_set_back_to_what_was_shown(stage: Rehearsal) -> None:
    known = stage.trial.add("contacts", {**PERSON, "phone": "+12025550177", "city": "Elsewhere"})
    card = stage.propose().id
    assert stage.try_out(card) == "applied"
    [stand_in] = stage.stand_ins()
    assert stand_in.id == known
    told = [one["value"] for one in stand_in.history["phone"]]
    assert told[:2] == [AFTER, BEFORE], "it held what was shown before it was written"
    assert stand_in.properties["city"] == "Elsewhere"


def test_a_second_trial_takes_the_same_stand_in_and_is_a_true_one(stage: Rehearsal) -> None:
    first = stage.propose().id
    stage.try_out(first)
    stage.world.clock.forward(minutes=1)
    second = stage.propose(phone("+12025550142")).id
    assert stage.world.state(promotion_of(stage, first)) == "superseded"
    assert stage.try_out(second) == "applied"
    [stand_in] = stage.stand_ins()
    assert stand_in.properties["phone"] == "+12025550142"


def test_a_stand_in_that_is_gone_is_looked_for_anew(stage: Rehearsal) -> None:
    stage.try_out(stage.propose().id)
    [stand_in] = stage.stand_ins()
    stage.trial.records["contacts"].pop(stand_in.id)
    stage.trial.catch_up()
    stage.world.clock.forward(minutes=1)
    assert stage.try_out(stage.propose(phone("+12025550142")).id) == "applied"
    [other] = stage.stand_ins()
    assert other.id != stand_in.id


def test_a_moved_live_record_is_told_before_anything_is_tried(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.world.approve(card)
    stage.live.edit(DANA, "phone", "+12025550177", by="Robin")
    assert stage.settle(card) == "stale"
    assert stage.trial.writes() == []
    assert "Robin" in str(stage.world.last(Topic.CHANGE_STALE)["changed_by"])


def test_a_dry_run_field_reaches_neither_account(tmp_path: Path) -> None:
    with rehearsal(tmp_path, policy_of("dry-run")) as stage:
        assert stage.try_out(stage.propose().id) == "failed"
        assert stage.world.last(Topic.CHANGE_FAILED)["rule"] == "dry-run"
        assert stage.live.writes() == stage.trial.writes() == []


def test_a_sandbox_that_is_the_live_account_itself_is_noticed(tmp_path: Path) -> None:
    with rehearsal(tmp_path, is_one_account=True) as stage:
        assert stage.try_out(stage.propose().id) == "failed"
        detail = stage.world.last(Topic.CHANGE_FAILED)["detail"]
        assert detail == f"{TRIAL} is {LIVE} itself by another name: nothing is tried"
        assert stage.live.writes() == []


def test_one_field_at_stage_sandbox_takes_the_whole_card_there(tmp_path: Path) -> None:
    with rehearsal(tmp_path, policy_of("live", city="sandbox")) as stage:
        card = stage.propose(
            FieldChange(field="city", before="Rockville", after="Bethesda"), phone()
        ).id
        choice = {"verdict": FieldVerdict.DROPPED}
        assert stage.try_out(card, city=choice) == "applied"
        assert stage.live.writes() == []


def test_nothing_else_than_what_was_tried_is_promoted(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.try_out(card)
    follow_up = promotion_of(stage, card)
    edited = {"verdict": FieldVerdict.EDITED, "value": "+12025550142"}
    with pytest.raises(NotApproved, match="tried with another value") as refused:
        stage.world.approve(follow_up, phone=edited)
    assert refused.value.rule == "stage"
    assert stage.settle(follow_up) == "none"
    assert stage.live.writes() == []


def test_a_trial_that_was_refused_or_altered_asks_for_no_promotion(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.world.approve(card)
    stage.trial.script("write", status(400))
    assert stage.settle(card) == "failed"
    other = stage.propose(phone("+12025550142")).id
    stage.world.approve(other)
    wire_killer(lambda name: _alter(stage) if name == "apply.written" else None)
    assert stage.settle(other) == "applied"
    assert shown(stage, other).change.headline == f"Tried in {TRIAL}, but it holds another value"
    with reading(stage.world.worker.engine) as db:
        assert db.execute(select(proposals).where(proposals.c.promotes.isnot(None))).all() == []
    assert stage.live.writes() == []


def _alter(stage: Rehearsal) -> None:
    [stand_in] = stage.stand_ins()
    ref = RecordRef(crm=TRIAL, type="contacts", id=stand_in.id)
    stage.trial.edit(ref, "phone", "+12025550188", by="Robin")


@pytest.mark.parametrize("of", ["nothing", "another record", "a live change"])
def test_a_forged_promotion_promotes_nothing(stage: Rehearsal, of: str) -> None:
    named = "c-nothing"
    if of != "nothing":
        other = stage.live.add("contacts", {**PERSON, "email": "other@example.com"})
        card = stage.propose(record=replace(DANA, id=other)).id
        stage.try_out(card)
        if of == "a live change":
            card = promotion_of(stage, card)
            stage.try_out(card)
        named = stage.world.change(card).id
    before = len(stage.live.writes())
    forged = stage.propose(promotes=named).id
    with pytest.raises(NotApproved) as refused:
        stage.world.approve(forged)
    assert refused.value.rule == "stage"
    assert len(stage.live.writes()) == before


def test_a_policy_that_goes_back_before_the_write_stops_it(tmp_path: Path) -> None:
    with rehearsal(tmp_path, policy_of("live")) as stage:
        card = stage.propose().id
        stage.world.approve(card)
        (tmp_path / "policy.toml").write_text(policy_of("sandbox"))
        follow(stage.world.worker)
        assert stage.settle(card) == "none"
        assert stage.world.last(Topic.CHANGE_FAILED)["rule"] == "same-text"
        assert stage.live.writes() == stage.trial.writes() == []


def test_trials_use_nothing_up_of_the_live_limits(tmp_path: Path) -> None:
    with rehearsal(tmp_path, policy_of(more="per_hour = 1")) as stage:
        card = stage.propose().id
        assert stage.try_out(card) == "applied"
        assert stage.try_out(promotion_of(stage, card)) == "applied"


def test_a_trial_is_no_write_to_undo_to_echo_or_to_correct(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.try_out(card)
    change = stage.world.change(card)
    assert "trial in hubspot-test" in str(shown(stage, card).change.undo)
    with pytest.raises(Conflict, match="trial"):
        acts.undo(stage.world.web, stage.world.person("ada"), change.id)
    for record in (DANA, RecordRef(crm=TRIAL, type="contacts", id=stage.stand_ins()[0].id)):
        event = mail(
            f"e-{record.crm}", stage.world.clock.now, kind=EventKind.RECORD_CHANGE,
            record=record, changes={"phone": AFTER},
        )  # fmt: skip
        with stage.world.worker.unit_of_work.begin() as unit:
            own = echo.note(unit, stage.world.answer(event=event, event_id=event.id))
        assert own == frozenset()
    assert shown(stage, card).change.fields[0].is_corrected is False


def test_a_tried_card_may_be_tried_again_and_a_rejected_promotion_writes_nothing(
    stage: Rehearsal,
) -> None:
    card = stage.propose().id
    stage.try_out(card)
    follow_up = promotion_of(stage, card)
    refusal = schemas.Reject(reason=Reason.WRONG_VALUE)
    acts.reject(stage.world.web, stage.world.person("ada"), follow_up, refusal)
    stage.world.pump()
    assert stage.live.writes() == []
    anew = acts.reread(stage.world.web, stage.world.person("ada"), card)
    assert shown(stage, anew).tries_in == TRIAL


def test_reading_a_promotion_again_keeps_what_was_tried(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.try_out(card)
    follow_up = promotion_of(stage, card)
    stage.live.edit(DANA, "phone", "+12025550177", by="Robin")
    anew = acts.reread(stage.world.web, stage.world.person("ada"), follow_up)
    assert shown(stage, anew).tried.account == TRIAL
    assert stage.try_out(anew) == "applied"
    assert stage.live.value(DANA, "phone") == AFTER


def test_a_new_person_is_made_in_the_sandbox_at_once_and_waits_as_a_draft_once_promoted(
    stage: Rehearsal,
) -> None:
    card = stage.propose_lead().id
    assert stage.try_out(card) == "applied"
    [made] = [
        one
        for one in stage.trial.records["contacts"].values()
        if one.properties.get("email") == "lee@example.com"
    ]
    assert made.properties["lastname"] == "Fields"
    assert stage.live.writes() == []
    with reading(stage.world.worker.engine) as db:
        assert db.execute(select(own_drafts)).all() == []
    follow_up = promotion_of(stage, card)
    assert stage.try_out(follow_up) == "applied"
    assert stage.live.writes() == [], "it is a draft of ours until somebody promotes that"
    acts.promote(stage.world.web, stage.world.person("ada"), stage.world.change(follow_up).id)
    carry_out_decisions(stage.world.worker)
    assert stage.live.effects() == 1


MAKING, SETTING_BACK, WRITING = range(3)
FAILURES = {
    "cut while it is made": (MAKING, Fault(kind="cut")),
    "cut after it was made": (MAKING, Fault(kind="cut", has_effect=True)),
    "an error while it is made": (MAKING, status(500)),
    "cut while it is set back": (SETTING_BACK, Fault(kind="cut")),
    "cut after it was set back": (SETTING_BACK, Fault(kind="cut", has_effect=True)),
    "cut while it is written": (WRITING, Fault(kind="cut")),
    "half an answer after it was written": (WRITING, Fault(kind="cut-body", has_effect=True)),
    "a sandbox that is busy": (WRITING, status(503)),
}


@pytest.mark.parametrize(("nth", "fault"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failing_sandbox_makes_one_stand_in_and_the_trial_ends(
    stage: Rehearsal, nth: int, fault: Fault
) -> None:
    # A stand-in that is made holds the number already, but not the job title.
    title = FieldChange(field="jobtitle", before="Owner", after="Head baker")
    card = stage.propose(title, phone()).id
    stage.world.approve(card)
    stage.trial.script("write", *[Fault()] * nth, fault)
    assert stage.settle(card) == "applied", stage.world.change(card).detail
    [stand_in] = stage.stand_ins()
    assert stand_in.properties["phone"] == AFTER
    assert stage.live.writes() == []
    assert promotion_of(stage, card)


@pytest.mark.parametrize("point", POINTS)
def test_a_writer_killed_at_any_point_of_a_trial_neither_doubles_nor_reaches_the_live_account(
    tmp_path: Path, point: str
) -> None:
    with rehearsal(tmp_path) as stage:
        title = FieldChange(field="jobtitle", before="Owner", after="Head baker")
        card = stage.propose(title, phone()).id
        stage.world.approve(card)
        if point == "apply.unknown":
            stage.trial.script("write", Fault(), Fault(), Fault(kind="cut"))
        deaths = _die_once_at(stage, point)
        assert stage.settle(card) == "applied", stage.world.change(card).detail
        assert deaths() == 1, "the point was reached"
        [stand_in] = stage.stand_ins()
        assert stand_in.properties["phone"] == AFTER
        assert stand_in.properties["jobtitle"] == "Head baker"
        assert stage.live.writes() == []
        assert stage.world.topics().count("change.applied") == 1
        assert promotion_of(stage, card)
        made = [path for _, path in stage.trial.writes() if path.endswith("/upsert")]
        assert len(made) == 1, "it is looked for before it is made a second time"
        with reading(stage.world.worker.engine) as db:
            assert len(db.execute(select(stand_ins)).all()) == 1


def test_what_an_earlier_trial_left_is_not_taken_for_this_one(stage: Rehearsal) -> None:
    card = stage.propose().id
    stage.try_out(card)
    anew = acts.reread(stage.world.web, stage.world.person("ada"), card)
    stage.world.approve(anew)
    deaths = _die_once_at(stage, "apply.sent")
    assert stage.settle(anew) == "applied"
    assert deaths() == 1
    told = [one["value"] for one in stage.stand_ins()[0].history["phone"]]
    assert told[:3] == [AFTER, BEFORE, AFTER], "set back and written once more"


def test_a_person_without_address_and_number_is_made_once_too(stage: Rehearsal) -> None:
    nameless = {"firstname": "Kit", "lastname": "Rowan", "jobtitle": "Owner"}
    ref = replace(DANA, id=stage.live.add("contacts", nameless))
    title = FieldChange(field="jobtitle", before="Owner", after="Head baker")
    card = stage.propose(title, record=ref).id
    stage.world.approve(card)
    deaths = _die_once_at(stage, "trial.made")
    assert stage.settle(card) == "applied"
    assert deaths() == 1
    made = [path for _, path in stage.trial.writes() if path.endswith("/upsert")]
    assert len(made) == 1, "found by the id under which it was made"


def _die_once_at(stage: Rehearsal, point: str) -> Any:
    """The next message that comes to this point is delivered a second time after the death."""
    deaths = 0

    def kill(name: str) -> None:
        nonlocal deaths
        if name == point and deaths == 0:
            deaths += 1
            raise Died

    hear, complete = stage.world.hear, stage.world.complete

    def again(step: Any) -> Any:
        def run(*args: Any) -> None:
            try:
                step(*args)
            except Died:
                stage.world.clock.forward(minutes=1)
                step(*args)

        return run

    stage.world.hear = again(hear)  # type: ignore[method-assign] - the broker delivers again
    stage.world.complete = again(complete)  # type: ignore[method-assign] - as above
    wire_killer(kill)
    return lambda: deaths


def test_the_demo_crm_can_stand_in_by_our_words_for_fields(tmp_path: Path) -> None:
    with rehearsal_in_the_demo_crm(tmp_path, options=None) as stage:
        title = FieldChange(field="jobtitle", before="Owner", after="Head baker")
        card = stage.propose(title, phone()).id
        assert stage.try_out(card) == "applied", stage.world.change(card).detail
        assert stage.live.writes() == []
        [found] = stage.trial.get(f"/api/search?email={MAIL}")["results"]
        assert found["fields"]["job_title"] == "Head baker"
        assert found["fields"]["phone"] == AFTER
        follow_up = promotion_of(stage, card)
        tried = shown(stage, follow_up).tried
        assert tried.stand_in == f"{TRIAL}/contacts/{found['id']}"
        assert tried.url.endswith(f"/contacts/{found['id']}")
        assert stage.try_out(follow_up) == "applied"
        assert stage.live.value(DANA, "jobtitle") == "Head baker"


@pytest.mark.parametrize("email", [MAIL, "nobody.there@example.com"], ids=["known", "made"])
def test_an_old_value_that_the_sandbox_does_not_take_stands_in_nobodys_way(
    tmp_path: Path, email: str
) -> None:
    with rehearsal_in_the_demo_crm(tmp_path) as stage:
        national = "(202) 555-0101"
        other = stage.live.add("contacts", {**PERSON, "email": email, "phone": national})
        card = stage.propose(phone(before=national), record=replace(DANA, id=other)).id
        assert stage.try_out(card) == "applied", stage.world.change(card).detail
        [found] = stage.trial.get(f"/api/search?email={email}")["results"]
        assert found["fields"]["phone"] == AFTER
        assert promotion_of(stage, card)


def test_a_new_person_can_be_tried_in_the_demo_crm(tmp_path: Path) -> None:
    with rehearsal_in_the_demo_crm(tmp_path) as stage:
        card = stage.propose_lead().id
        assert stage.try_out(card) == "applied", stage.world.change(card).detail
        [found] = stage.trial.get("/api/search?email=lee@example.com")["results"]
        assert (found["type"], found["fields"]["last_name"]) == ("contacts", "Fields")
        assert promotion_of(stage, card)
        assert stage.live.writes() == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (policy_of(crm="demo"), 'no account has sandbox_of = "demo"'),
        (policy_of("live", crm=TRIAL), f"{TRIAL} is the sandbox of {LIVE}"),
        (policy_of().replace("hubspot.contacts.city", "hubspot.deals.city"), "only people"),
    ],
    ids=["no sandbox", "listed for the sandbox", "no people"],
)
def test_a_policy_that_nothing_can_be_tried_by_is_refused(
    tmp_path: Path, policy: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)), rehearsal(tmp_path, policy):
        pass


def test_a_field_that_the_demo_crm_does_not_have_cannot_be_tried_there(tmp_path: Path) -> None:
    policy = policy_of().replace("hubspot.contacts.city", "hubspot.contacts.hs_language")
    with (
        pytest.raises(ConfigurationError, match="no field that stands for hs_language"),
        rehearsal_in_the_demo_crm(tmp_path, policy),
    ):
        pass
