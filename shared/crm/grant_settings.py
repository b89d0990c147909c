"""What a process is given of the grants: those of its side, and the key that opens them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.crm.grants import Grants
from shared.settings import setting

READ: Final = "grants_read"
WRITE: Final = "grants_write"
"""The databases, or schemas, of the two sides."""


@dataclass(frozen=True, kw_only=True)
class ReadGrantSettings:
    """For every process that reads a CRM."""

    crm_read_grants_url: str = setting(
        "database of the grants with which CRMs are read", default="", secret=True
    )
    crm_read_grants_key: str = setting("key that opens them", default="", secret=True)

    def read_grants(self) -> Grants | None:
        """Raises `ConfigurationError` for what is no database or no key."""
        if not self.crm_read_grants_url:
            return None
        return Grants.at(self.crm_read_grants_url, self.crm_read_grants_key)


@dataclass(frozen=True, kw_only=True)
class WriteGrantSettings:
    """For the one process that writes to CRMs."""

    crm_write_grants_url: str = setting(
        "database of the grants with which CRMs are written", default="", secret=True
    )
    crm_write_grants_key: str = setting("key that opens those", default="", secret=True)

    def write_grants(self) -> Grants | None:
        """Raises `ConfigurationError` for what is no database or no key."""
        if not self.crm_write_grants_url:
            return None
        return Grants.at(
            self.crm_write_grants_url,
            self.crm_write_grants_key,
            hint="countersign crm authorize --write",
        )
