"""Dead letters on the page and through the API: looked at, sent again, dropped; each has one effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from kombu import Queue
from structlog.testing import capture_logs

from services.dead import replay
from services.dead_pages import dead_letters
from services.place import Place
from services.status import StatusDeps
from shared import dead_letters as workers
from shared import sessions
from shared.bus.connection import connect
from shared.bus.depths import depths
from shared.bus.envelope import decode, encode
from shared.bus.letters import letters
from shared.bus.publisher import Publisher
from shared.bus.topology import declare
from shared.db import open_database, reading
from shared.domain.topics import Topic
from shared.people import People
from shared.service import Web
from shared.web import build_app
from tests.audit.book import Book, Customer, chain_of
from tests.audit.test_routes import Client

BUG, AWAY = "bug: KeyError", "CRMUnavailable: it did not answer"


@dataclass(kw_only=True)
class Desk:
    """An admin at the page, a broker with dead letters, and the workers that hear of decisions."""

    book: Book
    url: str
    admin: Client
    publisher: Publisher = field(init=False)
    parked: int = 0

    def __post_init__(self) -> None:
        self.publisher = Publisher(self.url)

    def park(self, queue: str, topic: Topic, body: Any, reason: str) -> str:
        self.parked += 1
        subject = f"event/{self.parked}"
        message = self.book.message(topic, body, chain=chain_of(Customer()), subject=subject)
        self.publisher.park(queue, message.id, encode(message), reason)
        return message.id

    def decided(self) -> list[Any]:
        """What the workers will hear."""
        with reading(self.book.deps.engine) as connection:
            waiting = self.book.deps.outbox.unsent(connection)
        found = [decode(one.text) for one in waiting]
        return [one for one in found if one.topic in workers.HANDLERS]

    def hear(self, message: Any) -> None:
        """The message as every worker handles it."""
        for service in ("ingest", "classifier", "writer", "audit"):
            deps = SimpleNamespace(
                outbox=SimpleNamespace(service=service),
                relay=SimpleNamespace(publisher=self.publisher),
            )
            workers.HANDLERS[message.topic](message, deps)

    def resting(self) -> set[str]:
        return {letter.message_id for letter in letters(self.url)}

    def waiting(self, queue: str) -> int:
        return depths(self.url).get(f"{queue}.in.10s", (0, None))[0]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(folder=tmp_path)
    yield made
    made.deps.engine.dispose()


@pytest.fixture
def desk(book: Book, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    url = f"durable+sqlite:///{book.folder}/bus.db"
    connection = connect(url)
    declare(connection)
    connection.release()
    place = Place(wake_dir=book.folder, broker_url=url)
    deps = StatusDeps(audit=book.deps, place=place, public_url="http://localhost")
    people = People(book.folder / "people.toml", clock=lambda: book.at)
    store = open_database(f"sqlite:///{book.folder}/sessions.db")
    web = Web(settings=object, wire=lambda _: deps, blueprints=(dead_letters,))
    app = build_app(
        [("dead", web, deps)],
        people,
        public_url="http://localhost",
        sessions=sessions.Sessions(engine=store, clock=lambda: book.at),
    )
    token = people.make_token(people.add("ann", roles=("admin",)).id, "test")
    made = Desk(book=book, url=url, admin=Client(app, token))
    yield made
    made.publisher.close()
    store.dispose()


def stop(desk: Desk, queue: str = "writer", reason: str = BUG) -> str:
    return desk.park(queue, Topic.WRITING_STOPPED, {"reason": "x"}, reason)


def test_every_dead_letter_is_listed_with_queue_topic_age_and_reason(desk: Desk) -> None:
    first, second = stop(desk), stop(desk, "classifier", AWAY)
    listed = {one["message_id"]: one for one in desk.admin.get("/api/dead").get_json()["letters"]}
    assert set(listed) == {first, second}
    assert listed[first]["queue"] == "writer"
    assert listed[first]["topic"] == "writing.stopped"
    assert listed[first]["reason"] == BUG
    assert listed[first]["at"]
    page = desk.admin.get("/status/dead").text
    for words in (BUG, AWAY, "writing.stopped", "for classifier"):
        assert words in page
    only = desk.admin.get("/api/dead", queue="classifier").get_json()["letters"]
    assert [one["message_id"] for one in only] == [second]


def test_what_is_no_envelope_is_shown_too_and_can_be_dropped(desk: Desk) -> None:
    desk.publisher.park("audit", "m-odd", "not json", "BadPayload: no envelope")
    [listed] = desk.admin.get("/api/dead").get_json()["letters"]
    assert (listed["topic"], listed["chain"], listed["at"]) == ("?", None, None)
    assert desk.admin.get("/status/dead").status_code == 200
    body = {"message_id": "m-odd", "reason": "a test of ours"}
    assert desk.admin.post("/api/dead/drop", body).status_code == 200
    desk.hear(desk.decided()[0])
    assert desk.resting() == set()


def test_a_dry_run_says_what_would_go_and_changes_nothing(desk: Desk) -> None:
    first, second = stop(desk), stop(desk, "classifier")
    said = desk.admin.post("/api/dead/replay", {"everything": True, "dry_run": True})
    assert {one["message_id"] for one in said.get_json()["letters"]} == {first, second}
    assert desk.decided() == []
    assert desk.resting() == {first, second}


def test_one_is_sent_again_by_its_own_worker_once_however_often_it_is_asked_for(
    desk: Desk,
) -> None:
    first, second = stop(desk), stop(desk)
    for _ in range(2):
        assert desk.admin.post("/api/dead/replay", {"message_id": first}).status_code == 200
    one, two = desk.decided()
    assert one.topic is Topic.MESSAGE_REPLAYED
    assert (one.actor, one.body["queue"], one.body["message_id"]) == ("person:ann", "writer", first)
    assert one.chain == chain_of(Customer())
    assert desk.resting() == {first, second}, "the page itself moves nothing"
    for message in (one, two, one):
        desk.hear(message)
    assert desk.resting() == {second}
    assert desk.waiting("writer") == 1
    assert desk.waiting("classifier") == 0
    assert desk.admin.post("/api/dead/replay", {"message_id": first}).status_code == 404


def test_all_that_match_a_filter_are_sent_again_and_no_other(desk: Desk) -> None:
    stop(desk), stop(desk)
    other = stop(desk, "classifier")
    assert desk.admin.post("/api/dead/replay", {"queue": "writer"}).status_code == 200
    for message in desk.decided():
        desk.hear(message)
    assert desk.resting() == {other}
    assert desk.waiting("writer") == 2


def test_filters_apply_to_all_dead_letters_and_not_to_the_first_only(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dead_pages.MOST", 2)
    for _ in range(3):
        stop(desk, "classifier")
    late = [stop(desk), desk.park("writer", Topic.WRITING_RESUMED, {"reason": "x"}, BUG)]

    def listed(**which: str) -> list[str]:
        found = desk.admin.get("/api/dead", **which).get_json()["letters"]
        return [one["message_id"] for one in found]

    assert not set(late) & set(listed())
    assert listed(queue="writer") == late
    assert listed(topic="writing.resumed") == late[1:]
    assert listed(message_id=late[0]) == late[:1]
    assert listed(queue="no-such-queue") == []
    page = desk.admin.get("/status/dead", topic="writing.resumed").text
    assert "writing.resumed" in page
    assert "None matches" in desk.admin.get("/status/dead", topic="no.such").text
    assert desk.admin.post("/api/dead/replay", {"message_id": late[1]}).status_code == 200
    assert [one.body["message_id"] for one in desk.decided()] == late[1:]


def test_dropping_needs_a_reason_and_leaves_it_in_the_log(desk: Desk) -> None:
    first = stop(desk)
    assert desk.admin.post("/api/dead/drop", {"message_id": first}).status_code == 422
    assert desk.admin.post("/api/dead/drop", {"reason": "all"}).status_code == 422
    body = {"message_id": first, "reason": "sent twice by the sender"}
    assert desk.admin.post("/api/dead/drop", body).status_code == 200
    [message] = desk.decided()
    assert (message.topic, message.body["reason"]) == (Topic.MESSAGE_DROPPED, body["reason"])
    desk.hear(message)
    assert desk.resting() == set()
    assert desk.waiting("writer") == 0


@pytest.mark.parametrize("service", ["ingest", "classifier", "writer", "audit"])
def test_each_worker_handles_a_decision_about_a_dead_letter_alone(service: str) -> None:
    """It takes a letter from the broker: done within a batch, a failure beside it would hide it."""
    worker = import_module(f"services.{service}.service").SERVICE.worker
    assert set(workers.HANDLERS) <= worker.alone


def test_a_letter_that_is_not_there_any_more_is_a_warning(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.letters.PAUSE", 0)
    said = SimpleNamespace(noun=lambda: {"queue": "writer", "message_id": "m-gone"})
    deps = SimpleNamespace(
        outbox=SimpleNamespace(service="writer"), relay=SimpleNamespace(publisher=desk.publisher)
    )
    with capture_logs() as logged:
        workers.redrive(said, deps)  # type: ignore[arg-type]
    [line] = logged
    assert (line["log_level"], line["message_id"]) == ("warning", "m-gone")


def test_a_letter_that_somebody_looks_at_is_found_a_moment_later(desk: Desk) -> None:
    import threading

    first = stop(desk)
    looking = letters(desk.url)
    assert next(looking).message_id == first
    desk.admin.post("/api/dead/replay", {"everything": True})
    assert desk.decided() == [], "who looks holds it, so nobody else can decide about it"
    threading.Timer(0.7, looking.close).start()
    workers.redrive(
        SimpleNamespace(noun=lambda: {"queue": "writer", "message_id": first}),  # type: ignore[arg-type]
        SimpleNamespace(
            outbox=SimpleNamespace(service="writer"),
            relay=SimpleNamespace(publisher=desk.publisher),
        ),
    )
    assert desk.resting() == set()


def command(desk: Desk, *words: str) -> str:
    said = CliRunner().invoke(replay, words, obj=SimpleNamespace(bus_url=desk.url))
    assert said.exit_code == 0, said.output
    return str(said.output)


def test_the_command_tells_the_workers_and_the_log_as_the_page_does(desk: Desk) -> None:
    first, second = stop(desk), stop(desk, "classifier", AWAY)
    assert f"would send  {first}" in command(desk, "--all", "--dry-run")
    assert [*_read(desk, "audit")] == []
    assert "Nothing matches." in command(desk, "--topic", "event.received")
    assert "2 messages" in command(desk, "--all", "--reason", "mended")
    assert desk.resting() == {first, second}, "their workers send them"
    [*told] = _read(desk, "audit")
    assert {one.noun()["message_id"] for one in told} == {first, second}
    assert {(one.actor, one.noun()["reason"]) for one in told} == {
        ("person:command-line", "mended")
    }
    for message in [*told, *told]:
        desk.hear(message)
    assert desk.resting() == set()
    assert (desk.waiting("writer"), desk.waiting("classifier")) == (1, 1)


def _read(desk: Desk, queue: str) -> Iterator[Any]:
    connection = connect(desk.url)
    bound = Queue(queue).bind(connection.channel())
    while (message := bound.get(no_ack=True)) is not None:
        yield decode(message.body)
    connection.release()
