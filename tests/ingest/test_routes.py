"""The door on the product's own server: what is answered, stored, and logged; and over raw sockets."""

from __future__ import annotations

import base64
import hmac
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.endpoints import Endpoints
from tests.ingest import senders
from tests.ingest.senders import SOURCE, change, post, signed
from tests.ingest.serving import kill, prepare, serving

PATH = f"/hooks/{SOURCE}"
WHOLE = b"Content-Length: 7\r\n\r\na=1&b=2"
EMPTY = b"Content-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("door")
    prepare(made)
    senders.open_endpoint(made)
    return made


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with serving(folder) as (number, _):
        yield number


def rows(folder: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(folder / "ingest.db")
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def refused(folder: Path) -> int:
    found = rows(folder, "SELECT coalesce(sum(count), 0) FROM refusals")[0][0]
    assert isinstance(found, int)
    return found


def raw(port: int, data: bytes, *, then_close: bool = True) -> bytes:
    """What the server answers to these very bytes."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(data)
        if then_close:
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        answer = b""
        try:
            while piece := connection.recv(65536):
                answer += piece
                if b"\r\n\r\n" in answer and not then_close:
                    break
        except TimeoutError:
            pass
        return answer


def head(message: str, body: bytes, *more: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "Host: x", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in signed(message, body).items()]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def test_a_signed_request_is_stored_with_its_bytes_before_the_answer(
    folder: Path, port: int
) -> None:
    body = change("c-1")
    assert post(port, PATH, body, signed("one", body)) == (200, "")
    found = rows(
        folder,
        "SELECT d.content, a.type FROM accepted a JOIN deliveries d ON d.id = a.delivery_id "
        "WHERE a.dedup_key = 'one'",
    )
    assert found == [(body, "contact.updated")]


def test_a_repeat_gets_the_same_answer_and_adds_nothing(folder: Path, port: int) -> None:
    body = change("c-2")
    answers = {post(port, PATH, body, signed("two", body)) for _ in range(5)}
    assert answers == {(200, "")}
    assert rows(folder, "SELECT count(*) FROM accepted WHERE dedup_key = 'two'") == [(1,)]


def test_the_same_event_to_both_processes_at_once_is_stored_once(folder: Path, port: int) -> None:
    body = change("c-3")
    headers = signed("three", body)
    answers: list[tuple[int, str]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(port, PATH, body, headers)))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {(200, "")}
    assert rows(folder, "SELECT count(*) FROM accepted WHERE dedup_key = 'three'") == [(1,)]


def test_a_wrong_signature_is_401_and_logged_without_its_bytes(folder: Path, port: int) -> None:
    body = change("c-4")
    before = refused(folder)
    status, text = post(port, PATH, body + b" ", signed("four", body))
    assert (status, "refused" in text) == (401, True)
    assert refused(folder) == before + 1
    assert rows(folder, "SELECT count(*) FROM deliveries WHERE content = ?", body + b" ") == [(0,)]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/hooks/nothing", "unknown-source"),
        ("/hooks/../etc", None),
        (f"{PATH}/other", "unknown-endpoint"),
        ("/hooks/zapier", "unknown-endpoint"),
    ],
)
def test_an_unknown_address_is_404_and_counted(
    folder: Path, port: int, path: str, reason: str | None
) -> None:
    assert post(port, path, b"{}", {})[0] == 404
    if reason:
        found = rows(folder, "SELECT sum(count) FROM tallies WHERE reason = ?", reason)
        assert found[0][0]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"not json", 400, "not-json"),
        (b'{"a":1,"a":2}', 400, "not-json"),
        (b"[" * 100_000, 400, "not-json"),
        (b'["\\ud800"]', 400, "not-json"),
        (b"[1]", 422, "bad-payload"),
        (b'{"data": 1}', 422, "bad-payload"),
        (b"{}", 422, "bad-payload"),
    ],
)
def test_a_verified_body_that_cannot_be_read_is_kept_and_logged(
    folder: Path, port: int, body: bytes, status: int, reason: str
) -> None:
    assert post(port, PATH, body, signed(f"bad{len(body)}{status}", body))[0] == status
    found = rows(
        folder,
        "SELECT r.is_verified, d.content IS NOT NULL OR d.size > 65536 FROM refusals r "
        "JOIN deliveries d ON d.id = r.id WHERE r.reason = ? ORDER BY r.received_at DESC LIMIT 1",
        reason,
    )
    assert found == [(1, 1)]


def test_a_body_over_the_limit_is_413_by_its_length_and_by_its_bytes(port: int) -> None:
    body = b"x" * (256 * 1024 + 1)
    assert post(port, PATH, body, signed("big", body))[0] == 413
    chunks = b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
    answer = raw(port, head("big", b"", "Transfer-Encoding: chunked") + chunks, then_close=False)
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_large_body_within_the_limit_goes_to_a_file_and_comes_back(
    folder: Path, port: int
) -> None:
    body = change("c-5", note="x" * 100_000)
    assert post(port, PATH, body, signed("large", body))[0] == 200
    found = rows(
        folder,
        "SELECT d.content, d.raw_sha256 FROM accepted a JOIN deliveries d ON d.id = a.delivery_id "
        "WHERE a.dedup_key = 'large'",
    )
    content, sha256 = found[0]
    assert content is None
    assert (folder / str(sha256)[:2] / str(sha256)).read_bytes() == body


def test_a_chunked_body_is_read_whole_and_verified(folder: Path, port: int) -> None:
    body = change("c-6")
    chunks = b"".join(
        f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (body[:7], body[7:60], body[60:])
    )
    answer = raw(
        port, head("chunked", body, "Transfer-Encoding: chunked") + chunks + b"0\r\n\r\n",
        then_close=False,
    )  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 200")
    assert rows(folder, "SELECT count(*) FROM accepted WHERE dedup_key = 'chunked'") == [(1,)]


@pytest.mark.parametrize(
    "length", ["Content-Length: 9999", "Content-Length: 3", "Content-Length: x", "X-None: 1"]
)
def test_a_lying_or_missing_length_accepts_nothing_and_is_no_500(
    folder: Path, port: int, length: str
) -> None:
    body = change("c-7")
    answer = raw(port, head("lying", body, length) + body)
    assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.1 2"))
    assert rows(folder, "SELECT count(*) FROM accepted WHERE dedup_key = 'lying'") == [(0,)]
    assert post(port, PATH, body, signed(f"after {length}", body))[0] == 200


@pytest.mark.parametrize(
    ("rest", "answer"),
    [
        (WHOLE, b"HTTP/1.1 200"),
        (b"Content-Length: 7\r\n\r\na=1", b"HTTP/1.1 400"),
        (b"Transfer-Encoding: chunked\r\n\r\n9\r\na=1", b"HTTP/1.1 422"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\na=1\r\n", b"HTTP/1.1 422"),
        (EMPTY, b"HTTP/1.1 422"),
    ],
)
def test_half_a_form_is_never_taken_for_a_whole_one(
    folder: Path, port: int, rest: bytes, answer: bytes
) -> None:
    if Endpoints(folder / "endpoints.toml").find("zapier", "forms") is None:
        Endpoints(folder / "endpoints.toml").add("zapier", "forms", secrets=("t",))
    begin = b"POST /hooks/zapier/forms HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    form = b"X-Ingest-Token: t\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    # A server does not answer whoever hangs up after a whole request.
    is_cut_off = rest not in {WHOLE, EMPTY}
    assert raw(port, begin + form + rest, then_close=is_cut_off).startswith(answer)


def test_the_query_is_signed_as_it_was_sent(folder: Path, port: int) -> None:
    if Endpoints(folder / "endpoints.toml").find("hubspot", "default") is None:
        Endpoints(folder / "endpoints.toml").add("hubspot", secrets=("s",))
    path = "/hooks/hubspot?src=hs%3Aapp%2Fv3&sp=%20&x=%C3%A9"
    stamp = str(int(time.time() * 1000))
    signed_url = "http://127.0.0.1/hooks/hubspot?src=hs:app/v3&sp=%20&x=%C3%A9"
    text = f"POST{signed_url}[]{stamp}".encode()
    mac = base64.b64encode(hmac.digest(b"s", text, "sha256")).decode()
    headers = {"X-HubSpot-Signature-v3": mac, "X-HubSpot-Request-Timestamp": stamp}
    assert post(port, path, b"[]", headers)[0] == 204


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method_is_refused(port: int, method: str) -> None:
    line = f"{method} {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    assert raw(port, line.encode(), then_close=False).startswith(b"HTTP/1.1 4")


def test_a_slash_behind_the_address_is_no_redirect(port: int) -> None:
    body = change("c-8")
    assert post(port, f"{PATH}/", body, signed("slash", body))[0] == 200


def test_what_was_answered_survives_a_kill_of_every_process(tmp_path: Path) -> None:
    prepare(tmp_path)
    senders.open_endpoint(tmp_path)
    answered: list[str] = []
    with serving(tmp_path) as (port, parent):

        def send(name: str) -> None:
            for number in range(30):
                body = change(f"c-{name}-{number}")
                try:
                    status, _ = post(port, PATH, body, signed(f"{name}-{number}", body))
                except OSError:
                    return
                if status == 200:
                    answered.append(f"{name}-{number}")
                if len(answered) == 60:
                    kill(parent)

        threads = [threading.Thread(target=send, args=(name,)) for name in "abcdef"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    kept = {row[0] for row in rows(tmp_path, "SELECT dedup_key FROM accepted")}
    assert len(answered) >= 60
    assert set(answered) <= kept


def test_a_repeat_after_a_restart_is_still_a_repeat(tmp_path: Path) -> None:
    prepare(tmp_path)
    senders.open_endpoint(tmp_path)
    body = change("c-9")
    for _ in range(2):
        with serving(tmp_path, workers=1) as (port, _):
            assert post(port, PATH, body, signed("again", body))[0] == 200
    assert rows(tmp_path, "SELECT count(*) FROM accepted") == [(1,)]
