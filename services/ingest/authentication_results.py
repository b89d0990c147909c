"""What one named host found out about a mail's sender: its ``Authentication-Results`` (RFC 8601).

Anybody can write such a header, so only the topmost one of the host that the admin names counts.
Text in quotes and comments comes from the sender, and never counts as a result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message

from services.ingest.mail import is_authentic

HEADER = "authentication-results"
LONGEST = 8000
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_METHOD = re.compile(r"\s*([a-z0-9-]+)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)(?:\s|\Z)", re.IGNORECASE)
_PROPERTY = re.compile(r"([a-z]+)\s*\.\s*([a-z_-]+)\s*=\s*(\S+)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Result:
    """``properties`` are keyed ``smtp.mailfrom``, ``header.d`` and so on, in lower case."""

    method: str
    result: str
    properties: Mapping[str, str] = field(default_factory=dict)


def verdict_of(message: Message, host: str, address: str | None) -> str:
    """``pass``, ``fail`` or ``unverified`` for ``address``, the one that ``From`` names.

    ``host`` is the name that the trusted host writes in its own header; none trusts nobody.
    """
    if not host or len(message.get_all("from", [])) != 1:
        return "unverified"  # Of two senders shown at once nobody can say which was checked.
    results = _results_of(host, message.get_all(HEADER, []))
    dmarc = [one for one in results if one.method == "dmarc" and _is_about(one, address)]
    for verdict in ("fail", "pass"):
        if any(one.result == verdict for one in dmarc):
            return verdict
    return is_authentic(
        address,
        dkim=dict(_signatures(results)),
        spf=next((one.result for one in _envelope(results)), ""),
        envelope_from=next((_mail_from(one) for one in _envelope(results)), ""),
    )


def _results_of(host: str, headers: Iterable[object]) -> list[Result]:
    """Of the topmost header of ``host``. One that cannot be read may have been that one, and what
    stands below it may be the sender's: then nothing counts.
    """
    for header in headers:
        name, results = parse(str(header))
        if name == host.lower():
            return results
        if not name:
            break
    return []


def parse(text: str) -> tuple[str, list[Result]]:
    """``(name of the host, results)``; both empty for what is not well-formed."""
    pieces = _pieces(text)
    if not pieces:
        return "", []
    words = pieces[0].split()
    if not 1 <= len(words) <= 2:  # A version may follow the name.
        return "", []
    return words[0].strip('"').lower(), [one for piece in pieces[1:] for one in _result(piece)]


def _pieces(text: str) -> list[str]:
    """What stands between semicolons, without comments; quoted text stays and parts nothing."""
    pieces, depth, place = [""], 0, 0
    if len(text) > LONGEST or not text.isascii():
        return []
    while place < len(text):
        quoted = _QUOTED.match(text, place) if not depth else None
        if quoted:
            pieces[-1] += quoted[0]
            place = quoted.end()
            continue
        sign = text[place]
        if sign == "\\" and depth:
            place += 2
            continue
        if sign == '"' and not depth:
            return []  # A quotation that never ends.
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            return []
        if sign == ";" and not depth:
            pieces.append("")
        elif not depth:
            pieces[-1] += " " if sign == ")" else sign
        place += 1
    return [] if depth else pieces


def _result(piece: str) -> Iterator[Result]:
    found = _METHOD.match(piece)
    if not found:
        return
    # Quoted values are of no use here and may hold what looks like another property.
    rest = _QUOTED.sub('""', piece[found.end() :])
    properties: dict[str, str] = {}
    for kind, name, value in _PROPERTY.findall(rest):
        properties.setdefault(f"{kind}.{name}".lower(), value.lower())
    yield Result(method=found[1].lower(), result=found[2].lower(), properties=properties)


def _is_about(dmarc: Result, address: str | None) -> bool:
    """DMARC is about ``From``; where the domain is named, it must be the one that we read."""
    domain = dmarc.properties.get("header.from")
    return domain is None or domain == (address or "").rpartition("@")[2].lower()


def _signatures(results: Iterable[Result]) -> Iterator[tuple[str, str]]:
    """Signing domain and result; of one domain that passed once, a failure does not count."""
    found = [one for one in results if one.method == "dkim"]
    for one in sorted(found, key=lambda one: one.result == "pass"):
        identity = one.properties.get("header.i", "").rpartition("@")[2]
        if domain := one.properties.get("header.d") or identity:
            yield domain, one.result


def _envelope(results: Iterable[Result]) -> Iterator[Result]:
    return (one for one in results if one.method == "spf")


def _mail_from(spf: Result) -> str:
    """An address whose domain SPF was asked for; some hosts write the domain alone."""
    given = spf.properties.get("smtp.mailfrom", "")
    return given if "@" in given else f"@{given}"
