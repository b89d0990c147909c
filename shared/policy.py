"""What may be written at all: the rules of ``policy.toml``, closed wherever nothing is said.

The classifier's guard and the writer's gate read the same file; its version is its hash.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from shared.canonical import digest
from shared.domain.classification import Urgency
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError
from shared.office import Office, host_zone
from shared.policy_file import APPENDED_FIELDS, INTENTS, WEEKDAYS, parse
from shared.values import ValueType, fault, folded

# Where an intent has no route of its own, a person sorts it.
FALLBACK_ROUTE = "inbox"
# Classes of fields that no policy can open, as the CRM's metadata names them (``read_only`` is
# also a flag of its own there).
CLOSED_CLASSES = frozenset({"money", "owner", "consent", "permission", "stage", "sensitive"})


class Mode(StrEnum):
    """How a field may be written; ``notify`` is reserved until grants exist."""

    NEVER = "never"
    REVIEW = "review"
    TWO_PERSON = "two_person"
    NOTIFY = "notify"


class Stage(StrEnum):
    """How far a change of the field goes."""

    DRY_RUN = "dry-run"
    SANDBOX = "sandbox"
    LIVE = "live"


@dataclass(frozen=True, kw_only=True)
class FieldRule:
    """One field of one object type. ``expiry_hours`` are working hours; caps count writes.

    ``words`` say, for a closed list, by which words of a text each value is meant.
    """

    crm: str
    object: str
    name: str
    mode: Mode
    stage: Stage
    type: ValueType
    max_length: int | None
    multiline: bool
    allowed: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    roles: tuple[str, ...]
    expiry_hours: int
    per_hour: int
    per_day: int
    reason: str

    @property
    def is_open(self) -> bool:
        """Whether a change may be proposed at all."""
        return self.mode is not Mode.NEVER


@dataclass(frozen=True, kw_only=True)
class Route:
    name: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Where an intent goes, and how soon somebody should look."""

    route: str
    urgency: Urgency


@dataclass(frozen=True, kw_only=True)
class Company:
    """Who we are: our own addresses and numbers are never a customer's. ``region`` is ISO 3166."""

    name: str
    region: str
    domains: frozenset[str]
    emails: frozenset[str]
    phones: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Tokens the model may use; over it the rules answer alone. ``tokens_per_sender`` is daily."""

    tokens_per_hour: int
    tokens_per_day: int
    tokens_per_sender: int


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One version of the policy. ``version`` is the SHA-256 of its canonical content."""

    version: str
    office: Office
    company: Company
    budget: Budget
    cooling_off_minutes: int
    routes: Mapping[str, Route]
    intents: Mapping[str, Routing]
    urgent_words: tuple[str, ...]
    fields: Mapping[tuple[str, str, str], FieldRule]
    text: str

    def rule(self, crm: str, object_: str, name: str) -> FieldRule | None:
        """The rule of a field, or ``None``: what is not listed is closed."""
        return self.fields.get((crm, object_, name))

    def open_fields(self, crm: str, object_: str) -> tuple[FieldRule, ...]:
        """The fields of an object type that a change may be proposed for, by name."""
        found = [r for r in self.fields.values() if (r.crm, r.object) == (crm, object_)]
        return tuple(sorted((r for r in found if r.is_open), key=lambda rule: rule.name))

    def routing(self, intent: str) -> Routing:
        """Where an intent goes; to a person's inbox where the policy does not say."""
        known = self.intents.get(intent)
        return known or Routing(route=FALLBACK_ROUTE, urgency=Urgency.NORMAL)


class DescribedField(Protocol):
    """What a connector's metadata says of one field; each reader in `shared.crm` gives these."""

    @property
    def name(self) -> str: ...
    @property
    def field_class(self) -> str | None: ...
    @property
    def read_only(self) -> bool: ...


Metadata = Mapping[tuple[str, str], Iterable[DescribedField]]


def check(rule: FieldRule, value: Scalar) -> str | None:
    """Why ``value`` may not stand in the field, in words; ``None``: it may.

    ``None`` clears a field and is well-formed: whether that may be proposed is not asked here.
    """
    if not rule.is_open:
        return "the policy never allows a change of this field"
    if value is None:
        return None
    if problem := fault(rule.type, value, multiline=rule.multiline):
        return problem
    if rule.max_length is not None and isinstance(value, str) and len(value) > rule.max_length:
        return f"is longer than {rule.max_length} characters"
    if rule.allowed and value not in rule.allowed:
        return f"is none of {', '.join(rule.allowed)}"
    return None


def load_policy(source: Path | str) -> Policy:
    """The policy of a file, or of TOML text. Empty text is a policy that allows nothing.

    Raises `ConfigurationError` naming each fault by line and field, all at once.
    """
    if isinstance(source, Path):
        try:
            source = source.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(f"the policy file cannot be read: {source}") from error
    return _built(source)


@functools.lru_cache(maxsize=8)
def _built(text: str) -> Policy:
    raw, data = parse(text)
    routes = {name: Route(name=name, title=row["title"]) for name, row in data["routes"].items()}
    routes.setdefault(FALLBACK_ROUTE, Route(name=FALLBACK_ROUTE, title="Inbox"))
    return Policy(
        version=digest(raw, kind="policy/v1"),
        office=_office(data["office"]),
        company=_company(data["company"]),
        budget=Budget(**data["budget"]),
        cooling_off_minutes=data["two_person"]["cooling_off_minutes"],
        routes=routes,
        intents={
            name: Routing(route=row["route"], urgency=Urgency(row["urgency"]))
            for name, row in data["intents"].items()
        },
        urgent_words=tuple(folded(word) for word in data["urgency"]["high"]),
        fields=_fields(data["fields"], data["defaults"]),
        text=text,
    )


def _office(table: Mapping[str, Any]) -> Office:
    return Office(
        zone=table["zone"] or host_zone(),
        weekdays=frozenset(WEEKDAYS.index(day) + 1 for day in table["weekdays"]),
        opens=_minutes(table["opens"]),
        closes=_minutes(table["closes"]),
        holidays=table["holidays"] or None,
    )


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _company(table: Mapping[str, Any]) -> Company:
    return Company(
        name=table["name"],
        region=table["region"],
        domains=frozenset(name.lower() for name in table["domains"]),
        emails=frozenset(address.lower() for address in table["emails"]),
        phones=frozenset(table["phones"]),
    )


def _fields(
    tables: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[tuple[str, str, str], FieldRule]:
    found = {}
    for crm, objects in tables.items():
        for object_, rules in objects.items():
            for name, own in rules.items():
                table = {**defaults, **own}
                found[crm, object_, name] = FieldRule(
                    crm=crm,
                    object=object_,
                    name=name,
                    mode=Mode(table["mode"]),
                    stage=Stage(table["stage"]),
                    type=ValueType(table["type"]),
                    max_length=table["max_length"],
                    multiline=table["multiline"],
                    allowed=tuple(table["allowed"]),
                    words={value: tuple(words) for value, words in table["words"].items()},
                    roles=tuple(sorted(table["roles"])),
                    expiry_hours=table["expiry_hours"],
                    per_hour=table["per_hour"],
                    per_day=table["per_day"],
                    reason=table["reason"],
                )
    return found


def check_classes(policy: Policy, metadata: Metadata) -> list[str]:
    """Every listed field that the CRM's own metadata forbids or does not know, in words.

    ``metadata`` holds the fields of each ``(crm, object type)`` that could be read; object types
    that are not in it are not judged.
    """
    problems = []
    for (crm, object_), described in metadata.items():
        known = {field.name: field for field in described}
        for rule in policy.open_fields(crm, object_):
            field = known.get(rule.name)
            if object_ in APPENDED_FIELDS and field is None:
                problems.append(f"fields.{crm}.{object_}.{rule.name}: this CRM takes no {object_}")
            elif why := _closed_because(field):
                problems.append(f"fields.{crm}.{object_}.{rule.name}: {why}")
    return problems


def _closed_because(field: DescribedField | None) -> str | None:
    if field is None:
        return "the CRM has no such field"
    if field.read_only or field.field_class == "read_only":
        return "the CRM keeps this field itself: it is read-only"
    if field.field_class in CLOSED_CLASSES:
        return f"a {field.field_class} field cannot be listed"
    return None


__all__ = [
    "CLOSED_CLASSES",
    "FALLBACK_ROUTE",
    "INTENTS",
    "Budget",
    "Company",
    "FieldRule",
    "Mode",
    "Policy",
    "Route",
    "Routing",
    "Stage",
    "check",
    "check_classes",
    "load_policy",
]
