"""The cases that every connector has to pass, over real HTTP against a stateful fake.

A connector's test subclasses `ConnectorCases` and gives a `stage` fixture; what only that vendor
does is tested beside it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import pytest

from services.writer.crm import OutcomeUnknown
from services.writer.crm.registry import Writer
from services.writer.opening import MOST_SUGGESTED, Suggestion, suggestions
from services.writer.policy_watch import described
from services.writer.surveying import survey
from services.writer.surveys import Survey
from shared.crm import Reader, kept
from shared.crm.reader import MOST_SAMPLED
from shared.crm.rights import RIGHTS
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar, now
from shared.errors import CRMUnavailable, NotFound, Rejected
from shared.policy import check_classes, load_policy
from tests.crm.path import PathCases
from tests.fakes.faulty_crm import Fault, status

LINES = "Called about the <b>roof</b> & gutter.\n\nWants it done: [soon].\n  Twice."
CLOSED = {"money", "owner", "consent", "stage", "read_only"}


class Fake(Protocol):
    """A vendor's double. ``kind`` of a call is read or write, whatever the HTTP method."""

    def value(self, ref: RecordRef, field: str) -> Scalar:
        """What the record holds, in the connector's words for fields and values."""

    def edit(self, ref: RecordRef, field: str, value: Scalar, *, by: str) -> None:
        """A person changes a field in the CRM itself."""

    def writes(self) -> list[tuple[str, str]]:
        """Method and path (or operation) of every call that was meant to change something."""

    def arrivals(self, kind: str) -> list[float]:
        """When each call of this kind came, by `time.monotonic`."""

    def effects(self) -> int:
        """How many changes the calls of integrations have had so far."""

    def script(self, kind: str, *faults: Fault) -> None:
        """Faults for the coming calls of one kind: read or write."""


@dataclass(kw_only=True)
class Stage:
    """``ref`` is a person's record; ``field`` and ``other`` are texts of it that may be written.

    ``closed`` names for each class (money, owner, consent, stage, sensitive, read_only) that the
    CRM's person or deal has one field of it, as object type and name. ``email`` and ``phone`` are
    the record's; nobody has ``stranger``. ``lead`` are a new person's fields in our words.
    ``conditional``: the vendor refuses a stale write; ``knows_history``: it tells who changed what.
    """

    reader: Reader
    writer: Writer
    fake: Fake
    ref: RecordRef
    field: str
    other: str
    email: str
    phone: str
    closed: Mapping[str, tuple[str, str]]
    lead: Mapping[str, Scalar]
    conditional: bool
    knows_history: bool
    stranger: str = "nobody@example.com"
    # Object types without a list of their own; whether the list of people can be sorted.
    unlisted: frozenset[str] = frozenset()
    sorts: bool = True
    # How this vendor says "too many calls", and how many seconds it asks to wait.
    too_many: Fault = status(429, Retry_After="1")
    wait: float = 1.0
    # A version for a conditional write, where the CRM knows one.
    version: Callable[[], str | None] = lambda: None


def _suggested(made: Survey, policy: str) -> tuple[Suggestion, ...]:
    return suggestions(made, load_policy(policy), {}, is_content=True, has_sandbox=True)


class ConnectorCases(PathCases):
    def test_a_reading_holds_what_the_crm_holds(self, stage: Stage) -> None:
        reading = stage.reader.read(stage.ref)
        assert reading.ref == stage.ref
        assert reading.title
        assert reading.fields[stage.field] == stage.fake.value(stage.ref, stage.field)
        assert all(v is None or isinstance(v, str | int | bool) for v in reading.fields.values())

    @pytest.mark.parametrize("id_", ["999999999", "../x", "a b", "x" * 200])
    def test_a_record_that_is_not_there_is_said_so(self, stage: Stage, id_: str) -> None:
        with pytest.raises(Rejected):
            stage.reader.read(RecordRef(crm=stage.ref.crm, type=stage.ref.type, id=id_))

    def test_an_object_type_that_the_crm_does_not_have_is_not_asked_for(self, stage: Stage) -> None:
        with pytest.raises(NotFound):
            stage.reader.read(RecordRef(crm=stage.ref.crm, type="invoices", id=stage.ref.id))
        with pytest.raises(NotFound):
            stage.reader.read(RecordRef(crm="elsewhere", type=stage.ref.type, id=stage.ref.id))

    def test_a_person_is_found_by_address_and_number_in_any_spelling(self, stage: Stage) -> None:
        def refs(**keys: str) -> set[RecordRef]:
            return {reading.ref for reading in stage.reader.search(**keys)}

        assert refs(email=stage.email.upper()) == {stage.ref}
        assert refs(phone=stage.phone) == {stage.ref}
        assert refs(email=stage.stranger) == set()
        assert refs(email=stage.stranger, phone=stage.phone) == {stage.ref}
        assert refs() == set()
        assert [one.record for one in stage.reader.candidates(stage.email)] == [stage.ref]

    def test_every_object_type_is_sampled_by_reading_alone_in_few_calls(self, stage: Stage) -> None:
        sampled: dict[str, int] = {}
        assert set(stage.reader.object_types) >= RIGHTS[stage.ref.crm].written
        for object_type in stage.reader.object_types:
            assert stage.reader.fields(object_type)
            if object_type in stage.unlisted:
                with pytest.raises(Rejected, match="list"):
                    stage.reader.sample(object_type, MOST_SAMPLED)
                continue
            before = len(stage.fake.arrivals("read"))
            found = stage.reader.sample(object_type, MOST_SAMPLED)
            assert len(stage.fake.arrivals("read")) - before <= 40
            assert {one.ref.type for one in found} <= {object_type}
            assert {one.ref.crm for one in found} <= {stage.ref.crm}
            sampled[object_type] = len(found)
        assert sampled[stage.ref.type] >= 1
        assert stage.fake.writes() == []
        assert stage.fake.effects() == 0
        with pytest.raises(NotFound):
            stage.reader.sample("invoices", 1)

    def test_a_survey_suggests_no_closed_field_and_nothing_twice(self, stage: Stage) -> None:
        """Somebody takes all that is suggested, until there is nothing more."""
        reader, crm, text = stage.reader, stage.ref.crm, ""
        made = survey(crm, crm, reader, now(), types=reader.object_types, limit=MOST_SAMPLED)
        assert stage.email.lower() not in json.dumps(asdict(made), default=str).lower()
        taken: list[tuple[str, str]] = []
        while found := _suggested(made, text):
            assert len(found) <= MOST_SUGGESTED
            taken += [(one.object, one.field) for one in found]
            text += "".join(one.toml for one in found)
        assert taken
        assert len(set(taken)) == len(taken)
        assert not set(taken) & set(stage.closed.values())
        assert check_classes(load_policy(text), described({crm: reader}, load_policy(text))) == []
        self._written(stage, [name for type_, name in taken if type_ == stage.ref.type])

    def _written(self, stage: Stage, names: list[str]) -> None:
        """What was suggested of a person can be written by the connector."""
        texts = [name for name in names if stage.reader.fields(stage.ref.type)[name].type == "text"]
        for number, name in enumerate(texts):
            stage.writer.update(
                stage.ref, {name: "Wren"}, change_id=f"change-{number}", version=stage.version()
            )
            assert stage.reader.read(stage.ref).fields[name] == "Wren"
        assert stage.fake.effects() == len(texts)

    def test_nothing_is_sent_for_a_type_that_our_writer_does_not_write(self, stage: Stage) -> None:
        crm = stage.ref.crm
        for object_type in set(stage.reader.object_types) - RIGHTS[crm].written:
            ref = RecordRef(crm=crm, type=object_type, id=stage.ref.id)
            with pytest.raises(Rejected):
                stage.writer.update(ref, {stage.field: "Wren"}, change_id="c", version=None)
        assert stage.fake.writes() == []

    def test_a_sample_holds_what_the_records_hold(self, stage: Stage) -> None:
        [one] = [
            one for one in stage.reader.sample(stage.ref.type, MOST_SAMPLED) if one.ref == stage.ref
        ]
        whole = stage.reader.read(stage.ref)
        assert one.fields[stage.field] == stage.fake.value(stage.ref, stage.field)
        names = stage.reader.names
        assert str(one.fields[names["email"]]).lower() == stage.email.lower()
        assert {name: whole.fields[name] for name in one.fields} == dict(one.fields)
        assert set(one.fields) & set(stage.reader.fields(stage.ref.type))

    def test_a_sample_is_no_larger_than_asked_for_and_begins_with_what_changed_last(
        self, stage: Stage
    ) -> None:
        made = stage.writer.create(stage.lead, change_id="change-7")
        stage.writer.update(
            stage.ref, {stage.field: "Wren"}, change_id="change-1", version=stage.version()
        )
        assert len(stage.reader.sample(stage.ref.type, 1)) == 1
        if stage.sorts:
            [newest] = stage.reader.sample(stage.ref.type, 1)
            assert newest.ref == stage.ref
        if made.type == stage.ref.type:
            assert len(stage.reader.sample(stage.ref.type, MOST_SAMPLED)) >= 2

    def test_likely_duplicates_say_why(self, stage: Stage) -> None:
        found = stage.reader.duplicates({"email": stage.email})
        assert [one.record for one in found] == [stage.ref]
        assert "mail" in found[0].why
        assert stage.reader.duplicates({"email": stage.stranger}) == []

    def test_each_closed_class_is_known_by_the_crms_own_metadata(self, stage: Stage) -> None:
        assert set(stage.closed) >= CLOSED
        for class_, (object_type, name) in stage.closed.items():
            field = stage.reader.fields(object_type)[name]
            if class_ == "read_only":
                assert field.read_only, (object_type, name, field)
            else:
                assert field.field_class == class_, (object_type, name, field)

    def test_what_the_vendor_can_do_is_what_the_connector_says(self, stage: Stage) -> None:
        said = stage.reader.capabilities
        assert said.conditional_write is stage.writer.is_conditional is stage.conditional
        assert said.field_history is stage.knows_history

    def test_what_the_crm_says_of_its_fields_is_kept_until_somebody_doubts_it(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def asked() -> int:
            before = len(stage.fake.arrivals("read"))
            assert stage.field in stage.reader.fields(stage.ref.type)
            return len(stage.fake.arrivals("read")) - before

        assert asked() > 0
        assert asked() == 0
        monkeypatch.setattr(kept, "YOUNG", 0.0)
        stage.reader.doubt_fields(stage.ref.type)
        assert asked() > 0
        assert asked() == 0

    def test_open_fields_have_no_class(self, stage: Stage) -> None:
        fields = stage.reader.fields(stage.ref.type)
        for name in (stage.field, stage.other):
            assert not fields[name].read_only
            assert fields[name].field_class is None

    def test_the_names_of_common_fields_are_fields_of_a_person(self, stage: Stage) -> None:
        assert stage.reader.people == stage.ref.type
        assert {"email", "phone"} <= set(stage.reader.names)
        assert set(stage.reader.names.values()) <= set(stage.reader.fields(stage.ref.type))

    def test_exactly_the_given_field_is_written(self, stage: Stage) -> None:
        before = dict(stage.reader.read(stage.ref).fields)
        stage.writer.update(
            stage.ref, {stage.field: "Wren"}, change_id="change-1", version=stage.version()
        )
        after = dict(stage.reader.read(stage.ref).fields)
        assert after[stage.field] == stage.fake.value(stage.ref, stage.field) == "Wren"
        assert after[stage.other] == before[stage.other]
        assert stage.fake.effects() == 1

    def test_a_field_that_the_crm_keeps_itself_is_not_written(self, stage: Stage) -> None:
        object_type, name = stage.closed["read_only"]
        if object_type != stage.ref.type:
            pytest.fail("a stage names a read-only field of the person")
        with pytest.raises(Rejected):
            stage.writer.update(
                stage.ref, {name: "1"}, change_id="change-1", version=stage.version()
            )
        assert stage.fake.effects() == 0

    def test_a_write_to_nobody_or_elsewhere_is_refused(self, stage: Stage) -> None:
        for crm, type_, id_ in (
            (stage.ref.crm, stage.ref.type, "999999999"),
            (stage.ref.crm, "invoices", stage.ref.id),
            ("elsewhere", stage.ref.type, stage.ref.id),
            (stage.ref.crm, stage.ref.type, "../x"),
        ):
            ref = RecordRef(crm=crm, type=type_, id=id_)
            with pytest.raises(Rejected):
                stage.writer.update(ref, {stage.field: "Wren"}, change_id="c", version=None)
        assert stage.fake.effects() == 0

    def test_a_new_person_is_made_once_and_found_by_the_change(self, stage: Stage) -> None:
        assert stage.writer.find("change-9") is None
        made = stage.writer.create(stage.lead, change_id="change-9")
        assert stage.writer.find("change-9") == made
        assert stage.writer.find("change-8") is None
        found = stage.reader.read(made).fields
        names = stage.reader.names
        assert found[names["email"]] == stage.lead["email"]
        assert stage.fake.effects() == 1

    def test_a_note_is_added_and_told_in_the_history(self, stage: Stage) -> None:
        stage.writer.add_note(stage.ref, "Called about the <b>roof</b>.", change_id="change-2")
        assert any("Called about the" in item.text for item in stage.reader.history(stage.ref))
        assert stage.fake.effects() == 1

    def test_a_note_is_added_once_and_found_by_its_change_letter_by_letter(
        self, stage: Stage
    ) -> None:
        assert stage.reader.capabilities.notes
        assert stage.writer.note(stage.ref, change_id="change-2") is None
        for _ in range(2):
            stage.writer.add_note(stage.ref, LINES, change_id="change-2")
        stage.writer.add_note(stage.ref, "Another.", change_id="change-22")
        assert stage.writer.note(stage.ref, change_id="change-2") == LINES
        assert stage.writer.note(stage.ref, change_id="change-22") == "Another."
        assert stage.writer.note(stage.ref, change_id="change-3") is None
        assert stage.fake.effects() == 2

    def test_a_task_is_added_once_and_found_by_its_change_letter_by_letter(
        self, stage: Stage
    ) -> None:
        assert stage.reader.capabilities.tasks
        asked = {"c-1": ("Call <b>Dana</b> & Co.", "2026-12-01"), "c-11": ("Call again.", None)}
        for change, (subject, due) in asked.items():
            assert stage.writer.task(stage.ref, change_id=change) is None
            for _ in range(2):
                stage.writer.add_task(stage.ref, subject, due, change_id=change)
        for change, (subject, due) in asked.items():
            found = stage.writer.task(stage.ref, change_id=change)
            assert found == {"subject": subject, "due": due}
        assert stage.writer.task(stage.ref, change_id="c-2") is None
        assert stage.fake.effects() == len(asked)

    def test_a_record_takes_what_the_capabilities_name_for_its_type(self, stage: Stage) -> None:
        can = stage.reader.capabilities
        assert {*can.notes, *can.tasks} <= set(stage.reader.object_types)
        for type_ in stage.reader.object_types:
            ref = replace(stage.ref, type=type_)
            if type_ not in can.notes:
                with pytest.raises((NotFound, Rejected)):
                    stage.writer.add_note(ref, "A note.", change_id="c-1")
            if type_ not in can.tasks:
                with pytest.raises((NotFound, Rejected)):
                    stage.writer.add_task(ref, "A task.", None, change_id="c-2")
        assert stage.fake.effects() == 0

    def test_a_policy_may_list_notes_and_tasks(self, stage: Stage) -> None:
        crm, more = stage.ref.crm, 'reason = "For the tests."\nmode = "review"\nmax_length = 9\n'
        text = "".join(
            f'[fields.{crm}.{object_}.{name}]\ntype = "{type_}"\n{more}'
            for object_, name, type_ in (("notes", "text", "text"), ("tasks", "subject", "text"))
        )
        policy = load_policy(text)
        assert check_classes(policy, described({crm: stage.reader}, policy)) == []

    def test_nothing_is_appended_to_nobody_or_elsewhere(self, stage: Stage) -> None:
        for crm, type_, id_ in (
            (stage.ref.crm, "invoices", stage.ref.id),
            ("elsewhere", stage.ref.type, stage.ref.id),
            (stage.ref.crm, stage.ref.type, "../x"),
        ):
            ref = RecordRef(crm=crm, type=type_, id=id_)
            with pytest.raises(Rejected):
                stage.writer.add_note(ref, "Called.", change_id="c")
            with pytest.raises(Rejected):
                stage.writer.add_task(ref, "Call.", None, change_id="c")
        assert stage.fake.effects() == 0

    def test_a_persons_edit_is_told_with_who_did_it_where_the_crm_knows(self, stage: Stage) -> None:
        if not stage.knows_history:
            assert stage.reader.field_changes(stage.ref) == []
            return
        stage.fake.edit(stage.ref, stage.field, "Wigeon", by="Robin")
        newest = stage.reader.field_changes(stage.ref)[0]
        assert (newest.field, newest.new) == (stage.field, "Wigeon")
        assert "Robin" in newest.by

    @pytest.mark.parametrize(
        "fault", [status(500), status(503), Fault(kind="hang"), Fault(kind="cut-body")], ids=str
    )
    def test_a_crm_in_trouble_is_unavailable_to_read(self, stage: Stage, fault: Fault) -> None:
        stage.fake.script("read", *[fault] * 4)
        with pytest.raises(CRMUnavailable):
            stage.reader.read(stage.ref)

    @pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"[]", b"{}", b'{"id": 1', b"null"])
    def test_a_wrong_200_is_no_reading(self, stage: Stage, body: bytes) -> None:
        stage.fake.script("read", *[status(200, body)] * 4)
        with pytest.raises((CRMUnavailable, Rejected)):
            stage.reader.read(stage.ref)

    @pytest.mark.parametrize("kind", ["read", "write"])
    def test_nobody_calls_before_the_wait_is_over(self, stage: Stage, kind: str) -> None:
        def call() -> None:
            self._write(stage) if kind == "write" else stage.reader.read(stage.ref)

        known, end = len(stage.fake.arrivals(kind)), time.monotonic() + 60
        stage.fake.script(kind, stage.too_many)
        with pytest.raises(CRMUnavailable):
            call()
        assert len(stage.fake.arrivals(kind)) == known + 1
        while len(stage.fake.arrivals(kind)) == known + 1:
            assert time.monotonic() < end, "the CRM is never called again"
            with suppress(CRMUnavailable):
                call()
        # The wait begins with the answer, which comes after the call that it answers.
        first, then = stage.fake.arrivals(kind)[known : known + 2]
        assert then - first >= stage.wait * 0.9
        assert stage.fake.effects() == (kind == "write")

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(kind="hang"),
            Fault(kind="hang", has_effect=True),
            Fault(kind="cut"),
            Fault(kind="cut", has_effect=True),
            Fault(kind="cut-body", has_effect=True),
            status(500),
            status(502, has_effect=True),
        ],
        ids=str,
    )
    def test_a_write_without_a_certain_answer_is_unknown_and_sent_once(
        self, stage: Stage, fault: Fault
    ) -> None:
        calls = len(stage.fake.writes())
        stage.fake.script("write", fault)
        with pytest.raises(OutcomeUnknown):
            self._write(stage)
        assert len(stage.fake.writes()) == calls + 1
        held = stage.fake.value(stage.ref, stage.field)
        assert (held == "Wren") is fault.has_effect

    def test_every_write_of_the_vendor_is_in_its_table(self, stage: Stage) -> None:
        forbidden = ("delete", "merge", "gdpr", "owner", "archive", "convert", "destroy", "remove")
        sender: Any = getattr(stage.writer, "_sender")  # noqa: B009 - the wall is what is looked at
        assert sender._allowed
        for method, path in sender._allowed:
            assert method in {"GET", "POST", "PATCH", "PUT"}, (method, path)
            assert not any(word in path.lower() for word in forbidden), (method, path)
        with pytest.raises(Rejected):
            sender._renewed("DELETE", "/anything", {})

    def _write(self, stage: Stage) -> None:
        stage.writer.update(
            stage.ref, {stage.field: "Wren"}, change_id="change-1", version=stage.version()
        )
