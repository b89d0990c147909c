"""Values of CRM fields: whether one is well-formed, its normal form, and what looks odd in it."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from enum import StrEnum

from shared.remembering import remembered

# Bidirectional marks, zero-width and other invisible characters, tags, variation selectors.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
MARKUP = re.compile(r"<[/!?a-zA-Z][^>]*>?|\[[^\]]*\]\([^)]*\)|[a-zA-Z][a-zA-Z0-9+.-]*://|[`{}]")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SPACES = re.compile(r"\s+")
_LONGEST_ADDRESS = 254


class ValueType(StrEnum):
    """What a field holds. Dates travel as ISO text, whole numbers and booleans as themselves."""

    TEXT = "text"
    EMAIL = "email"
    PHONE = "phone"
    DATE = "date"
    ENUM = "enum"
    INTEGER = "integer"
    BOOLEAN = "boolean"


def fault(kind: ValueType, value: object, *, multiline: bool = False) -> str | None:
    """Why ``value`` is no well-formed value of this kind, in words; ``None``: it is one."""
    if kind is ValueType.BOOLEAN:
        return None if isinstance(value, bool) else "is not true or false"
    if kind is ValueType.INTEGER:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return None if is_whole else "is not a whole number"
    if not isinstance(value, str):
        return "is not text"
    if not value.strip() or value != value.strip():
        return "is empty or has space around it"
    if has_control(value, multiline=multiline):
        return "holds control or invisible characters"
    check = _CHECKS.get(kind)
    return check(value) if check else None


def has_control(text: str, *, multiline: bool = False) -> bool:
    """Whether text holds characters that do not show, or that change what stands beside them."""
    seen = text.replace("\n", "").replace("\t", "") if multiline else text
    return bool(CONTROL.search(seen) or INVISIBLE.search(text) or has_surrogate(text))


def has_surrogate(text: str) -> bool:
    """Whether text holds half a character, which can be neither stored nor sent."""
    return any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else False


def _text_fault(text: str) -> str | None:
    return "holds a link or markup" if MARKUP.search(text) else None


def _email_fault(text: str) -> str | None:
    return None if email_key(text) is not None else "is not an e-mail address"


def _phone_fault(text: str) -> str | None:
    if not _E164.fullmatch(text):
        return "is not a phone number in international form (+441632960961)"
    return None if phone_key(text, None) == text else "is not a possible phone number"


def _date_fault(text: str) -> str | None:
    try:
        is_iso = date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_iso = False
    return None if is_iso else "is not a date like 2026-11-23"


_CHECKS = {
    ValueType.TEXT: _text_fault,
    ValueType.EMAIL: _email_fault,
    ValueType.PHONE: _phone_fault,
    ValueType.DATE: _date_fault,
}


@remembered(4096)
def email_key(text: str) -> str | None:
    """The address in lower case with an ASCII domain, for comparing; ``None``: it is none.

    Nothing is looked up: the syntax alone is checked.
    """
    if len(text) > _LONGEST_ADDRESS or text.count("@") != 1:
        return None
    from email_validator import EmailNotValidError, validate_email

    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return None
    return f"{found.local_part}@{found.ascii_domain}".lower()


@remembered(4096)
def phone_key(text: str, region: str | None) -> str | None:
    """The number in E.164, read as dialled from ``region`` (ISO 3166); ``None``: it is none."""
    import phonenumbers

    if len(text) > 40:
        return None
    # The habit of most of the world; a national number never begins with two zeros.
    dialled = "+" + text[2:] if text.startswith("00") else text
    try:
        number = phonenumbers.parse(dialled, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number) or number.extension:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def folded(text: str) -> str:
    """For comparing words: NFKC, case folded, every run of space as one."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def normal(kind: ValueType, value: object, region: str | None = None) -> str:
    """A key under which two spellings of one value are equal; empty for no value."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool | int):
        return str(value).lower()
    text = str(value)
    if kind is ValueType.PHONE:
        return phone_key(text, region) or folded(text)
    if kind is ValueType.EMAIL:
        return email_key(text.strip()) or folded(text)
    return folded(text)


def oddities(text: str) -> tuple[str, ...]:
    """What a person should be told about the characters of a value; nothing is refused for it."""
    if text.isascii():
        return ()
    found = []
    if INVISIBLE.search(text):
        found.append("invisible characters")
    if any(len(_scripts(word)) > 1 for word in re.findall(r"\w+", text)):
        found.append("letters of several scripts in one word")
    if unicodedata.normalize("NFKC", text) != text:
        found.append("look-alike characters")
    return tuple(found)


def _scripts(word: str) -> set[str]:
    """The scripts of the letters of a word, by the first word of each character's name."""
    names = (unicodedata.name(char, "?").split()[0] for char in word if char.isalpha())
    # One Japanese word mixes these three by nature.
    return {"CJK" if name in {"HIRAGANA", "KATAKANA"} else name for name in names}
