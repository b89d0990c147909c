"""P3 and n8n's side of P17 and P18: the same signed bodies, checked and kept by both."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tests.bench import footprint, n8n, posts, wrk
from tests.bench.column import EMBEDDED
from tests.bench.door import Door, opened
from tests.bench.facts import foreign, pss_mb, rss_mb, tree
from tests.bench.n8n import N8n
from tests.bench.posts import Posts
from tests.bench.result import Figure, Found, kept
from tests.bench.scale import ROUNDS, SECONDS, WARM_UP, pick
from tests.bench.wrk import Cell, Request
from tests.product import eventually

LARGEST_RATE = 1500
CONNECTIONS = pick((16,), (16, 64), (16, 64))
CELL: float = max(SECONDS, 5)
"""n8n may not have answered once after a second."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A started n8n and requests for it."""

    n8n: N8n
    process: subprocess.Popen[bytes]
    posts: Posts

    def pids(self) -> list[int]:
        return tree(self.process.pid)

    def cell(self, *, connections: int, seconds: float) -> Cell:
        """An answer counts only if its execution is saved."""
        before = self.n8n.settled()
        cell = self.load(connections=connections, seconds=seconds)
        saved = min(cell.answers, self.n8n.settled() - before)
        assert saved > 0, (cell, self.n8n.folder.joinpath("n8n.log").read_text()[-2000:])
        share = saved / cell.answers
        return Cell(**{**asdict(cell), "answers": saved, "rate": cell.rate * share})

    def load(self, *, connections: int, seconds: float) -> Cell:
        """Post, whatever becomes of it."""
        return wrk.run(
            self.n8n.port,
            self.posts.write(int(LARGEST_RATE * seconds)),
            side=self.n8n.engine,
            connections=connections,
            seconds=seconds,
            own=self.pids,
        )


@contextmanager
def running(engine: str) -> Iterator[Running]:
    """n8n with the workflow at work: a right signature gets a 200, a wrong one does not."""
    with ExitStack() as stack:
        made = stack.enter_context(n8n.prepared(engine))
        folder = stack.enter_context(posts.folder())
        mine = Posts(folder, posts.generic(n8n.PATH))
        process = made.spawn()
        stack.callback(_end, process)
        said = made.folder / "n8n.log"
        eventually(
            lambda: _status(made, mine.next()) == 200,
            n8n.START_SECONDS,
            lambda: said.read_text()[-2000:],
        )
        wrong = Request(path=n8n.PATH, headers={"X-Signature": "00"}, body=b"{}")
        before = made.settled()
        assert _status(made, wrong) == 500
        assert made.settled() == before, "a wrong signature was taken"
        yield Running(n8n=made, process=process, posts=mine)


def _status(made: N8n, request: Request) -> int:
    """The answer's status; 0 while nobody listens, or only says with a 200 that it is starting."""
    connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=30)
    try:
        connection.request("POST", request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        return 0 if answer.read().startswith(b"n8n is starting up") else answer.status
    except OSError:
        return 0
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)


def p3_against_n8n() -> Found:
    """Accepts a second ÷ saved executions a second of n8n's faster engine, side by side."""
    n8n.demand()
    figures, rounds = [], []
    with ExitStack() as stack:
        door = stack.enter_context(opened("ingest", make=posts.generic("/hooks/generic-hmac")))
        peers = [stack.enter_context(running(engine)) for engine in n8n.ENGINES]
        for connections in CONNECTIONS:
            mine = [_round(door, peers, connections) for _ in range(ROUNDS)]
            found = kept(mine)
            what = f"durable accepts ÷ n8n, {connections} connections"
            figures.append(found.least("P3", what, "ratio", 100))
            figures.append(found.least("P3", "n8n, saved executions a second", "theirs", None))
            rounds += mine
    return Found(figures=tuple(figures), rounds={"version": n8n.VERSION, "rounds": rounds})


def _round(door: Door, peers: list[Running], connections: int) -> dict[str, Any]:
    """A B C C B A; the ratio is to the faster of the two engines."""
    with door.counted() as counted:
        door_cells = [door.cell(connections=connections, seconds=WARM_UP)]
        for peer in peers:
            peer.load(connections=connections, seconds=WARM_UP)
        door_cells.append(door.cell(connections=connections, seconds=CELL))
        theirs = [
            peer.cell(connections=connections, seconds=CELL) for peer in [*peers, *reversed(peers)]
        ]
        door_cells.append(door.cell(connections=connections, seconds=CELL))
        counted.extend(door_cells)
    assert not any(cell.errors for cell in [*door_cells, *theirs]), (door_cells, theirs)
    ours = (door_cells[1].rate + door_cells[2].rate) / 2
    rates = {
        peer.n8n.engine: sum(c.rate for c in theirs if c.side == peer.n8n.engine) / 2
        for peer in peers
    }
    return {
        "connections": connections,
        "ours": ours,
        "theirs": max(rates.values()),
        "ratio": ours / max(rates.values()),
        "engines": rates,
        "foreign_cores": max(cell.foreign_cores for cell in [*door_cells[1:], *theirs]),
        "cells": list(map(vars, [*door_cells, *theirs])),
    }


def p17_memory() -> Found:
    """Ours and n8n's, idle and after the same load; RSS counts shared pages twice, so both."""
    n8n.demand()
    with running("legacy") as peer:
        time.sleep(footprint.IDLE_SECONDS)
        found = {"n8n_idle": pss_mb(peer.pids()), "n8n_idle_rss": rss_mb(peer.pids())}
        peer.cell(connections=64, seconds=CELL)
        found |= {"n8n_after": pss_mb(peer.pids()), "n8n_after_rss": rss_mb(peer.pids())}
    ours = footprint.memory(EMBEDDED)
    figures = [
        Figure(
            target="P17",
            what=f"memory ÷ n8n (PSS), {name}",
            value=ours[when] / found[f"n8n_{when}"],
            goal=0.35,
            is_least=False,
        )
        for when, name in (("idle", "idle"), ("after", "after load"))
    ]
    rss = Figure(target="P17", what="n8n after load (RSS), MB", value=found["n8n_after_rss"])
    return Found(figures=(*figures, rss), rounds={**found, "ours": ours})


def p18_start() -> Found:
    """Start to the first 2xx of both, in turn."""
    n8n.demand()
    rounds = []
    with n8n.prepared("legacy") as made, posts.folder() as folder:
        mine = Posts(folder, posts.generic(n8n.PATH))
        for _ in range(pick(1, 3, 5)):
            [ours] = footprint.starts(EMBEDDED, 1)
            with foreign(list) as others:
                time.sleep(1)
            sending = partial(lambda request: _status(made, request), mine.next())
            theirs = footprint.first_answer(made.spawn, sending)
            loudest = max(ours["foreign_cores"], others["foreign_cores"])
            rounds.append(
                {
                    "ours": ours["seconds"],
                    "n8n": theirs,
                    "ratio": ours["seconds"] / theirs,
                    "foreign_cores": loudest,
                }
            )
    found = kept(rounds)
    figures = (
        found.most("P18", "start to first accepted POST ÷ n8n", "ratio", 0.15),
        found.most("P18", "n8n, start to first 2xx, s", "n8n", None),
    )
    return Found(figures=figures, rounds=rounds)
