"""Serves a vendor's double with sample records: ``python -m tests.fakes hubspot``.

Prints one line of JSON: the options of both accounts and the object type and fields of a person.
It ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.faulty_crm import served
from tests.fakes.hubspot import READ_KEY, WRITE_APP, WRITE_KEY, HubSpot, Key

PEOPLE = (
    ("Dana", "Miller", "dana.miller@example.com", "(202) 555-0101", "Miller Bakery"),
    ("Rosa", "Delgado", "rosa.delgado@example.com", "(202) 555-0102", "Delgado Homes"),
    ("Grace", "Whitfield", "grace.whitfield@example.org", "(202) 555-0103", "Whitfield & Co"),
)


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """``app`` is what is served; ``fields`` are those of a person that the policy opens."""

    app: Any
    people: str
    fields: dict[str, str]
    read: dict[str, str]
    write: dict[str, str]


def hubspot() -> Demonstration:
    crm = HubSpot()
    crm.keys[WRITE_KEY] = Key(app=WRITE_APP, scopes=frozenset({"crm.objects.contacts.write"}))
    for first, last, email, phone, company in PEOPLE:
        crm.add(
            "contacts",
            {"firstname": first, "lastname": last, "email": email, "phone": phone,
             "company": company},
        )  # fmt: skip
    return Demonstration(
        app=crm.faulty,
        people="contacts",
        fields={"phone": "phone", "email": "email", "jobtitle": "text", "city": "text"},
        read={"token": READ_KEY},
        write={"token": WRITE_KEY, "mark_property": "countersign_change"},
    )


DEMONSTRATIONS: dict[str, Callable[[], Demonstration]] = {"hubspot": hubspot}


def main(vendor: str) -> None:
    found = DEMONSTRATIONS[vendor]()
    with served(found.app) as url:
        common = {"url": url, "private_address": "yes"}
        said = {
            "people": found.people,
            "fields": found.fields,
            "read": {**common, **found.read},
            "write": {**common, **found.write},
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
