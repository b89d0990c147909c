"""MIME to a mail of plain texts: character sets, folded lines, parts and files, broken ones too.

The standard library takes a message apart; what it says about types and character sets is not
believed blindly, since senders are often wrong about both.
"""

from __future__ import annotations

import codecs
import email
import email.policy
import re
from collections.abc import Iterator, Sequence
from email.header import decode_header
from email.message import Message
from itertools import islice

from services.ingest.addresses import address_of
from services.ingest.file_types import media_type_of
from services.ingest.mail import Mail
from services.ingest.reports import report_facts
from services.ingest.source import File
from shared.domain.event import Sender
from shared.errors import BadPayload
from shared.values import INVISIBLE

MAX_PARTS = 200
MAX_HEADERS = 300
MAX_HEADER = 20_000
MAX_NESTING = 30
MAX_FILES = 100
Headers = tuple[tuple[str, str], ...]

# What senders write and mean: WHATWG Encoding Standard, section 4.2.
_MEANT = {
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "us-ascii": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "euc-kr": "cp949",
    "shift_jis": "cp932",
    "iso-8859-9": "cp1254",
    "iso-8859-8-i": "iso-8859-8",
    "tis-620": "cp874",
    "unicode-1-1-utf-7": "utf-7",
}
_UNTRUSTED = frozenset({"", "us-ascii", "ascii", "unknown-8bit", "x-unknown", "8bit", "default"})
_NOT_TEXT = frozenset({"utf-16", "utf-32", "punycode", "idna", "unicode_escape", "hex", "base64"})
# A lead of the motor trade (ADF) comes as a body of these types as well as of plain text.
_XML = frozenset({"text/xml", "application/xml", "application/x-adf+xml", "application/adf+xml"})
_JAPANESE = re.compile(rb"\x1b\$[@B]|\x1b\(J")
_BETWEEN_WORDS = re.compile(r"(\?=)\s+(=\?)")
_UNSAFE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def read_mime(raw: bytes, *, recipient: str = "", sender: Sender | None = None) -> Mail:
    """The mail of these bytes. Raises `BadPayload` for what nothing can be read from."""
    message = _parsed(raw)
    parts = list(_leaves(message, 0))
    plain = [_text(part) for part in parts if _is_body(part, "text/plain")]
    html = [_text(part) for part in parts if _is_body(part, "text/html")]
    headers = headers_of(message)
    first = dict(reversed(headers))
    name, address = read_address(_first_as_sent(message, "from"))
    return Mail(
        subject=first.get("subject", ""),
        text="\n\n".join(text.strip("\n") for text in plain if text.strip()),
        html="\n".join(html),
        sender=sender or Sender(name=name, email=address),
        headers=headers,
        recipient=recipient,
        files=tuple(_files(parts)),
        report=report_facts(headers, parts, _content),
    )


def read_address(text: str) -> tuple[str | None, str | None]:
    """Name and address of a ``From`` line as it was sent: a comma in an encoded name is no end."""
    name, address = address_of(text)
    return (decode_words(name) if name else None), address


def read_headers(text: str) -> Headers:
    """A header block as text to decoded headers with lower-case names."""
    return headers_of(_parsed(text.encode("utf-8", "replace")))


def decode_text(content: bytes, charset: str) -> str:
    """Text in the character set named, or in the one it most likely is; never an error."""
    named = charset.strip().strip("\"'").lower()
    if named in _UNTRUSTED or _codec(named) is None:
        named = "utf-8"
    codec = _by_its_bytes(content, _codec(named) or "utf-8")
    for attempt in (codec, "utf-8", "cp1252"):
        try:
            return _clean(_decoded(content, attempt))
        except (UnicodeDecodeError, ValueError):
            continue
    return _clean(content.decode(codec, "replace"))


def _by_its_bytes(content: bytes, codec: str) -> str:
    """What the bytes say, where they say it: byte order marks, escapes, UTF-8 called Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if codec == "utf-8" and _JAPANESE.search(content):
        return "iso2022_jp"
    # Text in Latin-1 that happens to be valid UTF-8 is next to impossible.
    return "utf-8" if codec == "cp1252" and _is_utf_8(content) else codec


def _is_utf_8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(content: bytes, codec: str) -> str:
    """ISO-2022-JP of everyday mail has characters of row 13, which only JIS X 0213 knows."""
    try:
        return content.decode(codec)
    except UnicodeDecodeError:
        if codec != "iso2022_jp":
            raise
    return content.replace(b"\x1b$B", b"\x1b$(Q").decode("iso2022_jp_2004")


def decode_words(text: str) -> str:
    """A header's text with its encoded words (RFC 2047) read, split and broken ones too."""
    if "=?" not in text:
        return " ".join(_clean(text).split())
    joined = _BETWEEN_WORDS.sub(r"\1\2", text[:MAX_HEADER])
    try:
        pieces = decode_header(joined)
    except (ValueError, email.errors.HeaderParseError):
        return " ".join(_clean(text).split())
    return " ".join("".join(_word(piece, charset) for piece, charset in pieces).split())


def headers_of(message: Message) -> Headers:
    """Names in lower case, in the order they came."""
    return tuple(
        (name, decode_words(value)[:MAX_HEADER])
        for name, value in islice(_as_they_came(message), MAX_HEADERS)
    )


def _as_they_came(message: Message) -> Iterator[tuple[str, str]]:
    pairs = message.raw_items() if hasattr(message, "raw_items") else message.items()
    return ((name.strip().lower(), _as_sent(value)) for name, value in pairs)


def _first_as_sent(message: Message, wanted: str) -> str:
    return next((value for name, value in _as_they_came(message) if name == wanted), "")


def _parsed(raw: bytes) -> Message:
    try:
        return email.message_from_bytes(raw, policy=email.policy.compat32)
    except (RecursionError, ValueError, LookupError, IndexError) as error:
        raise BadPayload("the mail cannot be read as MIME") from error


def _leaves(message: Message, depth: int) -> Iterator[Message]:
    """Every part that is no container; a mail inside the mail is one leaf."""
    _read_anew(message)
    is_container = message.is_multipart() and message.get_content_maintype() == "multipart"
    if not is_container:
        yield message
        return
    if depth >= MAX_NESTING:
        return
    children = message.get_payload()
    for child in children[:MAX_PARTS] if isinstance(children, list) else []:
        if isinstance(child, Message):
            yield from _leaves(child, depth + 1)


def _read_anew(part: Message) -> None:
    """The library reads no parameter of a header that has bytes beyond ASCII."""
    for name in ("content-type", "content-disposition"):
        value = _first_as_sent(part, name)
        if not value.isascii():
            part.replace_header(name, value)


def _is_body(part: Message, media_type: str) -> bool:
    if part.is_multipart() or _type_of(part) != media_type:
        return False
    return part.get_content_disposition() != "attachment" and not _filename(part)


def _type_of(part: Message) -> str:
    """A container that names no boundary holds no parts: it is read as the text that it is."""
    given = part.get_content_type()
    is_text = given in _XML or (given.startswith("multipart/") and not part.is_multipart())
    return "text/plain" if is_text else given


def _text(part: Message) -> str:
    text = decode_text(_content(part), _parameter(part, "charset"))
    text = text.replace("\r\n", "\n")
    if _parameter(part, "format").lower() == "flowed":
        return _unflowed(text, joins=_parameter(part, "delsp").lower() == "yes")
    return text


def _unflowed(text: str, *, joins: bool) -> str:
    """RFC 3676: a line that ends in a space goes on in the next; quoted lines stay as they are."""
    lines: list[str] = []
    is_open = False
    for given in text.split("\n"):
        line = given.removeprefix(" ")
        flows = line.endswith(" ") and line != "-- " and not line.startswith(">")
        shown = line[:-1] if flows and joins else line
        if is_open and not line.startswith(">") and line != "-- ":
            lines[-1] += shown
        else:
            lines.append(shown)
        is_open = flows
    return "\n".join(line.rstrip(" ") if line != "-- " else line for line in lines)


def _files(parts: Sequence[Message]) -> Iterator[File]:
    bodies = {"text/plain", "text/html"}
    found = [
        part
        for part in parts
        if not any(_is_body(part, body) for body in bodies) and _is_file(part)
    ]
    for part in found[:MAX_FILES]:
        content = _content(part)
        name = _filename(part) or "unnamed"
        yield File(
            name=name[:200],
            media_type=media_type_of(content, part.get_content_type()),
            content=content,
        )


def _is_file(part: Message) -> bool:
    """What is not shown as text; an empty part without a name is nobody's file."""
    return bool(_filename(part)) or part.get_content_type() not in {
        "message/delivery-status",
        "message/disposition-notification",
        "message/feedback-report",
        "text/rfc822-headers",
    }


def _content(part: Message) -> bytes:
    if part.is_multipart():
        inner = part.get_payload()
        return b"".join(
            item.as_bytes()
            for item in inner
            if isinstance(inner, list) and isinstance(item, Message)
        )
    try:
        content = part.get_payload(decode=True)
    except (ValueError, LookupError):
        return b""
    return content if isinstance(content, bytes) else b""


def _filename(part: Message) -> str:
    try:
        name = INVISIBLE.sub("", decode_words(part.get_filename() or ""))
        return name.replace("/", "_").replace("\\", "_")
    except (ValueError, LookupError, TypeError):
        return "unnamed"


def _parameter(part: Message, name: str) -> str:
    try:
        value = part.get_param(name)
    except (ValueError, LookupError):
        return ""
    if isinstance(value, tuple):
        return str(value[2])
    return value if isinstance(value, str) else ""


def _word(piece: bytes | str, charset: str | None) -> str:
    if isinstance(piece, str):
        return _clean(piece)
    return decode_text(piece, charset or "")


def _as_sent(value: object) -> str:
    """The header's text; bytes beyond ASCII came as surrogates and are most likely UTF-8."""
    text = str(value)
    if text.isascii():
        return text
    return decode_text(text.encode("utf-8", "surrogateescape"), "")


def _codec(name: str) -> str | None:
    try:
        found = codecs.lookup(_MEANT.get(name, name)).name
    except (LookupError, ValueError):
        return None
    is_text = getattr(codecs.lookup(found), "_is_text_encoding", True)
    return found if is_text and found not in _NOT_TEXT else None


def _clean(text: str) -> str:
    """Without NUL and other control characters, and without lone surrogates."""
    safe = text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text
    return _UNSAFE.sub("", safe.removeprefix("\ufeff"))
