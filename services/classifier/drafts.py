"""Texts for people, out of templates: summary, reply draft and next steps; nothing is sent."""

from __future__ import annotations

from services.classifier.plain import one_line, plain
from shared.domain.event import Event, EventKind
from shared.domain.record import Reading

_LABELS = {
    "en": {
        "email": "e-mail address",
        "phone": "phone number",
        "company": "company",
        "job_title": "job title",
        "address": "address",
        "city": "city",
        "postal_code": "postal code",
        "preferred_channel": "preferred way of contact",
        "first_name": "first name",
        "last_name": "last name",
        "last_contacted": "date of last contact",
    },
    "de": {
        "email": "E-Mail-Adresse",
        "phone": "Telefonnummer",
        "company": "Firma",
        "job_title": "Position",
        "address": "Anschrift",
        "city": "Ort",
        "postal_code": "Postleitzahl",
        "preferred_channel": "Kontaktweg",
        "first_name": "Vorname",
        "last_name": "Nachname",
        "last_contacted": "Datum des letzten Kontakts",
    },
}
_GREETING = {"en": ("Hello {name},", "Hello,"), "de": ("Guten Tag {name},", "Guten Tag,")}
_CLOSING = {"en": "Kind regards", "de": "Freundliche Grüße"}
_BODIES: dict[str, dict[str, str]] = {
    "en": {
        "contact_change": (
            "thank you for letting us know. We have noted your new {fields} and will use it from"
            " now on, once a colleague has checked it."
        ),
        "new_lead": (
            "thank you for your enquiry. So that we can give you a useful answer, could you tell us"
            " where the work is to be done, roughly how large it is, and by when you need it? We"
            " will then suggest a time for a visit."
        ),
        "complaint": (
            "thank you for telling us, and we are sorry that this went wrong. A colleague is"
            " looking into it now and will come back to you with what we found and what we will do."
        ),
        "appointment": (
            "thank you for your message. We have passed your wish about the appointment to our"
            " scheduling team and will confirm a time with you."
        ),
        "cancellation": (
            "thank you for your message. We have received your wish to cancel and will check what"
            " it concerns; you will get our confirmation in writing."
        ),
        "invoice": (
            "thank you for your message. We are checking the invoice and the payments we have"
            " received, and will come back to you."
        ),
        "unsubscribe": (
            "thank you for your message. We have received your wish and a colleague will carry it"
            " out; you will hear from us when it is done."
        ),
        "other": "thank you for your message. We have read it and will come back to you shortly.",
    },
    "de": {
        "contact_change": (
            "vielen Dank für Ihre Nachricht. Wir haben folgende Änderung notiert ({fields}) und"
            " übernehmen sie, sobald sie geprüft ist."
        ),
        "new_lead": (
            "vielen Dank für Ihre Anfrage. Damit wir Ihnen gut antworten können: Wo soll die Arbeit"
            " ausgeführt werden, wie groß ist sie ungefähr, und bis wann brauchen Sie sie? Danach"
            " schlagen wir Ihnen einen Termin vor Ort vor."
        ),
        "complaint": (
            "vielen Dank, dass Sie uns das mitteilen; es tut uns leid, dass es so gekommen ist. Wir"
            " gehen der Sache nach und melden uns mit dem Ergebnis und unserem Vorschlag."
        ),
        "appointment": (
            "vielen Dank für Ihre Nachricht. Wir haben Ihren Terminwunsch weitergegeben und"
            " bestätigen Ihnen die Zeit."
        ),
        "cancellation": (
            "vielen Dank für Ihre Nachricht. Ihr Wunsch zu kündigen ist eingegangen; wir prüfen"
            " ihn und bestätigen ihn schriftlich."
        ),
        "invoice": (
            "vielen Dank für Ihre Nachricht. Wir prüfen die Rechnung und die eingegangenen"
            " Zahlungen und melden uns bei Ihnen."
        ),
        "unsubscribe": (
            "vielen Dank für Ihre Nachricht. Ihr Wunsch ist eingegangen und wird ausgeführt; wir"
            " melden uns, sobald es erledigt ist."
        ),
        "other": "vielen Dank für Ihre Nachricht. Wir haben sie gelesen und melden uns in Kürze.",
    },
}
_SUBJECTS = {
    "contact_change": "Contact details have changed",
    "new_lead": "A new enquiry",
    "complaint": "A complaint",
    "appointment": "About an appointment",
    "cancellation": "A wish to cancel",
    "invoice": "About an invoice or payment",
    "unsubscribe": "A wish to receive no more mail, or to have data deleted",
    "auto_reply": "An automatic reply",
    "spam": "Advertising or a newsletter",
    "thanks": "Thanks",
    "record_change": "A record was changed in the CRM",
    "other": "A message",
}
_STEPS: dict[str, tuple[str, ...]] = {
    "contact_change": ("Check the quoted words, then approve or reject each field",),
    "new_lead": (
        "Check whether the person is already known under another address",
        "Answer within one working day and suggest a site visit",
    ),
    "complaint": (
        "Call the customer today; a call settles more than a letter",
        "Write down what happened and who takes care of it",
    ),
    "appointment": ("Check the calendar and confirm a time in writing",),
    "cancellation": (
        "Check the contract and the notice period",
        "Ask for the reason, then confirm in writing",
    ),
    "invoice": ("Compare the invoice with the payments received, then answer",),
    "unsubscribe": (
        "Carry out the wish in the CRM yourself: consent is never changed by this product",
        "Confirm to the sender that it is done",
    ),
    "other": ("Read the message and decide who should answer it",),
}
_BY_STAGE = {
    "new": "The deal is new: agree on a first call",
    "site_visit": "A site visit is planned: confirm date and address",
    "quote_sent": "A quote is out: ask whether questions are open",
    "negotiation": "Prices are being discussed: agree on the next call",
    "won": "The deal is won: check that the start date is confirmed",
    "lost": "The deal was lost: note the reason if it is missing",
    "lead": "A lead: find out what is needed and by when",
    "qualified": "A qualified lead: prepare the quote",
    "former": "A former customer: ask what would bring them back",
}
MAX_SUMMARY, MAX_REPLY, MAX_STEP, MAX_STEPS = 1200, 2000, 200, 5


def summary_of(event: Event, intent: str, reading: Reading | None, changed: list[str]) -> str:
    """Two or three sentences out of facts; of the message only its subject."""
    who = _who(event, reading)
    sentences = [f"{_SUBJECTS.get(intent, 'A message')} from {who}, by {_medium(event)}."]
    if event.subject and event.kind is EventKind.MAIL:
        # Quotation marks and one line: whatever it says, it reads as somebody's words.
        subject, _ = plain(one_line(event.subject, 120), 120)
        sentences.append(f"Subject: “{subject}”.")
    if changed:
        names = ", ".join(_LABELS["en"].get(name, name.replace("_", " ")) for name in changed)
        sentences.append(f"New values are given for: {names}.")
    if reading is not None:
        sentences.append(_standing(reading))
    return one_line(" ".join(sentences), MAX_SUMMARY)


def history_of(reading: Reading, limit: int = 5) -> str:
    """What is known of a record: how it stands, and the last things that happened to it."""
    items = sorted(reading.history, key=lambda item: item.at, reverse=True)[:limit]
    told = "; ".join(
        f"{item.at:%Y-%m-%d} {item.kind}: {plain(one_line(item.text, 160), 160)[0]}"
        for item in items
    )
    latest = f" The latest: {told}." if told else ""
    return f"{reading.title}. {_standing(reading)}{latest}"


def reply_to(
    intent: str, language: str, first_name: str, changed: list[str], company: str
) -> str | None:
    """A polite draft in the sender's language; ``None`` where no answer is due."""
    body = _BODIES[language].get(intent)
    if body is None:
        return None
    labels = _LABELS[language]
    fields = ", ".join(labels.get(name, name.replace("_", " ")) for name in changed)
    if intent == "contact_change" and not fields:
        body = _BODIES[language]["other"]
    named, unnamed = _GREETING[language]
    name, _ = plain(one_line(first_name, 40), 40)
    greeting = named.format(name=name) if name else unnamed
    text = body.replace("{fields}", fields)
    text = text[0].upper() + text[1:] if language == "en" else text
    return f"{greeting}\n\n{text}\n\n{_CLOSING[language]}\n{company}".rstrip()


def next_steps(intent: str, reading: Reading | None) -> tuple[str, ...]:
    """What to do next, from the intent and from where the customer stands."""
    steps = list(_STEPS.get(intent, ()))
    stage = str(_stage(reading) or "")
    if stage in _BY_STAGE and intent not in {"auto_reply", "spam"}:
        steps.append(_BY_STAGE[stage])
    return tuple(steps[:MAX_STEPS])


def _stage(reading: Reading | None) -> object:
    if reading is None:
        return None
    return reading.fields.get("stage") or reading.fields.get("lifecycle")


def _standing(reading: Reading) -> str:
    facts = []
    if stage := _stage(reading):
        facts.append(f"stage {str(stage).replace('_', ' ')}")
    if last := reading.fields.get("last_contacted"):
        facts.append(f"last contacted {last}")
    if reading.history:
        facts.append(f"{len(reading.history)} entries in the history")
    return f"In the CRM: {', '.join(facts)}." if facts else "In the CRM without further notes."


def _who(event: Event, reading: Reading | None) -> str:
    if reading is not None:
        return plain(one_line(reading.title, 80), 80)[0]
    if event.sender is None:
        return "an unnamed sender"
    name = event.sender.name or event.sender.email or event.sender.phone or "an unnamed sender"
    text, _ = plain(one_line(name, 80), 80)
    return f"{text} (not in the CRM)"


def _medium(event: Event) -> str:
    names = {EventKind.MAIL: "mail", EventKind.FORM: "form", EventKind.MESSAGE: "message"}
    return names.get(event.kind, "webhook")
