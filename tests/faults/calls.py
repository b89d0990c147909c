"""Thousands of calls to a CRM that misbehaves by a random script, in one process."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from services.writer.tables import changes
from shared.db import reading
from shared.domain.record import RecordRef
from tests.fakes.faulty_crm import Fault, status
from tests.faults.stage import Ended
from tests.writer.world import World, phone_change, policy_text, running_world

WRONG = b'{"type":"contacts","id":"7","change_id":"x"}'
# A hanging call costs its time-out: they are rarer.
WRITE_FAULTS = (
    *([Fault()] * 4),
    *([Fault(kind="hang"), Fault(kind="hang", has_effect=True)]),
    *([Fault(kind="cut"), Fault(kind="cut", has_effect=True)] * 4),
    *([Fault(kind="cut-body", has_effect=True), Fault(kind="twice")] * 4),
    *([status(500), status(500, has_effect=True), status(429), status(503)] * 4),
    *([status(200, WRONG), status(200, WRONG, has_effect=True), status(200, b"<html>")] * 2),
    Fault(kind="late", seconds=0.1),
    Fault(kind="drip", has_effect=True),
)
READ_FAULTS = (
    *([Fault()] * 12),
    *([Fault(kind="cut"), Fault(kind="cut-body"), status(429), status(500), status(200, b"[]")]),
)
TIMEOUT = 0.3
# Seconds, with some room: what the double's 429 asks for.
RETRY_AFTER = 1.2
CONTACTS = 20
OPEN = ("intended", "sent", "unknown")


def scripted(folder: Path, seed: int, *, changes_: int = 120) -> Ended:
    """``changes_`` approvals, each carried out through a storm of its own; counts the calls."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    mix = random.Random(seed)
    policy = policy_text(phone="per_hour = 100000\nper_day = 100000")
    with running_world(folder, policy=policy, write_timeout=TIMEOUT) as world:
        for number in range(changes_):
            _one(world, mix, str(1001 + number % CONTACTS), f"+1202555{number:04d}")
        settled = time.monotonic()
        world.crm.faulty.faults.clear()
        time.sleep(RETRY_AFTER)  # The clock of this world does not move a connector's own.
        for _ in range(5):
            world.clock.forward(minutes=3)
            world.complete()
        return Ended(
            count=len(world.crm.faulty.calls),
            differences=_differences(world),
            recovery=round(time.monotonic() - settled, 1),
            seconds=round(time.monotonic() - started, 1),
            events=changes_,
            refused={},
            notes={"states": dict(_states(world))},
        )


def _one(world: World, mix: random.Random, contact: str, number: str) -> None:
    world.clock.forward(minutes=10)
    world.crm.faulty.faults.clear()
    record = RecordRef(crm="demo", type="contacts", id=contact)
    stale = world.crm.get(f"/api/contacts/{contact}")
    change = phone_change(after=number, before=stale["fields"].get("phone"))
    card = world.propose(change, record=record)
    world.approve(card.id)
    world.crm.faulty.script("PATCH", *mix.choices(WRITE_FAULTS, k=4))
    world.crm.faulty.script("GET", *mix.choices(READ_FAULTS, k=8))
    world.pump()
    for _ in range(mix.randrange(3)):
        world.clock.forward(minutes=1)
        world.complete()


def _states(world: World) -> Counter[str]:
    with reading(world.worker.engine) as db:
        return Counter(row.state for row in db.execute(changes.select()))


def _differences(world: World) -> list[str]:
    found = []
    with reading(world.worker.engine) as db:
        rows = db.execute(changes.select()).all()
    for row in rows:
        times = len(world.effects(row.id))
        if row.state in OPEN:
            found.append(f"change {row.id} is still {row.state} after the completer ran")
        if times != (row.state == "applied"):
            found.append(f"change {row.id} is {row.state} and had {times} effects")
    return found
