"""The write side of CRMs without an API: a new person is handed over, at most once, by one way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

from sqlalchemy import Engine

from services.writer import hand_offs
from services.writer.crm import OutcomeUnknown
from services.writer.crm.lead_hook import hook_of
from services.writer.crm.lead_mail import mail_of
from shared.crm.accounts import Account
from shared.db import reading, writing
from shared.domain.record import RecordRef
from shared.domain.schema import Scalar
from shared.errors import ConfigurationError, CRMUnavailable, Rejected

# Hands the fields (our words) of one new person over, under the id of that act.
Way = Callable[[str, Mapping[str, Scalar]], None]
LEADS = "leads"


def by_hand(_: str, __: Mapping[str, Scalar]) -> None:
    """Nothing is sent: a person reads the page, works in the CRM, and says so."""


WAYS: dict[str, Callable[[Account], Way]] = {
    "hand": lambda _: by_hand,
    "hook": hook_of,
    "mail": mail_of,
}


class HandOff:
    """Nothing can be read back, so a row that is written before says what may have been sent.

    ``option way``: hand, hook or mail.
    """

    is_conditional = False
    marks_updates = True
    problem: ClassVar[str | None] = None

    def __init__(self, account: Account, engine: Engine, clock: Callable[[], datetime]) -> None:
        way = account.options.get("way", "hand")
        if way not in WAYS:
            raise ConfigurationError(
                f"the CRM account [{account.name}]: way is none of {', '.join(sorted(WAYS))}"
            )
        self.crm = account.name
        self._way = way
        self._hand_over = WAYS[way](account)
        self._engine = engine
        self._clock = clock

    def update(self, ref: RecordRef, *_: object, **__: object) -> None:
        """Raises `Rejected`: what is there already, only a person changes, by hand."""
        raise Rejected(f"{self.crm} has no API: a person changes {ref} by hand")

    def add_note(self, ref: RecordRef, *_: object, **__: object) -> None:
        """Raises `Rejected`, as `update`."""
        raise Rejected(f"{self.crm} has no API: a person notes it at {ref} by hand")

    def note(self, *_: object, **__: object) -> None:
        """None was ever added."""

    def add_task(self, ref: RecordRef, *_: object, **__: object) -> None:
        """Raises `Rejected`, as `update`."""
        raise Rejected(f"{self.crm} has no API: a person puts a task to {ref} by hand")

    def task(self, *_: object, **__: object) -> None:
        """None was ever added."""

    def task_setup(self) -> None:
        """Nothing of a task is set by the account."""

    def create(self, fields: Mapping[str, Scalar], *, change_id: str) -> RecordRef:
        """Hand a new person over; the reference is our own id, since no other comes back.

        Raises `OutcomeUnknown` where it may have been handed over, `CRMUnavailable` and `Rejected`
        where it certainly was not.
        """
        with writing(self._engine) as db:
            is_new = hand_offs.begin(db, change_id, self.crm, self._way, self._clock())
        if not is_new:
            raise OutcomeUnknown("it may have been handed over before: a person has to say")
        try:
            self._hand_over(change_id, fields)
        except (Rejected, CRMUnavailable):
            self._move(change_id, "failed")
            raise
        self._move(change_id, "handed")
        return self._ref(change_id)

    def find(self, change_id: str) -> RecordRef | None:
        """What was handed over under this id, by our own book. Raises `OutcomeUnknown`."""
        with reading(self._engine) as db:
            row = hand_offs.row_of(db, change_id)
        if row is None or row.state == "failed":
            return None
        if row.state == "begun":
            raise OutcomeUnknown("it may have been handed over: a person has to say")
        return self._ref(change_id)

    def scopes(self) -> tuple[str, ...]:
        return ()

    def _move(self, change_id: str, state: str) -> None:
        with writing(self._engine) as db:
            hand_offs.move(db, change_id, ("begun",), state, self._clock())

    def _ref(self, change_id: str) -> RecordRef:
        return RecordRef(crm=self.crm, type=LEADS, id=change_id)
