"""The embedded broker: kombu's ``durable+sqlite:////path/bus.db``, for one machine."""

from __future__ import annotations

from typing import Final

TRANSPORT: Final = "shared.bus.transports.sqlite.transport:Transport"


def register() -> None:
    """Make kombu know the URL; it reads ``durable+sqlite`` as transport and rest, or whole."""
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES["durable"] = TRANSPORT
    TRANSPORT_ALIASES["durable+sqlite"] = TRANSPORT
