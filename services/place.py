"""What a web process knows of the place it runs in, beside the services it serves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shared.settings import setting


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the status page, the figures and the readiness can look at, where it is given."""

    wake_dir: Path = setting("folder of the sockets that wake relays and queues")
    broker_url: str = setting(
        "broker, to look at queues: a user that reads dead letters is enough",
        default="",
        secret=True,
    )
    broker_management_url: str = setting(
        "RabbitMQ's management, to compare its bindings: http://user:password@host:15672",
        default="",
        secret=True,
    )
    classifier_database_url: str = setting(
        "database of the classifier, to count what the model was asked", default="", secret=True
    )
    crm_public_url: str = setting("address of the demo CRM for people", default="")
    disk_dir: Path | None = setting("folder whose disk is watched", default=None)
