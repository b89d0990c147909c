"""From the server's WSGI environment to a `Hook`: the whole body within its limit, or why not."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.ingest.hook import Endpoint, Hook
from services.ingest.source import Outcome, Source

_LENGTH = re.compile(r"[0-9]{1,12}\Z")


@dataclass(frozen=True, kw_only=True)
class Turned:
    """Why a request goes no further: the outcome to answer and the words for the log."""

    outcome: Outcome
    reason: str
    detail: str


ENDED_EARLY = Turned(outcome=Outcome.CUT_OFF, reason="malformed", detail="the body ended early")
OTHER_METHOD = Turned(outcome=Outcome.REFUSED, reason="policy", detail="method not allowed")


def read_hook(
    environ: Mapping[str, Any],
    source: Source,
    endpoint: Endpoint,
    *,
    public_url: str,
    received_at: datetime,
) -> Hook | Turned:
    """The request as its sender signed it. Nothing is parsed, nothing is decoded."""
    if environ["REQUEST_METHOD"] not in source.methods:
        return OTHER_METHOD
    body = _body(environ, source.max_bytes)
    if isinstance(body, Turned):
        return body
    return Hook(
        method=environ["REQUEST_METHOD"],
        url=_url(environ, endpoint, public_url),
        headers=_headers(environ),
        body=body,
        received_at=received_at,
        options=endpoint.options,
    )


def _body(environ: Mapping[str, Any], limit: int) -> bytes | Turned:
    """Exactly the announced bytes; without a length all that comes, if the server ends it.

    Read straight from the server: the framework's own reader cuts a body without a length off at
    the limit and calls it whole, and takes five times as long.
    """
    announced = environ.get("CONTENT_LENGTH") or ""
    if announced and not _LENGTH.match(announced):
        return ENDED_EARLY
    if not announced and not environ.get("wsgi.input_terminated"):
        return b""  # RFC 9112 §6.3: neither length nor chunks is no body.
    wanted = int(announced) if announced else limit + 1
    if announced and wanted > limit:
        return _too_large(limit)
    body = _read(environ["wsgi.input"], wanted)
    if announced and len(body) != wanted:
        return ENDED_EARLY  # Some servers hand over what came before the connection broke.
    return body if len(body) <= limit else _too_large(limit)


def _read(stream: Any, wanted: int) -> bytes:
    """Up to ``wanted`` bytes; a connection that breaks ends them."""
    pieces: list[bytes] = []
    try:
        while wanted > 0 and (piece := stream.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
    except OSError:
        pass
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> Turned:
    detail = f"more than {limit} bytes"
    return Turned(outcome=Outcome.TOO_LARGE, reason=str(Outcome.TOO_LARGE), detail=detail)


def _url(environ: Mapping[str, Any], endpoint: Endpoint, public_url: str) -> str:
    """What the sender signed: the configured address with the query exactly as it came."""
    base = endpoint.public_url or f"{public_url}{environ['PATH_INFO']}"
    query = environ.get("QUERY_STRING")
    return f"{base}?{query}" if query else base


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    headers = {_plain_name(name): value for name, value in environ.items() if name[:5] == "HTTP_"}
    # WSGI keeps these two apart from the others.
    if content_type := environ.get("CONTENT_TYPE"):
        headers["content-type"] = content_type
    if content_length := environ.get("CONTENT_LENGTH"):
        headers["content-length"] = content_length
    return headers


@functools.lru_cache(maxsize=1024)
def _plain_name(name: str) -> str:
    """``webhook-id`` for ``HTTP_WEBHOOK_ID``."""
    return name[5:].replace("_", "-").lower()
