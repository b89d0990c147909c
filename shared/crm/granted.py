"""Authorization by a grant that rotates: the same for reading and for writing."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from shared.crm.authorization import bearing, bears
from shared.crm.grants import EARLY, Access, Grants, Refresh
from shared.errors import CRMUnavailable, StoreUnavailable


class Granted:
    """An `Authorization` whose bearer token comes from a grant."""

    def __init__(
        self,
        grants: Grants,
        account: str,
        refresh: Refresh,
        *,
        patience: float,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self._grants = grants
        self._account = account
        self._refresh = refresh
        self._patience = patience
        self._more = dict(more or {})
        self._lock = threading.Lock()
        self._access: Access | None = None

    def headers(self) -> Mapping[str, str]:
        with self._lock:
            if self._access is None or self._access.until <= self._grants.clock() + EARLY:
                self._access = self._taken(None)
            return {**bearing(self._access.text), **self._more}

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock:
            if self._access is not None and bears(refused, self._access.text):
                self._access = self._taken(self._access.generation)
        return True

    def _taken(self, spent: int | None) -> Access:
        try:
            return self._grants.access(
                self._account, self._refresh, patience=self._patience, spent=spent
            )
        except StoreUnavailable as error:
            raise CRMUnavailable(f"the grant of [{self._account}]: {error}") from error
