"""What people hear of cards and changes: once, in time, and without a value or a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from services.writer.measures import measures
from services.writer.notifying import collect
from services.writer.policy_store import office_in_force
from services.writer.tables import notice
from shared.db import open_database
from shared.domain.proposal import ProposalKind
from shared.domain.record import RecordRef
from shared.notifications.channels import Channel, Digest, Hours
from shared.notifications.notifier import Notifier
from shared.notifications.telling import Telling
from tests.databases import fresh_database
from tests.fakes.receiver import Receiver, receiving
from tests.writer.world import CONTACT, NEW_PHONE, OLD_PHONE, World, phone_change, title_change

PLANTED = (NEW_PHONE, OLD_PHONE, "Dana", "Miller", "dana.miller@example.com", "Head baker", "1001")
WAITS = "A card waits for a decision"


@dataclass
class Desk:
    """The writer's loop with one real channel, made anew for each round as after a restart."""

    world: World
    receiver: Receiver
    options: dict[str, object] = field(default_factory=dict)

    def round(self, **amount: float) -> list[str]:
        """Let time pass and the loop run twice; the titles that came."""
        self.world.clock.forward(**amount)
        self.world.outgoing()  # The relay lives, or an alarm would say that it does not.
        before = len(self.receiver.messages)
        for _ in range(2):
            self._run()
        return [one["title"] for one in self.receiver.messages[before:]]

    def _run(self) -> None:
        world = self.world
        engine = open_database(fresh_database(world.folder, "writer"))
        channel = Channel(**{"name": "team", "url": self.receiver.url, **self.options})
        notifier = Notifier(
            engine=engine,
            tables=notice,
            clock=world.clock,
            channels=lambda: (channel,),
            office=office_in_force,
            public_url="https://cs.example.com",
        )
        Telling(
            notifier=notifier,
            parts=(lambda: measures(engine, world.clock),),
            collect=lambda db, ear: collect(db, ear, world.people.all, world.clock.now),
        ).run()
        engine.dispose()


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    with receiving() as receiver:
        found = Desk(world, receiver)
        found.round()  # The channel is known from now on.
        yield found
        said = "\n".join(receiver.texts())
        assert [planted for planted in PLANTED if planted in said] == []


def test_a_new_card_is_told_once_after_the_delay(desk: Desk) -> None:
    card = desk.world.propose(phone_change(), title_change())
    assert desk.round(minutes=9) == []
    assert desk.round(minutes=1) == [WAITS]
    assert desk.round(minutes=5) == []
    [text] = desk.receiver.texts()
    assert "demo/contacts: job_title, phone" in text
    assert f"https://cs.example.com/cards/{card.id}" in text


def test_a_card_that_is_decided_in_time_is_not_told(desk: Desk) -> None:
    card = desk.world.propose()
    desk.round(minutes=5)
    desk.world.approve(card.id)
    desk.world.pump()
    assert desk.round(minutes=10) == []


def test_a_card_that_is_decided_while_the_channel_is_down_is_told_no_more(desk: Desk) -> None:
    card = desk.world.propose()
    desk.receiver.status = 500
    assert desk.round(minutes=10) == []
    desk.receiver.status = 200
    desk.world.approve(card.id)
    desk.world.pump()
    assert desk.round(minutes=10) == []


def test_several_cards_come_in_one_message(desk: Desk) -> None:
    for number in range(3):
        desk.world.propose(record=RecordRef(crm="demo", type="contacts", id=f"200{number}"))
    [title] = desk.round(minutes=11)
    assert title == f"{WAITS} (3)"
    assert desk.receiver.texts()[0].count("/cards/") == 3


def test_a_card_reminds_at_half_time_and_then_expires(desk: Desk) -> None:
    desk.world.propose()  # Monday 10:00; 16 working hours: Wednesday 10:00.
    assert desk.round(minutes=30) == [WAITS]
    assert desk.round(hours=20) == []  # Tuesday 6:30, before the office opens.
    assert desk.round(hours=3.5) == ["Half of its time is over: a card still waits"]
    assert desk.round(hours=1) == ["Alarm: A card has waited for a full working day"]
    desk.round(hours=23, minutes=2)
    desk.world.expire()
    told = desk.round(minutes=1)
    assert "A card expired; nothing was written" in "\n".join(desk.receiver.texts()[-1:])
    assert len(told) == 1
    assert desk.round(hours=1) == []


def test_nothing_is_told_at_night_but_in_the_morning(desk: Desk) -> None:
    desk.world.clock.forward(hours=10)
    desk.world.propose()
    assert desk.round(hours=2) == []
    assert desk.round(hours=11) == [WAITS]


def test_a_channel_without_hours_is_told_at_night(desk: Desk) -> None:
    desk.options["hours"] = Hours.ALWAYS
    desk.world.clock.forward(hours=10)
    desk.world.propose()
    assert desk.round(hours=2) == [WAITS]


def test_an_hourly_digest_gathers_the_cards(desk: Desk) -> None:
    desk.options["digest"] = Digest.HOURLY
    for number in range(2):
        desk.world.propose(record=RecordRef(crm="demo", type="contacts", id=f"200{number}"))
        assert desk.round(minutes=15) == []
    assert desk.round(minutes=31) == [f"{WAITS} (2)"]


def test_a_change_that_was_overtaken_is_told(desk: Desk) -> None:
    card = desk.world.propose()
    desk.world.approve(card.id)
    desk.world.edit_by_hand("phone", "+12025550177")
    desk.world.pump()
    assert desk.world.change(card.id).state == "stale"
    assert desk.round(minutes=1) == ["Nothing was written: the record had changed"]
    assert "demo/contacts: phone (rule still-current)" in desk.receiver.texts()[0]
    assert desk.round(minutes=1) == []


def test_a_change_that_failed_is_told(desk: Desk) -> None:
    card = desk.world.propose()
    desk.world.approve(card.id)
    desk.world.holds_receipts = True
    desk.world.pump()
    desk.world.people.add("Zoe", roles=("admin",))
    desk.world.people.disable("ada")  # Who approved is entitled no more.
    desk.world.holds_receipts = False
    desk.world.pump()
    assert desk.world.change(card.id).state == "failed"
    assert desk.round(minutes=1) == ["A change was not written"]
    assert desk.round(minutes=1) == []


def test_a_snoozed_card_is_silent(desk: Desk) -> None:
    from services.writer.store import set_columns
    from shared.db import writing
    from shared.domain.schema import rfc3339

    card = desk.world.propose()
    until = desk.world.clock.now.replace(hour=14)
    with writing(desk.world.worker.engine) as db:
        set_columns(db, card.id, snoozed_until=rfc3339(until))
    assert desk.round(minutes=30) == []
    assert desk.round(hours=4) == [WAITS]


def test_a_persons_channel_tells_what_that_person_may_decide(desk: Desk) -> None:
    from services.writer.store import set_columns
    from shared.db import writing

    desk.options |= {"person": "ada", "tells": ("card",)}
    mine, others = (
        desk.world.propose(
            record=RecordRef(crm="demo", type="contacts", id=id_), kind=ProposalKind.UPDATE
        )
        for id_ in ("2000", "2001")
    )
    with writing(desk.world.worker.engine) as db:
        set_columns(db, mine.id, assignee="ada")
        set_columns(db, others.id, assignee="ben")
    assert desk.round(minutes=11) == [WAITS]
    assert mine.id in desk.receiver.texts()[0]
    assert others.id not in desk.receiver.texts()[0]


def test_the_channel_of_a_person_who_left_is_silent(desk: Desk) -> None:
    desk.options |= {"person": "ada", "tells": ("card",)}
    desk.world.propose(record=CONTACT)
    desk.world.people.add("Zoe", roles=("admin",))
    desk.world.people.disable("ada")
    assert desk.round(minutes=11) == []
