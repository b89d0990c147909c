"""A model that does its work: it proposes the number or address that stands in what it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes.openai_server import Script, completion, running_openai

NUMBER = re.compile(r"\+\d{11}")
CARD = ("first_name", "last_name", "email")
SECONDS = 0.02


@contextmanager
def helpful_model() -> Iterator[str]:
    """Its address."""
    with running_openai() as (server, url):

        def answer(request: dict[str, Any], _: str | None) -> Script:
            said = json.dumps(_answer(json.loads(request["messages"][1]["content"])))
            return Script(body=completion(said), how="hang", seconds=SECONDS)

        server.next = answer  # type: ignore[method-assign]
        yield url


def _answer(shown: dict[str, Any]) -> dict[str, Any]:
    proposals = _about_record(shown) if "record" in shown else _about_stranger(shown)
    return {
        "outcome": "proposed" if proposals else "nothing_to_do",
        "route": "records",
        "urgency": "normal",
        "summary": "A customer writes.",
        "reason": "It says so.",
        "reply_draft": None,
        "next_steps": [],
        "proposals": proposals,
    }


def _about_record(shown: dict[str, Any]) -> list[dict[str, Any]]:
    for part, text in shown["parts"].items():
        if found := NUMBER.search(text):
            return [{"record": "record", "fields": [_field("phone", found[0], part)]}]
    return []


def _about_stranger(shown: dict[str, Any]) -> list[dict[str, Any]]:
    parts = shown["parts"]
    if not parts.keys() >= set(CARD):
        return []
    return [{"record": "new", "fields": [_field(name, parts[name], name) for name in CARD]}]


def _field(name: str, value: str, part: str) -> dict[str, Any]:
    return {"field": name, "value": value, "part": part, "quote": value}
