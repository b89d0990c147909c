"""What machines ask: alive, ready, and the figures that Prometheus reads."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from shared.access import person_or_none, public
from shared.errors import Forbidden
from shared.metrics import Measure
from shared.readiness import Readiness


def health_blueprint(
    readiness: Readiness,
    measures: Sequence[Callable[[], Iterable[Measure]]],
    metrics_token: str | None,
) -> Blueprint:
    """``/healthz``, ``/readyz`` and ``/metrics``."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    @public(raw=True)
    def healthz() -> ResponseReturnValue:
        return jsonify({"alive": True})

    @blueprint.get("/readyz")
    @public(raw=True)
    def readyz() -> ResponseReturnValue:
        """All of it, or with ``?for=intake`` only what the door needs."""
        failing = readiness.failing(intake_only=request.args.get("for") == "intake")
        said: dict[str, Any] = {"ready": not failing}
        # Reasons can name files and hosts, so only this machine reads them.
        if is_local():
            said |= {"failing": failing, "noted": readiness.noted()}
        else:
            said["failing"] = dict.fromkeys(failing, "not ready")
        return jsonify(said), 503 if failing else 200

    @blueprint.get("/metrics")
    @public
    def metrics() -> ResponseReturnValue:
        _refuse_strangers(metrics_token)
        return _exposition(measures)

    return blueprint


def is_local() -> bool:
    """A direct request from this machine: not one that a proxy here passes on."""
    if request.headers.get("X-Forwarded-For") or request.headers.get("Forwarded"):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def _refuse_strangers(metrics_token: str | None) -> None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    if metrics_token and hmac.compare_digest(given, metrics_token.encode()):
        return
    if is_local():
        return
    person = person_or_none()
    if person is None or not person.roles & {"admin", "auditor"}:
        raise Forbidden("The figures are for admins, auditors and whoever holds METRICS_TOKEN.")


def _exposition(measures: Sequence[Callable[[], Iterable[Measure]]]) -> Response:
    """The text format; a part that cannot be read is counted and hides no other."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> Iterator[Any]:
            return _families(measures)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _families(measures: Sequence[Callable[[], Iterable[Measure]]]) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    found: dict[str, Any] = {}
    failures = 0
    for read in measures:
        try:
            values = list(read())
        except Exception as error:  # noqa: BLE001 - One broken part must not blind the others.
            failures += 1
            _log_failure(error)
            continue
        for one in values:
            _add(found.setdefault(one.name, _family(one)), one)
    yield from found.values()
    yield GaugeMetricFamily(
        "countersign_unreadable_parts", "Parts whose figures could not be read.", value=failures
    )


def _family(one: Measure) -> Any:
    from prometheus_client import core

    kinds = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    return kinds[one.kind](one.name, one.help, labels=sorted(one.labels))


def _add(family: Any, one: Measure) -> None:
    labels = [one.labels[name] for name in sorted(one.labels)]
    if one.kind == "histogram":
        family.add_metric(labels, buckets=list(one.buckets), sum_value=one.value)
    else:
        family.add_metric(labels, one.value)


def _log_failure(error: Exception) -> None:
    import structlog

    structlog.get_logger().warning("figures unreadable", error=type(error).__name__)
