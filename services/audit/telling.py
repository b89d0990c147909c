"""What one ledger entry says, in plain words: for the search hit and for the story alike."""

from __future__ import annotations

import re
from dataclasses import replace

from services.audit import telling_changes, telling_events
from services.audit.telling_events import Body, Told, name_of

TELLERS = {**telling_events.TELLERS, **telling_changes.TELLERS}
"""One per topic."""


def told(topic: str, actor: str, body: Body | None) -> Told:
    """What the entry says. A body that is erased or has an unknown shape is said to be so."""
    if body is None:
        return Told(sentence=f"{topic}: the content of this entry was erased.")
    try:
        said = TELLERS[topic](body, name_of(actor))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError):
        text = "; ".join(f"{key}: {value}" for key, value in body.items())
        sentence = f"{topic}: the content does not have the expected shape."
        return Told(sentence=sentence, excerpt=text, tone="bad")
    return replace(said, sentence=re.sub(r"^the\b", "The", said.sentence))
