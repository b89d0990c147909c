"""A virtual host of a real RabbitMQ for one test run; `deploy/dev/services` starts the server."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

URL = os.environ.get("TEST_RABBITMQ_URL", "pika://guest:guest@127.0.0.1:5673/%2F")
MANAGEMENT = os.environ.get("TEST_RABBITMQ_MANAGEMENT", "http://127.0.0.1:15673")


@dataclass(frozen=True, kw_only=True)
class Host:
    """A virtual host. ``url`` opens it as the administrator."""

    name: str
    url: str
    management: str

    def url_of(self, user: str, password: str) -> str:
        address = urlsplit(self.url)
        return f"pika://{user}:{password}@{address.hostname}:{address.port}/{self.name}"

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the management plugin, below ``/api/``."""
        address = urlsplit(self.url)
        answer = requests.request(
            method,
            f"{self.management}/api/{quote(path, safe='/%')}",
            json={} if body is None and method == "PUT" else body,
            auth=(str(address.username), str(address.password)),
            timeout=10,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None


@contextmanager
def virtual_host(server: str = URL, management: str = MANAGEMENT) -> Iterator[Host]:
    """A fresh one, deleted afterwards. Without a server the test is skipped; in CI it fails."""
    name = f"t{uuid.uuid4().hex[:10]}"
    host = Host(name=name, url=server.rpartition("/")[0] + f"/{name}", management=management)
    try:
        host.api("PUT", f"vhosts/{name}")
    except requests.RequestException:
        if os.environ.get("CI"):
            pytest.fail("no RabbitMQ: deploy/dev/services start rabbitmq")
        pytest.skip("no RabbitMQ: deploy/dev/services start rabbitmq")
    permissions = {"configure": ".*", "write": ".*", "read": ".*"}
    host.api("PUT", f"permissions/{name}/{urlsplit(server).username}", permissions)
    try:
        yield host
    finally:
        host.api("DELETE", f"vhosts/{name}")


def seen_by_itself(_: int) -> None:
    """RabbitMQ sees that a connection is gone, and gives back what it held."""
