"""The shipped configuration of nginx, run by a real nginx in front of processes that say who they are."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from services.embedded import prepare_databases
from services.ingest.sources import SOURCES
from services.installation import Installation, RunSettings
from services.webs import WEB_SERVICES, application
from tests.compose import CONTAINER_PORT
from tests.fakes.names import Names
from tests.journey.composed import WEBS, listening_conf, nginx_command, nginx_conf
from tests.product import eventually, free_port

# What each process answers for itself, or for all: the frame comes from the writer's.
OWN = {"/healthz", "/readyz", "/metrics"}
SHARED = {"/static/<name>"}


@dataclass
class Door:
    url: str
    port: int
    arrived: list[str] = field(default_factory=list)


class Behind(BaseHTTPRequestHandler):
    """Says its name and who it believes the caller to be."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        self.server.arrived.append(self.path)  # type: ignore[attr-defined]
        said = {"name": self.server.name, "for": self.headers["X-Forwarded-For"]}  # type: ignore[attr-defined]
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    found = Door(url=f"http://127.0.0.1:{port}", port=port)
    servers = [behind(name, "127.0.0.1", 0, found.arrived) for name in WEBS]
    ports = {server.name: server.server_address[1] for server in servers}
    (folder / "tmp").mkdir()
    conf = nginx_conf(folder / "tmp", ports, {8080: port, 8081: free_port()})
    with standing(folder, conf, port):
        yield found
    for server in servers:
        server.shutdown()
        server.server_close()


def behind(name: str, address: str, port: int, arrived: list[str]) -> Any:
    server: Any = ThreadingHTTPServer((address, port), Behind)
    server.name, server.arrived = name, arrived
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@contextmanager
def standing(folder: Path, conf: str, port: int) -> Iterator[None]:
    (folder / "nginx.conf").write_text(conf)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(nginx_command(folder), stdout=log, stderr=log)
    try:
        eventually(lambda: _is_open(port), 20, (folder / "log").read_text)
        yield
    finally:
        process.terminate()
        process.wait(20)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def served_by(door: Door, path: str, method: str = "GET") -> str:
    return str(requests.request(method, door.url + path, timeout=10).json()["name"])


@pytest.mark.parametrize("service", WEB_SERVICES)
def test_every_route_leads_to_the_process_that_has_it(
    door: Door, service: str, tmp_path: Path
) -> None:
    home = Installation(root=tmp_path, run=RunSettings())
    home.prepare()
    prepare_databases(home)
    app = application({service: home.environment(service, "web")})
    routes = {str(rule) for rule in app.url_map.iter_rules()} - OWN - SHARED
    assert len(routes) >= 3
    for route in routes:
        path = route.replace("<int:seq>", "7")
        for argument in ("<name>", "<id>", "<id_>", "<chain>", "<person>"):
            path = path.replace(argument, "some-id")
        path = "/".join("some-id" if part.startswith("<") else part for part in path.split("/"))
        assert served_by(door, path) == f"{service}-web", route


def test_every_hook_leads_to_the_intake_with_the_largest_body_its_source_takes(door: Door) -> None:
    for source in SOURCES.values():
        for path in (f"/hooks/{source.name}", f"/hooks/{source.name}/demo"):
            answer = requests.post(door.url + path, data=b"x" * source.max_bytes, timeout=30)
            assert (answer.status_code, answer.json()["name"]) == (200, "ingest-web"), path


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/hooks/hubspot", 256 * 1024 + 1),
        ("/hooks/sendgrid-event", 2 * 1024 * 1024 + 1),
        ("/hooks/postmark-inbound/demo", 36 * 1024 * 1024 + 1),
        ("/cards/x/approve", 256 * 1024 + 1),
    ],
)
def test_a_larger_body_is_refused_at_the_door(door: Door, path: str, size: int) -> None:
    door.arrived.clear()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as one:
        one.sendall(head.encode())
        assert b" 413 " in one.recv(4096)
    assert door.arrived == []


def test_what_a_stranger_says_of_its_address_does_not_count(door: Door) -> None:
    answer = requests.get(
        f"{door.url}/queue", headers={"X-Forwarded-For": "10.9.8.7"}, timeout=10
    ).json()
    assert answer["for"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_figures_of_one_process_are_not_for_the_outside(door: Door, path: str) -> None:
    assert requests.get(door.url + path, timeout=10).status_code == 404


def test_slow_senders_are_cut_off_and_stop_nobody(door: Door) -> None:
    """64 half bodies would hold every thread of two processes of granian."""
    door.arrived.clear()
    head = b"POST /hooks/hubspot HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf"
    slow = [socket.create_connection(("127.0.0.1", door.port), timeout=20) for _ in range(64)]
    began = time.monotonic()
    for one in slow:
        one.sendall(head)
    for number in range(50):
        assert served_by(door, f"/hooks/make?{number}", "POST") == "ingest-web"
    assert time.monotonic() - began < 4, "good requests waited for bad ones"
    for one in slow:
        with one:
            try:
                answer = one.recv(4096)
            except ConnectionResetError:
                answer = b""
            assert answer == b"" or b" 408 " in answer
    assert 4 < time.monotonic() - began < 12
    assert not [path for path in door.arrived if path == "/hooks/hubspot"]


def test_processes_that_exchange_their_addresses_keep_their_paths(tmp_path: Path) -> None:
    """Two containers that start again may each get the address that the other one had."""
    here, there, inside, port = "127.0.0.2", "127.0.0.3", free_port(), free_port()
    names = Names(addresses={"ingest-web": here, "audit-web": there})
    (tmp_path / "tmp").mkdir()
    with names:
        conf = listening_conf(tmp_path / "tmp", {8080: port, 8081: free_port()})
        conf = conf.replace("127.0.0.11", f"127.0.0.1:{names.port}")
        conf = conf.replace(f":{CONTAINER_PORT};", f":{inside};")
        door = Door(url=f"http://127.0.0.1:{port}", port=port)
        servers = [behind(*one, inside, []) for one in names.addresses.items()]
        with standing(tmp_path, conf, port):
            # Each worker of nginx asks for itself: with some requests all have asked.
            assert {served_by(door, f"/hooks/make?{n}", "POST") for n in range(40)} == {
                "ingest-web"
            }
            names.addresses = names.addresses | {"ingest-web": there, "audit-web": here}
            for server in servers:
                server.name = {"ingest-web": "audit-web", "audit-web": "ingest-web"}[server.name]
            time.sleep(2.5)
            assert {served_by(door, f"/hooks/make?{n}", "POST") for n in range(40)} == {
                "ingest-web"
            }
            assert served_by(door, "/search") == "audit-web"
            del names.addresses["ingest-web"]
            time.sleep(2.5)
            away = requests.post(f"{door.url}/hooks/make", data=b"{}", timeout=10)
            assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
        for server in servers:
            server.shutdown()
            server.server_close()
