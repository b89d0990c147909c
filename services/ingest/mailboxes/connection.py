"""One visit to an IMAP server: what is new in a folder, its bytes, and the mark on what is stored.

Nothing is ever deleted: imap-tools expunges whenever it sets a flag, and moves by deleting where a
server cannot move, so the three commands that it would do that with are sent from here.
"""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from imap_tools import (
    BaseMailBox,
    ImapToolsError,
    MailBox,
    MailboxFolderSelectError,
    MailboxLoginError,
    MailBoxStartTls,
    MailBoxUnencrypted,
)
from imap_tools.utils import encode_folder

from services.ingest.mailboxes.configured import Mailbox, Tls

ANSWER_SECONDS = 15.0
VISIT_SECONDS = 75.0
PIECE = 1024 * 1024
_SIZE = re.compile(rb"RFC822\.SIZE (\d+)")
_FLAGS = re.compile(rb"\(([^)]*)\)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
# The command that a setting is for.
_SETTINGS = {"STORE": "mark", "MOVE": "move_to"}
_LATER = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]")
# The library makes an exception of the answer BAD, and of its own troubles one of the same kind.
_BAD = re.compile(r"command error: BAD \[b?['\"]?(.*?)['\"]?\]\Z", re.DOTALL)


class Away(Exception):
    """The server does not answer, or not now: the next try may go well."""


class Wrong(Exception):
    """A setting is wrong, and stays so until somebody changes it. The message names it."""


class Refused(Exception):
    """The server does not give out this one mail; the others may well come."""


@dataclass(frozen=True, kw_only=True)
class Folder:
    """An open folder. ``last`` is the highest number that a mail in it has got so far."""

    box: BaseMailBox
    mailbox: Mailbox
    validity: int
    last: int

    def above(self, uid: int) -> list[int]:
        """Numbers of the mails above this one, in the order they came."""
        return [found for found in self.matching(f"UID {uid + 1}:*") if found > uid]

    def matching(self, criteria: str) -> list[int]:
        return sorted(int(uid) for uid in self.box.uids(criteria, charset=None))

    def size(self, uid: int) -> int | None:
        """Bytes of a mail; ``None`` if somebody removed it meanwhile. Raises `Refused`."""
        answer = self._uid("FETCH", str(uid), "(RFC822.SIZE)")
        found = _SIZE.search(b" ".join(_bytes_of(answer)))
        return int(found[1]) if found else None

    def fetch(self, uid: int, limit: int) -> bytes | None:
        """A mail's bytes, and one more than ``limit`` at most. Nobody sees that it was read.

        Raises `Refused`.
        """
        pieces: list[bytes] = []
        length = 0
        while length <= limit:
            wanted = min(PIECE, limit + 1 - length)
            piece = self._piece(uid, length, wanted)
            if piece is None:
                return None
            pieces.append(piece)
            length += len(piece)
            if len(piece) < wanted:
                break
        return b"".join(pieces)

    def _piece(self, uid: int, start: int, length: int) -> bytes | None:
        answer = self._uid("FETCH", str(uid), f"(BODY.PEEK[]<{start}.{length}>)")
        return next((one[1] for one in answer if isinstance(one, tuple)), None)

    def mark(self, uid: int) -> None:
        """Show in the mailbox that the mail is stored. Raises `Wrong` where the server refuses."""
        if self.can_mark():
            self._uid("STORE", str(uid), "+FLAGS.SILENT", f"({self.mailbox.mark})")
        if self.mailbox.move_to:
            self._uid("MOVE", str(uid), encode_folder(self.mailbox.move_to))

    def can_mark(self) -> bool:
        r"""Whether the folder keeps the mark; ``\*`` stands for any keyword."""
        given = self.box.client.untagged_responses.get("PERMANENTFLAGS", [b""])
        listed = _FLAGS.search(b" ".join(_bytes_of(given)))
        allowed = listed[1].lower().split() if listed else []
        mark = self.mailbox.mark.encode().lower()
        return mark in allowed or (b"\\*" in allowed and not mark.startswith(b"\\"))

    def _uid(self, command: str, *args: Any) -> Sequence[Any]:
        kind, data = self._answer(command, *args)
        if kind == "OK":
            return data
        said = _said(data)
        if command in _SETTINGS:
            raise Wrong(f"{_SETTINGS[command]}: the server refuses it ({said})")
        if _is_for_now(said):
            raise Away(f"the server refuses {command} ({said})")
        raise Refused(f"the server refuses {command} ({said})")

    def _answer(self, command: str, *args: Any) -> tuple[str, Sequence[Any]]:
        """``OK``, ``NO`` or ``BAD`` and what was said. After an ``abort`` nobody answers any more,
        nor can the answers be told apart once the library lost its place.
        """
        try:
            return self.box.client.uid(command, *args)
        except imaplib.IMAP4.error as error:
            said = _BAD.search(str(error))
            if said is None or isinstance(error, imaplib.IMAP4.abort):
                raise
            return "BAD", [said[1].encode()]


@contextmanager
def visit(mailbox: Mailbox) -> Iterator[Folder]:
    """The folder, opened; the connection ends with the block. Raises `Away` or `Wrong`."""
    with _translated(), _connected(mailbox) as box:
        _sign_in(box, mailbox)
        if mailbox.move_to and not _can_move(box):
            raise Wrong("move_to: this server cannot move mails, so leave it out")
        yield _opened(box, mailbox)


@contextmanager
def _connected(mailbox: Mailbox) -> Iterator[BaseMailBox]:
    """A server that falls silent is given up, one that sends a byte now and then as well."""
    box = _connect(mailbox)
    watch = threading.Timer(VISIT_SECONDS, _cut, (box.client,))
    watch.daemon = True
    watch.start()
    try:
        yield box
    finally:
        watch.cancel()
        with suppress(Exception):  # The visit is over, however the goodbye goes.
            box.logout()
        with suppress(OSError):
            box.client.shutdown()


def _cut(client: imaplib.IMAP4) -> None:
    """The library's own way to end it would wait for the very read that takes too long."""
    with suppress(OSError):
        client.socket().shutdown(socket.SHUT_RDWR)


def _connect(mailbox: Mailbox) -> BaseMailBox:
    host, port = mailbox.host, mailbox.port
    if mailbox.tls is Tls.NONE:
        return MailBoxUnencrypted(host, port, timeout=ANSWER_SECONDS)
    kind = MailBox if mailbox.tls is Tls.IMPLICIT else MailBoxStartTls
    return kind(host, port, timeout=ANSWER_SECONDS, ssl_context=_context(mailbox))


def _context(mailbox: Mailbox) -> ssl.SSLContext:
    """The library's own default checks no certificate."""
    try:
        return ssl.create_default_context(cafile=mailbox.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Wrong("ca_file cannot be read as certificates in PEM") from error


def _sign_in(box: BaseMailBox, mailbox: Mailbox) -> None:
    is_plain = mailbox.user.isascii() and mailbox.password.isascii()
    login = box.login if is_plain else box.login_utf8
    try:
        login(mailbox.user, mailbox.password, initial_folder=None)
    except (MailboxLoginError, imaplib.IMAP4.error) as error:
        if isinstance(error, imaplib.IMAP4.abort):
            raise
        said = _said(error.command_result[1] if isinstance(error, MailboxLoginError) else error)
        if _is_for_now(said):
            raise Away(f"signing in is not possible now ({said})") from error
        raise Wrong(f"user or password_file: the server refuses them ({said})") from error


def _can_move(box: BaseMailBox) -> bool:
    """Most servers tell only those who have signed in what they can do."""
    _, said = box.client.capability()
    return b"MOVE" in b" ".join(_bytes_of(said)).upper().split()


def _opened(box: BaseMailBox, mailbox: Mailbox) -> Folder:
    try:
        box.folder.set(mailbox.folder)
    except MailboxFolderSelectError as error:
        said = _said(error.command_result[1])
        raise Wrong(f"folder: it cannot be opened ({said})") from error
    except imaplib.IMAP4.readonly as error:
        raise Wrong("folder: it can only be read, so no mail in it can be marked") from error
    known = box.client.untagged_responses
    validity, following = _number(known.get("UIDVALIDITY")), _number(known.get("UIDNEXT"))
    if not validity:
        raise Wrong("folder: this server gives its mails no lasting numbers (UIDVALIDITY)")
    last = following - 1 if following else max(map(int, box.uids("ALL", charset=None)), default=0)
    return Folder(box=box, mailbox=mailbox, validity=validity, last=last)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        why = f"the certificate of host is not trusted ({error.verify_message})"
        raise Wrong(f"{why}: set ca_file, or the host that the certificate names") from error
    except ssl.SSLError as error:
        raise Away(f"no TLS with it ({error.reason}): see host, port and tls") from error
    except TimeoutError as error:
        raise Away("the server does not answer in time") from error
    except OSError as error:
        raise Away(f"the server cannot be reached ({error.strerror or error})") from error
    except imaplib.IMAP4.error as error:
        raise Away(f"the server ended the visit ({_said(error)})") from error
    except ImapToolsError as error:
        raise Away(f"the server refuses a command ({_said(error)})") from error


def _is_for_now(said: str) -> bool:
    return any(code in said for code in _LATER)


def _bytes_of(answer: Sequence[Any]) -> Iterator[bytes]:
    for one in answer:
        yield from (part for part in (one if isinstance(one, tuple) else (one,)) if part)


def _number(given: Sequence[Any] | None) -> int:
    text = b" ".join(_bytes_of(given or ()))
    return int(text) if text.isdigit() else 0


def _said(given: object) -> str:
    """What the server said, short and on one line."""
    if isinstance(given, list | tuple):
        given = b" ".join(part for part in given if isinstance(part, bytes)).decode(
            "utf-8", "replace"
        )
    return _CONTROL.sub(" ", str(given))[:200]
