"""What the scopes of each vendor allow, so that a credential can be held against a policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Rights:
    """``read`` and ``write`` name the scopes that an object type needs.

    ``written`` are the object types whose fields our writer can change at all.
    ``appends`` names what notes and tasks need beyond the write scopes of their record, ``untold``
    matches what it may be where the vendor does not name it. ``limits`` are words on what notes and
    tasks cannot do here.
    ``changing`` matches every scope that allows to change anything. ``beside`` are scopes of the
    writer for new people, which no policy lists. ``keeps_drafts`` tells that drafts lie in the CRM
    itself. ``carries`` says what a write scope of this vendor takes along and cannot be
    narrowed; ``checklist`` is what only the admin can see.
    """

    read: Callable[[str], frozenset[str]]
    write: Callable[[str], frozenset[str]]
    changing: re.Pattern[str]
    written: frozenset[str]
    appends: Mapping[str, frozenset[str]] = field(default_factory=dict)
    untold: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()
    keeps_drafts: bool = False
    carries: str = ""
    checklist: tuple[str, ...] = ()


def _named(template: str) -> Callable[[str], frozenset[str]]:
    return lambda object_type: frozenset({template.format(object_type)})


# Pipedrive's scopes speak of contacts where its objects are people and organizations.
_PIPEDRIVE: Mapping[str, str] = {"persons": "contacts", "organizations": "contacts"}
# ServiceTitan's jobs belong to another area of its API than its customers.
_AREAS: Mapping[str, str] = {"jobs": "jpm"}
_TWO_CREDENTIALS = "Reader and writer are two credentials, so that what reads can never write."

RIGHTS: Mapping[str, Rights] = {
    "demo": Rights(
        read=_named("{}:read"),
        write=_named("{}:write"),
        changing=re.compile(r":write$"),
        written=frozenset({"contacts", "deals"}),
        # Its one token cannot be narrowed.
        beside=frozenset(
            f"{one}:write" for one in ("contacts", "deals", "drafts", "notes", "tasks")
        ),
        appends={"notes": frozenset({"notes:write"}), "tasks": frozenset({"tasks:write"})},
        keeps_drafts=True,
    ),
    "hubspot": Rights(
        read=_named("crm.objects.{}.read"),
        write=_named("crm.objects.{}.write"),
        changing=re.compile(r"\.write$|^(automation|settings\.|crm\.(export|import))"),
        written=frozenset({"contacts", "companies", "deals"}),
        beside=frozenset({"crm.objects.contacts.write"}),
        # What was appended is looked for before anything is appended again.
        appends=dict.fromkeys(
            ("notes", "tasks"),
            frozenset({"crm.objects.contacts.read", "crm.objects.contacts.write"}),
        ),
        carries=(
            "A HubSpot write scope also deletes and merges: our writer has no such call, and its "
            "table of calls is a test."
        ),
        checklist=(
            _TWO_CREDENTIALS,
            "Both are service keys or apps of their own, not a person's login.",
            "Field-level permissions are set for the properties nobody but people may change.",
            "Rotation of the keys stands in the calendar.",
        ),
    ),
    "salesforce": Rights(
        read=_named("{}:read"),
        write=_named("{}:update"),
        changing=re.compile(r":(create|update|delete|undelete|merge)$"),
        written=frozenset({"accounts", "cases", "contacts", "leads", "opportunities"}),
        beside=frozenset({"contacts:create", "leads:create", "tasks:create"}),
        # A note is a completed task there.
        appends=dict.fromkeys(("notes", "tasks"), frozenset({"tasks:create"})),
        checklist=(
            "Two users with the Salesforce Integration licence: one reads, one writes.",
            "Profile “Minimum Access - API Only Integrations”; rights by permission sets alone.",
            "Field-level security shows edit for the listed fields and no others.",
            "No Delete, no View All, no Modify All on any object.",
        ),
    ),
    "pipedrive": Rights(
        read=lambda type_: frozenset({f"{_PIPEDRIVE.get(type_, type_)}:read"}),
        write=lambda type_: frozenset({f"{_PIPEDRIVE.get(type_, type_)}:full"}),
        changing=re.compile(r":full$|^admin"),
        written=frozenset({"persons", "leads", "deals", "organizations", "activities"}),
        beside=frozenset({"contacts:full", "leads:full"}),
        appends={"tasks": frozenset({"activities:full"})},
        carries="A Pipedrive “full” scope also deletes: our writer has no such call.",
        checklist=(
            "OAuth for the reader: an API token has all rights of its user.",
            "A user of its own with a narrow permission set, if there is no way around a token.",
            _TWO_CREDENTIALS,
        ),
    ),
    "jobber": Rights(
        read=_named("read_{}"),
        write=_named("write_{}"),
        changing=re.compile(r"^write_"),
        written=frozenset({"clients", "requests"}),
        beside=frozenset({"write_clients", "write_requests"}),
        checklist=(
            "Two apps in the Developer Center: one with read scopes, one with the write scopes.",
            "The refresh token rotates: nothing else uses the same grant.",
        ),
    ),
    "servicetitan": Rights(
        read=lambda type_: frozenset({f"tn.{_AREAS.get(type_, 'crm')}.{type_}:r"}),
        write=lambda type_: frozenset({f"tn.{_AREAS.get(type_, 'crm')}.{type_}:w"}),
        changing=re.compile(r":w$"),
        written=frozenset({"customers", "leads", "bookings", "jobs"}),
        beside=frozenset({"tn.crm.bookings:w", "tn.crm.leads:w"}),
        untold={"tasks": re.compile("task", re.IGNORECASE)},
        limits={
            "tasks": (
                "ServiceTitan names no scope for tasks: any that speaks of tasks is taken for it.",
            ),
        },
        checklist=(
            "Two apps with scopes per API area: View for the reader, Modify for the writer.",
            "Tried in the integration environment before production.",
        ),
    ),
    "handoff": Rights(
        read=lambda _: frozenset(),
        write=lambda _: frozenset(),
        changing=re.compile(r"(?!)"),
        written=frozenset({"people"}),
        checklist=(
            "A person or a flow of your own enters what is handed over: nothing is read back.",
            "The address of a hook is a secret; the call-back has a secret of its own.",
        ),
    ),
}
