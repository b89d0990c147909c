"""What machines ask: alive, ready, and the figures that Prometheus reads."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from shared.access import person_or_none, public
from shared.errors import Forbidden

Check = Callable[[], str | None]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One figure, read when it is asked for: several processes then never disagree."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["gauge", "counter"] = "gauge"


def health_blueprint(
    readiness: Mapping[str, Check],
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
        reasons = {name: _reason(name, check) for name, check in readiness.items()}
        failing = {name: reason for name, reason in reasons.items() if reason}
        # Reasons can name files and hosts, so only this machine reads them.
        shown = failing if is_local() else dict.fromkeys(failing, "not ready")
        return jsonify({"ready": not failing, "failing": shown}), 503 if failing else 200

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


def _reason(name: str, check: Check) -> str | None:
    try:
        reason = check()
    except Exception as error:  # noqa: BLE001 - A check that fails is a reason, whatever it was.
        reason = type(error).__name__
    if reason:
        import structlog

        structlog.get_logger().warning("not ready", check=name, reason=reason)
    return reason


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
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

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
            kind = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
            names = sorted(one.labels)
            family = found.setdefault(one.name, kind(one.name, one.help, labels=names))
            family.add_metric([one.labels[name] for name in names], one.value)
    yield from found.values()
    yield GaugeMetricFamily(
        "countersign_unreadable_parts", "Parts whose figures could not be read.", value=failures
    )


def _log_failure(error: Exception) -> None:
    import structlog

    structlog.get_logger().warning("figures unreadable", error=type(error).__name__)
