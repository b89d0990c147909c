"""Senders who mean well: a few signed requests a second, timed, beside whatever else happens."""

from __future__ import annotations

import random
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Self

import requests

from services.demonstration import send
from shared.canonical import sha256_hex
from tests.events import standard_webhook
from tests.product import Product

RATE = 10


@dataclass(kw_only=True)
class Good:
    """Posts while the block lasts, to ``port`` where it is not the product's own.

    ``proved`` are the hashes of its bodies; times in seconds.
    """

    product: Product
    port: int = 0
    proved: set[str] = field(default_factory=set)
    times: list[float] = field(default_factory=list)
    failed: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._post_all, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(60)

    @property
    def sent(self) -> int:
        return len(self.times)

    def p99(self) -> float:
        """Of the answer, in seconds."""
        ordered = sorted(self.times)
        return round(ordered[int(len(ordered) * 0.99)], 3)

    def median(self) -> float:
        return round(statistics.median(self.times), 3) if self.times else 0.0

    def _post_all(self) -> None:
        secrets = self.product.secrets()
        url = f"http://127.0.0.1:{self.port or self.product.port}"
        while not self._stop.wait(1 / RATE):
            run = f"good-{self.sent}"
            post = standard_webhook(secrets, run, random.Random(run))
            self.proved.add(sha256_hex(post.body))
            began = time.monotonic()
            try:
                status = send(post, base_url=url, public_url=url, secrets=secrets)
            except requests.RequestException:
                status = 0
            self.times.append(time.monotonic() - began)
            self.failed += not 200 <= status < 300
