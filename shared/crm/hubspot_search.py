"""How HubSpot is searched for a person, and what makes a find the one that was meant.

https://developers.hubspot.com/docs/api-reference/search/guide: e-mail addresses are kept in lower
case; of phone numbers it indexes the area code and the local number, without the country's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.crm.hubspot_fields import NAMES, OTHER_ADDRESSES
from shared.domain.schema import Scalar
from shared.values import phone_key

Filters = list[list[dict[str, str]]]

PHONES: Final = ("phone", "mobilephone")
_INDEXED_PHONES = (
    "hs_searchable_calculated_phone_number",
    "hs_searchable_calculated_mobile_number",
)
# Fewer digits of a number whose country nobody knows would fit too many people.
_ENOUGH_DIGITS = 7
# HubSpot takes five groups of filters.
_MOST_GROUPS = 5


def by_email(address: str) -> Filters:
    """A contact's first address, or one of its others."""
    return [
        [_filter("email", "EQ", address)],
        [_filter(OTHER_ADDRESSES, "CONTAINS_TOKEN", address)],
    ]


def by_phone(number: str, region: str | None) -> Filters:
    """Every spelling that the index can find; some finds are of another country."""
    digits = national_digits(number, region)
    if len(digits) < _ENOUGH_DIGITS:
        return []
    indexed = [[_filter(name, "CONTAINS_TOKEN", f"*{digits}")] for name in _INDEXED_PHONES]
    return [*indexed, *([_filter(name, "EQ", number)] for name in PHONES)]


def by_likeness(values: Mapping[str, Scalar], region: str | None) -> Filters:
    """Whoever shares the address, the number, the last name, or first name and company."""
    words = {name: str(value).strip() for name, value in values.items() if value}
    groups: Filters = []
    if address := words.get("email"):
        groups += by_email(address.lower())[:1]
    if number := words.get("phone"):
        groups += by_phone(number, region)[:2]
    for names in (("last_name",), ("first_name", "company")):
        if all(words.get(name) for name in names):
            groups.append([_filter(NAMES[name], "CONTAINS_TOKEN", words[name]) for name in names])
    return groups[:_MOST_GROUPS]


def equal(name: str, value: str) -> Filters:
    return [[_filter(name, "EQ", value)]]


def has_email(properties: Mapping[str, Any], address: str) -> bool:
    others = str(properties.get(OTHER_ADDRESSES) or "").split(";")
    return address in {str(properties.get("email") or "").lower(), *(one.lower() for one in others)}


def has_phone(properties: Mapping[str, Any], number: str, region: str | None) -> bool:
    known = (str(properties[name]) for name in PHONES if properties.get(name))
    return any(is_same_phone(one, number, region) for one in known)


def is_same_phone(one: str, other: str, region: str | None) -> bool:
    """The same number in any spelling; without a country, the same area code and local number."""
    first, second = phone_key(one, region), phone_key(other, region)
    if first and second:
        return first == second
    digits = sorted((national_digits(one, region), national_digits(other, region)), key=len)
    return len(digits[0]) >= _ENOUGH_DIGITS and digits[1].endswith(digits[0])


def national_digits(number: str, region: str | None) -> str:
    """Area code and local number, without what is dialled before them."""
    if (key := phone_key(number, region)) is None:
        return re.sub(r"\D", "", number).lstrip("0")
    import phonenumbers

    return str(phonenumbers.parse(key).national_number)


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}
