"""No value ever becomes a part of a question, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.writer.crm.salesforce import SalesforceWriter
from shared.crm.salesforce import SalesforceReader
from shared.crm.salesforce_soql import any_of, beginning, containing, instant, moment, quoted
from tests.fakes.salesforce import READ_CLIENT, WRITE_CLIENT, Salesforce, running_salesforce
from tests.fakes.salesforce_literals import Refused
from tests.fakes.salesforce_org import Org
from tests.fakes.salesforce_soql import answer

HOSTILE = [
    "' OR Id != '",
    "\\' OR Id != '",
    "\\\\' OR LastName LIKE '%",
    "x' OR (Name LIKE '%') OR Name = 'y",
    "%",
    "_",
    "%@example.com",
    "\\%",
    "'",
    "\\",
    '"',
    "a\nb",
    "\r\n' OR Id != null",
    "\t\b\f\x00\x1f\x7f",
    "ʼ＇′ OR Id != ",
    "\u2028\u2029\ufeff",
    "Zoë Ångström 李 🦆",
    "\ud800",
    "\\u0027 OR Id != \\u0027",
    "') LIMIT 1 --",
]


@pytest.fixture(scope="module")
def fake() -> Iterator[Salesforce]:
    with running_salesforce() as fake:
        yield fake


def names(org: Org, where: str) -> list[str]:
    found = answer(f"SELECT Name FROM Account WHERE {where}", View(org))
    return sorted(row["Name"] for row in found.rows)


class View:
    """The whole organisation, as nobody in particular."""

    def __init__(self, org: Org) -> None:
        self.sobject, self.rows, self.row, self.now = org.sobject, org.rows, org.row, org.now

    def visible(self, sobject: object) -> object:
        return getattr(sobject, "fields")  # noqa: B009 - whatever the double calls an object


@given(
    held=st.lists(st.text(max_size=12), min_size=1, max_size=4, unique=True),
    asked=st.text(max_size=12),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_quoted_text_finds_exactly_itself(held: list[str], asked: str) -> None:
    org = Org()
    for name in (*held, asked):
        org.put("Account", Name=name)
    same = [one for one in (*held, asked) if one.casefold() == asked.casefold()]
    if asked:
        assert names(org, f"Name = {quoted(asked)}") == sorted(same)
        assert names(org, f"Name IN {any_of([asked])}") == sorted(same)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_finds_exactly_itself(text: str) -> None:
    org = Org()
    for name in ("Miller", "Delgado", text):
        org.put("Account", Name=name)
    assert names(org, f"Name = {quoted(text)}") == [text]
    assert names(org, f"Name LIKE {beginning(text)}") == [text]
    assert names(org, f"Name LIKE {containing([text])}") == [text]


def test_wildcards_are_ours_alone() -> None:
    org = Org()
    for name in ("50% off", "500 off", "a_b", "axb"):
        org.put("Account", Name=name)
    assert names(org, f"Name LIKE {beginning('50%')}") == ["50% off"]
    assert names(org, f"Name LIKE {containing(['_'])}") == ["a_b"]
    assert names(org, f"Name LIKE {containing('50')}") == ["50% off", "500 off"]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_search_is_widened_by_what_it_looks_for(fake: Salesforce, text: str) -> None:
    more = {"external_id_field": "Customer_Number__c", "order_number_field": "Order_Number__c"}
    reader = SalesforceReader.of(fake.account(READ_CLIENT, **more), 5)
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT))
    assert reader.search(email=f"{text}@example.com") == []
    assert reader.search(phone=f"{text}2025550", external_id=text, order_number=text) == []
    assert reader.candidates(text) == []
    assert reader.candidates(f"{text}@") == []
    assert reader.duplicates({"last_name": text, "company": text, "email": text}) == []
    assert writer.find(text) is None
    marked = SalesforceWriter.of(fake.account(WRITE_CLIENT, mark_field="Countersign_Change__c"))
    assert marked.find(text) is None


def test_times_stand_in_utc_without_quotes() -> None:
    at = datetime(2026, 11, 28, 9, 0, tzinfo=timezone(timedelta(hours=2)))
    assert moment(at) == "2026-11-28T07:00:00Z"
    assert instant("2026-11-28T07:00:00.000+0000") == datetime(2026, 11, 28, 7, tzinfo=UTC)
    for text in ("2026-11-28T07:00:00", "yesterday", ""):
        with pytest.raises(ValueError, match=r".*"):
            instant(text)


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Id FROM Account WHERE Name = 'a' AND Name = 'b' OR Name = 'c'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'it's'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 'a\\d'", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = 7", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE CreatedDate > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Description = 'a'", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Id = 'abc'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Nothing FROM Account", "INVALID_FIELD"),
        ("SELECT Id, Id FROM Account", "INVALID_FIELD"),
        ("SELECT Nobody.Name FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Invoice", "INVALID_TYPE"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account; DELETE", "MALFORMED_QUERY"),
        ("DELETE FROM Account", "MALFORMED_QUERY"),
        ("", "MALFORMED_QUERY"),
    ],
)
def test_the_double_is_as_strict_as_the_crm(soql: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        answer(soql, View(Org()))
    assert caught.value.code == code
