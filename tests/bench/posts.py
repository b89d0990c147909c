"""Signed requests for the door: 2,000 different bodies of 1.5 KiB, ids unique over the whole run."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.ingest.endpoints import Endpoints
from tests.bench import wrk
from tests.bench.wrk import Request
from tests.events import standard_headers, standard_webhook
from tests.ingest import senders

SEED = 20261123
BODIES = 2000
SIZE = 1536
SHARED_MEMORY = Path("/dev/shm")
GENERIC_SECRET = "a-secret-of-the-benchmark"
Maker = Callable[[int, random.Random], Request]


class Posts:
    """Writes files of requests that were never made before; each one is made by ``make``."""

    def __init__(self, folder: Path, make: Maker) -> None:
        self._folder = folder
        self._random = random.Random(SEED)
        self._number = 0
        self._make = make

    def write(self, count: int, name: str = "posts") -> Path:
        """The file of the next ``count`` requests; it replaces the file of this name."""
        path = self._folder / name
        wrk.write((self.next() for _ in range(count)), path)
        return path

    def next(self) -> Request:
        self._number += 1
        return self._make(self._number, self._random)


@contextmanager
def folder() -> Iterator[Path]:
    """Where files of requests lie: in memory, so that writing them does not disturb the disk."""
    where = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="countersign-bench-", dir=where) as name:
        yield Path(name)


def standard() -> Maker:
    """Changes of contacts as the demo CRM signs them (Standard Webhooks)."""
    bodies = [_change(number, random.Random(SEED + number)) for number in range(BODIES)]

    def make(number: int, mix: random.Random) -> Request:
        body = bodies[number % BODIES]
        headers = senders.signed(f"msg_{number:09d}_{mix.random()}", body)
        return Request(path="/hooks/demo-crm", headers=headers, body=body)

    return make


def generic(path: str) -> Maker:
    """A form with a HMAC of its body in one header, which any receiver can check."""
    key = GENERIC_SECRET.encode()

    def make(number: int, mix: random.Random) -> Request:
        words = _words(random.Random(SEED + number % BODIES), 108)
        form = {"id": f"form_{number:09d}_{mix.random()}", "name": "Dana Miller"}
        form |= {"email": "dana.miller@example.com", "message": words}
        body = json.dumps(form).encode()
        signature = hmac.new(key, body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Signature": signature}
        return Request(path=path, headers=headers, body=body)

    return make


def proposing(secrets: Mapping[str, str]) -> Maker:
    """Forms from customers whom the demo CRM knows: each becomes a proposal."""
    secret = secrets["standard-webhooks"]
    bodies = [
        standard_webhook(secrets, "", random.Random(SEED + number), SIZE).body
        for number in range(BODIES)
    ]

    def make(number: int, mix: random.Random) -> Request:
        body = bodies[number % BODIES]
        headers = standard_headers(secret, f"msg_{number:09d}_{mix.random()}", body)
        return Request(path="/hooks/standard-webhooks/demo", headers=headers, body=body)

    return make


def open_endpoints(installation: Path) -> None:
    """What `standard` and `generic` post to."""
    senders.open_endpoint(installation)
    Endpoints(installation / "endpoints.toml").add("generic-hmac", secrets=(GENERIC_SECRET,))


def _change(number: int, mix: random.Random) -> bytes:
    """As a CRM sends it: a few changed fields, one of them a note."""
    return senders.change(
        f"c-{number}",
        changes={
            "phone": {"old": "+12025550100", "new": f"+1202555{number:04d}"},
            "job_title": {"old": None, "new": "Head of Operations"},
            "notes": {"old": "", "new": _words(mix, 98)},
        },
        version=str(number),
        changed_by="user:ava",
    )


def _words(mix: random.Random, number: int) -> str:
    return " ".join(f"{mix.getrandbits(40):010x}" for _ in range(number))
