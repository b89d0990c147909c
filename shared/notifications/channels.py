"""Who is told what: the channels of ``notices.toml`` and of ``NOTICE_URLS``.

The addresses hold passwords and tokens, so the file is for its owner alone and only the workers
that send are given it.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from marshmallow import ValidationError, fields, validate, validates_schema

from shared.domain.schema import Many, Noun, Whole, describe, schema_of
from shared.errors import ConfigurationError

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
ADMIN = "admin"


class Kind(StrEnum):
    """What can be told. A channel chooses among the first five; `ALARM_OVER` follows `ALARM`."""

    CARD = "card"
    REMINDER = "reminder"
    EXPIRED = "expired"
    CHANGE = "change"
    DEAD_LETTER = "dead_letter"
    ALARM = "alarm"
    ALARM_OVER = "alarm_over"


CHOICES = tuple(str(kind) for kind in Kind if kind is not Kind.ALARM_OVER)
OF_CARDS = frozenset({Kind.CARD, Kind.REMINDER, Kind.EXPIRED, Kind.CHANGE})


class Digest(StrEnum):
    """Whether what is not urgent is gathered first."""

    NONE = "none"
    HOURLY = "hourly"
    DAILY = "daily"


class Hours(StrEnum):
    """``office``: what is not urgent waits until the office opens; ``strict``: all of it does."""

    OFFICE = "office"
    STRICT = "strict"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One place to send to. ``url`` is apprise's and never shown.

    ``person`` is an id of ``people.toml``: the channel then tells of cards that this person may
    decide, and falls silent when the person is disabled. A new card is told ``delay_minutes``
    after it came, if it still waits.
    """

    name: str
    url: str = field(repr=False)
    tells: tuple[str, ...] = CHOICES
    person: str | None = None
    digest: Digest = Digest.NONE
    hours: Hours = Hours.OFFICE
    delay_minutes: int = 10

    def wants(self, kind: Kind) -> bool:
        return str(Kind.ALARM if kind is Kind.ALARM_OVER else kind) in self.tells


class ChannelSchema(Noun):
    noun = Channel
    name = fields.String(required=True, validate=validate.Regexp(NAME_PATTERN))
    url = fields.String(required=True, validate=validate.Length(min=5))
    tells = Many(fields.String(validate=validate.OneOf(CHOICES)))
    person = fields.String(allow_none=True)
    digest = fields.Enum(Digest, by_value=True)
    hours = fields.Enum(Hours, by_value=True)
    delay_minutes = Whole(validate=validate.Range(min=0, max=7 * 24 * 60))

    @validates_schema
    def _fits(self, data: dict[str, object], **_: object) -> None:
        tells = data.get("tells", ())
        assert isinstance(tells, tuple)
        if data.get("person") and (not tells or set(tells) - set(map(str, OF_CARDS))):
            raise ValidationError("a person's channel tells of cards and changes only", "tells")


@dataclass(frozen=True, kw_only=True)
class Channels:
    """Read anew at each call: ``file`` may be missing, ``urls`` are separated by blanks."""

    file: Path | None = None
    urls: str = field(default="", repr=False)

    def __call__(self) -> tuple[Channel, ...]:
        """Raises `ConfigurationError` for a file that is no good or that others may read."""
        found = [*_of_file(self.file), *_of_urls(self.urls)]
        if len({channel.name for channel in found}) != len(found):
            raise ConfigurationError("two channels have the same name")
        return tuple(found)


Reads = Callable[[], tuple[Channel, ...]]


def _of_urls(urls: str) -> list[Channel]:
    given = urls.split()
    names = [ADMIN] if len(given) == 1 else [f"{ADMIN}-{n + 1}" for n in range(len(given))]
    return [Channel(name=name, url=url) for name, url in zip(names, given, strict=True)]


def _of_file(path: Path | None) -> list[Channel]:
    if path is None or not path.is_file():
        return []
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"{path.name} holds secrets: chmod 600 it")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = set(document) - {"channel"}
        if unknown:
            raise ConfigurationError(f"{path.name}: unknown: {', '.join(sorted(unknown))}")
        return list(schema_of(ChannelSchema).load(document.get("channel", []), many=True))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        # The words of the error could hold an address with its password.
        raise ConfigurationError(f"{path.name} is no valid TOML") from error
    except ValidationError as error:
        raise ConfigurationError(f"{path.name}: {describe(error)}") from error
