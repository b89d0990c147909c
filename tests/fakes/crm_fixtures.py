"""The demo CRM on a real socket, with its tokens, for the tests of both of its sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from services.demo_crm.app import DemoCrm, create_app
from tests.fakes.faulty_crm import FaultyCrm, served

READ = "read-token"
WRITE = "write-token"


@dataclass(kw_only=True)
class Crm:
    url: str
    app: DemoCrm
    faulty: FaultyCrm
    session: requests.Session

    def call(
        self, method: str, path: str, body: Any = None, *, token: str = WRITE, **more: Any
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.session.request(
            method, self.url + path, json=body, headers=headers, timeout=10, **more
        )

    def get(self, path: str, token: str = READ) -> dict[str, Any]:
        answer = self.call("GET", path, token=token)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def patch(
        self, path: str, fields: dict[str, Any], change_id: str = "change-1", **more: Any
    ) -> requests.Response:
        return self.call("PATCH", path, {"fields": fields, "change_id": change_id}, **more)


@contextmanager
def running_crm(folder: Path, **options: Any) -> Iterator[Crm]:
    app = create_app(folder / "crm.db", READ, WRITE, lambda: datetime.now(UTC), **options)
    faulty = FaultyCrm(app)
    with served(faulty) as url, requests.Session() as session:
        session.trust_env = False
        yield Crm(url=url, app=app, faulty=faulty, session=session)
    app.close()
