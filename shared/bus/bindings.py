"""The real bindings of the broker held against the topic table, and whether it takes messages.

AMQP cannot list bindings, so RabbitMQ is asked through its management plugin, by a user with the
tag ``management`` (and ``monitoring``, to hear of its memory and disk alarms).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from shared.bus.topology import DEAD, DELAY, EVENTS, all_queues
from shared.bus.transports.sqlite import depths as embedded
from shared.bus.transports.sqlite import file_of
from shared.errors import BrokerUnavailable

Binding = tuple[str, str, str]
"""Exchange, routing key, queue."""
SECONDS = 2.0


def wrong_bindings(broker_url: str, management_url: str = "") -> list[str] | None:
    """One sentence per difference, missing ones first; ``None`` where the broker cannot be asked.

    Raises `BrokerUnavailable`.
    """
    if (file := file_of(broker_url)) is not None:
        real = embedded.bindings(file)
    elif management_url:
        rows = _ask(management_url, f"bindings/{quote(_vhost(broker_url), safe='')}")
        real = {(row["source"], row["routing_key"], row["destination"]) for row in rows}
    else:
        return None
    return [*differences(real)]


def differences(real: Iterable[Binding]) -> Iterable[str]:
    """What is missing, and what of ours is bound beyond the table."""
    wanted = {
        (str(one.exchange.name), str(one.routing_key), str(queue.name))
        for queue in all_queues()
        for one in queue.bindings
    }
    queues, exchanges = {queue for _, _, queue in wanted}, {EVENTS, DEAD, DELAY}
    ours = {one for one in real if one[0] in exchanges and one[2] in queues}
    for exchange, key, queue in sorted(wanted - ours):
        yield f"{queue} is not bound to {exchange} with {key}"
    for exchange, key, queue in sorted(ours - wanted):
        yield f"{queue} is bound to {exchange} with {key}, which is not in the table"


def blocked(management_url: str) -> str | None:
    """Why RabbitMQ takes no messages: an alarm of a node. Raises `BrokerUnavailable`."""
    for node in _ask(management_url, "nodes"):
        for kind, name in (("mem_alarm", "memory"), ("disk_free_alarm", "disk")):
            if node.get(kind):
                return f"the broker takes nothing: its {name} alarm is on"
    return None


def _ask(management_url: str, path: str) -> Any:
    import requests

    parts = urlsplit(management_url)
    base = f"{parts.scheme}://{parts.hostname}:{parts.port or 15672}{parts.path.rstrip('/')}"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    try:
        answer = requests.get(f"{base}/api/{path}", auth=(user, password), timeout=SECONDS)
        answer.raise_for_status()
        return answer.json()
    except (requests.RequestException, ValueError) as error:
        raise BrokerUnavailable(
            f"the broker's management did not answer: {type(error).__name__}"
        ) from error


def _vhost(broker_url: str) -> str:
    return unquote(urlsplit(broker_url).path.removeprefix("/")) or "/"
