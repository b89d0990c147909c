"""A pytest plugin that sends kombu's own AMQP tests to another broker and notes the outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kombu
import pytest

from shared.bus import transports

LIVE = "pyamqp://localhost:5672"
DEAD = "pyamqp://localhost:12345"
OUTCOMES: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live-url")
    parser.addoption("--dead-url")
    parser.addoption("--outcomes")


def pytest_configure(config: pytest.Config) -> None:
    live, dead = config.getoption("--live-url"), config.getoption("--dead-url")
    redirected = {LIVE: live, DEAD: dead, f"{DEAD};{LIVE}": f"{dead};{live}"}
    transports.register()

    class Redirected(kombu.Connection):
        def __init__(self, hostname: Any = "localhost", *args: Any, **options: Any) -> None:
            if isinstance(hostname, str):
                hostname = redirected.get(hostname, hostname)
            super().__init__(hostname, *args, **options)

    kombu.Connection = Redirected
    config.addinivalue_line("markers", "env(name): of kombu's own runs")
    config.addinivalue_line("markers", "flaky(reruns, reruns_delay): no test is run again here")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.partition("::")[2]
    if report.failed or (report.when == "call" and name not in OUTCOMES):
        OUTCOMES[name] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    Path(session.config.getoption("--outcomes")).write_text(json.dumps(OUTCOMES))
