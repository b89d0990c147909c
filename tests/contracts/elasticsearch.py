"""A name of one's own in a real Elasticsearch; `deploy/dev/services` starts the server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

SERVER = os.environ.get("TEST_ELASTICSEARCH_URL", "http://127.0.0.1:59200")


@contextmanager
def search_url(server: str = SERVER) -> Iterator[str]:
    """A fresh one, cleaned up afterwards. Without a server the test is skipped; in CI it fails."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    try:
        requests.get(f"{server}/_cluster/health", timeout=20).raise_for_status()
    except requests.RequestException:
        if os.environ.get("CI"):
            pytest.fail("no Elasticsearch: deploy/dev/services start elasticsearch")
        pytest.skip("no Elasticsearch: deploy/dev/services start elasticsearch")
    try:
        yield f"{server}/{prefix}"
    finally:
        for name in indices(prefix, server):
            requests.delete(f"{server}/{name}", timeout=60)
        requests.delete(f"{server}/_index_template/{prefix}", timeout=60)


def indices(prefix: str, server: str = SERVER) -> list[str]:
    """The names of all indices that begin so."""
    answer = requests.get(f"{server}/{prefix}-*?features=aliases", timeout=60)
    answer.raise_for_status()
    return sorted(answer.json())


def stored(prefix: str) -> bytes:
    """Every byte that the server keeps for these indices; it is on this machine."""
    settings = requests.get(f"{SERVER}/_nodes/settings?filter_path=**.path.data", timeout=60).json()
    [node] = settings["nodes"].values()
    found = b""
    for name in indices(prefix):
        uuid_ = requests.get(f"{SERVER}/{name}/_settings", timeout=60).json()[name]["settings"][
            "index"
        ]["uuid"]
        folder = Path(node["settings"]["path"]["data"]) / "indices" / uuid_
        assert folder.is_dir(), folder
        found += b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return found
