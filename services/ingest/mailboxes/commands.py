"""`countersign mailboxes`: whether each configured mailbox can be read, tried at once."""

from __future__ import annotations

import sys
from typing import Any

import click

from services.ingest.mailboxes.configured import Faulty, Mailbox, Mailboxes


@click.group()
def mailboxes() -> None:
    """Mailboxes that are read over IMAP."""


@mailboxes.command()
@click.pass_obj
def check(home: Any) -> None:
    """Sign in to each mailbox and open its folder; takes no mail and marks none."""
    found = Mailboxes(home.mailboxes).all()
    if not found:
        click.echo(f"No mailbox is configured. Write {home.mailboxes}: deploy/runbooks/mailbox.md")
    problems = [_problem(one) for one in found]
    sys.exit(1 if any(problems) else 0)


def _problem(one: Mailbox | Faulty) -> str | None:
    """What is wrong with it; says so, or how it stands."""
    said, problem = (None, one.why) if isinstance(one, Faulty) else _tried(one)
    click.echo(f"{'✗' if problem else '✓'} {one.name}: {problem or said}")
    return problem


def _tried(mailbox: Mailbox) -> tuple[str, str | None]:
    from services.ingest.mailboxes.connection import Away, Wrong, visit

    try:
        with visit(mailbox) as folder:
            unread = len(folder.matching("UNSEEN"))
            marked = mailbox.mark if folder.can_mark() else "nothing: the server keeps no such mark"
            moved = f", then moved to {mailbox.move_to}" if mailbox.move_to else ""
    except (Away, Wrong) as error:
        return "", str(error)
    return f"{mailbox.place}, {unread} unread; stored mails get {marked}{moved}", None
