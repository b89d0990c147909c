"""What the entries about events say in plain words, and the shape of all such sayings.

A sentence holds ids, names of fields and of people of the office, never a customer's values:
those stand in the excerpt and in the changes, which are masked before they are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.audit.search.index import ValueChange

Body = Mapping[str, Any]
Detail = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Told:
    """``tone`` is good, wait, bad or plain. ``outcome`` is a word to filter by."""

    sentence: str
    excerpt: str = ""
    changes: tuple[ValueChange, ...] = ()
    outcome: str | None = None
    tone: str = "plain"
    details: tuple[Detail, ...] = ()
    is_error: bool = False


def name_of(actor: str) -> str:
    """``person:ann`` is ``ann``, ``service:writer`` is ``the writer``."""
    kind, _, name = actor.partition(":")
    return name if kind == "person" else f"the {name or kind}"


def record_text(record: Body | None) -> str:
    return "no record" if not record else f"{record['crm']}/{record['type']}/{record['id']}"


def shown(value: Any) -> str | None:
    """A value as text; ``None`` stays empty."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def maker_text(maker: Body) -> str:
    if maker["kind"] == "person":
        return f"{maker['name']} (a person)"
    if maker["kind"] == "rules":
        return f"the rules (version {maker['version']})"
    return f"the model {maker['name']} (prompt {maker['version']})"


def value_changes(
    rows: list[Body], *, name: str = "field", before: str = "before", after: str = "after"
) -> tuple[ValueChange, ...]:
    return tuple(
        ValueChange(name=row[name], before=shown(row.get(before)), after=shown(row.get(after)))
        for row in rows
    )


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"


def sender_text(sender: Body | None) -> str:
    """Name, address and number of whoever sent it."""
    parts = [(sender or {}).get(part) for part in ("name", "email", "phone")]
    return ", ".join(str(part) for part in parts if part)


_KINDS = {
    "mail": "A mail came in",
    "form": "A form was sent",
    "record_change": "A record was changed in the CRM",
    "message": "A message came in",
}


def _received(body: Body, _: str) -> Told:
    about = f" ({record_text(body['record'])})" if body.get("record") else ""
    parts = body.get("parts") or {}
    texts = [sender_text(body.get("sender")), body.get("subject") or ""]
    texts += [f"{key}: {value}" if len(parts) > 1 else value for key, value in parts.items()]
    changes = tuple(
        ValueChange(name=name, before=None, after=shown(value))
        for name, value in (body.get("changes") or {}).items()
    )
    verified = (body.get("sender") or {}).get("verified", "unverified")
    return Told(
        sentence=f"{_KINDS[body['kind']]} through {body['source']}{about}.",
        excerpt="\n".join(dict.fromkeys(filter(None, texts))),
        changes=changes,
        outcome="received",
        details=(
            ("Type", body["type"]),
            ("Sender checked", {"pass": "passed", "fail": "failed"}.get(verified, "not verified")),
            ("Raw bytes (SHA-256)", body["raw_sha256"]),
        ),
    )


_REFUSALS = {
    "mismatch": "its signature does not match",
    "malformed": "its signature is malformed",
    "missing": "it has no signature",
    "stale": "its signature is too old or from the future",
    "replayed": "it had come before (a duplicate)",
    "duplicate": "it had come before (a duplicate)",
    "policy": "the rules of this endpoint do not allow it",
    "not-json": "it is not valid JSON",
    "bad-payload": "it has the wrong shape",
    "too-large": "it is too large",
    "unknown-source": "there is no such source",
    "unknown-endpoint": "there is no such endpoint",
    "unknown-kind": "this kind of event is not handled",
    "no-secret": "the endpoint has no secret yet, so nothing can be verified",
    "quarantined": "it is held back: it tries to steer the assistant, or its sender is impossible",
}


def _rejected(body: Body, _: str) -> Told:
    why = _REFUSALS.get(body["reason"], body["reason"])
    times = body.get("count", 1)
    several = f" This happened {times} times." if times > 1 else ""
    ending = "It was stored, but made no proposal." if body["accepted"] else "Nothing was stored."
    return Told(
        sentence=(
            f"A request to {body['source']}/{body['endpoint']} was refused: {why}. "
            f"{ending} Nothing was changed.{several}"
        ),
        excerpt=body.get("detail", ""),
        outcome=body["reason"],
        tone="plain" if body["reason"] in {"unknown-kind", "replayed", "duplicate"} else "bad",
        is_error=True,
    )


def _amount(proposals: list[Body]) -> str:
    """``2 changes to``, ``a note for``, ``1 change to, and a note for``."""
    added = [str(one["kind"]) for one in proposals if one["kind"] in {"note", "task"}]
    number = sum(len(one["fields"]) for one in proposals if one["kind"] not in added)
    changes = [f"{_count(number, 'change')} to"] if number or not added else []
    notes = [f"{' and '.join(f'a {kind}' for kind in added)} for"] if added else []
    return ", and ".join([*changes, *notes])


def _classified(body: Body, _: str) -> Told:
    proposals, maker = body.get("proposals") or [], maker_text(body["maker"])
    outcome = body["outcome"]
    if outcome == "proposed":
        records = ", ".join(dict.fromkeys(record_text(p["record"]) for p in proposals))
        sentence = f"{maker} proposed {_amount(proposals)} {records}."
    elif outcome == "nothing_to_do":
        sentence = f"{maker} found nothing to do."
    else:
        sentence = f"{maker} could not decide: a person must look."
    steps = [f"{number}. {step}" for number, step in enumerate(body.get("next_steps") or [], 1)]
    texts = [body["summary"], body["reason"], body.get("reply_draft") or "", *steps]
    quotes = [
        f"{field['field']}: “{field['evidence']['quote']}”"
        for proposal in proposals
        for field in proposal["fields"]
        if field.get("evidence")
    ]
    return Told(
        sentence=sentence,
        excerpt="\n".join(filter(None, texts)),
        changes=value_changes([field for proposal in proposals for field in proposal["fields"]]),
        outcome=outcome,
        tone="wait" if outcome != "nothing_to_do" else "plain",
        details=(
            ("Route", body["route"]),
            ("Urgency", body["urgency"]),
            ("Why", body["reason"]),
            *((("Evidence", "\n".join(quotes)),) if quotes else ()),
            *((("Flags", ", ".join(body["flags"])),) if body.get("flags") else ()),
        ),
    )


def _handled(body: Body, who: str) -> Told:
    words = {
        "done": "dealt with this",
        "assigned": f"assigned this to {body.get('assignee')}",
        "reopened": "opened this again",
    }
    return Told(
        sentence=f"{who} {words[body['action']]}.",
        excerpt=body.get("note") or "",
        outcome=body["action"],
        tone="good" if body["action"] == "done" else "wait",
    )


def _failed_event(body: Body, _: str) -> Told:
    return Told(
        sentence=f"The {body['stage']} could not finish this event. Nothing was changed.",
        excerpt=body["reason"],
        outcome="failed",
        tone="bad",
        is_error=True,
    )


def _parked(body: Body, _: str) -> Told:
    return Told(
        sentence=f"A message ({body['topic']}) was parked by {body['queue']} until a person looks.",
        excerpt=body["reason"],
        outcome="parked",
        tone="bad",
        is_error=True,
    )


def _decided_letter(words: str, outcome: str) -> Callable[[Body, str], Told]:
    def tell(body: Body, who: str) -> Told:
        return Told(
            sentence=f"{who} {words} a parked message ({body['topic']}) of {body['queue']}.",
            excerpt=body["reason"],
            outcome=outcome,
            tone="wait",
        )

    return tell


def _replayed(body: Body, who: str) -> Told:
    return Told(
        sentence=f"{who} sent the event on its way again.",
        excerpt=body["reason"],
        outcome="replayed",
        tone="wait",
    )


def _read(body: Body, who: str) -> Told:
    fields = ", ".join(body["fields"])
    number = _count(len(body["fields"]), "field")
    return Told(
        sentence=f"{who} read {number} of {record_text(body['record'])} ({body['purpose']}).",
        outcome="read",
        details=(("Fields read", fields), ("Version", body.get("version") or "none given")),
    )


def _asked(body: Body, _: str) -> Told:
    return Told(
        sentence=f"The model {body['model']} was asked with prompt {body['prompt_version']}.",
        excerpt=body["prompt"],
        outcome="asked",
        details=(("Prompt version", body["prompt_version"]), ("Prompt", body["prompt"])),
    )


def _answered(body: Body, _: str) -> Told:
    error = body.get("error")
    seconds = f"{body['milliseconds'] / 1000:.1f} s"
    end = f"gave no usable answer ({error})" if error else "answered"
    return Told(
        sentence=f"The model {body['model']} {end} after {seconds}.",
        excerpt=body["answer"],
        outcome="unanswered" if error else "answered",
        tone="bad" if error else "plain",
        details=(
            ("Tokens", f"{body['tokens_in']} in, {body['tokens_out']} out"),
            ("Answer", body["answer"]),
        ),
        is_error=bool(error),
    )


def _dropped(body: Body, _: str) -> Told:
    return Told(
        sentence=f"A proposed value for {body['field']} was dropped: {body['rule']}.",
        excerpt=body["detail"],
        changes=(ValueChange(name=body["field"], before=None, after=shown(body["value"])),),
        outcome="dropped",
        details=(("Rule", body["rule"]), ("Detail", body["detail"])),
    )


TELLERS: Mapping[str, Callable[[Body, str], Told]] = {
    "event.received": _received,
    "event.rejected": _rejected,
    "event.classified": _classified,
    "event.handled": _handled,
    "event.failed": _failed_event,
    "event.replayed": _replayed,
    "message.parked": _parked,
    "message.replayed": _decided_letter("sent again", "replayed"),
    "message.dropped": _decided_letter("dropped", "dropped"),
    "record.read": _read,
    "model.asked": _asked,
    "model.answered": _answered,
    "proposal.dropped": _dropped,
}
