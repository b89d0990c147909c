"""A webhook source: data plus four functions. Everything else is shared by all sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from typing import Any

from services.ingest.hook import Hook
from services.ingest.signatures import Verify
from shared.domain.event import EventKind, Sender
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import BadPayload

Raw = Mapping[str, Any]
KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024


class Outcome(StrEnum):
    """How a request ended; each source answers each in its own way."""

    STORED = "stored"
    IGNORED = "ignored"
    UNKNOWN_KIND = "unknown-kind"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    CUT_OFF = "cut-off"
    NOT_JSON = "not-json"
    BAD_PAYLOAD = "bad-payload"
    TOO_LARGE = "too-large"
    BUSY = "busy"


# What was stored and goes no further; the words are for the log and the status page.
WHY_ASIDE: Mapping[Outcome, str] = {
    Outcome.IGNORED: "this kind is not looked at, on purpose",
    Outcome.UNKNOWN_KIND: "this kind is not known to the source",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the sender gets; the three properties are what WSGI wants of it."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def status_line(self) -> str:
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    @cached_property
    def content(self) -> bytes:
        return self.body.encode()

    @cached_property
    def header_list(self) -> tuple[tuple[str, str], ...]:
        more = tuple(self.headers.items())
        if self.status == HTTPStatus.NO_CONTENT:
            return more
        length = str(len(self.content))
        return (("Content-Type", self.content_type), ("Content-Length", length), *more)


def _problem(status: int, code: str, message: str, **headers: str) -> Answer:
    body = f'{{"error":{{"code":"{code}","message":"{message}"}}}}'
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, body=body, content_type="application/json", headers=named)


PLAIN: Mapping[Outcome, Answer] = {
    Outcome.STORED: Answer(status=200),
    Outcome.IGNORED: Answer(status=200, body="Kept, and not looked at: this kind is ignored."),
    Outcome.UNKNOWN_KIND: Answer(status=200, body="Kept, and not looked at: unknown kind."),
    Outcome.DUPLICATE: Answer(status=200),
    Outcome.REFUSED: _problem(401, "refused", "The sender could not be verified."),
    Outcome.CUT_OFF: _problem(400, "cut-off", "The body ended early."),
    Outcome.NOT_JSON: _problem(400, "not-json", "The body is not valid JSON (RFC 7493)."),
    Outcome.BAD_PAYLOAD: _problem(422, "bad-payload", "The body has the wrong shape."),
    Outcome.TOO_LARGE: _problem(413, "too-large", "The body is too large."),
    Outcome.BUSY: _problem(503, "busy", "Please send it again.", Retry_After="5"),
}
NOWHERE = _problem(404, "not-found", "There is no such endpoint.")
DEFECT = _problem(500, "failed", "This could not be processed; nothing was stored.")
# RFC 9110 §11.6.1: a 401 names the scheme, or some senders never send their credentials.
WITH_BASIC: Mapping[Outcome, Answer] = {
    **PLAIN,
    Outcome.REFUSED: _problem(
        401,
        "refused",
        "The sender could not be verified.",
        WWW_Authenticate='Basic realm="hooks", charset="UTF-8"',
    ),
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a happening itself, found at the door.

    ``dedup_key`` is the same on every retry and differs for every other happening of the endpoint.
    """

    dedup_key: str
    type: str
    kind: EventKind
    occurred_at: datetime | None = None
    subject: str | None = None
    record: RecordRef | None = None


@dataclass(frozen=True, kw_only=True)
class Handshake:
    """A verified request that only sets the delivery up: it is kept and shown, and is no event.

    ``url`` is what a person opens to go on; nothing of ours ever calls it.
    """

    detail: str
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that came along; the relay keeps it under its hash."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a happening says, normalised; the fields are those of `Event`."""

    parts: Mapping[str, str] = field(default_factory=dict)
    sender: Sender | None = None
    changes: Mapping[str, Scalar] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a text must look like: ``pattern`` matches it whole, ``words`` say so to a person."""

    pattern: str
    words: str


ONE_LINE = Form(pattern=r"[^\r\n]{1,200}", words="one line of at most 200 characters")
NUMBER = Form(pattern=r"[0-9]{1,20}", words="a number")
HEADER_NAME = Form(pattern=r"[A-Za-z0-9-]{1,64}", words="a header's name, as X-Signature")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One setting of an endpoint, as its form asks for it.

    ``hint`` says what it is for, ``default`` holds where nothing is set. What is set is one of
    ``choices``, or has the ``form``.
    """

    hint: str
    default: str = ""
    choices: tuple[str, ...] = ()
    form: Form = ONE_LINE
    is_long: bool = False

    def accepts(self, value: str) -> bool:
        if self.choices:
            return value in self.choices
        return re.fullmatch(self.form.pattern, value, re.DOTALL) is not None

    @property
    def takes(self) -> str:
        return f"one of {', '.join(self.choices)}" if self.choices else self.form.words


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What the status page tells the person who sets the source up.

    ``screen`` is where the vendor asks for the URL, ``credential`` what to enter there.
    ``made_by`` is ``vendor`` where the vendor makes the secret, ``us`` where we do.
    ``form`` shows its form; ``options`` are what can be set for an endpoint. With
    ``has_secret_path`` the address itself keeps strangers out, so its name is made unguessable.
    """

    screen: str
    credential: str
    made_by: str = "us"
    form: str = "any text"
    options: Mapping[str, Option] = field(default_factory=dict)
    has_secret_path: bool = False

    def checked(self, given: Mapping[str, str]) -> dict[str, str]:
        """The options that are set. Raises `BadPayload` saying which one takes what."""
        wanted = {name: value.strip() for name, value in given.items() if value.strip()}
        for name, value in wanted.items():
            option = self.options.get(name)
            if option is None:
                known = ", ".join(self.options) or "none at all"
                raise BadPayload(f"There is no option {name}; there are: {known}.")
            if not option.accepts(value):
                raise BadPayload(f"The option {name} takes {option.takes}.")
        return wanted


@dataclass(frozen=True, kw_only=True)
class Source:
    """``split`` and ``identify`` run at the door, ``describe`` later in the relay.

    They raise `NotJson` or `BadPayload` and nothing else. ``handshake`` tells a request that only
    sets the delivery up, where the vendor sends such. ``handled`` is closed where the vendor
    publishes its kinds, ``None`` where the sender invents them; ``ignored`` kinds are accepted
    and go no further. ``keep_days`` is how long the raw bytes are kept; ``kept_headers`` are those
    that `identify` and `describe` read, and never credentials.
    """

    name: str
    title: str
    verify: Verify
    split: Callable[[Hook], Sequence[Raw]]
    identify: Callable[[Raw, Hook], Identity]
    describe: Callable[[Raw, Hook], Description]
    setup: Setup
    handled: frozenset[str] | None = None
    ignored: frozenset[str] = frozenset()
    answers: Mapping[Outcome, Answer] = field(default_factory=lambda: PLAIN)
    methods: frozenset[str] = frozenset({"POST"})
    max_bytes: int = 256 * KIBIBYTE
    keep_days: int = 90
    kept_headers: tuple[str, ...] = ("content-type",)
    handshake: Callable[[Hook], Handshake | None] = lambda _: None

    def fate(self, kinds: Sequence[str]) -> Outcome:
        """Of one request: an unknown kind in it is told first, ignored is one with nothing else."""
        if any(not self._knows(kind) and kind not in self.ignored for kind in kinds):
            return Outcome.UNKNOWN_KIND
        if kinds and all(kind in self.ignored for kind in kinds):
            return Outcome.IGNORED
        return Outcome.STORED

    def _knows(self, kind: str) -> bool:
        return self.handled is None or kind in self.handled
