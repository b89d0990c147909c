"""A sender that never gives up: posts events until each is acknowledged, and notes which were."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import requests

from services.demonstration import Post, send
from shared.canonical import sha256_hex
from tests.events import mixed, standard_webhook
from tests.product import Product

SENDERS = 4
REPEAT_EVERY = 9
# Some are too large for a row: their bytes go to a file.
LARGE_EVERY, LARGE = 25, 70_000
PATIENCE = 150


@dataclass(kw_only=True)
class Load:
    """``rate`` events a second until `finish`, which waits until each has been acknowledged.

    ``acknowledged`` is by hash of the body; ``refused`` counts answers that were none of 2xx.
    """

    product: Product
    rate: float
    seed: int
    acknowledged: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    given_up: list[str] = field(default_factory=list)
    _secrets: Mapping[str, str] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> Load:
        self._secrets = self.product.secrets()
        numbers = itertools.count()
        started = time.monotonic()
        self._threads = [
            threading.Thread(target=self._send_all, args=(numbers, started), daemon=True)
            for _ in range(SENDERS)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def finish(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE + 20)
            assert not thread.is_alive(), "a sender hangs"

    def _send_all(self, numbers: itertools.count[int], started: float) -> None:
        while not self._stop.is_set():
            number = next(numbers)  # One step of the interpreter: no lock is needed.
            if self._stop.wait(max(0.0, started + number / self.rate - time.monotonic())):
                return
            post = self._post(number)
            self._until_accepted(post)
            if number % REPEAT_EVERY == 0:
                # A sender that did not see our answer sends the same once more.
                self._until_accepted(post)

    def _post(self, number: int) -> Post:
        if number % LARGE_EVERY == LARGE_EVERY - 1:
            run = f"{self.seed}-{number}"
            return standard_webhook(self._secrets, run, random.Random(run), size=LARGE)
        return mixed(self._secrets, number, self.seed)

    def _until_accepted(self, post: Post) -> None:
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            said = self._said(post)
            if said.startswith("2"):
                self.acknowledged[sha256_hex(post.body)] = post.what
                return
            self.refused[said] += 1
            time.sleep(0.2)
        self.given_up.append(post.what)

    def _said(self, post: Post) -> str:
        url = self.product.url
        try:
            return str(send(post, base_url=url, public_url=url, secrets=self._secrets))
        except requests.RequestException as error:
            return type(error).__name__
