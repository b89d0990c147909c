"""The error tree: it answers whether to try again, and with which HTTP status.

* PipelineError
  x ConfigurationError      refuse to start, saying what to do
  x Rejected                wrong input, never retried: 4xx, or the dead letters
    + BadSignature     401
    + BadPayload       422  (NotJson 400, TooLarge 413)
    + NotSignedIn      401
    + NotApproved      403
    + Forbidden        403
  x Unavailable             a dependency is down, retried later: 503, or the delay queues
    + StoreUnavailable + BrokerUnavailable + CRMUnavailable + ModelUnavailable
"""

from __future__ import annotations


class PipelineError(Exception):
    """Everything this product raises on purpose."""

    status = 500


class ConfigurationError(PipelineError):
    """The process refuses to start. The message says what to change, by name and never by value."""


class Rejected(PipelineError):
    """The input is wrong and stays wrong: never retried."""

    status = 400


class NotJson(Rejected):
    """The body is not I-JSON (RFC 7493)."""


class TooLarge(Rejected):
    """The body is larger than its source allows."""

    status = 413


class BadSignature(Rejected):
    """The sender could not be verified."""

    status = 401


class BadPayload(Rejected):
    """The body is well-formed but has the wrong shape."""

    status = 422


class NotApproved(Rejected):
    """A rule of the gate refuses the change. ``rule`` names it."""

    status = 403

    def __init__(self, message: str, *, rule: str) -> None:
        super().__init__(message)
        self.rule = rule


class NotSignedIn(Rejected):
    """Nobody is signed in, and the page or call is not public."""

    status = 401


class Forbidden(Rejected):
    """The person may not do this, or the request did not come from one of our own pages."""

    status = 403


class TooFast(Rejected):
    """Too many tries; ``seconds`` is how long to wait."""

    status = 429

    def __init__(self, message: str, *, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class NotFound(Rejected):
    """There is no such thing, or it is not yours to see."""

    status = 404


class Conflict(Rejected):
    """Somebody else was first. The message says who."""

    status = 409


class Unavailable(PipelineError):
    """A dependency is down: try again later."""

    status = 503


class StoreUnavailable(Unavailable):
    """The database cannot be reached or is full."""


class BrokerUnavailable(Unavailable):
    """The broker cannot be reached, or did not confirm in time: the outcome is unknown."""


class CRMUnavailable(Unavailable):
    """The CRM cannot be reached, is too slow, or asks us to wait."""


class ModelUnavailable(Unavailable):
    """The model cannot be reached, is too slow, or its budget is used up."""
