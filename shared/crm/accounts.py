"""The CRM accounts of an installation, as one file for each side: what reads, and what writes."""

from __future__ import annotations

import ipaddress
import math
import socket
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shared.crm.grants import Grants
from shared.errors import ConfigurationError

FILE_ENDING: Final = "_file"
# The CRM that is part of this product, and what needs no account file to be reached.
BUILT_IN: Final = "demo"
# A vendor without an API: nothing can be tried there, nor stand in for it.
BY_HAND: Final = "handoff"
# Each of these belongs to one account of its vendor.
TOKENS: Final = ("token", "refresh_token")
# What an app that signs in by itself, without any grant, reaches its account by.
SIGN_IN: Final = ("url", "environment", "tenant_id", "client_id", "username")
_GRANTED: Final = ("refresh_token", "redirect_url")


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

    def digits(self, option: str) -> str:
        """An id that the vendor counts, or "" where the file gives none.

        Raises `ConfigurationError` for anything that is no whole number.
        """
        text = self.options.get(option, "")
        if text and not (text.isascii() and text.isdigit()):
            raise ConfigurationError(f"the CRM account [{self.name}]: {option} is no whole number")
        return text

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


def sandboxes_of(accounts: Iterable[Account]) -> Mapping[str, str]:
    """By the name of each live account the one that stands in for it, if any.

    Raises `ConfigurationError` where an account stands in for itself, for one that there is not,
    for one that stands in itself or has no API, or beside another.
    """
    known = {one.name: one for one in accounts}
    found: dict[str, str] = {}
    for one in known.values():
        if one.sandbox_of is None:
            continue
        if why := _why_no_sandbox(one, known, found):
            raise ConfigurationError(f"the CRM account [{one.name}]: {why}")
        found[one.sandbox_of] = one.name
    require_apart(known.values(), found)
    return found


def require_apart(accounts: Iterable[Account], sandboxes: Mapping[str, str]) -> None:
    """Raises `ConfigurationError` where a sandbox has the very credential of its live account."""
    known = {one.name: one for one in accounts}
    for live, sandbox in sandboxes.items():
        if live not in known or sandbox not in known:
            continue
        for option in TOKENS:
            token = known[live].options.get(option)
            if token and token == known[sandbox].options.get(option):
                raise ConfigurationError(
                    f"the CRM account [{sandbox}]: {option} is that of [{live}], so trials would"
                    " reach the live account"
                )
        if _is_one_sign_in(known[live], known[sandbox]):
            raise ConfigurationError(
                f"the CRM account [{sandbox}]: it signs in where [{live}] does and as the same app,"
                " so trials would reach the live account"
            )


def _is_one_sign_in(one: Account, other: Account) -> bool:
    """One app may have been let into several accounts; without a grant its options say which."""
    if "client_id" not in one.options or any(name in one.options for name in _GRANTED):
        return False
    return all(one.options.get(name) == other.options.get(name) for name in SIGN_IN)


def _why_no_sandbox(
    one: Account, known: Mapping[str, Account], found: Mapping[str, str]
) -> str | None:
    of = str(one.sandbox_of)
    live = known.get(of)
    if of == one.name or (live is None and of != BUILT_IN):
        return f"sandbox_of names no other account: {of}"
    if live is not None and live.sandbox_of is not None:
        return f"sandbox_of names {of}, which is a sandbox itself"
    if BY_HAND in {one.vendor, live.vendor if live else None}:
        return f"nothing can be tried by hand: {of} and {one.name} both need an API"
    if one.vendor not in {BUILT_IN, live.vendor if live else BUILT_IN}:
        return f"its vendor is neither that of {of} nor {BUILT_IN}"
    if of == one.vendor == BUILT_IN and "url" not in one.options:
        return "the built-in CRM cannot stand in for itself: it needs another url"
    if of in found:
        return f"{found[of]} stands in for {of} already"
    return None


def with_built_in(accounts: Iterable[Account], *, url: str, token: str) -> tuple[Account, ...]:
    """The accounts, those in the built-in CRM with its address and token where they name none."""
    own = {"url": url, "token": token}
    return tuple(
        replace(one, options={**own, **one.options}) if one.vendor == BUILT_IN else one
        for one in accounts
    )


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
