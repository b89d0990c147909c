"""A CRM without an API: a person does it and says so, or a flow's call-back does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from services.writer import acts, cards, hand_offs, queries, settling
from services.writer.crm.handoff import HandOff
from services.writer.crm.shelf import Shelf, ShelfReader
from services.writer.schemas import Discard, Settle
from services.writer.service import SERVICE
from services.writer.tables import changes, drafts
from shared.crm import Account
from shared.crm.handoff import HandOffReader
from shared.db import open_database, reading, writing
from shared.domain import ids
from shared.domain.event import EventKind
from shared.domain.proposal import FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import Conflict
from shared.service import Web
from shared.sessions import Sessions
from shared.web import build_app
from tests.fakes.faulty_crm import Fault, FaultyCrm, served
from tests.writer.world import NEW_PHONE, OLD_PHONE, World, mail, phone_change, running_world

CRM = "handoff"
PERSON = RecordRef(crm=CRM, type="people", id="7")
NEW = RecordRef(crm=CRM, type="drafts", id="new")
EXPORT = f"id,first_name,last_name,phone\n7,Dana,Miller,{OLD_PHONE}\n"
FIELD = 'mode = "review"\nstage = "live"\ntype = "text"\nmax_length = 100\nexpiry_hours = 16\n'
POLICY = '[office]\nzone = "UTC"\n' + "".join(
    f'[fields.{CRM}.{name}]\n{FIELD}reason = "For the tests."\n'
    for name in ("people.phone", "drafts.first_name", "drafts.last_name")
)


class Flow:
    """Counts what is put on its hook."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.count += 1
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"status":"success"}']


@dataclasses.dataclass(kw_only=True)
class Office:
    world: World
    flow: Flow
    faulty: FaultyCrm

    def state(self, card: str) -> str:
        return str(self.world.change(card).state)

    def say(self, change_id: str, outcome: str, who: str = "ben", note: str | None = None) -> None:
        form = Settle(outcome=outcome, note=note)
        settling.settle(self.world.web, self.world.person(who), change_id, form)
        self.world.pump()

    def call_back(self, change_id: str, outcome: str, *, crm: str = CRM, **more: Any) -> None:
        event = mail(
            ids.fresh(),
            self.world.clock.now,
            source=more.get("source", "hand-off"),
            type=f"lead.{outcome}",
            kind=EventKind.RECORD_CHANGE,
            record=RecordRef(crm=crm, type="leads", id=change_id),
            parts={"note": "from the flow"},
            facts={"change_id": change_id},
        )
        self.world.classify(self.world.answer(event=event, event_id=event.id))
        self.world.pump()

    def promoted(self) -> str:
        """A lead that was approved, promoted and handed over; its change's id."""
        names = ("first_name", "Wren"), ("last_name", "Field")
        fields = [FieldChange(field=f, before=None, after=v, confidence=900) for f, v in names]
        card = self.world.propose(*fields, record=NEW, kind=ProposalKind.DRAFT)
        change: str = self.world.approve(card.id).change_id
        self.world.pump()
        acts.promote(self.world.web, self.world.person("ada"), change)
        self.world.promote_drafts()
        return change

    def draft(self, change_id: str) -> Any:
        with reading(self.world.worker.engine) as db:
            return db.execute(select(drafts).where(drafts.c.change_id == change_id)).one()

    def handed(self, change_id: str) -> str:
        found = queries.hand_off(self.world.web, change_id)
        assert found is not None
        return found.state


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    flow = Flow()
    faulty = FaultyCrm(flow)
    with running_world(tmp_path, policy=POLICY) as world, served(faulty) as url:
        options = {"way": "hook", "url": f"{url}/catch", "private_address": "yes", "timeout": "0.5"}
        account = Account(name=CRM, vendor="handoff", options={**options, "export": EXPORT})
        engine, clock = world.worker.engine, world.clock
        reader = ShelfReader(HandOffReader(account, clock=clock), engine, clock)
        writer = Shelf(CRM, HandOff(account, engine, clock), engine, clock)
        world.worker = dataclasses.replace(
            world.worker, readers={CRM: reader}, writers={CRM: writer}, by_hand=frozenset({CRM})
        )
        world.web = dataclasses.replace(world.web, readers={CRM: reader})
        yield Office(world=world, flow=flow, faulty=faulty)


def approved(office: Office) -> tuple[str, str]:
    card = office.world.propose(phone_change(), record=PERSON)
    change: str = office.world.approve(card.id).change_id
    office.world.pump()
    return card.id, change


def test_an_approved_change_waits_for_the_person_who_does_it(office: Office) -> None:
    card, change = approved(office)
    assert office.state(card) == "sent"
    view = cards.card(office.world.web, office.world.person("ada"), card).change
    assert view is not None
    assert (view.headline, view.waits_for_word) == ("Approved, to be done by hand", True)
    assert [(line.before, line.after) for line in view.fields] == [(OLD_PHONE, NEW_PHONE)]
    for _ in range(3):
        office.world.clock.forward(hours=5)
        office.world.complete()
    assert office.state(card) == "sent", "no round of the completer ends or repeats it"
    assert office.world.topics().count("change.unknown") == 0
    assert office.flow.count == 0

    office.world.clock.forward(minutes=1)
    office.say(change, "done")
    assert office.state(card) == "applied"
    body = office.world.last(Topic.CHANGE_APPLIED)
    assert (body["matches"], body["read_at"], body["version"]) == (None, None, None)
    assert [field["read_back"] for field in body["fields"]] == [None]
    [told] = [one for one in office.world.told if one.topic is Topic.CHANGE_APPLIED]
    assert told.actor == "person:ben"
    view = cards.card(office.world.web, office.world.person("ada"), card).change
    assert view is not None
    assert (view.done_by, view.done_at) == ("ben", office.world.clock.now)
    assert view.headline == "Done by hand, not read back"


def test_nothing_is_handed_over_before_the_log_has_it(office: Office) -> None:
    office.world.holds_receipts = True
    card, change = approved(office)
    assert office.state(card) == "intended"
    with pytest.raises(Conflict, match="waits for a word"):
        office.say(change, "done")


def test_what_was_not_done_has_failed_and_says_why(office: Office) -> None:
    card, change = approved(office)
    office.say(change, "failed", note="She moved away.")
    assert office.state(card) == "failed"
    body = office.world.last(Topic.CHANGE_FAILED)
    assert (body["rule"], body["detail"]) == ("not-done", "She moved away.")
    for outcome in ("done", "failed"):
        with pytest.raises(Conflict):
            office.say(change, outcome)
    assert office.world.topics().count("change.applied") == 0


def test_a_death_between_sent_and_handed_over_loses_nothing(office: Office) -> None:
    card, change = approved(office)
    with writing(office.world.worker.engine) as db:
        db.execute(update(changes).where(changes.c.id == change).values(held=None))
    with pytest.raises(Conflict):
        office.say(change, "done")
    office.world.clock.forward(minutes=11)
    office.world.complete()
    office.say(change, "done")
    assert office.state(card) == "applied"


def test_a_lead_is_handed_over_once_and_settled_by_the_call_back(office: Office) -> None:
    change = office.promoted()
    act = hand_offs.act_of(change)
    assert office.flow.count == 1
    assert office.draft(change).record == f"{CRM}/leads/{act}"
    assert office.handed(change) == "handed", "200 means queued, not written"
    for other in ({"crm": "elsewhere"}, {"source": "standard-webhooks"}):
        office.call_back(act, "done", **other)
    office.call_back(ids.fresh(), "done")
    assert office.handed(change) == "handed"
    for _ in range(2):
        office.call_back(act, "done")
    assert office.handed(change) == "done"
    assert office.world.topics().count("change.verified") == 1
    body = office.world.last(Topic.CHANGE_VERIFIED)
    assert body == {"change_id": change, "verdict": "done", "note": "from the flow"}
    office.call_back(act, "failed")
    assert (office.handed(change), office.flow.count) == ("done", 1)


def test_what_the_flow_could_not_write_is_a_draft_again(office: Office) -> None:
    change = office.promoted()
    office.call_back(hand_offs.act_of(change), "failed")
    assert (office.handed(change), office.draft(change).state) == ("failed", "open")
    office.world.clock.forward(minutes=1)
    acts.promote(office.world.web, office.world.person("ada"), change)
    office.world.promote_drafts()
    assert (office.handed(change), office.flow.count) == ("handed", 2)
    assert office.world.topics().count("draft.promoted") == 2
    office.say(change, "failed")
    assert office.world.topics().count("change.verified") == 2
    acts.discard(office.world.web, office.world.person("ada"), change, Discard(reason="Enough."))
    office.world.promote_drafts()
    assert office.draft(change).state == "discarded"


@pytest.mark.parametrize("has_effect", [False, True])
def test_a_lead_that_may_have_arrived_waits_for_a_word(office: Office, *, has_effect: bool) -> None:
    office.faulty.script("POST", Fault(kind="cut", has_effect=has_effect))
    change = office.promoted()
    for _ in range(3):
        office.world.promote_drafts()
    assert len(office.faulty.calls) == 1, "what may have arrived is never sent again"
    assert (office.handed(change), office.draft(change).state) == ("begun", "promoting")
    assert office.world.topics().count("draft.promoted") == 0
    with pytest.raises(Conflict, match="this moment"):
        office.say(change, "failed")
    office.world.clock.forward(minutes=11)
    office.say(change, "done" if has_effect else "failed")
    office.world.promote_drafts()
    assert office.draft(change).state == ("promoted" if has_effect else "open")
    assert office.flow.count == has_effect
    with pytest.raises(Conflict, match="Already said by ben"):
        office.say(change, "done")


def test_the_pages_show_old_new_a_copy_button_and_the_two_words(office: Office) -> None:
    card, change = approved(office)
    lead = office.promoted()
    with signed_in(office.world) as browser:
        page = browser.get(f"/cards/{card}").text
        for shown in (OLD_PHONE, f'data-copy="{NEW_PHONE}"', "It is done", "Not done"):
            assert shown in page
        assert 'data-every="1"' not in page, "nothing is drawn anew under the hands of a person"
        draft = browser.get(f"/drafts/{lead}").text
        assert "Handed over, not yet confirmed" in draft
        assert 'data-copy="Wren"' in draft
        rows = browser.get("/api/cards?tab=decided").json["rows"]
        assert {row["id"]: row["outcome"] for row in rows}[card] == "approved, to be done by hand"
        answer = browser.post(f"/api/changes/{change}/settle", json={"outcome": "done"})
        assert answer.status_code == 200
        assert browser.post(f"/api/changes/{lead}/settle", json={"outcome": "x"}).status_code == 422
        assert (
            browser.post(f"/api/changes/{lead}/settle", json={"outcome": "done"}).status_code == 200
        )
        page = browser.get(f"/cards/{card}").text
        assert "Done by hand: ada" in page
        assert "not read back" in page
        rows = browser.get("/api/cards?tab=decided").json["rows"]
        assert {row["id"]: row["outcome"] for row in rows}[card] == "done by hand, not read back"
        assert "Confirmed: it is in the CRM" in browser.get(f"/drafts/{lead}").text


@contextmanager
def signed_in(world: World) -> Iterator[FlaskClient]:
    """Ada's browser, with a token in the place of a session."""
    assert SERVICE.web is not None
    part = Web(settings=object, wire=lambda _: world.web, blueprints=SERVICE.web.blueprints)
    engine = open_database(f"sqlite:///{world.folder}/sessions.db")
    built = build_app(
        [("writer", part, world.web)],
        world.people,
        public_url="http://127.0.0.1:8080",
        sessions=Sessions(engine=engine, clock=world.clock),
    )
    client = built.test_client()
    token = world.people.make_token("ada", "test")
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    yield client
    engine.dispose()
