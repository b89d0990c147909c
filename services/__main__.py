"""The `countersign` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from services.installation import Installation, RunSettings, installation
from shared.errors import ConfigurationError, PipelineError
from shared.settings import load_settings


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
    from shared.logs import configure_logs

    configure_logs()
    home = installation(load_settings(RunSettings))
    if ctx.invoked_subcommand not in {"run", "restore"} and not home.people.exists():
        raise ConfigurationError(f"nothing is set up in {home.root}: start `make run` first")
    ctx.obj = home


@main.command()
@click.pass_obj
def run(home: Installation) -> None:
    """Start everything on this machine; Ctrl-C or SIGTERM stops it."""
    is_first = home.prepare()
    from services.embedded import supervise
    from services.occupied import occupy

    occupy(home.root)
    tree = supervise(home)
    _welcome(home, is_first=is_first)
    tree.run()
    click.echo("Stopped. Everything accepted is kept; start again to go on.")


def _welcome(home: Installation, *, is_first: bool) -> None:
    from services.wiring import first_admin, first_endpoints, people_of

    if is_first:
        first_endpoints(home)
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
@click.pass_obj
def demo(home: Installation, *, clear: bool) -> None:
    """Post signed sample webhooks and mails to the running product."""
    if clear:
        _clear_demo(home)
        return
    import uuid

    from services.demonstration import posts, send
    from services.wiring import demo_secrets

    secrets = demo_secrets(home)
    base = f"http://127.0.0.1:{home.run.port}"
    failed = 0
    for post in posts(secrets, uuid.uuid4().hex[:12]):
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


def _clear_demo(home: Installation) -> None:
    from services.demo_crm.app import create_app
    from services.demo_crm.seed import reset

    crm = create_app(home.root / "crm.db", home.token("crm-read"), home.token("crm-write"))
    reset(crm.store)
    click.echo("The demo CRM holds its sample records again. The log keeps what happened.")


@main.command()
@click.option("--reason", default="stopped on the command line", show_default=True)
@click.pass_obj
def stop(home: Installation, reason: str) -> None:
    """Stop all writing to the CRM; proposals and clocks wait."""
    from services.wiring import set_writing

    set_writing(home, stopped=True, reason=reason)
    click.echo("Writing is stopped. `countersign resume` goes on.")


@main.command()
@click.option("--reason", default="resumed on the command line", show_default=True)
@click.pass_obj
def resume(home: Installation, reason: str) -> None:
    """Let approved changes be written again."""
    from services.wiring import set_writing

    set_writing(home, stopped=False, reason=reason)
    click.echo("Writing goes on.")


def _mounted() -> dict[str, click.Command]:
    from services.wiring import commands

    return commands()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main(prog_name="countersign")
