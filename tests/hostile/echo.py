"""Writes of our own that come back from each CRM, and what a person changes after them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from services.classifier.classifying import echoed
from services.ingest.relay import relay
from services.writer import policy_store
from services.writer.tables import change_fields, changes, corrections, proposals
from shared.bus.envelope import decode
from shared.db import reading, writing
from shared.domain import ids
from shared.domain.classification import Outcome
from shared.domain.event import Event
from shared.domain.schema import rfc3339
from tests.hostile.signing import open_endpoints
from tests.hostile.telling import TELLERS, News, Teller
from tests.vectors import Store
from tests.writer.world import World, running_world

WRITES = 1000
PUBLIC_URL = "https://hooks.example.com"


@dataclass(frozen=True, kw_only=True)
class Written:
    """A value we wrote, another spelling of it as vendors send it back, and a person's after it."""

    field: str
    value: Any
    told: Any
    corrected: Any


def written(number: int) -> Written:
    """The kinds of value take turns."""
    day = number % 28 + 1
    kinds: tuple[tuple[str, Any, Any, Any], ...] = (
        ("phone", f"+12025{number:06d}", f"+1 202-5{number:06d}", f"+12026{number:06d}"),
        ("note", f"One\nünï {number}", f"One\r\nu\u0308nï {number} ", f"One\nünï {number}!"),
        ("opted_in", True, "true", "false"),
        ("employees", number, f"{number}.00", f"{number + 1}"),
        ("birthday", f"1970-01-{day:02}", str((day - 1) * 86_400_000), "1970-02-03"),
        ("email", f"Ann.{number}@Example.com", f"ann.{number}@example.com", "bo@example.com"),
        ("zip", f"0{number}", f"0{number}", str(number)),
        ("fax", None, "", "+12025550100"),
        ("title", f"Head {number}", f"Head {number}", None),
    )
    name, value, told, corrected = kinds[number % len(kinds)]
    return Written(field=name, value=value, told=told, corrected=corrected)


@dataclass(kw_only=True)
class Result:
    """``missed`` are corrections that were not seen, where the CRM tells values at all."""

    writes: int = 0
    echoes: int = 0
    proposals: int = 0
    mistaken: int = 0
    corrections: int = 0
    missed: int = 0
    tells_no_values: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        names = ("proposals", "mistaken", "missed")
        found = [f"{getattr(self, name)} {name}" for name in names if getattr(self, name)]
        return found if self.echoes and self.corrections else [*found, "nothing was measured"]


def echo(folder: Path, count: int = WRITES, told: Callable[[str], None] = lambda _: None) -> Result:
    """``count`` writes of each CRM, told as written and in the vendor's spelling, then corrected."""
    result = Result()
    store = Store.fresh(folder / "ingest", PUBLIC_URL)
    open_endpoints(store.web.endpoints)
    (folder / "writer").mkdir()
    with running_world(folder / "writer") as world:
        for name, teller in TELLERS.items():
            told(name)
            _echo_of(teller, Case(store=store, world=world, result=result), count)
            if not teller.tells_values:
                result.tells_no_values.append(name)
    store.close()
    return result


@dataclass(kw_only=True)
class Case:
    store: Store
    world: World
    result: Result
    number: int = 0

    @cached_property
    def client(self) -> Any:
        return self.store.app().test_client()

    def tell(self, teller: Teller, id_: str, name: str, value: Any) -> None:
        """The vendor's request goes through the door, the relay, the classifier and the writer."""
        self.number += 1
        self.world.clock.forward(seconds=10)
        self.store.now = self.world.clock.now
        news = News(number=self.number, id=id_, field=name, value=value, at=self.world.clock.now)
        request = teller.request(news)
        answer = self.client.post(request.path, data=request.body, headers=request.headers)
        assert answer.status_code in {200, 204}, (answer.status_code, request.body)
        self.store.published.messages.clear()
        relay(self.store.worker)
        assert self.store.published.messages, (teller.crm, news)
        for message in self.store.published.messages:
            event: Event = decode(message.text).noun()
            self._hear(event)

    def _hear(self, event: Event) -> None:
        with reading(self.world.worker.engine) as db:
            policy = policy_store.in_force(db).policy
        answer = echoed(event, policy)
        assert answer is not None, event
        self.result.proposals += len(answer.proposals)
        assert answer.outcome is Outcome.NOTHING_TO_DO
        self.world.classify(answer)

    def write(self, teller: Teller, id_: str, wrote: Written) -> str:
        """As the writer leaves it behind once the change is applied."""
        record, at = f"{teller.crm}/{teller.object}/{id_}", rfc3339(self.world.clock.now)
        change = ids.fresh()
        row = {
            "id": change, "proposal_id": change, "event_id": change, "record": record,
            "state": "applied", "card_digest": "", "policy": "", "digest": change, "body": "{}",
            "attempts": 1, "intended_at": at, "updated_at": at,
        }  # fmt: skip
        value = {
            "change_id": change, "field": wrote.field, "record": record,
            "object": f"{teller.crm}/{teller.object}", "before": json.dumps("what it was"),
            "after": json.dumps(wrote.value), "sent_at": at, "applied_at": at,
        }  # fmt: skip
        with writing(self.world.worker.engine) as db:
            db.execute(changes.insert().values(row))
            db.execute(change_fields.insert().values(value))
        return change

    def counts(self) -> tuple[int, int]:
        """``(proposals, corrections)``."""
        with reading(self.world.worker.engine) as db:
            laid = db.scalar(select(func.count()).select_from(proposals)) or 0
            seen = db.scalar(select(func.count()).select_from(corrections)) or 0
        return laid, seen

    def is_linked(self, change: str) -> bool:
        with reading(self.world.worker.engine) as db:
            found = select(corrections.c.value).where(corrections.c.change_id == change)
            return len(db.execute(found).all()) == 1


def _echo_of(teller: Teller, case: Case, count: int) -> None:
    result, writes, before = case.result, [], case.counts()
    for number in range(count):
        wrote, id_ = written(number), teller.ids(10_000 + number)
        writes.append((case.write(teller, id_, wrote), id_, wrote))
        for value in (wrote.value, wrote.told):
            case.tell(teller, id_, wrote.field, value)
            result.echoes += 1
    laid, seen = case.counts()
    result.writes += count
    result.proposals += laid - before[0]
    result.mistaken += seen - before[1]
    case.world.clock.forward(hours=1)
    for change, id_, wrote in writes:
        case.tell(teller, id_, wrote.field, wrote.corrected)
        is_seen = case.is_linked(change)
        result.corrections += is_seen
        result.missed += teller.tells_values and not is_seen
    assert timedelta(days=30) > timedelta(seconds=10 * 3 * count), "the writes were forgotten"
