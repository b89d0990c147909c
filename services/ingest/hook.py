"""One request at the door, as the verifiers and sources see it: raw bytes and the public URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

DEFAULT_ENDPOINT = "default"


@dataclass(frozen=True, kw_only=True)
class Hook:
    """``url`` is the configured public URL with the raw query; ``headers`` have lower-case names.

    Nothing in here was parsed: the body is the bytes that came, in full. ``options`` are those that
    the endpoint had when it came.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def media_type(self) -> str:
        """The media type without its parameters, in lower case; empty if none was named."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One configured door: which secrets open it, under which URL the sender calls it.

    ``secrets`` are all valid at once (rotation). ``public_url`` is the whole address without the
    query, where it differs from ``PUBLIC_URL`` plus the path. ``options`` belong to the source.
    """

    source: str
    name: str = DEFAULT_ENDPOINT
    secrets: tuple[str, ...] = field(default=(), repr=False)
    public_url: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is reached: ``/hooks/<source>`` or ``/hooks/<source>/<name>``."""
        tail = "" if self.name == DEFAULT_ENDPOINT else f"/{self.name}"
        return f"/hooks/{self.source}{tail}"
