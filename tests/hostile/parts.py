"""The parts of the hostile run by name: each on a product of its own, as a result with its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.slow_senders import nginx
from tests.hostile import assault, echo, leaks, replay, slow
from tests.product import Product, running

Tell = Callable[[str], None]
Found = dict[str, Any]
REQUESTS = 100_000
SLOW_SECONDS = 60.0
# So long that good senders have posted often enough for a p99.
LEAST_SLOW_SECONDS = 12.0


def requests(folder: Path, scale: float, tell: Tell) -> Found:
    with running(folder) as product:
        found = _plain(assault.assault(product, max(100, round(REQUESTS * scale)), tell))
        # What the product said of it is gone with its folder.
        return found | {"said": product.said()} if found["faults"] else found


def slow_senders(folder: Path, scale: float, tell: Tell) -> Found:
    """On loopback as `countersign run` serves, and behind nginx as docker-compose ships it."""
    seconds = max(SLOW_SECONDS * scale, LEAST_SLOW_SECONDS)
    tell("on loopback, without a proxy")
    with running(folder / "loopback") as product:
        found = {"loopback": _plain(slow.slow(product, product.port, seconds))}
    tell("behind nginx")
    with _behind_nginx(folder / "nginx") as (product, port):
        found["nginx"] = _plain(slow.slow(product, port, seconds))
    faults = [f"{name}: {fault}" for name, one in found.items() for fault in one.pop("faults")]
    return {**found, "faults": faults}


@contextmanager
def _behind_nginx(folder: Path) -> Iterator[tuple[Product, int]]:
    with running(folder) as product, nginx(product.port) as (port, _):
        yield product, port


def repeats(folder: Path, scale: float, tell: Tell) -> Found:
    tell("five times each, a restart, a day later, any order")
    with running(folder / "product") as product:
        return _plain(replay.replay(product, folder, max(1, round(replay.OF_EACH * scale))))


def echoes(folder: Path, scale: float, tell: Tell) -> Found:
    return _plain(echo.echo(folder, max(9, round(echo.WRITES * scale)), tell))


def logs(folder: Path, scale: float, tell: Tell) -> Found:
    tell("planting")
    with running(folder) as product:
        return _plain(leaks.leaks(product, max(len(leaks.WAYS), round(leaks.COUNT * scale))))


PARTS: Mapping[str, Callable[[Path, float, Tell], Found]] = {
    "requests": requests,
    "slow": slow_senders,
    "replay": repeats,
    "echo": echoes,
    "logs": logs,
}


def _plain(result: Any) -> Found:
    return {**vars(result), "faults": result.faults}
