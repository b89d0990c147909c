"""Which queues a message goes to: the AMQP exchange types direct, fanout and topic."""

from __future__ import annotations

import sqlite3
from functools import lru_cache


def route(db: sqlite3.Connection, exchange: str, routing_key: str) -> tuple[str, ...] | None:
    """The queues that take the message, each once; None if there is no such exchange.

    The default exchange ``""`` knows every queue by its name.
    """
    if exchange == "":
        found = db.execute("SELECT name FROM queues WHERE name = ?", (routing_key,))
        return tuple(name for (name,) in found)
    row = db.execute("SELECT type FROM exchanges WHERE name = ?", (exchange,)).fetchone()
    if row is None:
        return None
    bindings = db.execute("SELECT routing_key, queue FROM bindings WHERE exchange = ?", (exchange,))
    queues = [queue for pattern, queue in bindings if _takes(row[0], pattern, routing_key)]
    return tuple(dict.fromkeys(queues))


def _takes(kind: str, pattern: str, routing_key: str) -> bool:
    if kind == "fanout":
        return True
    if kind == "direct":
        return pattern == routing_key
    return topic_matches(pattern, routing_key)


@lru_cache(maxsize=4096)
def topic_matches(pattern: str, routing_key: str) -> bool:
    """Whether a topic binding takes a key: ``*`` is one word, ``#`` any number, even none.

    https://www.rabbitmq.com/tutorials/tutorial-five-python#topic-exchange
    """
    return _words_match(_words(pattern), _words(routing_key))


def _words(key: str) -> tuple[str, ...]:
    return tuple(key.split(".")) if key else ()


def _words_match(pattern: tuple[str, ...], words: tuple[str, ...]) -> bool:
    if not pattern:
        return not words
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(_words_match(rest, words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and first in ("*", words[0]) and _words_match(rest, words[1:])
