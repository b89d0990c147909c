"""A Jobber on a real socket, with both apps let in and one client in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.writer.crm.jobber import JobberWriter
from shared.crm.accounts import Account
from shared.crm.grants import Grants, Pair
from shared.crm.jobber import CHANGE_FIELD, JobberReader
from shared.domain.record import RecordRef
from tests.databases import fresh_database
from tests.fakes.faulty_crm import served
from tests.fakes.jobber import READ_SCOPES, WRITE_SCOPES, FakeJobber, FaultyJobber, Jobber
from tests.fakes.token_endpoint import TokenEndpoint

CLIENTS = {"read": ("client-1", "client-secret-1"), "write": ("client-2", "client-secret-2")}
TIMEOUT = 5.0


@dataclass(kw_only=True)
class Running:
    url: str
    folder: Path
    jobber: Jobber
    faulty: FaultyJobber
    fake: FakeJobber
    dana: RecordRef
    grants: dict[str, Grants]

    def account(self, side: str, **options: str) -> Account:
        id_, secret = CLIENTS[side]
        given = {
            "url": self.url,
            "private_address": "yes",
            "client_id": id_,
            "client_secret": secret,
            "redirect_url": "https://example.com/back",
            "calls": "100000",
            **options,
        }
        return Account(name="jobber", vendor="jobber", options=given, grants=self.grants[side])

    def reader(self, timeout: float = TIMEOUT, **options: str) -> JobberReader:
        return JobberReader.of(self.account("read", **options), timeout)

    def writer(self, timeout: float = TIMEOUT, **options: str) -> JobberWriter:
        return JobberWriter(self.account("write", **options), timeout=timeout)


def dana(jobber: Jobber, **more: Any) -> RecordRef:
    """A client with two addresses and two numbers, as people write them."""
    emails = [
        jobber.entry(address="dana.home@example.com", primary=False),
        jobber.entry(address="dana.miller@example.com", primary=True),
    ]
    phones = [
        jobber.entry(number="(202) 555-0101", friendly="", primary=True, smsAllowed=True),
        jobber.entry(number="202.555.0199", friendly="", primary=False, smsAllowed=False),
    ]
    given = {
        "firstName": "Dana",
        "lastName": "Miller",
        "companyName": "Miller Bakery",
        "emails": emails,
        "phones": phones,
        "billingAddress": {"street1": "1 Mill Road", "city": "Rockville", "postalCode": "20850"},
        "labels": ["VIP"],
        "balance": 120.5,
    }
    return jobber.client(**{**given, **more})


@contextmanager
def running_jobber(folder: Path) -> Iterator[Running]:
    apps = {
        "read": TokenEndpoint(client=CLIENTS["read"], scope=READ_SCOPES),
        "write": TokenEndpoint(client=CLIENTS["write"], scope=WRITE_SCOPES),
    }
    jobber = Jobber(read_app=apps["read"], write_app=apps["write"])
    jobber.configuration(CHANGE_FIELD, "TEXT")
    faulty = FaultyJobber(jobber)
    grants = {
        side: Grants.at(fresh_database(folder, f"grants_{side}"), key * 32)
        for side, key in (("read", "ab"), ("write", "cd"))
    }
    for side, app in apps.items():
        grants[side].create_tables()
        # So long ago that its access token has ended.
        past = replace(grants[side], clock=lambda: datetime.now(UTC) - timedelta(hours=1))
        past.keep("jobber", Pair(access="", refresh=app.start(), seconds=0))
    ref = dana(jobber)
    with served(faulty) as url:
        yield Running(
            url=url,
            folder=folder,
            jobber=jobber,
            faulty=faulty,
            fake=FakeJobber(jobber, faulty),
            dana=ref,
            grants=grants,
        )
    for one in grants.values():
        one.engine.dispose()
