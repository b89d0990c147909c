"""A list of a CRM that does not end is not read for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.writer.crm.hubspot import HubSpotWriter
from services.writer.crm.salesforce import MOST_PAGES as MOST_OF_SALESFORCE
from services.writer.crm.salesforce import SalesforceWriter
from shared.crm.accounts import Account
from shared.crm.hubspot import HubSpotReader
from shared.crm.hubspot_objects import MOST_PAGES
from shared.domain.record import RecordRef
from shared.errors import CRMUnavailable, Rejected
from tests.fakes.faulty_crm import Fault, served, status
from tests.fakes.hubspot import LINK_PAGE, READ_KEY, WRITE_KEY, HubSpot
from tests.fakes.salesforce import WRITE_CLIENT, running_salesforce

DANA = RecordRef(crm="hubspot", type="contacts", id="51")


@contextmanager
def hubspot() -> Iterator[tuple[HubSpot, HubSpotReader, HubSpotWriter]]:
    crm = HubSpot()
    crm.add("contacts", {"firstname": "Dana", "phone": "(202) 555-0101"}, id_=DANA.id)
    with served(crm.faulty) as url:
        options = {
            "url": url,
            "private_address": "yes",
            "calls_per_10_seconds": "100000",
            "searches_per_second": "100000",
            "share": "1",
        }
        reader = Account(name="hubspot", vendor="hubspot", options={**options, "token": READ_KEY})
        writer = Account(name="hubspot", vendor="hubspot", options={**options, "token": WRITE_KEY})
        yield crm, HubSpotReader(reader, timeout=5), HubSpotWriter(writer, timeout=5)


def endless(data: dict[str, Any]) -> list[Fault]:
    return [status(200, json.dumps(data).encode())] * 3 * MOST_PAGES


def test_a_search_of_hubspots_ends_where_hubspot_ends_it() -> None:
    with hubspot() as (crm, reader, _):
        reader.fields("contacts")
        before = len(crm.arrivals("read"))
        crm.script("read", *endless({"results": [], "paging": {"next": {"after": "100"}}}))
        with pytest.raises(Rejected, match="no more than 10000"):
            reader.search(phone="+1 202 555 0101")
        assert len(crm.arrivals("read")) - before == MOST_PAGES


def test_a_sample_of_hubspot_asks_for_no_page_more_than_it_needs() -> None:
    with hubspot() as (crm, reader, _):
        for number in range(120):
            crm.records["contacts"][str(number)] = crm.records["contacts"][DANA.id]
        crm.catch_up()
        reader.fields("contacts")
        before = len(crm.arrivals("read"))
        assert len(reader.sample("contacts", 100)) == 100
        assert len(crm.arrivals("read")) - before == 1


def test_of_very_many_people_of_hubspot_some_stay_without_a_name() -> None:
    with hubspot() as (crm, reader, _):
        crm.people = {str(900 + number): f"Person{number}" for number in range(MOST_PAGES + 20)}
        for name in ("Person5", f"Person{MOST_PAGES + 5}"):
            crm.edit(DANA, "firstname", name, by=name)
        newest, older = reader.field_changes(DANA)[:2]
        assert "Person5" in older.by
        assert newest.by == f"user {900 + MOST_PAGES + 5}"


def test_links_of_hubspots_that_do_not_end_are_given_up() -> None:
    with hubspot() as (crm, reader, writer):
        many = [str(7000 + number) for number in range((MOST_PAGES + 2) * LINK_PAGE)]
        for kind in ("deals", "notes"):
            crm.links["contacts", DANA.id, kind] = many
        with pytest.raises(CRMUnavailable, match="linked"):
            reader.history(DANA)
        with pytest.raises(CRMUnavailable, match="more notes"):
            writer.add_note(DANA, "Called.", change_id="change-1")
        assert crm.effects() == 0


def test_an_answer_of_salesforces_without_an_end_is_given_up_by_the_writer() -> None:
    with running_salesforce() as fake:
        writer = SalesforceWriter.of(fake.account(WRITE_CLIENT))
        page = {"records": [], "done": False, "nextRecordsUrl": "/services/data/v67.0/query/01g-1"}
        before = len(fake.arrivals("read"))
        fake.script("read", *endless(page))
        with pytest.raises(CRMUnavailable, match="no end"):
            writer.find("change-1")
        assert len(fake.arrivals("read")) - before <= MOST_OF_SALESFORCE + 3
