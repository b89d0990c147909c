"""Stage sandbox with two accounts of one vendor, for every vendor that has test accounts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from services.writer import cards
from services.writer.crm.registry import writer_of
from services.writer.crm.shelf import Shelf, ShelfReader
from services.writer.doctor import examine_account
from services.writer.track_record import track_records
from shared.crm import readers
from shared.crm.accounts import Account, require_apart
from shared.db import reading
from shared.domain.proposal import FieldChange, ProposalKind
from shared.domain.record import RecordRef
from shared.domain.topics import Topic
from shared.errors import ConfigurationError
from shared.faultpoints import wire_killer
from shared.policy import load_policy
from tests.crm.path import settle
from tests.fakes.demonstrations import DEMONSTRATIONS, PEOPLE
from tests.writer.world import POLICY_HEAD, World, running_world

VENDORS = sorted(name for name, one in DEMONSTRATIONS.items() if one.has_test_account)
NEW_PHONE = "+12025550199"
LEAD = {"first_name": "Lee", "last_name": "Fields", "email": "lee@example.com"}


def policy_of(vendor: str) -> str:
    people = DEMONSTRATIONS[vendor]
    kinds = {(people.people, name): kind for name, kind in people.fields.items()}
    kinds |= {("drafts", name): "email" if name == "email" else "text" for name in LEAD}
    tables = (
        f'[fields.{vendor}.{object_}."{name}"]\nmode = "review"\ntype = "{kind}"\n'
        'stage = "sandbox"\nmax_length = 100\nexpiry_hours = 16\nreason = "For the tests."\n'
        for (object_, name), kind in kinds.items()
    )
    return POLICY_HEAD + "".join(tables)


@dataclass(kw_only=True)
class Two:
    """The live account and its test account, both with the same sample people."""

    world: World
    vendor: str
    accounts: tuple[Account, ...]

    @property
    def trial(self) -> str:
        return f"{self.vendor}-test"

    @property
    def phone(self) -> str:
        return str(self.world.worker.readers[self.vendor].names["phone"])

    def person(self, account: str, email: str = PEOPLE[0].email) -> RecordRef:
        [found] = self.world.worker.readers[account].candidates(email)
        return found.record

    def held(self, account: str, email: str = PEOPLE[0].email) -> Any:
        ref = self.person(account, email)
        return self.world.worker.readers[account].read(ref).fields[self.phone]

    def propose(self, email: str = PEOPLE[0].email) -> str:
        change = FieldChange(
            field=self.phone, before=self.held(self.vendor, email), after=NEW_PHONE, confidence=900
        )
        return self.world.propose(change, record=self.person(self.vendor, email)).id

    def settled(self, card: str) -> Any:
        self.world.approve(card)
        settle(self.world, card)
        shown = cards.card(self.world.web, self.world.person("ada"), card).change
        assert shown is not None
        return shown


@pytest.fixture(params=VENDORS)
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    vendor: str = request.param
    names = (vendor, f"{vendor}-test")
    with ExitStack() as stack:
        running = {name: stack.enter_context(DEMONSTRATIONS[vendor].run(name)) for name in names}
        sides = {
            side: tuple(
                Account(name=name, vendor=vendor, options=getattr(one, side))
                for name, one in running.items()
            )
            for side in ("read", "write")
        }

        def connect(engine: Any, clock: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            found = readers(sides["read"], timeout=5)
            written = {one.name: writer_of(one) for one in sides["write"]}
            return (
                {name: ShelfReader(one, engine, clock) for name, one in found.items()},
                {name: Shelf(name, one, engine, clock) for name, one in written.items()},
            )

        world = stack.enter_context(
            running_world(
                tmp_path,
                policy=policy_of(vendor),
                connect=connect,
                vendors={**dict.fromkeys(names, vendor), "demo": "demo"},
                sandboxes={vendor: f"{vendor}-test"},
            )
        )
        yield Two(world=world, vendor=vendor, accounts=sides["write"])
        wire_killer(None)


def test_a_value_is_tried_in_the_test_account_and_promoted_by_a_second_decision(two: Two) -> None:
    before = two.held(two.vendor)
    tried = two.settled(two.propose())
    assert (tried.state, tried.matches, tried.tried_in) == ("applied", True, two.trial)
    assert tried.stand_in == str(two.person(two.trial))
    assert (two.held(two.trial), two.held(two.vendor)) == (NEW_PHONE, before)
    promoted = two.settled(tried.promotion)
    assert (promoted.state, promoted.matches, promoted.tried_in) == ("applied", True, None)
    assert two.held(two.vendor) == NEW_PHONE


def test_whom_the_test_account_does_not_know_is_made_there_once(two: Two) -> None:
    two.world.worker.writers[two.vendor].create(
        {**LEAD, "phone": "+12025550144"}, change_id="somebody-new"
    )
    first, second = two.settled(two.propose(LEAD["email"])), two.settled(two.propose(LEAD["email"]))
    assert first.state == second.state == "applied"
    assert first.stand_in == second.stand_in == str(two.person(two.trial, LEAD["email"]))
    assert two.held(two.trial, LEAD["email"]) == NEW_PHONE
    assert two.held(two.vendor, LEAD["email"]) == "+12025550144"


def test_a_new_person_is_made_in_the_test_account_alone(two: Two) -> None:
    fields = [FieldChange(field=name, before=None, after=value) for name, value in LEAD.items()]
    draft = RecordRef(crm=two.vendor, type="drafts", id="new")
    card = two.world.propose(*fields, record=draft, kind=ProposalKind.DRAFT).id
    tried = two.settled(card)
    assert (tried.state, tried.matches) == ("applied", True)
    assert tried.stand_in == str(two.person(two.trial, LEAD["email"]))
    assert two.world.worker.readers[two.vendor].candidates(LEAD["email"]) == []


def test_a_value_that_the_test_account_altered_is_shown_and_counts_as_not_kept(two: Two) -> None:
    def alter(name: str) -> None:
        if name == "apply.written":
            ref, writer = two.person(two.trial), two.world.worker.writers[two.trial]
            writer.update(ref, {two.phone: "+12025550100"}, change_id="a-flow", version=None)

    wire_killer(alter)
    tried = two.settled(two.propose())
    wire_killer(None)
    assert (tried.state, tried.matches, tried.promotion) == ("applied", False, None)
    assert "holds another value" in tried.headline
    assert two.world.last(Topic.CHANGE_APPLIED)["matches"] is False
    with reading(two.world.worker.engine) as db:
        policy = load_policy(two.world.worker.policy_file)
        people = DEMONSTRATIONS[two.vendor].people
        assert track_records(db, policy, two.vendor)[people, two.phone].failed == 1


def test_the_doctor_finds_both_accounts_fit_and_their_secrets_apart(two: Two) -> None:
    policy = load_policy(policy_of(two.vendor))
    for account in (two.vendor, two.trial):
        report = examine_account(account, two.world.worker, policy, two.world.clock())
        assert report.problem is None, report.findings
    live, trial = two.accounts
    require_apart((live, trial), {live.name: trial.name})
    with pytest.raises(ConfigurationError, match="reach the live account"):
        require_apart((live, replace(live, name=trial.name)), {live.name: trial.name})
