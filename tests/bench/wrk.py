"""The client: wrk with one thread on kept-alive connections, posting requests prepared in a file."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.facts import foreign
from tests.bench.result import NotHereError

LUA = """
local posts, file = {}, io.open(os.getenv("POSTS"), "rb")
for length in function() return file:read("*n") end do
  file:read(1)
  posts[#posts + 1] = file:read(length)
end
local place = 0
request = function() place = place % #posts + 1; return posts[place] end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %d %d %d %d\\n", summary.requests,
    summary.duration, summary.errors.status, summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout, latency:percentile(50),
    latency:percentile(99), latency.mean))
end
"""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement. Times in milliseconds; ``answers`` are those with a status below 400."""

    side: str
    connections: int
    rate: float
    p50: float
    p99: float
    mean: float
    answers: int
    errors: int
    foreign_cores: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """One POST with everything that is signed."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def text(self) -> bytes:
        """As it goes over the wire."""
        headers = {"Host": "127.0.0.1", "Content-Length": str(len(self.body)), **self.headers}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


def write(requests: Iterable[Request], path: Path) -> int:
    """Prepare the file for `run`, its number beside it; returns how many there are."""
    count = 0
    with path.open("wb") as file:
        for request in requests:
            text = request.text()
            file.write(b"%d\n" % len(text) + text + b"\n")
            count += 1
    path.with_suffix(".count").write_text(str(count))
    return count


def run(
    port: int,
    posts: Path,
    *,
    side: str,
    connections: int,
    seconds: float,
    own: Callable[[], Sequence[int]],
    repeat: bool = False,
) -> Cell:
    """One cell. ``own`` are the processes of the server: what else used the CPU is foreign.

    Raises `AssertionError` if the requests ran out before the time, unless they may repeat.
    """
    if not shutil.which("wrk"):
        raise NotHereError("wrk is not installed: apt-get install wrk")
    script = posts.with_name("post.lua")
    script.write_text(LUA)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s"]
    with foreign(own) as others:
        client = subprocess.run(
            [*command, str(script), f"http://127.0.0.1:{port}"],
            env={**os.environ, "POSTS": str(posts)},
            capture_output=True,
            text=True,
            check=True,
        )
    line = next(text for text in client.stdout.splitlines() if text.startswith("RESULT"))
    total, micro, status, broken, p50, p99, mean = map(int, line.split()[1:])
    assert repeat or total <= _count(posts), "ids would repeat: write more requests for the cell"
    return Cell(
        side=side,
        connections=connections,
        rate=(total - status) / (micro / 1e6),
        p50=p50 / 1000,
        p99=p99 / 1000,
        mean=mean / 1000,
        answers=total - status,
        errors=status + broken,
        foreign_cores=others["foreign_cores"],
    )


def _count(posts: Path) -> int:
    return int(posts.with_suffix(".count").read_text())
