"""The one normaliser of search: text becomes tokens that every index stores and finds alike.

An index splits its input at spaces and nothing else (FTS5: all but spaces are token characters;
Elasticsearch: the whitespace analyser), and `spaced` writes that input. A plain word holds letters
and digits alone; a *key* such as ``e=ann@example.com`` holds ``=``, which no word does, so the two
never meet.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterable, Iterator

from shared.remembering import remembered

LONGEST_WORD = 64
SHORTEST_CONTACT, LONGEST_REMEMBERED = 6, 2000
SHORTEST_PHONE, LONGEST_PHONE = 7, 15
_WORD = re.compile(r"[^\W_]+")
_BETWEEN_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()}
_DIGIT = re.compile(r"[0-9]")
_ANY_DIGIT = re.compile(r"\d")
_NO_DIGIT = re.compile(r"[^0-9]+")
_EMAIL = re.compile(r"[^\s@<>\"'(),;:\[\]\\|=]+@[^\s@<>\"'(),;:\[\]\\|=/?]+\.[^\W\d_]{2,}")
_PHONE = re.compile(r"(?<![\w@./=-])(?:\+|\(\+?)?\d[\d ()./\u00a0\u2011-]{5,24}\d(?![\w@=-])")
# What any index takes for a space or leaves out.
_BREAK = re.compile(r"[\x00-\x20\x7f\s]+")
_BREAK_BUT_SPACE = re.compile(r"[\x00-\x1f\x7f]|[^\S ]")
_ISO = re.compile(r"(?<!\d)(\d{4})-(\d\d)-(\d\d)(?!\d)")
_DOTTED = re.compile(r"(?<!\d)(\d{1,2})([./])(\d{1,2})\2(\d{4})(?!\d)")
_CODE = re.compile(r"(?<![\w-])(?=[\w/-]*\d)[\w]+(?:[/-][\w]+)+(?![\w-])")
_ORDER = re.compile(
    r"#\s?([a-z]{0,6}[-/]?\d[\w/-]{2,24})"
    r"|(?<!\w)(?:order|invoice|ticket|job|quote|estimate|case|booking|bestellung|rechnung|auftrag)"
    r"(?:\s*(?:no|nr|number|nummer|id)\b\.?)?[\s:#.]{1,4}([a-z]{0,6}[-/]?\d[\w/-]{2,24})"
    r"|(?<![\w-])([a-z]{1,6}[-/]\d{3,}(?:[-/]\d+)*)(?![\w-])",
)


def fold(text: str) -> str:
    """Case and diacritics folded: ``Müller`` and ``MULLER`` are one."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    if decomposed.isascii():
        return decomposed
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def words_of(text: str) -> list[str]:
    """The plain words of a text, in order."""
    folded = fold(text)
    # Of ASCII the pattern finds the same, four times as slowly.
    is_plain = folded.isascii()
    found = folded.translate(_BETWEEN_WORDS).split() if is_plain else _WORD.findall(folded)
    if max(map(len, found), default=0) > LONGEST_WORD:
        found = [word[:LONGEST_WORD] for word in found]
    return found


def emails_of(text: str) -> list[str]:
    """The e-mail addresses in a text, folded."""
    if "@" not in text:
        return []
    # No address goes beyond a space, and most words cost the pattern more than they are worth.
    words = " ".join(word for word in fold(text).split() if "@" in word)
    return [found.rstrip(".") for found in _EMAIL.findall(words)]


def phones_of(text: str) -> list[str]:
    """What looks like phone numbers in a text, as it is written there."""
    found = (match.group() for match in _PHONE.finditer(_lines_with_digits(text)))
    return [phone for phone in found if _is_phone(phone)]


def phone_keys(written: str) -> list[str]:
    """The keys under which a number is stored: its last 7, 8 and 9 significant digits.

    Whatever the spelling (country code, trunk zero, brackets, dots), these stay the same.
    """
    digits = significant(written)
    lengths = range(SHORTEST_PHONE, min(9, len(digits)) + 1)
    return [f"t={digits[-length:]}" for length in lengths]


def phone_query(written: str) -> list[str]:
    """The keys, any of which finds a number typed in any spelling."""
    digits = significant(written)
    if len(digits) < SHORTEST_PHONE:
        return []
    national = national_digits(digits)
    is_international = written.lstrip("( ").startswith(("+", "00"))
    found = [national] if is_international and national else [digits, *filter(None, [national])]
    return list(dict.fromkeys(f"t={number[-9:]}" for number in found if len(number) >= 7))


def significant(written: str) -> str:
    """The digits without leading zeros (trunk prefix, or the 00 before a country code)."""
    return _NO_DIGIT.sub("", written).lstrip("0")


@remembered(4096)
def national_digits(digits: str) -> str | None:
    """The national number of digits that begin with a country code, or ``None``."""
    import phonenumbers

    with contextlib.suppress(phonenumbers.NumberParseException):
        number = phonenumbers.parse(f"+{digits}")
        if phonenumbers.is_possible_number(number):
            return phonenumbers.national_significant_number(number)
    return None


def orders_of(text: str) -> list[str]:
    """Order numbers in a text, letters and digits alone: ``INV-2026/17`` is ``inv202617``."""
    folded = fold(text)
    if not _DIGIT.search(folded):
        return []
    found = ("".join(_WORD.findall(next(filter(None, m)))) for m in _ORDER.findall(folded))
    return [order for order in found if sum(map(str.isdecimal, order)) >= 3]


def order_keys(order: str) -> list[str]:
    """With and without the letters in front."""
    compact = "".join(words_of(order))
    bare = compact.lstrip("abcdefghijklmnopqrstuvwxyz")
    return [f"o={form}" for form in dict.fromkeys((compact, bare)) if form]


def dates_of(text: str) -> list[str]:
    """ISO dates of every date in a text; ``3/4/2026`` gives both readings."""
    found = ["-".join(match) for match in _ISO.findall(text)]
    for first, _, second, year in _DOTTED.findall(text):
        for day, month in ((first, second), (second, first)):
            if int(month) <= 12 and int(day) <= 31:
                found.append(f"{year}-{int(month):02}-{int(day):02}")
    return found


def stream(text: str) -> list[str]:
    """Everything a text is found by: its words in order, then its wholes.

    Wholes are dates, and codes written with hyphens or slashes, compacted. A gap keeps a phrase
    from running from the words into them.
    """
    return [*words_of(text), "|", *_wholes(text), "|"]


def spaced(tokens: Iterable[str]) -> str:
    """Tokens as an index takes them, in a document and in a query: a space between two alone.

    Lower case, since one of the indices folds the case of some letters and the other of none.
    """
    tokens = list(tokens)
    text = " ".join(tokens)
    has_breaks = not text.isprintable() and _BREAK_BUT_SPACE.search(text)
    if has_breaks or text.count(" ") != len(tokens) - 1:
        text = " ".join(_BREAK.sub("_", token) for token in tokens)
    return text.lower()


def contact_keys(*texts: str) -> list[str]:
    """The keys of every e-mail address, then of every phone number in the texts, each once."""
    found = [_contacts(text) for text in texts if len(text) >= SHORTEST_CONTACT]
    emails = (key for emails, _ in found for key in emails)
    phones = (key for _, phones in found for key in phones)
    return list(dict.fromkeys((*emails, *phones)))


Keys = tuple[str, ...]


def _contacts(text: str) -> tuple[Keys, Keys]:
    return _remembered(text) if len(text) <= LONGEST_REMEMBERED else _contacts_in(text)


def _contacts_in(text: str) -> tuple[Keys, Keys]:
    emails = tuple(f"e={email}" for email in emails_of(text))
    return emails, tuple(key for phone in phones_of(text) for key in phone_keys(phone))


# One text comes many times: in the event, in its answer, in both again when they are indexed.
_remembered = remembered(4096)(_contacts_in)


def _wholes(text: str) -> Iterator[str]:
    if _DIGIT.search(text):
        lines = _lines_with_digits(text)
        yield from dates_of(lines)
        # Beyond ASCII, folding makes digits of what was none.
        folded = lines.lower() if text.isascii() else _lines_with_digits(fold(text))
        yield from ("".join(_WORD.findall(code)) for code in _CODE.findall(folded))


def _lines_with_digits(text: str) -> str:
    """Phone numbers, dates and codes hold a digit and do not go beyond a line."""
    return "\n".join(line for line in text.split("\n") if _ANY_DIGIT.search(line))


def _is_phone(written: str) -> bool:
    if not SHORTEST_PHONE <= len(_NO_DIGIT.sub("", written)) <= LONGEST_PHONE:
        return False
    return not (_ISO.search(written) or _DOTTED.search(written))
