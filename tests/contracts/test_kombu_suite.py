"""kombu's own integration tests for AMQP, run against both of our transports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.contracts.fetch_kombu_suite import ROOT, fetch
from tests.contracts.rabbitmq import virtual_host

LEAST_PASSED = 39

EXPECTED_FAILURES = {
    "test_PyAMQPEventLoop::test_ack_from_another_thread": (
        "needs an asynchronous transport; ours are driven by drain_events"
    ),
    "test_PyAMQPConsumerRevive::test_revive_resumes_active_queue_only": (
        "closes the socket of py-amqp, which we do not have"
    ),
    "test_PyAMQPPriority::test_publish_consume": (
        "expects three messages from one drain_events; the order by priority is kept"
    ),
    "test_PyAMQPPriority::test_publish_requeue_consume": "as the other case of priorities",
    "test_PyAMQPFailover::test_failover_switches_to_alternate_url": (
        "tells two brokers apart by their ports, and a file has none"
    ),
}


LEAST_PASSED_RABBITMQ = 47
EXPECTED_FAILURES_RABBITMQ = {
    name: EXPECTED_FAILURES[name]
    for name in (
        "test_PyAMQPEventLoop::test_ack_from_another_thread",
        "test_PyAMQPConsumerRevive::test_revive_resumes_active_queue_only",
    )
}


# Whether they pass depends on how many deliveries one read of the socket brings: they expect three
# messages, in the order of their priorities, from a single `drain_events`.
UNSTEADY_RABBITMQ = {
    "test_PyAMQPPriority::test_publish_consume",
    "test_PyAMQPPriority::test_publish_requeue_consume",
}


def test_kombus_own_suite_passes_but_for_the_listed_cases(tmp_path: Path) -> None:
    live, dead = f"durable+sqlite:///{tmp_path}/bus.db", f"durable+sqlite:///{tmp_path}/none/bus.db"
    outcomes = _run_suite(fetch(), tmp_path, live, dead)
    _require(outcomes, EXPECTED_FAILURES, LEAST_PASSED)


def test_kombus_own_suite_passes_on_rabbitmq_but_for_the_listed_cases(tmp_path: Path) -> None:
    with virtual_host() as host:
        outcomes = _run_suite(fetch(), tmp_path, host.url, "pika://127.0.0.1:12345")
    steady = {name: end for name, end in outcomes.items() if name not in UNSTEADY_RABBITMQ}
    assert len(steady) == len(outcomes) - len(UNSTEADY_RABBITMQ)
    _require(steady, EXPECTED_FAILURES_RABBITMQ, LEAST_PASSED_RABBITMQ)


def _require(outcomes: dict[str, str], expected: Mapping[str, str], least: int) -> None:
    failed = {name for name, outcome in outcomes.items() if outcome != "passed"}
    new = failed - expected.keys()
    mended = expected.keys() - failed
    assert not new, f"new failures in kombu's suite: {sorted(new)}"
    assert not mended, f"listed as failing, but they pass or are gone: {sorted(mended)}"
    assert len(outcomes) - len(failed) >= least


def _run_suite(folder: Path, tmp_path: Path, live: str, dead: str) -> dict[str, str]:
    outcomes = tmp_path / "outcomes.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--quiet",
        "-c",
        os.devnull,
        "-p",
        "no:cacheprovider",
    ]
    options = {
        "-p": "tests.contracts.kombu_suite_plugin",
        "-o": "python_classes=test_*",
        "--rootdir": str(folder),
        "--live-url": live,
        "--dead-url": dead,
        "--outcomes": str(outcomes),
    }
    arguments = [part for option in options.items() for part in option]
    run = subprocess.run(
        [*command, *arguments, str(folder / "t" / "integration" / "test_py_amqp.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    # 0: all passed, 1: some failed; anything else means that the suite did not run.
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found: dict[str, str] = json.loads(outcomes.read_text())
    return found
