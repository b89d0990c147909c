"""What a worker does when a person has decided about one of its dead letters.

Each worker acts on its own dead letters and on nobody else's. The web processes only look: they
say in a message what is to be done. The log of the installation gets that message as the workers
do, beside them and not before: an act that is done may come into the log a moment later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from shared.bus.envelope import Envelope
from shared.domain.topics import Topic
from shared.service import Effect, do_nothing

log = structlog.get_logger()


def redrive(envelope: Envelope, deps: Any) -> Effect:
    """``message.replayed``: back to its queue; nothing where it is not there any more."""
    from shared.bus.letters import release

    return _decide(envelope, deps, release)


def drop(envelope: Envelope, deps: Any) -> Effect:
    """``message.dropped``: gone; nothing where it is not there any more."""
    from shared.bus.letters import discard

    return _decide(envelope, deps, discard)


def with_letters(forget: Callable[[Envelope, Any], Effect]) -> Callable[[Envelope, Any], Effect]:
    """``person.erased``: what a service forgets, and its dead letters about these chains too."""

    def handle(envelope: Envelope, deps: Any) -> Effect:
        from shared.bus import letters

        effect = forget(envelope, deps)
        chains: list[str] = envelope.noun()["chains"]
        letters.forget(deps.relay.publisher, chains, [deps.outbox.service])
        return effect

    return handle


HANDLERS = {Topic.MESSAGE_REPLAYED: redrive, Topic.MESSAGE_DROPPED: drop}


def decision(letter: Any, reason: str) -> dict[str, str]:
    """The body of both topics for one dead letter: a `Letter`, or a line that shows one."""
    return {
        "message_id": letter.message_id,
        "queue": letter.queue,
        "topic": letter.topic,
        "reason": reason,
    }


def _decide(envelope: Envelope, deps: Any, act: Callable[[Any, str, str], bool]) -> Effect:
    body = envelope.noun()
    queue: str = deps.outbox.service
    if body["queue"] == queue and not act(deps.relay.publisher, queue, body["message_id"]):
        log.warning("no such dead letter", message_id=body["message_id"], queue=queue)
    return do_nothing
