"""The fake Pipedrive behind Prism on real sockets, filled, with both sides of the connector."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.writer.crm.pipedrive import PipedriveWriter
from shared.crm.accounts import Account
from shared.crm.pipedrive import PipedriveReader
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from tests.contracts.prism import proxied
from tests.fakes.faulty_crm import Fault, FaultyCrm, served
from tests.fakes.pipedrive import (
    API_TOKEN,
    BUDGET,
    CLIENT,
    LOCKED,
    MARK,
    REFRESH,
    REGION,
    Pipedrive,
)
from tests.fakes.pipedrive_contract import Checked, contract

CRM = "pipedrive"
WREN = "101"
LEAD = "adf21080-0e10-11eb-879b-05d71fb426ec"
JENNY = RecordRef(crm=CRM, type="persons", id=WREN)
ROOF = RecordRef(crm=CRM, type="deals", id="7")
NEST = RecordRef(crm=CRM, type="organizations", id="9")
HER_LEAD = RecordRef(crm=CRM, type="leads", id=LEAD)
CALL = RecordRef(crm=CRM, type="activities", id="31")
NEW = {"first_name": "Mara", "last_name": "Heron", "email": "mara@example.com"}
PERSON_FIELDS = (
    ("name", "Name", "varchar"),
    ("first_name", "First name", "varchar"),
    ("last_name", "Last name", "varchar"),
    ("email", "E-mail", "varchar"),
    ("phone", "Phone", "phone"),
    ("org_id", "Organization", "org"),
    ("owner_id", "Owner", "user"),
    ("visible_to", "Visible to", "visible_to"),
    ("add_time", "Person created", "date"),
    ("job_title", "Job title", "varchar"),
    ("birthday", "Birthday", "date"),
    ("notes", "Notes", "text"),
    ("postal_address", "Postal address", "address"),
    ("marketing_status", "Marketing status", "enum"),
    (REGION, "Region", "varchar"),
    (MARK, "Countersign change", "varchar"),
    (BUDGET, "Budget", "monetary"),
    (LOCKED, "Score of an app", "double"),
)
DEAL_FIELDS = (
    ("title", "Title", "varchar"),
    ("value", "Value", "monetary"),
    ("currency", "Currency", "varchar"),
    ("stage_id", "Stage", "stage"),
    ("status", "Status", "status"),
    ("expected_close_date", "Expected close date", "date"),
    ("owner_id", "Owner", "user"),
    ("add_time", "Deal created", "date"),
    (REGION, "Region", "enum"),
)
ORGANIZATION_FIELDS = (
    ("name", "Name", "varchar"),
    ("address", "Address", "address"),
    ("website", "Website", "varchar"),
    ("annual_revenue", "Annual revenue", "monetary"),
    ("owner_id", "Owner", "user"),
)
ACCOUNT = {
    "token": API_TOKEN,
    "mark_field": MARK,
    "external_id_field": REGION,
    "order_field": REGION,
    "private_address": "yes",
    "calls_per_2s": "4000",
    "searches_per_2s": "4000",
    "share": "1",
}
NOWHERE = "https://api.example.com"
APP = {"client_id": CLIENT[0], "client_secret": CLIENT[1], "refresh_token": REFRESH}


@dataclass
class Switch:
    """What Prism stands before: one app for all tests of a run, another fake for each."""

    app: Pipedrive | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        assert self.app is not None
        return self.app(environ, start_response)


@contextmanager
def contract_proxy(folder: Path) -> Iterator[tuple[str, Switch]]:
    """Prism before a fake that can be changed; it takes some seconds to start."""
    switch = Switch()
    with served(switch) as upstream, proxied(contract(), upstream, folder) as url:
        yield url, switch


@dataclass(kw_only=True)
class Double:
    """What the kit asks of a vendor's fake, and the connector's two sides before it."""

    url: str
    app: Pipedrive
    faulty: FaultyCrm
    checked: Checked
    # How long the clients wait for an answer, in seconds.
    patience: float = 5.0

    def account(self, **options: str) -> Account:
        given = {
            key: value for key, value in {"url": self.url, **ACCOUNT, **options}.items() if value
        }
        return Account(name=CRM, vendor=CRM, options=given)

    def reader(self, **options: str) -> PipedriveReader:
        return PipedriveReader(self.account(**options), timeout=self.patience)

    def writer(self, **options: str) -> PipedriveWriter:
        return PipedriveWriter(self.account(**options), timeout=self.patience)

    def value(self, ref: RecordRef, field: str) -> Scalar:
        row = self.app.records[ref.type][ref.id]
        if field in {"emails", "phones"}:
            return next((one["value"] for one in row[field] if one["primary"]), None)
        found: Scalar = row.get(field, row.get("custom_fields", {}).get(field))
        return found

    def edit(self, ref: RecordRef, field: str, value: Scalar, *, by: str) -> None:
        user = next(number for number, name in self.app.users.items() if name == by)
        self.app.set(ref.type, ref.id, {field: value}, user=user)

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.faulty.calls if _kind(call) == "write"]

    def arrivals(self, kind: str) -> list[float]:
        return self.faulty.arrivals(lambda call: _kind(call) == kind)

    def effects(self) -> int:
        return self.app.effects

    def script(self, kind: str, *faults: Fault) -> None:
        if kind == "read":
            self.faulty.script("GET", *faults)
            return
        queue = self.faulty.faults.setdefault("POST", deque())
        self.faulty.faults["PATCH"] = queue
        queue.extend(faults)


def _kind(call: tuple[str, str]) -> str:
    method, path = call
    return "token" if path == "/oauth/token" else "read" if method == "GET" else "write"


@contextmanager
def running(proxy: tuple[str, Switch], patience: float = 5.0) -> Iterator[Double]:
    prism, switch = proxy
    switch.app = filled()
    checked = Checked(prism=prism, contract=contract())
    faulty = FaultyCrm(checked)
    with served(faulty) as url:
        switch.app.api_domain = url
        yield Double(url=url, app=switch.app, faulty=faulty, checked=checked, patience=patience)
    assert checked.violations == [], "\n".join(checked.violations)
    assert not switch.app.destroyed, switch.app.destroyed


def filled() -> Pipedrive:
    app = Pipedrive()
    for name, rows in (
        ("persons", PERSON_FIELDS),
        ("deals", DEAL_FIELDS),
        ("organizations", ORGANIZATION_FIELDS),
    ):
        app.fields[name] = [
            {"key": key, "name": label, "field_type": kind} for key, label, kind in rows
        ]
    locked = next(row for row in app.fields["persons"] if row["key"] == LOCKED)
    locked.update(edit_flag=False, bulk_edit_allowed=False)
    app.fields["deals"][-1]["options"] = [{"id": 7, "label": "North"}, {"id": 8, "label": "South"}]
    app.add("organizations", "9", name="Nest Ltd", website="https://nest.example.com")
    app.add(
        "persons",
        WREN,
        name="Jenny Finch",
        org_id=9,
        job_title="Roofer",
        emails=[
            {"value": "Jenny@Example.com", "primary": True, "label": "work"},
            {"value": "finch@example.com", "primary": False, "label": "home"},
        ],
        phones=[
            {"value": "(202) 555-0143", "primary": False, "label": "home"},
            {"value": "+1 202-555-0100", "primary": True, "label": "mobile"},
        ],
        custom_fields={REGION: "R-1", BUDGET: {"value": 1200, "currency": "EUR"}},
    )
    app.add("persons", "102", name="Robin Teal", emails=[], phones=[])
    app.add(
        "deals",
        "7",
        title="Roof",
        person_id=int(WREN),
        stage_id=2,
        pipeline_id=1,
        status="open",
        value=1000,
        currency="EUR",
        custom_fields={REGION: "8"},
    )
    app.add("activities", "31", subject="Call back", type="call", person_id=int(WREN), done=False)
    app.add("leads", LEAD, title="Jenny's roof", person_id=int(WREN), is_archived=False)
    return app


def app_options(double: Double) -> dict[str, str]:
    """An app's grant in place of the API token; only the answer with the token names the host."""
    return {**APP, "token": "", "token_url": f"{double.url}/oauth/token", "url": NOWHERE}


def update(double: Double, ref: RecordRef, **fields: Any) -> None:
    double.writer().update(ref, fields, change_id="change-1")
