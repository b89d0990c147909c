"""The rounds: each mailbox that is due is visited, and each new mail stored before it is marked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Engine

from services.ingest.hook import Endpoint, Hook
from services.ingest.inbox import Inbox, Refusal
from services.ingest.mailboxes.configured import Faulty, Mailbox, Mailboxes
from services.ingest.mailboxes.standing import (
    Overtaken,
    Standing,
    begun,
    forget_others,
    save,
    standings,
)
from services.ingest.source import Outcome
from services.ingest.sources.mailbox import ADDRESS, SOURCE, TRUSTED_HOST
from shared.errors import Rejected, Unavailable
from shared.lease import Lease

if TYPE_CHECKING:  # The library is loaded where there is a mailbox to visit.
    from services.ingest.mailboxes.connection import Folder

log = structlog.get_logger()
LOOP = "mailboxes"
LOOP_SECONDS = 5.0
# With the longest visit well below the time after which a loop counts as dead.
ROUND_SECONDS = 10.0
# A server that is away is asked again soon; a wrong password would lock the account.
AWAY = {"shortest": 5.0, "longest": 900.0}
WRONG = {"shortest": 60.0, "longest": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Polling:
    """``lease`` is the loop's own, so that its fencing number tells who wrote a position."""

    engine: Engine
    mailboxes: Mailboxes
    inbox: Inbox
    lease: Lease
    clock: Callable[[], datetime]

    def round(self) -> None:
        """Visit what is due, longest waiting first. Raises `StoreUnavailable`."""
        found = self.mailboxes.all()
        known = standings(self.engine)
        forget_others(self.engine, known.values(), (one.name for one in found))
        now = self.clock()
        begun_ones = [(begun(one, known.get(one.name), now), one) for one in found]
        began = time.monotonic()
        for standing, mailbox in sorted(begun_ones, key=lambda pair: pair[0].next_at):
            if time.monotonic() - began > ROUND_SECONDS:
                return
            if standing.is_due(now) or standing != known.get(mailbox.name):
                self._see_to(mailbox, standing)

    def _see_to(self, mailbox: Mailbox | Faulty, standing: Standing) -> None:
        fence = self.lease.take()
        if fence is None:
            return
        turn = _Turn(polling=self, standing=standing, fence=fence)
        try:
            if isinstance(mailbox, Faulty):
                turn.fail(mailbox.why, WRONG)
            else:
                turn.visit(mailbox)
        except Overtaken:
            log.info("another process reads the mailboxes now", mailbox=mailbox.name)


@dataclass(kw_only=True)
class _Turn:
    """One visit to one mailbox. What it has done is saved mail by mail."""

    polling: Polling
    standing: Standing
    fence: int
    complaint: str = ""

    def visit(self, mailbox: Mailbox) -> None:
        from services.ingest.mailboxes.connection import Away, Wrong, visit

        try:
            with visit(mailbox) as folder:
                is_done = self._look(mailbox, folder)
        except Away as error:
            self.fail(f"waits for the server: {error}", AWAY)
        except Wrong as error:
            self.fail(str(error), WRONG)
        except (Unavailable, Overtaken):
            raise
        except Exception:
            # What a server answers may break any reader; the other mailboxes go on.
            log.exception("a visit failed", mailbox=mailbox.name)
            self.fail("the server's answers cannot be read: see the worker's log", WRONG)
        else:
            pause = mailbox.every_seconds if is_done else 0
            now = self.polling.clock()
            self._tell(self.complaint)
            self._save(self.standing.looked(now, pause=pause, complaint=self.complaint))

    def fail(self, problem: str, pauses: dict[str, float]) -> None:
        self._tell(problem)
        self._save(self.standing.failed(problem, self.polling.clock(), **pauses))

    def _look(self, mailbox: Mailbox, folder: Folder) -> bool:
        """Store what is new; returns whether all of it was."""
        self._save(self.standing.in_folder(folder.validity, folder.last))
        began = time.monotonic()
        for uid in self._new(folder):
            if time.monotonic() - began > ROUND_SECONDS:
                return False
            if self.polling.lease.take() != self.fence:
                raise Overtaken(mailbox.name)
            if self._store(mailbox, folder, uid):
                self._mark(folder, uid)
            self._save(replace(self.standing, uid=uid))
        passed = max(self.standing.uid, self.standing.old_until)
        self.standing = replace(self.standing, uid=passed)
        return True

    def _new(self, folder: Folder) -> list[int]:
        """Of what was there at the first look, only what `Standing.in_folder` asks for."""
        found = folder.above(self.standing.uid)
        until = self.standing.old_until
        if self.standing.uid >= until:
            return found
        wanted = set(folder.matching(self.standing.criteria))
        return [uid for uid in found if uid > until or uid in wanted]

    def _store(self, mailbox: Mailbox, folder: Folder, uid: int) -> bool:
        """Durable when it returns; whether it is a mail that goes further.

        What is too large or unreadable stays in the mailbox as it is, unmarked.
        """
        from services.ingest.mailboxes.connection import Refused

        try:
            size, body = _fetched(folder, uid)
        except Refused as error:
            self._refuse(mailbox, uid, Outcome.BAD_PAYLOAD, str(error))
            return False
        if size > SOURCE.max_bytes:
            limit = f"{size} bytes are more than {SOURCE.max_bytes}"
            self._refuse(mailbox, uid, Outcome.TOO_LARGE, limit)
            return False
        if body is None:
            return False  # Somebody removed it meanwhile.
        return self._accept(mailbox, self._hook(mailbox, folder.validity, uid, body))

    def _hook(self, mailbox: Mailbox, validity: int, uid: int, body: bytes) -> Hook:
        """The address of a mail is that of RFC 5092."""
        host, folder = mailbox.host, mailbox.folder
        return Hook(
            method="IMAP",
            url=f"imap://{host}/{folder};UIDVALIDITY={validity}/;UID={uid}",
            headers={"content-type": "message/rfc822"},
            body=body,
            received_at=self.polling.clock(),
            options={TRUSTED_HOST: mailbox.trusted_host, ADDRESS: mailbox.user},
        )

    def _accept(self, mailbox: Mailbox, hook: Hook) -> bool:
        endpoint = Endpoint(source=SOURCE.name, name=mailbox.name, options=hook.options)
        try:
            found = [SOURCE.identify(raw, hook) for raw in SOURCE.split(hook)]
        except Rejected as error:
            why = str(error)
        except Exception:
            # A defect of ours in one mail must not hold up all that come after it.
            log.exception("a mail cannot be identified", mailbox=mailbox.name)
            why = "the mail cannot be read: a defect"
        else:
            self.polling.inbox.accept(SOURCE, endpoint, hook, found)
            return True
        self.polling.inbox.set_aside(SOURCE, endpoint, hook, str(Outcome.BAD_PAYLOAD), why)
        return False

    def _refuse(self, mailbox: Mailbox, uid: int, reason: Outcome, why: str) -> None:
        where = f"mail {uid} of {mailbox.folder}"
        refusal = Refusal(
            source=SOURCE.name,
            endpoint=mailbox.name,
            reason=str(reason),
            detail=f"{where}: {why}; it stays in the mailbox",
            received_at=self.polling.clock(),
        )
        self.polling.inbox.refuse(refusal)

    def _mark(self, folder: Folder, uid: int) -> None:
        """The mail is stored: a server that lets nothing be marked holds up nothing."""
        from services.ingest.mailboxes.connection import Wrong

        try:
            folder.mark(uid)
        except Wrong as error:
            self.complaint = f"mails come in, but {error}"

    def _save(self, standing: Standing) -> None:
        if standing != self.standing or standing.fence != self.fence:
            self.standing = save(self.polling.engine, standing, self.fence)

    def _tell(self, problem: str) -> None:
        """Once for each change, not at each try; what the server said, in brackets, may vary."""
        if problem.partition(" (")[0] != self.standing.problem.partition(" (")[0]:
            words = "mailbox cannot be read" if problem else "mailbox can be read again"
            log.warning(words, mailbox=self.standing.name, why=problem)


def _fetched(folder: Folder, uid: int) -> tuple[int, bytes | None]:
    """Size and bytes, which are ``None`` where they are too many or gone. Raises `Refused`."""
    size = folder.size(uid)
    if size is None or size > SOURCE.max_bytes:
        return size or 0, None
    body = folder.fetch(uid, SOURCE.max_bytes)
    return (0, None) if body is None else (len(body), body)
