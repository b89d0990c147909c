from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Proxy


@pytest.fixture
def ends() -> Iterator[tuple[Proxy, socket.socket, socket.socket]]:
    """A proxy, and both ends of a connection through it; each waits for the other."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        proxy = stack.enter_context(Proxy(server.getsockname()))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), 5))
        client.sendall(b"hello")
        target = stack.enter_context(server.accept()[0])
        target.settimeout(5)
        assert target.recv(10) == b"hello"
        yield proxy, client, target


@pytest.mark.parametrize("fault", [Proxy.reset, Proxy.refuse])
def test_a_reset_reaches_both_ends_at_once(
    ends: tuple[Proxy, socket.socket, socket.socket], fault: object
) -> None:
    proxy, *both = ends
    fault(proxy)  # type: ignore[operator]
    for end in both:
        with pytest.raises(ConnectionResetError):
            end.recv(10)


def test_the_end_of_one_who_has_not_read_everything_is_heard_of(
    ends: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    _, client, target = ends
    target.sendall(b"unread")
    time.sleep(0.2)
    client.close()
    with pytest.raises(ConnectionResetError):
        target.recv(10)


def test_what_was_lost_is_over_for_the_target_alone_when_the_link_is_back(
    ends: tuple[Proxy, socket.socket, socket.socket],
) -> None:
    proxy, client, target = ends
    proxy.lose()
    client.sendall(b"gone")
    target.settimeout(0.2)
    with pytest.raises(TimeoutError):
        target.recv(10)
    proxy.heal()
    target.settimeout(5)
    with pytest.raises(ConnectionResetError):
        target.recv(10)
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(10)
