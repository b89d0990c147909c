"""What RabbitMQ must know before the first start, generated from the topic table.

Print it with ``python -m shared.bus.definitions``; it is kept in ``deploy/rabbitmq``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from kombu.entity import Exchange

from shared.bus.topology import (
    DEAD,
    DELAY,
    DELAYS,
    EVENTS,
    all_queues,
    dead_exchange,
    delay_exchange,
    events_exchange,
    parked,
    work_queues,
)
from shared.domain.topics import SERVICES, TOPICS

VHOST = "countersign"
ADMIN = "countersign-admin"
WATCHER = "audit-web"
"""Shows how long the queues are, for which no right is needed, and what the dead letters say."""
NOTHING = "^$"


def definitions(vhost: str = VHOST) -> dict[str, Any]:
    """Users without passwords, their rights, and the topology, as the broker imports them.

    A user without a password cannot sign in: whoever deploys sets one for each.
    """
    return {
        "vhosts": [{"name": vhost}],
        "users": [{"name": name, "password_hash": "", "tags": []} for name in users()],
        "permissions": [
            {"user": ADMIN, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*"},
            {"user": WATCHER, "vhost": vhost, **watching()},
            *({"user": user_of(name), "vhost": vhost, **permissions(name)} for name in SERVICES),
        ],
        "topic_permissions": [
            {"user": user_of(name), "vhost": vhost, **right}
            for name in SERVICES
            for right in topic_permissions(name)
        ],
        "exchanges": [
            _exchange(one, vhost) for one in (dead_exchange(), delay_exchange(), events_exchange())
        ],
        "queues": [_queue(one, vhost) for one in all_queues()],
        "bindings": [row for one in all_queues() for row in _bindings(one, vhost)],
    }


def users() -> tuple[str, ...]:
    """Everybody the broker knows."""
    return (ADMIN, WATCHER, *map(user_of, SERVICES))


def user_of(service: str) -> str:
    """The user of a service's worker. Web processes write to an outbox and need none."""
    return f"{service}-worker"


def permissions(service: str) -> dict[str, str]:
    """A worker declares nothing, reads its own queue and its dead letters, and writes to our
    exchanges alone.
    """
    consumes = service in work_queues()
    return {
        "configure": NOTHING,
        "write": _one_of((EVENTS, DEAD, DELAY) if consumes else (EVENTS,)),
        "read": _one_of((service, parked(service))) if consumes else NOTHING,
    }


def watching() -> dict[str, str]:
    """Shows dead letters and how long queues are; it can tell nobody anything."""
    dead = _one_of(map(parked, work_queues()))
    return {"configure": NOTHING, "write": NOTHING, "read": dead}


def topic_permissions(service: str) -> list[dict[str, str]]:
    """Which routing keys a worker may publish under: its topics, and in its own name alone
    into waiting rooms and dead letters.
    """
    topics = [str(topic) for topic, row in TOPICS.items() if service in row.publishers]
    own = [service] if service in work_queues() else []
    rooms = [f"{delay.name}.{name}" for name in own for delay in DELAYS]
    return [
        {"exchange": EVENTS, "write": _one_of(topics), "read": NOTHING},
        {"exchange": DELAY, "write": _one_of(rooms), "read": NOTHING},
        {"exchange": DEAD, "write": _one_of(own), "read": NOTHING},
    ]


def _one_of(names: Iterable[str]) -> str:
    texts = "|".join(re.escape(name) for name in names)
    return f"^({texts})$" if texts else NOTHING


def _exchange(exchange: Exchange, vhost: str) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "vhost": vhost,
        "type": exchange.type,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(queue: Any, vhost: str) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": vhost,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(queue.queue_arguments or {}),
    }


def _bindings(queue: Any, vhost: str) -> list[dict[str, Any]]:
    return [
        {
            "source": one.exchange.name,
            "vhost": vhost,
            "destination": queue.name,
            "destination_type": "queue",
            "routing_key": one.routing_key,
            "arguments": {},
        }
        for one in sorted(queue.bindings, key=lambda one: str(one.routing_key))
    ]


if __name__ == "__main__":
    print(json.dumps(definitions(), indent=1))  # noqa: T201 - printing it is the purpose
