from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import defusedxml.ElementTree
import pytest
from sqlalchemy import Engine

from services.writer import hand_offs
from services.writer.crm import OutcomeUnknown
from services.writer.crm.handoff import HandOff
from services.writer.policy_watch import described
from services.writer.tables import metadata
from shared.crm import Account, readers
from shared.crm.handoff import HandOffReader
from shared.db import open_database, reading, writing
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected
from shared.policy import check_classes, load_policy
from tests.databases import fresh_database
from tests.fakes.faulty_crm import Fault, FaultyCrm, served, status
from tests.fakes.smtp import Mailbox, mail_server

NAME = "handoff"
LEAD: dict[str, Scalar] = {
    "first_name": "Wren",
    "last_name": "Field <&> Sons",
    "email": "wren@example.com",
    "phone": "+12025550123",
    "city": "Austin",
    "preferred_channel": "phone\r\nBcc: all@example.com",
    "company": None,
}
EXPORT = """id,first_name,last_name,email,phone,company,balance
7,Dana,Miller,Dana@Example.com,202-555-0101,,12.00
8,Robin,Sparrow,robin@example.com,,Sparrow Ltd,
"""


def account(**options: str) -> Account:
    return Account(name=NAME, vendor="handoff", options=options)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(fresh_database(tmp_path, "writer"))
    metadata.create_all(engine)
    yield engine
    engine.dispose()


@dataclass
class Flow:
    """A catch-hook that queues what it gets, and drops what it has had before."""

    bodies: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/hooks/catch/1/secret/":
            start_response("404 Not Found", [])
            return [b""]
        self.bodies.append(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"status":"success"}']


@dataclass(kw_only=True)
class Hooked:
    flow: Flow
    faulty: FaultyCrm
    writer: HandOff


@pytest.fixture
def hooked(engine: Engine, patience: float) -> Iterator[Hooked]:
    flow = Flow()
    faulty = FaultyCrm(flow)
    with served(faulty) as url:
        given = account(way="hook", url=f"{url}/hooks/catch/1/secret/", private_address="yes",
                        timeout=str(patience))  # fmt: skip
        yield Hooked(flow=flow, faulty=faulty, writer=HandOff(given, engine, now))


def now() -> datetime:
    return datetime.now(UTC)


def state_of(engine: Engine, id_: str = "c-1") -> str | None:
    with reading(engine) as db:
        row = hand_offs.row_of(db, id_)
    return None if row is None else str(row.state)


def test_without_an_export_nobody_is_known() -> None:
    reader = readers([account()], timeout=1.0)[NAME]
    assert reader.search(email="dana@example.com", phone="2025550101") == []
    assert reader.duplicates({"email": "dana@example.com"}) == []
    with pytest.raises(NotFound, match="cannot be read"):
        reader.read(RecordRef(crm=NAME, type="people", id="7"))
    assert reader.capabilities.apply_by_hand
    assert not reader.capabilities.conditional_write


def test_an_export_is_read_and_nothing_but_its_common_fields() -> None:
    reader = HandOffReader.of(account(export=EXPORT), 1.0)
    [dana] = reader.search(email="dana@example.com")
    assert (dana.title, dana.ref.id, dana.fields["company"]) == ("Dana Miller", "7", None)
    assert "balance" not in dana.fields
    [by_phone] = reader.search(email="nobody@example.com", phone="(202) 555.0101")
    [by_id] = reader.search(external_id="7")
    assert by_phone.ref == by_id.ref == dana.ref
    assert reader.candidates("8")[0].title == "Robin Sparrow"
    assert [one.why for one in reader.duplicates({"email": "robin@example.com"})] == [
        "same e-mail address"
    ]
    assert set(reader.names.values()) == set(reader.fields("people"))
    assert reader.fields("deals") == {}


@pytest.mark.parametrize("text", ["name\nDana\n", "id,email\n,a@example.com\n", "id\n1\n1\n"])
def test_an_export_without_ids_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match="export"):
        HandOffReader.of(account(export=text), 1.0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"way": "fax"}, "way"),
        ({"way": "hook"}, "url"),
        ({"way": "hook", "url": "http://hooks.example.com/1"}, "https"),
        ({"way": "hook", "url": "https://127.0.0.1/1"}, "private"),
        ({"way": "mail"}, "smtp_host"),
        ({"way": "mail", "smtp_host": "m", "mail_from": "a@example.com", "mail_to": "a, b"},
         "mail_to"),
        ({"way": "mail", "smtp_host": "m", "mail_to": "a@example.com",
          "mail_from": "a@example.com\r\nBcc: b@example.com"}, "mail_from"),
        ({"way": "mail", "smtp_host": "m", "smtp_encryption": "none"}, "smtp_encryption"),
    ],
)  # fmt: skip
def test_a_wrong_account_is_refused_at_the_start(
    engine: Engine, options: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        HandOff(account(**options), engine, now)
    assert options.get("url", "-") not in str(caught.value)


def test_what_is_there_already_is_changed_by_a_person_alone(hooked: Hooked) -> None:
    ref = RecordRef(crm=NAME, type="people", id="7")
    with pytest.raises(Rejected, match="by hand"):
        hooked.writer.update(ref, {"phone": "1"}, change_id="c-1", version=None)
    with pytest.raises(Rejected, match="by hand"):
        hooked.writer.add_note(ref, "x", change_id="c-1")
    with pytest.raises(Rejected, match="by hand"):
        hooked.writer.add_task(ref, "x", None, change_id="c-1")
    assert hooked.faulty.calls == []


@pytest.mark.parametrize(("object_", "field"), [("notes", "text"), ("tasks", "subject")])
def test_no_policy_lists_notes_or_tasks_of_a_crm_without_an_api(object_: str, field: str) -> None:
    reader: Any = HandOffReader(account())
    policy = load_policy(
        f'[fields.{NAME}.{object_}.{field}]\nmode = "review"\ntype = "text"\nmax_length = 9\n'
        'reason = "For the tests."\n'
    )
    said = check_classes(policy, described({NAME: reader}, policy))
    assert said == [f"fields.{NAME}.{object_}.{field}: this CRM takes no {object_}"]


def test_a_lead_is_put_on_the_hook_once(engine: Engine, hooked: Hooked) -> None:
    assert hooked.writer.find("c-1") is None
    made = hooked.writer.create(LEAD, change_id="c-1")
    assert hooked.flow.bodies == [{"change_id": "c-1", "lead": LEAD}]
    assert hooked.writer.find("c-1") == made == RecordRef(crm=NAME, type="leads", id="c-1")
    assert state_of(engine) == "handed", "200 means queued, not written"
    with pytest.raises(OutcomeUnknown):
        hooked.writer.create(LEAD, change_id="c-1")
    assert len(hooked.flow.bodies) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault(kind="cut"), Fault(kind="cut", has_effect=True), Fault(kind="hang"), status(500)],
    ids=str,
)
def test_what_may_have_arrived_is_never_sent_again(
    engine: Engine, hooked: Hooked, fault: Fault
) -> None:
    hooked.faulty.script("POST", fault)
    with pytest.raises(OutcomeUnknown) as caught:
        hooked.writer.create(LEAD, change_id="c-1")
    assert "secret" not in str(caught.value)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            hooked.writer.find("c-1")
        with pytest.raises(OutcomeUnknown):
            hooked.writer.create(LEAD, change_id="c-1")
    assert len(hooked.faulty.calls) == 1
    assert state_of(engine) == "begun"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(429, Retry_After="0.2"), CRMUnavailable),
        (status(503), CRMUnavailable),
        (status(410), Rejected),
        (status(302, Location="http://127.0.0.1/"), Rejected),
    ],
)
def test_what_certainly_did_not_arrive_may_be_tried_again(
    hooked: Hooked, fault: Fault, error: type[Exception]
) -> None:
    hooked.faulty.script("POST", fault)
    with pytest.raises(error):
        hooked.writer.create(LEAD, change_id="c-1")
    assert hooked.writer.find("c-1") is None
    hooked.writer.create(LEAD, change_id="c-1")
    assert len(hooked.flow.bodies) == 1


def test_a_death_in_between_is_not_forgotten(engine: Engine, hooked: Hooked) -> None:
    with writing(engine) as db:
        hand_offs.begin(db, "c-1", NAME, "hook", now())
    with pytest.raises(OutcomeUnknown):
        hooked.writer.create(LEAD, change_id="c-1")
    assert hooked.faulty.calls == []


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    with mail_server(tmp_path) as mailbox:
        yield mailbox


def mailing(mailbox: Mailbox, engine: Engine, **options: str) -> HandOff:
    given = {
        "way": "mail",
        "smtp_host": "127.0.0.1",
        "smtp_port": str(mailbox.port),
        "smtp_user": "leads",
        "smtp_password": "secret",
        "smtp_ca": mailbox.ca,
        "mail_from": "countersign@example.com",
        "mail_to": "inbox@example.com",
        "timeout": "1",
        **options,
    }
    return HandOff(account(**given), engine, now)


def test_a_lead_is_mailed_as_lines_that_no_value_can_add_to(
    engine: Engine, mailbox: Mailbox
) -> None:
    mailing(mailbox, engine).create(LEAD, change_id="c-1")
    [(sender, recipients, content)] = mailbox.mails
    mail = message_from_bytes(content, policy=policy.default)
    assert ("countersign@example.com" in sender, len(recipients)) == (True, 1)
    assert "inbox@example.com" in recipients[0]
    assert (mail["Subject"], mail["Message-ID"]) == ("New lead c-1", "<c-1@example.com>")
    assert mail["Bcc"] is None
    lines = mail.get_content().splitlines()
    assert "Last name: Field <&> Sons" in lines
    assert "Preferred channel: phone Bcc: all@example.com" in lines
    assert "Reference: c-1" in lines
    assert mailbox.logins == ["leads"]
    assert set(mailbox.in_clear) == {"EHLO", "STARTTLS"}, "nothing else is said in the clear"


def test_a_lead_is_mailed_as_adf(engine: Engine, mailbox: Mailbox) -> None:
    lead = {**LEAD, "company": "A\x00B ]]> <vendor>"}
    mailing(mailbox, engine, format="adf", vendor_name="Dealer & Co").create(lead, change_id="c-1")
    [(_, _, content)] = mailbox.mails
    text = message_from_bytes(content, policy=policy.default).get_content()
    assert '<?adf version="1.0"?>' in text
    adf = defusedxml.ElementTree.fromstring(text)
    [prospect] = adf.findall("prospect")
    assert prospect.findtext("id") == "c-1"
    names = {name.get("part"): name.text for name in prospect.findall("customer/contact/name")}
    assert names == {"first": "Wren", "last": "Field <&> Sons"}
    assert prospect.findtext("customer/contact/address/city") == "Austin"
    assert "Company: AB ]]> <vendor>" in (prospect.findtext("customer/comments") or "")
    assert prospect.findtext("vendor/vendorname") == "Dealer & Co"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ({"RCPT": "550 nobody"}, Rejected),
        ({"RCPT": "451 later"}, CRMUnavailable),
        ({"MAIL": "552 no"}, Rejected),
        ({"END": "554 spam"}, Rejected),
        ({"END": "452 full"}, CRMUnavailable),
        ({"AUTH": "535 who are you"}, Rejected),
        ({"EHLO": None}, CRMUnavailable),
        ({"STARTTLS": "454 no"}, CRMUnavailable),
    ],
)
def test_what_the_mail_server_refuses_was_not_sent(
    engine: Engine, mailbox: Mailbox, answers: dict[str, str | None], error: type[Exception]
) -> None:
    mailbox.answers = answers
    writer = mailing(mailbox, engine)
    with pytest.raises(error) as caught:
        writer.create(LEAD, change_id="c-1")
    assert type(caught.value) is error
    assert writer.find("c-1") is None


def test_a_mail_whose_confirmation_is_lost_is_never_sent_again(
    engine: Engine, mailbox: Mailbox
) -> None:
    mailbox.loses_confirmations = True
    writer = mailing(mailbox, engine)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            writer.create(LEAD, change_id="c-1")
    assert (len(mailbox.mails), state_of(engine)) == (1, "begun")


def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    engine: Engine, mailbox: Mailbox
) -> None:
    with mail_server(Path(str(engine.url.database)).parent) as other:
        ca = other.ca
    with pytest.raises(CRMUnavailable):
        mailing(mailbox, engine, smtp_ca=ca).create(LEAD, change_id="c-1")
    assert (mailbox.logins, mailbox.mails) == ([], [])
