"""How Pipedrive lets us in, refuses and slows us down, checked by Prism as the other cases."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.writer.crm import OutcomeUnknown
from services.writer.crm.pipedrive import ALLOWED
from shared.crm.accounts import Account
from shared.crm.pipedrive_account import RECORDS, Company
from shared.crm.pipedrive_budget import Budget, cost_of
from shared.crm.pipedrive_fields import older_pages, pages
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected
from tests.fakes.faulty_crm import status
from tests.fakes.pipedrive_contract import contract, fixture
from tests.fakes.pipedrive_stage import (
    CRM,
    JENNY,
    ROOF,
    WREN,
    Double,
    app_options,
    running,
)

READS = [
    *(("GET", path) for path in RECORDS.values()),
    ("GET", "/api/v2/persons"),
    ("GET", "/api/v2/activities"),
    ("GET", "/api/v2/stages"),
    ("GET", "/api/v2/pipelines"),
    ("GET", "/api/v2/deals/search"),
    ("GET", "/v1/users/{id}"),
    ("GET", "/v1/persons/{id}/changelog"),
    ("GET", "/v1/deals/{id}/flow"),
]


@pytest.fixture
def double(pipedrive_proxy: tuple[str, Any]) -> Iterator[Double]:
    with running(pipedrive_proxy) as double:
        yield double


class TestAuthentication:
    def test_an_app_calls_the_host_that_its_token_names(self, double: Double) -> None:
        options = app_options(double)
        reader, writer = double.reader(**options), double.writer(**options)
        assert reader.read(JENNY).url == f"{double.url}/person/{WREN}"
        writer.update(JENNY, {"job_title": "Mason"}, change_id="change-1")
        assert double.effects() == 1
        assert "contacts:full" in reader.scopes()
        assert reader.scopes() == writer.scopes()

    def test_a_token_is_fetched_once_and_again_when_it_has_ended(self, double: Double) -> None:
        reader = double.reader(**app_options(double))
        reader.read(JENNY)
        reader.read(JENNY)
        assert double.app.token_calls == 1
        double.app.tokens.clear()
        reader.read(JENNY)
        assert double.app.token_calls == 2

    def test_a_refresh_token_that_has_ended_says_so(self, double: Double) -> None:
        double.app.refresh_token = "another"
        with pytest.raises(Rejected, match="60 days"):
            double.reader(**app_options(double)).read(JENNY)

    @pytest.mark.parametrize(
        "host", ["http://127.0.0.1:1", "https://127.0.0.1", "http://a.example"]
    )
    def test_no_token_is_sent_to_a_private_host(self, double: Double, host: str) -> None:
        options = {**app_options(double), "private_address": "", "token_url": "https://1.1.1.1/"}
        company = Company(double.account(**options), timeout=5)
        with pytest.raises(Rejected, match="address"):
            company.learn({"access_token": "x", "api_domain": host})

    def test_a_private_host_of_tokens_is_refused_at_the_start(self, double: Double) -> None:
        with pytest.raises(ConfigurationError, match="address"):
            double.reader(**{**app_options(double), "private_address": ""})

    def test_a_grant_is_whole(self, double: Double) -> None:
        with pytest.raises(ConfigurationError, match="refresh_token"):
            double.reader(**{**app_options(double), "refresh_token": ""})

    def test_a_missing_scope_is_named(self, double: Double) -> None:
        double.app.scopes = "contacts:read"
        options = app_options(double)
        reader = double.reader(**options)
        reader.read(JENNY)
        with pytest.raises(Rejected, match="deals:read"):
            reader.read(ROOF)
        with pytest.raises(Rejected, match="recents:read"):
            reader.field_changes(JENNY)
        with pytest.raises(Rejected, match="contacts:full"):
            double.writer(**options).update(JENNY, {"job_title": "x"}, change_id="c")

    def test_an_api_token_says_that_it_has_all_rights(self, double: Double) -> None:
        assert double.reader().scopes() == ("*",)
        with pytest.raises(Rejected, match="unauthorized"):
            double.reader(token="wrong").read(JENNY)


def fixture_bytes() -> bytes:
    return json.dumps(fixture("403-scope-mismatch.json")).encode()


class TestAnswers:
    @pytest.mark.parametrize(
        ("code", "body", "reading", "writing"),
        [
            (400, b'{"success":false,"error":"Bad request"}', Rejected, Rejected),
            (401, b'{"success":false,"error":"unauthorized access"}', Rejected, Rejected),
            (402, b'{"success":false,"error":"Payment required"}', Rejected, Rejected),
            (403, None, Rejected, Rejected),
            (403, b"<html>blocked</html>", CRMUnavailable, CRMUnavailable),
            (404, b'{"success":false,"error":"Person not found"}', NotFound, NotFound),
            (405, b'{"success":false}', Rejected, Rejected),
            (410, b'{"success":false}', NotFound, NotFound),
            (415, b'{"success":false}', Rejected, Rejected),
            (422, b'{"success":false,"error":"Validation"}', Rejected, Rejected),
            (429, b'{"success":false}', CRMUnavailable, CRMUnavailable),
            (200, b'{"success":false,"error":"No"}', Rejected, Rejected),
            (200, b'{"success":true,"data":{"id":5}}', CRMUnavailable, OutcomeUnknown),
            (200, b'{"success":true,"data":null}', CRMUnavailable, OutcomeUnknown),
            (302, b"", Rejected, Rejected),
            (500, b"", CRMUnavailable, OutcomeUnknown),
            (501, b"", CRMUnavailable, OutcomeUnknown),
            (503, b"", CRMUnavailable, CRMUnavailable),
            (522, b"", CRMUnavailable, OutcomeUnknown),
        ],
    )
    def test_each_answer_has_its_meaning(
        self, double: Double, code: int, body: bytes | None, reading: Any, writing: Any
    ) -> None:
        body = fixture_bytes() if body is None else body
        writer = double.writer()
        writer.update(JENNY, {"job_title": "Mason"}, change_id="change-0")
        double.script("write", status(code, body))
        with pytest.raises(writing) as caught:
            writer.update(JENNY, {"job_title": "Wren"}, change_id="change-1")
        assert type(caught.value) is writing
        double.script("read", status(code, body))
        with pytest.raises(reading) as caught:
            double.reader().read(JENNY)
        assert type(caught.value) is reading

    def test_no_call_goes_out_once_the_window_is_empty(self, double: Double) -> None:
        reader = double.reader()
        empty = b'{"success":true,"data":{"id":101,"name":"x"}}'
        headers = {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "60"}
        double.script("read", status(200, empty, **headers))
        reader.read(JENNY)
        calls = len(double.faulty.calls)
        with pytest.raises(CRMUnavailable, match="wait"):
            reader.read(JENNY)
        assert len(double.faulty.calls) == calls


# The description names no cost for them; ours is that of a list.
UNPRICED = {("GET", f"/v1/{name}") for name in ("personFields", "organizationFields", "dealFields")}


class TestLimits:
    def test_a_call_costs_what_the_description_says(self) -> None:
        paths = contract()["paths"]
        costs = {
            (method, path): paths[path][method.lower()].get("x-token-cost")
            for method, path in [*ALLOWED, *READS]
        }
        assert len(costs) > 25
        unpriced = {call for call, cost in costs.items() if cost is None}
        assert unpriced == UNPRICED
        for (method, path), cost in costs.items():
            if (method, path) not in unpriced:
                assert cost == cost_of(method, path), (method, path)

    def test_the_days_share_of_tokens_is_not_exceeded(self) -> None:
        day = datetime(2026, 11, 23, 12, tzinfo=UTC)
        account = Account(name=CRM, vendor=CRM, options={"tokens_per_day": "400"})
        budget = Budget(account, clock=lambda: day)
        for _ in range(100):
            budget.spend("GET", "/api/v2/persons/1", patience=0)
        with pytest.raises(CRMUnavailable, match="100 Pipedrive tokens"):
            budget.spend("GET", "/api/v2/persons/1", patience=0)
        day += timedelta(days=1)
        budget.spend("GET", "/api/v2/persons/1", patience=0)

    def test_searches_have_a_limit_of_their_own(self) -> None:
        budget = Budget(Account(name=CRM, vendor=CRM, options={"share": "0.2"}))
        for _ in range(2):
            budget.spend("GET", "/api/v2/persons/search", patience=0)
        with pytest.raises(CRMUnavailable, match="rate limit"):
            budget.spend("GET", "/api/v2/persons/search", patience=0)
        budget.spend("GET", "/api/v2/persons/1", patience=0)

    def test_no_call_goes_out_for_minutes_once_the_day_is_spent(self, double: Double) -> None:
        """A 429 that leaves room in the window cannot be the window's."""
        reader = double.reader()
        double.script("read", status(429, x_ratelimit_remaining="9", x_ratelimit_reset="1"))
        for wait in ("429", "wait 900 s"):
            with pytest.raises(CRMUnavailable, match=wait):
                reader.read(JENNY)
        assert len(double.faulty.calls) == 1


class TestPages:
    def test_a_list_goes_on_until_there_is_no_cursor_or_it_comes_again(self) -> None:
        following = {None: "a", "a": "b", "b": "b"}
        asked: list[Any] = []

        def get(_: str, params: Mapping[str, str]) -> dict[str, Any]:
            asked.append(params.get("cursor"))
            more = {"next_cursor": following[asked[-1]]}
            return {"data": [{"cursor": asked[-1]}], "additional_data": more}

        assert [row["cursor"] for row in pages(get, "/x", {})] == [None, "a", "b"]

    def test_a_list_without_an_end_is_not_cut_in_silence(self) -> None:
        numbers = itertools.count(1)

        def get(_: str, params: Mapping[str, str]) -> dict[str, Any]:
            more = {"next_cursor": str(next(numbers)), "more_items_in_collection": True}
            return {"data": [{}], "additional_data": more}

        for walk in (pages, older_pages):
            with pytest.raises(CRMUnavailable, match="more than 3 pages"):
                list(walk(get, "/x", {}, most=3))


class TestRecorded:
    """Answers that Pipedrive itself gave, through the connector."""

    def test_the_recorded_fields_are_understood(self, double: Double) -> None:
        body = json.dumps(fixture("dealFields.json")).encode()
        flags = b'{"success":true,"data":[]}'
        double.script("read", status(200, flags), status(200, body))
        fields = double.reader().fields("deals")
        assert list(fields) == ["title", "status", "archive_time"]
        assert fields["archive_time"].read_only
        assert fields["status"].field_class == "stage"

    def test_the_recorded_deal_is_understood(self, double: Double) -> None:
        recorded = fixture("deals.json")["data"][0]
        body = json.dumps({"success": True, "data": recorded}).encode()
        double.script("read", status(200, body))
        reading = double.reader().read(RecordRef(crm=CRM, type="deals", id="1"))
        assert (reading.title, reading.fields["value"]) == ("Test Deal", 1000)

    def test_the_recorded_refusal_names_the_scope(self, double: Double) -> None:
        double.script("read", status(403, fixture_bytes()))
        with pytest.raises(Rejected, match="deals:read"):
            double.reader().read(ROOF)
