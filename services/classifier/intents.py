"""What a message is for, by its words: English and German fully, French, Spanish, Dutch in part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.domain.event import Event, EventKind

_I = re.IGNORECASE

# Points per hit; the subject counts double. Words are stems: "beschwer" finds "Beschwerde".
_WORDS: dict[str, tuple[tuple[int, str], ...]] = {
    "complaint": (
        (
            3,
            r"\bcomplain(?:t|ing)?\b|beschwer|reklam(?:ation|ier)|\bplainte|\bréclamation|\bqueja\b"
            r"|\breclamaci|\bklacht",
        ),
        (
            2,
            r"unacceptable|disappoint|not happy|unhappy|dissatisf|terrible|awful|appalling|furious|"
            r"let down|fed up|never again|inakzeptabel|enttäusch|unzufrieden|ärger(?:lich|t)|frechheit|"
            r"unmöglich|mangelhaft|insatisfait|déçue?\b|inacceptable|decepcionad|insatisfech|"
            r"teleurgesteld|ontevreden",
        ),
        (
            2,
            r"\b(?:still|again) (?:leak|broken|not (?:work|fix|repair))|damaged|broken|faulty|"
            r"defect|nobody (?:came|called|showed)|no one (?:came|called|showed|turned)|no response|"
            r"kaputt|undicht|beschädigt|schaden\b|niemand (?:ist )?(?:gekommen|erschienen|gemeldet)|"
            r"immer noch nicht",
        ),
        (
            2,
            r"\blawyer|solicitor|legal action|\banwalt|rechtsanwalt|refund|money back|"
            r"geld zurück|remboursement|reembolso",
        ),
    ),
    "cancellation": (
        (
            3,
            r"\bcancel(?:l?ing|l?ation|led)?\b[^.\n]{0,40}\b(?:contract|order|subscription|service|"
            r"membership|agreement|plan|project)|"
            r"\b(?:contract|order|subscription|service|agreement|project)\b[^.\n]{0,30}\bcancel|"
            r"\bkündig|\bstornier|\bwiderruf|\brésili|\bannuler\b[^.\n]{0,30}(?:contrat|commande)|"
            r"\bcancelar\b|\bdar de baja|\bopzeggen|\bannuleren",
        ),
        (2, r"terminate (?:the|our|my) (?:contract|agreement)|withdraw from the"),
    ),
    "unsubscribe": (
        (
            4,
            r"\bunsubscribe\b|opt[ -]?out|remove me from|take me off|stop (?:sending|emailing)|"
            r"no more (?:e-?mails|newsletters)|delete my (?:data|personal data|account)|"
            r"\babmeld|\babbestell|aus (?:dem|ihrem) verteiler|keine (?:weiteren )?(?:werbe|newsletter|"
            r"e-?mails)|daten (?:zu )?löschen|löschung meiner|"
            r"désabonn|désinscri|darme de baja|cancelar la suscripci|uitschrijven|afmelden",
        ),
    ),
    "invoice": (
        (
            3,
            r"\binvoices?\b|\brechnung(?:en|s|\b)|\bfacture\b|\bfactura\b|\bfactuur\b|billing|"
            r"payment reminder|\bmahnung|zahlungserinnerung",
        ),
        (
            2,
            r"\bpayments?\b|\bpaid\b|\bpay\b|overdue|bank transfer|\biban\b|\bvat\b|remittance|"
            r"überw(?:eis|ies)|bezahl|zahlung|beglichen|\bpaiement|\bpago\b|\bbetaling",
        ),
    ),
    "appointment": (
        (
            3,
            r"\bappointments?\b|\breschedul|\bpostpone|site visit|\btermin(?:e|s|vorschlag|"
            r"verschiebung|absage)?\b|verschieb|\brendez-vous\b|\bcita\b|\bafspraak",
        ),
        (
            2,
            r"\bschedule\b|\bvisit\b|come (?:by|over|round|out)|\bsurvey\b|"
            r"\b(?:can|could|please|need to|have to) (?:you )?(?:move|cancel|confirm)\b[^.\n]{0,40}"
            r"(?:monday|tuesday|wednesday|thursday|friday|appointment|visit|tomorrow|meeting)|"
            r"besichtigung|vorbeikommen|vor ort|terminlich|meeting|\btreffen\b",
        ),
        (
            1,
            r"\b(?:monday|tuesday|wednesday|thursday|friday|tomorrow|next week|montag|dienstag|"
            r"mittwoch|donnerstag|freitag|morgen|nächste woche|lundi|mardi|lunes|martes|maandag)\b",
        ),
    ),
    "new_lead": (
        (
            3,
            r"\bquot(?:e|es|ation)\b|\bestimates?\b|price list|how much (?:would|does|do|will)|"
            r"\bangebot(?:e|s)?\b|kostenvoranschlag|preisanfrage|\banfrage\b|was (?:würde|kostet)|"
            r"\bdevis\b|\bpresupuesto\b|\bofferte\b|prijsopgave",
        ),
        (
            2,
            r"interested in|\binquir|\benquir|looking for|would like to (?:know more|hire|order|buy|"
            r"book)|new customer|do you (?:offer|do|install|repair|cover|work)|request a call|"
            r"your website|recommended (?:you|by)|demo\b|"
            r"interess(?:e an|iere|iert|é)|neukunde|suche(?:n)? (?:einen|eine|nach)|bieten sie|"
            r"auf ihrer (?:web|internet)seite|empfohlen|intéressé|busco|me interesa|geïnteresseerd",
        ),
    ),
    "contact_change": (
        (
            3,
            r"\b(?:new|changed?|updated?|different)\b[^.\n]{0,30}\b(?:(?:phone|mobile|cell|telephone)"
            r"(?: number)?|number|e-?mail|address|job|employer|company|title|position|contact (?:details|"
            r"information))|"
            r"\bneue[nrsm]?\b[^.\n]{0,30}\b(?:telefon|handy|mobil|rufnummer|nummer|e-?mail|mail|adresse|"
            r"anschrift|kontaktdaten|arbeitgeber|firma)|"
            r"\b(?:nouve(?:au|lle|l)|nueva?o?|nieuwe?)\b[^.\n]{0,30}\b(?:num|télé|adresse|courriel|"
            r"e-?mail|tel|dirección|correo|nummer|adres)",
        ),
        (
            3,
            r"\b(?:we|i|i've|i have|we've|we have)\b[^.\n]{0,15}\bmoved\b|umgezogen|\bumzug\b|"
            r"umbenannt|firmier|déménag|mudado|verhuisd",
        ),
        (
            2,
            r"update (?:my|our|your|the) (?:contact|record|details|file|number|address)|"
            r"change (?:of|my|our) (?:address|number|contact|e-?mail|details)|"
            r"please (?:only )?(?:use|note|reach|contact me)|no longer (?:valid|works?|in use|use)|"
            r"adressänderung|nummer hat sich|hat sich geändert|geänderte|gilt nicht mehr|"
            r"bitte (?:nur noch|ändern|aktualisier)|ab sofort",
        ),
    ),
    "thanks": (
        (
            2,
            r"\bthank(?:s| you)\b|\bcheers\b|much appreciated|well done|great job|\bdanke\b|"
            r"vielen dank|besten dank|herzlichen dank|\bmerci\b|\bgracias\b|bedankt|dank u",
        ),
    ),
}
_PATTERNS = {
    intent: tuple((points, re.compile(pattern, _I)) for points, pattern in rows)
    for intent, rows in _WORDS.items()
}
# Where two intents have equal points, the one that costs more to overlook is meant.
_ORDER = tuple(_WORDS)
_LEAST = 2

_AUTO_SUBJECT = re.compile(
    r"^\s*(?:(?:re|aw)\s*:\s*)?(?:auto(?:matic|matische|mated)?[ -]?(?:reply|antwort|response)|"
    r"out of (?:the )?office|abwesenheit|ich bin (?:nicht im büro|abwesend)|"
    r"réponse automatique|respuesta automática|automatisch antwoord|absence du bureau|"
    r"fuera de la oficina|afwezig)",
    _I,
)
_BOUNCE_SUBJECT = re.compile(
    r"undeliver(?:ed|able)|delivery (?:status|has failed|failure)|mail delivery (?:failed|system)|"
    r"returned mail|unzustellbar|zustellung fehlgeschlagen|non remis",
    _I,
)
_BOUNCE_SENDER = re.compile(r"^(?:mailer-daemon|postmaster|bounces?[+@-]|mail\.daemon)", _I)
_NO_REPLY = re.compile(
    r"^(?:no-?reply|do-?not-?reply|newsletter|news|marketing|info-mail)[@+.-]", _I
)
_AWAY = re.compile(
    r"\b(?:out of (?:the )?office|on (?:annual |parental )?(?:leave|vacation|holiday) (?:until|from|"
    r"and)|limited access to (?:my )?e-?mail|nicht im büro|bin (?:bis|vom|ab)\b[^.\n]{0,40}"
    r"(?:abwesend|im urlaub|nicht erreichbar)|derzeit (?:abwesend|im urlaub))",
    _I,
)
_SPAM = re.compile(
    r"\bseo\b|backlinks?|guest post|search engine (?:ranking|optimi)|first page of google|"
    r"rank(?:ing)? (?:higher|#1|on google)|crypto|bitcoin|forex|casino|viagra|\bloan offer|lottery|"
    r"\bwon \$|inheritance|million (?:dollars|usd|euro)|work from home|increase your (?:traffic|sales|"
    r"revenue|ranking)|web ?design (?:company|services)|mobile app development|leads? database|"
    r"e-?mail list|100% free|act now|limited time offer|click here|suchmaschinenoptimierung|"
    r"gewinnspiel|jetzt zugreifen|kredit ohne schufa|mailing list of|virtual assistants?|"
    r"outsourc(?:e|ing) (?:company|services)|b2b (?:leads|contacts)|no obligation|"
    r"dear (?:sir or madam|website owner|business owner|webmaster)|claim your",
    _I,
)
_NEWSLETTER = re.compile(
    r"view (?:this|it) (?:e-?mail )?in (?:your|the) browser|unsubscribe (?:here|at any time|from this)|"
    r"you (?:are receiving|received) this (?:e-?mail|newsletter) because|im browser (?:ansehen|anzeigen)|"
    r"sie erhalten diese(?:n)? (?:e-?mail|newsletter)|vom newsletter abmelden|our latest (?:news|"
    r"offers)|newsletter (?:#|no|nr|issue|january|november|december)|se désabonner de cette",
    _I,
)
_ENOUGH_SPAM = 2


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """An event that needs nobody: its intent, the flag it gets, and why in words."""

    intent: str
    flag: str
    reason: str


def shortcut(event: Event, *, is_known: bool) -> Shortcut | None:
    """Whether an event is an auto-reply, a bounce or bulk mail.

    ``is_known``: its sender is in the CRM; a customer's mail is never called spam by its words.
    """
    if event.kind is not EventKind.MAIL:
        return _spam(event) if not is_known and event.kind is EventKind.FORM else None
    subject = event.subject or event.parts.get("subject", "")
    if why := _automatic(event, subject):
        return Shortcut(intent="auto_reply", flag="auto_reply", reason=why)
    if why := _bulk(event, is_known=is_known):
        return Shortcut(intent="spam", flag="spam", reason=why)
    return None if is_known else _spam(event)


def _automatic(event: Event, subject: str) -> str | None:
    sender = (event.sender.email if event.sender else None) or ""
    if _BOUNCE_SENDER.match(sender) or _BOUNCE_SUBJECT.search(subject):
        return "a mail system reports that a mail could not be delivered"
    if event.facts.get("auto_submitted", "no").lower() not in {"", "no"}:
        return "the mail says of itself that a machine sent it"
    if _AUTO_SUBJECT.search(subject):
        return "its subject is that of an automatic reply"
    # A person who is away still writes letters; only a short note about it is a machine's.
    body = event.parts.get("body", "")
    return "an absence note" if len(body) < 900 and _AWAY.search(body) else None


def _bulk(event: Event, *, is_known: bool) -> str | None:
    body = event.parts.get("body", "")
    is_list = "list_id" in event.facts or event.facts.get("precedence") in {"bulk", "list"}
    if is_list and not is_known:
        return "it came through a mailing list"
    sender = (event.sender.email if event.sender else None) or ""
    if _NEWSLETTER.search(body) and (is_list or _NO_REPLY.match(sender) or not is_known):
        return "it is a newsletter"
    return None


def _spam(event: Event) -> Shortcut | None:
    text = "\n".join(event.parts.values())
    hits = {match[0].lower() for match in _SPAM.finditer(text)}
    if len(hits) < _ENOUGH_SPAM:
        return None
    return Shortcut(intent="spam", flag="spam", reason="it advertises to anybody")


def intent_of(parts: Mapping[str, str]) -> str:
    """The name of the intent that the words speak for; ``other`` if none does."""
    subject = parts.get("subject", "")
    body = "\n".join(text for name, text in parts.items() if name not in {"subject", "signature"})
    scores = {
        intent: _score(rows, body) + 2 * _score(rows, subject) for intent, rows in _PATTERNS.items()
    }
    best = max(_ORDER, key=lambda intent: scores[intent])
    if best == "thanks" and len(body.split()) > 60:
        return "other"
    return best if scores[best] >= _LEAST else "other"


def _score(rows: tuple[tuple[int, re.Pattern[str]], ...], text: str) -> int:
    return sum(points for points, pattern in rows if text and pattern.search(text))


def is_urgent(parts: Mapping[str, str], urgent_words: tuple[str, ...]) -> bool:
    """Whether the event uses one of the policy's urgent words, as whole words."""
    pattern = _urgent(urgent_words)
    return pattern is not None and any(pattern.search(text) for text in parts.values())


_URGENT: dict[tuple[str, ...], re.Pattern[str] | None] = {}


def _urgent(words: tuple[str, ...]) -> re.Pattern[str] | None:
    if words not in _URGENT:
        joined = "|".join(re.escape(word) for word in words)
        _URGENT[words] = re.compile(rf"\b(?:{joined})\b", _I) if words else None
    return _URGENT[words]
