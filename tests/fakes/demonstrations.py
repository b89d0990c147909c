"""Each vendor's double with sample people, ready for `countersign demo --crm`: one line a vendor."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.fakes import hubspot, jobber, pipedrive, salesforce, servicetitan
from tests.fakes.faulty_crm import FaultyCrm, served
from tests.fakes.jobber_fixtures import running_jobber
from tests.fakes.pipedrive_stage import filled

ANYWHERE = {"private_address": "yes"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    first: str
    last: str
    email: str
    phone: str
    company: str

    @property
    def name(self) -> str:
        return f"{self.first} {self.last}"


PEOPLE = (
    Sample(
        first="Dana",
        last="Miller",
        email="dana.miller@example.com",
        phone="(202) 555-0101",
        company="Miller Bakery",
    ),
    Sample(
        first="Rosa",
        last="Delgado",
        email="rosa.delgado@example.com",
        phone="(202) 555-0102",
        company="Delgado Homes",
    ),
    Sample(
        first="Grace",
        last="Whitfield",
        email="grace.whitfield@example.org",
        phone="(202) 555-0103",
        company="Whitfield & Co",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Running:
    """One account of a vendor on a socket: the options of both sides.

    ``grants`` are by side the refresh tokens of apps that were let in.
    """

    read: Mapping[str, str]
    write: Mapping[str, str]
    grants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """``run`` makes an account; its name makes its secrets its own.

    ``people`` and ``fields`` are the object type of people and those of its fields that the policy
    opens. ``has_test_account``: a second account of the same vendor can stand in; else the demo CRM
    does. ``remarks`` say what this vendor cannot do.
    """

    run: Callable[[str], AbstractContextManager[Running]]
    people: str
    fields: Mapping[str, str]
    has_test_account: bool = False
    remarks: tuple[str, ...] = ()


@contextmanager
def _hubspot(name: str) -> Iterator[Running]:
    crm = hubspot.HubSpot()
    scopes = frozenset({"crm.objects.contacts.read", "crm.objects.contacts.write"})
    read, write = f"{name}-reads", f"{name}-writes"
    crm.keys[read] = crm.keys[hubspot.READ_KEY]
    crm.keys[write] = hubspot.Key(app=hubspot.WRITE_APP, scopes=scopes)
    for one in PEOPLE:
        crm.add(
            "contacts",
            {"firstname": one.first, "lastname": one.last, "email": one.email,
             "phone": one.phone, "company": one.company},
        )  # fmt: skip
    with served(crm.faulty) as url:
        given = {**ANYWHERE, "url": url, "mark_property": "countersign_change"}
        yield Running(read={**given, "token": read}, write={**given, "token": write})


@contextmanager
def _salesforce(name: str) -> Iterator[Running]:
    with salesforce.running_salesforce(secret=f"{name} secret") as crm:
        crm.writer.rights = {
            "Contact": frozenset({"read", "create", "update"}),
            "Lead": frozenset({"read", "create"}),
            "Task": frozenset({"read", "create"}),
        }
        crm.org.clock = lambda: datetime.now(UTC).replace(microsecond=0)
        crm.org.records["Contact"].clear()
        for one in PEOPLE:
            crm.org.put(
                "Contact",
                FirstName=one.first,
                LastName=one.last,
                Email=one.email,
                Phone=one.phone,
            )
        yield Running(
            read=crm.account(salesforce.READ_CLIENT).options,
            write=crm.account(salesforce.WRITE_CLIENT, create_as="contacts").options,
        )


@contextmanager
def _pipedrive(name: str) -> Iterator[Running]:
    crm, refresh = filled(), {side: f"{name}-{side}" for side in ("read", "write")}
    crm.further[refresh["read"]] = "base contacts:read recents:read search:read"
    crm.further[refresh["write"]] = "base contacts:full search:read"
    for one in PEOPLE:
        crm.add(
            "persons",
            name=one.name,
            emails=[{"value": one.email, "primary": True, "label": "work"}],
            phones=[{"value": one.phone, "primary": True, "label": "work"}],
        )
    id_, secret = pipedrive.CLIENT
    with served(crm) as url:
        crm.api_domain = url
        given = {
            **ANYWHERE,
            "token_url": f"{url}/oauth/token",
            "client_id": id_,
            "client_secret": secret,
            "mark_field": pipedrive.MARK,
            "region": "US",
        }
        yield Running(
            read={**given, "refresh_token": refresh["read"]},
            write={**given, "refresh_token": refresh["write"]},
        )


@contextmanager
def _jobber(name: str) -> Iterator[Running]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(running_jobber(folder))
        crm = running.jobber
        crm.write_app.scope = f"{jobber.READ_SCOPES} write_clients"
        for one in PEOPLE[1:]:  # The first is there.
            crm.client(
                firstName=one.first,
                lastName=one.last,
                companyName=one.company,
                emails=[crm.entry(address=one.email, primary=True)],
                phones=[crm.entry(number=one.phone, friendly="", primary=True, smsAllowed=True)],
                billingAddress={"street1": "1 Mill Road", "city": "Olney", "postalCode": "20832"},
            )
        yield Running(
            read=running.account("read").options,
            write=running.account("write").options,
            grants={"read": str(crm.read_app.alive), "write": str(crm.write_app.alive)},
        )


@contextmanager
def _servicetitan(name: str) -> Iterator[Running]:
    crm = servicetitan.ServiceTitan()
    crm.scopes["writer"] = f"{servicetitan.READ_SCOPES} tn.crm.customers:w tn.crm.bookings:w"
    for one in PEOPLE:
        crm.customer(one.name, ("Email", one.email), ("Phone", one.phone))
    with served(FaultyCrm(crm)) as url, served(crm.auth) as auth_url:
        given = {
            **ANYWHERE,
            "url": url,
            "auth_url": auth_url,
            "tenant_id": servicetitan.TENANT,
            "client_secret": "secret",
            "app_key": servicetitan.APP_KEY,
            "booking_provider": "77",
        }
        yield Running(read={**given, "client_id": "reader"}, write={**given, "client_id": "writer"})


DEMONSTRATIONS: Mapping[str, Demonstration] = {
    "hubspot": Demonstration(
        run=_hubspot,
        people="contacts",
        fields={"phone": "phone", "email": "email", "jobtitle": "text", "city": "text"},
    ),
    "jobber": Demonstration(
        run=_jobber,
        people="clients",
        fields={"phone": "phone", "email": "email", "billingAddress.city": "text"},
        remarks=(
            "Jobber refuses no stale write and keeps no history of fields: the card says so.",
        ),
    ),
    "pipedrive": Demonstration(
        run=_pipedrive,
        people="persons",
        fields={"phones": "phone", "emails": "email", "job_title": "text"},
        has_test_account=True,
        remarks=("Pipedrive refuses no stale write: the card says so.",),
    ),
    "salesforce": Demonstration(
        run=_salesforce,
        people="contacts",
        fields={"Phone": "phone", "Email": "email", "Title": "text", "MailingCity": "text"},
        has_test_account=True,
    ),
    "servicetitan": Demonstration(
        run=_servicetitan,
        people="customers",
        fields={"phone": "phone", "email": "email"},
        remarks=(
            "ServiceTitan refuses no stale write and keeps no history of fields: the card says so.",
            "ServiceTitan takes no address from outside and has no job titles: no card has them.",
            "A new person becomes a booking there once a draft is promoted.",
        ),
    ),
}
