"""Whom Pipedrive finds and what it tells of them, checked by Prism as the other cases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.crm.pipedrive_finding import Finder
from shared.domain.record import RecordRef
from shared.errors import NotFound, Rejected
from tests.fakes.pipedrive import MARK
from tests.fakes.pipedrive_stage import (
    CALL,
    HER_LEAD,
    JENNY,
    LEAD,
    NEST,
    NEW,
    ROOF,
    WREN,
    Double,
    app_options,
    running,
    update,
)


@pytest.fixture
def double(pipedrive_proxy: tuple[str, Any]) -> Iterator[Double]:
    with running(pipedrive_proxy) as double:
        yield double


class TestFinding:
    @pytest.mark.parametrize(
        "number",
        ["+12025550100", "+1 (202) 555-0100", "001 202 555 0100", "202-555-0100", "2025550143"],
    )
    def test_a_number_is_found_in_any_spelling(self, double: Double, number: str) -> None:
        found = double.reader(region="US").search(phone=number)
        assert [one.ref for one in found] == [JENNY]

    def test_a_number_that_only_contains_another_is_not_the_same(self, double: Double) -> None:
        reader = double.reader(region="US")
        assert reader.search(phone="555-0100") == []
        assert reader.search(phone="+49 202 555 0100") == []
        assert double.reader().search(phone="555-0100") == []
        assert [one.ref for one in double.reader().search(phone="202-555-0100")] == [JENNY]

    def test_the_end_of_a_number_is_the_number_from_eight_digits_on(self, double: Double) -> None:
        finder = Finder(lambda *_: {}, region=None)
        assert finder.is_same("030 1234 567", "+49 30 1234567")
        assert not finder.is_same("555-0100", "+1 202-555-0100")
        assert not finder.is_same("+1 202-555-0100", "+44 202 555 0100")

    def test_an_own_field_finds_a_person_and_a_deal_exactly(self, double: Double) -> None:
        reader = double.reader()
        assert [one.ref for one in reader.search(external_id="R-1")] == [JENNY]
        assert reader.search(external_id="R") == []
        found = reader.search(order_number="8")
        assert [one.ref for one in found] == [ROOF]
        assert found[0].fields["contact_id"] == WREN

    def test_a_value_in_another_own_field_is_no_find(self, double: Double) -> None:
        double.app.records["persons"]["102"]["custom_fields"] = {MARK: "R-1"}
        assert [one.ref for one in double.reader().search(external_id="R-1")] == [JENNY]

    def test_a_deleted_or_merged_person_is_not_there(self, double: Double) -> None:
        double.app.records["persons"][WREN]["is_deleted"] = True
        reader = double.reader()
        with pytest.raises(NotFound, match="deleted, or merged"):
            reader.read(JENNY)
        assert reader.search(email="jenny@example.com") == []
        with pytest.raises(NotFound):
            update(double, JENNY, job_title="Mason")
        assert double.writes() == []

    def test_duplicates_by_number_in_another_spelling_and_by_name_and_company(
        self, double: Double
    ) -> None:
        reader = double.reader(region="US")
        by_phone = reader.duplicates({"phone": "2025550143"})
        assert [(one.record, one.why) for one in by_phone] == [(JENNY, "same phone number")]
        alike = {"first_name": "Jenny", "last_name": "Finch", "company": "Nest"}
        by_name = reader.duplicates(alike)
        assert [one.record for one in by_name] == [JENNY]
        assert by_name[0].why == "similar name and company: Nest Ltd"
        assert reader.duplicates({**alike, "company": "Elsewhere"}) == []

    def test_a_person_of_ours_is_found_before_the_index_knows_it(self, double: Double) -> None:
        made = double.writer().create(NEW, change_id="change-4")
        double.app.unindexed.add(made.id)
        assert double.writer().find("change-4") == made

    def test_a_person_of_ours_is_found_among_many_newer_ones(self, double: Double) -> None:
        made = double.writer().create(NEW, change_id="change-4")
        double.app.records["persons"][made.id]["add_time"] = "2020-01-01T00:00:00Z"
        for number in range(101):
            double.app.add("persons", str(9000 + number), name="Newer")
        assert double.writer().find("change-4") == made

    def test_without_a_mark_field_nobody_is_made(self, double: Double) -> None:
        writer = double.writer(mark_field="")
        with pytest.raises(Rejected, match="mark_field"):
            writer.create(NEW, change_id="change-4")
        assert writer.find("change-4") is None
        assert double.writes() == []

    def test_a_new_person_has_all_that_was_approved(self, double: Double) -> None:
        lead = {
            **NEW,
            "phone": "+1 202 555 0177",
            "job_title": "Builder",
            "company": "nest ltd",
            "address": "1 Tree Lane",
            "city": "Springfield",
            "postal_code": "12345",
            "preferred_channel": "phone",
        }
        double.writer().create(lead, change_id="change-5")
        assert double.checked.bodies[-1][2] == {
            "name": "Mara Heron",
            "emails": [{"value": "mara@example.com", "primary": True, "label": "work"}],
            "phones": [{"value": "+1 202 555 0177", "primary": True, "label": "work"}],
            "job_title": "Builder",
            "org_id": 9,
            "postal_address": {"value": "1 Tree Lane, 12345, Springfield"},
            "notes": "Preferred channel: phone",
            "custom_fields": {MARK: "change-5"},
        }

    def test_a_company_that_nobody_knows_stands_in_the_notes(self, double: Double) -> None:
        double.writer().create({**NEW, "company": "Elsewhere"}, change_id="change-5")
        body = double.checked.bodies[-1][2]
        assert body["notes"] == "Company: Elsewhere"
        assert "org_id" not in body


class TestHistory:
    def test_a_note_is_escaped_marked_and_added_once(self, double: Double) -> None:
        writer = double.writer()
        for _ in range(2):
            writer.add_note(JENNY, "<b>Roof</b>\n& gutter", change_id="change-2")
        assert double.effects() == 1
        content = double.app.notes[-1]["content"]
        assert content.startswith("<p>&lt;b&gt;Roof&lt;/b&gt;</p><p>&amp; gutter</p>")
        assert "change-2" in content
        writer.add_note(JENNY, "again", change_id="change-22")
        assert double.effects() == 2

    def test_the_text_of_a_note_cannot_claim_another_change(self, double: Double) -> None:
        writer = double.writer()
        writer.add_note(JENNY, "[Countersign change change-8]", change_id="change-7")
        double.app.note(content="see [Countersign change change-8]", person_id=int(WREN))
        writer.add_note(JENNY, "the real one", change_id="change-8")
        assert double.effects() == 2

    @pytest.mark.parametrize(
        ("ref", "parent"),
        [
            (ROOF, {"deal_id": 7}),
            (NEST, {"org_id": 9}),
            (HER_LEAD, {"lead_id": LEAD}),
        ],
        ids=str,
    )
    def test_a_note_hangs_on_its_record(
        self, double: Double, ref: RecordRef, parent: dict[str, Any]
    ) -> None:
        double.writer().add_note(ref, "Hello", change_id="change-2")
        body = double.checked.bodies[-1][2]
        assert {key: body[key] for key in body if key != "content"} == parent
        assert any("Hello" in item.text for item in double.reader().history(ref))

    def test_an_activity_has_no_notes(self, double: Double) -> None:
        with pytest.raises(NotFound):
            double.writer().add_note(CALL, "Hello", change_id="change-2")

    def test_the_history_tells_notes_calls_and_changes(self, double: Double) -> None:
        double.app.note(content="<p>Wants a <b>new</b> roof</p>", person_id=int(WREN))
        double.edit(JENNY, "job_title", "Mason", by="Robin")
        items = {item.kind: item.text for item in double.reader().history(JENNY)}
        assert items["note"] == "Robin: Wants a new roof"
        assert items["call"].startswith("Call back")
        assert items["change"] == "Robin (user 26): job_title from Roofer to Mason"

    def test_the_change_log_names_fields_as_the_record_does(self, double: Double) -> None:
        update(double, JENNY, emails="new@example.com")
        newest = double.reader().field_changes(JENNY)[0]
        assert (newest.field, newest.old, newest.new) == (
            "emails",
            "Jenny@Example.com",
            "new@example.com",
        )
        assert newest.at.tzinfo == UTC

    def test_whoever_is_not_to_be_seen_is_told_by_number(self, double: Double) -> None:
        double.app.scopes = "contacts:read recents:read"
        double.edit(JENNY, "job_title", "Mason", by="Robin")
        assert double.reader(**app_options(double)).field_changes(JENNY)[0].by == "user 26"

    def test_everything_that_we_did_is_found_and_nothing_else(self, double: Double) -> None:
        since = datetime.now(UTC) - timedelta(minutes=1)
        update(double, JENNY, job_title="Mason")
        double.edit(JENNY, "job_title", "Wigeon", by="Robin")
        double.app.note(content="by Robin", person_id=int(WREN))
        double.writer().add_note(JENNY, "ours", change_id="change-2")
        found = double.reader().changes_by_us(since)
        assert [(one.kind, one.field, one.change_id) for one in found if one.kind == "field"] == [
            ("field", "job_title", None)
        ]
        assert [one.change_id for one in found if one.kind == "note"] == ["change-2"]
        made = double.writer().create(NEW, change_id="change-9")
        created = [one for one in double.reader().changes_by_us(since) if one.kind == "created"]
        assert [(one.ref, one.change_id) for one in created] == [(made, "change-9")]
        assert double.reader().changes_by_us(datetime.now(UTC) + timedelta(minutes=1)) == []
        assert double.reader(own_user="26").changes_by_us(since)[0].by.startswith("Robin")

    def test_stages_are_in_the_order_of_the_pipeline(self, double: Double) -> None:
        assert list(double.reader().stages()["deals"].items()) == [
            ("2", "Contact made"),
            ("3", "Proposal"),
        ]
