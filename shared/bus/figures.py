"""The figures of the broker: depths and ages of the queues, dead letters, bindings."""

from __future__ import annotations

from collections.abc import Callable

from shared.bus.bindings import wrong_bindings
from shared.bus.depths import depths
from shared.bus.topology import parked, work_queues
from shared.errors import BrokerUnavailable
from shared.metrics import Measure, measure


def broker_measures(
    broker_url: str, management_url: str = "", *, ages: Callable[[str, int], float]
) -> list[Measure]:
    """Depths and ages of the queues, and whether the bindings are right.

    ``ages`` tells the age by queue and depth where the broker does not.
    """
    try:
        found = depths(broker_url)
    except BrokerUnavailable:
        return [measure("broker_up", 0)]
    measures = [measure("broker_up", 1)]
    for name in work_queues():
        waiting, age = found.get(name, (0, 0.0))
        measures.append(measure("queue_messages", waiting, queue=name))
        measures.append(measure("dead_letters", found.get(parked(name), (0, 0))[0], queue=name))
        age = ages(name, waiting) if age is None else age
        measures.append(measure("queue_age_seconds", age, queue=name))
    return [*measures, *_binding_measures(broker_url, management_url)]


def _binding_measures(broker_url: str, management_url: str) -> list[Measure]:
    try:
        wrong = wrong_bindings(broker_url, management_url)
    except BrokerUnavailable:
        return []
    return [] if wrong is None else [measure("bindings_wrong", len(wrong))]
