"""A new lead as the text of a mail: "Name: value" lines, or ADF 1.0.

ADF (Auto-lead Data Format, 1999) has no page of its own any more; what stands here is what dealer,
RV and powersport CRMs describe for their lead inboxes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from shared.domain.schema import Scalar, rfc3339

SOURCE: Final = "Countersign"
_PARTS: Final = {"first_name": "first", "last_name": "last"}
_PLACES: Final = {"address": "street", "city": "city", "postal_code": "postalcode"}
# XML 1.0 cannot hold these, and no mail needs them.
_UNPRINTABLE: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_lines(change_id: str, fields: Mapping[str, Scalar], *_: object) -> str:
    """One line a field: no value can begin another."""
    lines = [f"{_label(name)}: {_one_line(value)}" for name, value in _given(fields)]
    return "\n".join([*lines, f"Reference: {change_id}", f"Source: {SOURCE}", ""])


def as_adf(change_id: str, fields: Mapping[str, Scalar], at: datetime, vendor: str) -> str:
    """One ``prospect``; its id is the change's, so that a second one can be told."""
    root = Element("adf")
    prospect = SubElement(root, "prospect", status="new")
    _put(prospect, "id", change_id, source=SOURCE, sequence="1")
    _put(prospect, "requestdate", rfc3339(at))
    customer = SubElement(prospect, "customer")
    contact = SubElement(customer, "contact")
    _contact(contact, dict(_given(fields)))
    if rest := _rest(fields):
        _put(customer, "comments", rest)
    _put(SubElement(prospect, "vendor"), "vendorname", vendor)
    _put(SubElement(prospect, "provider"), "name", SOURCE, part="full")
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<?adf version="1.0"?>\n{_text(root)}\n'


def _contact(contact: Element, fields: Mapping[str, str]) -> None:
    for name, part in _PARTS.items():
        if name in fields:
            _put(contact, "name", fields[name], part=part)
    for name in ("email", "phone"):
        if name in fields:
            _put(contact, name, fields[name])
    if places := [name for name in _PLACES if name in fields]:
        address = SubElement(contact, "address")
        for name in places:
            _put(address, _PLACES[name], fields[name])


def _rest(fields: Mapping[str, Scalar]) -> str:
    told = {*_PARTS, *_PLACES, "email", "phone"}
    return "\n".join(
        f"{_label(name)}: {_one_line(value)}" for name, value in _given(fields) if name not in told
    )


def _given(fields: Mapping[str, Scalar]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in fields.items() if value not in {None, ""}]


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _one_line(value: str) -> str:
    return " ".join(_UNPRINTABLE.sub("", value).split())


def _put(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = _UNPRINTABLE.sub("", text)


def _text(root: Element) -> str:
    return tostring(root, encoding="unicode")
