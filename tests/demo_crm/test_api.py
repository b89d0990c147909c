from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.crm_fixtures import READ, WRITE, Crm, running_crm

DANA = "/api/contacts/1001"
WRITES = [
    ("PATCH", DANA, {"fields": {"city": "Olney"}, "change_id": "c"}),
    ("PATCH", "/api/deals/5001", {"fields": {"next_step": "Call"}, "change_id": "c"}),
    ("POST", "/api/notes", {"type": "contacts", "id": "1001", "text": "t", "change_id": "c"}),
    ("POST", "/api/drafts", {"type": "contacts", "fields": {"last_name": "X"}, "change_id": "c"}),
    ("POST", "/api/drafts/9001/promote", {"change_id": "c"}),
    ("POST", "/api/drafts/9001/discard", {"change_id": "c"}),
]


def propose(crm: Crm, change_id: str = "draft-1", **fields: Any) -> dict[str, Any]:
    body = {"type": "contacts", "fields": fields, "change_id": change_id}
    answer = crm.call("POST", "/api/drafts", body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_record_comes_with_version_title_and_fields(crm: Crm) -> None:
    record = crm.get(DANA)
    assert (record["title"], record["version"], record["changed_by"]) == (
        "Dana Miller",
        1,
        "Import",
    )
    assert record["fields"]["phone"] == "+12025550101"
    assert crm.get("/api/deals/5001")["fields"]["order_number"] == "MR-10234"


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", f"Basic {WRITE}", f"Bearer {READ}x", "Bearer "]
)
def test_no_call_works_without_a_known_token(crm: Crm, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in [("GET", DANA), ("GET", "/api/me"), *[(m, p) for m, p, _ in WRITES]]:
        answer = crm.session.request(method, crm.url + path, headers=headers, timeout=5)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_the_read_token_is_refused_on_every_write_path(
    crm: Crm, method: str, path: str, body: Any
) -> None:
    propose(crm, last_name="Fields")
    before = crm.app.store.changes(author="Countersign")
    answer = crm.call(method, path, body, token=READ)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
    assert crm.app.store.changes(author="Countersign") == before


def test_me_tells_the_rights_of_each_token(crm: Crm) -> None:
    assert not any(scope.endswith(":write") for scope in crm.get("/api/me", READ)["scopes"])
    mine = crm.get("/api/me", WRITE)
    assert "contacts:write" in mine["scopes"]
    assert "phone" in mine["writable"]["contacts"]
    assert not {"owner", "credit_limit", "marketing_consent"} & set(mine["writable"]["contacts"])


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", DANA), ("PUT", DANA), ("POST", DANA), ("DELETE", "/api/drafts/9001"), ("POST", f"{DANA}/merge"),
     ("POST", "/api/contacts/merge"), ("POST", "/api/contacts"), ("PATCH", "/api/drafts/9001")],
)  # fmt: skip
def test_no_delete_merge_or_direct_create_exists(crm: Crm, method: str, path: str) -> None:
    assert crm.call(method, path, {"change_id": "c"}).status_code in {404, 405}


def test_a_change_is_kept_with_who_what_and_why(crm: Crm) -> None:
    changed = crm.patch(DANA, {"phone": "+12025550166", "city": None}, "run-7").json()
    assert (changed["version"], changed["changed_by"], changed["change_id"]) == (
        2,
        "Countersign",
        "run-7",
    )
    rows = [row for row in crm.get(f"{DANA}/history")["changes"] if row["change_id"] == "run-7"]
    assert {(row["field"], row["old"], row["new"]) for row in rows} == {
        ("phone", "+12025550101", "+12025550166"),
        ("city", "Rockville", None),
    }
    assert {row["author"] for row in rows} == {"Countersign"}


def test_a_repeated_change_is_seen_in_the_history(crm: Crm) -> None:
    for _ in range(2):
        crm.patch(DANA, {"city": "Olney"}, "run-1")
    assert crm.get(DANA)["version"] == 3
    assert len(crm.get("/api/changes?change_id=run-1")["changes"]) == 2


def test_where_switched_on_a_repeated_change_has_no_second_effect(tmp_path: Path) -> None:
    with running_crm(tmp_path, idempotent=True) as crm:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: propose(crm, "run-1", last_name="Once"), range(16)))
        assert {answer["id"] for answer in answers} == {"9001"}
        assert crm.patch(DANA, {"city": "A"}, "run-1").json()["version"] == 2
        assert crm.patch(DANA, {"city": "B"}, "run-1").json()["fields"]["city"] == "A"


def test_a_condition_that_no_longer_holds_is_refused(crm: Crm) -> None:
    assert crm.patch(DANA, {"city": "A"}, headers={"If-Match": '"1"'}).status_code == 200
    refused = crm.patch(DANA, {"city": "B"}, headers={"If-Match": '"1"'})
    assert (refused.status_code, refused.json()["error"]["code"]) == (412, "version_mismatch")
    assert crm.get(DANA)["fields"]["city"] == "A"
    for odd in ("1", "*", 'W/"2"', '"x"'):
        assert crm.patch(DANA, {"city": "C"}, headers={"If-Match": odd}).status_code == 400


def test_of_many_conditional_writes_at_once_exactly_one_wins(crm: Crm) -> None:
    def write(number: int) -> int:
        return crm.patch(
            DANA, {"city": f"City {number}"}, f"c{number}", headers={"If-Match": '"1"'}
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(24))) == [200] + [412] * 23
    assert crm.get(DANA)["version"] == 2


def test_writes_of_many_threads_are_all_kept(crm: Crm) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: crm.patch(DANA, {"city": f"{number}"}, f"c{number}"), range(120)
            )
        )
    assert crm.get(DANA)["version"] == 121
    rows = [row for row in crm.get(f"{DANA}/history")["changes"] if row["field"] == "city"]
    # Each line starts from what the one before it left: no update was lost.
    assert all(newer["old"] == older["new"] for newer, older in itertools.pairwise(rows))
    assert len(rows) == 120


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"shoe_size": "44"}, 422, "unknown_field"),
        ({"external_id": "x"}, 422, "read_only"),
        ({"updated_at": "2026-01-01"}, 422, "read_only"),
        ({"credit_limit": "9.00"}, 403, "field_not_permitted"),
        ({"owner": "Tom Okafor"}, 403, "field_not_permitted"),
        ({"marketing_consent": True}, 403, "field_not_permitted"),
        ({"date_of_birth": "1990-01-01"}, 403, "field_not_permitted"),
        ({"city": 7}, 422, "wrong_type"),
        ({"city": True}, 422, "wrong_type"),
        ({"city": {"a": 1}}, 422, "wrong_type"),
        ({"city": "x" * 81}, 422, "not_valid"),
        ({"last_name": None}, 422, "required"),
        ({"last_name": "  "}, 422, "not_valid"),
        ({"email": "nobody"}, 422, "not_valid"),
        ({"phone": "call me"}, 422, "not_valid"),
        ({"last_contacted": "2026-02-30"}, 422, "not_valid"),
        ({"last_contacted": "20260203"}, 422, "not_valid"),
        ({"preferred_channel": "fax"}, 422, "not_valid"),
        ({}, 422, "no_fields"),
    ],
)  # fmt: skip
def test_a_value_that_may_not_be_written_refuses_the_whole_change(
    crm: Crm, fields: dict[str, Any], status: int, code: str
) -> None:
    answer = crm.patch(DANA, {**fields, **({"country": "Elsewhere"} if fields else {})})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert crm.get(DANA)["version"] == 1


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"fields":{"city":"\\ud800"},"change_id":"c"}', b"[" * 100_000,
     b'{"fields":{"city":NaN},"change_id":"c"}', b'{"fields":{"city":"x"}}', b'{"fields":{"city":"x"},"change_id":""}',
     b'{"fields":[],"change_id":"c"}', b" " * 300_000],
)  # fmt: skip
def test_a_hostile_body_is_a_clear_refusal_and_never_a_fault(crm: Crm, raw: bytes) -> None:
    headers = {"Authorization": f"Bearer {WRITE}"}
    answer = crm.session.patch(crm.url + DANA, data=raw, headers=headers, timeout=5)
    assert 400 <= answer.status_code < 500
    assert set(answer.json()["error"]) == {"code", "message"}
    assert crm.get(DANA)["version"] == 1


def ids(crm: Crm, query: str) -> list[str]:
    return [row["id"] for row in crm.get(f"/api/search?{query}")["results"]]


def test_search_finds_by_address_phone_external_id_and_order_number(crm: Crm) -> None:
    assert ids(crm, "email=Dana.MILLER@example.com") == ["1001"]
    assert ids(crm, "phone=%2B1 (202) 555-0101") == ["1001"]
    assert ids(crm, "phone=%2B12025550110") == ["1016", "1017"]
    assert ids(crm, "external_id=MB-0003") == ["1003"]
    assert ids(crm, "order_number=MR-10234") == ["5001"]
    assert ids(crm, "email=nobody@example.com") == []


def test_search_follows_a_change_at_once(crm: Crm) -> None:
    crm.patch(DANA, {"email": "New.Address@example.com"})
    assert ids(crm, "email=new.address@EXAMPLE.com") == ["1001"]
    assert ids(crm, "email=dana.miller@example.com") == []


@pytest.mark.parametrize("query", ["", "email=", "email=a@example.com&phone=%2B1", "name=Dana"])
def test_search_wants_exactly_one_key(crm: Crm, query: str) -> None:
    assert crm.call("GET", f"/api/search?{query}").status_code == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("email=DANA.miller@example.com&last_name=Else", [("1001", "same e-mail address")]),
        ("phone=%2B1 202 555 0103", [("1003", "same phone number")]),
        ("first_name=Juergen&last_name=Kohler&company=Kohler Holzbau", [("1023", "similar name and company: Köhler Holzbau")]),
        ("first_name=John&last_name=Hartley&company=Hartley and Sons", [("1002", "similar name and company: Hartley & Sons Builders")]),
        ("first_name=Jon&last_name=Hartley&company=Quite Another Firm", []),
        ("first_name=Anna&last_name=Nobody&company=Miller Bakery", []),
    ],
)  # fmt: skip
def test_likely_duplicates_are_named_with_the_reason(
    crm: Crm, query: str, found: list[tuple[str, str]]
) -> None:
    rows = crm.get(f"/api/duplicates?{query}")["results"]
    assert [(row["id"], row["reason"]) for row in rows] == found


def test_a_draft_is_no_contact_until_it_is_promoted(crm: Crm) -> None:
    draft = propose(crm, "run-1", first_name="Noah", last_name="Fields", email="noah@example.com")
    assert (draft["type"], draft["fields"]["draft_state"], draft["change_id"]) == (
        "drafts",
        "open",
        "run-1",
    )
    assert ids(crm, "email=noah@example.com") == []
    assert [row["id"] for row in crm.get("/api/duplicates?email=noah@example.com")["results"]] == [
        "9001"
    ]

    answer = crm.call("POST", "/api/drafts/9001/promote", {"change_id": "run-2"}).json()
    assert answer["draft"]["fields"]["promoted_to"] == answer["contact"]["id"] == "1026"
    assert ids(crm, "email=noah@example.com") == ["1026"]
    assert answer["contact"]["change_id"] == "run-2"
    for act in ("promote", "discard"):
        again = crm.call("POST", f"/api/drafts/9001/{act}", {"change_id": "run-3"})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "draft_closed")


def test_a_discarded_draft_stays_readable_and_closed(crm: Crm) -> None:
    propose(crm, last_name="Fields")
    crm.call("POST", "/api/drafts/9001/discard", {"change_id": "run-2"})
    assert crm.get("/api/drafts/9001")["fields"]["draft_state"] == "discarded"
    assert crm.call("POST", "/api/drafts/9001/promote", {"change_id": "r"}).status_code == 409
    assert len(crm.app.store.all("contacts")) == 25


def test_of_many_promotions_at_once_one_contact_comes(crm: Crm) -> None:
    propose(crm, last_name="Fields")
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda n: (
                crm.call("POST", "/api/drafts/9001/promote", {"change_id": f"{n}"}).status_code
            ),
            range(16),
        )
    assert sorted(answers) == [200] + [409] * 15
    assert len(crm.app.store.all("contacts")) == 26


def test_a_draft_cannot_bring_money_owner_or_state(crm: Crm) -> None:
    for fields in (
        {"credit_limit": "1.00"},
        {"owner": "Tom Okafor"},
        {"draft_state": "promoted"},
        {},
        {"first_name": "X"},
    ):
        body = {"type": "contacts", "fields": fields, "change_id": "c"}
        assert crm.call("POST", "/api/drafts", body).status_code in {403, 422}
    assert crm.get("/api/drafts")["results"] == []


def test_notes_stand_in_the_history_with_their_change(crm: Crm) -> None:
    body = {"type": "deals", "id": "5001", "text": "Wants March.", "change_id": "run-9"}
    assert crm.call("POST", "/api/notes", body).status_code == 201
    newest = crm.get("/api/deals/5001/history")["notes"][0]
    assert (newest["text"], newest["author"], newest["change_id"]) == (
        "Wants March.",
        "Countersign",
        "run-9",
    )
    for wrong in (
        {**body, "id": "1"},
        {**body, "type": "drafts"},
        {**body, "text": " "},
        {**body, "text": 5},
    ):
        assert crm.call("POST", "/api/notes", wrong).status_code in {404, 422}


def test_changes_of_the_integration_are_listed_since_a_time_and_page_by_page(crm: Crm) -> None:
    crm.patch(DANA, {"city": "A"}, "run-1")
    first = crm.get("/api/changes")["changes"]
    assert [row["change_id"] for row in first] == ["run-1"]
    crm.patch(DANA, {"city": "B"}, "run-2")
    later = crm.get(f"/api/changes?after={first[0]['seq']}")
    assert [row["change_id"] for row in later["changes"]] == ["run-2"]
    assert crm.get("/api/changes?since=2999-01-01T00:00:00.000Z")["changes"] == []
    assert crm.call("GET", "/api/changes?since=yesterday").status_code == 400
    assert crm.call("GET", "/api/changes?after=-1").status_code == 400
    assert all(
        row["author"] == "Ava Lindqvist"
        for row in crm.get("/api/changes?by=Ava Lindqvist")["changes"]
    )


def test_metadata_marks_what_needs_care(crm: Crm) -> None:
    contacts = {row["name"]: row for row in crm.get("/api/fields/contacts")["fields"]}
    classes = {name: row["class"] for name, row in contacts.items() if row["class"]}
    assert classes == {
        "lifecycle": "stage", "owner": "owner", "credit_limit": "money", "marketing_consent": "consent",
        "date_of_birth": "sensitive", "external_id": "read_only", "created_at": "read_only", "updated_at": "read_only",
    }  # fmt: skip
    assert contacts["preferred_channel"]["allowed_values"] == ["email", "phone", "text", "post"]
    assert contacts["city"]["max_length"] == 80
    assert next(stage["id"] for stage in crm.get("/api/stages")["deals"]) == "new"
    assert set(contacts) == set(crm.get(DANA)["fields"])


def test_every_answer_carries_the_safe_headers(crm: Crm) -> None:
    for method, path in [
        ("GET", DANA),
        ("GET", "/contacts"),
        ("GET", "/nothing"),
        ("DELETE", DANA),
        ("GET", "/api/x"),
    ]:
        headers = crm.call(method, path).headers
        assert headers["Content-Security-Policy"].startswith(
            "default-src 'none'; style-src 'self';"
        )
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == (
            "nosniff",
            "no-store",
        )
