"""Who the people are, what they may do, and the secrets by which they prove it."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from shared.domain.schema import now
from shared.errors import BadPayload, Conflict, NotApproved, NotFound
from shared.people_file import Account, Accounts, Link, PeopleFile, Token
from shared.roles import ROLES

LINK_LIFE = timedelta(minutes=15)
TOKEN_LIFE = timedelta(days=365)
PASSWORD_LENGTH = (10, 200)
# One verification takes 64 MiB; more at once would let strangers use up the memory.
_verifying = threading.BoundedSemaphore(2)

OnChange = Callable[[str, str, tuple[str, ...]], None]


@dataclass
class People:
    """The people of ``path``. ``on_change(person, action, roles)`` is told of every change.

    ``by`` is the id of the person who acts; ``None`` is the command line, whose user owns the
    machine anyway.
    """

    path: Path
    clock: Callable[[], datetime] = now
    on_change: OnChange | None = None
    _file: PeopleFile = field(init=False)

    def __post_init__(self) -> None:
        self._file = PeopleFile(self.path)

    def all(self) -> Accounts:
        """Everybody, by name; the disabled last. Raises `ConfigurationError` for a broken file."""
        return tuple(
            sorted(self._file.read(), key=lambda one: (one.disabled, one.name.casefold(), one.id))
        )

    def get(self, person: str) -> Account | None:
        """The account with exactly this id."""
        return next((one for one in self._file.read() if one.id == person), None)

    def find(self, text: str) -> Account | None:
        """The account with this id, e-mail address or, if it is the only one, name."""
        wanted = text.strip().casefold()
        accounts = self._file.read()
        for account in accounts:
            if wanted in (account.id, (account.email or "").casefold() or None):
                return account
        named = [account for account in accounts if account.name.casefold() == wanted]
        return named[0] if len(named) == 1 else None

    def add(
        self,
        name: str,
        *,
        roles: Iterable[str],
        email: str | None = None,
        by: str | None = None,
    ) -> Account:
        """A new person. Raises `BadPayload`, or `Conflict` if the address is taken."""
        made = Account(
            id=_slug(name), name=_name(name), email=_email(email), roles=_roles(roles), aliases=()
        )
        if by is not None and _same_address(self.get(by), made.email):
            raise NotApproved("This address is your own.", rule="own-roles")

        def with_new(accounts: Accounts) -> Accounts:
            nonlocal made
            if made.email and any(_same_address(one, made.email) for one in accounts):
                raise Conflict("Somebody with this e-mail address is here already.")
            made = replace(made, id=_free(made.id, accounts))
            return (*accounts, made)

        self._file.replace(with_new, lambda: self._announce(made, "added"))
        return made

    def set_roles(self, person: str, roles: Iterable[str], *, by: str | None = None) -> Account:
        """Raises `NotApproved` for one's own roles, `Conflict` if no admin would be left."""
        chosen = _roles(roles)
        return self._change(person, "roles", lambda one: replace(one, roles=chosen), by=by)

    def disable(self, person: str, *, by: str | None = None) -> Account:
        """Sign the person out everywhere; links and tokens die. Raises `Conflict` as above."""
        at = self.clock()
        return self._change(
            person,
            "disabled",
            lambda one: replace(one, disabled=True, signed_out_at=at, links=(), tokens=()),
            by=by,
        )

    def enable(self, person: str, *, by: str | None = None) -> Account:
        return self._change(person, "enabled", lambda one: replace(one, disabled=False), by=by)

    def make_link(self, person: str) -> str:
        """The secret of a new one-time link, which lives 15 minutes and replaces older ones."""
        secret = secrets.token_urlsafe(32)
        link = Link(hash=_digest(secret), expires=self.clock() + LINK_LIFE)
        self._change(person, "link made", lambda one: replace(_enabled(one), links=(link,)))
        return secret

    def link_is_good(self, secret: str) -> bool:
        """Whether the link could sign somebody in now; changes nothing."""
        return self._owner(self._file.read(), secret) is not None

    def take_link(self, secret: str) -> Account | None:
        """Use the link up: its person for the first caller, ``None`` for every other."""
        if self._owner(self._file.read(), secret) is None:
            return None
        taker: Account | None = None

        def without(accounts: Accounts) -> Accounts:
            nonlocal taker
            taker = self._owner(accounts, secret)
            return tuple(replace(one, links=()) if one is taker else one for one in accounts)

        self._file.replace(without)
        return taker

    def make_token(self, person: str, name: str, *, life: timedelta = TOKEN_LIFE) -> str:
        """A new API token, ``cs_<id>_<secret>``, shown this once."""
        token_id, secret = secrets.token_hex(4), secrets.token_hex(32)
        made = self.clock()
        token = Token(
            id=token_id,
            name=_name(name),
            hash=_digest(secret),
            created=made,
            expires=made + life,
        )
        self._change(
            person, "token made", lambda one: replace(_enabled(one), tokens=(*one.tokens, token))
        )
        return f"cs_{token_id}_{secret}"

    def drop_token(self, person: str, token_id: str) -> None:
        """Raises `NotFound` when the person has no such token."""
        account = self.get(person)
        if account is None or all(token.id != token_id for token in account.tokens):
            raise NotFound("There is no such token.")
        self._change(
            person,
            "token dropped",
            lambda one: replace(one, tokens=tuple(t for t in one.tokens if t.id != token_id)),
        )

    def by_token(self, bearer: str) -> tuple[Account, Token] | None:
        """Whose API token this is, if it is in force."""
        prefix, _, rest = bearer.partition("_")
        token_id, _, secret = rest.partition("_")
        if prefix != "cs" or not secret:
            return None
        digest, at = _digest(secret), self.clock()
        for account in self._file.read():
            for token in account.tokens:
                if token.id == token_id and hmac.compare_digest(token.hash, digest):
                    return None if account.disabled or token.expires <= at else (account, token)
        return None

    def set_password(self, person: str, password: str) -> None:
        """Raises `BadPayload` for one that is too short or too long."""
        least, most = PASSWORD_LENGTH
        if not least <= len(password) <= most:
            raise BadPayload(f"A password has {least} to {most} characters.")
        stored = str(_hasher().hash(_bytes(password)))
        self._change(person, "password set", lambda one: replace(one, password=stored))

    def check_password(self, text: str, password: str) -> Account | None:
        """The person, if the password is theirs; an unknown one takes as long as a wrong one."""
        account = self.find(text)
        stored = account.password if account and not account.disabled else None
        fits = _verify(stored or _no_password(), password)
        return account if fits and stored else None

    def _change(
        self,
        person: str,
        action: str,
        change: Callable[[Account], Account],
        *,
        by: str | None = None,
    ) -> Account:
        changed: Account | None = None

        def with_change(accounts: Accounts) -> Accounts:
            nonlocal changed
            before = next((one for one in accounts if one.id == person), None)
            if before is None:
                raise NotFound("There is no such person.")
            changed = change(before)
            _refuse_own(before, changed, by, accounts)
            after = tuple(changed if one is before else self._fresh(one) for one in accounts)
            _keep_an_admin(accounts, after)
            return after

        self._file.replace(with_change, lambda: self._announce(changed, action))
        assert changed is not None
        return changed

    def _announce(self, account: Account | None, action: str) -> None:
        if self.on_change is not None and account is not None:
            self.on_change(account.id, action, account.roles)

    def _fresh(self, account: Account) -> Account:
        """Without links that have expired."""
        links = tuple(link for link in account.links if link.expires > self.clock())
        return account if links == account.links else replace(account, links=links)

    def _owner(self, accounts: Accounts, secret: str) -> Account | None:
        digest, at = _digest(secret), self.clock()
        for account in accounts:
            for link in account.links:
                if hmac.compare_digest(link.hash, digest) and link.expires > at:
                    return None if account.disabled else account
        return None


def _refuse_own(before: Account, after: Account, by: str | None, accounts: Accounts) -> None:
    """Nobody gives themselves rights, nor through another name of theirs."""
    if by is None or (before.roles, before.disabled) == (after.roles, after.disabled):
        return
    actor = next((one for one in accounts if one.id == by), None)
    same = {by, *(actor.aliases if actor else ())}
    if (before.id in same or by in before.aliases) and before.roles != after.roles:
        raise NotApproved("Nobody can change their own roles.", rule="own-roles")
    if before.id in same or by in before.aliases:
        raise NotApproved("Nobody can disable or enable themselves.", rule="own-roles")


def _keep_an_admin(before: Accounts, after: Accounts) -> None:
    if any(map(_is_admin, before)) and not any(map(_is_admin, after)):
        raise Conflict("This is the last admin: make somebody else an admin first.")


def _is_admin(account: Account) -> bool:
    return "admin" in account.roles and not account.disabled


def _enabled(account: Account) -> Account:
    if account.disabled:
        raise Conflict(f"{account.name} is disabled: enable the account first.")
    return account


def _same_address(account: Account | None, email: str | None) -> bool:
    mine = account.email if account else None
    return bool(mine and email and mine.casefold() == email.casefold())


def _roles(roles: Iterable[str]) -> tuple[str, ...]:
    chosen = set(roles)
    if not chosen:
        raise BadPayload(f"Choose at least one role: {', '.join(ROLES)}.")
    if unknown := chosen - set(ROLES):
        raise BadPayload(f"{len(unknown)} unknown role(s): the roles are {', '.join(ROLES)}.")
    return tuple(role for role in ROLES if role in chosen)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not 1 <= len(name) <= 100 or not name.isprintable():
        raise BadPayload("A name has 1 to 100 printable characters.")
    return name


def _email(text: str | None) -> str | None:
    email = (text or "").strip()
    if not email:
        return None
    if len(email) > 254 or not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise BadPayload("This is not an e-mail address.")
    return email


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:36].strip("-") or "person"


def _free(slug: str, accounts: Accounts) -> str:
    """Ids, and aliases, are never given twice: the log names people by them."""
    taken = {name for one in accounts for name in (one.id, *one.aliases)}
    numbered = (f"{slug}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (slug, *numbered) if name not in taken)


def _digest(secret: str) -> str:
    """The secret has 256 random bits, so nothing slower than SHA-256 is needed."""
    return hashlib.sha256(_bytes(secret)).hexdigest()


def _bytes(text: str) -> bytes:
    """Lone surrogates can come in through JSON; they are no reason to fail."""
    return text.encode("utf-8", "surrogatepass")


@cache
def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _no_password() -> str:
    return str(_hasher().hash(secrets.token_hex(16)))


def _verify(stored: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        with _verifying:
            return bool(_hasher().verify(stored, _bytes(password[: PASSWORD_LENGTH[1] + 1])))
    except (VerificationError, InvalidHashError):
        return False
