from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.audit.encoding import canonical_body, entry_leaf
from shared.domain.ledger import LedgerEntry
from shared.domain.schema import rfc3339

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(seq=st.integers(0, 2**53 - 1), actor=TEXT, subject=TEXT, chain=TEXT, cause=st.none() | TEXT)
def test_the_fast_entry_encoder_is_the_leaf_of_the_noun(
    seq: int, actor: str, subject: str, chain: str, cause: str | None
) -> None:
    entry = LedgerEntry(
        seq=seq,
        at=datetime(2026, 11, 23, 9, 30, 1, 5000, tzinfo=UTC),
        topic="event.received",
        actor=actor,
        subject=subject,
        chain=chain,
        message_id="m-1",
        cause=cause,
        commitment="ab" * 32,
    )
    fast = entry_leaf(
        seq=seq,
        at=rfc3339(entry.at),
        topic=entry.topic,
        actor=actor,
        subject=subject,
        chain=chain,
        message_id=entry.message_id,
        cause=cause,
        commitment=entry.commitment,
    )
    assert fast == entry.leaf()


@given(st.floats())
def test_what_has_no_canonical_form_is_kept_as_text(value: float) -> None:
    assert canonical_body({"a": value}).startswith(b'{"not_canonical":')


def test_a_lone_surrogate_is_kept_as_text() -> None:
    assert canonical_body({"a": "\ud800"}).startswith(b'{"not_canonical":')
