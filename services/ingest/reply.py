"""Cutting a mail apart: what was written now, the signature below it, the quoted history.

Line by line, so that the time grows with the length: the expressions of the usual library need
more than a minute for a mail of empty lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

LONGEST_MARK = 300
SIGNATURE_LINES = 12
SIGNATURE_WIDTH = 90

_WROTE = re.compile(
    r"(?i)(?:on|am|le|el|il|op|em|den|på|w dniu|dnia)\b.{4,280}"
    r"(?:wrote|schrieb\b.{0,80}|a écrit|escribió|ha scritto|schreef\b.{0,80}|escreveu|"
    r"skrev\b.{0,80}|napisał(?:\(a\))?)\s?:"
)
# Any language: a time, an address, a colon at the end.
_TIME = re.compile(r"\d\d?[:.]\d\d")
_BY = re.compile(r"[<(][^\s<>()]{1,200}@[^\s<>()]{1,200}[>)][^:：<>]{0,60}[:：]\Z")
_RULE = re.compile(r"[_-]{10,}")
_DIVIDER = re.compile(
    r"(?i)[-_]{2,}\s*(?:original message|original appointment|forwarded message|"
    r"ursprüngliche nachricht|originalnachricht|weitergeleitete nachricht|message d'origine|"
    r"message transféré|mensaje original|mensaje reenviado|messaggio originale|"
    r"oorspronkelijk bericht|mensagem original|oprindelig meddelelse|ursprungligt meddelande)"
    r"\s*[-_]*|begin forwarded message:"
)
_FROM = re.compile(r"(?i)\*?(?:from|von|de|da|van|från|fra|od|差出人)\*?\s?[:：]\*?\s?\S")
_SENT = re.compile(
    r"(?i)\*?(?:sent|date|gesendet|datum|envoyé|enviado(?: el)?|inviato|verzonden|skickat|sendt|"
    r"wysłano|data|fecha|日付|送信日時)\*?\s?[:：]"
)
_SUBJECT = re.compile(
    r"(?i)\*?(?:subject|betreff|objet|asunto|oggetto|onderwerp|assunto|temat|ämne|emne|件名)"
    r"\*?\s?[:：]"
)
_DASHES = re.compile(r"--\s*|—\s*|_{3,5}")
_DEVICE = re.compile(
    r"(?i)(?:sent from my \S|sent from \S+ (?:mail|for)|get outlook for|"
    r"von meinem \S.{0,40} gesendet|"
    r"envoyé de mon|enviado desde mi|inviato da(?:l mio)? |verstuurd vanaf mijn |"
    r"wysłane z |enviado do meu |skickat från min |iphoneから送信)"
)
_CLOSING = re.compile(
    r"(?i)(?:(?:with )?(?:best|kind|kindest|warm|warmest|many)? ?(?:regards|wishes)|best|cheers|"
    r"sincerely(?: yours)?|yours (?:sincerely|faithfully|truly)|(?:many )?thanks(?: and regards| "
    r"again)?|thank you|mit (?:freundlichen|besten|lieben) gr(?:ü|ue)(?:ß|ss)en|"
    r"(?:viele|liebe|beste|schöne|freundliche) gr(?:ü|ue)(?:ß|ss)e|mfg|(?:bien )?cordialement|"
    r"salutations|(?:un )?(?:cordial )?saludos?(?: cordial(?:es)?)?|atentamente|z poważaniem|"
    r"(?:serdecznie )?pozdrawiam(?: serdecznie)?|よろしくお願い(?:いた|致)?します。?|敬具|"
    r"cordiali saluti|distinti saluti|met vriendelijke groet(?:en)?|groeten|atenciosamente|"
    r"med v[eä]nlig(?:a)? h[ie](?:lsn)?(?:lsen|lsning)(?:ar)?|(?:mange )?hilsner?)\s?[,.!]?"
)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A mail's text in three; nothing is thrown away."""

    body: str
    signature: str = ""
    quoted: str = ""


def cut_reply(text: str) -> Cut:
    """The three parts of a mail's plain text. Answers between quoted lines belong to the body."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    own: list[str] = []
    quoted: list[str] = []
    place = 0
    while place < len(lines):
        length = _mark(lines, place)
        if length and not _quote_follows(lines, place + length):
            quoted += lines[place:]
            break
        if length or lines[place].startswith(">"):
            quoted += lines[place : place + max(length, 1)]
            place += max(length, 1)
        else:
            own.append(lines[place])
            place += 1
    body, signature = _without_signature(own)
    return Cut(body=body, signature=signature, quoted="\n".join(quoted).strip())


def _mark(lines: Sequence[str], place: int) -> int:
    """How many lines introduce quoted history here; 0 where none does."""
    line = lines[place].strip()
    if not line or len(line) > LONGEST_MARK:
        return 0
    if _DIVIDER.fullmatch(line) or _is_introduction(lines, place, 1):
        return 1
    if _is_introduction(lines, place, 2):
        return 2
    is_ruled = bool(_RULE.fullmatch(line))
    return int(_is_header_block(lines, place + 1 if is_ruled else place))


def _is_introduction(lines: Sequence[str], place: int, length: int) -> bool:
    """``On … Bob wrote:``; a sentence without a time or an address needs quoted lines below it."""
    text = " ".join(line.strip()[:LONGEST_MARK] for line in lines[place : place + length])
    if (by := _BY.search(text)) and _TIME.search(text, 0, by.start()):
        return True
    is_dated = "@" in text or any(char.isdigit() for char in text)
    return bool(_WROTE.fullmatch(text)) and (is_dated or _quote_follows(lines, place + length))


def _is_header_block(lines: Sequence[str], place: int) -> bool:
    """Who and when in either order, and a subject or an address: a form can have the first two."""
    block = [line.strip()[:LONGEST_MARK] for line in lines[place : place + 7]]
    first, following = block[:1], block[1:5]
    is_who_when = any(_FROM.match(text) for text in first) and any(map(_SENT.match, following))
    is_when_who = any(_SENT.match(text) for text in first) and any(map(_FROM.match, following[:2]))
    has_more = any(map(_SUBJECT.match, block)) or "@" in "".join(block[:1])
    return (is_who_when or is_when_who) and has_more


def _quote_follows(lines: Sequence[str], place: int) -> bool:
    """Whether the next text is marked with ``>``; then only marked lines are history."""
    following = next((text for text in lines[place : place + 3] if text.strip()), "")
    return following.startswith(">")


def _without_signature(lines: Sequence[str]) -> tuple[str, str]:
    end = _signature_start(lines)
    return "\n".join(lines[:end]).strip(), "\n".join(lines[end:]).strip()


def _signature_start(lines: Sequence[str]) -> int:
    """The line a signature begins at: a mark, or a closing with only short lines below."""
    seen_text = False
    for place, line in enumerate(lines):
        text = line.strip()
        if not text:
            continue
        if seen_text and _begins_signature(text) and _is_short(lines, place + 1, text):
            return place
        seen_text = True
    return len(lines)


def _begins_signature(text: str) -> bool:
    if len(text) > SIGNATURE_WIDTH:
        return False
    return bool(_DASHES.fullmatch(text) or _DEVICE.match(text) or _CLOSING.fullmatch(text))


def _is_short(lines: Sequence[str], start: int, mark: str) -> bool:
    """The standard mark ``-- `` needs nothing else; a closing phrase could be a sentence."""
    if mark == "--":
        return True
    below = (text for place in range(start, len(lines)) if (text := lines[place].strip()))
    texts = list(islice(below, SIGNATURE_LINES + 1))
    return len(texts) <= SIGNATURE_LINES and all(len(text) <= SIGNATURE_WIDTH for text in texts)
