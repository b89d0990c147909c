"""How much a value is worth by the kind of its evidence; what a model says of itself counts not.

Per mille, set by hand until enough decisions of people exist to calibrate against. Only the order
of the kinds is meant: a labelled form field is better than a sentence, a sentence better than a
signature, and a value that merely stands somewhere is worst.
"""

from __future__ import annotations

from shared.domain.event import Sender

BASES = {
    "replaced": 950,  # "use X instead of Y", and Y is what the CRM holds
    "form": 900,  # a form field with a label we know
    "stated": 850,  # "my new number is X"
    "agreed": 850,  # quoted by a model, and found by the rules too
    "header": 700,  # the sender's name or address in the mail's header
    "reach": 600,  # "call me at X"
    "quoted": 550,  # quoted by a model
    "signature": 450,  # stands in the signature
    "mentioned": 350,  # stands somewhere in the text
    "record": 250,  # stands elsewhere in the record that was read
}
UNVERIFIED, REFUSED, FILLS_A_GAP = -100, -400, 50


def confidence(basis: str, sender: Sender | None, *, was_empty: bool) -> int:
    """Per mille for a value of this kind of evidence from this sender."""
    points = BASES.get(basis, BASES["mentioned"])
    if sender is not None and sender.email:
        points += {"pass": 0, "fail": REFUSED}.get(sender.verified, UNVERIFIED)
    if was_empty:
        points += FILLS_A_GAP
    return max(0, min(1000, points))
