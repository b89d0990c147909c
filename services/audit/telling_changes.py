"""What the entries about decisions, changes, people and the log itself say in plain words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.audit.search.index import ValueChange
from services.audit.telling_events import Body, Told, record_text, shown, value_changes

_VERDICTS = {"accepted": "accepted", "edited": "edited", "dropped": "left out"}


def _superseded(body: Body, _: str) -> Told:
    return Told(
        sentence=f"The proposal for {record_text(body['record'])} was replaced by a newer one.",
        outcome="superseded",
        details=(("Replaced by", body["by"]),),
    )


def _expired(body: Body, _: str) -> Told:
    return Told(
        sentence=(
            f"The proposal for {record_text(body['record'])} expired without a decision. "
            "Nothing was changed."
        ),
        outcome="expired",
        tone="bad",
    )


def _opened(body: Body, who: str) -> Told:
    now = tuple(
        ValueChange(name=name, before=None, after=shown(value))
        for name, value in sorted(body["now"].items())
    )
    return Told(
        sentence=f"{who} opened the card and was shown the live values beside the proposal.",
        changes=now,
        outcome="opened",
        details=(("Card (SHA-256)", body["card_digest"]),),
    )


def _decided(body: Body, _: str) -> Told:
    verdicts = [field["verdict"] for field in body["fields"]]
    who, rejected = body["approver"], body["verdict"] == "rejected"
    what = body.get("appends") or "proposal"
    if rejected:
        reason = (body.get("reason") or "no reason").replace("_", " ")
        sentence = f"{who} rejected the {what}: {reason}."
    else:
        parts = [
            f"{verdicts.count(verdict)} {word}"
            for verdict, word in _VERDICTS.items()
            if verdict in verdicts
        ]
        act = "promoted what was tried" if body.get("promotes") else f"approved the {what}"
        sentence = f"{who} {act} after {_seconds(body)}: {', '.join(parts)}."
    edited = "edited" in verdicts and not rejected
    return Told(
        sentence=sentence,
        excerpt=body.get("comment") or "",
        changes=value_changes(body["fields"], before="now", after="value"),
        outcome="rejected" if rejected else _approved_as(body, edited=edited),
        tone="plain" if rejected else "good",
        details=(
            ("Signed by key", body["key_id"]),
            ("Signed in with", f"{body['auth_level']}, at {body['auth_time']}"),
            ("Card (SHA-256)", body["card_digest"]),
        ),
    )


def _approved_as(body: Body, *, edited: bool) -> str:
    if body.get("promotes"):
        return "promoted"
    return "edited" if edited else "approved"


def trial_in(body: Body) -> str | None:
    """The sandbox account that a message about a change speaks of; ``None``: the live one."""
    account = body.get("account")
    return None if account is None or account == body["record"]["crm"] else str(account)


def appended(body: Body) -> str | None:
    """Note or task where a message about a change speaks of one."""
    kind = body.get("kind")
    return str(kind) if kind in {"note", "task"} else None


def _seconds(body: Body) -> str:
    seconds = body.get("seconds", 0)
    return f"{seconds} second{'' if seconds == 1 else 's'} on the card"


def _intended(body: Body, _: str) -> Told:
    end = f"tried in {account}" if (account := trial_in(body)) else "written"
    what = "What was tried for" if body.get("promotes") else "A permitted change to"
    if kind := appended(body):
        what, end = f"A permitted {kind} for", "appended"
    return Told(
        sentence=f"{what} {record_text(body['record'])} is about to be {end}.",
        changes=value_changes(body["fields"], name="name"),
        outcome="intended",
        tone="wait",
        details=(("Policy", body["policy"]), ("Proposed by", body["proposer"])),
    )


def _receipt(body: Body, _: str) -> Told:
    seq = body["entry"]["seq"]
    return Told(sentence=f"The log confirmed the intent: entry {seq} is sealed.", outcome="receipt")


def _applied(body: Body, who: str) -> Told:
    same = body["matches"]
    if same is None:
        return _done_by_hand(body, who)
    end = "the read-back matches" if same else "the CRM altered a value: see the read-back"
    record, account = record_text(body["record"]), trial_in(body)
    done = f"{record} was written and read back"
    if kind := appended(body):
        done = f"The {kind} was appended to {record} and read back"
    if account is not None:
        done = f"Tried in {account} as {record_text(body['stand_in'])}, and read back, for {record}"
    return Told(
        sentence=f"{done}: {end}.",
        changes=value_changes(body["fields"], name="name", after="read_back"),
        outcome="applied" if account is None else "tried",
        tone="good" if same else "bad",
        details=(
            ("Sent", body["sent_at"]),
            ("Read back", body["read_at"]),
            ("Attempts", str(body["attempts"])),
        ),
        is_error=not same,
    )


def _done_by_hand(body: Body, who: str) -> Told:
    return Told(
        sentence=f"{who} changed {record_text(body['record'])} by hand: it was not read back.",
        changes=value_changes(body["fields"], name="name"),
        outcome="applied",
        tone="good",
        details=(("Handed over", body["sent_at"]),),
    )


def _change_failed(body: Body, _: str) -> Told:
    done = f"tried in {account}" if (account := trial_in(body)) else "written"
    what = "change to"
    if kind := appended(body):
        what, done = f"{kind} for", "appended"
    return Told(
        sentence=f"The {what} {record_text(body['record'])} was not {done}: {body['rule']}.",
        excerpt=f"{body['detail']}\n{body['advice']}",
        outcome="failed",
        tone="bad",
        details=(("What to do", body["advice"]),),
        is_error=True,
    )


def _stale(body: Body, _: str) -> Told:
    by = f" by {body['changed_by']}" if body.get("changed_by") else ""
    return Told(
        sentence=(
            f"{record_text(body['record'])} was changed{by} in the meantime, "
            f"so nothing was {'tried' if trial_in(body) else 'written'}."
        ),
        changes=value_changes(body["fields"], name="name", after="now"),
        outcome="stale",
        tone="bad",
        is_error=True,
    )


def _unknown(body: Body, _: str) -> Told:
    record, account = record_text(body["record"]), trial_in(body)
    sentence = f"It is not known yet whether {record} was written."
    if account:
        sentence = f"It is not known yet how the trial in {account} for {record} ended."
    elif kind := appended(body):
        sentence = f"It is not known yet whether the {kind} was appended to {record}."
    return Told(
        sentence=sentence,
        excerpt=body["detail"],
        outcome="unknown",
        tone="wait",
        is_error=True,
    )


def _verified(body: Body, who: str) -> Told:
    return Told(
        sentence=f"{who} looked at the written change: {body['verdict']}.",
        excerpt=body.get("note") or "",
        outcome="verified",
        tone="good",
    )


def _assist(body: Body, who: str) -> Told:
    kinds = {"again": "another try", "next_steps": "next steps"}
    return Told(
        sentence=f"{who} asked for {kinds.get(body['kind'], 'a ' + body['kind'])}.",
        excerpt=body.get("note") or "",
        outcome="asked",
    )


def _repair(body: Body, who: str) -> Told:
    return Told(
        sentence=f"{who} asked for a repair: {body['kind']}.",
        excerpt=body["reason"],
        outcome="repair",
    )


def _policy(body: Body, who: str) -> Told:
    widened = ", ".join(body["widened"])
    more = f" It allows more: {widened}." if widened else ""
    return Told(sentence=f"{who} put policy {body['policy'][:12]} in force.{more}")


def _person(body: Body, who: str) -> Told:
    roles = ", ".join(body["roles"]) or "no roles"
    return Told(sentence=f"{who}: {body['person']} {body['action']} ({roles}).")


def _source(body: Body, who: str) -> Told:
    where = f"{body['source']}{'/' + body['endpoint'] if body.get('endpoint') else ''}"
    return Told(
        sentence=f"{who} changed the source {where} ({body['action']}): {body['detail']}.",
        outcome=body["action"],
    )


def _session(body: Body, _: str) -> Told:
    return Told(sentence=f"{body['person']} signed in by {body['how']}.")


def _search(body: Body, who: str) -> Told:
    filters = ", ".join(body["filters"]) or "words alone"
    return Told(sentence=f"{who} searched the log ({filters}): {body['hits']} found.")


def _unmasked(body: Body, who: str) -> Told:
    return Told(sentence=f"{who} unmasked {body['what']}.", excerpt=body["reason"])


def _erased(body: Body, who: str) -> Told:
    number = len(body["chains"])
    return Told(
        sentence=f"{who} erased a person: {number} chain{'' if number == 1 else 's'}.",
        excerpt=body["reason"],
        outcome="erased",
    )


def _checkpoint(body: Body, _: str) -> Told:
    return Told(sentence=f"The log was sealed at {body['size']} entries.")


def _key(body: Body, _: str) -> Told:
    old, new = (body[name].partition("+")[2].partition("+")[0] for name in ("old", "new"))
    return Told(sentence=f"The key that seals the log was changed from {old} to {new}.")


def _stop(body: Body, who: str) -> Told:
    return Told(sentence=f"{who} stopped all writing.", excerpt=body["reason"], tone="bad")


def _resume(body: Body, who: str) -> Told:
    return Told(sentence=f"{who} let writing go on.", excerpt=body["reason"], tone="good")


def _promoted(body: Body, who: str) -> Told:
    return Told(
        sentence=f"{who} promoted a draft to {record_text(body['record'])}.",
        outcome="promoted",
        tone="good",
    )


def _discarded(body: Body, who: str) -> Told:
    return Told(
        sentence=f"{who} discarded the draft {record_text(body['draft'])}.",
        excerpt=body["reason"],
        outcome="discarded",
    )


def _grant(body: Body, who: str) -> Told:
    field = f"{body['crm']}/{body['object']}.{body['field']}"
    return Told(sentence=f"{who} let {field} be written first and verified afterwards.")


def _revoked(body: Body, who: str) -> Told:
    return Told(sentence=f"{who} took a grant back.", excerpt=body["reason"])


TELLERS: Mapping[str, Callable[[Body, str], Told]] = {
    "proposal.superseded": _superseded,
    "proposal.expired": _expired,
    "card.opened": _opened,
    "decision.made": _decided,
    "change.intended": _intended,
    "receipt.issued": _receipt,
    "change.applied": _applied,
    "change.failed": _change_failed,
    "change.stale": _stale,
    "change.unknown": _unknown,
    "change.verified": _verified,
    "assist.requested": _assist,
    "repair.requested": _repair,
    "policy.changed": _policy,
    "person.changed": _person,
    "source.changed": _source,
    "session.opened": _session,
    "search.made": _search,
    "record.unmasked": _unmasked,
    "person.erased": _erased,
    "checkpoint.signed": _checkpoint,
    "key.changed": _key,
    "writing.stopped": _stop,
    "writing.resumed": _resume,
    "draft.promoted": _promoted,
    "draft.discarded": _discarded,
    "grant.made": _grant,
    "grant.revoked": _revoked,
}
