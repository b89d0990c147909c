from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.writer.crm import OutcomeUnknown, StaleRecord
from services.writer.crm.demo import ALLOWED, DemoWriter
from shared.domain.record import RecordRef
from shared.errors import CRMUnavailable, NotFound, Rejected, Unavailable
from tests.fakes.crm_fixtures import WRITE, Crm, running_crm
from tests.fakes.faulty_crm import Fault, status

DANA = RecordRef(crm="demo", type="contacts", id="1001")
NEW = RecordRef(crm="demo", type="drafts", id="new")
PHONE = {"phone": "+12025550166"}


@pytest.fixture
def crm(tmp_path: Path) -> Iterator[Crm]:
    with running_crm(tmp_path) as crm:
        yield crm


@pytest.fixture
def writer(crm: Crm) -> DemoWriter:
    return DemoWriter(crm.url, WRITE, timeout=1.5)


def field_of(crm: Crm, name: str) -> object:
    return crm.app.store.get("contacts", "1001").fields[name]


def writes(crm: Crm) -> list[tuple[str, str]]:
    return [call for call in crm.faulty.calls if call[0] != "GET"]


def test_exactly_the_given_fields_are_written_under_the_change_id(
    crm: Crm, writer: DemoWriter
) -> None:
    before = dict(crm.app.store.get("contacts", "1001").fields)
    writer.update(DANA, {**PHONE, "city": None}, change_id="run-1", version="1")
    after = dict(crm.app.store.get("contacts", "1001").fields)
    assert {name for name in after if after[name] != before[name]} == {
        "phone",
        "city",
        "updated_at",
    }
    assert [change.field for change in writer.effects("run-1")] == ["phone", "city"]
    assert writer.find("run-1") == DANA
    assert writer.find("run-2") is None


def test_a_record_that_moved_is_stale_and_stays_as_it_is(crm: Crm, writer: DemoWriter) -> None:
    writer.update(DANA, {"city": "Olney"}, change_id="run-1")
    with pytest.raises(StaleRecord):
        writer.update(DANA, PHONE, change_id="run-2", version="1")
    assert field_of(crm, "phone") == "+12025550101"
    writer.update(DANA, PHONE, change_id="run-2", version="2")
    assert field_of(crm, "phone") == PHONE["phone"]


def test_of_many_writers_with_one_reading_exactly_one_wins(crm: Crm, writer: DemoWriter) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait()
        try:
            DemoWriter(crm.url, WRITE).update(
                DANA, {"city": f"{number}"}, change_id=f"r{number}", version="1"
            )
        except StaleRecord:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(8))) == 1
    assert sum(writer.find(f"r{number}") is not None for number in range(8)) == 1


def test_a_draft_is_made_found_promoted_and_read_back(crm: Crm, writer: DemoWriter) -> None:
    draft = writer.create_draft(
        NEW, {"last_name": "Fields", "email": "f@example.com"}, change_id="run-1"
    )
    assert draft == RecordRef(crm="demo", type="drafts", id="9001")
    assert writer.find("run-1") == draft
    contact = writer.promote(draft, change_id="run-2")
    assert contact == RecordRef(crm="demo", type="contacts", id="1026")
    assert writer.find("run-2") == contact
    with pytest.raises(Rejected, match="already promoted"):
        writer.discard(draft, change_id="run-3")


def test_a_discarded_draft_is_found_by_its_change(crm: Crm, writer: DemoWriter) -> None:
    draft = writer.create_draft(NEW, {"last_name": "Fields"}, change_id="run-1")
    writer.discard(draft, change_id="run-2")
    assert writer.find("run-2") == draft
    assert len(crm.app.store.all("contacts")) == 25


def test_a_note_and_a_task_are_added_once_for_each_change(crm: Crm, writer: DemoWriter) -> None:
    for _ in range(2):
        writer.add_note(DANA, "Asked for\n\nMarch.", change_id="run-1")
        writer.add_task(DANA, "Call.", "2026-12-01", change_id="run-2")
    writer.add_task(DANA, "Call again.", None, change_id="run-22")
    assert [path for _, path in writes(crm)] == ["/api/notes", "/api/tasks", "/api/tasks"]
    assert writer.note(DANA, change_id="run-1") == "Asked for\n\nMarch."
    assert writer.task(DANA, change_id="run-2") == {"subject": "Call.", "due": "2026-12-01"}
    assert writer.task(DANA, change_id="run-22") == {"subject": "Call again.", "due": None}
    assert writer.note(DANA, change_id="run-2") is None
    assert writer.task(DANA, change_id="run-1") is None
    other = RecordRef(crm="demo", type="contacts", id="1002")
    assert writer.note(other, change_id="run-1") is None
    with pytest.raises(Rejected, match="no live"):
        writer.add_task(NEW, "Call.", None, change_id="run-3")


@pytest.mark.parametrize(
    ("subject", "due"),
    [("", None), ("x" * 251, None), ("Call.", "tomorrow"), ("Call.", "2026-2-1")],
)
def test_the_demo_crm_refuses_a_task_that_is_none(
    writer: DemoWriter, subject: str, due: str | None
) -> None:
    with pytest.raises(Rejected):
        writer.add_task(DANA, subject, due, change_id="run-1")
    assert writer.task(DANA, change_id="run-1") is None


def test_a_note_is_added_under_the_change_id(crm: Crm, writer: DemoWriter) -> None:
    writer.add_note(DANA, "Asked for March.", change_id="run-1")
    [effect] = writer.effects("run-1")
    assert (effect.kind, effect.new, effect.by, effect.ref) == (
        "note",
        "Asked for March.",
        "Countersign",
        DANA,
    )


def acts(writer: DemoWriter) -> dict[str, Callable[[], object]]:
    draft = RecordRef(crm="demo", type="drafts", id="9001")
    return {
        "update": lambda: writer.update(DANA, PHONE, change_id="run-1"),
        "note": lambda: writer.add_note(DANA, "text", change_id="run-1"),
        "draft": lambda: writer.create_draft(NEW, {"last_name": "X"}, change_id="run-1"),
        "promote": lambda: writer.promote(draft, change_id="run-1"),
        "discard": lambda: writer.discard(draft, change_id="run-1"),
    }


ACTS = ["update", "note", "draft", "promote", "discard"]


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    ("code", "error"),
    [(302, Rejected), (400, Rejected), (401, Rejected), (403, Rejected), (404, NotFound), (405, Rejected),
     (409, Rejected), (412, StaleRecord), (422, Rejected), (429, CRMUnavailable), (503, CRMUnavailable),
     (500, OutcomeUnknown), (502, OutcomeUnknown), (504, OutcomeUnknown)],
)  # fmt: skip
def test_each_refusal_of_a_write_has_its_meaning(
    crm: Crm, writer: DemoWriter, act: str, code: int, error: type[Exception]
) -> None:
    for method in ("PATCH", "POST"):
        crm.faulty.script(method, status(code, Location=f"{crm.url}/api/contacts/1002"))
    with pytest.raises(error) as caught:
        acts(writer)[act]()
    assert type(caught.value) is error
    assert len(writes(crm)) == 1


@pytest.mark.parametrize("act", ["update", "note", "draft"])
@pytest.mark.parametrize("has_effect", [False, True])
@pytest.mark.parametrize("kind", ["hang", "cut", "cut-body", "drip"])
def test_a_write_without_a_certain_answer_is_unknown_sent_once_and_found_by_reading_back(
    crm: Crm, writer: DemoWriter, act: str, kind: str, has_effect: bool
) -> None:
    for method in ("PATCH", "POST"):
        crm.faulty.script(method, Fault(kind=kind, has_effect=has_effect))
    with pytest.raises(OutcomeUnknown):
        acts(writer)[act]()
    assert len(writes(crm)) == 1
    assert (writer.find("run-1") is not None) == has_effect
    touched = {(change.kind, change.field) for change in writer.effects("run-1")}
    assert len(writer.effects("run-1")) == len(touched)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    "body", [b"", b"<html>ok</html>", b"[]", b"{}", b'{"ok":true}', b'{"contact":null,"draft":7}',
             b'{"type":"contacts","id":"1001","change_id":"another","draft":{"id":"9001","change_id":"another"},"contact":{"change_id":"another"}}'],
)  # fmt: skip
def test_a_success_that_does_not_speak_of_this_change_is_unknown(
    crm: Crm, writer: DemoWriter, act: str, body: bytes
) -> None:
    for method in ("PATCH", "POST"):
        crm.faulty.script(method, status(200, body))
    with pytest.raises(OutcomeUnknown):
        acts(writer)[act]()
    assert writer.find("run-1") is None


def test_a_crm_that_is_not_there_was_certainly_not_written(crm: Crm) -> None:
    with pytest.raises(CRMUnavailable):
        DemoWriter("http://127.0.0.1:9", WRITE, timeout=0.5).update(DANA, PHONE, change_id="r")


def test_an_unknown_outcome_is_retried_later_but_is_no_plain_outage() -> None:
    assert issubclass(OutcomeUnknown, Unavailable)
    assert not issubclass(OutcomeUnknown, CRMUnavailable)


def test_looking_for_a_change_in_a_broken_crm_is_an_outage(crm: Crm, writer: DemoWriter) -> None:
    for fault in (
        status(500),
        status(200, b"{}"),
        status(200, b"x"),
        status(200, b'{"changes":[{}]}'),
        Fault(kind="cut"),
    ):
        crm.faulty.script("GET", fault)
        with pytest.raises(CRMUnavailable):
            writer.find("run-1")


def test_no_call_deletes_or_merges_and_no_other_call_is_sent(crm: Crm, writer: DemoWriter) -> None:
    assert {method for method, _ in ALLOWED} == {"GET", "PATCH", "POST"}
    assert not any("merge" in path or "delete" in path for _, path in ALLOWED)
    for method, path in [
        ("DELETE", "/api/{type}/{id}"),
        ("PUT", "/api/{type}/{id}"),
        ("POST", "/api/contacts/merge"),
    ]:
        with pytest.raises(Rejected):
            writer._sender._renewed(method, path, {})
    assert crm.faulty.calls == []


@pytest.mark.parametrize(
    ("type_", "id_"),
    [("contacts", ".."), ("contacts", "../notes"), ("contacts", "1001/history"), ("contacts", "1001?x"), ("contacts", ""),
     ("drafts", "9001"), ("users", "1")],
)  # fmt: skip
def test_a_reference_cannot_lead_a_write_elsewhere(
    crm: Crm, writer: DemoWriter, type_: str, id_: str
) -> None:
    with pytest.raises(Rejected):
        writer.update(RecordRef(crm="demo", type=type_, id=id_), PHONE, change_id="r")
    with pytest.raises(Rejected):
        writer.update(RecordRef(crm="other", type="contacts", id="1001"), PHONE, change_id="r")
    with pytest.raises(Rejected):
        writer.promote(RecordRef(crm="demo", type="contacts", id="1001"), change_id="r")
    with pytest.raises(Rejected):
        writer.create_draft(DANA, {"last_name": "X"}, change_id="r")
    assert crm.faulty.calls == []


def test_what_the_token_may_not_write_the_crm_refuses_too(crm: Crm, writer: DemoWriter) -> None:
    for name, value in {
        "credit_limit": "1.00",
        "owner": "Tom Okafor",
        "marketing_consent": True,
    }.items():
        with pytest.raises(Rejected, match=name):
            writer.update(DANA, {name: value}, change_id="r")
    assert "contacts:write" in writer.scopes()
    assert crm.app.store.get("contacts", "1001").version == 1
