"""IMAP servers that refuse one command: NO or BAD holds up neither the mailbox nor other mails."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import pytest

from tests.ingest.dovecot import Dovecot
from tests.ingest.mailbox_rounds import Rounds, mail
from tests.vectors import Store

USER = "ann"
CAPABILITY = b"* CAPABILITY IMAP4rev1 MOVE\r\n"
SELECT = (
    b"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 3] x\r\n"
    b"* OK [PERMANENTFLAGS (\\Seen \\*)] x\r\n"
)
MAILS = {1: mail("one"), 2: mail("two", message_id="<2@example.com>")}


def said(command: str) -> bytes:
    """What a server with two mails says before its OK."""
    words = command.upper().split()
    if words[0] == "CAPABILITY":
        return CAPABILITY
    if words[0] == "SELECT":
        return SELECT
    if words[:2] == ["UID", "SEARCH"]:
        return b"* SEARCH 1 2\r\n"
    if words[:2] != ["UID", "FETCH"]:
        return b""
    content, uid = MAILS[int(words[2])], int(words[2])
    if "RFC822.SIZE" in command:
        return f"* {uid} FETCH (UID {uid} RFC822.SIZE {len(content)})\r\n".encode()
    head = f"* {uid} FETCH (UID {uid} BODY[]<0> {{{len(content)}}}\r\n".encode()
    return head + content + b")\r\n"


@contextmanager
def refusing(refused: Mapping[str, str]) -> Iterator[int]:
    """The port of a server that answers a command that begins so with this, and others sensibly."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.answer()

        def answer(self) -> None:
            self.wfile.write(b"* OK ready\r\n")
            for line in self.rfile:
                tag, _, command = line.decode().strip().partition(" ")
                ends = [end for name, end in refused.items() if command.startswith(name)]
                if ends:
                    self.wfile.write(f"{tag} {ends[0]}\r\n".encode())
                else:
                    self.wfile.write(said(command) + f"{tag} OK done\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def looked_at(store: Store, refused: Mapping[str, str], **more: object) -> Iterator[Rounds]:
    with refusing(refused) as port:
        rounds = Rounds(store=store, server=Dovecot(folder=store.folder))
        rounds.configure({"user": USER, "port": port, **more})
        rounds.round()
        yield rounds


def texts(rounds: Rounds) -> list[str]:
    return [event.parts["body"] for event in rounds.events()]


@pytest.mark.parametrize("end", ["NO not here", "BAD what is that"])
@pytest.mark.parametrize(("command", "setting"), [("STORE", "mark"), ("MOVE", "move_to")])
def test_a_refused_mark_holds_up_nothing(
    store: Store, end: str, command: str, setting: str
) -> None:
    with looked_at(store, {f"UID {command}": end}, move_to="Done") as rounds:
        standing = rounds.standing(USER)
    assert texts(rounds) == ["one", "two"]
    assert (standing.uid, standing.failures) == (2, 0)
    words = end.partition(" ")[2]
    assert standing.problem == f"mails come in, but {setting}: the server refuses it ({words})"


@pytest.mark.parametrize("end", ["NO it is broken", "BAD it is broken"])
@pytest.mark.parametrize("what", ["(RFC822.SIZE)", "(BODY"])
def test_a_mail_that_is_not_given_out_is_told_and_passed(store: Store, end: str, what: str) -> None:
    with looked_at(store, {f"UID FETCH 1 {what}": end}) as rounds:
        rounds.round()
        standing = rounds.standing(USER)
    assert texts(rounds) == ["two"]
    assert (standing.uid, standing.failures, standing.problem) == (2, 0, "")
    [(reason, detail)] = rounds.rejected()
    assert reason == "bad-payload"
    assert detail == (
        "mail 1 of INBOX: the server refuses FETCH (it is broken); it stays in the mailbox"
    )
    assert rounds.counts() == {(USER, "accepted"): 1, (USER, "refused"): 1}


def test_a_mail_that_cannot_be_given_out_now_is_asked_for_again(store: Store) -> None:
    with looked_at(store, {"UID FETCH 1": "NO [INUSE] somebody writes"}) as rounds:
        standing = rounds.standing(USER)
    assert texts(rounds) == []
    assert rounds.rejected() == []
    assert (standing.uid, standing.failures) == (0, 1)
    assert standing.problem.startswith("waits for the server: the server refuses FETCH")


def test_a_server_that_ends_the_visit_at_a_mail_is_waited_for(store: Store) -> None:
    with looked_at(store, {"UID FETCH 1": "\r\n* BYE"}) as rounds:
        standing = rounds.standing(USER)
    assert rounds.rejected() == []
    assert (standing.uid, standing.failures) == (0, 1)
    assert standing.problem.startswith("waits for the server")
