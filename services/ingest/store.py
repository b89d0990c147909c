"""The tables of ingest: what came in, what was accepted, what was refused, and the counts."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from shared.lease import lease_table
from shared.notifications.tables import notice_tables
from shared.outbox import Outbox

metadata = MetaData()

# One row per verified request. Its id begins with the time, so new rows lie side by side.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("received_at", String, nullable=False),
    Column("method", String, nullable=False),
    Column("url", Text, nullable=False),
    Column("headers", Text, nullable=False),  # JSON, only those that the source reads
    Column("options", Text),  # JSON, the endpoint's as they were; null: none
    Column("raw_sha256", String(), nullable=False),
    Column("size", Integer, nullable=False),
    Column("content", LargeBinary),  # null: in a file, empty of news, or expired
    Column("is_expired", Integer, nullable=False, default=0),
)

# One row per accepted happening. The id is the UUIDv5 of source, endpoint and dedup key, so that
# its uniqueness is theirs: one index is half the pages to write of two.
accepted = Table(
    "accepted",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("source", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("type", String, nullable=False),
    Column("delivery_id", String, nullable=False),
    Column("position", Integer, nullable=False),
    Column("received_at", String, nullable=False),
    Column("sent_at", String),
    Column("sent_as", String),  # the topic it went out under
    Column("replays", Integer, nullable=False, default=0),
)
# The migration limits it on PostgreSQL too; to say so here would load that dialect everywhere.
Index("accepted_unsent", accepted.c.seq, sqlite_where=accepted.c.sent_at.is_(None))

# One row per refused request, or one for all equal ones of a minute beyond the first.
refusals = Table(
    "refusals",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("is_verified", Integer, nullable=False),
    Column("received_at", String, nullable=False),
    Column("raw_sha256", String()),
    Column("count", Integer, nullable=False),
    Column("due_at", String, nullable=False),
    Column("sent_at", String),
)
Index("refusals_unsent", refusals.c.due_at, sqlite_where=refusals.c.sent_at.is_(None))
Index("refusals_by_time", refusals.c.received_at)

# What the status page and the metrics read: no query ever counts the big tables.
tallies = Table(
    "tallies",
    metadata,
    Column("source", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("day", String, nullable=False),
    Column("result", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("count", Integer, nullable=False),
    Column("last_at", String, nullable=False),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("source", "endpoint", "day", "result", "reason"),
)

# What happens how often: kinds are the sender's words, counted when they are passed on.
kinds = Table(
    "kinds",
    metadata,
    Column("source", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("count", Integer, nullable=False),
    Column("last_at", String, nullable=False),
    PrimaryKeyConstraint("source", "endpoint", "kind"),
)

# How long raw bytes are kept, where it is not as long as the source says.
retention = Table(
    "retention",
    metadata,
    Column("source", String, primary_key=True),
    Column("days", Integer, nullable=False),
)

# Raw bytes too large for a row, and attachments: files named by their hash.
raw_files = Table(
    "raw_files",
    metadata,
    Column("sha256", String(), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("expires_at", String, nullable=False, index=True),
    Column("source", String),  # whose retention counts; null: came before that could be changed
)

# How each mailbox stands. Every number of the mails up to `uid` was seen to; of those up to
# `old_until` only the ones that `criteria` names are taken. `fence` is the lease's of who wrote it.
mailboxes = Table(
    "mailboxes",
    metadata,
    Column("name", String, primary_key=True),
    Column("place", Text, nullable=False),
    Column("is_configured", Integer, nullable=False),
    Column("stamp", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("validity", BigInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("old_until", BigInteger, nullable=False),
    Column("criteria", String, nullable=False),
    Column("first_at", String, nullable=False),
    Column("looked_at", String),  # when it was last looked through to its end
    Column("next_at", String, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("problem", Text, nullable=False),
    Column("problem_since", String),
)

leases = lease_table(metadata)
outbox = Outbox(metadata, "ingest")
notice = notice_tables(metadata)
