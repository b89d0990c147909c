"""A sender that never gives up: posts events until each is acknowledged, and notes which were."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import requests

from services.demonstration import Post, send
from shared.canonical import sha256_hex
from tests.events import mixed
from tests.product import Product

SENDERS = 4
REPEAT_EVERY = 9
PATIENCE = 120


@dataclass(kw_only=True)
class Load:
    """``count`` events spread over ``seconds``. ``acknowledged`` is by hash of the body."""

    product: Product
    count: int
    seconds: float
    seed: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    tries: int = 0
    given_up: list[str] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> Load:
        secrets = self.product.secrets()
        numbers = self._paced()
        self.threads = [
            threading.Thread(target=self._send_all, args=(numbers, secrets), daemon=True)
            for _ in range(SENDERS)
        ]
        for thread in self.threads:
            thread.start()
        return self

    def join(self) -> None:
        for thread in self.threads:
            thread.join(self.seconds + PATIENCE)
            assert not thread.is_alive(), "a sender hangs"

    def _paced(self) -> Iterator[int]:
        started = time.monotonic()
        for number in range(self.count):
            due = started + number * self.seconds / self.count
            time.sleep(max(0.0, due - time.monotonic()))
            yield number

    def _send_all(self, numbers: Iterator[int], secrets: dict[str, str]) -> None:
        while True:
            with self.lock:
                number = next(numbers, None)
            if number is None:
                return
            post = mixed(secrets, number, self.seed)
            self._until_accepted(post, secrets)
            if number % REPEAT_EVERY == 0:
                # A sender that did not see our answer sends the same once more.
                self._until_accepted(post, secrets)

    def _until_accepted(self, post: Post, secrets: dict[str, str]) -> None:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            self.tries += 1
            if self._accepted(post, secrets):
                self.acknowledged[sha256_hex(post.body)] = post.what
                return
            time.sleep(0.2)
        self.given_up.append(post.what)

    def _accepted(self, post: Post, secrets: dict[str, str]) -> bool:
        url = self.product.url
        try:
            return 200 <= send(post, base_url=url, public_url=url, secrets=secrets) < 300
        except requests.RequestException:
            return False
