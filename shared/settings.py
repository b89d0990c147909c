"""Settings: read once, typed, frozen; all faults at once, by name and never by value."""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from shared.addresses import Address
from shared.errors import ConfigurationError

S = TypeVar("S")
REQUIRED = dataclasses.MISSING


def setting(help_: str, *, default: Any = REQUIRED, secret: bool = False) -> Any:
    """A field of a settings class: the environment variable of the same name in capitals.

    A secret may also come from the file that ``<NAME>_FILE`` names. One that is called ``…_url`` is
    the address of a server: its file has a line for each that may be good, the newest first.
    """
    return dataclasses.field(default=default, metadata={"help": help_, "secret": secret})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """Whether there is an installation on this machine, or one process with its environment."""

    process: str = setting("name of this process, where it is one of several", default="")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceSettings(ProcessSettings):
    """What every process of a service has."""

    database_url: str = setting(
        "database of this service: sqlite:///… or postgresql+psycopg://…", secret=True
    )
    wake_dir: Path = setting("folder of the sockets that wake relays and queues")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BrokerSettings(ServiceSettings):
    """What every worker has; web processes write to an outbox and need no broker."""

    broker_url: str = setting("broker: durable+sqlite:///… or pika://…", secret=True)


def given() -> Mapping[str, str]:
    """The environment of this process, for what only hands it on."""
    return dict(os.environ)


def load_settings(cls: type[S], environ: Mapping[str, str] | None = None) -> S:
    """An instance of ``cls`` from the environment.

    Raises `ConfigurationError` naming every variable that is missing or malformed.
    """
    from environs import EnvError, FileAwareEnv

    given = dict(os.environ if environ is None else environ)
    hints = get_type_hints(cls)
    values: dict[str, Any] = {}
    wrong: list[str] = []
    env = FileAwareEnv()
    with _Only(given):
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]
            try:
                values[field.name] = _read(env, field, hints[field.name], given)
            except (EnvError, ValueError, OSError):
                wrong.append(field.name.upper())
    if wrong:
        raise ConfigurationError(f"missing or malformed: {', '.join(sorted(wrong))}")
    return cls(**values)


def _read(env: Any, field: dataclasses.Field[Any], hint: Any, given: Mapping[str, str]) -> Any:
    name = field.name.upper()
    parse = {int: env.int, bool: env.bool, Path: env.path}.get(_plain(hint), env.str)
    value = parse(name) if field.default is REQUIRED else parse(name, default=field.default)
    if field.metadata["secret"] and isinstance(value, str):
        value = value.strip()  # An editor ends a secret's file with a line break.
    if value == "" and field.default is REQUIRED:
        raise ValueError(name)
    if field.metadata["secret"] and name.endswith("_URL") and value and f"{name}_FILE" in given:
        return Address.of(value.split()[0], Path(given[f"{name}_FILE"]))
    return value


def _plain(hint: Any) -> Any:
    """``int`` for ``int | None``."""
    if isinstance(hint, types.UnionType):
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


class _Only:
    """For the length of a block the process environment is exactly the given mapping.

    environs reads the process environment itself; a child sees only what it declares.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    def __enter__(self) -> None:
        self._saved = dict(os.environ)
        os.environ.clear()
        os.environ.update(self._given)

    def __exit__(self, *_: object) -> None:
        os.environ.clear()
        os.environ.update(self._saved)
