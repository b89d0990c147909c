"""How long the product needs to be back at work when a broker that was killed has returned."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.column import Column, listener_now
from tests.bench.facts import foreign, tree
from tests.bench.live import Live, fresh
from tests.bench.result import Found, NotHereError, kept
from tests.bench.scale import pick
from tests.events import standard_webhook
from tests.product import ROOT, eventually

# Below 45,535: the node adds 20,001 for the ports between nodes.
PORT = 5790
AWAY_SECONDS, EVENTS = pick(1, 10, 15), 20


def returning() -> Found:
    """From the broker's port open again to the first event that the workers have handled."""
    rounds = []
    with _broker_of_our_own() as environ:
        url = f"pika://guest:guest@127.0.0.1:{PORT}/%2F"
        with fresh(Column(name="own broker", environ={"BROKER_URL": url})) as live:
            _post(live, "first")
            eventually(lambda: live.classified() == live.accepted(), 60)
            rounds = [_round(live, environ, turn) for turn in range(pick(1, 2, 5))]
    found = kept(rounds)
    figures = (
        found.most("M8", "back at work after the broker returns, s", "first", 10),
        found.most("M8", "all that waited is done, s", "all", None),
    )
    return Found(figures=figures, rounds=rounds)


def _round(live: Live, environ: Mapping[str, str], turn: int) -> dict[str, float]:
    for pid in reversed(tree(listener_now(PORT))):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    before = live.classified()
    _post(live, f"away-{turn}")
    time.sleep(AWAY_SECONDS)
    assert live.classified() == before
    _services("start", environ)
    with foreign(lambda: [*live.pids(), *tree(listener_now(PORT))]) as others:
        begin = time.perf_counter()
        eventually(lambda: live.classified() > before, 120)
        first = time.perf_counter() - begin
        eventually(lambda: live.classified() == live.accepted(), 120)
        last = time.perf_counter() - begin
    return {"first": first, "all": last, **others}


def _post(live: Live, run: str) -> None:
    """All of them are accepted, broker or not."""
    sender, mix = live.sender(), random.Random(run)
    for number in range(EVENTS):
        post = standard_webhook(live.secrets, f"{run}-{time.time_ns()}-{number}", mix)
        assert 200 <= sender.post(post) < 300


@contextmanager
def _broker_of_our_own() -> Iterator[Mapping[str, str]]:
    """Another node than the shared one: it gets killed. Yields the variables that name it."""
    with tempfile.TemporaryDirectory(prefix="countersign-broker-") as name:
        environ = {
            **os.environ,
            "SERVICES_DIR": name,
            "RABBITMQ_PORT": str(PORT),
            "RABBITMQ_MANAGEMENT_PORT": str(PORT + 1),
        }
        if listener_now(PORT):
            raise NotHereError(f"something listens on port {PORT} already")
        _services("start", environ)
        try:
            yield environ
        finally:
            _services("stop", environ)


def _services(act: str, environ: Mapping[str, str]) -> None:
    command = [str(Path(ROOT) / "deploy" / "dev" / "services"), act, "rabbitmq"]
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
