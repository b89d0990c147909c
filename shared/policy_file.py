"""The form of ``policy.toml``: every fault is named with its line and field, all at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from shared.domain.schema import Whole
from shared.errors import ConfigurationError
from shared.values import ValueType

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MODES = ("never", "review", "two_person", "notify")
STAGES = ("dry-run", "sandbox", "live")
# Support and auditors only look; naming them as approvers is a mistake.
APPROVING_ROLES = ("approver", "admin")
URGENCIES = ("low", "normal", "high")
INTENTS = (
    "contact_change",
    "new_lead",
    "complaint",
    "appointment",
    "cancellation",
    "invoice",
    "auto_reply",
    "spam",
    "unsubscribe",
    "thanks",
    "record_change",
    "other",
)
_NAME = validate.Regexp(r"^[A-Za-z][A-Za-z0-9_.-]{0,79}$", error="is no plain name")
# A field of one's own may begin with a digit: Pipedrive's are forty hexadecimal signs.
_FIELD = validate.Regexp(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$", error="is no plain name")
# What is appended to a record has these fields and no others, each of this type.
APPENDED_FIELDS: Final = {
    "notes": {"text": ValueType.TEXT},
    "tasks": {"subject": ValueType.TEXT, "due": ValueType.DATE},
}
_CLOCK = validate.Regexp(r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$", error="is no time like 09:00")
_COUNT = validate.Range(min=0, max=1_000_000, error="must be from 0 to 1000000")
_SOME = validate.Range(min=1, max=1_000_000, error="must be from 1 to 1000000")
_HEADER = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$")
_KEY = re.compile(r"^\s*(\"[^\"]+\"|'[^']+'|[A-Za-z0-9_-]+)\s*=")


class Table(Schema):
    class Meta:
        unknown = RAISE


class Text(fields.Field[str]):
    """Text and nothing that could be turned into text."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("must be text in quotes")
        return value


def _words(**more: Any) -> fields.List[Any]:
    return fields.List(Text(), **more)


class OfficeTable(Table):
    zone = Text(load_default="")
    weekdays = fields.List(
        Text(validate=validate.OneOf(WEEKDAYS)),
        load_default=list(WEEKDAYS[:5]),
        validate=validate.Length(min=1, error="names no day: the clock would stand still"),
    )
    opens = Text(load_default="09:00", validate=_CLOCK)
    closes = Text(load_default="17:00", validate=_CLOCK)
    holidays = Text(load_default="")


class CompanyTable(Table):
    name = Text(load_default="")
    region = Text(
        load_default="US",
        validate=validate.Regexp(r"^[A-Z]{2}$", error="is no country code like US"),
    )
    domains = _words(load_default=list)
    emails = _words(load_default=list)
    phones = _words(load_default=list)


class BudgetTable(Table):
    tokens_per_hour = Whole(load_default=200_000, validate=validate.Range(min=0))
    tokens_per_day = Whole(load_default=1_000_000, validate=validate.Range(min=0))
    tokens_per_sender = Whole(load_default=50_000, validate=validate.Range(min=0))


class TwoPersonTable(Table):
    cooling_off_minutes = Whole(load_default=15, validate=_SOME)


class RouteTable(Table):
    title = Text(required=True, validate=validate.Length(min=1, max=80))


class IntentTable(Table):
    route = Text(required=True)
    urgency = Text(load_default="normal", validate=validate.OneOf(URGENCIES))


class UrgencyTable(Table):
    high = _words(load_default=list)


class DefaultsTable(Table):
    stage = Text(load_default="dry-run", validate=validate.OneOf(STAGES))
    roles = fields.List(
        Text(validate=validate.OneOf(APPROVING_ROLES)),
        load_default=["approver"],
        validate=validate.Length(min=1, error="nobody could approve"),
    )
    expiry_hours = Whole(load_default=16, validate=_SOME)
    per_hour = Whole(load_default=20, validate=_COUNT)
    per_day = Whole(load_default=100, validate=_COUNT)


class FieldTable(Table):
    mode = Text(required=True, validate=validate.OneOf(MODES))
    type = Text(required=True, validate=validate.OneOf([kind.value for kind in ValueType]))
    reason = Text(required=True, validate=validate.Length(min=10, error="needs a reason in words"))
    max_length = Whole(load_default=None, validate=validate.Range(min=1, max=10_000))
    multiline = fields.Boolean(load_default=False, truthy={True}, falsy={False})
    allowed = _words(load_default=list)
    words = fields.Dict(keys=Text(), values=_words(), load_default=dict)
    stage = Text(validate=validate.OneOf(STAGES))
    roles = fields.List(
        Text(validate=validate.OneOf(APPROVING_ROLES)),
        validate=validate.Length(min=1, error="nobody could approve"),
    )
    expiry_hours = Whole(validate=_SOME)
    per_hour = Whole(validate=_COUNT)
    per_day = Whole(validate=_COUNT)


def _named(table: type[Schema], names: Any = _NAME) -> fields.Dict:
    return fields.Dict(keys=Text(validate=names), values=fields.Nested(table), load_default=dict)


class PolicyTables(Table):
    office = fields.Nested(OfficeTable, load_default=lambda: OfficeTable().load({}))
    company = fields.Nested(CompanyTable, load_default=lambda: CompanyTable().load({}))
    budget = fields.Nested(BudgetTable, load_default=lambda: BudgetTable().load({}))
    two_person = fields.Nested(TwoPersonTable, load_default=lambda: TwoPersonTable().load({}))
    routes = _named(RouteTable)
    intents = _named(IntentTable, validate.OneOf(INTENTS))
    urgency = fields.Nested(UrgencyTable, load_default=lambda: UrgencyTable().load({}))
    defaults = fields.Nested(DefaultsTable, load_default=lambda: DefaultsTable().load({}))
    fields_ = fields.Dict(
        keys=Text(validate=_NAME),
        values=fields.Dict(keys=Text(validate=_NAME), values=_named(FieldTable, _FIELD)),
        load_default=dict,
        data_key="fields",
        attribute="fields",
    )


def parse(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The raw tables, and the same checked and completed with defaults.

    Raises `ConfigurationError` listing every fault as ``line N: where: what``.
    """
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeError) as error:
        raise ConfigurationError(f"the policy is not TOML: {error}") from error
    faults: list[tuple[str, str]] = []
    data: dict[str, Any] = {}
    try:
        data = PolicyTables().load(raw)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call]
        faults = [(_path(parts), words) for parts, words in _flatten(messages)]
    faults += _cross_faults(data)
    if faults:
        raise ConfigurationError(_report(text, faults))
    return raw, data


def _cross_faults(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What one table says about another."""
    if not data:
        return []
    faults = [
        (f"intents.{name}.route", "is none of the routes")
        for name, intent in data["intents"].items()
        if intent["route"] not in data["routes"]
    ]
    faults += _office_faults(data["office"])
    for crm, objects in data["fields"].items():
        for object_, rules in objects.items():
            for name, rule in rules.items():
                at = f"fields.{crm}.{object_}.{name}"
                faults += [(f"{at}.{key}", words) for key, words in _field_faults(rule)]
                if object_ in APPENDED_FIELDS:
                    faults += _appended_faults(at, object_, name, rule["type"])
    return faults


def _appended_faults(at: str, object_: str, name: str, type_: str) -> Iterator[tuple[str, str]]:
    known = APPENDED_FIELDS[object_]
    if name not in known:
        yield at, f"{object_} have no such field: {', '.join(known)}"
    elif type_ != known[name]:
        yield f"{at}.type", f"is {known[name]} for {object_}"


def _office_faults(office: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if office["closes"] <= office["opens"]:
        yield "office.closes", "must be later than opens"
    if office["zone"]:
        try:
            ZoneInfo(office["zone"])
        except (KeyError, ValueError, OSError):
            yield "office.zone", "is no IANA time zone like Europe/Berlin"
    if office["holidays"] and not _has_holidays(office["holidays"]):
        yield "office.holidays", "is no country like DE, or region like DE-BY, with known holidays"


def _has_holidays(code: str) -> bool:
    import holidays

    country, _, region = code.partition("-")
    known = holidays.list_supported_countries()
    return country in known and (not region or region in known[country])


def _field_faults(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kind = rule["type"]
    if rule["mode"] == "notify":
        yield "mode", "notify needs a signed grant, and grants do not exist yet: use review"
    if kind in {"text", "email", "phone"} and rule["max_length"] is None and not rule["allowed"]:
        yield "max_length", "is missing"
    if kind == "enum" and not rule["allowed"]:
        yield "allowed", "is missing: an empty list allows nothing"
    if kind not in {"enum", "text"} and rule["allowed"]:
        yield "allowed", f"does not go with {kind}"
    if rule["multiline"] and kind != "text":
        yield "multiline", f"does not go with {kind}"
    for value in rule["words"]:
        if value not in rule["allowed"]:
            yield "words", f"{value} is not among the allowed values"


def _flatten(messages: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(messages, Mapping):
        for key, value in messages.items():
            # marshmallow puts "key" and "value" between a dictionary's key and its faults.
            yield from _flatten(value, (*path, str(key)))
    else:
        for words in messages:
            yield path, str(words)


def _path(parts: tuple[str, ...]) -> str:
    return ".".join(part for part in parts if part not in {"key", "value", "_schema"})


def _report(text: str, faults: list[tuple[str, str]]) -> str:
    lines = dict(_lines(text))
    found = sorted((_line_of(path, lines), path, words) for path, words in faults)
    listed = "\n".join(f"  line {line}: {path}: {words}" for line, path, words in found)
    return f"the policy is not valid, so nothing may be written:\n{listed}"


def _line_of(path: str, lines: Mapping[str, int]) -> int:
    """The line of the key, or of the nearest table around it."""
    while path not in lines and "." in path:
        path = path.rpartition(".")[0]
    return lines.get(path, 1)


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Dotted path → line, by reading headers and keys; only messages depend on it."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header[1].replace('"', "")
            yield table, number
        elif key := _KEY.match(line):
            name = key[1].strip("\"'")
            yield (f"{table}.{name}" if table else name), number
