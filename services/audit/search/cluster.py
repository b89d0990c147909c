"""The one place that talks to Elasticsearch: its client, its errors as ours, and back-pressure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from shared.addresses import in_turn
from shared.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

CHUNK = 1000
"""Documents in one bulk request."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_BUSY = {408, 429, 502, 503, 504}
REFUSED = 401
_UNAVAILABLE = _BUSY | {REFUSED, 403, 500}


class NotThere(StoreUnavailable):
    """An index is not there: it was dropped, or another generation took its place just now."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One document to be created: the index, its id and its JSON."""

    index: str
    id: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """An Elasticsearch cluster. ``timeout`` is of one call; ``patience`` of one chunk, in seconds.

    Nothing is connected before the first call, and each process has its own connections.
    """

    host: str
    url: str = ""
    ca_certs: str | None = None
    timeout: float = 10.0
    patience: float = 30.0
    _clients: dict[int, Elasticsearch] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, url: str) -> Cluster:
        """The cluster of ``http[s]://[user:password@]host[:port]/…[?ca_certs=path]``.

        Raises `ConfigurationError`.
        """
        parts = urlsplit(url)
        if not parts.hostname:
            raise ConfigurationError("SEARCH_URL must be http[s]://[user:password@]host:port/name")
        port = parts.port or (443 if parts.scheme == "https" else 9200)
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(
            host=f"{parts.scheme}://{name}:{port}",
            url=url,
            ca_certs=parse_qs(parts.query).get("ca_certs", [None])[0],
        )

    @contextmanager
    def client(self) -> Iterator[Elasticsearch]:
        """The client; what it raises inside becomes ours. Raises `StoreUnavailable`."""
        import elasticsearch

        try:
            yield self._client()
        except elasticsearch.TransportError as error:
            raise StoreUnavailable(f"the search index did not answer: {error.message}") from error
        except elasticsearch.NotFoundError as error:
            raise NotThere("the search index is not there") from error
        except elasticsearch.ApiError as error:
            if error.status_code == REFUSED:
                self._clients.pop(os.getpid(), None)  # The next call reads the password anew.
            if error.status_code in _UNAVAILABLE:
                raise StoreUnavailable(
                    f"the search index answered {error.status_code} {error.error}"
                ) from error
            # Its reasons quote what was stored or searched, which no log may hold.
            raise RuntimeError(
                f"Elasticsearch refused a call: {error.status_code} {error.error}"
            ) from None

    def create_all(self, writes: Sequence[Write]) -> bool:
        """Create every document that is not there yet; returns whether each went in at once.

        A server that is busy or too slow is asked again, with growing pauses, for ``patience``
        seconds. Raises `StoreUnavailable`, and `RuntimeError` for a document that is refused.
        """
        chunks = [writes[start : start + CHUNK] for start in range(0, len(writes), CHUNK)]
        at_once = [self._create_chunk(chunk) for chunk in chunks]
        return all(at_once)

    def _create_chunk(self, writes: Sequence[Write]) -> bool:
        limit, pause = time.monotonic() + self.patience, _FIRST_PAUSE
        waiting = self._send(writes)
        at_once = not waiting
        while waiting:
            if time.monotonic() + pause > limit:
                raise StoreUnavailable("the search index takes no more for now")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            waiting = self._send(waiting)
        return at_once

    def _send(self, writes: Sequence[Write]) -> Sequence[Write]:
        """One bulk request; returns what has to be sent again."""
        import elasticsearch

        lines = list[Any]()
        for write in writes:
            lines += (f'{{"create":{{"_index":"{write.index}","_id":"{write.id}"}}}}', write.source)
        with self.client() as client:
            try:
                answer = client.bulk(
                    operations=lines, filter_path=["errors", "items.*.status", "items.*.error.type"]
                )
            except elasticsearch.ConnectionTimeout:
                return writes  # Nobody knows how much of it went in: what did is there already.
            except elasticsearch.ApiError as error:
                if error.status_code in _BUSY:
                    return writes
                raise
        if not answer["errors"]:
            return ()
        return [
            write
            for write, item in zip(writes, answer["items"], strict=True)
            if _must_be_sent_again(write, item["create"])
        ]

    def _client(self) -> Elasticsearch:
        client = self._clients.get(os.getpid())
        if client is None:
            client = self._clients[os.getpid()] = self._open()
        return client

    def _open(self) -> Elasticsearch:
        """With the first user and password of the address that is not refused."""
        from elasticsearch import AuthenticationException

        *others, last = map(_who, in_turn(self.url))
        for who in others:
            client = self._opened(who)
            try:
                client.security.authenticate()
            except AuthenticationException:
                client.close()
            else:
                return client
        return self._opened(last)

    def _opened(self, who: tuple[str, str] | None) -> Elasticsearch:
        from elasticsearch import Elasticsearch

        options: dict[str, Any] = {"ca_certs": self.ca_certs} if self.ca_certs else {}
        return Elasticsearch(
            self.host,
            basic_auth=who,
            request_timeout=self.timeout,
            max_retries=1,  # A kept connection may have been closed at the other end.
            retry_on_status=(),
            retry_on_timeout=False,
            connections_per_node=32,
            **options,
        )


def _who(url: str) -> tuple[str, str] | None:
    parts = urlsplit(url)
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username else None


def _must_be_sent_again(write: Write, item: dict[str, Any]) -> bool:
    """Whether the server was too busy for this one. Raises for what it refused."""
    status = int(item["status"])
    if status < 300 or status == 409:  # 409: it is there already.
        return False
    if status == 404:
        raise NotThere(f"the index of document {write.id} is not there")
    if status in _BUSY:
        return True
    raise RuntimeError(f"Elasticsearch refused document {write.id}: {item['error']['type']}")
