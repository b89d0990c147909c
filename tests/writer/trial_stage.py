"""Two accounts of a CRM, the live one and the one that stands in for it, and the writer between."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.writer.crm.demo import DemoWriter
from services.writer.crm.hubspot import HubSpotWriter
from services.writer.crm.shelf import Shelf, ShelfReader
from shared.crm.accounts import Account
from shared.crm.demo import DemoReader
from shared.crm.hubspot import HubSpotReader
from shared.domain.proposal import FieldChange, Proposal, ProposalKind
from shared.domain.record import RecordRef
from tests.fakes.crm_fixtures import READ, WRITE, running_crm
from tests.fakes.faulty_crm import served
from tests.fakes.hubspot import READ_KEY, WRITE_APP, WRITE_KEY, HubSpot
from tests.writer.world import POLICY_HEAD, World, running_world

LIVE, TRIAL = "hubspot", "hubspot-test"
DANA = RecordRef(crm=LIVE, type="contacts", id="51")
BEFORE, AFTER = "+12025550101", "+12025550199"
MAIL = "dana.miller@example.com"
PERSON = {
    "firstname": "Dana",
    "lastname": "Miller",
    "email": MAIL,
    "phone": BEFORE,
    "city": "Rockville",
    "jobtitle": "Owner",
}
FIELDS = {
    ("contacts", "phone"): "phone",
    ("contacts", "city"): "text",
    ("contacts", "jobtitle"): "text",
    ("drafts", "first_name"): "text",
    ("drafts", "last_name"): "text",
    ("drafts", "email"): "email",
}


def policy_of(stage: str = "sandbox", *, crm: str = LIVE, more: str = "", **stages: str) -> str:
    """All fields at one stage; ``stages`` are those of single fields, ``more`` lines of each."""
    text = POLICY_HEAD
    for (object_, name), kind in FIELDS.items():
        text += (
            f'[fields.{crm}.{object_}.{name}]\nmode = "review"\ntype = "{kind}"\n'
            f'stage = "{stages.get(name, stage)}"\nmax_length = 100\nexpiry_hours = 16\n'
            f'reason = "For the tests."\n{more}\n'
        )
    return text


@dataclass(kw_only=True)
class Rehearsal:
    """``live`` and ``trial`` are the doubles of the two accounts; ``trial`` may be a demo CRM."""

    world: World
    live: HubSpot
    trial: Any

    def propose(self, *changes: FieldChange, record: RecordRef = DANA, **more: Any) -> Proposal:
        return self.world.propose(*(changes or (phone(),)), record=record, **more)

    def propose_lead(self, last_name: str = "Fields") -> Proposal:
        values = {"first_name": "Lee", "last_name": last_name, "email": "lee@example.com"}
        changes = [FieldChange(field=name, before=None, after=v) for name, v in values.items()]
        draft = RecordRef(crm=LIVE, type="drafts", id="new")
        return self.world.propose(*changes, record=draft, kind=ProposalKind.DRAFT)

    def settle(self, card: str) -> str:
        """Time goes by and the completer comes round, until the change has ended."""
        for _ in range(6):
            self.world.pump()
            row = self.world.change(card)
            if row is not None and row.state in {"applied", "failed", "stale"}:
                break
            self.world.clock.forward(minutes=3)
            self.world.complete()
        row = self.world.change(card)
        return "none" if row is None else str(row.state)

    def try_out(self, card: str, **fields: Any) -> str:
        self.world.approve(card, **fields)
        return self.settle(card)

    def stand_ins(self) -> list[Any]:
        """The records of the trial account that have Dana's address."""
        rows = self.trial.records["contacts"].values()
        return [row for row in rows if row.properties.get("email") == MAIL]


def phone(after: str = AFTER, before: str | None = BEFORE) -> FieldChange:
    return FieldChange(field="phone", before=before, after=after, confidence=900)


@contextmanager
def rehearsal(
    folder: Path, policy: str = "", *, is_one_account: bool = False
) -> Iterator[Rehearsal]:
    """Two HubSpot accounts; Dana is known to the live one.

    ``is_one_account``: by mistake both names reach the live one.
    """
    live, trial = HubSpot(), HubSpot()
    trial.portal = "55348424"
    live.add("contacts", PERSON, id_=DANA.id)
    trial.add("contacts", {"firstname": "Jon", "lastname": "Weber", "phone": "+12025550144"})
    with served(live.faulty) as live_url, served(trial.faulty) as trial_url:
        urls = {LIVE: live_url, TRIAL: live_url if is_one_account else trial_url}

        def connect(engine: Any, clock: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            reads = {name: _hubspot(name, url, READ_KEY) for name, url in urls.items()}
            writes = {name: _hubspot(name, url, WRITE_KEY) for name, url in urls.items()}
            return (
                {
                    name: ShelfReader(HubSpotReader(one, timeout=5), engine, clock)
                    for name, one in reads.items()
                },
                {
                    name: Shelf(name, HubSpotWriter(one, timeout=5), engine, clock)
                    for name, one in writes.items()
                },
            )

        with running_world(
            folder,
            policy=policy or policy_of(),
            connect=connect,
            vendors={LIVE: "hubspot", TRIAL: "hubspot", "demo": "demo"},
            sandboxes={LIVE: TRIAL},
        ) as world:
            yield Rehearsal(world=world, live=live, trial=trial)


@contextmanager
def rehearsal_in_the_demo_crm(
    folder: Path, policy: str = "", *, options: Mapping[str, Any] | None = None
) -> Iterator[Rehearsal]:
    """A HubSpot account, and a demo CRM that stands in for it."""
    live = HubSpot()
    live.add("contacts", PERSON, id_=DANA.id)
    (folder / "stand-in").mkdir()
    with served(live.faulty) as url, running_crm(folder / "stand-in", **(options or {})) as demo:

        def connect(engine: Any, clock: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            reader = HubSpotReader(_hubspot(LIVE, url, READ_KEY), timeout=5)
            writer = HubSpotWriter(_hubspot(LIVE, url, WRITE_KEY), timeout=5)
            reads = DemoReader(demo.url, READ, clock=clock, crm=TRIAL)
            writes = DemoWriter(demo.url, WRITE, crm=TRIAL)
            return (
                {LIVE: ShelfReader(reader, engine, clock), TRIAL: reads},
                {LIVE: Shelf(LIVE, writer, engine, clock), TRIAL: writes},
            )

        with running_world(
            folder,
            policy=policy or policy_of(),
            connect=connect,
            vendors={LIVE: "hubspot", TRIAL: "demo", "demo": "demo"},
            sandboxes={LIVE: TRIAL},
        ) as world:
            yield Rehearsal(world=world, live=live, trial=demo)


def _hubspot(name: str, url: str, token: str) -> Account:
    options = {
        "url": url,
        "token": token,
        "private_address": "yes",
        "calls_per_10_seconds": "100000",
        "searches_per_second": "1000",
        "share": "1",
        "mark_property": "countersign_change",
        "own_app": WRITE_APP,
    }
    return Account(name=name, vendor="hubspot", options=options)
