"""The read side of the CRMs: what they say in common words, and the registry of readers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shared.crm.accounts import Account
from shared.crm.demo import DemoReader
from shared.crm.handoff import HandOffReader
from shared.crm.hubspot import HubSpotReader
from shared.crm.jobber import JobberReader
from shared.crm.jobber_api import code_flow as jobber_flow
from shared.crm.metadata import Capabilities, CrmChange, FieldMeta
from shared.crm.oauth import CodeFlow
from shared.crm.pipedrive import PipedriveReader
from shared.crm.reader import Reader
from shared.crm.salesforce import SalesforceReader
from shared.crm.servicetitan import ServiceTitanReader
from shared.errors import ConfigurationError

# By vendor: makes the reader of an account; ``timeout`` is in seconds, for a whole exchange.
READERS: dict[str, Callable[[Account, float], Reader]] = {
    DemoReader.crm: DemoReader.of,
    "handoff": HandOffReader.of,
    "hubspot": HubSpotReader.of,
    "jobber": JobberReader.of,
    "pipedrive": PipedriveReader.of,
    "salesforce": SalesforceReader.of,
    "servicetitan": ServiceTitanReader.of,
}

# By vendor: the app that a person lets in with `countersign crm authorize`.
FLOWS: dict[str, Callable[[Account], CodeFlow]] = {
    "jobber": jobber_flow,
}


def readers(accounts: Iterable[Account], *, timeout: float) -> dict[str, Reader]:
    """The readers of these accounts by name. Raises `ConfigurationError` for an unknown vendor."""
    return {account.name: _made(account, timeout) for account in accounts}


def _made(account: Account, timeout: float) -> Reader:
    if account.vendor not in READERS:
        known = ", ".join(sorted(READERS))
        raise ConfigurationError(f"the CRM account [{account.name}]: vendor is none of {known}")
    return READERS[account.vendor](account, timeout)


__all__ = ["READERS", "Account", "Capabilities", "CrmChange", "FieldMeta", "Reader", "readers"]
