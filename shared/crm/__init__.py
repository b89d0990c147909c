"""The read side of the CRMs: what they say in common words, and the registry of readers."""

from __future__ import annotations

from typing import TypeAlias

from shared.crm.demo import DemoReader
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta

# A second vendor makes this a union; code that reads any CRM names this type.
Reader: TypeAlias = DemoReader

# By the name of the CRM. Called with the address and the read token; see the reader for the rest.
READERS: dict[str, type[Reader]] = {DemoReader.crm: DemoReader}

__all__ = ["READERS", "Capabilities", "CrmChange", "FieldMeta", "Reader"]
