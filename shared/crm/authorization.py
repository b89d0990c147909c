"""How a call shows its right: a fixed token, or one that is fetched and fetched anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

EARLY_SECONDS: Final = 60.0


class Authorization(Protocol):
    """What a call carries."""

    def headers(self) -> Mapping[str, str]:
        """Raises `CRMUnavailable` or `Rejected` where a token cannot be fetched."""

    def renew(self, refused: Mapping[str, str]) -> bool:
        """After a 401 to a call with the headers ``refused``: whether one more try may help.

        Of several calls that were refused with one token only the first has another one fetched.
        """


@dataclass(frozen=True)
class Fixed:
    """Headers that stay as they are."""

    given: Mapping[str, str] = field(repr=False)

    def headers(self) -> Mapping[str, str]:
        return self.given

    def renew(self, refused: Mapping[str, str]) -> bool:  # noqa: ARG002 - there is no other
        return False


def bearer(token: str) -> Fixed:
    return Fixed(bearing(token))


def bearing(token: str) -> Mapping[str, str]:
    """The header that shows a bearer token."""
    return {"Authorization": f"Bearer {token}"}


def bears(headers: Mapping[str, str], token: str) -> bool:
    """Whether a call with these headers showed this very token."""
    return bearing(token).items() <= headers.items()


@dataclass(frozen=True, kw_only=True)
class Token:
    """``seconds`` it is good for, by the word of whoever gave it."""

    text: str = field(repr=False)
    seconds: float


class Fetched:
    """A bearer token that ``fetch`` gives, kept until shortly before its end."""

    def __init__(
        self,
        fetch: Callable[[], Token],
        *,
        more: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._more = dict(more or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._until = 0.0

    def headers(self) -> Mapping[str, str]:
        with self._lock:
            if self._token is None or self._clock() >= self._until:
                self._token = self._fetch()
                early = min(EARLY_SECONDS, self._token.seconds / 2)
                self._until = self._clock() + self._token.seconds - early
            return {**bearing(self._token.text), **self._more}

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock:
            if self._token is not None and bears(refused, self._token.text):
                self._token = None
        return True
