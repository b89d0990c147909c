"""Finding people in Salesforce, which compares text as it was typed: by address, number or name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shared.crm.duplicates import likely_duplicates
from shared.crm.salesforce_connection import PEOPLE
from shared.crm.salesforce_soql import Ask, Row, beginning, containing, quoted, select
from shared.domain.schema import Scalar
from shared.values import phone_key

MOST: Final = 200
# No field in which we look is longer.
LONGEST: Final = 255
SHORTEST_NUMBER: Final = 6
_NAME_START = 3
# Our words for a person's fields, in each of the objects that hold people.
NAMES: Final = {
    "contacts": {
        "first_name": "FirstName",
        "last_name": "LastName",
        "email": "Email",
        "phone": "Phone",
        "job_title": "Title",
        "address": "MailingStreet",
        "city": "MailingCity",
        "postal_code": "MailingPostalCode",
    },
    "leads": {
        "first_name": "FirstName",
        "last_name": "LastName",
        "email": "Email",
        "phone": "Phone",
        "job_title": "Title",
        "company": "Company",
        "address": "Street",
        "city": "City",
        "postal_code": "PostalCode",
    },
}
# The parent is asked for by its path, since a contact has no company of its own.
_COMPANY: Final = {"contacts": "Account.Name", "leads": "Company"}
# A lead that was converted lives on as a contact.
_LIVE: Final = {"contacts": "", "leads": " AND IsConverted = false"}


def people_where(ask: Ask, type_: str, condition: str, fields: str = "FIELDS(ALL)") -> list[Row]:
    """People of one type; a contact, or a lead that is not converted."""
    where = f"({condition}){_LIVE[type_]}"
    return ask(select(fields, PEOPLE[type_], where, f"LIMIT {MOST}"))


def with_email(address: str) -> str | None:
    """The condition; the CRM compares addresses without case."""
    is_askable = 0 < len(address) <= LONGEST
    return f"Email = {quoted(address.strip())}" if is_askable else None


def with_number(number: str, fields: Sequence[str], region: str | None) -> str | None:
    """The condition that finds the number in any spelling, and perhaps others beside it."""
    digits = national(number, region)
    if len(number) > 40 or len(digits) < SHORTEST_NUMBER or not fields:
        return None
    pattern = containing(digits)
    return " OR ".join(f"{field} LIKE {pattern}" for field in fields)


def with_name(type_: str, values: Mapping[str, Scalar]) -> str | None:
    """The condition that finds whoever might have a like name and company."""
    last, company = (str(values.get(word) or "").strip() for word in ("last_name", "company"))
    parts = []
    if len(last) >= _NAME_START:
        parts.append(f"LastName LIKE {beginning(last[:_NAME_START])}")
    if words := re.findall(r"\w{3,}", company):
        parts.append(f"{_COMPANY[type_]} LIKE {containing([max(words, key=len)[:LONGEST]])}")
    return " OR ".join(parts) if last and company and parts else None


def has_number(row: Row, number: str, fields: Sequence[str], region: str | None) -> bool:
    return any(is_same_number(str(row.get(field) or ""), number, region) for field in fields)


def is_same_number(one: str, other: str, region: str | None) -> bool:
    """By E.164 where both say their country, else by the national digits."""
    keys = phone_key(one, region), phone_key(other, region)
    if all(keys):
        return keys[0] == keys[1]
    digits = national(one, region)
    return len(digits) >= SHORTEST_NUMBER and digits == national(other, region)


def national(number: str, region: str | None) -> str:
    """The digits without country code and trunk prefix."""
    import phonenumbers

    if key := phone_key(number, region):
        return phonenumbers.national_significant_number(phonenumbers.parse(key))
    return re.sub(r"[^0-9]", "", number).lstrip("0")


def alike(
    ask: Ask,
    values: Mapping[str, Scalar],
    phones: Callable[[str], Sequence[str]],
    region: str | None,
) -> list[tuple[str, Row, str]]:
    """People whom a new one with these values (our words) might repeat: type, row and why."""
    found: list[tuple[str, Row, str]] = []
    for type_ in PEOPLE:
        columns = phones(type_)
        rows = _possible(ask, type_, values, columns, region)
        known = [(row, _in_our_words(row, values, columns, region)) for row in rows]
        found += [(type_, row, why) for row, why in likely_duplicates(values, known)]
    return found


def _possible(
    ask: Ask, type_: str, values: Mapping[str, Scalar], phones: Sequence[str], region: str | None
) -> list[Row]:
    conditions = (
        with_email(str(values.get("email") or "")),
        with_number(str(values.get("phone") or ""), phones, region),
        with_name(type_, values),
    )
    columns = ", ".join(["Id", "Name", "FirstName", "LastName", "Email", _COMPANY[type_], *phones])
    rows = (
        row
        for condition in conditions
        if condition
        for row in people_where(ask, type_, condition, columns)
    )
    return list({row["Id"]: row for row in rows}.values())


def _in_our_words(
    row: Row, values: Mapping[str, Scalar], phones: Sequence[str], region: str | None
) -> dict[str, Scalar]:
    """The number is told as the new person writes it where it is the same one."""
    number = str(values.get("phone") or "")
    account = row.get("Account")
    return {
        "first_name": row["FirstName"],
        "last_name": row["LastName"],
        "email": row["Email"],
        "company": account["Name"] if account else row.get("Company"),
        "phone": number if number and has_number(row, number, phones, region) else None,
    }
