"""RabbitMQ: kombu's ``pika://user:password@host:port/vhost``, and ``pikas://`` over TLS."""

from __future__ import annotations

from typing import Final

TRANSPORT: Final = "shared.bus.transports.pika.transport:Transport"
TLS_TRANSPORT: Final = "shared.bus.transports.pika.transport:TLSTransport"


def register() -> None:
    """Make kombu know the URLs."""
    from kombu.transport import TRANSPORT_ALIASES

    TRANSPORT_ALIASES["pika"] = TRANSPORT
    TRANSPORT_ALIASES["pikas"] = TLS_TRANSPORT
