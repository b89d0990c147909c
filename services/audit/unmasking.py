"""Who may see the values of which chain: nobody, until they say why, and then for 15 minutes."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from services.audit.deps import Deps
from services.audit.tables import UNMASKINGS
from shared.db import reading, upsert
from shared.domain.schema import rfc3339
from shared.domain.topics import Topic
from shared.errors import BadPayload

MINUTES = 15
SHORTEST_REASON, LONGEST_REASON = 5, 200


def unmask(deps: Deps, chain: str, *, person: str, reason: str) -> None:
    """Let a person see the values of a chain; the log says who, what and why.

    Raises `BadPayload` for a reason that says nothing.
    """
    reason = reason.strip()
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        raise BadPayload(f"give a reason of {SHORTEST_REASON} to {LONGEST_REASON} characters")
    with deps.unit_of_work.begin() as unit:
        until = rfc3339(unit.now + timedelta(minutes=MINUTES))
        row = {"person": person, "chain": chain, "until": until}
        upsert(unit.db, UNMASKINGS, row, key=["person", "chain"])
        unit.publish(
            Topic.RECORD_UNMASKED,
            {"what": f"chain/{chain}", "reason": reason},
            subject=f"chain/{chain}",
            chain=chain,
            actor=f"person:{person}",
            key=f"{person} {until}",
        )


def may_see(deps: Deps, chain: str, person: str) -> bool:
    """Whether the person gave a reason for this chain within the last minutes."""
    return chain in chains_open_to(deps, [chain], person)


def chains_open_to(deps: Deps, chains: list[str], person: str) -> frozenset[str]:
    """Those of the chains that the person may see."""
    table = UNMASKINGS.c
    now = rfc3339(deps.clock())
    with reading(deps.engine) as db:
        found = db.scalars(
            select(table.chain).where(
                table.person == person, table.chain.in_(chains), table.until > now
            )
        )
        return frozenset(found)
