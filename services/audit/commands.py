"""The commands of the log: verify, export, reindex."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from services.audit.deps import WorkerDeps

VERIFIER = Path(__file__).with_name("verify.py")


def deps_of(home: Any) -> WorkerDeps:
    """The worker's dependencies for a command. ``home`` is the installation."""
    from services.audit.service import WorkerSettings, wire_worker
    from shared.settings import load_settings

    return wire_worker(load_settings(WorkerSettings, home.environment("audit", "worker")))


@click.command()
@click.option("--witness", type=click.Path(path_type=Path), help="checkpoints kept elsewhere")
@click.option("--vkey", help="the log's verifier key, from a safe place")
@click.pass_obj
def verify(home: Any, witness: Path | None, vkey: str | None) -> None:
    """Prove the log: export it and check every entry with the independent verifier."""
    answer = judge(deps_of(home), witness=witness, vkey=vkey)
    click.echo(answer.stdout, nl=False)
    if answer.returncode:
        click.echo(answer.stderr, nl=False, err=True)
        sys.exit(answer.returncode)


def judge(
    deps: WorkerDeps, *, witness: Path | None = None, vkey: str | None = None
) -> subprocess.CompletedProcess[str]:
    """What the independent verifier says of the whole log, sealed up to now."""
    from services.audit.checkpoints import seal_waiting
    from services.audit.export import write_export

    seal_waiting(deps)
    with tempfile.TemporaryDirectory(prefix="countersign-verify-") as name:
        folder = Path(name)
        write_export(deps, folder)
        command = [sys.executable, "-I", str(VERIFIER), str(folder)]
        # Only the key in use is trusted: the log itself must lead from earlier ones to it.
        command += ["--vkey", vkey or deps.signer.vkey.text()]
        command += ["--witness", str(witness)] if witness else []
        # Another process with an isolated interpreter: nothing of ours can help it along.
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own file


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--closed", is_flag=True, help="Leave the bodies out: the export names nobody.")
@click.pass_obj
def export(home: Any, folder: Path, *, closed: bool) -> None:
    """Write the log to FOLDER, in the form that verify.py checks."""
    from services.audit.export import write_export
    from services.audit.projection import ledger_size

    deps = deps_of(home)
    with click.progressbar(length=ledger_size(deps), label="Exporting") as bar:
        entries = write_export(
            deps, folder, with_bodies=not closed, told=lambda n: bar.update(n - bar.pos)
        )
    click.echo(f"{entries} entries are in {folder}. Check them: python {VERIFIER} {folder}")


@click.command()
@click.pass_obj
def reindex(home: Any) -> None:
    """Drop the search index and build it again from the log."""
    from services.audit.projection import ledger_size
    from services.audit.projection import reindex as rebuild

    deps = deps_of(home)
    before = deps.index.sum()
    with click.progressbar(length=ledger_size(deps), label="Indexing") as bar:
        after = rebuild(deps, lambda n: bar.update(n - bar.pos))
    same = "the same as before" if after == before else f"before: {before.documents}"
    click.echo(f"{after.documents} documents, digest {after.digest[:16]} ({same}).")
