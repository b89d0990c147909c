from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.office import Office, add_working, working_between
from shared.policy import FieldRule, Mode, Stage, check, check_classes, load_policy
from shared.values import ValueType, email_key, normal, oddities, phone_key

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "policy.toml"
PHONE = """
[fields.demo.contacts.phone]
mode = "review"
type = "phone"
max_length = 32
reason = "Customers tell us their new number."
"""


@dataclass(frozen=True)
class Described:
    name: str
    field_class: str | None = None
    read_only: bool = False


def shipped_rule(object_: str, name: str) -> FieldRule:
    rule = load_policy(SHIPPED).rule("demo", object_, name)
    assert rule is not None
    return rule


def test_an_empty_policy_allows_nothing_and_still_routes() -> None:
    policy = load_policy("")
    assert policy.fields == {}
    assert policy.rule("demo", "contacts", "phone") is None
    assert policy.routing("complaint").route in policy.routes


def test_the_shipped_policy_opens_fields_of_the_demo_crm_only() -> None:
    policy = load_policy(SHIPPED)
    assert {rule.crm for rule in policy.fields.values()} == {"demo"}
    opened = [rule for rule in policy.fields.values() if rule.is_open]
    assert {rule.mode for rule in opened} <= {Mode.REVIEW, Mode.TWO_PERSON}
    assert {rule.object for rule in opened} == {"contacts", "deals", "drafts"}
    assert {rule.object for rule in policy.fields.values()} - {"notes", "tasks"} == {
        rule.object for rule in opened
    }
    assert {r.stage for r in policy.fields.values()} == {Stage.LIVE}
    closed = {"amount", "owner", "stage", "lifecycle", "credit_limit", "marketing_consent"}
    assert not closed & {rule.name for rule in policy.fields.values()}


def test_a_field_without_a_stage_stays_at_dry_run() -> None:
    rule = load_policy(PHONE).rule("demo", "contacts", "phone")
    assert rule is not None
    assert rule.stage is Stage.DRY_RUN
    assert rule.roles == ("approver",)


def test_the_version_follows_the_content_and_not_comments_or_order() -> None:
    again = "# a word\n" + PHONE.replace(
        'mode = "review"\ntype = "phone"', 'type = "phone"\nmode = "review"'
    )
    assert load_policy(again).version == load_policy(PHONE).version
    assert load_policy(PHONE.replace("32", "31")).version != load_policy(PHONE).version
    assert len(load_policy(PHONE).version) == 64


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (PHONE.replace('"review"', '"notify"'), 3, "grants do not exist"),
        (PHONE.replace('"review"', '"always"'), 3, "fields.demo.contacts.phone.mode"),
        (PHONE.replace('"phone"\nmax', '"number"\nmax'), 4, "fields.demo.contacts.phone.type"),
        (PHONE.replace("max_length = 32\n", ""), 2, "max_length: is missing"),
        (PHONE.replace("32", '"32"'), 5, "not a whole number"),
        (PHONE.replace("32", "true"), 5, "not a whole number"),
        (PHONE + "colour = 1\n", 7, "fields.demo.contacts.phone.colour"),
        (PHONE + 'roles = ["support"]\n', 7, "roles"),
        (PHONE + "roles = []\n", 7, "nobody could approve"),
        (PHONE.replace("Customers tell us their new number.", "why not"), 6, "reason in words"),
        (PHONE.replace('"phone"\nmax', '"enum"\nmax'), 2, "an empty list allows nothing"),
        ('[intents]\ncomplaint = { route = "moon" }', 2, "none of the routes"),
        ("[intents]\nlove = { route = 'inbox' }", 2, "intents.love"),
        ('[office]\nzone = "Mars/Olympus"', 2, "no IANA time zone"),
        ('[office]\nopens = "17:00"\ncloses = "09:00"', 3, "later than opens"),
        ('[office]\nholidays = "ZZ"', 2, "no country"),
        ("[office]\nweekdays = []", 2, "names no day"),
        ("[budget]\ntokens_per_hour = -1", 2, "tokens_per_hour"),
        ("[nonsense]\nx = 1", 1, "nonsense"),
    ],
)
def test_a_fault_is_named_with_its_line_and_field(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load_policy(text)
    assert f"line {line}:" in str(refusal.value)
    assert words in str(refusal.value)


def test_all_faults_are_reported_at_once() -> None:
    text = PHONE.replace('"review"', '"notify"').replace("max_length = 32\n", "") + "colour = 1\n"
    with pytest.raises(ConfigurationError) as refusal:
        load_policy(text)
    assert "colour" in str(refusal.value)
    with pytest.raises(ConfigurationError) as refusal:
        load_policy(text.replace("colour = 1\n", ""))
    assert str(refusal.value).count("line ") == 2


def test_what_is_not_toml_and_what_cannot_be_read_refuse_to_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not TOML"):
        load_policy("[fields")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_policy(tmp_path / "absent.toml")


@pytest.mark.parametrize("kind", ["money", "owner", "consent", "permission", "stage", "sensitive"])
def test_a_field_of_a_closed_class_cannot_be_listed(kind: str) -> None:
    policy = load_policy(PHONE)
    problems = check_classes(policy, {("demo", "contacts"): [Described("phone", kind)]})
    assert problems == [f"fields.demo.contacts.phone: a {kind} field cannot be listed"]


def test_read_only_and_unknown_fields_cannot_be_listed_and_never_needs_no_check() -> None:
    policy = load_policy(PHONE)
    at = ("demo", "contacts")
    assert "read-only" in check_classes(policy, {at: [Described("phone", None, True)]})[0]
    assert "read-only" in check_classes(policy, {at: [Described("phone", "read_only")]})[0]
    assert "no such field" in check_classes(policy, {at: [Described("fax")]})[0]
    assert check_classes(policy, {at: [Described("phone")]}) == []
    closed = load_policy(PHONE.replace('"review"', '"never"'))
    assert check_classes(closed, {at: [Described("phone", "money")]}) == []


@pytest.mark.parametrize(
    ("object_", "name", "value"),
    [
        ("contacts", "email", "dana.miller@example.com"),
        ("contacts", "phone", "+12025550147"),
        ("contacts", "job_title", "Müller & Söhne, Geschäftsführung"),
        ("contacts", "last_contacted", "2026-11-23"),
        ("contacts", "preferred_channel", "phone"),
        ("deals", "description", "Flat roof.\nTwo skylights."),
        ("contacts", "phone", None),
    ],
)
def test_a_good_value_passes(object_: str, name: str, value: str | None) -> None:
    assert check(shipped_rule(object_, name), value) is None


@pytest.mark.parametrize(
    ("object_", "name", "value"),
    [
        ("contacts", "email", "dana"),
        ("contacts", "email", "a@b@example.com"),
        ("contacts", "email", " dana@example.com"),
        ("contacts", "email", "x" * 250 + "@example.com"),
        ("contacts", "phone", "202 555 0147"),
        ("contacts", "phone", "+1 202 555 0147"),
        ("contacts", "phone", "+99"),
        ("contacts", "phone", "+1202555014７"),
        ("contacts", "phone", 12025550147),
        ("contacts", "job_title", "Owner\u202e"),
        ("contacts", "job_title", "Ow\u200bner"),
        ("contacts", "job_title", "Owner\nAdmin"),
        ("contacts", "job_title", "x" * 121),
        ("contacts", "job_title", ""),
        ("contacts", "job_title", True),
        ("contacts", "job_title", "\ud800"),
        ("contacts", "company", "<img src=x onerror=alert(1)>"),
        ("contacts", "company", "http://169.254.169.254/"),
        ("contacts", "company", "[Acme](https://evil.test)"),
        ("contacts", "last_contacted", "23.11.2026"),
        ("contacts", "last_contacted", "2026-02-30"),
        ("contacts", "last_contacted", "20261123"),
        ("contacts", "preferred_channel", "fax"),
        ("contacts", "preferred_channel", "Phone"),
        ("deals", "description", "a\x00b"),
    ],
)
def test_a_bad_value_is_refused_in_words(object_: str, name: str, value: str) -> None:
    assert check(shipped_rule(object_, name), value)


def test_a_closed_field_takes_no_value_at_all() -> None:
    rule = load_policy(PHONE.replace('"review"', '"never"')).rule("demo", "contacts", "phone")
    assert rule is not None
    assert check(rule, "+12025550147") is not None


def test_a_look_alike_address_is_marked_and_not_refused() -> None:
    fake = "a@ex\u0430mple.com"
    assert check(shipped_rule("contacts", "email"), fake) is None
    assert oddities(fake) == ("letters of several scripts in one word",)
    assert oddities("Müller, Straße 5") == ()
    assert oddities("Иван Петров") == ()


def test_two_spellings_of_a_value_have_one_normal_form() -> None:
    assert normal(ValueType.PHONE, "(202) 555-0147", "US") == "+12025550147"
    assert normal(ValueType.EMAIL, "Dana@Example.COM") == email_key("dana@example.com")
    assert normal(ValueType.TEXT, "  14  Orchard\tLANE ") == normal(
        ValueType.TEXT, "14 Orchard lane"
    )
    assert phone_key("030 901820", "DE") == "+4930901820"
    assert phone_key("12", "US") is None


def test_office_hours_skip_nights_weekends_and_holidays() -> None:
    office = Office(zone="Europe/Berlin", holidays="DE")
    friday = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)  # 16:00 in Berlin
    assert add_working(office, friday, 120) == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    assert working_between(office, friday, datetime(2026, 11, 23, 9, 0, tzinfo=UTC)) == 120
    christmas_eve = datetime(2026, 12, 24, 15, 0, tzinfo=UTC)
    assert add_working(office, christmas_eve, 120) == datetime(2026, 12, 28, 9, 0, tzinfo=UTC)
