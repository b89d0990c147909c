"""The write side of the CRMs, for the writer's worker alone: no delete and no merge exists here."""

from __future__ import annotations

from shared.errors import Rejected, Unavailable


class StaleRecord(Rejected):
    """The CRM refused: the record is no longer at the version that was read."""

    status = 409


class OutcomeUnknown(Unavailable):
    """The write was sent and no certain answer came: it may or may not have had its effect.

    Never send it again before the record was read back.
    """
