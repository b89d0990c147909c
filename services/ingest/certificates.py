"""Certificates that messages name by URL: fetched from a pinned host, and kept for a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.errors import Unavailable

KEPT_SECONDS = 24 * 3600
# After a failure nothing is asked again for so long: a flood of messages is not passed on.
PAUSE_SECONDS = 10
MOST = 32
LARGEST = 64 * 1024
CONNECT_SECONDS, READ_SECONDS = 3, 5


def fetch(url: str) -> bytes:
    """The bytes at an address whose host the caller has pinned. Follows no redirect.

    Raises `Unavailable` for whatever goes wrong: the sender is asked to come again.
    """
    import requests

    try:
        with requests.get(
            url,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
            headers={"Accept-Encoding": "identity"},
        ) as response:
            if response.status_code != 200:
                raise Unavailable(f"the certificate was answered with {response.status_code}")
            content: bytes = response.raw.read(LARGEST + 1)
    except requests.RequestException as error:
        raise Unavailable("the certificate cannot be fetched") from error
    except OSError as error:
        raise Unavailable("the certificate cannot be fetched") from error
    if len(content) > LARGEST:
        raise Unavailable("the certificate is too large")
    return content


@dataclass(kw_only=True)
class Certificates:
    """One fetch for all threads that wait for the same; ``clock`` counts seconds."""

    fetch: Callable[[str], bytes] = fetch
    clock: Callable[[], float] = time.monotonic
    _kept: dict[str, tuple[float, bytes]] = field(default_factory=dict)
    _failed: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def at_hand(self, url: str) -> bytes | None:
        """What was fetched before and has not grown old; never fetches."""
        kept = self._kept.get(url)
        return kept[1] if kept and self.clock() - kept[0] < KEPT_SECONDS else None

    def find(self, url: str) -> bytes:
        """Raises `Unavailable`."""
        found = self.at_hand(url)
        if found is not None:
            return found
        with self._lock:
            found = self.at_hand(url)
            return found if found is not None else self._fetched(url)

    def _fetched(self, url: str) -> bytes:
        if self.clock() - self._failed.get(url, -PAUSE_SECONDS) < PAUSE_SECONDS:
            raise Unavailable("the certificate could not be fetched just now")
        if len(self._kept) + len(self._failed) >= MOST:
            self._kept.clear()
            self._failed.clear()
        try:
            content = self.fetch(url)
        except Unavailable:
            self._failed[url] = self.clock()
            raise
        self._kept[url] = (self.clock(), content)
        return content

    def forget(self, url: str) -> None:
        """What was fetched there was no certificate."""
        with self._lock:
            self._kept.pop(url, None)
            self._failed[url] = self.clock()
