"""ADF 1.0, the motor trade's lead: read leniently, since what is sent as such is seldom valid XML.

The official example is not either; tags stay open, dates end in ``-08:0``, comments hold markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from services.ingest.html_text import visible_text

LONGEST = 500
LONGEST_COMMENTS = 50_000
_BEGIN = re.compile(r"(?i)<\?adf\b|<adf\b|<prospect\b")
_DECLARATION = re.compile(r"(?i)<\?xml[^<>]{0,300}>|<!doctype[^<>]{0,300}>")
_END = re.compile(r"(?i)</adf\s*>|</prospect\s*>")
_COMMENTS = re.compile(r"(?i)<comments\b[^<>]{0,300}>")
_COMMENTS_END = re.compile(
    r"(?i)</comments\s*>|<(?:/customer|/?vendor|/?provider|/prospect|/adf)\b"
)
_CUSTOMER = re.compile(r"(?i)<customer\b")
_CUSTOMER_END = re.compile(r"(?i)</customer\s*>|<vendor\b|<provider\b|</prospect\b|</adf\b")
_VEHICLE = re.compile(r"(?i)<vehicle\b")
_VEHICLE_END = re.compile(r"(?i)</vehicle\s*>|<customer\b")
_ELEMENT = re.compile(
    r"<([A-Za-z]{2,20})\b([^<>]{0,300})>\s*"
    rf"(?:<!\[CDATA\[([^\]]{{0,{LONGEST}}})\]\]>|([^<]{{1,{LONGEST}}}))"
)
_PART = re.compile(r"""(?i)\bpart\s*=\s*["']?(\w+)""")
_CDATA = re.compile(r"<!\[CDATA\[|\]\]>")
_NAMES = {"first": "first name", "last": "last name", "full": "name", "": "name"}
_LABELS = {
    "email": "email",
    "phone": "phone",
    "street": "street",
    "city": "city",
    "postalcode": "postal code",
}


def holds_adf(text: str) -> bool:
    """Whether a lead of this kind begins in a text."""
    return bool(_BEGIN.search(text))


def read_adf(text: str) -> tuple[dict[str, str], str, dict[str, str]] | None:
    """Fields of the customer by label, the comments with what stands above the lead, and facts;
    ``None``: it is no ADF.
    """
    begin = _BEGIN.search(text)
    if begin is None:
        return None
    lead, comments = _without_comments(_up_to(text[begin.start() :], _END))
    above = _DECLARATION.sub("", text[: begin.start()]).strip()
    fields: dict[str, str] = {}
    for label, value in _customer(_within(lead, _CUSTOMER, _CUSTOMER_END)):
        fields.setdefault(label, value)
    if not fields:
        return None
    if vehicle := _vehicle(_within(lead, _VEHICLE, _VEHICLE_END)):
        fields["vehicle"] = vehicle
    dates = (value for name, _, value in _elements(lead) if name == "requestdate")
    date = next(dates, "")
    message = "\n\n".join(filter(None, (above, comments)))
    return fields, message, {"form": "adf", **({"request_date": date} if date else {})}


def _customer(text: str) -> Iterator[tuple[str, str]]:
    for name, attributes, value in _elements(text):
        if name == "name":
            part = _PART.search(attributes)
            yield _NAMES.get(part[1].lower() if part else "", "other name"), value
        elif name in _LABELS:
            yield _LABELS[name], value


def _vehicle(text: str) -> str:
    found = {name: value for name, _, value in reversed(list(_elements(text)))}
    return " ".join(found[name] for name in ("year", "make", "model") if name in found)


def _elements(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, attributes and text of the elements that hold text, closed or not."""
    for match in _ELEMENT.finditer(text):
        value = " ".join(unescape(match[3] if match[3] is not None else match[4]).split())
        if value:
            yield match[1].lower(), match[2], value


def _without_comments(text: str) -> tuple[str, str]:
    """The lead without its comments, in which anything may stand, and their visible text."""
    begin = _COMMENTS.search(text)
    if begin is None:
        return text, ""
    end = _COMMENTS_END.search(text, begin.end())
    until = end.start() if end else len(text)
    written = _CDATA.sub("", text[begin.end() : until])
    shown = visible_text(written[:LONGEST_COMMENTS].replace("\n", "<br>"))[0]
    return text[: begin.start()] + text[until:], shown


def _within(text: str, begin: re.Pattern[str], end: re.Pattern[str]) -> str:
    found = begin.search(text)
    return _up_to(text[found.start() :], end) if found else ""


def _up_to(text: str, end: re.Pattern[str]) -> str:
    found = end.search(text)
    return text[: found.start()] if found else text
