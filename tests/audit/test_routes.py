from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from services.audit.checkpoints import seal_waiting
from services.audit.deps import WebDeps
from services.audit.routes import api
from shared import sessions
from shared.db import open_database
from shared.domain.topics import Topic
from shared.people import People
from shared.service import Web
from shared.web import build_app
from tests.audit.book import Book, Customer, chain_of, whole_story
from tests.audit.test_ledger import VERIFIER

JANE = Customer()


class Client:
    """One signed-in person with an API token."""

    def __init__(self, app: Any, token: str) -> None:
        self._client, self._token = app.test_client(), token

    def get(self, path: str, **args: Any) -> Any:
        return self._client.get(path, headers=self._headers(), query_string=args)

    def post(self, path: str, data: Any) -> Any:
        return self._client.post(path, headers=self._headers(), json=data)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


@pytest.fixture
def clients(book: Book) -> dict[str, Client]:
    deps = book.deps
    shared = ("engine", "outbox", "unit_of_work", "clock", "vault", "index", "vkeys", "books")
    web_deps = WebDeps(**{name: getattr(deps, name) for name in shared})
    people = People(book.folder / "people.toml", clock=lambda: book.at)
    web = Web(settings=object, wire=lambda _: web_deps, blueprints=(api,))
    store = open_database(f"sqlite:///{book.folder}/sessions.db")
    app = build_app(
        [("audit", web, web_deps)],
        people,
        public_url="http://localhost",
        sessions=sessions.Sessions(engine=store, clock=lambda: book.at),
    )
    clients = {}
    for name in ("support", "auditor", "approver"):
        account = people.add(name, roles=(name,))
        clients[name] = Client(app, people.make_token(account.id, "test"))
    whole_story(book, JANE)
    seal_waiting(deps)
    book.index()
    return clients


def test_a_search_gives_masked_rows_and_is_logged(book: Book, clients: dict[str, Client]) -> None:
    answer = clients["support"].get("/api/search", q="jane.doe@example.com", approver="ann")
    assert answer.status_code == 200
    assert answer.json["total"] == 3
    assert answer.json["filters"] == [["approver", "ann"]]
    assert "jane.doe" not in answer.text
    (message,) = book.sent(Topic.SEARCH_MADE)
    assert message.actor == "person:support"


@pytest.mark.parametrize("args", [{}, {"q": "a*"}, {"q": "x", "size": "many"}, {"after": "soon"}])
def test_a_search_that_means_nothing_is_refused(clients: dict[str, Client], args: Any) -> None:
    answer = clients["support"].get("/api/search", **args)
    assert 400 <= answer.status_code < 500
    assert answer.json["error"]["message"]


def test_a_story_is_masked_until_a_reason_is_given(book: Book, clients: dict[str, Client]) -> None:
    path, chain = f"/api/chains/{chain_of(JANE)}", chain_of(JANE)
    assert JANE.email not in clients["support"].get(path).text
    bad = clients["support"].post("/api/unmask", {"chain": chain, "reason": ""})
    assert bad.status_code == 422
    assert (
        clients["support"].post("/api/unmask", {"chain": "no", "reason": "ticket 7"}).status_code
        == 404
    )
    good = clients["support"].post("/api/unmask", {"chain": chain, "reason": "ticket 7"})
    assert good.status_code == 200
    story = clients["support"].get(path)
    assert JANE.email in story.text
    assert len(story.json["answers"]) == 8
    assert JANE.email not in clients["auditor"].get(path).text
    assert (
        clients["approver"].post("/api/unmask", {"chain": chain, "reason": "why"}).status_code
        == 403
    )


def test_an_entry_comes_with_its_proof(clients: dict[str, Client]) -> None:
    answer = clients["auditor"].get("/api/entries/0").json
    assert answer["proved"] is True
    assert answer["entry"]["seq"] == 0
    assert JANE.email not in str(answer)
    assert clients["auditor"].get("/api/entries/999").status_code == 404
    assert clients["auditor"].get("/api/log/checkpoint").json["size"] > 5


def test_the_exported_log_verifies_and_names_nobody(
    tmp_path: Path, clients: dict[str, Client]
) -> None:
    assert clients["support"].get("/api/log/export").status_code == 403
    data = clients["auditor"].get("/api/log/export").data
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    assert JANE.email not in (folder / "entries.jsonl").read_text()
    command = [sys.executable, "-I", str(VERIFIER), str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_the_balance_is_shown_with_its_difference(book: Book, clients: dict[str, Client]) -> None:
    book.accept(1)
    answer = clients["auditor"].get("/api/log/balance").json
    assert answer["proposed"] == 1
    assert answer["difference"] == 0
