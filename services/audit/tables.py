"""The tables of the audit database: the ledger, what may be erased beside it, and the outbox."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from shared.lease import lease_table
from shared.notifications.tables import notice_tables
from shared.outbox import Outbox

metadata = MetaData()
OUTBOX = Outbox(metadata, "audit")
LEASES = lease_table(metadata)
NOTICE = notice_tables(metadata)

# Only ever inserted. `nodes` holds the tree nodes that this entry completes, its own leaf first:
# node (level, index) stands in entry (index + 1) * 2**level - 1, at byte level * 32.
ENTRIES = Table(
    "entries",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("actor", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("chain", Text, nullable=False, index=True),
    Column("message_id", String, nullable=False, unique=True),
    Column("cause", Text),
    Column("commitment", String, nullable=False),
    Column("nodes", LargeBinary, nullable=False),
)

# What an entry commits to, salt and body, sealed under the key of its chain. `fits` says whether
# the body fits the schema of its topic.
BODIES = Table(
    "bodies",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("fits", Boolean, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

# `wrapped` is null once the chain was erased: no key is ever made for it again.
CHAIN_KEYS = Table(
    "chain_keys",
    metadata,
    Column("chain", Text, primary_key=True),
    Column("wrapped", LargeBinary),
    Column("erased_at", String),
    sqlite_with_rowid=False,
)

# `person` is a keyed hash of a normalised e-mail address or of the last digits of a phone number.
# Only erasing asks by chain, so there is no second index.
PERSON_CHAINS = Table(
    "person_chains",
    metadata,
    Column("person", LargeBinary, primary_key=True),
    Column("chain", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# One row: the right edge of the tree. Who appends reads and moves it in the same transaction.
EDGE = Table(
    "edge",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("unsealed", BigInteger, nullable=False),
)

CHECKPOINTS = Table(
    "checkpoints",
    metadata,
    Column("size", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("root", String, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", String, nullable=False),
)

# How each accepted event ended so far: the balance is counted from here and nowhere else.
EVENT_ENDS = Table(
    "event_ends",
    metadata,
    Column("event", Text, primary_key=True),
    Column("outcome", String, index=True),
    Column("failed", Boolean, nullable=False),
)

# Who may see the values of which chain, and until when.
UNMASKINGS = Table(
    "unmaskings",
    metadata,
    Column("person", Text, primary_key=True),
    Column("chain", Text, primary_key=True),
    Column("until", String, nullable=False),
)
