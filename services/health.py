"""Whether the process of this environment does its work, for health checks.

Each container asks every few seconds: ``python -m services.health`` loads next to nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.request import urlopen

from shared.heartbeat import why_not_alive
from shared.settings import given

PORT = "8000"
ANYWHERE, THIS = "0.0.0.0", "127.0.0.1"  # noqa: S104 - compared, never listened on


def ailment() -> str:
    """What is wrong with the process that this environment belongs to; empty where nothing is."""
    environ = given()
    service, _, kind = environ.get("PROCESS", "").partition("-")
    if kind == "worker":
        return _ailment_of_worker(environ.get("WAKE_DIR", ""), service)
    host = environ.get("HOST", ANYWHERE)
    place = f"http://{THIS if host == ANYWHERE else host}:{environ.get('PORT', PORT)}"
    return _ailment_of_web(f"{place}/readyz" if kind == "web" else f"{place}/")


def _ailment_of_worker(wake_dir: str, service: str) -> str:
    """Each of its loops has said by when it will be heard of again."""
    if not wake_dir:
        return "WAKE_DIR is not set"
    return why_not_alive(Path(wake_dir), service) or ""


def _ailment_of_web(url: str) -> str:
    try:
        with urlopen(url, timeout=5):  # noqa: S310 - our own address
            return ""
    except OSError as error:  # Refused, answered with an error, or too slow.
        return f"{url}: {error}"


if __name__ == "__main__":
    sys.exit(ailment() or None)
