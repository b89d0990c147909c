"""Finding people in Pipedrive, whose search is literal and knows no spelling of a number.

https://developers.pipedrive.com/docs/api/v1/Persons#searchPersons
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from shared.crm.duplicates import likely_duplicates
from shared.crm.pipedrive_fields import Get
from shared.domain.schema import Scalar
from shared.values import phone_key

PEOPLE: Final = "/api/v2/persons/search"
DEALS: Final = "/api/v2/deals/search"
# The shortest part of a number that says whose it is: more than a local number of most places.
LEAST_DIGITS: Final = 8
Item = Mapping[str, Any]


class Finder:
    """``region`` (ISO 3166) is where numbers without a country code are dialled from."""

    def __init__(self, get: Get, *, region: str | None) -> None:
        self._get = get
        self._region = region

    def by_email(self, address: str) -> list[Item]:
        wanted = address.strip().casefold()
        return [item for item in self._found(wanted, "email") if wanted in _emails(item)]

    def by_phone(self, number: str) -> list[Item]:
        """The first spelling that finds anybody whose number is this one."""
        for form in self._forms(number):
            found = self._found(form, "phone", exact=False)
            if same := [item for item in found if self._has(item, number)]:
                return same
        return []

    def by_own_field(self, path: str, value: str) -> list[Item]:
        """Whoever holds exactly this in one of the own fields; the caller looks which."""
        return list(self._found(value, "custom_fields", path=path))

    def duplicates(self, fields: Mapping[str, Scalar]) -> list[tuple[Item, str]]:
        """Who a new person with these fields (our words) might repeat, and why."""
        email, phone = str(fields.get("email") or ""), str(fields.get("phone") or "")
        names = (str(fields.get(key) or "").strip() for key in ("first_name", "last_name"))
        name = " ".join(one for one in names if one)
        found = [
            *(self.by_email(email) if email else ()),
            *(self.by_phone(phone) if phone else ()),
            *(self._found(name, "name", exact=False) if len(name) > 1 else ()),
        ]
        items = {str(item["id"]): item for item in found}
        wanted = {**fields, "phone": self._key(phone) or None}
        known = [(item, self._in_our_words(item, email, phone)) for item in items.values()]
        return likely_duplicates(wanted, known)

    def _in_our_words(self, item: Item, email: str, phone: str) -> dict[str, Scalar]:
        first, _, last = str(item.get("name") or "").rpartition(" ")
        emails = _emails(item)
        numbers = [self._key(one) for one in item.get("phones") or ()]
        organization = item.get("organization") or {}
        return {
            "first_name": first,
            "last_name": last,
            "email": _preferred(emails, email.strip().casefold()),
            "phone": _preferred(numbers, self._key(phone)),
            "company": organization.get("name"),
        }

    def _found(
        self, term: str, field: str, *, exact: bool = True, path: str = PEOPLE
    ) -> Iterator[Item]:
        params = {"term": term, "fields": field, "limit": "100"}
        params["exact_match"] = "true" if exact else "false"
        if term:
            yield from (row["item"] for row in self._get(path, params)["data"]["items"])

    def _has(self, item: Item, number: str) -> bool:
        return any(self.is_same(one, number) for one in item.get("phones") or ())

    def is_same(self, one: str, other: str) -> bool:
        """Equal in E.164; where one has no country code, the shorter ends the longer."""
        mine, theirs = phone_key(one, self._region), phone_key(other, self._region)
        if mine and theirs:
            return mine == theirs
        ends = sorted((_digits(one).lstrip("0"), _digits(other).lstrip("0")), key=len)
        return len(ends[0]) >= LEAST_DIGITS and ends[1].endswith(ends[0])

    def _key(self, number: str) -> str:
        return phone_key(number, self._region) or _digits(number)

    def _forms(self, number: str) -> Iterable[str]:
        """The spellings that people use; each of them costs a search."""
        forms = [number.strip(), *_spellings(phone_key(number, self._region)), _digits(number)]
        return dict.fromkeys(
            form for form in forms if len(_digits(form).lstrip("0")) >= LEAST_DIGITS
        )


def _spellings(key: str | None) -> list[str]:
    if key is None:
        return []
    import phonenumbers
    from phonenumbers import PhoneNumberFormat as Form

    number = phonenumbers.parse(key, None)
    kinds = (Form.INTERNATIONAL, Form.NATIONAL)
    national = phonenumbers.national_significant_number(number)
    return [key, *(phonenumbers.format_number(number, kind) for kind in kinds), national]


def _emails(item: Item) -> list[str]:
    return [str(one).casefold() for one in item.get("emails") or ()]


def _preferred(known: list[str], wanted: str) -> str | None:
    return wanted if wanted in known else next(iter(known), None)


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isascii() and char.isdigit())
