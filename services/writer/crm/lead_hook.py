"""A new lead as a POST to the catch-hook of a flow (Zapier, Make), which writes the CRM.

https://help.zapier.com/hc/en-us/articles/8496288690317 and
https://help.make.com/webhooks: the address is the secret, and 200 means queued, not written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from services.writer.crm.sending import Sender
from shared.crm.accounts import Account, require_public
from shared.crm.authorization import Fixed
from shared.crm.pace import Pace
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError

# Neither vendor publishes a number that holds for all plans; a person promotes far fewer.
CALLS_PER_SECOND = 2.0


def hook_of(account: Account) -> Callable[[str, Mapping[str, Scalar]], None]:
    """Raises `ConfigurationError` for an address that is missing, private, or no plain one."""
    url = account.need("url")
    if account.options.get("private_address") != "yes":
        require_public(url, account.name)
    parts = urlsplit(url)
    if parts.query or parts.fragment or set("{}") & set(parts.path) or not parts.netloc:
        raise ConfigurationError(f"the CRM account [{account.name}]: url is no plain address")
    path = parts.path or "/"
    sender = Sender(
        f"{parts.scheme}://{parts.netloc}",
        Fixed({}),
        frozenset({("POST", path)}),
        timeout=account.number("timeout", 10.0),
        pace=Pace(CALLS_PER_SECOND, CALLS_PER_SECOND),
    )

    def post(change_id: str, fields: Mapping[str, Scalar]) -> None:
        """The flow can drop what it has seen by ``change_id``, and names it in its call-back."""
        sender.write("POST", path, {"change_id": change_id, "lead": dict(fields)})

    return post
