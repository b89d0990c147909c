"""Our two kombu transports, behind ``durable+sqlite://`` and ``pika(s)://``."""

from __future__ import annotations

from shared.bus.transports import pika, sqlite
from shared.bus.transports.refusal import LeaseLost, PublishError

__all__ = ["LeaseLost", "PublishError", "register"]


def register() -> None:
    """Make kombu know our URLs; doing it again changes nothing."""
    pika.register()
    sqlite.register()
