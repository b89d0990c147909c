"""The `countersign` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.elsewhere import OPS
from shared.errors import ConfigurationError, PipelineError
from shared.processes import keep_memory_small, lasting
from shared.settings import ProcessSettings, given, load_settings

if TYPE_CHECKING:  # Loading what a command needs is part of the command.
    from services.installation import Installation
    from services.wiring import Home

ONE_PROCESS = frozenset({"serve", "work", "healthy", "secrets", "setup"})
"""Commands that read the settings of one process of the distributed form."""

STARTS = frozenset({"run", "restore", "demo"})
"""Commands that need nothing to be set up before them, or look themselves."""

RENEWABLE = (
    "decisions",
    "checkpoints",
    "ledger",
    "endpoints",
    "metrics",
    "crm-read-grants",
    "crm-write-grants",
)
"""What `countersign secrets --rotate` and `countersign keys rotate` make anew."""

SERVERS = ("database", "broker", "search")
"""Whose passwords `countersign secrets --rotate` makes anew too."""


class Commands(click.Group):
    """Our own errors are one sentence that says what to do, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            raise click.ClickException(str(error)) from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Groups of the services are imported when they are asked for: `run` starts fast."""
        return super().get_command(ctx, cmd_name) or _mounted().get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_mounted()])


@click.group(cls=Commands)
@click.pass_context
def main(ctx: click.Context) -> None:
    """AI proposes, people countersign, the CRM stays clean."""
    keep_memory_small()
    with lasting():
        from shared.logs import configure_logs

        configure_logs()
        if ctx.invoked_subcommand not in ONE_PROCESS:
            ctx.obj = _home()
    if ctx.obj is not None and ctx.invoked_subcommand not in STARTS:
        _require_set_up(ctx.obj)


def _home() -> Home:
    """What a command works on. ``PROCESS`` says that this is one process of several."""
    process = load_settings(ProcessSettings).process
    if process == OPS:
        from services.whole import Whole, WholeSettings

        return Whole.of(load_settings(WholeSettings))
    if process:
        from services.own_environment import OwnEnvironment

        return OwnEnvironment(given=given())
    from services.installation import RunSettings, installation

    return installation(load_settings(RunSettings))


def _require_set_up(home: Any) -> None:
    from services.installation import Installation

    if isinstance(home, Installation) and home.is_on_one_machine and not home.people.exists():
        raise ConfigurationError(f"nothing is set up in {home.root}: start `make run` first")


@main.command()
@click.pass_obj
def run(home: Home) -> None:
    """Start everything on this machine; Ctrl-C or SIGTERM stops it."""
    with lasting():
        from services.elsewhere import require_installation
        from services.embedded import supervise
        from services.occupied import occupy

        place = require_installation(home)
        is_first = place.prepare()
        occupy(place.root)
        tree = supervise(place)
    tree.open()
    _welcome(place, is_first=is_first)
    tree.run()
    click.echo("Stopped. Everything accepted is kept; start again to go on.")


def _welcome(home: Installation, *, is_first: bool) -> None:
    from services.wiring import endpoints_of, first_admin, first_endpoints, people_of

    first_endpoints(endpoints_of(home), home.crm_webhook_secret)
    if is_first:
        first_admin(home)
    people = people_of(home)
    admin = next(account for account in people.all() if "admin" in account.roles)
    link = f"{home.public_url}/sign-in/{people.make_link(admin.id)}"
    click.echo(f"Countersign runs at     {home.public_url}")
    click.echo(f"Sign in once, 15 min    {link}")
    click.echo(f"Demo CRM                {home.crm_url}")
    click.echo("Try it                  ./countersign demo   (in a second terminal)")


@main.command()
@click.option("--clear", is_flag=True, help="Put the demo CRM's sample records back and stop.")
@click.option("--crm", help="Run the story in a CRM of this vendor's shape, e.g. salesforce.")
@click.option("--sandbox", is_flag=True, help="With --crm: try everything in a sandbox first.")
@click.pass_obj
def demo(home: Home, *, clear: bool, crm: str | None, sandbox: bool) -> None:
    """Post signed sample webhooks and mails to the running product."""
    if crm:
        _demonstrate(home, crm, sandbox=sandbox)
        return
    _require_set_up(home)
    if clear:
        _clear_demo(home)
        return
    import uuid

    from services.demonstration import send
    from services.wiring import demo_posts, demo_secrets

    secrets = demo_secrets(home)
    base = home.door_url
    failed = 0
    for post in demo_posts(home, uuid.uuid4().hex[:12]):
        try:
            status = send(post, base_url=base, public_url=home.public_url, secrets=secrets)
        except OSError as error:
            raise click.ClickException(
                f"nothing answers at {base}: start `make run`, or set PORT as it was set there"
            ) from error
        mark = click.style("✓", fg="green") if status < 300 else click.style("✗", fg="red")
        click.echo(f"{mark} {status}  {post.what}  ({post.source})")
        failed += status >= 300
    click.echo(f"Now look at {home.public_url}/queue")
    if failed:
        sys.exit(1)


def _demonstrate(home: Home, vendor: str, *, sandbox: bool) -> None:
    """A product of its own beside a double of the vendor's API, until Ctrl-C."""
    from services.demonstrating import (
        beside,
        double_of,
        furnish,
        in_background,
        let_in,
        post_mails,
    )
    from services.elsewhere import require_installation
    from services.embedded import supervise
    from services.occupied import occupy

    own = beside(require_installation(home), f"{vendor}-sandbox" if sandbox else vendor)
    with double_of(vendor) as double:
        is_first = own.prepare()
        occupy(own.root)
        furnish(own, vendor, double, sandbox=sandbox)
        tree = supervise(own)
        let_in(own, vendor, double)
        _welcome(own, is_first=is_first)
        for remark in double["remarks"]:
            click.echo(f"Note                    {remark}")
        in_background(lambda: post_mails(own))
        tree.run()


def _clear_demo(home: Home) -> None:
    from services.demo_crm.seed import reset

    reset(home.demo_crm().store)
    click.echo("The demo CRM holds its sample records again. The log keeps what happened.")


@main.command()
@click.option("--reason", default="stopped on the command line", show_default=True)
@click.pass_obj
def stop(home: Home, reason: str) -> None:
    """Stop all writing to the CRM; proposals and clocks wait."""
    from services.wiring import set_writing

    set_writing(home, stopped=True, reason=reason)
    click.echo("Writing is stopped. `countersign resume` goes on.")


@main.command()
@click.option("--reason", default="resumed on the command line", show_default=True)
@click.pass_obj
def resume(home: Home, reason: str) -> None:
    """Let approved changes be written again."""
    from services.wiring import set_writing

    set_writing(home, stopped=False, reason=reason)
    click.echo("Writing goes on.")


@main.command()
@click.argument("name", type=click.Choice(("ingest", "writer", "audit", "demo-crm")))
def serve(name: str) -> None:
    """Serve the pages and hooks of one service on HOST and PORT, behind a proxy."""
    from services.serving import serve as serve_one

    serve_one(name)


@main.command()
@click.argument("name", type=click.Choice(("ingest", "classifier", "writer", "audit")))
def work(name: str) -> None:
    """Run the worker of one service."""
    from services.serving import work as work_for_one

    work_for_one(name)


@main.command()
def healthy() -> None:
    """Say whether the process PROCESS of this machine does its work: for health checks."""
    from services.health import ailment

    if reason := ailment():
        raise click.ClickException(reason)


@main.command()
@click.option(
    "--announce",
    type=click.Choice(("decisions", "checkpoints")),
    help="Hand out the public half of the next key, and sign with the one in use.",
)
@click.option(
    "--rotate",
    type=click.Choice((*RENEWABLE, *SERVERS)),
    help="Make this key or token, or the passwords of these servers, anew.",
)
@click.option("--list", "tell", is_flag=True, help="Say which keys there are, and make nothing.")
def secrets(announce: str | None, rotate: str | None, *, tell: bool) -> None:
    """Make every password, token and key for the processes and servers of an installation.

    What is there stays as it is, but for what is asked to be made anew.
    """
    from services.kept_keys import ANNOUNCE, RENEW
    from services.keys import tell_keys
    from services.secret_files import MADE, NOTHING, RENEW_TEXTS, SecretsSettings, make_secrets

    settings = load_settings(SecretsSettings)
    if tell:
        tell_keys(settings.secrets_dir / MADE)
        return
    if announce and rotate:
        raise click.UsageError("announce, wait until everybody has it, then rotate")
    renew = NOTHING
    if announce:
        renew = ANNOUNCE[announce]
    elif rotate:
        renew = {**RENEW, **RENEW_TEXTS}[rotate]
    written = make_secrets(settings, renew=renew)
    click.echo(f"{written} secrets written below {settings.secrets_dir}; the others were there.")


@main.command()
def setup() -> None:
    """Make in the servers what is missing, and print a sign-in link. May be run again."""
    from services.preparing import SetupSettings, prepare

    prepare(load_settings(SetupSettings))


def _mounted() -> dict[str, click.Command]:
    from services.wiring import commands

    return commands()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(prog_name="countersign")
