"""The CRM accounts of an installation, as one file for each side: what reads, and what writes."""

from __future__ import annotations

import ipaddress
import math
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shared.crm.grants import Grants
from shared.errors import ConfigurationError

FILE_ENDING: Final = "_file"


@dataclass(frozen=True, kw_only=True)
class Account:
    """One account of a CRM with the rights of one side.

    ``name`` stands in every record reference and in the policy; ``sandbox_of`` names the account
    that this one stands in for. ``options`` are the vendor's own: tokens, ids, addresses.
    ``grants`` are those of its side.
    """

    name: str
    vendor: str
    options: Mapping[str, str] = field(repr=False)
    sandbox_of: str | None = None
    grants: Grants | None = field(default=None, repr=False)

    def need_grants(self) -> Grants:
        """Raises `ConfigurationError` where this process was given none."""
        if self.grants is None:
            raise ConfigurationError(f"the CRM account [{self.name}] needs the database of grants")
        return self.grants

    def need(self, option: str) -> str:
        """Raises `ConfigurationError` where the file does not give it."""
        if value := self.options.get(option):
            return value
        raise ConfigurationError(f"the CRM account [{self.name}] needs {option}")

    def url(self, default: str) -> str:
        """The address to call. Raises `ConfigurationError` for one that is not public.

        ``private_address = "yes"`` allows a server of one's own.
        """
        url = self.options.get("url", default).rstrip("/")
        if self.options.get("private_address") != "yes":
            require_public(url, self.name)
        return url

    def number(self, option: str, default: float) -> float:
        """Raises `ConfigurationError` for what is no positive number."""
        text = self.options.get(option, str(default))
        try:
            number = float(text)
        except ValueError:
            number = 0.0
        if not 0 < number < math.inf:
            raise ConfigurationError(f"the CRM account [{self.name}]: {option} is no number")
        return number


def accounts_of(text: str, grants: Grants | None = None) -> tuple[Account, ...]:
    """The accounts of a TOML text, in its order; none of an empty one.

    An option whose name ends in ``_file`` is read from the file that it names. Raises
    `ConfigurationError` naming table and option, never a value.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Its own words may quote what stands there.
        raise ConfigurationError("the file of CRM accounts is no TOML") from error
    return tuple(_account(name, table, grants) for name, table in tables.items())


def _account(name: str, table: Any, grants: Grants | None) -> Account:
    if not isinstance(table, dict):
        raise ConfigurationError(f"CRM accounts are tables: [{name}]")
    options = dict(_option(name, key, value) for key, value in table.items())
    vendor = options.pop("vendor", name)
    return Account(
        name=name,
        vendor=vendor,
        sandbox_of=options.pop("sandbox_of", None),
        options=options,
        grants=grants,
    )


def _option(name: str, key: str, value: Any) -> tuple[str, str]:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigurationError(f"the CRM account [{name}]: {key} is no text")
    if not key.endswith(FILE_ENDING):
        return key, str(value)
    try:
        text = Path(str(value)).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"the CRM account [{name}]: {key} cannot be read") from error
    return key.removesuffix(FILE_ENDING), text.strip()


def require_public(url: str, name: str) -> None:
    """Only ``https`` to a public address: no call of ours may reach into the own network.

    Raises `ConfigurationError`; a name that nobody knows at present is let through.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"the CRM account [{name}]: its address is none") from error
    if parts.scheme != "https" or not parts.hostname:
        raise ConfigurationError(f"the CRM account [{name}]: its address is no https:// address")
    try:
        found = socket.getaddrinfo(parts.hostname, None)
    except (OSError, UnicodeError):
        return
    if not all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global for one in found):
        raise ConfigurationError(f"the CRM account [{name}]: its address is a private one")
