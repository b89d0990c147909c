"""Commands of a whole installation, and what to do instead in one process of several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import click

from services.installation import Installation
from shared.errors import ConfigurationError

OPS: Final = "ops"
"""The process of the distributed form that is given a whole installation, for one command."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "run": "`docker compose up` starts them all",
    "backup": "`docker compose run --rm -v /backups:/backups ops backup /backups/FILE`",
    "restore": "`docker compose run --rm -v /backups:/backups ops restore /backups/FILE`, into "
    "empty volumes; deploy/runbooks/restore.md has the steps before and after",
    "keys list": "`docker compose run --rm secrets secrets --list`",
    "keys rotate": "`docker compose run --rm secrets secrets --rotate NAME` makes it anew for all "
    "who have it; deploy/runbooks/rotate-secrets.md says what comes after",
    "reload": "`docker compose restart PROCESS` begins it anew with the secrets of now",
    "migrate": "`backup` where the files are, and `docker compose run --rm ops restore FILE` here; "
    "deploy/runbooks/upgrade.md has the steps",
}
"""What to do in the distributed form instead of these commands."""

P = ParamSpec("P")
R = TypeVar("R")


def pass_installation(
    command: Callable[Concatenate[Installation, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """As click's ``pass_obj``, for a command that needs the folder of an installation.

    In the distributed form it raises `ConfigurationError`, saying what to do there.
    """
    return _checked(command, lambda home: isinstance(home, Installation) and home.is_on_one_machine)


def pass_whole(
    command: Callable[Concatenate[Installation, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """The same for a command that works in the process ``ops`` of the distributed form too."""
    return _checked(command, lambda home: isinstance(home, Installation))


def _checked(
    command: Callable[Concatenate[Installation, P], R], is_fit: Callable[[Any], bool]
) -> Callable[Concatenate[Any, P], R]:
    @click.pass_obj
    @functools.wraps(command)
    def checked(home: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not is_fit(home):
            _, _, name = click.get_current_context().command_path.partition(" ")
            raise ConfigurationError(f"this is one process of several: {ELSEWHERE[name]}")
        return command(home, *args, **kwargs)

    return checked
