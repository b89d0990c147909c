"""Addresses of servers, with the password in them; those of a file are read at each connection."""

from __future__ import annotations

from pathlib import Path


class Address(str):
    """The newest line of ``file``, as it was when the settings were read."""

    __slots__ = ("file",)
    file: Path

    @classmethod
    def of(cls, text: str, file: Path) -> Address:
        made = cls(text)
        made.file = file
        return made


def in_turn(url: str) -> tuple[str, ...]:
    """What to sign in with, the newest first: of an address from a file each of its lines now.

    So a password is changed without a restart, and without a moment in which none is good: the
    server may hear of the new one before its users do, or after.
    """
    if not isinstance(url, Address):
        return (url,)
    try:
        return tuple(url.file.read_text(encoding="utf-8").split()) or (str(url),)
    except OSError:  # It is being handed out anew, or was taken away: the last one known may do.
        return (str(url),)
