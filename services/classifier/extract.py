"""Contact details in running text, each with its span and what the words around say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.classifier.cues import Role, clause_around, role_of
from shared.policy import Company, FieldRule
from shared.values import email_key, phone_key

_I = re.IGNORECASE


@dataclass(frozen=True, kw_only=True)
class Found:
    """A value at ``start`` of a text; ``quote`` is what stands there."""

    field: str
    value: str
    start: int
    quote: str
    role: Role


_PHONE = re.compile(r"(?<![\w#€$£.,-])(?:\+|\(\+?|00)?\d(?:[\d\u00a0 ()./-]{5,22})\d(?![\w%€$£])")
_NOT_PHONE = re.compile(
    r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}$|^\d{4}-\d{2}-\d{2}|^\d{1,3}(?:[.,]\d{3})+$|^\d{5,6}$"
)
_DIALLED = re.compile(r"^\(?0?\d{2,4}\)?[ ./-]\d{3,4}[ ./-]\d{3,5}$")
_PHONE_WORD = re.compile(
    r"phone|number|tel\b|tel[.:]|mobile|cell|call|text|ring|reach|dial|whatsapp|sms|telefon|nummer|"
    r"handy|mobil|ruf|erreich|anruf|portable|numéro|móvil|número|llam|bellen|contact",
    _I,
)
_EMAIL = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._%+'-]{0,63}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}"
)

_CITY_WORD = r"(?:St\. )?[A-ZÄÖÜ][\wäöüß'-]+"
_CITY = rf"{_CITY_WORD}(?:[ -](?:am|an der|im|in der|bei|upon|on|{_CITY_WORD})){{0,3}}"
_US_STREET = (
    r"(?:Street|St|Road|Rd|Lane|Ln|Avenue|Ave|Drive|Dr|Court|Ct|Way|Close|Place|Pl|Square|Sq|"
    r"Boulevard|Blvd|View|Terrace|Hill|Gardens|Crescent|Row|Walk|Mews|Quay|Highway|Parkway|Circle|"
    r"Trail|Loop|Grove|Park|Wharf)"
)
_ENGLISH = re.compile(
    rf"(?P<address>\d{{1,5}}[A-Za-z]?(?: [A-Z][\w'’.-]*){{1,4}} {_US_STREET}\b\.?"
    r"(?:,? (?:Suite|Apt\.?|Flat|Unit|Floor) ?#?\w{1,6})?)"
    rf"(?:\s*,\s*(?P<city>{_CITY})(?:\s*,?\s+[A-Z]{{2}}\b)?"
    r"(?:\s*,?\s*(?P<postal_code>\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})\b)?)?"
)
_GERMAN = re.compile(
    r"(?P<address>(?:[A-ZÄÖÜ][\wäöüß.-]*[ -]){0,3}[A-ZÄÖÜ]?[\wäöüß-]*(?:straße|strasse|str\.|"
    r"weg|platz|"
    r"allee|gasse|ring|ufer|damm|chaussee|steig|markt|Straße|Weg|Platz|Allee|Ring|Ufer|Damm|"
    r"Markt|Hof|Gasse) "
    r"\d{1,4} ?[a-z]?\b)"
    rf"(?:\s*[,\n]\s*(?:D-)?(?P<postal_code>\d{{4,5}}) (?P<city>{_CITY}))?"
)
_ADDRESS_WORD = re.compile(
    r"\b(?:moved|moving|new (?:\w+ )?(?:address|office|premises|home)|address (?:is now|"
    r"has changed|"
    r"changed)|change of address|relocat\w+|now (?:live|located|based)|umgezogen|umzug|ziehen um|"
    r"neue[nrs]? (?:\w+ )?(?:adresse|anschrift|büro)|adresse (?:lautet|hat sich)|adressänderung|"
    r"nouvelle adresse|déménag\w+|nueva dirección|mudado|nieuwe adres|nieuw adres|verhuisd)\b",
    _I,
)
# Pieces of which one stands in every ASCII text that the pattern above finds something in.
_ADDRESS_PIECES = (
    *("moved", "moving", "new ", "address", "relocat", "now ", "umgezogen", "umzug", "ziehen um"),
    *("neue", "adresse", "mudado", "nieuw", "verhuisd"),
)
_CAPITAL = r"[A-ZÄÖÜ0-9][\w&äöüßé'’.+-]*"
_PROPER = rf"{_CAPITAL}(?: (?:(?:&|and|und|of|the|de) )?{_CAPITAL}){{0,4}}"
_COMPANY = re.compile(
    r"(?:\b(?:[Mm]y|[Oo]ur) new (?:company|employer|firm)(?: name)? is(?: now)?|"
    r"\b(?:I|I've|I have) (?:now |just |recently )?(?:work(?:ing)?|started|joined|moved)(?: now)?"
    r"(?: a new job)? ?(?:for|at|with|to)?(?= [A-Z0-9])|"
    r"\bwe (?:are|were) (?:now called|renamed(?: to)?)|\b[Oo]ur company is now called|"
    r"\b[Ww]ir firmieren (?:jetzt|nun|ab sofort)? ?(?:unter|als)|"
    r"\b(?:[Mm]eine|[Uu]nsere) neue Firma (?:ist|heißt)(?: jetzt)?(?: die)?|"
    r"\b[Ii]ch (?:arbeite|bin) (?:jetzt|nun|ab sofort|inzwischen) (?:bei|für)(?: der)?|"
    r"\b[Mm]ein neuer Arbeitgeber ist(?: die)?|"
    r"\bje travaille maintenant (?:chez|pour)|\bahora trabajo (?:en|para)|\bik werk nu (?:bij|"
    r"voor))"
    rf"\s+(?P<company>{_PROPER})"
)
_ROLE_WORD = r"[A-ZÄÖÜ][\wäöüß&/-]+"
_ROLE = rf"{_ROLE_WORD}(?: (?:(?:of|for|the|and|&|für|der|im) ){{0,2}}{_ROLE_WORD}){{0,4}}"
_TITLE = re.compile(
    r"(?:\b[Mm]y new (?:job )?(?:title|position|role) is(?: now)?|"
    r"\bI(?:'m| am| was| have been| became)? ?(?:now|promoted to|appointed)(?: as)?(?: the| an?)?|"
    r"\b[Mm]eine neue (?:Position|Funktion|Rolle) ist|\b[Ii]ch bin (?:jetzt|nun|ab sofort)|"
    r"\bje suis maintenant|\bahora soy)"
    rf"\s+(?P<job_title>{_ROLE})"
)
_PREFERS = re.compile(
    r"\b(?:prefer(?:red)?|from now on|in (?:the )?future|going forward|best way to (?:reach|"
    r"contact)|"
    r"(?:please )?only (?:contact|call|text|write|reach|e-?mail)|rather (?:be|have|you)|"
    r"am liebsten|"
    r"künftig|in zukunft|bitte nur(?: noch)?|lieber|bevorzuge\w*|préfère|de préférence|prefiero|"
    r"liever)\b",
    _I,
)
# As `_ADDRESS_PIECES`.
_PREFERS_PIECES = (
    *("prefer", "from now on", "future", "going forward", "best way to ", "only ", "rather "),
    *("am liebsten", "in zukunft", "bitte nur", "lieber", "bevorzuge", "prefiero", "liever"),
)
_REACHING = re.compile(
    r"\b(?:reach|contact|call|write|text|e-?mail|phone|letter|post|sms|by|kontakt\w*|erreich\w*|"
    r"anruf\w*|schreib\w*|telefon\w*|per|par|por|bellen)\b",
    _I,
)
_REFUSED = re.compile(
    r"\b(?:not|no|never|don't|instead of|rather than|statt|nicht|kein\w*|pas)\b", _I
)


def may_hold(text: str, pieces: Sequence[str]) -> bool:
    """Whether a pattern is worth its time: a plain search is much faster.

    Only of ASCII text is the lower case of a match sure to be the pattern's own.
    """
    if not text.isascii():
        return True
    low = text.lower()
    return any(piece in low for piece in pieces)


def phones(text: str, company: Company) -> Iterator[Found]:
    """Numbers that somebody can be called at; the company's own are left out."""
    for match in _PHONE.finditer(text):
        quote = match[0].rstrip(" ./-(")
        if quote.count("(") > quote.count(")"):
            quote = quote.rpartition("(")[0].rstrip()
        if _NOT_PHONE.match(quote) or sum(c.isdigit() for c in quote) < 7:
            continue
        left, right = clause_around(text, match.start(), match.start() + len(quote))
        is_plain = quote.startswith(("+", "(+", "00")) or _DIALLED.match(quote)
        is_named = is_plain or _PHONE_WORD.search(left + right[:40])
        number = phone_key(quote, company.region) if is_named else None
        if number is None or number in company.phones:
            continue
        role = role_of(text, match.start(), match.start() + len(quote))
        yield Found(field="phone", value=number, start=match.start(), quote=quote, role=role)


def emails(text: str, company: Company) -> Iterator[Found]:
    """Addresses in a text; the company's own are left out."""
    for match in _EMAIL.finditer(text) if "@" in text else ():
        key = email_key(match[0])
        if key is None or key in company.emails or key.partition("@")[2] in company.domains:
            continue
        role = role_of(text, match.start(), match.end())
        yield Found(field="email", value=key, start=match.start(), quote=match[0], role=role)


def addresses(text: str) -> Iterator[Found]:
    """Street, postal code and city of a postal address that the text calls new."""
    if not may_hold(text, _ADDRESS_PIECES) or not _ADDRESS_WORD.search(text):
        return
    for pattern in (_GERMAN, _ENGLISH):
        for match in pattern.finditer(text):
            role = role_of(text, match.start(), match.end())
            if role in {Role.OLD, Role.FOREIGN}:
                continue
            for field, value in match.groupdict().items():
                if value:
                    yield Found(
                        field=field,
                        value=value.rstrip(".,"),
                        start=match.start(field),
                        quote=value.rstrip(".,"),
                        role=Role.STATED,
                    )
            return


def employment(text: str) -> Iterator[Found]:
    """A new company or job title that somebody states of themselves."""
    for field, pattern in (("company", _COMPANY), ("job_title", _TITLE)):
        match = pattern.search(text)
        if match is None:
            continue
        value = match[field].rstrip(".,;:! ")
        if field == "job_title":
            value = re.split(r" (?:at|bei|for) (?=[A-ZÄÖÜ])", value)[0]
        yield Found(
            field=field, value=value, start=match.start(field), quote=value, role=Role.STATED
        )


def channel(text: str, rule: FieldRule | None) -> Iterator[Found]:
    """How somebody says they want to be reached, by the words that the policy lists."""
    if rule is None or not rule.words or not may_hold(text, _PREFERS_PIECES):
        return
    for match in _PREFERS.finditer(text):
        left, right = clause_around(text, match.start(), match.end())
        if not _REACHING.search(right) or _REFUSED.search(left[-30:]):
            continue
        named = _REFUSED.split(right)[0]
        hits = [
            (word_at.start(), value, word_at[0])
            for value, words in rule.words.items()
            for word in words
            if (word_at := re.search(rf"\b{re.escape(word)}\b", named, _I))
        ]
        if hits:
            at, value, quote = min(hits)
            start = match.end() + at
            yield Found(field=rule.name, value=value, start=start, quote=quote, role=Role.STATED)
            return
