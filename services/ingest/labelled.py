"""Forms sent as a mail, by their shape: ``Label: value``, cells side by side, or line under line.

No builder of forms is known by name here; a text is a form where labels that we know name a person
and a way to reach them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.ingest.addresses import address_of
from shared.labels import field_of, is_message_label

LONGEST_FORM = 100_000
MAX_FIELDS = 60
LONGEST_LABEL = 60
# Above its first field a form has a heading at most; a letter has more.
LONGEST_HEADING = 6
LEAST_FIELDS = 3
_PAIR = re.compile(
    rf"[*•\s-]{{0,6}}(?P<label>[^\n\t:：*]{{1,{LONGEST_LABEL}}})\*{{0,2}}\s?(?:[:：]\*{{0,2}}|\t)\s*"
    r"(?P<value>.*)"
)
_LINKED = re.compile(r"\s?[<\[](?:mailto|tel):[^<>\[\]]{0,300}[>\]]")
_SENDERS = frozenset({"from", "von", "de", "da", "van", "od"})
_NAMES = frozenset({"name", "first_name", "last_name"})
_REACH = frozenset({"email", "phone"})
_OF_A_MAIL = frozenset({"subject", "body", "signature", "quoted"})


@dataclass(kw_only=True)
class Form:
    """``fields`` by label as it was written; ``message`` and ``rest`` are lines."""

    fields: dict[str, str] = field(default_factory=dict)
    message: list[str] = field(default_factory=list)
    rest: list[str] = field(default_factory=list)
    heading: int | None = None

    def add(self, label: str, value: str) -> None:
        """The first under a label is the one that counts; more of it are kept beside it."""
        name = f"{label} (field)" if label in _OF_A_MAIL else label
        if name in self.fields:
            name = f"{label} ({len(self.fields) + 1})"
        if len(self.fields) < MAX_FIELDS and value:
            self.fields[name] = value
        elif value:
            self.rest.append(f"{label}: {value}")

    @property
    def is_form(self) -> bool:
        known = {field_of(label) for label in self.fields} - {None}
        enough = len(known) + bool(self.message) >= LEAST_FIELDS
        is_above = self.heading is not None and self.heading <= LONGEST_HEADING
        return enough and is_above and bool(known & _NAMES) and bool(known & _REACH)


def read_form(text: str) -> Form | None:
    """The form that a mail's own text is; ``None``: it is a letter, or too long for a form."""
    if len(text) > LONGEST_FORM:
        return None
    lines = [line.strip(" \r") for line in text.split("\n")]
    form = Form()
    place = 0
    while place < len(lines):
        place = _read(lines, place, form)
    return form if form.is_form else None


def _read(lines: Sequence[str], place: int, form: Form) -> int:
    """Read what begins at this line; returns where to go on."""
    line = lines[place]
    label, value = _pair(line)
    is_message = is_message_label(label)
    if not label or not (value or is_message or field_of(label)):
        form.rest.append(line)
        return place + 1
    if form.heading is None and (field_of(label) or is_message or _named_sender(label, value)):
        form.heading = sum(bool(text) for text in lines[:place])
    if is_message:
        return _message(lines, place + 1, value, form)
    if value:
        _add(form, label, value)
        return place + 1
    return _value_below(lines, place + 1, label, form)


def _pair(line: str) -> tuple[str, str]:
    """Label and value of a line; a line that is a label we know and nothing else has no value."""
    if found := _PAIR.fullmatch(line):
        value = _LINKED.sub("", found["value"]).replace("\t", " ").strip()
        is_address = found["label"].lower() in {"http", "https"}
        return ("", "") if is_address else (found["label"].strip(), value)
    alone = line.strip("*• ").strip()
    is_known = len(alone) <= LONGEST_LABEL and (field_of(alone) or is_message_label(alone))
    return (alone, "") if is_known else ("", "")


def _add(form: Form, label: str, value: str) -> None:
    if named := _named_sender(label, value):
        form.add("name", named[0])
        form.add("email", named[1])
    else:
        form.add(label, value)


def _named_sender(label: str, value: str) -> tuple[str, str] | None:
    """``From: Jane Doe <jane@example.org>`` at the head of a form."""
    name, address = address_of(value) if label.lower() in _SENDERS else (None, None)
    return (name, address) if name and address and "@" in address else None


def _value_below(lines: Sequence[str], place: int, label: str, form: Form) -> int:
    """The next line with text, unless that is a label itself: then the field was left empty."""
    while place < len(lines) and not lines[place]:
        place += 1
    if place == len(lines) or _is_label(lines[place]):
        return place
    form.add(label, _LINKED.sub("", lines[place]).replace("\t", " ").strip())
    return place + 1


def _message(lines: Sequence[str], place: int, first: str, form: Form) -> int:
    """All lines up to the next label that we know."""
    form.message += [first] if first else []
    while place < len(lines) and not _is_label(lines[place]):
        form.message.append(lines[place])
        place += 1
    return place


def _is_label(line: str) -> bool:
    label, _ = _pair(line)
    return bool(label) and (field_of(label) is not None or is_message_label(label))
