"""The commands `countersign backup`, `restore` and `migrate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from services.elsewhere import pass_installation, pass_whole
from services.installation import Installation
from shared.errors import ConfigurationError, Conflict

SHOWN = 20
_FILE = click.Path(path_type=Path, dir_okay=False)


@contextmanager
def _bars() -> Iterator[Any]:
    """Gives out progress bars by label and length; the one before ends when the next begins."""
    with ExitStack() as open_:

        def counted(label: str, length: int) -> Any:
            open_.close()
            bar = open_.enter_context(click.progressbar(length=length, label=label))
            return bar.update

        yield counted


@click.command()
@click.argument("file", type=_FILE)
@click.option("--with-keys", is_flag=True, help="Put the keys in: who has the file can sign.")
@pass_whole
def backup(home: Installation, file: Path, *, with_keys: bool) -> None:
    """Write everything to FILE while the product goes on working."""
    from services.backup.taking import take

    if with_keys:
        _require_own_keys(home)
        click.echo("Whoever has this file can read and sign everything: keep it like a key.")
    with _bars() as counted:
        made = take(home, file, with_keys=with_keys, counted=lambda n: counted("Copying", n))
    click.echo(f"{made.rows} rows, {made.messages} waiting messages are in {file}.")
    click.echo(f"Nobody could write for {made.stood_still} ms.")
    _tell_reach(made)
    if made.unheard:
        click.echo(f"NOT in it, since the log has not heard of them: {', '.join(made.unheard)}")
    if not with_keys:
        kept = home.keys if home.is_on_one_machine else "what `secrets` has made"
        click.echo(f"Keep a copy of {kept} elsewhere: without the keys it is of no use.")
    _tell_left_out(home)


def _require_own_keys(home: Installation) -> None:
    if not home.is_on_one_machine:
        raise ConfigurationError(
            "this process is lent some of the keys only: `docker compose cp` copies them all from "
            "and to secrets:/secrets/made, see deploy/runbooks/restore.md"
        )


def _tell_left_out(home: Installation) -> None:
    """What a person has to keep, or do again, beside the backup."""
    from services.backup.accounts import FILES

    if files := [name for name in FILES.values() if (home.root / name).exists()]:
        click.echo(
            f"Of {' and '.join(files)} it holds an outline without secrets, and no grants: keep a "
            "copy with the keys. After a restore `countersign crm authorize` lets apps in again."
        )
    if home.notices.exists():
        click.echo(f"{home.notices.name} is not in it: keep a copy with the keys.")


def _tell_reach(made: Any) -> None:
    reach = made.reach
    last = reach.last_event
    event = f"; the last is {last['id']} of {last['received_at']}" if last else ""
    click.echo(f"It knows {reach.accepted} accepted events{event}.")
    sealed = reach.checkpoint.split("\n")[1] if reach.checkpoint else "none"
    click.echo(f"Its log has {reach.entries} entries, sealed: {sealed}, root {reach.root}.")


@click.command()
@click.argument("file", type=_FILE)
@click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder the keys were copied to, for a backup without them.",
)
@click.option("--newer-checkpoint", type=_FILE, help="A signed checkpoint of later: say the gap.")
@click.option("--left-over", help="The old DATA_DIR or database URL: name what is missing.")
@pass_whole
def restore(
    home: Installation,
    file: Path,
    keys: Path | None,
    newer_checkpoint: Path | None,
    left_over: str | None,
) -> None:
    """Restore FILE into an empty DATA_DIR, database and virtual host, and prove the log.

    Writing to the CRM stays stopped until `countersign resume`.
    """
    from services.backup import restoring
    from services.backup.accounts import to_do
    from services.declarations import SERVICES
    from services.occupied import occupied

    if keys is not None:
        _require_own_keys(home)
    restoring.refuse_occupied(home, [service.name for service in SERVICES])
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with occupied(home.root):
        with _bars() as counted:
            source = restoring.opened(file, counted)
            restoring.restore(home, source, keys, counted)
        _stop_writing(home, source.manifest)
        click.echo(f"Restored from {file}, made {source.manifest.made_at.isoformat()}.")
        _tell_reach(source.manifest)
        code = _prove(home, source.manifest)
        _tell_missing(home, source.manifest, newer_checkpoint, left_over)
    for line in to_do(home.root):
        click.echo(line)
    click.echo("Writing is stopped: look at what is missing, then `countersign resume`.")
    sys.exit(code)


def _stop_writing(home: Installation, made: Any) -> None:
    """What people approved or stopped after the backup is unknown to it: a person looks first."""
    from services.wiring import set_writing

    at = made.made_at.isoformat(timespec="seconds")
    reason = f"restored from the backup of {at}, whose log has {made.reach.entries} entries"
    try:
        set_writing(home, stopped=True, reason=reason)
    except Conflict:
        click.echo("Writing was stopped when the backup was made.")


def _prove(home: Installation, made: Any) -> int:
    """The independent verifier's word on the log, and the index built anew from it."""
    from services.audit.commands import deps_of, judge
    from services.audit.projection import ledger_size
    from services.audit.projection import reindex as rebuild
    from services.backup.restoring import root_in

    if root_in(home) != (made.reach.entries, made.reach.root):
        click.echo("The log is NOT the one that was backed up: its root is another.")
        return 1
    deps = deps_of(home)
    answer = judge(deps)
    click.echo(answer.stdout + answer.stderr, nl=False)
    with click.progressbar(length=ledger_size(deps), label="Indexing") as bar:
        rebuild(deps, lambda n: bar.update(n - bar.pos))
    deps.engine.dispose()
    return answer.returncode


def _tell_missing(
    home: Installation, made: Any, checkpoint: Path | None, left_over: str | None
) -> None:
    from services.audit.commands import deps_of
    from services.backup import missing

    if checkpoint is not None:
        keys = deps_of(home).vkeys()
        note = checkpoint.read_text(encoding="utf-8")
        click.echo(missing.newer_checkpoint(note, made.reach, keys))
    if left_over is None:
        return
    left = missing.LeftOver(where=left_over)
    click.echo(missing.lost_entries(left, made.reach))
    _list(home.root / "lost-events.jsonl", "accepted events", missing.lost_events(home, left))
    _list(home.root / "lost-changes.jsonl", "written changes", missing.lost_changes(home, left))


def _list(file: Path, what: str, rows: Iterator[dict[str, str]]) -> None:
    count = 0
    with file.open("w", encoding="utf-8") as lines:
        for count, row in enumerate(rows, 1):
            lines.write(json.dumps(row) + "\n")
            if count <= SHOWN:
                click.echo("  " + "  ".join(row.values()))
    click.echo(f"Missing {what}: {count}" + (f", all in {file}" if count else ""))


@click.command()
@click.option("--to-database", required=True, help="postgresql+psycopg://user:password@host/name")
@click.option("--to-broker", required=True, help="pika://user:password@host/vhost")
@click.option("--dry-run", is_flag=True, help="Check everything and carry nothing.")
@pass_installation
def migrate(home: Installation, to_database: str, to_broker: str, *, dry_run: bool) -> None:
    """Carry everything from the files in DATA_DIR to servers; the product is stopped meanwhile."""
    from services.audit.commands import deps_of, judge
    from services.backup.moving import Servers, move, target_of, weigh
    from services.occupied import occupied, refuse_unfit

    servers = Servers(database_url=to_database, broker_url=to_broker)
    target = target_of(home, servers)
    refuse_unfit(home.root, on_servers=False)
    with occupied(home.root), _bars() as counted:
        made = weigh(home, target, counted) if dry_run else move(home, target, servers, counted)
    click.echo(f"{made.rows} rows and {made.messages} messages", nl=False)
    if dry_run:
        click.echo(" would be carried; the servers are empty and answer.")
        return
    click.echo(" are on the servers; every table and the root of the log are the same.")
    _tell_reach(made)
    answer = judge(deps_of(target))
    click.echo(answer.stdout + answer.stderr, nl=False)
    click.echo("Start now with DATABASE_URL and BROKER_URL set to them.")
    sys.exit(answer.returncode)
