"""Many thousand hostile requests against one running product, and what its stores hold then."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import create_engine, text

from services.ingest.endpoints import Endpoints
from services.ingest.sources import SOURCES
from shared.canonical import sha256_hex
from tests.bench.facts import anonymous_mb, tree
from tests.hostile import json_texts, texts, wire
from tests.hostile.good import Good
from tests.hostile.signing import ENDPOINT, Request, forged, of_bytes, open_endpoints, signed
from tests.product import Product

SENDERS = 8
# Memory is compared with what it was when so many requests had warmed everything up: until then the
# processes copy what they shared when they were forked. A shorter run tells nothing about it.
WARM_UP = 10_000
MOST_GROWN_MB, GOAL_P99 = 50, 1.0
STEP = 5000
_ANY, _ACCEPTED, _REFUSED = range(200, 500), range(200, 300), range(400, 500)
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One request of ``kind`` as bytes, and the statuses that are right for it.

    ``proves`` is the hash of its body where the signature is sound. ``may_hang_up`` where no
    answer at all is right too. ``patience`` is how many seconds an answer may take.
    """

    kind: str
    what: str
    content: bytes = field(repr=False)
    right: range = _ANY
    proves: str | None = None
    may_hang_up: bool = False
    patience: float = wire.SECONDS


@dataclass(kw_only=True)
class Result:
    """What was sent and seen; ``wrong`` names the requests that were answered wrongly."""

    sent: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unproved: int = 0
    accepted: int = 0
    grown_mb: float | None = None
    good_sent: int = 0
    good_failed: int = 0
    good_p99: float = 0.0
    seconds: float = 0.0

    @property
    def server_errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status >= 500)

    @property
    def faults(self) -> list[str]:
        """What the goals do not allow, in words."""
        goals = {
            f"{self.server_errors} server errors": self.server_errors,
            f"{self.unproved} stored without a valid signature": self.unproved,
            f"memory grew by {self.grown_mb} MB": (self.grown_mb or 0) >= MOST_GROWN_MB,
            f"good requests waited {self.good_p99} s (p99)": self.good_p99 >= GOAL_P99,
            f"{self.good_failed} good requests failed": self.good_failed,
            "nothing was measured": not (self.accepted and self.good_sent),
        }
        return [*(words for words, is_bad in goals.items() if is_bad), *self.wrong[:20]]


def assault(product: Product, count: int, tell: Callable[[str], None] = lambda _: None) -> Result:
    """``count`` requests of all kinds, mixed, with good traffic beside them."""
    assert product.process is not None
    open_endpoints(Endpoints(product.home().endpoints))
    result, began = Result(), time.monotonic()
    proved: set[str] = set()
    shots = itertools.islice(_mixed(), count)
    with Good(product=product) as good:
        before = None
        while (sent := result.sent.total()) < count:
            if before is None and sent >= WARM_UP:
                before = anonymous_mb(tree(product.process.pid))
            _send(product.port, itertools.islice(shots, STEP), result, proved)
            if before is not None:
                result.grown_mb = round(anonymous_mb(tree(product.process.pid)) - before, 1)
            tell(f"{result.sent.total():,} requests, memory {result.grown_mb or 0:+} MB")
    result.good_sent, result.good_failed = good.sent, good.failed
    result.good_p99 = good.p99()
    result.seconds = round(time.monotonic() - began, 1)
    result.accepted, result.unproved = _stored(product, proved | good.proved)
    return result


def _send(port: int, shots: Iterator[Shot], result: Result, proved: set[str]) -> None:
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                shot = next(shots, None)
                if shot is None:
                    return
                if shot.proves:
                    proved.add(shot.proves)
            statuses = _said(port, shot)
            with lock:
                _judge(shot, statuses, result)

    with ThreadPoolExecutor(SENDERS) as pool:
        for done in [pool.submit(work) for _ in range(SENDERS)]:
            done.result()


def _said(port: int, shot: Shot) -> list[int]:
    try:
        return wire.say(port, shot.content, patience=shot.patience)
    except TimeoutError:
        return [0]


def _judge(shot: Shot, statuses: list[int], result: Result) -> None:
    result.sent[shot.kind] += 1
    result.statuses.update(statuses)
    is_right = all(status in shot.right for status in statuses)
    if not is_right or not (statuses or shot.may_hang_up):
        result.wrong.append(f"{shot.kind}: {shot.what}: {statuses}")


def _mixed() -> Iterator[Shot]:
    """The kinds take turns; half of all are forgeries."""
    forgeries, others = _forgeries(), [_controls(), _json(), _naughty(), _oddities()]
    for other in itertools.cycle(others):
        yield next(forgeries)
        yield next(other)


def _forgeries() -> Iterator[Shot]:
    for round_ in itertools.count():
        turns = [_forgeries_of(source, round_) for source in SOURCES]
        for of_each in itertools.zip_longest(*turns):
            yield from (shot for shot in of_each if shot is not None)


def _forgeries_of(source: str, round_: int) -> Iterator[Shot]:
    """Of a body of its own, whose sound form is never sent: stored, it would be seen."""
    for what, request in forged(source, 1_000_000 + round_, int(time.time())):
        content = wire.as_bytes(request)
        yield Shot(
            kind="forged", what=f"{source}: {what}", content=content, right=_REFUSED,
            may_hang_up=True,
        )  # fmt: skip


def _controls() -> Iterator[Shot]:
    """The same requests unforged are accepted: otherwise refusing would prove nothing."""
    for number in itertools.count():
        for source in SOURCES:
            request = signed(source, number, int(time.time()))
            yield _sound("sound", source, request, _ACCEPTED)


def _json() -> Iterator[Shot]:
    for number, (is_good, body) in enumerate(json_texts.texts()):
        request = of_bytes("zapier", body, number, int(time.time()))
        yield _sound("json", repr(body[:60]), request, _ACCEPTED if is_good else _REFUSED)


def _naughty() -> Iterator[Shot]:
    """A text in every field of a form and of a signed webhook."""
    fields = ("id", "email", "name", "message", "phone", "company")
    for number in itertools.count():
        given = texts.text(number)
        body = {name: f"{given}{number if name == 'id' else ''}" for name in fields}
        content = {**body, given: given} if number % 2 else {"type": given, "data": body}
        source = "zapier" if number % 2 else "standard-webhooks"
        encoded = json.dumps(content, ensure_ascii=number % 3 == 0).encode()
        request = of_bytes(source, encoded, 5_000_000 + number, int(time.time()))
        yield _sound("text", f"{source} {given[:20]!r}", request, _ANY)


def _oddities() -> Iterator[Shot]:
    for _ in itertools.count():
        for what, content in wire.oddities():
            yield Shot(kind="wire", what=what, content=content, may_hang_up=True, patience=1)


def _sound(kind: str, what: str, request: Request, right: range) -> Shot:
    proves = sha256_hex(request.body)
    return Shot(kind=kind, what=what, content=wire.as_bytes(request), right=right, proves=proves)


def _stored(product: Product, proved: set[str]) -> tuple[int, int]:
    """``(happenings accepted, deliveries whose bytes nobody signed)``."""
    engine = create_engine(product.home().environment("ingest", "web")["DATABASE_URL"])
    with engine.connect() as db:
        rows: Any = db.execute(text("SELECT raw_sha256, endpoint FROM deliveries")).all()
        accepted = db.execute(text("SELECT count(*) FROM accepted")).scalar_one()
        orphans = db.execute(
            text(
                "SELECT count(*) FROM accepted WHERE delivery_id NOT IN (SELECT id FROM deliveries)"
            )
        ).scalar_one()
    engine.dispose()
    assert any(row.endpoint == ENDPOINT for row in rows)
    strange = [row for row in rows if row.raw_sha256 not in proved]
    return int(accepted), int(orphans) + len(strange)
