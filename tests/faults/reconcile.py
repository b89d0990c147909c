"""The reconciler: reads what each part has stored, read-only, and names every difference."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from services.installation import Installation
from shared.domain import ids
from tests.faults.books import Books, Rows

FINAL = {"applied", "failed", "stale"}
RESULTS = {"change.applied", "change.failed", "change.stale"}
# What the CRM itself puts into a new draft.
SET_BY_THE_CRM = {"draft_state", "lifecycle"}
ACTS = {"promoted": "promoting", "discarded": "discarding"}
OUTCOMES = ("proposed", "nothing_to_do", "a_person_must_look")


def reconcile(home: Installation, acknowledged: Mapping[str, str]) -> list[str]:
    """Every difference between the books; ``acknowledged`` is the sender's: hash → what it was."""
    books = Books(home=home)
    _intake(books, acknowledged)
    _balance(books)
    _changes(books)
    _effects(books)
    _ledger(books)
    _nothing_open(books)
    return books.differences


def _intake(books: Books, acknowledged: Mapping[str, str]) -> None:
    """Whatever was acknowledged is stored, once."""
    query = (
        "SELECT d.raw_sha256, count(*) AS times FROM accepted a JOIN deliveries d"
        " ON d.id = a.delivery_id WHERE a.source != 'demo-crm' GROUP BY d.raw_sha256"
    )
    stored = {row["raw_sha256"]: row["times"] for row in books.read("ingest", query)}
    for sha256, what in acknowledged.items():
        times = stored.get(sha256, 0)
        books.expect(times == 1, f"{what} was acknowledged and stored {times} times")
    books.expect(set(stored) <= set(acknowledged), "something is stored that nobody sent")


def _balance(books: Books) -> None:
    """Accepted = proposed + nothing to do + a person must look + rejected + failed, one by one."""
    accepted = {row["id"]: row["sent_as"] for row in books.read("ingest", "SELECT * FROM accepted")}
    ends = {row["event"]: row for row in books.read("audit", "SELECT * FROM event_ends")}
    told = {
        row["event_id"]: row["outcome"]
        for row in books.read("writer", "SELECT event_id, outcome FROM classifications")
    }
    for event, sent_as in accepted.items():
        end = ends.get(event)
        outcome = end["outcome"] if end else None
        books.expect(not (end and end["failed"]), f"event {event} has failed")
        if sent_as == "event.rejected":
            books.expect(
                outcome == "rejected", f"event {event}: refused, but the log has {outcome}"
            )
            continue
        books.expect(outcome in OUTCOMES, f"event {event} has no end in the log: {outcome}")
        books.expect(
            told.get(event) == outcome,
            f"event {event}: the writer has {told.get(event)}, the log {outcome}",
        )
    books.expect(set(ends) <= set(accepted), "the log knows events that were never accepted")
    parked = {queue: n for queue, n in books.depths().items() if n and queue.endswith(".parked")}
    books.expect(not parked, f"messages lie in the dead letters: {parked}")


def _changes(books: Books) -> None:
    """Each approval has become one change, and each change has ended once."""
    entries = books.read(
        "audit",
        "SELECT seq, topic, subject FROM entries WHERE subject LIKE 'change/%' ORDER BY seq",
    )
    by_change: dict[str, list[tuple[int, str]]] = {}
    for row in entries:
        by_change.setdefault(row["subject"][7:], []).append((row["seq"], row["topic"]))
    changes = {row["id"]: row for row in books.read("writer", "SELECT * FROM changes")}
    for change, row in changes.items():
        steps = by_change.get(change, [])
        topics = Counter(topic for _, topic in steps)
        results = [topic for _, topic in steps if topic in RESULTS]
        books.expect(row["state"] in FINAL, f"change {change} is still {row['state']}")
        books.expect(
            topics["change.intended"] == 1,
            f"change {change} has {topics['change.intended']} intents in the log",
        )
        books.expect(
            results == [f"change.{row['state']}"],
            f"change {change} is {row['state']}, the log says {results}",
        )
    approved = books.read(
        "writer", "SELECT id, refused_rule FROM proposals WHERE state = 'approved'"
    )
    made = Counter(row["proposal_id"] for row in changes.values())
    for row in approved:
        books.expect(
            made[row["id"]] == 1 or bool(row["refused_rule"]),
            f"the approved proposal {row['id']} has {made[row['id']]} changes",
        )


def _effects(books: Books) -> None:
    """At most one effect per change, after its intent and receipt, with the approved values."""
    effects = _effects_by_change(books)
    for act, state in _acts_on_drafts(books).items():
        places = {(row["type"], row["id"], row["at"]) for row in effects.pop(act, ())}
        once = Counter(type_ for type_, _, _ in places)
        wanted = {"drafts": 1, "contacts": 1} if state == "promoted" else {"drafts": 1}
        books.expect(once == wanted, f"a draft was {state}, the CRM has {sorted(places)}")
    states = {
        row["id"]: row["state"] for row in books.read("writer", "SELECT id, state FROM changes")
    }
    values: dict[str, dict[str, Any]] = {}
    for row in books.read("writer", "SELECT change_id, field, after FROM change_fields"):
        values.setdefault(row["change_id"], {})[row["field"]] = json.loads(row["after"])
    steps = _steps(books)
    for change, rows in effects.items():
        records = {(row["type"], row["id"]) for row in rows}
        fields = [row["field"] for row in rows if row["kind"] == "field"]
        moments = {row["at"] for row in rows}
        books.expect(
            len(records) == 1 and len(fields) == len(set(fields)) and len(moments) == 1,
            f"change {change} has more than one effect: {sorted(records)} {sorted(moments)}",
        )
        written = {row["field"]: json.loads(row["new"]) for row in rows if row["kind"] == "field"}
        ours = {name: value for name, value in written.items() if name not in SET_BY_THE_CRM}
        books.expect(
            ours == values.get(change), f"change {change} wrote other values than approved"
        )
        books.expect(
            states.get(change) == "applied", f"change {change} had an effect: {states.get(change)}"
        )
        _expect_proof(books, change, rows, steps.get(change, {}))
    for change, state in states.items():
        books.expect(
            state != "applied" or change in effects, f"change {change} is applied, without effect"
        )


def _acts_on_drafts(books: Books) -> dict[str, str]:
    """The change ids under which people's decisions about drafts were carried out."""
    rows = books.read("writer", "SELECT change_id, state FROM drafts")
    return {
        ids.derive("change", row["change_id"], ACTS[row["state"]]): row["state"]
        for row in rows
        if row["state"] in ACTS
    }


def _expect_proof(
    books: Books, change: str, rows: Rows, steps: Mapping[str, tuple[int, str]]
) -> None:
    intent, receipt = steps.get("change.intended"), steps.get("receipt.issued")
    result = steps.get("change.applied")
    if intent is None or receipt is None or result is None:
        books.differences.append(f"change {change} had an effect; the log has only {sorted(steps)}")
        return
    books.expect(
        intent[0] < receipt[0] < result[0], f"change {change}: intent, receipt, result out of order"
    )
    first = min(row["at"] for row in rows)
    books.expect(
        receipt[1] <= first, f"change {change}: written at {first}, receipt only at {receipt[1]}"
    )


def _effects_by_change(books: Books) -> dict[str, Rows]:
    """What the CRM itself noted under each change id of ours."""
    found: dict[str, Rows] = {}
    for row in books.read("crm", "SELECT * FROM history WHERE change_id IS NOT NULL ORDER BY seq"):
        found.setdefault(row["change_id"], []).append(row)
    return found


def _steps(books: Books) -> dict[str, dict[str, tuple[int, str]]]:
    """By change: topic → place and time of its first entry in the log."""
    found: dict[str, dict[str, tuple[int, str]]] = {}
    query = "SELECT seq, at, topic, subject FROM entries WHERE subject LIKE 'change/%' ORDER BY seq"
    for row in books.read("audit", query):
        found.setdefault(row["subject"][7:], {}).setdefault(row["topic"], (row["seq"], row["at"]))
    return found


def _ledger(books: Books) -> None:
    """Places without gaps, no message twice, every body kept."""
    row = books.read(
        "audit",
        "SELECT count(*) AS all_, min(seq) AS first, max(seq) AS last,"
        " count(DISTINCT message_id) AS messages FROM entries",
    )[0]
    books.expect(
        row["first"] == 0 and row["last"] == row["all_"] - 1 and row["messages"] == row["all_"],
        f"the log has gaps: {dict(row)}",
    )
    bodies = books.count("audit", "SELECT count(*) FROM bodies")
    books.expect(bodies == row["all_"], f"{row['all_']} entries, {bodies} bodies")


def _nothing_open(books: Books) -> None:
    """Nothing waits for a machine, and no receipt is missing where something was sent."""
    promised = "SELECT change_id FROM drafts WHERE state IN ('promoting', 'discarding')"
    for row in books.read("writer", promised):
        books.differences.append(f"the draft of {row['change_id']} was decided and not carried out")
    bare = "SELECT id FROM changes WHERE sent_at IS NOT NULL AND receipt_seq IS NULL"
    for row in books.read("writer", bare):
        books.differences.append(f"change {row['id']} was sent without a receipt")
    unsigned = (
        "SELECT c.id FROM changes c WHERE NOT EXISTS (SELECT 1 FROM decisions d"
        " WHERE d.proposal_id = c.proposal_id AND d.card_digest = c.card_digest"
        " AND d.verdict != 'rejected')"
    )
    for row in books.read("writer", unsigned):
        books.differences.append(f"change {row['id']} has no approval of its card")


def figures(home: Installation) -> dict[str, Any]:
    """Counts for the record of a run."""
    books = Books(home=home)
    states = books.read("writer", "SELECT state, count(*) AS times FROM changes GROUP BY state")
    ends = books.read("audit", "SELECT outcome, count(*) AS times FROM event_ends GROUP BY outcome")
    return {
        "accepted": books.count("ingest", "SELECT count(*) FROM accepted"),
        "ends": {row["outcome"]: row["times"] for row in ends},
        "changes": {row["state"]: row["times"] for row in states},
        "effects": len(_effects_by_change(books)),
        "entries": books.count("audit", "SELECT count(*) FROM entries"),
    }
