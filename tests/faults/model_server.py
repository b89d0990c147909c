"""A model that does its work: finds the new phone number in what it is shown, and proposes it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.fakes.openai_server import Script, completion, running_openai

NUMBER = re.compile(r"new phone number(?: is)?:? (\+\d{11})")
SECONDS = 0.05


@contextmanager
def helpful_model() -> Iterator[str]:
    """Its address."""
    with running_openai() as (server, url):

        def answer(request: dict[str, Any], _: str | None) -> Script:
            return Script(
                body=completion(json.dumps(_answer(request))), how="hang", seconds=SECONDS
            )

        server.next = answer  # type: ignore[method-assign]
        yield url


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    shown = request["messages"][1]["content"]
    found = NUMBER.search(shown)
    proposals = []
    if found and '"record"' in shown:
        field = {"field": "phone", "value": found[1], "part": "body", "quote": found[0]}
        proposals = [{"record": "record", "fields": [field]}]
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
