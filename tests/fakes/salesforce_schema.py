"""The objects of the double of Salesforce, with fields as a description tells them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

STRING_TYPES = frozenset(
    {"string", "email", "phone", "url", "picklist", "multipicklist", "combobox", "textarea", "encryptedstring", "id", "reference"}
)  # fmt: skip
LONGEST_FILTERED = 255


@dataclass(frozen=True, kw_only=True)
class Field:
    """``system``: kept by the CRM. ``tracked``: its changes are kept where history is on."""

    name: str
    type: str = "string"
    length: int = 0
    required: bool = False
    system: bool = False
    create_only: bool = False
    external_id: bool = False
    unique: bool = False
    calculated: bool = False
    auto_number: bool = False
    restricted: bool = False
    tracked: bool = True
    refers_to: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def is_filterable(self) -> bool:
        is_long = self.type == "textarea" and self.length > LONGEST_FILTERED
        return not is_long and self.type not in {"encryptedstring", "address"}

    @property
    def is_kept_by_crm(self) -> bool:
        return self.system or self.calculated or self.auto_number

    @property
    def relation(self) -> str | None:
        if self.type != "reference":
            return None
        name = self.name
        return name.removesuffix("__c") + "__r" if name.endswith("__c") else name.removesuffix("Id")


@dataclass(frozen=True, kw_only=True)
class SObject:
    name: str
    prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    history: tuple[str, str] | None = None


def _text(name: str, length: int = 80, **more: Any) -> Field:
    return Field(name=name, length=length, **more)


def _of(kind: str, name: str, **more: Any) -> Field:
    return Field(name=name, type=kind, **more)


def _picklist(name: str, *choices: str, **more: Any) -> Field:
    return Field(name=name, type="picklist", length=255, choices=choices, **more)


def _reference(name: str, *refers_to: str, **more: Any) -> Field:
    return Field(name=name, type="reference", length=18, refers_to=refers_to, **more)


_KEPT: tuple[Field, ...] = (
    Field(name="Id", type="id", length=18, system=True),
    _of("boolean", "IsDeleted", system=True),
    _of("datetime", "CreatedDate", system=True),
    _reference("CreatedById", "User", system=True),
)
_SYSTEM: tuple[Field, ...] = (
    *_KEPT,
    _of("datetime", "LastModifiedDate", system=True),
    _reference("LastModifiedById", "User", system=True),
    _of("datetime", "SystemModstamp", system=True),
)
_OWNER = _reference("OwnerId", "User", "Group")
_DESCRIPTION = _of("textarea", "Description", length=32_000, tracked=False)
_PERSON: tuple[Field, ...] = (
    _text("Name", 121, system=True),
    _text("FirstName", 40),
    _text("LastName", 80, required=True),
    _text("Title", 128),
    _of("email", "Email", length=80),
    _of("phone", "Phone", length=40),
    _of("phone", "MobilePhone", length=40),
    _of("phone", "Fax", length=40),
    _of("boolean", "HasOptedOutOfEmail"),
    _of("boolean", "DoNotCall"),
    _reference("IndividualId", "Individual"),
    _OWNER,
    _DESCRIPTION,
    _reference("MasterRecordId", "Contact", system=True),
)
_CUSTOM = _text("Countersign_Change__c", 80, external_id=True, unique=True)
_NUMBER = _text("Customer_Number__c", 40, external_id=True)


def _object(
    name: str, prefix: str, *fields: Field, history: tuple[str, str] | None = None
) -> SObject:
    known = {one.name: one for one in (*_SYSTEM, *fields)}
    return SObject(name=name, prefix=prefix, fields=known, history=history)


def _history(name: str, prefix: str, parent: str, of: str) -> SObject:
    """What a history object has; nobody writes it."""
    fields = (
        *_KEPT,
        _reference(parent, of, system=True),
        _text("Field", 255, system=True),
        _of("anyType", "OldValue", system=True),
        _of("anyType", "NewValue", system=True),
    )
    return SObject(name=name, prefix=prefix, fields={one.name: one for one in fields})


_OBJECTS = (
    _object(
        "Account", "001", _text("Name", 255, required=True), _of("phone", "Phone", length=40),
        _of("currency", "AnnualRevenue"), _text("BillingCity", 40), _OWNER, _DESCRIPTION,
        _reference("RecordTypeId", "RecordType"), _reference("MasterRecordId", "Account", system=True),
        history=("AccountHistory", "AccountId"),
    ),
    _object(
        "Contact", "003", *_PERSON, _reference("AccountId", "Account"), _text("MailingStreet", 255),
        _text("MailingCity", 40), _text("MailingPostalCode", 20), _of("address", "MailingAddress", system=True),
        _of("encryptedstring", "Tax_Number__c", length=20), _CUSTOM, _NUMBER, _text("Level__c", 10),
        _of("double", "Visits__c"), _of("date", "Birthdate"), _text("Score__c", 18, calculated=True),
        _picklist("Salutation", "Mr.", "Ms.", "Mx."), _picklist("Channel__c", "Mail", "Phone", restricted=True),
        _reference("RecordTypeId", "RecordType"), history=("ContactHistory", "ContactId"),
    ),
    _object(
        "Lead", "00Q", *_PERSON, _text("Company", 255, required=True), _text("Street", 255), _text("City", 40),
        _text("PostalCode", 20), _picklist("Status", "Open", "Working", "Closed - Converted"),
        _of("boolean", "IsConverted", system=True), _picklist("LeadSource", "Web", "Phone Inquiry"), _CUSTOM, _NUMBER,
        history=("LeadHistory", "LeadId"),
    ),
    _object(
        "Opportunity", "006", _text("Name", 120, required=True), _of("currency", "Amount"), _of("percent", "Probability"),
        _picklist("StageName", "Prospecting", "Site Visit", "Closed Won", "Closed Lost", required=True),
        _of("date", "CloseDate", required=True), _text("NextStep", 255), _reference("AccountId", "Account"),
        _reference("ContactId", "Contact", create_only=True), _text("Order_Number__c", 40, external_id=True),
        _of("boolean", "IsClosed", system=True), _of("boolean", "IsWon", system=True), _OWNER, _DESCRIPTION,
        history=("OpportunityFieldHistory", "OpportunityId"),
    ),
    _object(
        "Case", "500", _text("CaseNumber", 30, auto_number=True), _text("Subject", 255), _reference("ContactId", "Contact"),
        _reference("AccountId", "Account"), _picklist("Status", "New", "Working", "Closed"), _OWNER, _DESCRIPTION,
        history=("CaseHistory", "CaseId"),
    ),
    _object(
        "Task", "00T", _of("combobox", "Subject", length=255), _reference("WhoId", "Contact", "Lead"),
        _reference("WhatId", "Account", "Opportunity", "Case"), _picklist("Status", "Not Started", "Completed"),
        _of("date", "ActivityDate"), _picklist("TaskSubtype", "Task", "Email", "Call"), _OWNER, _DESCRIPTION,
    ),
    _object(
        "Event", "00U", _of("combobox", "Subject", length=255), _reference("WhoId", "Contact", "Lead"),
        _reference("WhatId", "Account", "Opportunity", "Case"), _of("datetime", "StartDateTime"), _OWNER, _DESCRIPTION,
    ),
    _object(
        "OpportunityContactRole", "00K", _reference("OpportunityId", "Opportunity"),
        _reference("ContactId", "Contact"), _of("boolean", "IsPrimary"),
    ),
    _object(
        "ContentDocumentLink", "06A", _reference("ContentDocumentId", "ContentDocument"),
        _reference("LinkedEntityId", "Contact", "Lead"),
    ),
    _object("ContentNote", "069", _text("Title", 255), _text("TextPreview", 255)),
    _object("User", "005", _text("Name", 121), _text("Username", 80), _of("email", "Email", length=128)),
    _history("AccountHistory", "017", "AccountId", "Account"),
    _history("ContactHistory", "03j", "ContactId", "Contact"),
    _history("LeadHistory", "00y", "LeadId", "Lead"),
    _history("OpportunityFieldHistory", "05a", "OpportunityId", "Opportunity"),
    _history("CaseHistory", "0C6", "CaseId", "Case"),
)  # fmt: skip


_ALWAYS_THERE = frozenset({one.name for one in _SYSTEM} | {"OwnerId"})
_NEVER_EMPTY = _ALWAYS_THERE | {"Name"}


def objects() -> dict[str, SObject]:
    return {one.name: one for one in _OBJECTS}


def without_history(known: dict[str, SObject], name: str) -> None:
    """An organisation that has switched the history of one object off has no such object."""
    history = known[name].history
    assert history is not None
    del known[history[0]]
    known[name] = replace(known[name], history=None)


def described_field(one: Field, *, may_update: bool, may_create: bool) -> dict[str, Any]:
    """One entry of ``fields`` in a description."""
    is_closed = one.is_kept_by_crm or one.type == "address"
    return {
        "autoNumber": one.auto_number,
        "calculated": one.calculated,
        "caseSensitive": False,
        "createable": may_create and not is_closed,
        "custom": one.name.endswith("__c"),
        "defaultedOnCreate": one.type == "boolean" or one.name in _ALWAYS_THERE,
        "encrypted": one.type == "encryptedstring",
        "externalId": one.external_id,
        "extraTypeInfo": "personname" if one.name == "Name" and one.system else None,
        "filterable": one.is_filterable,
        "idLookup": one.type == "id" or one.external_id,
        "label": one.name.removesuffix("__c").replace("_", " "),
        "length": one.length,
        "name": one.name,
        "nameField": one.name == "Name",
        "nillable": not one.required and one.type != "boolean" and one.name not in _NEVER_EMPTY,
        "permissionable": not one.system and not one.required and one.name != "OwnerId",
        "picklistValues": [
            {"active": True, "defaultValue": False, "label": choice, "validFor": None, "value": choice}
            for choice in one.choices
        ],
        "precision": 18 if one.type in {"currency", "double", "percent"} else 0,
        "referenceTo": list(one.refers_to),
        "relationshipName": one.relation,
        "restrictedPicklist": one.restricted,
        "sortable": one.is_filterable,
        "type": one.type,
        "unique": one.unique,
        "updateable": may_update and not is_closed and not one.create_only,
    }  # fmt: skip
