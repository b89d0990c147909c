"""The balance of events, counted in one place: what came in is somewhere, always."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func, select

from services.audit.books import ACCEPTED, EVENT_ENDS
from services.audit.deps import Deps
from services.audit.outcomes import REJECTED
from shared.db import reading
from shared.domain.classification import Outcome

ENDING = case((EVENT_ENDS.c.failed, "failed"), else_=EVENT_ENDS.c.outcome).label("ending")
ENDS = select(ENDING, func.count(EVENT_ENDS.c.event)).group_by(ENDING)
RECEIVED = select(func.count(ACCEPTED.c.id))


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
    with reading(deps.books) as db:
        counts = {row[0]: row[1] for row in db.execute(ENDS)}
        accepted = db.scalar(RECEIVED) or 0
    return Balance(
        accepted=accepted,
        proposed=counts.get(Outcome.PROPOSED, 0),
        nothing_to_do=counts.get(Outcome.NOTHING_TO_DO, 0),
        a_person_must_look=counts.get(Outcome.A_PERSON_MUST_LOOK, 0),
        rejected=counts.get(REJECTED, 0),
        failed=counts.get("failed", 0),
        waiting=counts.get(None, 0) + max(0, accepted - sum(counts.values())),
    )
