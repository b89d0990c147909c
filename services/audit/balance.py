"""The balance of events, counted in one place: what came in is somewhere, always."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select, text

from services.audit.deps import Deps
from services.audit.outcomes import REJECTED
from services.audit.tables import EVENT_ENDS
from shared.db import reading
from shared.domain.classification import Outcome

ACCEPTED = text("SELECT count(*) FROM accepted")
"""What ingest has answered as stored; the table is its own, only read here."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Accepted = proposed + nothing to do + a person must look + rejected + failed + waiting."""

    accepted: int
    proposed: int
    nothing_to_do: int
    a_person_must_look: int
    rejected: int
    failed: int
    waiting: int

    @property
    def difference(self) -> int:
        """0, or how many events the log knows that ingest never accepted (below 0)."""
        ends = self.proposed + self.nothing_to_do + self.a_person_must_look
        return self.accepted - (ends + self.rejected + self.failed + self.waiting)


def balance(deps: Deps) -> Balance:
    """Counts now. Ingest is read last: an event is accepted before the log can know it."""
    end = case((EVENT_ENDS.c.failed, "failed"), else_=EVENT_ENDS.c.outcome).label("ending")
    with reading(deps.engine) as db:
        rows = db.execute(select(end, func.count()).group_by(end)).all()
    counts = {row[0]: row[1] for row in rows}
    logged = sum(counts.values())
    accepted = _accepted(deps) if deps.ingest is not None else logged
    return Balance(
        accepted=accepted,
        proposed=counts.get(Outcome.PROPOSED, 0),
        nothing_to_do=counts.get(Outcome.NOTHING_TO_DO, 0),
        a_person_must_look=counts.get(Outcome.A_PERSON_MUST_LOOK, 0),
        rejected=counts.get(REJECTED, 0),
        failed=counts.get("failed", 0),
        waiting=counts.get(None, 0) + max(0, accepted - logged),
    )


def _accepted(deps: Deps) -> int:
    assert deps.ingest is not None, "asked only where ingest's database is given"
    with reading(deps.ingest) as db:
        return db.scalar(ACCEPTED) or 0
