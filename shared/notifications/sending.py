"""Handing one message to one address through apprise, and saying what came back."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Tone = Literal["info", "success", "warning", "failure"]
SHORTEST_SECRET = 5
LONGEST_ANSWER = 200


@dataclass(frozen=True, kw_only=True)
class Message:
    """Plain text, ready to send."""

    title: str
    text: str
    tone: Tone = "info"


def deliver(url: str, message: Message) -> str | None:
    """``None`` when it was taken, otherwise why not, without any part of the address.

    May take as long as the service's own time-out, 4 to 15 seconds. Never raises.
    """
    try:
        return _deliver(url, message)
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything; the loop goes on.
        return type(error).__name__


def _deliver(url: str, message: Message) -> str | None:
    apprise = _apprise()
    sender = apprise.Apprise(asset=apprise.AppriseAsset(app_id="Countersign", secure_logging=True))
    if not sender.add(url):
        return "this is no address that apprise knows"
    with apprise.LogCapture(level=apprise.logging.WARNING, fmt="%(message)s") as said:
        is_taken = sender.notify(
            title=message.title, body=message.text, notify_type=message.tone, body_format="text"
        )
        answer = said.getvalue()
    return None if is_taken else without_secrets(answer, url) or "not delivered"


def without_secrets(answer: str, url: str) -> str:
    """The first line of what was said, with every part of the address taken out of it."""
    line = next(iter(answer.strip().splitlines()), "")[:LONGEST_ANSWER]
    return _replaced(line, re.split(r"[/:@?&=,]+", url))


def _replaced(line: str, parts: Sequence[str]) -> str:
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            line = line.replace(part, "…")
    return line


def _apprise() -> Any:
    """Half a second and 130 plug-ins: loaded when the first notice is due."""
    with warnings.catch_warnings():
        # One of its plug-ins asks for a module that Python 3.13 no longer has.
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise
        from apprise import Apprise

        Apprise.instantiate("json://localhost")  # Loads the plug-ins.
    return apprise
