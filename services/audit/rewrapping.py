"""After ``ledger.key`` got a new key: every chain's own key is wrapped with it, while all go on."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, bindparam, select, update

from services.audit.deps import Deps
from services.audit.ledger import MOST_VALUES
from services.audit.tables import CHAIN_KEYS
from shared.db import cut_log, writing

_REWRAP = (
    update(CHAIN_KEYS)
    .where(CHAIN_KEYS.c.chain == bindparam("chain_"))
    .values(wrapped=bindparam("wrapped_"))
)


def rewrap(deps: Deps, told: Callable[[int], None] = lambda _: None) -> int:
    """Returns how many keys were wrapped anew; after a crash it is simply run again.

    Each batch is a turn of its own. Whoever adds a chain from the first turn on looks at the file
    inside its own turn, and so wraps with the new key already. Raises `StoreUnavailable`.
    """
    after, count = "", 0
    while True:
        with writing(deps.engine) as db:
            last, rewrapped = _batch(db, deps, after)
        count += rewrapped
        told(count)
        if last is None:
            break
        after = last
    cut_log(deps.engine)
    return count


def _batch(db: Connection, deps: Deps, after: str) -> tuple[str | None, int]:
    """The last chain of some that follow ``after``, and how many of their keys were old."""
    query = select(CHAIN_KEYS.c.chain, CHAIN_KEYS.c.wrapped).where(CHAIN_KEYS.c.chain > after)
    rows = db.execute(query.order_by(CHAIN_KEYS.c.chain).limit(MOST_VALUES)).all()
    found = [
        {"chain_": chain, "wrapped_": anew}
        for chain, wrapped in rows
        if wrapped is not None and (anew := deps.vault.rewrapped(chain, bytes(wrapped))) is not None
    ]
    if found:
        db.execute(_REWRAP, found)
    return (rows[-1].chain if rows else None), len(found)
