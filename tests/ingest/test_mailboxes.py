"""Mailboxes over IMAP, on a real server: once each, nothing lost, nothing deleted, no hammering."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import select

from services.ingest.mailboxes.connection import visit
from services.ingest.mailboxes.polling import AWAY
from services.ingest.mailboxes.standing import Overtaken, mailbox_measures, save
from services.ingest.raw import raw_bytes
from services.ingest.store import deliveries
from shared.db import reading
from tests.ingest.dovecot import Dovecot, dovecot
from tests.ingest.mailbox_rounds import Rounds, mail
from tests.product import ROOT
from tests.vectors import Store

_USERS = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with dovecot() as running:
        yield running


@pytest.fixture
def user() -> str:
    """Whose mailbox is empty and was never seen."""
    return f"user-{next(_USERS)}"


@pytest.fixture
def rounds(store: Store, server: Dovecot) -> Rounds:
    return Rounds(store=store, server=server)


def test_a_mail_becomes_one_event_and_is_marked_and_stays_unread(rounds: Rounds, user: str) -> None:
    rounds.configure({"user": user})
    rounds.server.deliver(user, mail(date="Mon, 23 Nov 2026 09:00:00 +0100"))
    rounds.round()
    [event] = rounds.events()
    assert (event.source, event.endpoint, event.type) == ("mailbox", user, "mail.received")
    assert event.parts == {"subject": "Roof", "body": "Please call me."}
    assert event.sender is not None
    assert (event.sender.email, event.sender.verified) == ("dana@example.com", "unverified")
    assert event.facts["message_id"] == "<1@example.com>"
    assert event.facts["recipient"] == user
    assert event.occurred_at is not None
    content, sha256, _ = raw_bytes(rounds.store.web.engine, rounds.store.web.files, event.id)
    assert hashlib.sha256(content).hexdigest() == sha256 == event.raw_sha256
    assert rounds.server.flags(user) == ["1 (FLAGS (Countersign))"]
    rounds.round()
    assert len(rounds.events()) == 1
    assert rounds.standing(user).uid == 1


def test_attachments_are_kept_and_quoted_history_is_cut(rounds: Rounds, user: str) -> None:
    message = EmailMessage()
    message["from"], message["subject"] = "dana@example.com", "Re: Roof"
    message["in-reply-to"] = "<offer@example.org>"
    text = (
        "Yes, go on.\n\nOn Mon, Nov 23, 2026 at 9:00 AM Bob <bob@example.org> wrote:\n> Shall we?"
    )
    message.set_content(text)
    message.add_attachment(
        b"%PDF-1.4 plan", maintype="application", subtype="pdf", filename="a.pdf"
    )
    rounds.configure({"user": user})
    rounds.server.deliver(user, message.as_bytes())
    rounds.round()
    [event] = rounds.events()
    assert event.parts["body"] == "Yes, go on."
    assert event.parts["quoted"].startswith("On Mon")
    assert event.facts["in_reply_to"] == "<offer@example.org>"
    [file] = event.attachments
    assert (file.name, file.media_type) == ("a.pdf", "application/pdf")
    assert rounds.store.worker.files.read(file.sha256) == b"%PDF-1.4 plan"


def test_each_mailbox_goes_on_alone_and_one_without_a_password_is_told(rounds: Rounds) -> None:
    sales, office = f"user-{next(_USERS)}", f"user-{next(_USERS)}"
    rounds.configure(
        {"user": sales}, {"user": "lost", "password_file": "nowhere"}, {"user": office}
    )
    rounds.server.deliver(sales, mail("one"), mail("two", message_id="<2@example.com>"))
    rounds.server.deliver(office, mail("one"))
    rounds.round()
    assert sorted(event.endpoint for event in rounds.events()) == sorted([sales, sales, office])
    assert rounds.standing("lost").problem == "no password: password_file cannot be read"


def test_a_process_that_is_killed_between_storing_and_marking_gives_one_event(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    rounds.server.deliver(user, mail())
    command = [sys.executable, "-m", "tests.ingest.mailbox_rounds", str(rounds.store.folder)]
    died = subprocess.run([*command, "ingest.after_commit"], cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    assert rounds.server.flags(user) == ["1 (FLAGS ())"]
    assert len(rounds.events()) == 1
    rounds.round()
    assert rounds.server.flags(user) == ["1 (FLAGS (Countersign))"]
    assert len(rounds.events()) == 1
    assert rounds.counts() == {(user, "accepted"): 1, (user, "duplicate"): 1}


def test_a_folder_that_numbers_its_mails_anew_brings_no_doubles_and_loses_nothing(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user, "folder": "Leads"})
    with rounds.server.account(user) as client:
        client.create("Leads")
    rounds.server.deliver(user, mail("one"), mail("two"), folder="Leads")
    rounds.round()
    before = rounds.standing(user)
    with rounds.server.account(user) as client:
        client.delete("Leads")
        client.create("Leads")
    # Read by somebody meanwhile, so only its day says that it is new.
    rounds.server.deliver(user, mail("three"), mail("two"), folder="Leads", flags=r"(\Seen)")
    rounds.server.deliver(user, mail("one"), folder="Leads")
    rounds.round()
    after = rounds.standing(user)
    assert after.validity != before.validity
    bodies = [event.parts["body"] for event in rounds.events()]
    assert sorted(bodies) == ["one", "three", "two"]


def test_one_mail_that_came_on_two_ways_is_one_event(rounds: Rounds, user: str) -> None:
    rounds.configure({"user": user})
    again = b"Received: from a by b; Mon, 23 Nov 2026 09:00:00 +0100\r\n" + mail()
    rounds.server.deliver(user, mail(), again, mail("something else"))
    rounds.round()
    assert [e.parts["body"] for e in rounds.events()] == ["Please call me.", "something else"]
    assert rounds.counts()[user, "duplicate"] == 1


def test_a_mail_over_the_limit_is_told_once_and_stays_in_the_mailbox(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    line = b"x" * 998 + b"\r\n"
    rounds.server.deliver(user, mail() + line * (40 * 1024 * 1024 // len(line)), mail("next"))
    rounds.round()
    rounds.round()
    assert [event.parts["body"] for event in rounds.events()] == ["next"]
    [(reason, detail)] = rounds.rejected()
    assert reason == "too-large"
    assert "mail 1 of INBOX" in detail
    assert rounds.counts() == {(user, "accepted"): 1, (user, "refused"): 1}
    assert rounds.server.flags(user) == ["1 (FLAGS ())", "2 (FLAGS (Countersign))"]


def test_bytes_that_are_no_mail_are_kept_and_told_and_hold_up_nothing(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    garbage = bytes(range(256)) * 20
    rounds.server.drop_raw(user, garbage)
    rounds.round()
    rounds.server.deliver(user, mail("next"))
    rounds.round()
    assert [event.parts["body"] for event in rounds.events()] == ["next"]
    [(reason, detail)] = rounds.rejected()
    assert (reason, detail[:21]) == ("bad-payload", "the bytes are no mail")
    with reading(rounds.store.worker.engine) as connection:
        kept = list(connection.scalars(select(deliveries.c.content).order_by(deliveries.c.id)))
    assert garbage[1:10] in kept[0]


def test_a_wrong_password_is_named_and_not_tried_again_and_again(rounds: Rounds, user: str) -> None:
    rounds.configure({"user": user}, password="wrong")
    rounds.server.deliver(user, mail())
    rounds.round()
    standing = rounds.standing(user)
    assert standing.problem.startswith("user or password_file: the server refuses them")
    assert "wrong" not in standing.problem
    for _ in range(10):
        rounds.round(seconds=5)
    assert _refusals_at(rounds.server, user) == 1
    rounds.round(seconds=60)
    assert _refusals_at(rounds.server, user) == 2
    rounds.round(seconds=60)
    assert _refusals_at(rounds.server, user) == 2, "the pause grows"
    [told] = mailbox_measures(rounds.store.web.engine, rounds.store.now)
    assert round(told.value) == 170
    rounds.configure({"user": user})
    rounds.round(seconds=5)
    assert len(rounds.events()) == 1, "a new password is tried at once"
    assert rounds.standing(user).problem == ""


def _refusals_at(server: Dovecot, user: str) -> int:
    lines = (server.folder / "log").read_text().splitlines()
    return sum("auth failed" in line and f"<{user}>" in line for line in lines)


def test_a_server_that_is_away_is_waited_for_with_growing_pauses(store: Store, user: str) -> None:
    with dovecot() as own:
        rounds = Rounds(store=store, server=own)
        rounds.configure({"user": user})
        own.deliver(user, mail("one"))
        rounds.round()
        own.stop()
        pauses = []
        for _ in range(3):
            rounds.round(seconds=901)
            standing = rounds.standing(user)
            assert standing.problem == (
                "waits for the server: the server cannot be reached (Connection refused)"
            )
            pauses.append(standing.is_due(store.now + timedelta(seconds=AWAY["shortest"])))
        assert pauses == [True, False, False]
        assert rounds.standing(user).failures == 3
        own.start()
        own.deliver(user, mail("two", message_id="<2@example.com>"))
        rounds.round(seconds=20)
        assert [event.parts["body"] for event in rounds.events()] == ["one", "two"]
        assert rounds.standing(user).problem == ""


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_certificate_of_its_own_is_refused_until_its_authority_is_named(
    rounds: Rounds, user: str, tls: str
) -> None:
    server = rounds.server
    port = server.tls_port if tls == "implicit" else server.port
    secured = {"user": user, "tls": tls, "host": "localhost", "port": port}
    server.deliver(user, mail())
    rounds.configure(secured)
    rounds.round()
    assert "certificate of host is not trusted" in rounds.standing(user).problem
    assert rounds.events() == []
    rounds.configure({**secured, "ca_file": str(server.certificate)})
    rounds.round()
    assert rounds.standing(user).problem == ""
    assert len(rounds.events()) == 1
    rounds.configure({**secured, "host": "127.0.0.1", "ca_file": str(server.certificate)})
    rounds.round()
    assert "not valid for '127.0.0.1'" in rounds.standing(user).problem


def test_what_was_read_before_the_first_look_is_left_and_later_reading_hides_nothing(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    rounds.server.deliver(user, mail("old and read"), flags=r"(\Seen)")
    rounds.server.deliver(user, mail("old and unread"))
    rounds.server.deliver(user, mail("also old and read"), flags=r"(\Seen)")
    rounds.round()
    rounds.server.deliver(user, mail("new and read at once"), flags=r"(\Seen)")
    rounds.round()
    bodies = [event.parts["body"] for event in rounds.events()]
    assert bodies == ["old and unread", "new and read at once"]


def test_stored_mails_are_moved_where_asked_and_nothing_is_ever_deleted(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user, "move_to": "Done & filed"})
    rounds.server.deliver(user, mail("given up"), flags=r"(\Deleted \Seen)")
    rounds.server.deliver(user, mail("one"))
    rounds.round()
    assert rounds.standing(user).problem.startswith("mails come in, but move_to: the server")
    with rounds.server.account(user) as client:
        client.create('"Done &- filed"')
    rounds.server.deliver(user, mail("two"))
    rounds.round()
    assert rounds.standing(user).problem == ""
    assert [event.parts["body"] for event in rounds.events()] == ["one", "two"]
    assert len(rounds.server.flags(user, '"Done &- filed"')) == 1
    left = rounds.server.flags(user)
    assert left == [r"1 (FLAGS (\Deleted \Seen))", "2 (FLAGS (Countersign))"]


def test_only_one_process_reads_and_a_late_one_cannot_take_a_position_back(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    rounds.server.deliver(user, mail())
    neighbour = replace(rounds.polling.lease, owner="another-machine:1")
    assert neighbour.take() == 1
    rounds.round(seconds=5)
    assert rounds.events() == []
    rounds.round(seconds=20)
    assert len(rounds.events()) == 1
    standing = rounds.standing(user)
    assert standing.fence == 2
    with pytest.raises(Overtaken):
        save(rounds.store.worker.engine, replace(standing, uid=0), 1)
    assert rounds.standing(user).uid == 1


def test_positions_are_saved_again_after_a_crash_and_an_orderly_end(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    crashed = replace(rounds.polling.lease, owner="another-machine:1")
    assert crashed.take() == 1
    rounds.round()
    rounds.polling.lease.give_back()
    assert rounds.standing(user).fence == 2
    rounds.server.deliver(user, mail())
    ended = replace(rounds.polling, lease=replace(crashed, owner="another-machine:2"))
    rounds.store.now += timedelta(seconds=60)
    ended.round()
    assert [rounds.standing(user).fence, rounds.standing(user).uid] == [3, 1]


def test_a_mailbox_that_is_taken_out_and_put_back_goes_on_where_it_was(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    rounds.server.deliver(user, mail("one"))
    rounds.round()
    rounds.file.write_text("")
    rounds.round()
    assert rounds.standing(user).is_configured == 0
    rounds.server.deliver(user, mail("two"), flags=r"(\Seen)")
    rounds.configure({"user": user})
    rounds.round()
    assert [event.parts["body"] for event in rounds.events()] == ["one", "two"]


def test_another_place_under_the_same_name_is_looked_at_from_its_first_mail(
    rounds: Rounds, user: str
) -> None:
    rounds.configure({"user": user})
    rounds.server.deliver(user, mail("one"), mail("two"))
    rounds.round()
    other = f"user-{next(_USERS)}"
    rounds.server.deliver(other, mail("three"))
    rounds.configure({"user": other, "name": user})
    rounds.round()
    assert [event.parts["body"] for event in rounds.events()] == ["one", "two", "three"]
    assert rounds.standing(user).uid == 1


def test_a_mail_comes_whole_in_pieces(rounds: Rounds, user: str) -> None:
    whole = mail() + b"".join(b"%d\r\n" % number for number in range(400_000))
    rounds.server.deliver(user, whole)
    rounds.configure({"user": user})
    [box] = rounds.polling.mailboxes.all()
    with visit(box) as folder:  # type: ignore[arg-type]
        assert folder.fetch(1, 10**8) == whole
        assert folder.fetch(1, 3_000_000) == whole[:3_000_001]
        assert folder.fetch(7, 10**8) is None


def test_the_loop_of_the_worker_reads_them(store: Store, server: Dovecot, user: str) -> None:
    from services.ingest.service import SERVICE

    rounds = Rounds(store=store, server=server)
    rounds.configure({"user": user})
    server.deliver(user, mail())
    assert SERVICE.worker is not None
    [loop] = [loop for loop in SERVICE.worker.loops if loop.name == "mailboxes"]
    loop.run(replace(store.worker, polling=rounds.polling))
    assert len(rounds.events()) == 1


def test_the_command_says_what_each_mailbox_lacks(
    rounds: Rounds, user: str, tmp_path: Path
) -> None:
    from types import SimpleNamespace

    from click.testing import CliRunner

    from services.ingest.mailboxes.commands import mailboxes

    rounds.configure({"user": user}, {"user": "eve", "folder": "Nowhere"}, {"user": "x", "port": 0})
    rounds.server.deliver(user, mail())
    done = CliRunner().invoke(mailboxes, ["check"], obj=SimpleNamespace(mailboxes=rounds.file))
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0].startswith(f"✓ {user}: {user}@127.0.0.1/INBOX, 1 unread; stored mails get")
    assert lines[1].startswith("✗ eve: folder: it cannot be opened")
    assert lines[2] == "✗ x: port must be a whole number from 1 to 65535"
    assert rounds.server.flags(user) == ["1 (FLAGS ())"]
