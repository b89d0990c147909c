from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.demo_crm.store import Author
from services.demo_crm.webhooks import key_of
from tests.fakes.crm_fixtures import Crm, running_crm
from tests.fakes.faulty_crm import served

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()


@dataclass
class Receiver:
    """Takes webhooks and gives the scripted statuses, then 204."""

    statuses: deque[int] = field(default_factory=deque)
    arrived: queue.Queue[tuple[dict[str, str], bytes]] = field(default_factory=queue.Queue)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        names = ("id", "timestamp", "signature")
        headers = {name: environ[f"HTTP_WEBHOOK_{name.upper()}"] for name in names}
        status = self.statuses.popleft() if self.statuses else 204
        start_response(f"{status} X", [("Content-Length", "0"), ("Location", "/elsewhere")])
        self.arrived.put((headers, body))
        return [b""]

    def take(self) -> tuple[dict[str, str], dict[str, Any]]:
        headers, body = self.arrived.get(timeout=10)
        signed = f"{headers['id']}.{headers['timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["signature"] == f"v1,{expected}"
        assert abs(int(headers["timestamp"]) - time.time()) < 10
        return headers, json.loads(body)

    def is_quiet(self) -> bool:
        time.sleep(0.3)
        return self.arrived.empty()


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def crm(tmp_path: Path, receiver: Receiver) -> Iterator[Crm]:
    with (
        served(receiver) as url,
        running_crm(tmp_path, webhook_url=f"{url}/hooks/demo-crm", webhook_secret=SECRET) as crm,
    ):
        yield crm


def states(crm: Crm) -> list[tuple[str, int]]:
    with crm.app.store.database.reading() as connection:
        return [tuple(row) for row in connection.execute("SELECT state, attempts FROM notice")]


def test_a_change_is_told_signed_with_old_and_new_and_who(crm: Crm, receiver: Receiver) -> None:
    crm.patch("/api/contacts/1001", {"phone": "+12025550166"}, "run-1")
    _, notice = receiver.take()
    assert notice["type"] == "contact.updated"
    assert notice["data"] == {
        "object": "contacts", "id": "1001", "version": 2, "change_id": "run-1", "changed_by": "Countersign",
        "changes": {"phone": {"old": "+12025550101", "new": "+12025550166"}},
    }  # fmt: skip


def test_a_person_s_change_has_no_change_id(crm: Crm, receiver: Receiver) -> None:
    form = {"version": "1", "next_step": "Call", "was-next_step": "x"}
    crm.session.post(
        f"{crm.url}/deals/5001/edit", data=form, headers={"Origin": crm.url}, timeout=5
    )
    _, notice = receiver.take()
    assert (notice["type"], notice["data"]["change_id"]) == ("deal.updated", None)
    assert notice["data"]["changed_by"] == "You, in the CRM"


def test_samples_drafts_and_refused_changes_are_not_told_but_a_promotion_is(
    crm: Crm, receiver: Receiver
) -> None:
    crm.patch("/api/contacts/1001", {"phone": "nonsense"})
    crm.call(
        "POST", "/api/drafts", {"type": "contacts", "fields": {"last_name": "F"}, "change_id": "c"}
    )
    assert receiver.is_quiet()
    crm.call("POST", "/api/drafts/9001/promote", {"change_id": "run-2"})
    _, notice = receiver.take()
    assert (notice["type"], notice["data"]["id"], notice["data"]["change_id"]) == (
        "contact.created",
        "1026",
        "run-2",
    )
    assert notice["data"]["changes"]["last_name"] == {"old": None, "new": "F"}


def test_a_webhook_is_repeated_with_the_same_id_until_it_is_accepted(
    crm: Crm, receiver: Receiver
) -> None:
    receiver.statuses.extend([503, 302])
    crm.patch("/api/contacts/1001", {"city": "Olney"})
    seen = [receiver.take() for _ in range(3)]
    assert len({headers["id"] for headers, _ in seen}) == 1
    assert len({json.dumps(body) for _, body in seen}) == 1
    assert receiver.is_quiet()
    assert states(crm) == [("sent", 3)]


def test_a_receiver_that_is_gone_is_left_alone(crm: Crm, receiver: Receiver) -> None:
    receiver.statuses.append(410)
    crm.patch("/api/contacts/1001", {"city": "Olney"})
    receiver.take()
    assert receiver.is_quiet()
    assert states(crm) == [("given up", 1)]


def test_what_waits_at_a_stop_is_sent_after_the_next_start(
    tmp_path: Path, receiver: Receiver
) -> None:
    options = {"webhook_url": "http://127.0.0.1:9/", "webhook_secret": SECRET}
    with running_crm(tmp_path, **options) as crm:
        crm.app.store.update(
            "contacts", "1001", {"city": "Olney"}, Author(name="Countersign", change_id="r")
        )
    with served(receiver) as url, running_crm(tmp_path, **(options | {"webhook_url": url})):
        assert receiver.take()[1]["data"]["change_id"] == "r"


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!", "whsec_c2hvcnQ="])
def test_a_malformed_secret_is_refused_at_the_start(secret: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        key_of(secret)
