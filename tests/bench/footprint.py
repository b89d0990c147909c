"""P17, P18 and P19: memory of the tree, start to the first accepted POST, import of the web part."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from services.demonstration import Post
from tests.bench import drain
from tests.bench.column import IS_DISTRIBUTED, Column, chosen
from tests.bench.facts import foreign, pss_mb, rss_mb
from tests.bench.live import Sender, fresh
from tests.bench.result import Figure, Found, kept
from tests.bench.scale import pick
from tests.bench.shipped import shipped
from tests.events import standard_webhook
from tests.product import ROOT, Product

BANNED = ("openai", "elasticsearch", "requests", "pika")
SEED = 20261125
IDLE_SECONDS = pick(1, 5, 15)
STARTS = pick(1, 5, 9)


def p17_memory() -> Found:
    """PSS of the tree: idle, and when the backlog of a load at the door has drained."""
    with chosen() as column:
        found = memory(column)
    goals = (None, None) if IS_DISTRIBUTED else (180, 220)
    figures = [
        _mb("memory of the tree (PSS), idle, MB", found["idle"], goals[0]),
        _mb("memory of the tree (PSS), after load, MB", found["after"], goals[1]),
    ]
    if IS_DISTRIBUTED:
        figures.append(_mb("memory of the servers beside it (RSS), MB", found["servers_rss"], None))
    return Found(figures=tuple(figures), rounds=found)


def memory(column: Column) -> dict[str, float]:
    """MB of the tree, PSS and RSS, idle and after a load; RSS of the servers beside it."""
    with fresh(column) as live:
        time.sleep(IDLE_SECONDS)
        found = {"idle": pss_mb(live.tree()), "idle_rss": rss_mb(live.tree())}
        drain.accept(live, drain.prepared(live, "load"))
        drain.emptied(live)
        time.sleep(IDLE_SECONDS)
        return found | {
            "after": pss_mb(live.tree()),
            "after_rss": rss_mb(live.tree()),
            "servers_rss": rss_mb(column.pids()),
        }


def _mb(what: str, value: float, goal: float | None) -> Figure:
    return Figure(target="P17", what=what, value=value, goal=goal, is_least=False)


def p18_start() -> Found:
    """Seconds from exec to the first accepted POST, with the data of earlier starts."""
    with chosen() as column:
        rounds = starts(column, STARTS)
    what = "start to first accepted POST, s"
    goal = None if IS_DISTRIBUTED else 1.0
    return Found(figures=(kept(rounds).most("P18", what, "seconds", goal),), rounds=rounds)


def starts(column: Column, number: int) -> list[dict[str, Any]]:
    """One round for each start. What the tree itself uses cannot be told apart, nor is it dropped:
    the foreign CPU is what was busy in a second without any of ours before each start.
    """
    rounds = []
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name:
        product = Product(folder=Path(name), extra=column.environ)
        product.start()
        product.stop()
        secrets, mix = product.secrets(), random.Random(SEED)
        for turn in range(number):
            post = standard_webhook(secrets, f"p18-{turn}-{time.time_ns()}", mix)
            with foreign(list) as others:
                time.sleep(1)
            sending = partial(_post, product, post)
            rounds.append({"seconds": first_answer(partial(_spawn, product), sending), **others})
    return rounds


def first_answer(
    spawn: Callable[[], subprocess.Popen[bytes]], post: Callable[[], int], limit: float = 120
) -> float:
    """Seconds from ``spawn`` to the first 2xx of ``post``; the process is ended then."""
    begin = time.perf_counter()
    process = spawn()
    try:
        while time.perf_counter() - begin < limit:
            try:
                if 200 <= post() < 300:
                    return time.perf_counter() - begin
            except (OSError, http.client.HTTPException):
                pass
            assert process.poll() is None, "it did not start"
            time.sleep(0.005)
        raise AssertionError("it never answered")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(45)


def _post(product: Product, post: Post) -> int:
    return Sender(product.port).post(post)


def _spawn(product: Product) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "services", "run"],
        cwd=ROOT,
        env=product.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def p19_import() -> Found:
    """ms to import what an ingest web process needs, as it does that itself, and which heavy packages
    came along.
    """
    code = (
        "import time; begin = time.perf_counter()\n"
        "from shared.processes import lasting\n"
        "with lasting(): import services.ingest.service, shared.web\n"
        "took = (time.perf_counter() - begin) * 1000\n"
        "import json, sys\n"
        f"print(json.dumps([took, [name for name in {BANNED!r} if name in sys.modules]]))"
    )
    rounds = []
    for _ in range(pick(1, 5, 9) + 1):
        with foreign(list) as others:
            answer = subprocess.run(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env={**os.environ, **shipped()},
                capture_output=True,
                text=True,
                check=True,
            )
        took, banned = json.loads(answer.stdout)
        rounds.append({"ms": took, "banned": banned, **others})
    times = kept(rounds[1:])
    heavy = {name for row in rounds for name in row["banned"]}
    figures = (
        times.most("P19", "import of the ingest web process, ms", "ms", 300),
        Figure(
            target="P19",
            what="heavy packages imported with it",
            value=len(heavy),
            goal=0,
            is_least=False,
        ),
    )
    return Found(figures=figures, rounds=rounds)
