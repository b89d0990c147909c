"""How an account of Salesforce is reached: its objects, sign-in, limits, and what answers mean.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm
https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/headers_api_usage.htm
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.crm.accounts import Account
from shared.crm.authorization import Fetched
from shared.crm.client import Heed, heed_retry_after
from shared.crm.pace import Pace
from shared.crm.salesforce_login import Login
from shared.crm.transport import Answer
from shared.domain.record import RecordRef
from shared.errors import ConfigurationError, CRMUnavailable, NotFound, Rejected, Unavailable

# Object types as record references name them, and the CRM's own names.
SOBJECTS: Final = {
    "accounts": "Account",
    "cases": "Case",
    "contacts": "Contact",
    "events": "Event",
    "leads": "Lead",
    "opportunities": "Opportunity",
    "tasks": "Task",
}
PEOPLE: Final = {"contacts": "Contact", "leads": "Lead"}
# Whose fields people may open for writing, and what notes and tasks of ours hang on.
OPEN_TYPES: Final = ("accounts", "cases", "contacts", "leads", "opportunities")
# By the first characters of an id.
PREFIXES: Final = {
    "001": "accounts",
    "003": "contacts",
    "006": "opportunities",
    "00Q": "leads",
    "00T": "tasks",
    "00U": "events",
    "500": "cases",
}
# What stands in the subject of our notes and in the description of people that we made.
MARK: Final = "Countersign change"

DEFAULT_VERSION: Final = "v67.0"
# What an Enterprise Edition has before its users are counted.
DEFAULT_CALLS_PER_DAY: Final = 100_000
DEFAULT_SHARE: Final = 0.25
DEFAULT_LIMIT_PAUSE: Final = 60.0
_SECONDS_PER_DAY = 86_400
# How much of a day's share may be used at once: that of one hour.
_BURST_SECONDS = 3_600

_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}")
_VERSION = re.compile(r"v\d{2,3}\.0")
_MARKED = re.compile(rf"{MARK} ([A-Za-z0-9-]{{1,100}})")
_USAGE = re.compile(r"(?:^|[;,\s])api-usage=(\d{1,12})/(\d{1,12})")

# The CRM did nothing, and may do it later.
_LATER: Final = frozenset(
    {
        "REQUEST_LIMIT_EXCEEDED",
        "UNABLE_TO_LOCK_ROW",
        "SERVER_UNAVAILABLE",
        "API_CURRENTLY_DISABLED",
        "QUERY_TIMEOUT",
    }
)
_GONE: Final = frozenset({"ENTITY_IS_DELETED", "NOT_FOUND"})
_ROLLED_BACK: Final = "ALL_OR_NONE_OPERATION_ROLLED_BACK"


class NotOffered(Rejected):
    """No such object for this organisation or user: history is off, or a right is missing."""


@dataclass(frozen=True, kw_only=True)
class Connection:
    """``base_url`` is that of one version of the API; ``site`` is where people open records."""

    crm: str
    site: str
    base_url: str
    login: Login
    authorization: Fetched
    pace: Pace
    heed: Heed

    def sobject(self, ref: RecordRef) -> str:
        """The CRM's name of the record's object. Raises `NotFound` for what it cannot have."""
        if ref.crm != self.crm or ref.type not in SOBJECTS:
            raise NotFound(f"Salesforce has no {ref.crm}/{ref.type} here")
        if not _ID.fullmatch(ref.id):
            raise NotFound("that is no id of this CRM")
        return SOBJECTS[ref.type]


def connect(account: Account, timeout: float) -> Connection:
    """``timeout`` is in seconds, for one exchange. Raises `ConfigurationError`."""
    site = account.url(account.need("url"))
    version = account.options.get("version", DEFAULT_VERSION)
    if not _VERSION.fullmatch(version):
        raise ConfigurationError(f"the CRM account [{account.name}]: version is none, as in v67.0")
    login = Login.of(account, site, timeout)
    share = account.number("share", DEFAULT_SHARE)
    rate = account.number("calls_per_day", DEFAULT_CALLS_PER_DAY) * share / _SECONDS_PER_DAY
    return Connection(
        crm=account.name,
        site=site,
        base_url=f"{site}/services/data/{version}",
        login=login,
        authorization=Fetched(login.fetch),
        pace=Pace(rate, max(10.0, rate * _BURST_SECONDS)),
        heed=heed_usage(share, account.number("limit_pause", DEFAULT_LIMIT_PAUSE)),
    )


def field_option(account: Account, option: str) -> str | None:
    """The name of a field that an option gives. Raises `ConfigurationError` for what is none."""
    name = account.options.get(option)
    if name is not None and not _NAME.fullmatch(name):
        raise ConfigurationError(f"the CRM account [{account.name}]: {option} names no field")
    return name


def heed_usage(share: float, pause: float) -> Heed:
    """Never use more than ``share`` of the calls that the day has left; wait ``pause`` seconds
    where there are none.
    """

    def heed(answer: Answer, pace: Pace) -> None:
        heed_retry_after(answer, pace)
        if answer.status == 403 and "REQUEST_LIMIT_EXCEEDED" in codes(answer):
            pace.pause(pause)
        if found := _USAGE.search(answer.headers.get("Sforce-Limit-Info", "")):
            used, limit = map(int, found.groups())
            left = max(0.0, (limit - used) * share)
            pace.limit(left)
            if left < 1:
                pace.pause(pause)

    return heed


def judged(answer: Answer) -> Rejected | Unavailable | None:
    """What error codes mean, and rows that failed inside an answer of success."""
    said = [code for code in codes(answer) if code != _ROLLED_BACK]
    if not said and not (answer.is_success and _has_failed(answer.data)):
        return None
    words = " ".join((answer.reason, *(f"({code})" for code in said[:1])))
    if _LATER & set(said):
        return CRMUnavailable(words)
    # Any other server error may have come after the effect, whatever it is called.
    if answer.status == 401 or answer.status >= 500:
        return None
    if _GONE & set(said):
        return NotFound(words)
    return NotOffered(words) if "INVALID_TYPE" in said else Rejected(words)


def codes(answer: Answer) -> list[str]:
    """The error codes of an answer, in every form in which this CRM gives errors."""
    return [
        str(code)
        for error in _errors(answer.data)
        if (code := error.get("errorCode") or error.get("statusCode"))
    ]


def _errors(data: Any) -> Iterator[Mapping[str, Any]]:
    """Errors in a list, in a row, or in rows of a collection."""
    for one in data if isinstance(data, list) else [data]:
        if not isinstance(one, dict):
            continue
        if "errorCode" in one:
            yield one
        elif one.get("success") is False and isinstance(one.get("errors"), list):
            yield from (error for error in one["errors"] if isinstance(error, dict))


def _has_failed(data: Any) -> bool:
    rows = data if isinstance(data, list) else [data]
    return any(isinstance(row, dict) and row.get("success") is False for row in rows)


def marked(change_id: str) -> str:
    """What the CRM's people see of a change of ours."""
    return f"{MARK} {change_id}"


def mark_in(text: object) -> str | None:
    """The change that a subject or a description speaks of."""
    found = _MARKED.search(text) if isinstance(text, str) else None
    return found[1] if found else None


def ref_of(id_: str, crm: str) -> RecordRef | None:
    """The record that an id names by itself."""
    type_ = PREFIXES.get(id_[:3]) if _ID.fullmatch(id_) else None
    return RecordRef(crm=crm, type=type_, id=id_) if type_ else None


def is_same_id(one: object, other: str) -> bool:
    """Of 18 characters the last three only repeat the case of the others."""
    return isinstance(one, str) and _ID.fullmatch(one) is not None and one[:15] == other[:15]


def cursor_of(answer: Mapping[str, Any]) -> str | None:
    """What asks for the next page; of the path that the CRM gives only its last part."""
    return None if answer["done"] else str(answer["nextRecordsUrl"]).rpartition("/")[2]


def rights_of(rows: list[Mapping[str, Any]]) -> tuple[str, ...]:
    """What this user may do: ``contacts:read``; of other objects only what changes something."""
    known = {name: plural for plural, name in SOBJECTS.items()}
    flags = ("queryable", "read"), ("createable", "create"), ("updateable", "update")
    return tuple(
        sorted(
            f"{known.get(row['name'], row['name'])}:{right}"
            for row in rows
            for flag, right in (*flags, ("deletable", "delete"))
            if row[flag] and (right != "read" or row["name"] in known)
        )
    )
