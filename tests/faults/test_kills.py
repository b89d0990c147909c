"""No kill at any moment loses, doubles or forges anything: the books close afterwards.

``EVENTS`` and ``KILLS`` set the size, ``SEED`` repeats a run; results go to ``bench-results/``.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.approver import Approver
from tests.faults.killer import Killer
from tests.faults.load import Load
from tests.faults.reconcile import OUTSIDE, figures, reconcile, waiting
from tests.product import ROOT, Product

EVENTS = int(os.environ.get("EVENTS", "500"))
KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", "20261123"))
SECONDS_PER_KILL = 2.0
RECOVERY_SECONDS = 60.0
RESULTS = ROOT / "bench-results"


@pytest.mark.timeout(900)
def test_500_events_and_50_kills_leave_no_difference(tmp_path: Path) -> None:
    product = Product(folder=tmp_path)
    _open_the_caps(product)
    product.start()
    try:
        _run(product)
    finally:
        assert product.stop() == 0


def _run(product: Product) -> None:
    seconds = KILLS * SECONDS_PER_KILL
    load = Load(product=product, count=EVENTS, seconds=seconds, seed=SEED)
    killer = Killer(product=product, seed=SEED)
    with Approver(product.client()) as approver:
        started = time.monotonic()
        load.start()
        killer.spread(KILLS, seconds * 0.97)
        load.join()
        recovery = _until_nothing_waits(product)
    differences = reconcile(product.folder / "data", load.acknowledged)
    verified = product.command("verify")
    _record(
        product, load, killer, differences, seconds=time.monotonic() - started, recovery=recovery
    )
    assert load.given_up == []
    assert len(load.acknowledged) == EVENTS
    assert len(killer.killed) == KILLS
    assert differences == []
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert approver.approved > EVENTS // 10, approver.refused
    assert recovery.seconds <= RECOVERY_SECONDS, recovery


def _open_the_caps(product: Product) -> None:
    """The shipped policy, but as many writes of a field an hour as the run needs."""
    policy = (ROOT / "deploy" / "policy.toml").read_text()
    for limit in ("per_hour = 20", "per_day = 100"):
        assert limit in policy
        policy = policy.replace(limit, f"{limit.split(' = ')[0]} = 100000")
    folder = product.folder / "data"
    folder.mkdir(parents=True)
    (folder / "policy.toml").write_text(policy)


@dataclass(kw_only=True)
class Recovery:
    """``seconds`` until nothing of ours was on its way; ``left`` is what still was, by second."""

    seconds: float = 0.0
    left: dict[int, dict[str, int]] = field(default_factory=dict)


def _until_nothing_waits(product: Product) -> Recovery:
    """Twice in a row, the CRM's own retries included, which do not count as our time."""
    started, found, quiet = time.monotonic(), Recovery(), 0
    while quiet < 2:
        left = waiting(product.folder / "data")
        passed = time.monotonic() - started
        found.left.setdefault(int(passed) // 5 * 5, left)
        if set(left) - {OUTSIDE}:
            found.seconds = passed
        quiet = 0 if left else quiet + 1
        assert passed < 4 * RECOVERY_SECONDS, (left, product.said())
        time.sleep(0.5)
    return found


def _record(
    product: Product,
    load: Load,
    killer: Killer,
    differences: list[str],
    *,
    seconds: float,
    recovery: Recovery,
) -> None:
    RESULTS.mkdir(exist_ok=True)
    result = {
        "what": "random kills under load",
        "seed": SEED,
        "events": EVENTS,
        "kills": dict(Counter(name for name, _ in killer.killed)),
        "acknowledged": len(load.acknowledged),
        "tries": load.tries,
        "seconds": round(seconds, 1),
        "recovery_seconds": round(recovery.seconds, 1),
        "left": recovery.left,
        "differences": differences,
        **figures(product.folder / "data"),
    }
    name = f"faults-kills-{time.strftime('%Y%m%dT%H%M%S')}.json"
    (RESULTS / name).write_text(json.dumps(result, indent=2) + "\n")
