"""The embedded broker: kombu's ``durable+sqlite:////path/bus.db``, for one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final

TRANSPORT: Final = "shared.bus.transports.sqlite.transport:Transport"
SCHEME: Final = "durable+sqlite:///"


def register() -> None:
    """Make kombu know the URL; it reads ``durable+sqlite`` as transport and rest, or whole."""
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES["durable"] = TRANSPORT
    TRANSPORT_ALIASES["durable+sqlite"] = TRANSPORT


def url_of(file: Path) -> str:
    return f"{SCHEME}{file}"


def file_of(broker_url: str) -> Path | None:
    """The bus file; ``None`` where the URL names another broker."""
    return Path(broker_url.removeprefix(SCHEME)) if broker_url.startswith(SCHEME) else None
