"""Pipedrive, with every question and answer checked against its own descriptions by Prism."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from services.writer.crm.pipedrive import ALLOWED
from shared.crm.pipedrive_values import OPEN
from shared.domain.record import RecordRef
from shared.errors import CRMUnavailable, Rejected
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import served, status
from tests.fakes.pipedrive import API_TOKEN, BUDGET, LOCKED, MARK, REGION
from tests.fakes.pipedrive_stage import (
    CALL,
    CRM,
    HER_LEAD,
    JENNY,
    LEAD,
    NEST,
    NEW,
    ROOF,
    WREN,
    Double,
    running,
    update,
)


@pytest.fixture
def double(pipedrive_proxy: tuple[str, Any], patience: float) -> Iterator[Double]:
    with running(pipedrive_proxy, patience) as double:
        yield double


class TestPipedrive(ConnectorCases):
    @pytest.fixture
    def stage(self, double: Double) -> Stage:
        return Stage(
            reader=double.reader(),
            writer=double.writer(),
            fake=double,
            ref=JENNY,
            field="job_title",
            other="name",
            email="jenny@example.com",
            phone="0012025550100",
            closed={
                "money": ("deals", "value"),
                "owner": ("persons", "owner_id"),
                "consent": ("persons", "marketing_status"),
                "stage": ("deals", "stage_id"),
                "read_only": ("persons", "add_time"),
            },
            conditional=False,
            knows_history=True,
            lead=NEW,
            too_many=status(429, x_ratelimit_reset="2", x_ratelimit_remaining="0"),
            wait=2.0,
        )


def sent(double: Double) -> list[tuple[str, str, Any]]:
    return double.checked.bodies


class TestValues:
    def test_of_emails_and_phones_the_primary_one_is_shown(self, double: Double) -> None:
        fields = double.reader().read(JENNY).fields
        assert fields["emails"] == "Jenny@Example.com"
        assert fields["phones"] == "+1 202-555-0100"
        assert (fields[REGION], fields[BUDGET], fields["org_id"]) == ("R-1", 1200, 9)

    @pytest.mark.parametrize("name", ["emails", "phones"])
    def test_exactly_the_primary_entry_is_replaced(self, double: Double, name: str) -> None:
        before = [dict(one) for one in double.app.records["persons"][WREN][name]]
        update(double, JENNY, **{name: "new@example.com"})
        after = double.app.records["persons"][WREN][name]
        assert [one["label"] for one in after] == [one["label"] for one in before]
        assert [one["value"] for one in after if not one["primary"]] == [
            one["value"] for one in before if not one["primary"]
        ]
        assert [one["value"] for one in after if one["primary"]] == ["new@example.com"]

    def test_a_first_address_is_added_and_a_last_one_taken_away(self, double: Double) -> None:
        teal = RecordRef(crm=CRM, type="persons", id="102")
        update(double, teal, emails="teal@example.com")
        assert double.reader().read(teal).fields["emails"] == "teal@example.com"
        update(double, teal, emails=None)
        assert double.app.records["persons"]["102"]["emails"] == []

    def test_one_of_several_addresses_is_not_taken_away(self, double: Double) -> None:
        with pytest.raises(Rejected, match="other entries"):
            update(double, JENNY, emails=None)
        assert double.effects() == 0

    def test_own_fields_lie_below_their_key(self, double: Double) -> None:
        update(double, JENNY, **{REGION: "R-2", "job_title": "Mason"})
        assert sent(double)[-1][2] == {"job_title": "Mason", "custom_fields": {REGION: "R-2"}}
        assert double.reader().read(JENNY).fields[REGION] == "R-2"
        update(double, JENNY, **{REGION: None})
        assert double.reader().read(JENNY).fields[REGION] is None

    def test_what_was_emptied_is_read_as_empty(self, double: Double) -> None:
        update(double, JENNY, job_title=None)
        update(double, NEST, address=None, website=None)
        assert double.reader().read(JENNY).fields["job_title"] is None
        fields = double.reader().read(NEST).fields
        assert (fields["address"], fields["website"]) == (None, None)

    def test_a_choice_is_its_number(self, double: Double) -> None:
        update(double, ROOF, **{REGION: "7"})
        assert sent(double)[-1][2] == {"custom_fields": {REGION: 7}}

    def test_every_object_type_has_its_body(self, double: Double) -> None:
        update(
            double, ROOF, title="Roof and gutter", stage_id="3", expected_close_date="2026-12-01"
        )
        update(double, NEST, website=None, address="1 Tree Lane")
        update(double, CALL, done=True, note="Reached")
        update(double, HER_LEAD, title="Jenny's new roof", expected_close_date=None)
        assert list(double.writes()) == [
            ("PATCH", "/api/v2/deals/7"),
            ("PATCH", "/api/v2/organizations/9"),
            ("PATCH", "/api/v2/activities/31"),
            ("PATCH", f"/v1/leads/{LEAD}"),
        ]
        assert double.app.records["deals"]["7"]["stage_id"] == 3
        assert double.reader().read(CALL).fields["done"] is True
        assert double.reader().read(NEST).fields["address"] == "1 Tree Lane"
        assert double.reader().read(HER_LEAD).title == "Jenny's new roof"

    def test_no_key_of_v1_is_ever_sent_to_v2(self, double: Double) -> None:
        """v2 passes over what it does not know, so that such a write would be lost in silence."""
        update(double, JENNY, emails="a@example.com", phones="+12025550111", name="J", org_id=9)
        double.writer().create({**NEW, "phone": "1", "company": "Nest Ltd"}, change_id="change-3")
        v1 = {"email", "phone", "label", "user_id", "owner", "visible", "add_time"}
        bodies = [body for _, path, body in sent(double) if path.startswith("/api/v2")]
        assert len(bodies) == 2
        assert not any(v1 & body.keys() for body in bodies)

    def test_a_lead_never_gets_a_value(self) -> None:
        assert not {"value", "currency"} & {name for names in OPEN.values() for name in names}


class TestClosed:
    @pytest.mark.parametrize(
        ("ref", "name", "value"),
        [
            (JENNY, "owner_id", 26),
            (JENNY, "visible_to", 7),
            (JENNY, "marketing_status", "subscribed"),
            (JENNY, "is_deleted", True),
            (JENNY, "first_name", "J"),
            (JENNY, "email", "v1@example.com"),
            (JENNY, BUDGET, "5"),
            (JENNY, LOCKED, "5"),
            (JENNY, MARK, "change-9"),
            (JENNY, "nothing", "5"),
            (JENNY, "name", None),
            (JENNY, "name", " "),
            (JENNY, "name", 5),
            (ROOF, "value", "5"),
            (ROOF, "currency", "USD"),
            (ROOF, "status", "deleted"),
            (ROOF, "stage_id", "won"),
            (ROOF, "stage_id", True),
            (ROOF, "expected_close_date", "soon"),
            (ROOF, "is_archived", True),
            (NEST, "annual_revenue", 5),
            (HER_LEAD, "value", "5"),
            (HER_LEAD, "is_archived", True),
        ],
    )
    def test_a_closed_field_or_a_value_that_does_not_fit_is_not_sent(
        self, double: Double, ref: RecordRef, name: str, value: Any
    ) -> None:
        with pytest.raises(Rejected):
            update(double, ref, **{name: value})
        assert double.writes() == []

    def test_nothing_of_a_field_that_is_open_is_written_beside_a_closed_one(
        self, double: Double
    ) -> None:
        with pytest.raises(Rejected):
            update(double, JENNY, job_title="Mason", owner_id=26)
        assert double.writes() == []

    def test_a_company_without_the_lists_of_v1_is_read_by_the_types(self, double: Double) -> None:
        assert double.reader().fields("persons")[LOCKED].read_only
        double.app.has_v1_fields = False
        fields = double.reader().fields("persons")
        assert not fields[LOCKED].read_only
        assert fields["add_time"].read_only
        assert fields[BUDGET].field_class == "money"

    def test_leads_have_the_own_fields_of_deals(self, double: Double) -> None:
        fields = double.reader().fields("leads")
        assert fields["value"].field_class == "money"
        assert fields["origin_id"].read_only
        assert fields[REGION].allowed_values == ("7", "8")

    def test_the_fields_are_asked_once_for_some_minutes(self, double: Double) -> None:
        reader = double.reader()
        reader.fields("persons")
        calls = len(double.faulty.calls)
        reader.fields("persons")
        assert len(double.faulty.calls) == calls

    def test_a_lead_has_own_fields_beside_the_others(self, double: Double) -> None:
        """As its documentation says; its description knows no own fields, so without Prism."""
        with served(double.app) as url:
            double.writer(url=url).update(HER_LEAD, {REGION: 8}, change_id="change-1")
            fields = double.reader(url=url).read(HER_LEAD).fields
        assert fields[REGION] == double.app.records["leads"][LEAD][REGION] == 8

    def test_the_table_of_calls_can_write_eight_things(self) -> None:
        assert {(method, path) for method, path in ALLOWED if method != "GET"} == {
            ("PATCH", "/api/v2/persons/{id}"),
            ("PATCH", "/api/v2/deals/{id}"),
            ("PATCH", "/api/v2/organizations/{id}"),
            ("PATCH", "/api/v2/activities/{id}"),
            ("PATCH", "/v1/leads/{id}"),
            ("POST", "/api/v2/persons"),
            ("POST", "/api/v2/activities"),
            ("POST", "/v1/notes"),
        }


class TestContract:
    """That the walls of this suite stand: what breaks the contract is refused by Prism itself."""

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PATCH", "/api/v2/persons/101", []),
            ("PATCH", "/api/v2/persons/101", {"email": [{"value": "a@example.com"}]}),
            ("PATCH", "/api/v2/persons/101", {"emails": "a@example.com"}),
            ("PATCH", "/api/v2/persons/abc", {"name": "x"}),
            ("PATCH", "/api/v2/deals/7", {"stage_id": "won"}),
            ("PATCH", "/api/v2/organizations/9", {"name": 5}),
            ("PATCH", "/api/v2/activities/31", {"done": "yes"}),
            ("PATCH", f"/v1/leads/{LEAD}", {"value": {"amount": 5}}),
            ("POST", "/api/v2/persons", {"name": 5}),
            ("POST", "/v1/notes", {"person_id": 101}),
            ("POST", "/api/v2/activities", {"subject": ["Call"]}),
            ("POST", "/api/v2/activities", {"subject": "Call", "person_id": "101"}),
            ("POST", "/api/v2/activities", {"subject": "Call", "due": "2026-12-01"}),
            ("PUT", "/api/v2/persons/101", {"name": "x"}),
            ("DELETE", "/api/v2/persons/101", None),
        ],
    )
    def test_a_wrong_body_is_refused(
        self, double: Double, method: str, path: str, body: Any
    ) -> None:
        answer = requests.request(
            method,
            double.checked.prism + path,
            json=body,
            headers={"x-api-token": API_TOKEN},
            timeout=10,
        )
        assert answer.status_code in {405, 422}, answer.text
        assert "stoplight.io/prism" in answer.text
        assert double.effects() == 0

    def test_a_wrong_answer_of_the_fake_is_told(self, double: Double) -> None:
        double.app.records["persons"][WREN]["name"] = 5
        with pytest.raises(CRMUnavailable):
            double.reader().read(JENNY)
        assert double.checked.violations.pop().startswith("GET /api/v2/persons/101")
        double.checked.violations.clear()

    def test_an_unknown_parameter_is_told(self, double: Double) -> None:
        requests.get(
            f"{double.url}/api/v2/persons/101?fields=x",
            headers={"x-api-token": API_TOKEN},
            timeout=10,
        )
        assert "unknown parameters" in double.checked.violations.pop()


def test_the_field_that_carries_our_changes_is_nobodys_to_open(double: Double) -> None:
    field = double.reader().fields("persons")[MARK]
    assert (field.read_only, field.field_class) == (True, "read_only")
    assert not double.reader(mark_field="").fields("persons")[MARK].read_only
