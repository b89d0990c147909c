"""Every topic has a publisher, a schema and a queue that hears it; every queue a dead end."""

from __future__ import annotations

from services.declarations import SERVICES
from shared.bus.topology import all_queues, parked, queue_named, work_queues
from shared.domain.topics import AUDIT, TOPICS, Topic, consumed_by


def test_the_table_knows_every_topic() -> None:
    assert set(TOPICS) == set(Topic)
    assert all(row.publishers for row in TOPICS.values())


def test_audit_hears_everything() -> None:
    assert [binding.routing_key for binding in queue_named(AUDIT).bindings] == ["#"]


def test_every_consumer_of_the_table_has_a_handler_and_no_other_has() -> None:
    for service in SERVICES:
        handled = set(service.worker.handlers) if service.worker else set()
        assert handled == set(consumed_by(service.name)), service.name


def test_every_work_queue_has_dead_letters_that_keep_everything() -> None:
    names = {queue.name: queue for queue in all_queues()}
    for name in work_queues():
        arguments = names[name].queue_arguments
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        assert arguments["x-overflow"] == "reject-publish"
        assert "x-message-ttl" not in names[parked(name)].queue_arguments
