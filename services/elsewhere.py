"""Commands of a whole installation, and what to do instead in one process of several."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import click

from shared.errors import ConfigurationError

if TYPE_CHECKING:  # Part of what a command loads, not of finding it.
    from services.installation import Installation

OPS: Final = "ops"
"""The process of the distributed form that is given a whole installation, for one command."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "run": "`docker compose up` starts them all",
    "demo": "`demo --crm` starts a product of its own: run it in a clone",
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
    return _checked(command, require_installation)


def pass_whole(
    command: Callable[Concatenate[Installation, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """The same for a command that works in the process ``ops`` of the distributed form too."""
    return _checked(command, _require_whole)


def require_installation(home: Any) -> Installation:
    """What the command of now works on, where it is a folder on this machine."""
    whole = _require_whole(home)
    if not whole.is_on_one_machine:
        raise _elsewhere()
    return whole


def _require_whole(home: Any) -> Installation:
    from services.installation import Installation

    if not isinstance(home, Installation):
        raise _elsewhere()
    return home


def _elsewhere() -> ConfigurationError:
    _, _, name = click.get_current_context().command_path.partition(" ")
    return ConfigurationError(f"this is one process of several: {ELSEWHERE[name]}")


def _checked(
    command: Callable[Concatenate[Installation, P], R], required: Callable[[Any], Installation]
) -> Callable[Concatenate[Any, P], R]:
    @click.pass_obj
    @functools.wraps(command)
    def checked(home: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return command(required(home), *args, **kwargs)

    return checked
