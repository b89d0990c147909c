"""A tenant of ServiceTitan's double on a socket, as the tests of its connector want it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from services.writer.crm.servicetitan import ServiceTitanWriter
from shared.crm import Account
from shared.crm.servicetitan import ServiceTitanReader
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from tests.fakes.faulty_crm import Fault, FaultyCrm, method_of, served
from tests.fakes.servicetitan import APP_KEY, TENANT, ServiceTitan
from tests.fakes.servicetitan_tasks import OPTIONS

CRM = "servicetitan"


@dataclass(kw_only=True)
class Tenant:
    """The double behind a fault script, as the cases want it."""

    crm: ServiceTitan = field(default_factory=ServiceTitan)
    faulty: FaultyCrm
    url: str
    auth_url: str
    # How long the clients wait for an answer, in seconds.
    patience: float = 5.0

    def account(self, who: str, **options: str) -> Account:
        given = {
            "url": self.url,
            "auth_url": self.auth_url,
            "private_address": "yes",
            "tenant_id": TENANT,
            "client_id": who,
            "client_secret": "secret",
            "app_key": APP_KEY,
            "share": "1",
            **options,
        }
        return Account(name=CRM, vendor=CRM, options=given)

    def reader(self, **options: str) -> ServiceTitanReader:
        return ServiceTitanReader.of(self.account("reader", **options), self.patience)

    def writer(self, **options: str) -> ServiceTitanWriter:
        given = {"timeout": str(self.patience), "booking_provider": "77", **OPTIONS, **options}
        return ServiceTitanWriter.of(self.account("writer", **given))

    def value(self, ref: RecordRef, field: str) -> Scalar:
        return self.crm.value(ref, field)

    def edit(self, ref: RecordRef, field: str, value: Scalar, *, by: str) -> None:
        self.crm.edit(ref, field, value, by=by)

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.faulty.calls if call[0] != "GET"]

    def arrivals(self, kind: str) -> list[float]:
        return self.faulty.arrivals(lambda call: (call[0] == "GET") is (kind == "read"))

    def effects(self) -> int:
        return self.crm.changes

    def script(self, kind: str, *faults: Fault) -> None:
        self.faulty.script(kind, *faults)


@contextmanager
def running(patience: float) -> Iterator[Tenant]:
    """``patience`` as the tenant's."""
    crm = ServiceTitan()
    faulty = FaultyCrm(crm, kind=_kind_of)
    with ExitStack() as stack:
        url, auth_url = stack.enter_context(served(faulty)), stack.enter_context(served(crm.auth))
        yield Tenant(crm=crm, faulty=faulty, url=url, auth_url=auth_url, patience=patience)
    assert crm.forbidden() == [], "no call deletes, merges or moves a stage"


def ref(type_: str, id_: int) -> RecordRef:
    return RecordRef(crm=CRM, type=type_, id=str(id_))


def sent(
    tenant: Tenant, method: str, path: str, body: Any, *, area: str = "crm", **headers: str
) -> requests.Response:
    """A call as the double sees it, without our own client."""
    form = {"grant_type": "client_credentials", "client_id": "writer", "client_secret": "secret"}
    with requests.Session() as session:
        session.trust_env = False
        token = session.post(f"{tenant.auth_url}/connect/token", data=form, timeout=5).json()
        given = {"Authorization": f"Bearer {token['access_token']}", "ST-App-Key": APP_KEY}
        url = f"{tenant.url}/{area}/v2/tenant/{TENANT}/{path}"
        return session.request(method, url, json=body, headers={**given, **headers}, timeout=5)


def _kind_of(environ: dict[str, Any]) -> str:
    return "read" if method_of(environ) == "GET" else "write"
