"""A name server like the one of a container engine: an address for each name, which may change."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingUDPServer
from threading import Thread
from typing import Self

ADDRESS, INTERNET = 1, 1
NO_SUCH_NAME = 3
# As long as Docker says that an address holds.
SECONDS = 600


@dataclass(kw_only=True)
class Names:
    """Answers for ``addresses`` on a UDP port of 127.0.0.1, as they are when it is asked."""

    addresses: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        names = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                asked, reply = self.request
                reply.sendto(answer(asked, names.addresses), self.client_address)

        self._server = ThreadingUDPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])


def answer(asked: bytes, addresses: dict[str, str]) -> bytes:
    """To one question for one address (RFC 1035, section 4)."""
    end, labels = 12, []
    while length := asked[end]:
        labels.append(asked[end + 1 : end + 1 + length].decode())
        end += 1 + length
    question = asked[12 : end + 5]
    address = addresses.get(".".join(labels))
    flags = 0x8180 if address else 0x8180 | NO_SUCH_NAME
    head = asked[:2] + struct.pack("!5H", flags, 1, 1 if address else 0, 0, 0)
    if address is None:
        return head + question
    told = struct.pack("!HHHIH", 0xC00C, ADDRESS, INTERNET, SECONDS, 4)
    return head + question + told + socket.inet_aton(address)
