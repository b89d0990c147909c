"""Each mail of the corpus gives the facts that its row states.

``body``, ``signature``, ``quoted`` and ``title`` (the subject) are exact, absent ones empty where
another is given; ``has_quoted`` only says that there is history. ``facts`` have to be there,
``without`` must not. ``sender`` is name and address, ``files`` are names and types. ``values`` is
all that the rules propose for a sender whom the CRM does not know; ``shortcut`` is the flag of a
mail that needs nobody, and no other mail may get one.
"""

from __future__ import annotations

from typing import Any

import pytest

from services.classifier.guard import admissible
from services.classifier.rules import answer_by_rules
from services.classifier.shortcuts import shortcut
from services.ingest.mail import describe_mail
from services.ingest.mime import read_mime
from services.ingest.source import Description
from shared.domain.event import Event
from tests.classifier import examples
from tests.ingest.mail_corpus import mail_bytes, rows

ROWS = list(rows())


def described(row: dict[str, Any]) -> Description:
    return describe_mail(read_mime(mail_bytes(row)))


def event_of(said: Description) -> Event:
    return examples.event(parts=dict(said.parts), sender=said.sender, facts=dict(said.facts))


def test_the_corpus_is_large_and_every_name_stands_once() -> None:
    names = [(row["group"], row["id"]) for row in ROWS]
    assert len(names) == len(set(names))
    assert len(names) >= 150


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['group']}/{row['id']}" for row in ROWS])
def test_a_mail_gives_the_facts_that_are_expected(row: dict[str, Any]) -> None:
    said = described(row)
    assert texts(said, row) == {name: row[name] for name in TEXTS if name in row}
    assert bool(said.parts.get("quoted")) == row.get("has_quoted", "quoted" in row)
    assert bool(said.parts.get("signature")) == bool(row.get("signature"))
    assert row.get("facts", {}).items() <= said.facts.items()
    assert not set(row.get("without", ())) & set(said.facts)
    if "sender" in row:
        assert said.sender is not None
        assert [said.sender.name or "", said.sender.email or ""] == row["sender"]
    assert [[file.name, file.media_type] for file in said.files] == row.get("files", [])


TEXTS = {"title": "subject", "body": "body", "signature": "signature", "quoted": "quoted"}


def texts(said: Description, row: dict[str, Any]) -> dict[str, str]:
    return {name: said.parts.get(part, "") for name, part in TEXTS.items() if name in row}


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['group']}/{row['id']}" for row in ROWS])
def test_the_rules_find_in_a_mail_what_is_expected(row: dict[str, Any]) -> None:
    found = event_of(described(row))
    flag = shortcut(found, is_known=False)
    assert (flag.flag if flag else "") == row.get("shortcut", "")
    if "values" in row:
        subject = examples.about_stranger(found)
        admitted = admissible(answer_by_rules(subject), subject)
        assert {change.field: change.after for change in admitted.fields} == row["values"]
        for change in admitted.fields:
            if where := change.evidence:
                assert found.parts[where.part][where.start : where.end] == where.quote
