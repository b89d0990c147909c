"""HubSpot's connector over real HTTP against a stateful fake of that account."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.writer.crm import OutcomeUnknown
from services.writer.crm.hubspot import ALLOWED, HubSpotWriter
from services.writer.crm.registry import writer_of
from shared.crm import readers
from shared.crm.accounts import Account
from shared.crm.hubspot import HubSpotReader
from shared.crm.hubspot_access import Access, heed
from shared.crm.hubspot_fields import field_of, stages_of
from shared.crm.hubspot_objects import LONGEST_QUERY, rows_of
from shared.crm.pace import Pace
from shared.crm.transport import Answer
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, Conflict, CRMUnavailable, NotFound, Rejected
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import Fault, served, status
from tests.fakes.hubspot import (
    CLIENT,
    READ_KEY,
    READ_SCOPES,
    REFRESH,
    WRITE_APP,
    WRITE_KEY,
    WRITE_SCOPES,
    HubSpot,
)

FIXTURES = Path(__file__).parents[3] / "shared" / "specs" / "fixtures" / "hubspot"
DANA = RecordRef(crm="hubspot", type="contacts", id="51")
DEAL = RecordRef(crm="hubspot", type="deals", id="7001")
OPTIONS = {
    "private_address": "yes",
    "calls_per_10_seconds": "100000",
    "searches_per_second": "1000",
    "share": "1",
    "mark_property": "countersign_change",
    "own_app": WRITE_APP,
}


@pytest.fixture
def crm() -> Iterator[HubSpot]:
    crm = HubSpot()
    crm.add(
        "contacts",
        {"firstname": "Dana", "lastname": "Miller", "email": "dana.miller@example.com",
         "phone": "(202) 555-0101", "city": "Rockville", "company": "Miller Bakery",
         "customer_number": "MB-0001", "lifecyclestage": "customer", "passport": "X1"},
        id_=DANA.id,
    )  # fmt: skip
    crm.add("contacts", {"firstname": "Jon", "lastname": "Weber", "company": "Weber Roofs Ltd"})
    crm.add("deals", {"dealname": "Oven", "dealstage": "closedwon", "amount": "1200.50",
                      "order_number": "MR-10234"}, id_=DEAL.id)  # fmt: skip
    crm.link("contacts", DANA.id, "deals", DEAL.id)
    with served(crm.faulty) as crm.url:  # type: ignore[attr-defined]
        yield crm


def account(crm: Any, **more: str) -> Account:
    return Account(name="hubspot", vendor="hubspot", options={"url": crm.url, **OPTIONS, **more})


def reader_of(crm: HubSpot, **more: str) -> HubSpotReader:
    return HubSpotReader(account(crm, **{"token": READ_KEY, **more}), timeout=0.5)


def hubspot_writer(crm: HubSpot, **more: str) -> HubSpotWriter:
    return HubSpotWriter(account(crm, **{"token": WRITE_KEY, **more}), timeout=0.5)


@pytest.fixture
def reader(crm: HubSpot) -> HubSpotReader:
    return reader_of(crm)


@pytest.fixture
def writer(crm: HubSpot) -> HubSpotWriter:
    return hubspot_writer(crm)


RATE = (
    b'{"status":"error","message":"limit","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}'
)


class TestHubSpot(ConnectorCases):
    @pytest.fixture
    def stage(self, crm: HubSpot, reader: HubSpotReader, writer: HubSpotWriter) -> Stage:
        return Stage(
            reader=reader,
            writer=writer,
            fake=crm,
            ref=DANA,
            field="firstname",
            other="city",
            email="dana.miller@example.com",
            phone="+1 202-555-0101",
            closed={
                "money": ("deals", "amount"),
                "owner": ("contacts", "hubspot_owner_id"),
                "consent": ("contacts", "hs_legal_basis"),
                "stage": ("contacts", "lifecyclestage"),
                "sensitive": ("contacts", "passport"),
                "read_only": ("contacts", "createdate"),
            },
            lead={"first_name": "Lee", "last_name": "Fields", "email": "lee@example.com"},
            too_many=status(429, RATE, X_HubSpot_RateLimit_Interval_Milliseconds="1000"),
        )
