"""Everything accepted comes five times, shuffled, across a restart and a day later: one effect."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, func, select

from services.ingest.endpoints import Endpoints
from services.ingest.relay import relay
from services.ingest.sources import SOURCES
from services.ingest.store import accepted
from services.writer.tables import pending_fields, proposals
from shared.bus.envelope import decode
from shared.db import reading
from shared.domain.proposal import FieldChange
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from tests.faults.books import SERVICES, Books
from tests.hostile import wire
from tests.hostile.signing import open_endpoints, signed
from tests.product import Product, eventually
from tests.vectors import Store
from tests.writer.world import World, mail, phone_change, running_world, title_change

TIMES = 5
OF_EACH = 100
PUBLIC_URL = "https://hooks.example.com"


@dataclass(kw_only=True)
class Result:
    """``effects`` are happenings accepted; ``told`` how many messages left for them.

    ``told_late`` are further ones, or accepted ones, that came once all had been heard of.
    ``repeats`` and ``stale`` were sent a day later: signed anew, and with the old signature.
    """

    posts: int = 0
    refused: int = 0
    effects: int = 0
    expected: int = 0
    told: int = 0
    told_late: int = 0
    told_twice: int = 0
    after_a_day: int = 0
    repeats: int = 0
    stale: int = 0
    orders: int = 0
    ends: int = 0

    @property
    def faults(self) -> list[str]:
        pairs = {
            "effects of repeats": (self.effects, self.expected),
            "messages": (self.told, self.expected),
            "messages after the last": (self.told_late, 0),
            "messages told twice": (self.told_twice, 0),
            "effects after a day": (self.after_a_day, 0),
            "refused": (self.refused, 0),
            "ends of one stream": (self.ends, 1),
        }
        found = [
            f"{name}: {seen}, not {right}" for name, (seen, right) in pairs.items() if seen != right
        ]
        if self.expected * TIMES != self.posts:
            found.append(f"{self.posts} posts brought {self.expected} happenings")
        is_measured = self.expected and self.orders and self.stale and self.repeats
        return found if is_measured else [*found, "nothing was measured"]


def replay(product: Product, folder: Path, of_each: int = OF_EACH) -> Result:
    """Against the running product, which restarts half-way; then with a clock handed in."""
    result = Result()
    _across_a_restart(product, of_each, result)
    _after_a_day(folder / "day", of_each, result)
    _in_any_order(folder / "order", of_each, result)
    return result


def _across_a_restart(product: Product, of_each: int, result: Result) -> None:
    endpoints = Endpoints(product.home().endpoints)
    if endpoints.find("zapier", "hostile") is None:
        open_endpoints(endpoints)
    before = _rows(product)
    first = [(source, number) for source in SOURCES for number in range(of_each)]
    _post(product, first, result)
    result.expected = _rows(product) - before
    again = first * (TIMES - 1)
    random.Random(of_each).shuffle(again)
    _post(product, again[: len(again) // 2], result)
    assert product.stop() == 0
    product.start()
    _post(product, again[len(again) // 2 :], result)
    result.effects = _rows(product) - before
    told = eventually(lambda: _all_told(product), 120)
    eventually(lambda: _is_empty(product), 120)
    late = _all_told(product)
    assert late is not None
    result.told_late = sum(late.values()) - sum(told.values()) + len(late) - len(told)
    result.effects = _rows(product) - before
    result.told = sum(late.values()) - before
    result.told_twice = sum(count > 1 for count in late.values())


def _post(product: Product, wanted: Sequence[tuple[str, int]], result: Result) -> None:
    for source, number in wanted:
        request = signed(source, 7_000_000 + number, int(time.time()))
        statuses = wire.say(product.port, wire.as_bytes(request))
        result.posts += 1
        result.refused += not (statuses and 200 <= statuses[0] < 300)


def _rows(product: Product) -> int:
    engine = create_engine(product.home().database("ingest"))
    with engine.connect() as db:
        found = db.scalar(select(func.count()).select_from(accepted)) or 0
    engine.dispose()
    return int(found)


def _is_empty(product: Product) -> bool:
    """Nothing is on its way any more: in no outbox and in no queue."""
    books = Books(home=product.home())
    unsent = sum(
        books.count(name, "SELECT count(*) FROM outbox WHERE sent_at IS NULL") for name in SERVICES
    )
    unsent += books.count("ingest", "SELECT count(*) FROM accepted WHERE sent_at IS NULL")
    queues = {name: n for name, n in books.depths().items() if not name.endswith(".parked")}
    return unsent == 0 and not any(queues.values())


def _all_told(product: Product) -> Counter[str] | None:
    """How often the log heard of each accepted happening, once it has heard of all."""
    from services.audit.tables import ENTRIES

    of_ingest = create_engine(product.home().database("ingest"))
    of_audit = create_engine(product.home().database("audit"))
    with of_ingest.connect() as db:
        ids: list[str] = list(db.scalars(select(accepted.c.id)))
    topics = (str(Topic.EVENT_RECEIVED), str(Topic.EVENT_REJECTED))
    with of_audit.connect() as db:
        query = select(ENTRIES.c.chain).where(ENTRIES.c.topic.in_(topics))
        heard = Counter(db.scalars(query))
    of_ingest.dispose()
    of_audit.dispose()
    known = Counter({id_: heard[id_] for id_ in ids})
    return known if all(known.values()) else None


def _after_a_day(folder: Path, of_each: int, result: Result) -> None:
    """Signed anew, as a vendor's retry is, by a process that has begun anew; and the old bytes."""
    store = Store.fresh(folder, PUBLIC_URL)
    open_endpoints(store.web.endpoints)
    wanted = [(source, number) for source in SOURCES for number in range(max(1, of_each // 10))]
    began = store.now
    first = _send_all(store, wanted, began)
    assert {status // 100 for status in first} == {2}, first
    relay(store.worker)
    effects, sent = _effects(store), len(store.published.messages)
    store.close()
    store = Store.fresh(folder, PUBLIC_URL)
    store.now = began + timedelta(hours=24)
    again = _send_all(store, wanted, store.now)
    assert {status // 100 for status in again} == {2}, again
    result.repeats = again.total()
    result.stale = sum(_send_all(store, wanted, began).get(status, 0) for status in (401, 403))
    relay(store.worker)
    # What was refused is told too, and is no effect.
    late = [m for m in store.published.messages if decode(m.text).topic is Topic.EVENT_RECEIVED]
    result.after_a_day = _effects(store) - effects + len(late)
    assert sent
    assert result.stale
    store.close()


def _send_all(store: Store, wanted: Sequence[tuple[str, int]], signed_at: datetime) -> Counter[int]:
    client, statuses = store.app().test_client(), Counter[int]()
    for source, number in wanted:
        request = signed(source, number, int(signed_at.timestamp()))
        answer = client.post(request.path, data=request.body, headers=request.headers)
        statuses[answer.status_code] += 1
    return statuses


def _effects(store: Store) -> int:
    with reading(store.web.engine) as db:
        return db.scalar(select(func.count()).select_from(accepted)) or 0


def _in_any_order(folder: Path, of_each: int, result: Result) -> None:
    """Four news of one record, in any order and some twice: what waits in the end is the same."""
    folder.mkdir()
    orders = list(itertools.permutations(range(4)))
    random.Random(4).shuffle(orders)
    with running_world(folder) as world:
        start = world.clock.now
        ends = {
            _end_of(world, start, RecordRef(crm="demo", type="contacts", id=f"9{place}"), order)
            for place, order in enumerate(orders[: max(6, of_each)])
        }
    result.orders = min(len(orders), max(6, of_each))
    result.ends = len(ends)


def _end_of(world: World, start: datetime, record: RecordRef, order: Sequence[int]) -> Any:
    for number in (*order, *order[:2]):
        event_id, at = f"{record.id}-{number}", start + timedelta(minutes=number)
        proposal = world.proposal(*_news(number), event_id=event_id, record=record)
        world.classify(world.answer(proposal, event=mail(event_id, at)))
    with reading(world.worker.engine) as db:
        query = (
            select(pending_fields.c.field, proposals.c.event_id)
            .join(proposals, proposals.c.id == pending_fields.c.proposal_id)
            .where(proposals.c.state == "pending", proposals.c.record == str(record))
        )
        return tuple(
            sorted((row.field, row.event_id.partition("-")[2]) for row in db.execute(query))
        )


def _news(number: int) -> tuple[FieldChange, ...]:
    """The first two fields at once, then one of them by turns."""
    both: tuple[Callable[[], FieldChange], ...] = (
        lambda: phone_change(f"+1202555019{number}"),
        lambda: title_change(f"Baker {number}"),
    )
    return tuple(make() for make in (both if number == 0 else both[number % 2 : number % 2 + 1]))
