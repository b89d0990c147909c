"""The double of Salesforce: recorded answers beside its own, and a client that is not ours on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce as SimpleSalesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceGeneralError,
    SalesforceMalformedRequest,
    SalesforceMoreThanOneRecord,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from services.writer.crm.salesforce import SalesforceWriter, _id_of, _judged
from shared.crm.salesforce import SalesforceReader
from shared.crm.salesforce_connection import codes, judged
from shared.crm.salesforce_metadata import field_of
from shared.crm.transport import Answer
from shared.domain.record import RecordRef
from shared.errors import CRMUnavailable, NotFound, Rejected
from tests.beside import beside
from tests.fakes.faulty_crm import status
from tests.fakes.salesforce import READ_CLIENT, WRITE_CLIENT, Salesforce, running_salesforce
from tests.fakes.salesforce_org import checked

HOST = "https://org.my.salesforce.com"


@pytest.fixture
def fake() -> Iterator[Salesforce]:
    with running_salesforce() as fake:
        yield fake


class Loopback(HTTPAdapter):
    """Sends what is meant for the vendor's host to the double."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: Any, **more: Any) -> Any:
        request.url = request.url.replace(HOST, self.url)
        return super().send(request, **more)


@pytest.fixture
def other(fake: Salesforce) -> Iterator[SimpleSalesforce]:
    """A client of somebody else, signed in as our writing user."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount(HOST, Loopback(fake.url))
        yield SimpleSalesforce(
            instance_url=HOST, session_id=fake.token(fake.writer), version="67.0", session=session
        )


def recorded(name: str) -> bytes:
    return beside(f"specs/fixtures/salesforce/{name}.json").read_bytes()


# Recorded answers, through the connector.


@pytest.mark.parametrize(
    ("name", "code", "meaning", "said"),
    [
        ("400-invalid-field", 400, Rejected, "No such column 'AccountNumer'"),
        ("400-invalid-field-for-insert-update", 400, Rejected, "MasterRecordId"),
        ("404-entity-is-deleted", 404, NotFound, "entity is deleted"),
        ("success-with-errors", 200, Rejected, "malformed id"),
        ("success-with-errors", 201, Rejected, "malformed id"),
        ("collections-all-or-none", 200, Rejected, "INVALID_FIELD"),
    ],
)
def test_a_recorded_refusal_is_one(
    fake: Salesforce, name: str, code: int, meaning: type[Exception], said: str
) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT), 5)
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT))
    dana = RecordRef(crm="salesforce", type="contacts", id=fake.contact)
    fault = status(code, recorded(name))
    fake.script("read", fault)
    with pytest.raises(meaning, match=said):
        reader.read(dana)
    fake.script("write", fault, fault)
    with pytest.raises(meaning, match=said):
        writer.update(dana, {"Title": "Chief"}, change_id="c")
    with pytest.raises(meaning, match=said):
        writer.create({"last_name": "Moss"}, change_id="c")


def test_a_recorded_creation_names_the_record() -> None:
    answer = Answer(status=201, data=json.loads(recorded("201-created")))
    assert judged(answer) is None
    assert _id_of(answer, {201}) == "001ak00000OQTieAAH"


def test_recorded_rows_are_read_and_their_page_is_followed_only_on_the_same_host(
    fake: Salesforce,
) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT), 5)
    page = json.loads(recorded("leads-list"))
    fake.script("read", status(200, json.dumps(page).encode()))
    rows = reader._ask("SELECT City FROM Lead")
    assert [row["City"] for row in rows] == [row["City"] for row in page["records"]]
    for path in (page["nextRecordsUrl"], "@evil.example.com/x/cursor-1"):
        more = {**page, "done": False, "nextRecordsUrl": path}
        fake.script("read", status(200, json.dumps(more).encode()))
        with pytest.raises(Rejected, match="query locator"):
            reader._ask("SELECT City FROM Lead")
        assert fake.door.calls[-1][1].startswith("/services/data/v67.0/query/")
    for path in ("@evil.example.com", "/query/a?b", "", "/services/data/v67.0/query/../x y"):
        more = {**page, "done": False, "nextRecordsUrl": path}
        fake.script("read", status(200, json.dumps(more).encode()))
        with pytest.raises((NotFound, Rejected)):
            reader._ask("SELECT City FROM Lead")


def test_recorded_descriptions_are_read() -> None:
    found = {
        row["name"]: field_of(row, may_update=may_update)
        for name in ("describe-account-sampled", "describe-custom-object")
        for row in json.loads(recorded(name))["compositeResponse"][0]["body"]["fields"]
        for may_update in (False, True)
    }
    assert {name for name, one in found.items() if one.read_only} == {
        "Id",
        "PhotoUrl",
        "CreatedById",
        "CreatedDate",
    }
    assert (found["MailBox__c"].type, found["MailBox__c"].field_class) == ("email", None)


def test_recorded_fields_without_rights_tell_what_the_crm_keeps() -> None:
    rows = json.loads(recorded("describe-account-sampled"))["compositeResponse"][0]["body"][
        "fields"
    ]
    reading = {
        row["name"]: field_of({**row, "updateable": False}, may_update=False) for row in rows
    }
    assert {name: one.read_only for name, one in reading.items()} == {
        "Name": False, "PhotoUrl": True, "CreatedById": True, "CreatedDate": True,
    }  # fmt: skip


def test_the_double_describes_with_the_keys_that_were_recorded(
    fake: Salesforce, other: SimpleSalesforce
) -> None:
    body = json.loads(recorded("describe-account-sampled"))["compositeResponse"][0]["body"]
    mine = other.Account.describe()
    assert set(mine["fields"][0]) <= {key for row in body["fields"] for key in row} | {"unique"}
    assert {"name", "queryable", "createable", "updateable", "deletable", "fields"} <= set(
        mine
    ) & set(body)


@pytest.mark.parametrize(
    "name", ["400-invalid-field", "400-invalid-field-for-insert-update", "404-entity-is-deleted"]
)
def test_the_double_refuses_in_the_words_that_were_recorded(
    fake: Salesforce, other: SimpleSalesforce, name: str
) -> None:
    [wanted] = json.loads(recorded(name))
    account = fake.org.put("Account", Name="Gone")
    if name == "404-entity-is-deleted":
        fake.org.delete("Account", account)
    values = {"AccountNumer": "1"} if name == "400-invalid-field" else {"MasterRecordId": account}
    with pytest.raises((SalesforceMalformedRequest, SalesforceResourceNotFound)) as caught:
        other.Account.update(account, values)
    [said] = caught.value.content
    assert said == wanted


# A client that is not ours.


def test_it_reads_rows_and_fields(fake: Salesforce, other: SimpleSalesforce) -> None:
    row = other.Contact.get(fake.contact)
    assert (row["attributes"]["type"], row["Name"], row["IsDeleted"]) == (
        "Contact",
        "Dana Miller",
        False,
    )
    assert other.Contact.get_by_custom_id("Customer_Number__c", "K-77")["Id"] == fake.contact
    with pytest.raises(SalesforceResourceNotFound):
        other.Contact.get("003000000000000AAA")


def test_it_asks_questions_page_after_page(fake: Salesforce, other: SimpleSalesforce) -> None:
    fake.api.page = 1
    found = other.query_all("SELECT Id, Name, Account.Name FROM Contact ORDER BY Name")
    assert [(row["Name"], row["Account"] and row["Account"]["Name"]) for row in found["records"]] == [
        ("Dana Miller", "Miller Roofing"), ("Rosa Delgado", None),
    ]  # fmt: skip
    assert other.query("SELECT COUNT() FROM Contact")["totalSize"] == 2
    first = other.query("SELECT Id FROM Contact")
    assert not first["done"]
    assert other.query_more(first["nextRecordsUrl"], identifier_is_url=True)["done"]
    assert other.query("SELECT Id FROM Contact", include_deleted=True)["totalSize"] == 2
    with pytest.raises(SalesforceMalformedRequest, match="MALFORMED_QUERY"):
        other.query("SELECT Id FROM Contact WHERE LastName = 'O'Neil'")


def test_it_writes_makes_and_upserts(fake: Salesforce, other: SimpleSalesforce) -> None:
    assert other.Contact.update(fake.contact, {"Title": "  Chief  ", "MailingCity": ""}) == 204
    row = fake.org.get("Contact", fake.contact)
    assert (row["Title"], row["MailingCity"], row["LastModifiedById"]) == (
        "Chief",
        None,
        fake.writer.id,
    )
    made = other.Lead.create({"LastName": "Fields", "Company": "x"})
    assert (made["success"], made["errors"], len(made["id"])) == (True, [], 18)
    assert made["id"][15:] == checked(made["id"][:15])
    key = "Countersign_Change__c/change-1"
    assert other.Lead.upsert(key, {"LastName": "Moss", "Company": "x"}) == 201
    assert other.Lead.upsert(key, {"LastName": "Moss", "Company": "y"}) == 200
    assert fake.effects() == 4
    fake.org.put("Lead", LastName="Twin", Company="x", Countersign_Change__c="change-1")
    with pytest.raises(SalesforceMoreThanOneRecord):
        other.Lead.upsert(key, {"LastName": "Moss", "Company": "z"})
    assert fake.effects() == 4


def test_its_condition_is_kept(fake: Salesforce, other: SimpleSalesforce) -> None:
    dana = RecordRef(crm="salesforce", type="contacts", id=fake.contact)
    stamp = SalesforceReader.of(fake.account(READ_CLIENT), 5)._client.get(
        f"/sobjects/Contact/{fake.contact}"
    ).headers["Last-Modified"]  # fmt: skip
    fake.edit(dana, "Title", "Head", by="Robin")
    for given, code in ((stamp, 412), ("yesterday", 400)):
        with pytest.raises(
            SalesforceGeneralError if code == 412 else SalesforceMalformedRequest
        ) as caught:
            other.Contact.update(
                fake.contact, {"Title": "Chief"}, headers={"If-Unmodified-Since": given}
            )
        assert caught.value.status == code
    assert (fake.value(dana, "Title"), fake.effects()) == ("Head", 0)


WRONG: list[tuple[str, Any, int, str]] = [
    ("Contact", {"Titel": "x"}, 400, "INVALID_FIELD"),
    ("Contact", {"Title": ["x"]}, 400, "JSON_PARSER_ERROR"),
    ("Contact", {"Title": 7}, 400, "JSON_PARSER_ERROR"),
    ("Contact", {"DoNotCall": "maybe"}, 400, "JSON_PARSER_ERROR"),
    ("Contact", {"Birthdate": "soon"}, 400, "JSON_PARSER_ERROR"),
    ("Contact", ["x"], 400, "JSON_PARSER_ERROR"),
    ("Contact", {"Id": "003"}, 400, "INVALID_FIELD"),
    ("Contact", {"LastName": ""}, 400, "REQUIRED_FIELD_MISSING"),
    ("Contact", {"Email": "nobody"}, 400, "INVALID_EMAIL_ADDRESS"),
    ("Contact", {"FirstName": "x" * 41}, 400, "STRING_TOO_LONG"),
    ("Contact", {"Channel__c": "Pigeon"}, 400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"),
    ("Contact", {"AccountId": "001000000000000AAA"}, 400, "INVALID_CROSS_REFERENCE_KEY"),
    ("Contact", {"Score__c": "1"}, 400, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    ("Contact", {"OwnerId": "005000000000000AAA"}, 400, "INVALID_FIELD_FOR_INSERT_UPDATE"),
    (
        "Contact",
        {"Customer_Number__c": "K-77", "Countersign_Change__c": "taken"},
        400,
        "DUPLICATE_VALUE",
    ),
]


@pytest.mark.parametrize(("object_", "values", "code", "said"), WRONG)
def test_a_wrong_body_is_refused_and_has_no_effect(
    fake: Salesforce, other: SimpleSalesforce, object_: str, values: Any, code: int, said: str
) -> None:
    fake.org.put("Contact", LastName="Else", Countersign_Change__c="taken")
    before = dict(fake.org.get(object_, fake.contact))
    with pytest.raises(SalesforceMalformedRequest) as caught:
        getattr(other, object_).update(fake.contact, values)
    assert (caught.value.status, caught.value.content[0]["errorCode"]) == (code, said)
    assert fake.org.get(object_, fake.contact) == before
    assert fake.effects() == 0


@pytest.mark.parametrize("body", [["x"], {"Nothing": "x"}, {"LastName": "x"}, {"Company": "x"}, {}])
def test_a_wrong_new_record_is_refused(
    fake: Salesforce, other: SimpleSalesforce, body: Any
) -> None:
    with pytest.raises(SalesforceMalformedRequest):
        other.Lead.create(body)
    with pytest.raises(SalesforceMalformedRequest):
        other.Lead.upsert("Countersign_Change__c/change-1", body)
    assert fake.effects() == 0


def test_nothing_is_deleted_and_every_try_is_counted(
    fake: Salesforce, other: SimpleSalesforce
) -> None:
    with pytest.raises(SalesforceGeneralError) as caught:
        other.Contact.delete(fake.contact)
    assert caught.value.status == 405
    with pytest.raises(SalesforceResourceNotFound):
        other.restful("sobjects/Contact/merge/a/b", method="POST", json={})
    assert fake.deletes() == 2
    assert fake.org.get("Contact", fake.contact)["IsDeleted"] is False


def test_rights_hold_for_objects_and_fields(fake: Salesforce, other: SimpleSalesforce) -> None:
    with pytest.raises(SalesforceRefusedRequest) as caught:
        other.Account.create({"Name": "New"})
    assert caught.value.content[0]["errorCode"] == "INSUFFICIENT_ACCESS_OR_READONLY"
    fake.writer.hidden.add("Contact.Title")
    assert "Title" not in other.Contact.get(fake.contact)
    assert "Title" not in {row["name"] for row in other.Contact.describe()["fields"]}
    with pytest.raises(SalesforceMalformedRequest, match="No such column"):
        other.query("SELECT Title FROM Contact")


def test_rows_of_a_collection_succeed_or_fail_one_by_one_or_all_together(
    fake: Salesforce, other: SimpleSalesforce
) -> None:
    lead = {"attributes": {"type": "Lead"}, "LastName": "Moss", "Company": "x"}
    wrong = {"attributes": {"type": "Contact"}, "unknownField_LastName": "x"}

    def send(*, is_all: bool) -> Any:
        body = {"allOrNone": is_all, "records": [lead, wrong]}
        return other.restful("composite/sobjects", method="POST", json=body)

    rolled, failed = send(is_all=True)
    assert codes(Answer(status=200, data=[rolled, failed])) == [
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INVALID_FIELD",
    ]
    assert [rolled, failed] == json.loads(recorded("collections-all-or-none"))
    assert fake.effects() == 0
    made, failed = send(is_all=False)
    assert (made["success"], failed["success"], fake.effects()) == (True, False, 1)
    assert isinstance(_judged(Answer(status=200, data=[made, failed])), Rejected)


def test_limits_are_counted_told_and_kept(fake: Salesforce, other: SimpleSalesforce) -> None:
    other.Contact.get(fake.contact)
    assert other.limits()["DailyApiRequests"] == {"Max": 15_000, "Remaining": 14_998}
    assert (other.api_usage["api-usage"].used, other.api_usage["api-usage"].total) == (2, 15_000)
    fake.api.limit = fake.api.used
    with pytest.raises(SalesforceRefusedRequest) as caught:
        other.Contact.get(fake.contact)
    assert caught.value.content[0]["errorCode"] == "REQUEST_LIMIT_EXCEEDED"
    assert isinstance(judged(Answer(status=403, data=caught.value.content)), CRMUnavailable)


def test_an_ended_session_is_told(fake: Salesforce, other: SimpleSalesforce) -> None:
    fake.api.sign_in.expire()
    with pytest.raises(SalesforceExpiredSession):
        other.Contact.get(fake.contact)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/services/data/v67.0/sobjects/Invoice/001", 404), ("GET", "/services/data/v99.0/limits", 404), ("GET", "/elsewhere", 404),
     ("PUT", "/services/data/v67.0/sobjects/Contact/{id}", 405), ("POST", "/services/data/v67.0/sobjects/Contact/{id}", 405),
     ("PATCH", "/services/data/v67.0/sobjects/Contact", 405), ("POST", "/services/data/v67.0/query", 404),
     ("GET", "/services/data/v67.0/sobjects/Contact/Nothing__c/1", 404), ("PATCH", "/services/data/v67.0/sobjects/Lead/City/x", 404)],
)  # fmt: skip
def test_an_unknown_path_or_method_is_refused(
    fake: Salesforce, method: str, path: str, code: int
) -> None:
    headers = {"Authorization": f"Bearer {fake.token(fake.writer)}"}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(
            method, fake.url + path.format(id=fake.contact), json={"LastName": "x"}, headers=headers, timeout=5
        )  # fmt: skip
        form = session.post(
            f"{fake.url}/services/data/v67.0/sobjects/Lead", data={"LastName": "x"}, headers=headers, timeout=5
        )  # fmt: skip
    assert answer.status_code == code
    assert answer.json()[0]["errorCode"]
    assert form.status_code == 415
    assert fake.effects() == 0
