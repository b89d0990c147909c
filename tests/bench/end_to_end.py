"""The running product from outside: P7, P8, P12, P17, P18 and P19.

Run one with ``python -m tests.bench.end_to_end p7``.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from services.demonstration import Post
from shared.domain import ids
from tests.bench.facts import foreign
from tests.events import lead, standard_webhook
from tests.product import ROOT, Product, eventually, running

FULL = bool(os.environ.get("FULL"))
WORKERS = tuple(f"{name}-worker"[:15] for name in ("ingest", "classifier", "writer", "audit"))
BANNED = ("openai", "elasticsearch", "requests", "pika")
SEED = 20261123


@contextmanager
def fresh(**extra: str) -> Iterator[Product]:
    """An empty installation that runs."""
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name:
        with running(Path(name), **extra) as product:
            yield product


class Sender:
    """One kept-alive connection."""

    def __init__(self, product: Product) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=30)

    def post(self, post: Post) -> int:
        self._connection.request("POST", post.path, post.body, dict(post.headers))
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def p7_to_pending(product: Product, number: int) -> dict[str, Any]:
    """From before the POST to the committed proposal, one event at a time, in ms."""
    secrets, mix = product.secrets(), random.Random(SEED)
    sender, times = Sender(product), []
    with _open(product, "writer") as db, foreign(lambda: _pids(product)) as others:
        for turn in range(number + 20):
            run = f"p7-{SEED}-{turn}"
            post = standard_webhook(secrets, run, mix)
            event = ids.event_id("standard-webhooks", "demo", f"msg_{run}")
            times.append(_until(sender, post, lambda e=event: _has_proposal(db, e)))
            time.sleep(0.02)
    return {**_shares(times[20:]), **others}


def p8_to_searchable(product: Product, number: int) -> dict[str, Any]:
    """From before the POST until the search finds it by the customer's e-mail address, in ms."""
    from services.audit.finding import Page, find, parse
    from services.audit.service import SERVICE
    from services.installation import Installation, RunSettings
    from shared.settings import load_settings

    home = Installation(root=product.folder / "data", run=RunSettings())
    web = SERVICE.web
    assert web is not None
    deps = web.wire(load_settings(web.settings, home.environment("audit", "web")))
    secrets, mix = product.secrets(), random.Random(SEED)
    sender, times = Sender(product), []

    def found(email: str) -> bool:
        query = parse(f"person:{email}")
        return bool(find(deps, query, viewer="bench", page=Page(before=None, size=1)).rows)

    with foreign(lambda: _pids(product)) as others:
        for turn in range(number + 10):
            post = lead(secrets, f"p8{turn}", mix)
            email = dict(_form(post))["email"]
            times.append(_until(sender, post, lambda e=email: found(e)))
            time.sleep(0.02)
    return {**_shares(times[10:]), **others}


def p12_drain(product: Product, number: int) -> dict[str, Any]:
    """Events a second from inbox to classified and proposed, after the workers had been away."""
    secrets, mix = product.secrets(), random.Random(SEED + 1)
    posts = [standard_webhook(secrets, f"p12-{turn}", mix) for turn in range(number)]
    with _open(product, "writer") as db:
        before = _classified(db)
        with _workers_away(product):
            accepted = _post_all(product, posts)
        with foreign(lambda: _pids(product)) as others:
            begin = time.perf_counter()
            eventually(lambda: _classified(db) >= before + accepted, 600)
            seconds = time.perf_counter() - begin
    return {
        "events": accepted,
        "seconds": round(seconds, 2),
        "events_per_s": round(accepted / seconds),
        **others,
    }


def p17_memory(product: Product) -> float:
    """PSS of the whole tree in MB."""
    return round(sum(_pss(pid) for pid in _pids(product)) / 1024, 1)


def p18_start(rounds: int) -> dict[str, Any]:
    """Seconds from exec to the first accepted POST: a first start, then starts of the same data."""
    times: list[float] = []
    first = 0.0
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name:
        product = Product(folder=Path(name))
        product.start()
        product.stop()
        secrets, mix = product.secrets(), random.Random(SEED + 2)
        with foreign(list) as others:
            for turn in range(rounds):
                post = standard_webhook(secrets, f"p18-{turn}-{time.time_ns()}", mix)
                times.append(_start(product, post))
        others.pop(
            "foreign_cores"
        )  # The tree is started and ended inside: it cannot be told apart.
    with tempfile.TemporaryDirectory(prefix="countersign-bench-") as name:
        first = _first_answer(Product(folder=Path(name)))
    return {
        "rounds_s": [round(t, 3) for t in times],
        "p50_s": round(median(times), 3),
        "first_start_to_answer_s": round(first, 3),
        **others,
    }


def p19_import(rounds: int) -> dict[str, Any]:
    """ms to import what an ingest web process needs, and which heavy packages came along."""
    code = (
        "import time; begin = time.perf_counter()\n"
        "import services.ingest.service, shared.web\n"
        "took = (time.perf_counter() - begin) * 1000\n"
        "import json, sys\n"
        f"print(json.dumps([took, [name for name in {BANNED!r} if name in sys.modules]]))"
    )
    found = []
    for _ in range(rounds + 1):
        answer = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found.append(json.loads(answer.stdout))
    times = [took for took, _ in found[1:]]
    return {"p50_ms": round(median(times)), "min_ms": round(min(times)), "banned": found[-1][1]}


def _until(sender: Sender, post: Post, holds: Callable[[], bool], limit: float = 10) -> float:
    """ms from before the POST until it holds; looks every ms."""
    begin = time.perf_counter()
    status = sender.post(post)
    assert 200 <= status < 300, status
    while not holds():
        assert time.perf_counter() - begin < limit, "it did not happen"
        time.sleep(0.001)
    return (time.perf_counter() - begin) * 1000


def _has_proposal(db: sqlite3.Connection, event: str) -> bool:
    query = "SELECT 1 FROM proposals WHERE event_id = ?"
    return db.execute(query, (event,)).fetchone() is not None


def _classified(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM classifications").fetchone()[0])


@contextmanager
def _open(product: Product, name: str) -> Iterator[sqlite3.Connection]:
    address = f"file:{product.folder}/data/{name}.db?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as db:
        yield db


@contextmanager
def _workers_away(product: Product) -> Iterator[None]:
    """All workers stand still, at a moment when none of them was doing anything."""
    time.sleep(1.5)
    workers = [child for child in product.children() if child.name() in WORKERS]
    assert len(workers) == len(WORKERS), [child.name() for child in product.children()]
    for worker in workers:
        os.kill(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.kill(worker.pid, signal.SIGCONT)


def _post_all(product: Product, posts: list[Post], senders: int = 8) -> int:
    """How many were accepted."""
    accepted: list[int] = []

    def send(mine: list[Post]) -> None:
        sender = Sender(product)
        accepted.append(sum(200 <= sender.post(post) < 300 for post in mine))

    threads = [threading.Thread(target=send, args=(posts[n::senders],)) for n in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(accepted)


def _pids(product: Product) -> list[int]:
    assert product.process is not None
    return [product.process.pid, *(child.pid for child in product.children())]


def _pss(pid: int) -> int:
    """KiB, shared pages divided among those who share them."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def _start(product: Product, post: Post) -> float:
    begin = time.perf_counter()
    process = _spawn(product)
    try:
        while True:
            try:
                if 200 <= Sender(product).post(post) < 300:
                    return time.perf_counter() - begin
            except OSError:
                time.sleep(0.005)
            assert process.poll() is None, "it did not start"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(45)


def _first_answer(product: Product) -> float:
    """A first start makes keys and databases; its secrets are not known yet, so any answer counts."""
    begin = time.perf_counter()
    process = _spawn(product)
    try:
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", product.port, timeout=5)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    return time.perf_counter() - begin
            except OSError:
                time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(45)


def _spawn(product: Product) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "services", "run"],
        cwd=ROOT,
        env=product.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _form(post: Post) -> Mapping[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(post.body.decode()))


def _shares(times: list[float]) -> dict[str, Any]:
    ordered = sorted(times)
    return {
        "rounds": len(ordered),
        "min_ms": round(ordered[0], 1),
        "p50_ms": round(median(ordered), 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def measure(wanted: str = "") -> dict[str, Any]:
    """All of them, or the one that is wanted."""
    found: dict[str, Any] = {}
    if wanted in {"", "p19"}:
        found["P19"] = p19_import(9 if FULL else 5)
    if wanted in {"", "p18"}:
        found["P18"] = p18_start(9 if FULL else 5)
    if wanted in {"", "p7", "p8", "p12", "p17"}:
        with fresh() as product:
            time.sleep(2)
            idle = p17_memory(product)
            if wanted in {"", "p7"}:
                found["P7"] = p7_to_pending(product, 1000 if FULL else 200)
            if wanted in {"", "p8"}:
                found["P8"] = p8_to_searchable(product, 500 if FULL else 100)
            if wanted in {"", "p12"}:
                found["P12"] = p12_drain(product, 20_000 if FULL else 3_000)
            found["P17"] = {"idle_mb": idle, "after_load_mb": p17_memory(product)}
    return found


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1] if len(sys.argv) > 1 else ""), indent=2))
