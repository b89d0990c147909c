"""Our words as the inputs of Jobber's mutations; pure, and with none of their delete lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from shared.crm.jobber import NAMES
from shared.crm.jobber_fields import ADDRESS, CUSTOM, TABLE, UNWRITABLE_TYPES
from shared.crm.transport import understood
from shared.domain.schema import Scalar
from shared.errors import Rejected

# List of Jobber, its value, by our name.
_LISTS: Final = {"email": ("emails", "address"), "phone": ("phones", "number")}
_ADDRESS_PARTS: Final = ("street1", "street2", "city", "province", "postalCode", "country")
_CUSTOM_VALUES: Final = {
    "TEXT": "valueText",
    "NUMERIC": "valueNumeric",
    "TRUE_FALSE": "valueTrueFalse",
    "DROPDOWN": "valueDropdown",
}
_FIELDS: Final = {
    object_type: frozenset(name for name, _, class_ in rows if class_ is None)
    for object_type, rows in TABLE.items()
}
# The fields that can be written at all, whatever a policy says.
OPEN: Final[Mapping[str, Callable[[str], bool]]] = {
    "clients": lambda name: name in _FIELDS["clients"] or name.startswith(CUSTOM),
    "requests": lambda name: name in _FIELDS["requests"],
}


def request_edit(fields: Mapping[str, Scalar]) -> dict[str, Any]:
    return {name: _plain(name, value) for name, value in fields.items()}


def client_edit(
    fields: Mapping[str, Scalar], client: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """``client`` gives the ids and the address that are there, asked only where needed.

    Raises `Rejected` for what Jobber could only do by deleting, and for a closed custom field.
    """
    plain = {name: value for name, value in fields.items() if _is_plain(name)}
    made: dict[str, Any] = {name: _plain(name, value) for name, value in plain.items()}
    if len(plain) == len(fields):
        return made
    live = client()
    with understood():
        for name in _LISTS.keys() & fields.keys():
            made |= _in_list(name, fields[name], live)
        if any(name.startswith(ADDRESS) for name in fields):
            made["billingAddress"] = _address(fields, live)
        if customs := list(_customs(fields, live)):
            made["customFields"] = customs
    return made


def new_client(fields: Mapping[str, Scalar], *, carrier: str, change_id: str) -> dict[str, Any]:
    """A client from our words. Raises `Rejected` naming what Jobber has no field for."""
    given = {name: str(value) for name, value in fields.items() if value not in {None, ""}}
    if unknown := sorted(given.keys() - NAMES.keys()):
        raise Rejected(f"Jobber has no field for {', '.join(unknown)} of a client")
    made: dict[str, Any] = {
        "customFields": [{"customFieldConfigurationId": carrier, "valueText": change_id}]
    }
    for name, value in given.items():
        theirs = NAMES[name]
        if name in _LISTS:
            list_, inner = _LISTS[name]
            made[list_] = [{"description": "MAIN", inner: value, "primary": True}]
        elif theirs.startswith(ADDRESS):
            made.setdefault("billingAddress", {})[theirs.removeprefix(ADDRESS)] = value
        else:
            made[theirs] = value
    return made


def _is_plain(name: str) -> bool:
    return name not in _LISTS and not name.startswith((ADDRESS, CUSTOM))


def _plain(name: str, value: Scalar) -> str | None:
    """An emptied text is an empty one; a form of address is none."""
    if name == "title" and value is None:
        return None
    return "" if value is None else str(value)


def _in_list(name: str, value: Scalar, live: Mapping[str, Any]) -> dict[str, Any]:
    """The primary one is edited, by its id; all others stay as they are."""
    list_, inner = _LISTS[name]
    if not value:
        raise Rejected(f"emptying the {name} would be a delete: Jobber's people do that")
    first = next((one for one in live[list_] if one["primary"]), None)
    if first is None:
        new = {"description": "MAIN", inner: str(value), "primary": True}
        return {f"{list_}ToAdd": [new]}
    return {f"{list_}ToEdit": [{"id": first["id"], inner: str(value)}]}


def _address(fields: Mapping[str, Scalar], live: Mapping[str, Any]) -> dict[str, str]:
    """The whole address, since nobody says what Jobber does with parts that are not given."""
    there = live["billingAddress"] or {}
    kept = {part: there.get(part) or "" for part in _ADDRESS_PARTS}
    new = {
        name.removeprefix(ADDRESS): "" if value is None else str(value)
        for name, value in fields.items()
        if name.startswith(ADDRESS)
    }
    return {part: value for part, value in {**kept, **new}.items() if value or part in new}


def _customs(fields: Mapping[str, Scalar], live: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    configurations = {row["name"]: row for row in live["configurations"]}
    there = {row["label"]: row["id"] for row in live["customFields"]}
    for name, value in fields.items():
        if not name.startswith(CUSTOM):
            continue
        row = configurations.get(name.removeprefix(CUSTOM))
        if row is None or row["readOnly"] or row["valueType"] in UNWRITABLE_TYPES:
            raise Rejected(f"never written to clients of Jobber: {name}")
        known = {"id": there[row["name"]]} if there.get(row["name"]) else {}
        yield {
            **known,
            "customFieldConfigurationId": row["id"],
            _CUSTOM_VALUES[row["valueType"]]: _custom(row["valueType"], name, value),
        }


def _custom(value_type: str, name: str, value: Scalar) -> str | float | bool | None:
    if value_type == "TRUE_FALSE":
        if not isinstance(value, bool):
            raise Rejected(f"{name} is yes or no")
        return value
    if value_type != "NUMERIC":
        return "" if value is None else str(value)
    try:
        number = float(str(value))
    except ValueError as error:
        raise Rejected(f"{name} is a number") from error
    if not math.isfinite(number):
        raise Rejected(f"{name} is a number")
    return number
