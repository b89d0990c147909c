"""The corpus of mails: rows of ``tests/fixtures/mail-corpus/*.toml`` as the bytes of a real mail.

A row has ``raw`` (the whole mail), or ``text`` or ``html`` (its body in UTF-8). In ``raw`` stand
marks for bytes that are no UTF-8: ``{{as koi8-r|…}}`` in that character set, ``{{qp …|…}}`` and
``{{b64 …|…}}`` encoded for transport, ``{{Q …|…}}`` and ``{{B …|…}}`` as an RFC 2047 word,
``{{% …|…}}`` as an RFC 2231 value, ``{{hex |…}}`` as they are. Headers that a row leaves out are
put in, unless it is ``bare``. What the other keys mean stands in ``test_mail_corpus.py``.
"""

from __future__ import annotations

import base64
import quopri
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

FOLDER = Path(__file__).parents[1] / "fixtures" / "mail-corpus"
_MARK = re.compile(r"\{\{(as|qp|b64|Q|B|%|hex) ([\w-]*)\|(.*?)\}\}", re.DOTALL)
_USUAL = {
    "From": "Ann Lee <ann.lee@example.org>",
    "To": "office@countersign.example",
    "Date": "Mon, 23 Nov 2026 09:00:00 +0000",
    "Message-ID": "<{id}@mail.example>",
}
_HTML = "Content-Type: text/html; charset=utf-8\n\n"
_TEXT = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"


def rows() -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.glob("*.toml")):
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["mail"]:
            yield {"group": path.stem, **row}


def mail_bytes(row: dict[str, Any]) -> bytes:
    raw = row.get("raw") or _whole(row)
    usual = "" if row.get("bare") else "".join(_missing(raw, row["id"]))
    content = usual + raw
    pieces, place = [], 0
    for mark in _MARK.finditer(content):
        pieces += [_wire(content[place : mark.start()]), _encoded(mark)]
        place = mark.end()
    return b"".join([*pieces, _wire(content[place:])])


def _whole(row: dict[str, Any]) -> str:
    subject = f"Subject: {row['subject']}\n" if row.get("subject") else ""
    headers = subject + row.get("headers", "")
    return f"{headers}{_HTML}{row['html']}" if "html" in row else f"{headers}{_TEXT}{row['text']}"


def _missing(raw: str, id_: str) -> Iterator[str]:
    head = raw.partition("\n\n")[0]
    for name, value in _USUAL.items():
        if not re.search(rf"(?im)^{name}:", head):
            yield f"{name}: {value.format(id=id_)}\n"


def _wire(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


def _encoded(mark: re.Match[str]) -> bytes:
    how, charset, text = mark.groups()
    if how == "hex":
        return bytes.fromhex(text)
    content = text.replace("\n", "\r\n").encode(charset)
    return _ENCODINGS[how](content, charset)


def _word(letter: str, content: bytes, charset: str) -> bytes:
    if letter == "B":
        return f"=?{charset}?B?{base64.b64encode(content).decode()}?=".encode()
    escaped = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 else f"={byte:02X}" for byte in content
    )
    return f"=?{charset}?Q?{escaped}?=".encode()


_ENCODINGS: dict[str, Callable[[bytes, str], bytes]] = {
    "as": lambda content, _: content,
    "qp": lambda content, _: quopri.encodestring(content),
    "b64": lambda content, _: base64.encodebytes(content),
    "Q": lambda content, charset: _word("Q", content, charset),
    "B": lambda content, charset: _word("B", content, charset),
    "%": lambda content, charset: f"{charset}''{quote_from_bytes(content, safe='')}".encode(),
}
