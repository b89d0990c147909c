"""What HubSpot's fake answers of the account itself: its details, owners, pipelines and tokens.

Each with every member that HubSpot always gives, in our own values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

PORTAL = 44237313
_MADE = {"createdAt": "2026-01-05T09:00:00Z", "updatedAt": "2026-01-05T09:00:00Z"}
_APP = 2002
_USER = 900


def details() -> dict[str, Any]:
    return {
        "portalId": PORTAL,
        "accountType": "STANDARD",
        "timeZone": "US/Eastern",
        "companyCurrency": "USD",
        "additionalCurrencies": [],
        "utcOffset": "-05:00",
        "utcOffsetMilliseconds": -18_000_000,
        "uiDomain": "app.hubspot.com",
        "dataHostingLocation": "na1",
    }


def owner(user: str, name: str) -> dict[str, Any]:
    return {
        "id": str(int(user) + 5000),
        "type": "PERSON",
        "userId": int(user),
        "userIdIncludingInactive": int(user),
        "firstName": name,
        "lastName": "",
        "email": f"{name.lower()}@example.com",
        "archived": False,
        **_MADE,
    }


def pipeline(stages: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The one of the account, with its stages (id and label) in their order."""
    line = {"id": "default", "label": "Sales", "displayOrder": 0, "archived": False, **_MADE}
    made = [
        {"id": id_, "label": label, "displayOrder": at, "archived": False, "metadata": {},
         "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT", **_MADE}
        for at, (id_, label) in enumerate(stages)
    ]  # fmt: skip
    return {**line, "stages": made}


def token(text: str, refresh: str, scopes: Iterable[str], seconds: float) -> dict[str, Any]:
    return {
        "token_type": "bearer",
        "token_use": "access_token",
        "access_token": text,
        "refresh_token": refresh,
        "expires_in": int(seconds),
        "hub_id": PORTAL,
        "user_id": _USER,
        "scopes": sorted(scopes),
    }


def token_info(text: str, client: str, scopes: Iterable[str], seconds: float) -> dict[str, Any]:
    """Of an access token that is good for ``seconds`` more."""
    return {
        "active": True,
        "token": text,
        "token_type": "bearer",
        "token_use": "access_token",
        "client_id": client,
        "app_id": _APP,
        "hub_id": PORTAL,
        "user_id": _USER,
        "is_private_distribution": True,
        "expires_in": int(seconds),
        "scopes": sorted(scopes),
        "signed_access_token": _signed(seconds),
    }


def _signed(seconds: float) -> dict[str, Any]:
    flags = ("isPrivateDistribution", "isServiceAccount", "isUserLevel")
    texts = ("appInstallId", "audience", "hublet", "newSignature", "scopeToScopeGroupPks", "scopes",
             "signature", "trialScopeToScopeGroupPks", "trialScopes")  # fmt: skip
    numbers = {"appId": _APP, "hubId": PORTAL, "userId": _USER, "installingUserId": _USER}
    return {
        **dict.fromkeys(flags, False),
        **dict.fromkeys(texts, ""),
        **numbers,
        "expiresAt": int(seconds * 1000),
    }
