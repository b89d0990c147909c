"""IMAP servers that fall silent, trickle, or answer nonsense: each is waited for, none holds up."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from services.ingest.mailboxes import connection
from services.ingest.mailboxes.configured import Mailbox, Tls
from tests.ingest.dovecot import Dovecot
from tests.ingest.mailbox_rounds import Rounds
from tests.vectors import Store

SILENT, SLOW = "(silent)", "(slow)"
UNREADABLE = "the server's answers cannot be read: see the worker's log"
UNNUMBERED = "folder: this server gives its mails no lasting numbers (UIDVALIDITY)"
SENSIBLE = {
    "CAPABILITY": "* CAPABILITY IMAP4rev1\r\n",
    "SELECT": "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n",
    "UID SEARCH": "* SEARCH 1\r\n",
    "UID FETCH": "* 1 FETCH (UID 1 RFC822.SIZE 10)\r\n",
}


@contextmanager
def answering(said: Mapping[str, str]) -> Iterator[int]:
    """The port of a server that says ``said`` to each command, and OK, but for `SILENT`, `SLOW`."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.answer()

        def answer(self) -> None:
            self.wfile.write(b"* OK ready\r\n")
            for line in self.rfile:
                tag, _, command = line.decode().strip().partition(" ")
                found = [text for name, text in said.items() if command.upper().startswith(name)]
                if SLOW in found:
                    self.trickle()
                if SILENT not in found:
                    self.wfile.write(f"{''.join(found)}{tag} OK done\r\n".encode())

        def trickle(self) -> None:
            for _ in range(100):
                time.sleep(0.05)
                self.wfile.write(b"x")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def box(port: int) -> Mailbox:
    return Mailbox(name="a", host="127.0.0.1", port=port, tls=Tls.NONE, user="a", password="b")


@pytest.mark.parametrize("command", ["CAPABILITY", "LOGIN", "SELECT"])
def test_a_server_that_falls_silent_is_given_up(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    with answering({**SENSIBLE, command: SILENT}) as port, pytest.raises(connection.Away):
        with connection.visit(box(port)):
            pass


def test_a_server_that_trickles_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "VISIT_SECONDS", 0.5)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.2)
    began = time.monotonic()
    with answering({**SENSIBLE, "LOGIN": SLOW}) as port, pytest.raises(connection.Away):
        with connection.visit(box(port)):
            pass
    assert 0.4 < time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("odd", "problem"),
    [
        ({"UID SEARCH": "* SEARCH abc\r\n"}, UNREADABLE),
        ({"UID FETCH": "* 1 FETCH (BODY[] {9999999999999}\r\n"}, UNREADABLE),
        # As of a mail that somebody removed meanwhile.
        ({"UID FETCH": "* 1 FETCH (((((\r\n"}, ""),
        ({"UID FETCH": "nonsense\r\n"}, "waits for the server: the server ended the visit"),
        ({"SELECT": "* OK [UIDVALIDITY abc] x\r\n"}, UNNUMBERED),
        ({"SELECT": ""}, UNNUMBERED),
        ({"CAPABILITY": ""}, "waits for the server: the server ended the visit"),
    ],
)
def test_nonsense_is_told_of_its_mailbox_and_stops_no_other(
    store: Store, odd: Mapping[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The healthy one is given time, too.
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 2.0)
    with answering({**SENSIBLE, **odd}) as port, answering(SENSIBLE) as other:
        rounds = Rounds(store=store, server=Dovecot(folder=store.folder))
        rounds.configure({"user": "odd", "port": port}, {"user": "well", "port": other})
        rounds.round()
    standing, well = rounds.standing("odd"), rounds.standing("well")
    assert rounds.events() == []
    assert (well.problem, well.uid) == ("", 1)
    assert standing.problem.partition(" (")[0] == problem.partition(" (")[0]
    assert (standing.failures, standing.uid) == ((1, 0) if problem else (0, 1))
    assert rounds.rejected() == []
