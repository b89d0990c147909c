from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.writer.crm.salesforce import SalesforceWriter
from shared.crm.salesforce import SalesforceReader
from shared.domain.record import RecordRef
from tests.crm.kit import ConnectorCases, Stage
from tests.fakes.faulty_crm import status
from tests.fakes.salesforce import READ_CLIENT, WRITE_CLIENT, Salesforce, running_salesforce

TOO_MANY = b'[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]'


@pytest.fixture
def fake() -> Iterator[Salesforce]:
    with running_salesforce() as fake:
        yield fake


@pytest.fixture
def dana(fake: Salesforce) -> RecordRef:
    return RecordRef(crm="salesforce", type="contacts", id=fake.contact)


@pytest.fixture
def reader(fake: Salesforce) -> SalesforceReader:
    return SalesforceReader.of(fake.account(READ_CLIENT), 0.5)


@pytest.fixture
def writer(fake: Salesforce) -> SalesforceWriter:
    return SalesforceWriter.of(fake.account(WRITE_CLIENT))


@pytest.fixture
def stage(
    fake: Salesforce, reader: SalesforceReader, writer: SalesforceWriter, dana: RecordRef
) -> Stage:
    return Stage(
        reader=reader,
        writer=writer,
        fake=fake,
        ref=dana,
        field="MailingCity",
        other="Title",
        email="Dana.Miller@example.com",
        phone="+12025550101",
        closed={
            "money": ("opportunities", "Amount"),
            "owner": ("contacts", "OwnerId"),
            "consent": ("contacts", "HasOptedOutOfEmail"),
            "stage": ("opportunities", "StageName"),
            "sensitive": ("contacts", "Tax_Number__c"),
            "read_only": ("contacts", "Score__c"),
        },
        lead={"first_name": "Nora", "last_name": "Fields", "email": "nora@example.com"},
        too_many=status(403, TOO_MANY),
        version=lambda: reader.read(dana).version,
    )


class TestSalesforce(ConnectorCases):
    pass
