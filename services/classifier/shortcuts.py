"""Events that need nobody: automatic replies, bounces, newsletters and advertising."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from services.classifier.intents import own_words
from services.classifier.vocabulary import vocabulary, words_of
from shared.domain.event import Event, EventKind

_I = re.IGNORECASE
_AUTO_SUBJECT = re.compile(
    r"^\s*(?:(?:re|aw)\s*:\s*)?(?:auto(?:matic|matische|mated)?[ -]?(?:reply|antwort|response)|"
    r"out of (?:the )?office|abwesenheit|ich bin (?:nicht im büro|abwesend)|"
    r"réponse automatique|respuesta automática|automatisch antwoord|absence du bureau|"
    r"fuera de la oficina|afwezig|risposta automatica|fuori (?:sede|ufficio)|odpowiedź "
    r"automatyczna|autoodpowiedź|resposta automática|fora do escritório|自動(?:応答|返信))",
    _I,
)
_BOUNCE_SUBJECT = re.compile(
    r"undeliver(?:ed|able)|delivery (?:status|has failed|failure)|mail delivery (?:failed|system)|"
    r"returned mail|unzustellbar|zustellung fehlgeschlagen|non remis",
    _I,
)
_BOUNCE_SENDER = re.compile(r"^(?:mailer-daemon|postmaster|bounces?[+@-]|mail\.daemon)", _I)
_NO_REPLY = re.compile(r"^(?:no-?reply|do-?not-?reply|newsletter|news|marketing)[@+.-]", _I)
# A person who is away still writes letters; only a short note about it is a machine's.
LONGEST_NOTE = 900
ENOUGH_SPAM = 2


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """Its intent, the flag it gets, and why in words."""

    intent: str
    flag: str
    reason: str


def shortcut(event: Event, *, is_known: bool) -> Shortcut | None:
    """Whether an event is an auto-reply, a bounce or bulk mail.

    ``is_known``: its sender is in the CRM; a customer's mail is never called spam by its words.
    """
    why = _automatic(event) if event.kind is EventKind.MAIL else None
    if why:
        return Shortcut(intent="auto_reply", flag="auto_reply", reason=why)
    if event.kind is EventKind.RECORD_CHANGE:
        return None
    words = words_of("\n".join(own_words(event.parts).values()))
    is_letter = event.kind is EventKind.MAIL and not event.is_form
    why = _bulk(event, words, is_known=is_known) if is_letter else None
    if not why and not is_known:
        why = _advertising(words)
    return Shortcut(intent="spam", flag="spam", reason=why) if why else None


def _automatic(event: Event) -> str | None:
    sender = (event.sender.email if event.sender else None) or ""
    subject = event.subject or event.parts.get("subject", "")
    is_bounce = "bounce" in event.facts or _BOUNCE_SENDER.match(sender)
    if is_bounce or _BOUNCE_SUBJECT.search(subject):
        return "a mail system reports that a mail could not be delivered"
    if "auto_reply" in event.facts:
        return "the mail says of itself that a machine sent it"
    if _AUTO_SUBJECT.search(subject):
        return "its subject is that of an automatic reply"
    body = event.parts.get("body", "")
    if len(body) < LONGEST_NOTE and _kinds(words_of(body))["absence"]:
        return "it is an absence note"
    return None


def _bulk(event: Event, words: str, *, is_known: bool) -> str | None:
    is_list = "bulk" in event.facts
    if is_list and not is_known:
        return "it came through a mailing list"
    sender = (event.sender.email if event.sender else None) or ""
    is_impersonal = is_list or not is_known or _NO_REPLY.match(sender)
    if is_impersonal and _kinds(words)["newsletter"]:
        return "it is a newsletter"
    return None


def _advertising(words: str) -> str | None:
    return "it advertises to anybody" if _kinds(words)["spam"] >= ENOUGH_SPAM else None


def _kinds(words: str) -> Counter[str]:
    """How many entries of each list stand in folded text."""
    return Counter(kind for kind, _, _ in vocabulary().found_in(words))
