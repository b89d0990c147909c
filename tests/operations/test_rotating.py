"""Every secret is changed while people and senders go on working: no request fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from services.audit.checkpoints import LOG_NAME, VKEY
from services.audit.notes import vkey_of
from services.audit.vault import Vault
from services.ingest.endpoints import new_secret
from shared.key_ring import read_ring
from shared.keys import replace_file, replace_key
from tests.backup.world import count, ids, nothing_waits, open_the_caps, rows, started
from tests.faults.approver import Approver
from tests.faults.load import Load
from tests.product import Product, eventually

EVENTS = 27
# Those that need no process to begin anew.
KEYS = ("decisions", "checkpoints", "ledger", "endpoints")
# What an approver may well be told when two cards of one record cross; a failure is none of them.
CROSSED = {409, 403}


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    product = Product(folder=tmp_path)
    open_the_caps(product)
    with started(product):
        yield product


@contextmanager
def asked_all_the_time(product: Product) -> Iterator[list[str]]:
    """A stranger who asks for a page again and again; yields what went wrong.

    A connection that was taken in the moment in which its worker ends is closed unread: as every
    client does, the stranger asks once more.
    """
    wrong: list[str] = []
    stop = threading.Event()
    stranger = requests.Session()
    once_more = Retry(connect=0, read=1, redirect=0, status=0, other=0)
    stranger.mount("http://", HTTPAdapter(max_retries=once_more))
    stranger.headers["Connection"] = "close"

    def ask() -> None:
        while not stop.is_set():
            try:
                status = stranger.get(f"{product.url}/healthz", timeout=5).status_code
                wrong.extend([] if status == 200 else [f"status {status}"])
            except requests.RequestException as error:
                wrong.append(type(error).__name__)
            time.sleep(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def run(product: Product, *words: str) -> str:
    said = product.command(*words)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def applied(product: Product) -> int:
    return count(product, "writer", "SELECT count(*) FROM changes WHERE state = 'applied'")


def key_ids(product: Product) -> set[str]:
    """Of the keys that approvals were signed with."""
    found = ids(product, "writer", "SELECT json_extract(body, '$.key_id') FROM decisions")
    return {str(one) for one in found}


def test_keys_and_an_endpoints_secret_are_rotated_under_load(product: Product) -> None:
    first, second = (Load(product=product, rate=EVENTS / 5, seed=n) for n in (3, 4))
    with asked_all_the_time(product) as wrong, Approver(product.client()) as approver:
        first.start()
        eventually(lambda: applied(product) > 0, 30, product.said)
        is_proved(product)
        for name in KEYS:
            run(product, "keys", "rotate", name)
        is_proved(product)
        for source in ("generic-hmac", "standard-webhooks"):
            # The sender still signs with the old one: both are valid until the next rotation.
            new = new_secret(source)
            run(product, "source", "rotate", source, "--name", "demo", "--secret", new)
        before = applied(product)
        second.start()
        for load in (first, second):
            eventually(lambda load=load: len(load.acknowledged) >= EVENTS, 30)
            load.finish()
        eventually(lambda: nothing_waits(product), 40, product.said)
    for load in (first, second):
        assert load.given_up == []
        assert not load.refused
    assert wrong == []
    assert set(approver.refused) <= CROSSED
    assert applied(product) > before
    assert len(key_ids(product)) == 2
    failed = "SELECT count(*) FROM changes WHERE state = 'failed'"
    assert count(product, "writer", failed) == 0
    for name in KEYS:
        assert run(product, "keys", "list").count(f"{name} ") == 2
    changed = "SELECT count(*) FROM entries WHERE topic = 'key.changed'"
    assert count(product, "audit", changed) == 1
    is_proved(product)
    is_read_with_the_newest_key_alone(product)


def is_proved(product: Product) -> None:
    assert "OK. Entries: " in run(product, "verify")


def is_read_with_the_newest_key_alone(product: Product) -> None:
    """The key of every chain, of before and of after."""
    newest = read_ring(product.folder / "data/keys/ledger.key")[0]
    vault = Vault(masters=lambda: (newest,))
    wrapped = rows(product, "audit", "SELECT chain, wrapped FROM chain_keys")
    assert len(wrapped) > EVENTS
    for chain, key in wrapped:
        vault.unwrap(chain, key)


def test_a_key_that_was_slipped_in_proves_nothing_and_stops_the_seals(product: Product) -> None:
    run(product, "demo")
    is_proved(product)
    keys = product.folder / "data" / "keys"
    true = {path: path.read_bytes() for path in keys.glob("checkpoints.*")}
    forged = Ed25519PrivateKey.generate()
    lines = f"{vkey_of(LOG_NAME, forged).text()}\n{(keys / VKEY).read_text()}"
    replace_file(keys / VKEY, lines.encode())
    replace_key(keys, "checkpoints", forged)
    said = product.command("verify")
    assert said.returncode != 0
    assert "nothing that it has signed leads" in said.stderr
    for path, data in true.items():
        replace_file(path, data)
    is_proved(product)


def test_a_reload_refuses_no_request_and_uses_the_new_token(product: Product) -> None:
    old = (product.folder / "data/keys/metrics.token").read_text()
    run(product, "keys", "rotate", "metrics")
    assert "Now `countersign reload`" in run(product, "keys", "rotate", "crm-write-grants")
    processes = {child.pid for child in product.children()}
    with asked_all_the_time(product) as wrong:
        run(product, "reload")
        eventually(lambda: not processes & workers(product), 40, product.said)
    assert wrong == []
    assert "0 grants are sealed" in run(product, "keys", "rotate", "crm-write-grants")
    assert status_of(product, old) == 403
    assert status_of(product, (product.folder / "data/keys/metrics.token").read_text()) == 200


def workers(product: Product) -> set[int]:
    """All processes but the server that owns the port."""
    found = set()
    for child in product.children():
        with suppress(psutil.NoSuchProcess):  # It ended meanwhile, as it should.
            if child.name() != "web" or child.ppid() != getattr(product.process, "pid", 0):
                found.add(child.pid)
    return found


def status_of(product: Product, token: str) -> int:
    """Of the figures, asked as through a proxy: the token alone opens them then."""
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "192.0.2.1"}
    return requests.get(f"{product.url}/metrics", headers=headers, timeout=5).status_code


def test_everyone_is_signed_out_at_once(product: Product) -> None:
    session = requests.Session()
    link = product.link()
    session.post(link, timeout=5, headers={"Sec-Fetch-Site": "same-origin"})
    assert session.get(f"{product.url}/account", timeout=5, allow_redirects=False).ok
    assert "1 sessions have ended" in run(product, "sign-out-everyone")
    answer = session.get(f"{product.url}/account", timeout=5, allow_redirects=False)
    assert answer.status_code in {302, 303, 401}
