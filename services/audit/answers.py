"""The eight questions of a complaint and the items of a complete record, answered from entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.audit.masking import Mask
from services.audit.reader import Logged
from services.audit.search.index import Document, ValueChange
from services.audit.telling import told
from services.audit.telling_changes import appended, trial_in
from services.audit.telling_events import Body, Told, maker_text, sender_text

QUESTIONS = (
    "What did the customer send?",
    "What did the model see and read?",
    "What did it propose and why?",
    "What did the approver see?",
    "Who decided, when, how long?",
    "What was written, and is it still so?",
    "Has anyone corrected it since?",
    "What errors occurred?",
)
# A change that was written to a sandbox alone: nothing of the CRM itself.
TRIED = "change.tried"
_STATUS = {
    "change.applied": "written and read back",
    TRIED: "tried in a sandbox and read back, not promoted yet",
    "change.failed": "not written: refused",
    "change.stale": "not written: the record had changed",
    "change.unknown": "outcome not known yet",
    "change.intended": "approved, not yet written",
    "proposal.expired": "expired without a decision",
    "proposal.superseded": "replaced by a newer proposal",
    "event.handled": "dealt with by a person",
    "event.failed": "failed",
    "message.parked": "parked until a person looks",
    "event.rejected": "refused",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``seqs`` are the entries it rests on."""

    question: str
    sentences: tuple[str, ...]
    seqs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Item:
    """``state``: present; none (there was nothing of the kind); open (still to come); missing."""

    name: str
    state: str
    text: str
    seqs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One entry and what it says; ``body`` is never ``None``."""

    seq: int
    at: str
    topic: str
    body: Body
    said: Told


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The entries of one chain by topic, in ledger order."""

    all: tuple[Fact, ...]
    erased: int

    def of(self, *topics: str) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.all if fact.topic in topics)

    @property
    def applied(self) -> Fact | None:
        found = self.of("change.applied")
        return found[-1] if found else None

    @property
    def written(self) -> tuple[ValueChange, ...]:
        return tuple(change for fact in self.of("change.applied") for change in fact.said.changes)

    @property
    def errors(self) -> tuple[Fact, ...]:
        return tuple(fact for fact in self.all if fact.said.is_error)

    @property
    def beginning(self) -> str:
        received = self.of("event.received")
        if received:
            kinds = {"mail": "A mail", "form": "A form", "record_change": "A change in the CRM"}
            return kinds.get(str(received[0].body.get("kind")), "A message")
        if self.of("event.rejected"):
            return "A refused request"
        return "An act" if self.all else "Erased content"

    @property
    def status(self) -> str:
        """How it stands now, in a few words."""
        for fact in reversed(self.all):
            if fact.topic == "decision.made":
                return "rejected" if fact.said.outcome == "rejected" else _STATUS["change.intended"]
            if fact.topic == "event.classified":
                return str(fact.said.outcome).replace("_", " ")
            if fact.topic == "change.applied" and fact.body.get("matches", True) is None:
                return "done by hand, not read back"
            if fact.topic in _STATUS:
                return _STATUS[fact.topic]
        if not self.all:
            return "erased"
        return "waiting" if self.of("event.received") else "logged"

    @property
    def why_nothing(self) -> str | None:
        """Why the CRM was not changed; ``None`` where it was, or where it does not apply."""
        if self.applied or not self.all:
            return None
        last = self.of(
            "change.failed", "change.stale", "change.unknown", "proposal.expired", "event.failed",
            "message.parked", "event.rejected", "proposal.superseded",
        )  # fmt: skip
        if last:
            return last[-1].said.sentence
        if decided := self.of("decision.made"):
            return self._why_unwritten(decided[-1])
        if classified := self.of("event.classified"):
            return self._why_undecided(classified[-1])
        return "It has not been looked at yet." if self.of("event.received") else None

    def _why_unwritten(self, decided: Fact) -> str:
        if decided.said.outcome == "rejected":
            return decided.said.sentence
        if decided.said.outcome != "promoted" and (tried := self.of(TRIED)):
            return f"{tried[-1].said.sentence} It is not promoted yet."
        return "It is approved and not yet written."

    def _why_undecided(self, classified: Fact) -> str:
        dropped = [fact.said.sentence for fact in self.of("proposal.dropped")]
        if classified.said.outcome == "proposed":
            return "The proposal waits for a person's decision."
        return " ".join([classified.said.sentence, *dropped])


def facts_of(entries: Sequence[Logged]) -> Facts:
    """The entries that still have their content."""
    facts = [
        Fact(
            seq=logged.seq,
            at=logged.at,
            topic=_topic_of(logged),
            body=logged.body,
            said=told(logged.topic, logged.actor, logged.body),
        )
        for logged in entries
        if logged.body is not None
    ]
    return Facts(all=tuple(facts), erased=len(entries) - len(facts))


def _topic_of(logged: Logged) -> str:
    if not logged.fits:
        # Nothing is concluded from a body that does not have the shape of its topic.
        return f"{logged.topic} (misshapen)"
    is_trial = logged.topic == "change.applied" and trial_in(logged.body or {})
    return TRIED if is_trial else logged.topic


Later = Sequence[Document] | None
"""What came later for the same record; ``None`` where search, which knows it, does not answer."""
_UNKNOWN = (
    "Search does not answer right now, so later changes are not known. Look again in a minute."
)


def answers(facts: Facts, mask: Mask, later: Later) -> tuple[Answer, ...]:
    """All eight, always: where there is nothing to say, that is said."""
    given = [
        _sent(facts),
        _seen(facts),
        _proposed(facts),
        _shown(facts),
        _decided(facts),
        _written(facts, later),
        _corrected(facts, later),
        _errors(facts),
    ]
    return tuple(
        Answer(
            question=question,
            sentences=tuple(mask.text(text) for text in texts),
            seqs=tuple(seqs),
        )
        for question, (texts, seqs) in zip(QUESTIONS, given, strict=True)
    )


Given = tuple[list[str], list[int]]


def _sentences(facts: Sequence[Fact], *, otherwise: str) -> Given:
    if not facts:
        return [otherwise], []
    return [fact.said.sentence for fact in facts], [fact.seq for fact in facts]


def _with_changes(facts: Sequence[Fact], *, otherwise: str) -> Given:
    texts, seqs = _sentences(facts, otherwise=otherwise)
    for fact in facts:
        texts += [change_text(change) for change in fact.said.changes]
    return texts, seqs


def change_text(change: ValueChange) -> str:
    before = "empty" if change.before is None else f"“{change.before}”"
    after = "empty" if change.after is None else f"“{change.after}”"
    return f"{change.name}: {before} → {after}"


def _sent(facts: Facts) -> Given:
    received = facts.of("event.received", "event.rejected", "assist.requested")
    texts, seqs = _sentences(received, otherwise="Nothing came in from outside in this chain.")
    for fact in facts.of("event.received"):
        sender = sender_text(fact.body.get("sender"))
        texts += [f"From: {sender}"] if sender else []
        texts += [fact.said.excerpt] if fact.said.excerpt else []
        texts += [change_text(change) for change in fact.said.changes]
    return texts, seqs


def _seen(facts: Facts) -> Given:
    seen = facts.of("model.asked", "record.read")
    texts, seqs = _sentences(seen, otherwise="No model was asked and no record was read.")
    texts += [f"Fields read: {', '.join(f.body['fields'])}." for f in facts.of("record.read")]
    for fact in facts.of("event.classified"):
        maker = fact.body["maker"]
        if maker["kind"] == "rules":
            texts.append(f"No model was asked: {maker_text(maker)} read the message.")
            seqs.append(fact.seq)
        if not facts.of("record.read") and fact.body.get("reading"):
            texts.append(f"Read: {', '.join(fact.body['reading']['fields'])}")
    return list(dict.fromkeys(texts)), seqs


def _proposed(facts: Facts) -> Given:
    classified = facts.of("event.classified")
    texts, seqs = _with_changes(classified, otherwise="Nothing was proposed.")
    for fact in classified:
        texts.append(f"Why: {fact.body['reason']}")
        texts += [text for label, text in fact.said.details if label == "Evidence"]
    dropped = facts.of("proposal.dropped")
    texts += [fact.said.sentence for fact in dropped]
    return texts, [*seqs, *(fact.seq for fact in dropped)]


def _shown(facts: Facts) -> Given:
    opened = facts.of("card.opened")
    texts, seqs = _sentences(opened, otherwise="Nobody has opened the card.")
    for fact in opened:
        texts += [f"{change.name} stood at “{change.after}”" for change in fact.said.changes]
    if not opened and (decided := facts.of("decision.made")):
        texts = [f"The values shown beside the proposal are part of {len(decided)} decision(s)."]
        for fact in decided:
            texts += [f"{c.name} stood at “{c.before}”" for c in fact.said.changes]
        seqs = [fact.seq for fact in decided]
    return texts, seqs


def _decided(facts: Facts) -> Given:
    decided = facts.of("decision.made", "event.handled", "proposal.expired", "proposal.superseded")
    texts, seqs = _sentences(decided, otherwise="Nobody has decided yet.")
    for fact in facts.of("decision.made"):
        seconds = fact.body.get("seconds", 0)
        texts.append(f"At {_minute(fact.body['decided_at'])}, {seconds} s on the card.")
        if fact.said.excerpt:
            texts.append(f"Comment: {fact.said.excerpt}")
    return texts, seqs


def _written(facts: Facts, later: Later) -> Given:
    ends = facts.of(TRIED, "change.applied", "change.failed", "change.stale", "change.unknown")
    waiting = "It is not written yet." if facts.of("change.intended") else "Nothing was written."
    texts, seqs = _with_changes(ends, otherwise=waiting)
    if facts.applied and later is None:
        texts.append(_UNKNOWN)
    elif facts.applied:
        still = "No later change of these fields is known, so it is still so."
        if kind := appended(facts.applied.body):
            still = f"A {kind} replaces nothing; whether it was taken away since is not watched."
        texts.append(f"It was changed again {len(later)} time(s) since." if later else still)
    return texts, seqs


def _corrected(facts: Facts, later: Later) -> Given:
    if facts.applied is None:
        return ["Nothing was written, so there is nothing to correct."], []
    if later is None:
        return [_UNKNOWN], []
    if not later:
        return ["No correction is known."], []
    texts = []
    for document in later:
        texts.append(f"{_minute(document.at)}: {document.sentence}")
        texts += [change_text(change) for change in document.changes]
    return texts, [document.seq for document in later]


def _errors(facts: Facts) -> Given:
    texts, seqs = _sentences(facts.errors, otherwise="No errors.")
    return texts + [fact.said.excerpt for fact in facts.errors if fact.said.excerpt], seqs


def items(facts: Facts) -> tuple[Item, ...]:
    """The seven of the guide. A chain without any act of the assistant has none to show."""
    classified = facts.of("event.classified")
    decided, applied = facts.of("decision.made"), facts.of("change.applied")
    proposes = any(fact.said.outcome == "proposed" for fact in classified)
    asked = facts.of("model.asked")
    maker = asked or tuple(fact for fact in classified if fact.body["maker"]["kind"] != "model")
    read = facts.of("record.read") or tuple(f for f in classified if f.body.get("reading"))
    is_matched = any(fact.body.get("record") for fact in classified)
    nothing = "none" if classified or not facts.of("event.received") else "open"
    waits = "open" if proposes and not facts.of("proposal.expired", "proposal.superseded") else None
    ended: Callable[[str], str] = lambda state: waits or state  # noqa: E731 - used twice below
    return (
        _item("Timestamp", facts.all, lambda fact: _minute(fact.at), "missing"),
        _item("What the AI was asked", maker, _asked_text, "missing" if classified else nothing),
        _item("What it read", read, _read_text, "missing" if is_matched else nothing),
        _item(
            "What it proposed or wrote", classified + facts.of(TRIED) + applied, _sentence, nothing
        ),
        _item("Who approved", decided, lambda f: str(f.body["approver"]), ended("none")),
        _item("What the person decided", decided, lambda f: str(f.said.outcome), ended("none")),
        _item("Errors and exceptions", facts.errors, _sentence, "none"),
    )


def _item(name: str, facts: Sequence[Fact], text: Callable[[Fact], str], otherwise: str) -> Item:
    if not facts:
        words = {"none": "nothing of the kind happened", "open": "still to come"}
        return Item(name=name, state=otherwise, text=words.get(otherwise, "missing"), seqs=())
    shown = list(dict.fromkeys(map(text, facts)))
    seqs = tuple(fact.seq for fact in facts)
    return Item(name=name, state="present", text="; ".join(shown[:5]), seqs=seqs)


def _minute(at: str) -> str:
    """An RFC 3339 time for people; a copied summary has no office to tell its zone."""
    return f"{at[:10]} {at[11:16]} UTC"


def _sentence(fact: Fact) -> str:
    return fact.said.sentence


def _asked_text(fact: Fact) -> str:
    if fact.topic == "model.asked":
        return f"prompt {fact.body['prompt_version']} to {fact.body['model']}"
    return maker_text(fact.body["maker"])


def _read_text(fact: Fact) -> str:
    return fact.said.sentence if fact.topic == "record.read" else "the matched record"
