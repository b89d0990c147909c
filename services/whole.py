"""A whole installation of the distributed form, lent to the process ``ops`` for one command."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from services.installation import Installation, RunSettings
from shared.settings import ProcessSettings, setting


@dataclass(frozen=True, kw_only=True)
class WholeSettings(ProcessSettings):
    """Every database as its owner, the folders of files, and the keys of the log."""

    database_url: str = setting("database, as its owner", secret=True)
    broker_url: str = setting("broker, as its administrator", secret=True)
    search_url: str = setting("search index", secret=True)
    people_file: Path = setting("the people of this installation")
    endpoints_file: Path = setting("the configured endpoints with their secrets, sealed")
    policy_file: Path = setting("the policy")
    raw_dir: Path = setting("folder of raw bodies that are files")
    keys_dir: Path = setting("folder of the log's keys and of the public keys")
    public_url: str = setting("address under which senders and people reach this installation")


@dataclass(frozen=True, kw_only=True)
class Whole(Installation):
    """Its ``root`` is the folder of people: a restore that was cut off leaves its mark there, and
    `countersign setup` goes on from none.

    What people give as files of their own (CRM accounts, mailboxes, channels) is not here.
    """

    given: WholeSettings

    @classmethod
    def of(cls, given: WholeSettings) -> Whole:
        run = RunSettings(
            database_url=given.database_url,
            broker_url=given.broker_url,
            search_url=given.search_url,
            public_url=given.public_url,
        )
        return cls(root=given.people_file.parent, run=run, given=given)

    @property
    def is_on_one_machine(self) -> bool:
        return False

    @property
    def people(self) -> Path:
        return self.given.people_file

    @property
    def endpoints(self) -> Path:
        return self.given.endpoints_file

    @property
    def policy(self) -> Path:
        return self.given.policy_file

    @property
    def raw(self) -> Path:
        return self.given.raw_dir

    @property
    def keys(self) -> Path:
        return self.given.keys_dir

    @property
    def wake(self) -> Path:
        """Nobody listens there: PostgreSQL wakes the workers."""
        return Path(tempfile.gettempdir())
