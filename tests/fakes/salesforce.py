"""A stateful double of Salesforce over real HTTP, with two integration users and a few records.

`running_salesforce` gives it on a free port. Its log of calls counts what no integration of ours
may ask for: DELETE is answered 405, a merge is not there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.crm.accounts import Account
from shared.crm.salesforce_connection import SOBJECTS
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from tests.fakes.faulty_crm import Fault, FaultyCrm, served
from tests.fakes.salesforce_api import Api
from tests.fakes.salesforce_org import RIGHTS, Org, User
from tests.fakes.salesforce_sign_in import TOKEN_PATH, Client, SignIn

READ_CLIENT, WRITE_CLIENT, SECRET = "read-client", "write-client", "client-secret"
# What the writing user may do beside reading everything.
WRITER_RIGHTS = {
    **dict.fromkeys(("Account", "Case", "Opportunity"), frozenset({"read", "update"})),
    **dict.fromkeys(("Contact", "Lead"), frozenset({"read", "create", "update"})),
    "Task": frozenset({"read", "create"}),
}
LOCKED = {"Contact.OwnerId", "Lead.OwnerId", "Opportunity.Amount", "Contact.Level__c"}


@dataclass
class Clock:
    """Moves only when told to, so that a second can be the same one."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))

    def __call__(self) -> datetime:
        return self.at

    def advance(self, seconds: float = 1) -> None:
        self.at += timedelta(seconds=seconds)


class _Door(FaultyCrm):
    """Faults meet calls of the API, not the sign-in."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == TOKEN_PATH:
            return self.app(environ, start_response)
        return super().__call__(environ, start_response)


@dataclass(kw_only=True)
class Salesforce:
    """Gives what the cases of `tests.crm.kit` ask of a fake."""

    org: Org
    api: Api
    door: FaultyCrm
    clock: Clock
    reader: User
    writer: User
    url: str = ""
    contact: str = ""
    deal: str = ""
    # How long the clients wait for an answer, in seconds.
    patience: float = 5.0
    secret: str = SECRET

    def value(self, ref: RecordRef, field: str) -> Scalar:
        value: Scalar = self.org.get(SOBJECTS[ref.type], ref.id)[field]
        return value

    def edit(self, ref: RecordRef, field: str, value: Scalar, *, by: str) -> None:
        """A person does it a second later than whatever was before."""
        self.clock.advance()
        sobject = self.org.schema[SOBJECTS[ref.type]]
        row = self.org.get(sobject.name, ref.id)
        self.org.change(sobject, row, {field: value}, self.org.user(by, default_rights=RIGHTS))

    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.door.calls if method != "GET"]

    def arrivals(self, kind: str) -> list[float]:
        return self.door.arrivals(lambda call: (call[0] == "GET") is (kind == "read"))

    def effects(self) -> int:
        return self.org.effects

    def deletes(self) -> int:
        """Every call that would have deleted or merged."""
        return sum(
            method == "DELETE" or "merge" in path.lower() for method, path in self.door.calls
        )

    def script(self, kind: str, *faults: Fault) -> None:
        methods = ("GET",) if kind == "read" else ("PATCH", "POST")
        queue = self.door.faults.get(methods[0]) or deque()
        queue.extend(faults)
        self.door.faults.update(dict.fromkeys(methods, queue))

    def account(self, client: str, **options: str) -> Account:
        """The account as a file of ours would give it."""
        given = {
            "url": self.url,
            "private_address": "yes",
            "client_id": client,
            "client_secret": self.secret,
            "limit_pause": "1",
            "own_user": self.writer.id,
            "timeout": str(self.patience),
            "region": "US",
        }
        return Account(name="salesforce", vendor="salesforce", options={**given, **options})

    def token(self, user: User) -> str:
        return self.api.sign_in.session(user)


@contextmanager
def running_salesforce(patience: float = 5.0, secret: str = SECRET) -> Iterator[Salesforce]:
    clock = Clock()
    org = Org(clock=clock)
    org.change_metadata()
    reader = org.user("Reader", is_integration=True)
    writer = org.user(
        "Countersign", is_integration=True, rights=dict(WRITER_RIGHTS), locked=set(LOCKED)
    )
    clients = {
        READ_CLIENT: Client(user=reader, secret=secret),
        WRITE_CLIENT: Client(user=writer, secret=secret),
    }
    api = Api(org=org, sign_in=SignIn(org=org, clients=clients))
    fake = Salesforce(
        org=org, api=api, door=_Door(api), clock=clock, reader=reader, writer=writer,
        patience=patience, secret=secret,
    )  # fmt: skip
    _fill(fake)
    with served(fake.door) as url:
        fake.url = api.sign_in.site = url
        yield fake


def _fill(fake: Salesforce) -> None:
    """A day ago, by a person."""
    fake.clock.advance(-86_400)
    put = fake.org.put
    account = put("Account", Name="Miller Roofing", Phone="+1 202 555 0100")
    fake.contact = put(
        "Contact", FirstName="Dana", LastName="Miller", Email="Dana.Miller@example.com", Phone="(202) 555-0101",
        Title="Buyer", AccountId=account, MailingCity="Olney", Tax_Number__c="12-345", Customer_Number__c="K-77",
    )  # fmt: skip
    put(
        "Contact",
        FirstName="Rosa",
        LastName="Delgado",
        Email="rosa@example.org",
        Phone="+44 20 7946 0103",
    )
    put(
        "Lead",
        FirstName="Sam",
        LastName="O'Neil",
        Company="50% Off_Shop",
        Email="sam@example.net",
        Status="Open",
    )
    fake.deal = put(
        "Opportunity", Name="New roof", StageName="Prospecting", CloseDate="2026-12-20", Amount=12000.5,
        AccountId=account, ContactId=fake.contact, Order_Number__c="R-1001",
    )  # fmt: skip
    put("OpportunityContactRole", OpportunityId=fake.deal, ContactId=fake.contact, IsPrimary=True)
    fake.clock.advance(86_400)
