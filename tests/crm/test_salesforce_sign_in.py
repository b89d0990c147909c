"""How Salesforce lets us in, and how much of its limits we use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_curve_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.writer.crm.registry import writer_of
from services.writer.crm.salesforce import SalesforceWriter
from shared.crm import readers
from shared.crm.accounts import Account, _account
from shared.crm.client import Client
from shared.crm.pace import Pace
from shared.crm.salesforce import SalesforceReader
from shared.crm.salesforce_connection import connect, heed_usage
from shared.crm.transport import Answer
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, CRMUnavailable, Rejected
from tests.fakes.faulty_crm import Fault, FaultyCrm, served, status
from tests.fakes.salesforce import READ_CLIENT, WRITE_CLIENT, Salesforce, running_salesforce
from tests.fakes.salesforce_sign_in import Client as AppClient


@pytest.fixture
def fake() -> Iterator[Salesforce]:
    with running_salesforce() as fake:
        yield fake


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return new_rsa_key(public_exponent=65537, key_size=2048)


def pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def dana(fake: Salesforce) -> RecordRef:
    return RecordRef(crm="salesforce", type="contacts", id=fake.contact)


def with_key(fake: Salesforce, folder: Path, key: RSAPrivateKey, **more: str) -> Account:
    """The account as its table in the file gives it, with the key in a file of its own."""
    (folder / "key.pem").write_text(pem(key))
    table = {
        "url": fake.url, "private_address": "yes", "client_id": "jwt-client", "username": "reader@example.com",
        "private_key_file": str(folder / "key.pem"), **more,
    }  # fmt: skip
    fake.api.sign_in.clients["jwt-client"] = AppClient(user=fake.reader, key=key.public_key())
    return _account("salesforce", table, None)


def test_a_signed_assertion_lets_us_in_without_a_secret(
    fake: Salesforce, tmp_path: Path, key: RSAPrivateKey
) -> None:
    reader = SalesforceReader.of(with_key(fake, tmp_path, key), 5)
    assert reader.read(dana(fake)).title == "Dana Miller"
    assert reader._connection.login.user() == fake.reader.id


@pytest.mark.parametrize(
    "wrong", [{"username": "somebody@example.com"}, {"audience": "https://test.salesforce.com"}, {"client_id": "x"}]
)  # fmt: skip
def test_an_assertion_about_another_is_refused(
    fake: Salesforce, tmp_path: Path, key: RSAPrivateKey, wrong: dict[str, str]
) -> None:
    reader = SalesforceReader.of(with_key(fake, tmp_path, key, **wrong), 5)
    with pytest.raises(Rejected, match="invalid assertion"):
        reader.read(dana(fake))


def test_an_assertion_of_another_key_is_refused(
    fake: Salesforce, tmp_path: Path, key: RSAPrivateKey
) -> None:
    account = with_key(fake, tmp_path, key)
    stranger = new_rsa_key(public_exponent=65537, key_size=2048)
    fake.api.sign_in.clients["jwt-client"] = AppClient(user=fake.reader, key=stranger.public_key())
    with pytest.raises(Rejected, match="invalid assertion"):
        SalesforceReader.of(account, 5).read(dana(fake))


def test_what_is_no_rsa_key_is_a_fault_of_the_configuration(fake: Salesforce) -> None:
    curve = new_curve_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for text in ("no key at all", curve.decode()):
        account = fake.account("x", private_key=text, username="reader@example.com")
        with pytest.raises(ConfigurationError, match="private_key") as caught:
            connect(account, 5)
        assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [("url", ""), ("client_id", ""), ("client_secret", ""), ("version", "67"), ("version", "v67.0/../x"), ("share", "none"),
     ("calls_per_day", "-1"), ("mark_field", "a'b"), ("mark_field", "a b")],
)  # fmt: skip
def test_a_wrong_option_is_named(fake: Salesforce, option: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=option):
        SalesforceWriter.of(fake.account(WRITE_CLIENT, **{option: value}))


def test_an_address_in_the_own_network_is_refused_unless_it_is_allowed(fake: Salesforce) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        connect(fake.account(READ_CLIENT, private_address="no"), 5)


def test_a_session_that_ended_is_renewed_once_for_reads_and_writes(fake: Salesforce) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT), 5)
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT))
    for number in range(2):
        version = reader.read(dana(fake)).version
        writer.update(dana(fake), {"Title": f"Chief {number}"}, change_id="c", version=version)
        fake.api.sign_in.expire()
    assert (fake.effects(), fake.api.sign_in.sign_ins) == (2, 4)


def test_a_session_that_nobody_accepts_is_refused_after_one_new_token(fake: Salesforce) -> None:
    writer = SalesforceWriter.of(fake.account(WRITE_CLIENT))
    refusal = status(
        401, b'[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]'
    )
    fake.script("write", *[refusal] * 5)
    with pytest.raises(Rejected, match="Session expired"):
        writer.update(dana(fake), {"Title": "Chief"}, change_id="c")
    assert len(fake.writes()) == 2
    assert fake.api.sign_in.sign_ins == 2


def test_a_wrong_secret_is_refused_and_never_named(fake: Salesforce) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT, client_secret="wrong-secret"), 5)
    with pytest.raises(Rejected, match="invalid client") as caught:
        reader.read(dana(fake))
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "fault",
    [status(500), status(503), status(429), Fault(kind="cut"), Fault(kind="hang"), status(200, b"{}"), status(200, b"x"),
     status(200, b'{"access_token":"a\\nb"}'), status(200, b'{"access_token":7}')],
    ids=str,
)  # fmt: skip
def test_a_sign_in_in_trouble_is_an_outage_and_no_write(fault: Fault) -> None:
    """Nothing was sent, so that it is certain that nothing was written."""
    door = FaultyCrm(lambda *_: [])
    door.script("POST", *[fault] * 3)
    with served(door) as url:
        options = {
            "url": url,
            "private_address": "yes",
            "client_id": "a",
            "client_secret": "b",
            "timeout": "0.3",
        }
        writer = SalesforceWriter.of(
            Account(name="salesforce", vendor="salesforce", options=options)
        )
        ref = RecordRef(crm="salesforce", type="contacts", id="003000000000001")
        with pytest.raises(CRMUnavailable):
            writer.update(ref, {"Title": "Chief"}, change_id="c")
    assert [path for _, path in door.calls] == ["/services/oauth2/token"]


def test_another_version_is_one_option_away(fake: Salesforce) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT, version="v64.0"), 5)
    reader.read(dana(fake))
    assert {one.path.split("/")[3] for one in fake.api.requests if "data" in one.path} == {"v64.0"}


def test_the_registries_make_both_sides_of_an_account_by_its_name(fake: Salesforce) -> None:
    account = fake.account(READ_CLIENT)
    sandbox = Account(name="sf-sandbox", vendor="salesforce", options=account.options)
    made = readers([account, sandbox], timeout=5)
    assert {name: one.crm for name, one in made.items()} == {
        "salesforce": "salesforce",
        "sf-sandbox": "sf-sandbox",
    }
    other = RecordRef(crm="sf-sandbox", type="contacts", id=fake.contact)
    assert made["sf-sandbox"].read(other).ref == other
    assert isinstance(writer_of(fake.account(WRITE_CLIENT)), SalesforceWriter)


def test_the_rights_are_told_by_the_crm_itself(fake: Salesforce) -> None:
    reading = SalesforceReader.of(fake.account(READ_CLIENT), 5).scopes()
    assert {right.partition(":")[2] for right in reading} == {"read"}
    writing = SalesforceWriter.of(fake.account(WRITE_CLIENT)).scopes()
    assert {right for right in writing if not right.endswith(":read")} == {
        "accounts:update", "cases:update", "contacts:create", "contacts:update", "leads:create", "leads:update",
        "opportunities:update", "tasks:create",
    }  # fmt: skip
    fake.writer.rights["User"] = frozenset({"read", "delete"})
    assert "User:delete" in SalesforceWriter.of(fake.account(WRITE_CLIENT)).scopes()


class Seconds:
    """A clock that goes on by sleeping."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def paced(rate: float = 1.0, burst: float = 1000.0) -> tuple[Pace, Seconds]:
    clock = Seconds()
    return Pace(rate, burst, clock=clock, sleep=clock.sleep), clock


def usage(text: str, code: int = 200) -> Answer:
    return Answer(status=code, data=None, headers={"Sforce-Limit-Info": text})


def test_no_more_than_our_share_of_what_the_day_has_left_is_used() -> None:
    pace, clock = paced(rate=0.001)
    heed_usage(0.25, 60)(usage("api-usage=4960/5000; per-app-api-usage=1/2(appName=x)"), pace)
    for _ in range(10):
        pace.take(1)
    assert clock.at == 0
    with pytest.raises(CRMUnavailable, match="rate limit"):
        pace.take(1)


@pytest.mark.parametrize(
    "text", ["api-usage=5000/5000", "api-usage=5200/5000", "api-usage=4998/5000"]
)
def test_a_used_up_day_is_waited_for(text: str) -> None:
    pace, _ = paced()
    heed_usage(0.25, 60)(usage(text), pace)
    with pytest.raises(CRMUnavailable, match="wait 60 s"):
        pace.take(5)


@pytest.mark.parametrize(
    "text", ["", "api-usage=", "api-usage=a/b", "per-app-api-usage=9/9", "api-usage=1/5000"]
)
def test_other_words_about_limits_stop_nothing(text: str) -> None:
    pace, clock = paced()
    heed_usage(0.25, 60)(usage(text), pace)
    for _ in range(1000):
        pace.take(0)
    assert clock.at == 0


def test_the_limit_of_the_day_is_told_and_ends_our_calls(fake: Salesforce) -> None:
    reader = SalesforceReader.of(fake.account(READ_CLIENT, limit_pause="30"), 1.5)
    fake.api.limit = 8
    read = 0
    with pytest.raises(CRMUnavailable):
        for _ in range(20):
            reader.read(dana(fake))
            read += 1
    # What is left of the day is left to others.
    assert 1 <= read == fake.api.used <= 5
    calls = len(fake.door.calls)
    with pytest.raises(CRMUnavailable, match="wait"):
        reader.read(dana(fake))
    assert len(fake.door.calls) == calls


def test_the_share_of_a_day_is_its_rate(fake: Salesforce) -> None:
    pace = connect(fake.account(READ_CLIENT, calls_per_day="86400", share="0.5"), 5).pace
    assert (pace._rate, pace._burst) == (0.5, 1800.0)
    assert isinstance(SalesforceReader.of(fake.account(READ_CLIENT), 5)._client, Client)
