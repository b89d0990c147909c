"""What HubSpot keeps of a record's past: versions of its properties, and the activities beside it.

https://developers.hubspot.com/docs/api-reference/crm-notes-v3/guide
https://developers.hubspot.com/docs/guides/crm/understanding-the-crm
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any, Final

from shared.crm.hubspot_objects import Row
from shared.crm.metadata import CrmChange
from shared.domain.record import HistoryItem, RecordRef
from shared.domain.schema import Scalar, parse_instant

# Per kind of activity: our word for it, and its properties in the order in which they are told.
ACTIVITIES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "notes": ("note", ("hs_note_body",)),
    "tasks": ("task", ("hs_task_subject", "hs_task_body", "hs_task_status")),
    "calls": ("call", ("hs_call_title", "hs_call_body")),
    "meetings": ("meeting", ("hs_meeting_title", "hs_meeting_body")),
    "emails": ("mail", ("hs_email_subject", "hs_email_text")),
    "deals": ("deal", ("dealname", "dealstage")),
}
AT: Final = "hs_timestamp"
_MARK = "Countersign change {}"
_MARKED = re.compile(r"Countersign change ([A-Za-z0-9-]{1,100})(?![A-Za-z0-9-])")
_OURS = re.compile(r"<p>((?:[^<]|<br>)*)</p><p>Countersign change [A-Za-z0-9-]+</p>")
_BREAKS = frozenset({"br", "p", "div", "li", "tr"})


def note_body(text: str, change_id: str) -> str:
    """A note as HubSpot keeps it: HTML that says nothing but the text, and the change id."""
    shown = html.escape(text).replace("\n", "<br>")
    return f"<p>{shown}</p><p>{_MARK.format(html.escape(change_id))}</p>"


def text_in(body: str) -> str:
    """The text of a note of ours as it was given, or its words where HubSpot cleaned it."""
    shown = _OURS.fullmatch(body)
    if shown is None:
        return plain(body).rpartition("\n")[0]
    return html.unescape(shown[1].replace("<br>", "\n"))


def change_id_of(body: Any) -> str | None:
    """The change that a note carries, if it is one of ours."""
    found = _MARKED.findall(plain(str(body or "")))
    return found[-1] if found else None


def plain(body: str) -> str:
    """The text of a note, without its markup."""
    words = _Words()
    words.feed(body)
    words.close()
    lines = (" ".join(line.split()) for line in "".join(words.parts).split("\n"))
    return "\n".join(line for line in lines if line)


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def activity(kind: str, row: Row, stages: Mapping[str, str]) -> HistoryItem:
    """One note, task, call, meeting, mail or deal in words."""
    word, names = ACTIVITIES[kind]
    properties = row["properties"]
    said = (plain(str(properties[name])) for name in names if properties.get(name))
    text = ": ".join(stages.get(one, one) if kind == "deals" else one for one in said)
    return HistoryItem(
        at=parse_instant(properties.get(AT) or row["createdAt"]), kind=word, text=text
    )


def versions(
    ref: RecordRef,
    row: Row,
    name_of: Callable[[str], str],
    *,
    only: Callable[[Row], bool] = lambda _: True,
) -> Iterator[CrmChange]:
    """These versions of each property, each against the one before it.

    HubSpot gives the newest first, at most 45 of a contact's property and 20 of the others'.
    """
    for name, history in row["propertiesWithHistory"].items():
        for new, old in pairwise([*history, {}]):
            if not only(new):
                continue
            yield CrmChange(
                ref=ref,
                kind="field",
                field=name,
                old=value_of(old.get("value")),
                new=value_of(new["value"]),
                at=parse_instant(new["timestamp"]),
                by=_author(new, name_of),
                change_id=None,
            )


def value_of(value: Any) -> Scalar:
    """HubSpot keeps strings, and an emptied one is no value."""
    return None if value is None or value == "" else str(value)


def in_words(change: CrmChange, stages: Mapping[str, str]) -> HistoryItem:
    values = [
        "nothing" if value is None else stages.get(str(value), str(value))
        for value in (change.old, change.new)
    ]
    text = f"{change.by}: {change.field} from {values[0]} to {values[1]}"
    return HistoryItem(at=change.at, kind="change", text=text)


def _author(version: Row, name_of: Callable[[str], str]) -> str:
    """The person by name where HubSpot tells it, else what kind of source it was."""
    if user := version.get("updatedByUserId"):
        return name_of(str(user))
    kind = str(version.get("sourceType") or "unknown").replace("_", " ").lower()
    return " ".join(part for part in (kind, str(version.get("sourceId") or "")) if part)
